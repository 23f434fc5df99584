"""Whether this process lives, and whether it can do its work: what load balancers and supervisors ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perseus.database import exchanges
from perseus.database.engine import Database
from perseus.errors import PerseusError
from perseus.store import Store

WITHIN_S = 2.0
_log = structlog.get_logger()


def routes(store: Store, database: Database) -> list[Route]:
    """`GET /healthz`: the process answers. `GET /readyz`: store and database answer too; 503 naming what does not."""

    async def healthz(_request: Request) -> Response:
        return _answer({"process": "ok"})

    async def readyz(_request: Request) -> Response:
        async with asyncio.TaskGroup() as tasks:
            asked = {
                "store": tasks.create_task(_is_there("store", store.time_ms())),
                "database": tasks.create_task(_is_there("database", _ask(database))),
            }
        return _answer({name: "ok" if task.result() else "unavailable" for name, task in asked.items()})

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


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


def _answer(parts: dict[str, str]) -> Response:
    status = 200 if set(parts.values()) == {"ok"} else 503
    return Response(msgspec.json.encode(parts), status, media_type="application/json")
