"""Names are looked up as the system does, on threads nobody waits for."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from perseus.resolver import Resolver

HUNG = """
import asyncio, contextlib, socket, time
from perseus.exchanges.http import get, new_session

socket.getaddrinfo = lambda *_, **__: time.sleep(60)

async def main():
    async with new_session() as session:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await get(session, "https://exchange.example/time", {})
    print("closed")

asyncio.run(main())
"""


async def test_name_is_looked_up() -> None:
    """In the form aiohttp connects with."""
    found = await Resolver().resolve("localhost", 443, socket.AF_INET)
    assert {(one["host"], one["port"], one["hostname"]) for one in found} == {("127.0.0.1", 443, "localhost")}


@pytest.mark.parametrize("name", ["no-such-name.invalid", "x" * 64 + ".invalid", "a..b"])
async def test_name_nobody_has_is_an_os_error(name: str) -> None:
    """Anything else would be waited for until the request's time is over."""
    with pytest.raises(OSError):
        await Resolver().resolve(name, 443)


def test_look_up_without_an_answer_does_not_keep_an_instance() -> None:
    """Its lease is given back at once, and its process must end, too, for the next one to start."""
    done = subprocess.run([sys.executable, "-c", HUNG], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "closed\n"
