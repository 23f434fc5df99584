"""A port that is closed while somebody comes."""

from __future__ import annotations

import asyncio
import gc
import socket

import pytest

from perseus.accepting import take_no_more


@pytest.mark.parametrize("turns", range(4))
async def test_connection_that_comes_while_the_port_closes_is_not_lost(turns: int) -> None:
    """It is served, or refused by the system; lost, it hangs until the garbage collector finds its socket."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    with socket.create_connection(listener.sockets[0].getsockname()) as client:
        for _ in range(turns):  # in one of them it is being accepted
            await asyncio.sleep(0)
        await take_no_more([listener])
        client.setblocking(False)
        try:
            async with asyncio.timeout(5):
                left = await asyncio.get_running_loop().sock_recv(client, 1)
        except ConnectionResetError:
            left = b""
    assert left == b""
    gc.collect()  # which would warn here of what was lost
