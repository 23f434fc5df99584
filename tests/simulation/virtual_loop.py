"""An event loop on a virtual clock that jumps to the next timer, for several simulated processes at once.

Every callback belongs to a simulated thread, or to the world outside (network, store, faults). A thread that is held
up keeps what it would have run; it runs when the thread goes on, in order. Nothing depends on real time, on addresses
in memory or on the operating system, so one seed is one run.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")

LEAST_S = 1e-6  # a timer is never due at once: a clock that runs slow would ask again and again without end


class Thread:
    """A thread of a simulated process: held up while the process is paused, hung or dead."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.other: Thread | None = None  # of the same process
        self.owner: Any = None  # the process
        self.held_by: set[str] = set()  # why it does not run
        self.waiting: list[asyncio.Handle] = []
        self.context = contextvars.copy_context()
        self.context.run(_THREAD.set, self)


_THREAD: contextvars.ContextVar[Thread | None] = contextvars.ContextVar("thread", default=None)


def current_thread() -> Thread | None:
    """The simulated thread that is running; None for the world outside."""
    return _THREAD.get()


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address."""

    def __init__(self, coro: Any, *, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop:
    """The loop, as much of one as asyncio asks for without sockets. `now`: true virtual seconds.

    `faults`: exceptions that nobody took. `steps`: callbacks run so far.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.faults: list[dict[str, Any]] = []
        self.steps = 0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self._asyncio = cast(asyncio.AbstractEventLoop, self)

    # -- what asyncio asks of a loop --------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds."""
        return self.now

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self._asyncio, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """From a thread to the other one of its process: each has a loop of its own, and this is both."""
        thread = _THREAD.get()
        target = thread.other if thread is not None else None
        return self.call_soon(callback, *args, context=context or (target.context if target else None))

    def call_at(
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        when = max(when, self.now + LEAST_S)
        handle = asyncio.TimerHandle(when, callback, args, self._asyncio, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It stays in the heap until it is due."""

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self._asyncio)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        self._count += 1
        return _Task(coro, number=self._count, loop=self._asyncio, name=name or "task", context=context)

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Always."""
        return True

    def is_closed(self) -> bool:
        """Never."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody took."""
        self.faults.append(context)

    # -- time and threads -------------------------------------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until `main` has ended. Raises: RuntimeError if nothing is left that could end it."""
        asyncio._set_running_loop(self._asyncio)
        try:
            task: asyncio.Task[T] = self.create_task(main)
            while not task.done():
                self._step()
            return task.result()
        finally:
            asyncio._set_running_loop(None)

    def _step(self) -> None:
        if not self._ready:
            self._jump()
        handle = self._ready.popleft()
        if handle.cancelled():
            return
        thread = _owner(handle)
        if thread is not None and thread.held_by:
            thread.waiting.append(handle)
            return
        self.steps += 1
        handle._run()

    def _jump(self) -> None:
        if not self._timers:
            raise RuntimeError("nothing is scheduled: everything waits for something that will never happen")
        self.now, _, timer = heapq.heappop(self._timers)
        self._ready.append(timer)

    def hold(self, thread: Thread, why: str) -> None:
        """Let a thread run no more until it is resumed."""
        thread.held_by.add(why)

    def resume(self, thread: Thread, why: str) -> None:
        """Let a thread go on, unless something else holds it up."""
        thread.held_by.discard(why)
        if not thread.held_by:
            self._ready.extend(thread.waiting)
            thread.waiting = []

    def postpone(self, threads: set[Thread], *, by_s: float) -> None:
        """Let these threads' timers be due later: they did not count while their host was suspended."""
        moved = [
            (when + by_s if _owner(timer) in threads else when, number, timer) for when, number, timer in self._timers
        ]
        self._timers = moved
        heapq.heapify(self._timers)


def _owner(handle: asyncio.Handle) -> Thread | None:
    context: contextvars.Context = handle._context  # type: ignore[attr-defined]  # there is no other way to know
    return context.get(_THREAD)


class ThreadLoop:
    """What the product sees of another thread's loop: callbacks given to it run on that thread."""

    def __init__(self, loop: VirtualLoop, thread: Thread) -> None:
        self._loop = loop
        self._thread = thread

    def call_soon_threadsafe(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return self._loop.call_soon(callback, *args, context=context or self._thread.context)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        return self._loop.create_task(coro, name=name, context=context)

    def get_debug(self) -> bool:
        """Never."""
        return False
