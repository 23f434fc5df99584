"""All WebSockets of a server: who is let in, who is open, and how they are closed together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any

from perseus.web.trpc.calls import Calls
from perseus.web.trpc.connection import Scope
from perseus.web.trpc.encoding import error_envelope
from perseus.web.trpc.errors import TRPCError
from perseus.web.trpc.incoming import Receive
from perseus.web.trpc.limits import Limits
from perseus.web.trpc.outgoing import Send
from perseus.web.trpc.procedures import Router
from perseus.web.trpc.websocket import RESTART, Socket


class Sockets:
    """Accepts WebSockets: an ASGI application."""

    def __init__(self, router: Router, calls: Calls, limits: Limits, *, client_of: Callable[[Scope], Hashable]) -> None:
        self._router = router
        self._client_of = client_of
        self._waiting: dict[Socket, Hashable] = {}
        self._calls = calls
        self._limits = limits
        self.open: set[Socket] = set()
        self.closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket from its opening to its end."""
        await receive()
        client = self._client_of(scope)
        if (refusal := self._refusal(client)) is not None:
            await _refuse(refusal, scope, send)
            return

        def admitted() -> None:
            self._waiting.pop(socket, None)

        socket = Socket(self._router, self._calls, self._limits, scope, admitted=admitted)
        self._waiting[socket] = client
        try:
            await send({"type": "websocket.accept"})
            self.open.add(socket)
            await socket.serve(receive, send)
        finally:
            self.open.discard(socket)
            admitted()

    def reconnect_all(self) -> None:
        """Ask every client to connect again."""
        for socket in self.open:
            socket.ask_to_reconnect()

    def end_all(self) -> None:
        """Close every socket; its client connects again where the address leads to then."""
        for socket in tuple(self.open):
            socket.end(RESTART)

    @property
    def answers_under_way(self) -> list[asyncio.Task[Any]]:
        """The tasks of queries and mutations that have not been answered."""
        return [task for socket in self.open for task in socket.calls.queries]

    def _refusal(self, client: Hashable) -> TRPCError | None:
        """Why one more socket of this client is not let in. Who says nothing must not keep out who would."""
        limits, waiting = self._limits, self._waiting
        if self.closing:
            return TRPCError("SERVICE_UNAVAILABLE", "The server is shutting down")
        if len(self.open) >= limits.sockets or len(waiting) >= limits.sockets_waiting:
            return TRPCError("SERVICE_UNAVAILABLE", f"The server has {len(self.open)} sockets open, which is the limit")
        own = sum(other == client for other in waiting.values())
        if own < limits.client_sockets_waiting:
            return None
        return TRPCError(
            "TOO_MANY_REQUESTS", f"{own} sockets of this client wait for their connectionParams, which is the limit"
        )


async def _refuse(refusal: TRPCError, scope: Scope, send: Send) -> None:
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": RESTART})
        return
    headers = [(b"content-type", b"application/json")]
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": error_envelope(refusal)})
