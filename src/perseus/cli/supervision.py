"""What the supervisor that started us (systemd's `Type=notify`) is told: ready, alive, stopping.

A datagram to the socket that NOTIFY_SOCKET names; where that is not set, nothing is told and nothing runs.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

EXTEND_EVERY_S = 5.0
EXTEND_BY_S = 30.0
RETRY_S = 0.1
BEATS = 4  # in the time after which silence counts as death: three may be late

log = structlog.get_logger()


async def _at_once() -> None:
    """Nothing to wait for."""


@asynccontextmanager
async def supervised(
    *,
    stop: asyncio.Event,
    ready: Callable[[], Awaitable[None]] = _at_once,
    alive: Callable[[], Awaitable[None]] = _at_once,
) -> AsyncIterator[None]:
    """Tell the supervisor, during the block, how we are.

    READY=1 once `ready` returns; until then it is asked for more time, so a start may take as long as it must.
    WATCHDOG=1 several times in each WATCHDOG_USEC, each after `alive` has returned on the running event loop: whoever
    hangs is silent. STOPPING=1 once `stop` is set. A supervisor that cannot be told is logged, once; we go on.
    """
    address, watchdog_s = os.environ.pop("NOTIFY_SOCKET", ""), _watchdog_s()  # what we start has no business with it
    if not address:
        yield
        return
    tell = _teller(address)
    tasks = [
        asyncio.create_task(_beat(tell, ready=ready, alive=alive, watchdog_s=watchdog_s), name="supervisor"),
        asyncio.create_task(_say_stopping(tell, stop), name="supervisor, at the end"),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("supervision_failed", error=repr(outcome))


async def _beat(
    tell: Callable[[str], Awaitable[None]],
    *,
    ready: Callable[[], Awaitable[None]],
    alive: Callable[[], Awaitable[None]],
    watchdog_s: float,
) -> None:
    becoming = asyncio.ensure_future(ready())
    try:
        while not (await asyncio.wait({becoming}, timeout=EXTEND_EVERY_S))[0]:
            await alive()
            await tell(f"EXTEND_TIMEOUT_USEC={EXTEND_BY_S * 1e6:.0f}")
        becoming.result()
    finally:
        becoming.cancel()
    await tell("READY=1")
    while watchdog_s:
        await alive()
        await tell("WATCHDOG=1")
        await asyncio.sleep(watchdog_s / BEATS)


async def _say_stopping(tell: Callable[[str], Awaitable[None]], stop: asyncio.Event) -> None:
    await stop.wait()
    await tell("STOPPING=1")


def _watchdog_s() -> float:
    """How long we may be silent; 0: for ever, or it is not us who is watched."""
    us, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
    return int(us) / 1e6 if us.isdecimal() and pid in ("", str(os.getpid())) else 0.0


def _teller(address: str) -> Callable[[str], Awaitable[None]]:
    """What sends one message, without ever blocking: a supervisor that does not listen must not hold up a heartbeat."""
    name = "\0" + address[1:] if address.startswith("@") else address
    told_of_failure = False

    async def tell(message: str) -> None:
        nonlocal told_of_failure
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            while True:
                try:
                    line.sendto(message.encode(), name)
                except BlockingIOError:  # it has not read what it was told before
                    await asyncio.sleep(RETRY_S)
                    continue
                except OSError as error:
                    if not told_of_failure:
                        log.warning("supervisor_not_reached", socket=address, message=message, error=str(error))
                    told_of_failure = True
                return

    return tell
