"""The coordination thread: an event loop of its own, with its own connection to the store.

Renewals and the activity log run here, so a busy or hung feed can neither delay a heartbeat nor silence the log.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from perseus.store import Store

T = TypeVar("T")


class Coordination:
    """A running coordination thread; `store` may be used on its loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, store: Store) -> None:
        self.loop = loop
        self.store = store

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the coordination loop. Any thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def answers(self) -> None:
        """Return once the thread has come to it; never while it hangs. Raises: RuntimeError if it has ended."""
        answer: Future[None] = Future()

        def reply() -> None:
            if not answer.cancelled():  # nobody waits any more
                answer.set_result(None)

        self.loop.call_soon_threadsafe(reply)
        await asyncio.wrap_future(answer)


@asynccontextmanager
async def coordinating(url: str, *, timeout_s: float) -> AsyncIterator[Coordination]:
    """A coordination thread for the block. On leaving, whatever still runs on it is cancelled and awaited."""
    store = Store(url, timeout=timeout_s)
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=asyncio.run, args=(_live(ready, store),), name="coordination", daemon=True)
    thread.start()
    loop, over = ready.result()  # a moment; awaited, a cancellation here would leave the thread running for ever
    try:
        yield Coordination(loop, store)
    finally:
        loop.call_soon_threadsafe(over.set)
        await asyncio.to_thread(thread.join)


async def _live(ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]], store: Store) -> None:
    over = asyncio.Event()
    ready.set_result((asyncio.get_running_loop(), over))
    await over.wait()
    mine = asyncio.current_task()
    rest = [task for task in asyncio.all_tasks() if task is not mine]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await store.close()


async def settled(future: Future[Any], *, timeout_s: float) -> bool:
    """Wait for another thread's future, at most `timeout_s`; whether it succeeded. Its failure is not raised."""
    waiting = asyncio.wrap_future(future)
    waiting.add_done_callback(lambda late: late.cancelled() or late.exception())  # nobody else may look
    done, _ = await asyncio.wait({waiting}, timeout=timeout_s)
    return bool(done) and not waiting.cancelled() and waiting.exception() is None
