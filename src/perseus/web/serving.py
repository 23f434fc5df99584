"""One port, from its opening to its orderly close: what uvicorn does for us, and what we do not leave to it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from ipaddress import ip_address

import uvicorn
from starlette.types import ASGIApp

from perseus.accepting import take_no_more
from perseus.errors import CannotListen
from perseus.web import remarks
from perseus.web.heads import BoundedHttp
from perseus.web.trpc import Limits

BACKLOG = 2048
LARGEST_MESSAGE = 2 * Limits().frame_bytes  # of a WebSocket: the protocol above answers what is a little too long
CLOSE_WITHIN_S = 3.0  # streams and sockets are ended by then, and calls under way
GRACE_S = 2  # and by then whoever still has not read their answer is cut off


class _Uvicorn(uvicorn.Server):
    """Without signal handlers: the command line has its own, and `should_exit` is ours to set."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]  # a context manager like the original
        return nullcontext()


def listen(host: str, port: int) -> socket.socket:
    """Open the port; 0 takes a free one. Raises: CannotListen, saying what to do."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise CannotListen(
            f"The host {host!r} to listen on cannot be resolved: {error.strerror}. Set HOST to an address of this "
            f"machine, 127.0.0.1 for this machine only."
        ) from error
    door = socket.socket(family, kind, protocol)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        door.listen(BACKLOG)
    except OSError as error:
        door.close()
        raise CannotListen(
            f"Cannot listen on {host} port {port}: {error.strerror}. {_fix(error)}",
            is_taken=error.errno == errno.EADDRINUSE,
        ) from error
    door.setblocking(False)
    return door


def url_of(door: socket.socket, public_url: str = "") -> str:
    """Where a browser on this machine, or through PUBLIC_URL anywhere, finds the port."""
    if public_url:
        return public_url
    host, port = door.getsockname()[:2]
    address = ip_address(host.partition("%")[0])
    if address.is_unspecified:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(
    app: ASGIApp, door: socket.socket, *, stop: asyncio.Event, close: Callable[[float], Awaitable[None]]
) -> None:
    """Serve until `stop` is set, then close: no new connections, `close` ends what lasts, answers under way go out."""
    config = uvicorn.Config(
        app,
        log_config=None,  # what is worth a line is logged where it happens, and by `remarks`
        log_level="warning",  # which needs to hear of it, whatever another server in this process asked for
        access_log=False,
        lifespan="off",
        http=BoundedHttp,
        proxy_headers=False,  # the guard believes the proxies it is told to, uvicorn any on this machine
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        ws="websockets-sansio",
        ws_max_size=LARGEST_MESSAGE,
        ws_per_message_deflate=False,  # it would unpack megabytes for anybody before it is asked who they are
        ws_ping_interval=None,  # the protocol above has its own
    )
    server = _Uvicorn(config)
    with remarks.logged():
        await _run(server, door, stop=stop, close=close)


async def _run(
    server: _Uvicorn, door: socket.socket, *, stop: asyncio.Event, close: Callable[[float], Awaitable[None]]
) -> None:
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[door]), name="web")
        stopping = tasks.create_task(stop.wait(), name="web stop")
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not serving.done():
            await take_no_more(server.servers)
            await close(CLOSE_WITHIN_S)
            server.should_exit = True


def _fix(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "Another program has it: end that one, or choose another port with --port."
        case errno.EACCES:
            return "Ports below 1024 need privileges: choose one above with --port, behind a reverse proxy."
        case errno.EADDRNOTAVAIL:
            return "That address is not one of this machine's: set HOST to one that is."
    return "Set HOST and PORT to what this machine can listen on."
