"""Look names up without ever being waited for: aiohttp's own look-ups keep a process alive that wants to end.

They run in the event loop's thread pool, which is joined at exit; a look-up without an answer takes the system ten
seconds and more.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult


class Resolver(AbstractResolver):
    """The system's own resolver, each look-up on a thread that dies with the process."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises: OSError if there are none."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Any]] = loop.create_future()

        def look_up() -> None:
            result: list[Any] | OSError
            try:
                result = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
            except OSError as error:
                result = error
            except UnicodeError:
                result = OSError("no name that can be looked up")
            with suppress(RuntimeError):  # the loop was closed while we looked
                loop.call_soon_threadsafe(_settle, found, result)

        threading.Thread(target=look_up, name="look-up", daemon=True).start()
        return [_result(host, port, address) for address in await found]

    async def close(self) -> None:
        """Nothing is kept."""


def _settle(found: asyncio.Future[list[Any]], result: list[Any] | OSError) -> None:
    if found.done():  # nobody waits any more
        return
    if isinstance(result, OSError):
        found.set_exception(result)
    else:
        found.set_result(result)


def _result(host: str, port: int, address: Any) -> ResolveResult:
    family, _, protocol, _, place = address
    return ResolveResult(
        hostname=host, host=place[0], port=port, family=family, proto=protocol, flags=socket.AI_NUMERICHOST
    )
