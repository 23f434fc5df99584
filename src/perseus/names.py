"""Look names up without ever being waited for.

The event loop's own look-ups run in its thread pool, which is joined at exit; one without an answer takes the system
ten seconds and more, for which a process that has given its lease back would go on.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Any


async def addresses(host: str, port: int, *, family: int = socket.AF_UNSPEC, flags: int = 0) -> list[Any]:
    """What the system's `getaddrinfo` finds, on a thread that dies with the process. Raises: OSError if nothing."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Any]] = loop.create_future()

    def look_up() -> None:
        result: list[Any] | OSError
        try:
            result = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, flags)
        except OSError as error:
            result = error
        except UnicodeError:
            result = OSError("no name that can be looked up")
        with suppress(RuntimeError):  # the loop was closed while we looked
            loop.call_soon_threadsafe(_settle, found, result)

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    return await found


def _settle(found: asyncio.Future[list[Any]], result: list[Any] | OSError) -> None:
    if found.done():  # nobody waits any more
        return
    if isinstance(result, OSError):
        found.set_exception(result)
    else:
        found.set_result(result)
