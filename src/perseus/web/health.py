"""Whether this process lives, and whether it can do its work: what load balancers and supervisors ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perseus.clock import Clock
from perseus.database import exchanges
from perseus.database.engine import Database
from perseus.errors import PerseusError
from perseus.store import Store

WITHIN_S = 2.0
SHARED_FOR_S = 1.0
_log = structlog.get_logger()


def routes(store: Store, database: Database, *, clock: Clock) -> list[Route]:
    """`GET /healthz`: the process answers. `GET /readyz`: store and database answer too; 503 naming what does not."""
    readiness = _Readiness(store, database, clock=clock)

    async def healthz(_request: Request) -> Response:
        return _answer({"process": "ok"})

    async def readyz(_request: Request) -> Response:
        return _answer(await readiness.parts())

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


class _Readiness:
    """What answers: looked at by one at a time for all, as anybody may ask as often as they like."""

    def __init__(self, store: Store, database: Database, *, clock: Clock) -> None:
        self._store, self._database, self._clock = store, database, clock
        self._looking = asyncio.Lock()
        self._parts: Mapping[str, str] = {}
        self._good_until = float("-inf")

    async def parts(self) -> Mapping[str, str]:
        """`ok` or `unavailable` by part, as found at most SHARED_FOR_S ago."""
        async with self._looking:
            if self._clock.now() >= self._good_until:
                self._parts = await self._look()
                # from the answer on: those who waited for it must not each wait for one of their own
                self._good_until = self._clock.now() + SHARED_FOR_S
            return self._parts

    async def _look(self) -> Mapping[str, str]:
        async with asyncio.TaskGroup() as tasks:
            asked = {
                "store": tasks.create_task(_is_there("store", self._store.time_ms())),
                "database": tasks.create_task(_is_there("database", _ask(self._database))),
            }
        return {name: "ok" if task.result() else "unavailable" for name, task in asked.items()}


async def _ask(database: Database) -> None:
    async with database.reading() as connection:
        await exchanges.read_all(connection)


async def _is_there(name: str, answer: Awaitable[object]) -> bool:
    """Why it is not goes to the log: whoever may ask without a word of who they are learns no address."""
    try:
        async with asyncio.timeout(WITHIN_S):
            await answer
    except (PerseusError, TimeoutError) as error:
        _log.warning("not_ready", part=name, error=str(error) or f"no answer within {WITHIN_S:g} s")
        return False
    return True


def _answer(parts: Mapping[str, str]) -> Response:
    status = 200 if set(parts.values()) == {"ok"} else 503
    return Response(msgspec.json.encode(parts), status, media_type="application/json")
