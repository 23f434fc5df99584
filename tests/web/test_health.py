"""What a load balancer is told: the truth, at the price of one look a second however many ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
from starlette.routing import Router

from perseus.database.engine import open_database
from perseus.store import Store
from perseus.web import health
from perseus.web.serving import listen, serve
from tests.support.clocks import TravellingClock
from tests.support.proxy import FaultProxy
from tests.support.servers import Server

Ready = Callable[[], asyncio.Task[int]]


@asynccontextmanager
async def asking(store: Store, database_url: str, clock: TravellingClock) -> AsyncIterator[Ready]:
    """A server with these routes, and what asks it whether it is ready."""

    async def closed(_within_s: float) -> None:
        pass

    async with (
        await open_database(database_url) as database,
        aiohttp.ClientSession() as http,
        asyncio.TaskGroup() as tasks,
    ):
        door, stop = listen("127.0.0.1", 0), asyncio.Event()
        app = Router(health.routes(store, database, clock=clock))
        tasks.create_task(serve(app, door, stop=stop, close=closed))

        async def status() -> int:
            async with http.get(f"http://127.0.0.1:{door.getsockname()[1]}/readyz") as response:
                return response.status

        try:
            yield lambda: tasks.create_task(status())
        finally:
            stop.set()


def looks(server: Server) -> int:
    """How often the store was asked for its time."""
    stats = server.call("INFO", "commandstats")
    text = stats.decode() if isinstance(stats, bytes) else str(stats)
    found = [line for line in text.splitlines() if line.startswith("cmdstat_time:")]
    return int(found[0].partition("calls=")[2].partition(",")[0]) if found else 0


async def test_any_number_who_ask_share_one_look(store: Store, valkey: Server, site_database: str) -> None:
    """Anybody may ask without a word of who they are; each used to cost a look into the store and the database."""
    clock = TravellingClock()
    async with asking(store, site_database, clock) as ready:
        assert await ready() == 200
        clock.travel(1)
        before = looks(valkey)
        assert set(await asyncio.gather(*(ready() for _ in range(30)))) == {200}
        assert looks(valkey) == before + 1
        clock.travel(1)
        await ready()
        assert looks(valkey) == before + 2


async def test_shared_answer_is_true_again_a_second_later(
    proxy: FaultProxy, connect: Callable[..., Store], site_database: str
) -> None:
    """In both directions; who waited for a look that took long does not wait for another."""
    clock = TravellingClock()
    async with asking(connect(proxy.url), site_database, clock) as ready:
        assert await ready() == 200
        proxy.refuse()
        proxy.reset()
        clock.travel(1)
        assert set(await asyncio.gather(*(ready() for _ in range(10)))) == {503}
        proxy.accept()
        clock.travel(1)
        assert await ready() == 200
