"""The server: one ASGI application for HTTP and WebSocket, to be mounted where clients look for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Hashable
from typing import Any, Final

from perseus.web.trpc.calls import Authorize, Calls, Count, DescribeError, MakeContext
from perseus.web.trpc.connection import Scope, client_address
from perseus.web.trpc.cors import Origins
from perseus.web.trpc.http import HttpDoor
from perseus.web.trpc.incoming import Receive
from perseus.web.trpc.jsonl import JsonlStreams
from perseus.web.trpc.limits import Limits
from perseus.web.trpc.outgoing import Send
from perseus.web.trpc.procedures import Router
from perseus.web.trpc.sockets import Sockets
from perseus.web.trpc.sse import EventStreams

# How long what was cancelled may take to clean up.
_END_S: Final = 1.0


class Server:
    """Serves a router to tRPC v11 clients.

    `context` makes what procedures get first, once a request and once a WebSocket. `authorize` runs before an input is
    read. `describe_error` says what clients are told of our own exceptions; of others they learn a reference only.
    `count` is called once for each call asked for, whatever becomes of it, and for each frame that is none; what it
    raises is the answer. `client_of` says which connections are one client's; without it, those from one address.
    `allow_origin` are the other origins whose pages may call, "*" for all. A batch and queries by POST may be refused.
    """

    def __init__(
        self,
        router: Router,
        *,
        context: MakeContext,
        authorize: Authorize | None = None,
        describe_error: DescribeError | None = None,
        count: Count | None = None,
        client_of: Callable[[Scope], Hashable] = client_address,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        allow_origin: Collection[str] = (),
        batching: bool = True,
        method_override: bool = True,
    ) -> None:
        self.router = router
        calls = Calls(context=context, authorize=authorize, describe_error=describe_error, count=count)
        self._events = EventStreams(calls, limits)
        self._jsonl = JsonlStreams(calls, limits)
        self._sockets = Sockets(router, calls, limits, client_of=client_of)
        self._http = HttpDoor(
            router,
            calls,
            limits=limits,
            origins=Origins(allow_origin),
            batching=batching,
            method_override=method_override,
            stream=self._jsonl,
            subscribe=self._events,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request or one WebSocket."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._sockets(scope, receive, send)
        else:
            raise ValueError(f"A tRPC server is mounted for http and websocket, not for {scope['type']}")

    def reconnect_all(self) -> None:
        """Ask the client of each WebSocket to connect again."""
        self._sockets.reconnect_all()

    async def close(self, within_s: float = 5.0) -> None:
        """End streams and sockets, and take no new ones. Answers under way may take `within_s`.

        Does not promise: to end plain HTTP calls, which whoever serves this application waits for.
        """
        self._events.closing = self._sockets.closing = True
        self._sockets.reconnect_all()
        for stream in tuple(self._events.open):
            stream.end()
        answers = [*self._sockets.answers_under_way, *(stream.task for stream in self._jsonl.open)]
        if answers:
            await asyncio.wait(answers, timeout=within_s)
        for stream in tuple(self._jsonl.open):
            stream.end()
        self._sockets.end_all()
        streams = (stream.task for stream in (*self._events.open, *self._jsonl.open))
        rest: list[asyncio.Task[Any]] = [*streams, *(socket.task for socket in self._sockets.open)]
        if rest:
            await asyncio.wait(rest, timeout=_END_S)
