"""A request that is being served and can be ended from outside: what a revoked identity needs to be out at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import Scope

_KEY = "perseus.stay"


class Stay:
    """One request or WebSocket for as long as it is served."""

    def __init__(self) -> None:
        self._timeout = asyncio.timeout(None)
        self.when_over: Callable[[], Any] = bool  # nothing to do

    @classmethod
    def of(cls, scope: Scope) -> Stay | None:
        """The stay of a request that passed the guard."""
        return scope.get(_KEY)

    @property
    def was_ended(self) -> bool:
        """Whether somebody called `end`."""
        return self._timeout.expired()

    def end(self) -> None:
        """Cancel what serves the request; `serving` then raises TimeoutError."""
        self._timeout.reschedule(asyncio.get_running_loop().time())

    async def serving(self, app: Any, scope: Scope, receive: Any, send: Any) -> None:
        """Let an ASGI app serve the request. Raises: what it raises; TimeoutError if the stay was ended."""
        scope[_KEY] = self
        try:
            async with self._timeout:
                await app(scope, receive, send)
        finally:
            self.when_over()
