"""The procedures `network.*` on a real socket, without the guard in front of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import msgspec
from starlette.routing import Mount, Router

from perseus.network.exchange_list import Load
from perseus.store import Store
from perseus.web.errors import described
from perseus.web.router import ROUTER
from perseus.web.serving import listen, serve
from perseus.web.trpc import ConnectionInfo, Server
from tests.network.seeing import Seen, seeing


class Answer(NamedTuple):
    """An answer: its HTTP status, and its `result.data` or its `error`."""

    status: int
    data: Any
    error: Any


class NetworkSite:
    """A web server that sees a network."""

    def __init__(self, url: str, seen: Seen, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.seen = seen
        self.http = http

    async def ask(self, path: str, asked: Any = None) -> Answer:
        """Query one procedure with this input; None: without one."""
        params = {} if asked is None else {"input": msgspec.json.encode(asked).decode()}
        async with self.http.get(f"{self.url}/{path}", params=params) as response:
            answer = msgspec.json.decode(await response.read())
            return Answer(response.status, answer.get("result", {}).get("data"), answer.get("error"))

    async def events(self, asked: Any = None, *, last_event_id: str = "") -> AsyncGenerator[tuple[str, Any], None]:
        """What the event stream of `network.onChange` brings: id and data."""
        params = {} if asked is None else {"input": msgspec.json.encode(asked).decode()}
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last_event_id} if last_event_id else {})
        async with self.http.get(f"{self.url}/network.onChange", params=params, headers=headers) as response:
            fields = dict[str, str]()
            async for line in response.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif fields:
                    if "event" not in fields or fields["event"] == "serialized-error":
                        yield fields.get("id", ""), msgspec.json.decode(fields["data"])
                    fields = {}


@asynccontextmanager
async def network_site(store: Store, *, load: Load | None = None) -> AsyncIterator[NetworkSite]:
    """Serve what the store holds until the block ends."""
    async with seeing(store, load=load) as seen, aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:

        async def context(_connection: ConnectionInfo) -> Seen:
            return seen

        server = Server(ROUTER, context=context, describe_error=described)
        door, stop = listen("127.0.0.1", 0), asyncio.Event()
        tasks.create_task(serve(Router([Mount("/trpc", server)]), door, stop=stop, close=server.close))
        try:
            yield NetworkSite(f"http://127.0.0.1:{door.getsockname()[1]}/trpc", seen, http)
        finally:
            stop.set()
