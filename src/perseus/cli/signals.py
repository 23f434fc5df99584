"""Ctrl-C and SIGTERM: the one place where signals become something a coroutine can wait for or be cancelled by."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Collection, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_event(*, insisting: Collection[int] = (signal.SIGINT,)) -> Iterator[asyncio.Event]:
    """An event that is set by the first SIGINT or SIGTERM, while the block runs. Inside a running loop only.

    A second Ctrl-C ends the process at once: a person who waits for a hanging shutdown means it. `insisting`: the
    signals of which that is true.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def ask() -> None:
        asked.set()
        for number in insisting:
            loop.remove_signal_handler(number)

    for number in ENDING:
        loop.add_signal_handler(number, ask)
    try:
        yield asked
    finally:
        for number in ENDING:
            loop.remove_signal_handler(number)


def run_until_signal(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` to its end and return its code, or 0 when a signal ended it by cancelling it."""

    async def supervised() -> int:
        with stop_event() as asked:
            working = asyncio.create_task(work, name="command")
            waiting = asyncio.create_task(asked.wait(), name="signal")
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not working.done():
                working.cancel()
                await asyncio.wait({working})
                return 0 if working.cancelled() else working.result()
            return working.result()

    return asyncio.run(supervised())
