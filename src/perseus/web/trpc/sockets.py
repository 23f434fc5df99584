"""All WebSockets of a server: who is let in, who is open, and how they are closed together."""

from __future__ import annotations

import asyncio
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

    def __init__(self, router: Router, calls: Calls, limits: Limits) -> None:
        self._router = router
        self._calls = calls
        self._limits = limits
        self.open: set[Socket] = set()
        self.closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket from its opening to its end."""
        await receive()
        if self.closing or len(self.open) >= self._limits.sockets:
            await self._refuse(scope, send)
            return
        await send({"type": "websocket.accept"})
        socket = Socket(self._router, self._calls, self._limits, scope)
        self.open.add(socket)
        try:
            await socket.serve(receive, send)
        finally:
            self.open.discard(socket)

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

    async def _refuse(self, scope: Scope, send: Send) -> None:
        why = "is shutting down" if self.closing else f"has {len(self.open)} sockets open, which is the limit"
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": RESTART})
            return
        body = error_envelope(TRPCError("SERVICE_UNAVAILABLE", f"The server {why}"))
        headers = [(b"content-type", b"application/json")]
        await send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
