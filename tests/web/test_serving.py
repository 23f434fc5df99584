"""The port's end: nobody who came to it is left waiting."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from perseus.web.serving import listen, serve

TURNS = 8  # of the loop, after which the port is closed for certain


async def _nothing_lasts(within_s: float) -> None:
    """End no streams: there are none."""


@contextmanager
def _client(address: Any) -> Iterator[socket.socket]:
    with socket.create_connection(address) as client:
        client.setblocking(False)
        yield client


@pytest.mark.parametrize("turns", range(TURNS))
async def test_client_that_comes_while_the_port_closes_is_let_go(turns: int) -> None:
    """One that is being accepted at that moment was lost by the event loop, and kept a connection to nobody."""
    loop = asyncio.get_running_loop()
    door, stop = listen("127.0.0.1", 0), asyncio.Event()
    address = door.getsockname()
    serving = asyncio.create_task(serve(PlainTextResponse("here"), door, stop=stop, close=_nothing_lasts))
    with _client(address) as early:
        await loop.sock_sendall(early, b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        while await loop.sock_recv(early, 1000):  # so it has started
            pass
    stop.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    with suppress(ConnectionRefusedError), _client(address) as late:
        await serving
        async with asyncio.timeout(5):
            with suppress(ConnectionResetError):  # it had not been accepted yet
                assert await loop.sock_recv(late, 1) == b""
    await serving
