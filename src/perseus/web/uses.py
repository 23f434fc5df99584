"""When credentials were last used, written down behind the requests: nobody waits for a write to be let in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import structlog

from perseus.clock import Clock
from perseus.database.engine import Database
from perseus.errors import DatabaseUnavailable
from perseus.web.credentials import Credential

PATIENCE_S = 0.5  # for others who write
RETRY_S = 5.0
LAST_S = 1.0  # at the end, for what still waits
_MOST = 4096  # that wait; beyond that the one that waits longest is not written
_log = structlog.get_logger()


class _Use(NamedTuple):
    write: Callable[[Any], Awaitable[None]]
    until_ms: int


class Uses:
    """The newest use of each credential that is yet to be written."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._waiting: dict[Credential, _Use] = {}
        self._is_any = asyncio.Event()

    def note(self, credential: Credential, write: Callable[[Any], Awaitable[None]], *, until_ms: int = 0) -> None:
        """Have a use written, which `write` does in a transaction. `until_ms`: until when it lets its session live."""
        self._waiting[credential] = _Use(write, until_ms)
        while len(self._waiting) > _MOST:
            del self._waiting[next(iter(self._waiting))]
        self._is_any.set()

    def until_ms(self, credential: Credential) -> int:
        """Until when a use that waits lets a session live, Unix ms; 0 if none does."""
        use = self._waiting.get(credential)
        return use.until_ms if use else 0

    async def run(self) -> None:
        """Write them as they come, again while the database does not let us; once more, briefly, when cancelled."""
        try:
            while True:
                await self._is_any.wait()
                self._is_any.clear()
                if not await self._write():
                    await self._clock.sleep(RETRY_S)
                    self._is_any.set()
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_S):
                    await self._write()

    async def _write(self) -> bool:
        """Write what waits, each by itself: a database that cannot be written now keeps nobody out."""
        try:
            for credential, use in list(self._waiting.items()):
                async with self._database.begin(patience_s=PATIENCE_S) as connection:
                    await use.write(connection)
                if self._waiting.get(credential) is use:
                    del self._waiting[credential]
        except DatabaseUnavailable as error:
            _log.warning("uses_not_noted", waiting=len(self._waiting), error=str(error))
            return False
        return True
