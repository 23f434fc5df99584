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
        self.was_ended = False
        """Whether somebody called `end`."""
        self.when_over: Callable[[Stay], None] | None = None
        self._task: asyncio.Task[Any] | None = None

    @classmethod
    def of(cls, scope: Scope) -> Stay | None:
        """The stay of a request that passed the guard."""
        return scope.get(_KEY)

    def end(self) -> None:
        """Cancel what serves the request; `serving` then raises TimeoutError."""
        if self._task is not None and not self.was_ended:
            self.was_ended = True
            self._task.cancel()

    async def serving(self, app: Any, scope: Scope, receive: Any, send: Any) -> None:
        """Let an ASGI app serve the request. Raises: what it raises; TimeoutError if the stay was ended."""
        scope[_KEY] = self
        self._task = task = asyncio.current_task()
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError as error:
            if not self.was_ended or task is None or task.uncancel() > 0:  # somebody else cancels us, too
                raise
            raise TimeoutError from error
        finally:
            self._task = None
            if self.when_over is not None:
                self.when_over(self)
