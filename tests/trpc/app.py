"""The test application for any tRPC conformance suite: `python tests/trpc/app.py --port N [--token T]`."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import structlog
import uvicorn

if not __package__:  # run as a script
    sys.path[0] = str(Path(__file__).parents[2])

from perseus.web.trpc import ConnectionInfo, Limits, Procedure, Server, TRPCError
from tests.trpc.procedures import Context, Procedures

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
LIMITS = Limits(
    body_bytes=1 << 20,
    batch_calls=20,
    socket_batch_calls=20,
    events_ping_s=1.0,
    events_reconnect_s=3.0,
    jsonl_ping_s=0.5,
    socket_ping_s=2.0,
    socket_pong_s=1.5,
)
ORIGIN = "http://ui.example"


def trpc_server(token: str | None = None, *, limits: Limits = LIMITS) -> Server:
    """A server with a state of its own. With a token `demo.*` wants it; `reject-me` is refused by the context."""

    async def context(info: ConnectionInfo) -> Context:
        scheme, _, bearer = info.headers.get("authorization", "").partition(" ")
        sent = bearer if scheme == "Bearer" else (info.connection_params or {}).get("token")
        if sent == "reject-me":
            raise TRPCError("UNAUTHORIZED", "Token rejected")
        return Context(sent)

    def authorize(context: Context, path: str, procedure: Procedure) -> None:
        if token is not None and path.startswith("demo.") and context.token != token:
            raise TRPCError("UNAUTHORIZED", "Token needed")

    procedures = Procedures()
    procedures.server = Server(
        procedures.router(), context=context, authorize=authorize, limits=limits, allow_origin=[ORIGIN]
    )
    return procedures.server


def mounted(server: Server) -> App:
    """The server at /trpc and nothing elsewhere, as a framework would mount it."""

    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["path"] == "/trpc" or scope["path"].startswith("/trpc/"):
            await server({**scope, "root_path": "/trpc"}, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body"})

    return app


def application(token: str | None = None) -> App:
    """The whole test application."""
    return mounted(trpc_server(token))


def log_plainly() -> None:
    """Log crashes as plain tracebacks: with every local in a frame each held the server up for 50 ms."""
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])


class Serving(uvicorn.Server):
    """uvicorn, which says where it listens and closes what is open before it ends."""

    def __init__(self, server: Server, *, port: int = 0, announce: bool = False) -> None:
        super().__init__(
            uvicorn.Config(
                mounted(server),
                port=port,
                ws="websockets-sansio",
                ws_max_size=2 << 20,
                ws_ping_interval=None,
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                timeout_graceful_shutdown=3,
            )
        )
        self._trpc = server
        self._announce = announce
        self.url = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say where."""
        await super().startup(sockets)
        self.url = f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}/trpc"
        if self._announce:
            print(f"ready {self.url}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams and sockets first: uvicorn would wait for them."""
        await self._trpc.close(within_s=1.0)
        await super().shutdown(sockets)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token")
    arguments = parser.parse_args()
    log_plainly()
    serving = Serving(trpc_server(arguments.token), port=arguments.port, announce=True)
    with asyncio.Runner(loop_factory=serving.config.get_loop_factory()) as runner:
        runner.run(serving.serve())


if __name__ == "__main__":
    main()
