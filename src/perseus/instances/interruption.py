"""What ends an instance's work early, and the blocks it cancels: the loss of the lease, or a stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from perseus.errors import LeaseLost, StopRequested


class Interruption:
    """The blocks in which work is done, and why they must end. A loss outranks a stop: it says nothing may be emitted.

    `on_loss` hears of a loss that a block itself ran into (a refused write, a passed deadline).
    """

    def __init__(self, *, on_loss: Callable[[LeaseLost], None]) -> None:
        self.lost: LeaseLost | None = None
        self.stop: StopRequested | None = None
        self._on_loss = on_loss
        self._working: list[asyncio.Task[object]] = []
        self._cancelled: dict[asyncio.Task[object], LeaseLost | StopRequested] = {}

    @property
    def reason(self) -> LeaseLost | StopRequested | None:
        """Why work must end now, or None."""
        return self.lost or self.stop

    def cancel(self, reason: LeaseLost | StopRequested) -> None:
        """Cancel every open block but the caller's own, each once; it raises this reason, or a graver one by then."""
        for task in self._working:
            if task is not asyncio.current_task() and task not in self._cancelled:
                self._cancelled[task] = reason
                task.cancel()

    @asynccontextmanager
    async def block(self) -> AsyncIterator[None]:
        """Run the block until it ends or `cancel` is called, and then raise the reason out of it.

        An error of the block's own while it was being ended is the reason's cause; a LeaseLost that the block raises,
        alone or in a group, is a loss.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an instance's work runs in a task")
        self._working.append(task)
        try:
            yield
            await self._absorb(task)
        except asyncio.CancelledError:
            reason = self._restore(task)
            if reason is not None and task.cancelling() == 0:
                raise self.reason or reason from None
            raise
        except (Exception, BaseExceptionGroup) as error:
            self._restore(task)
            loss = _loss_in(error)
            if loss is not None:
                self._on_loss(loss)
            if self.reason is None or self.reason is error:
                raise
            raise self.reason from error
        finally:
            self._working.remove(task)

    async def _absorb(self, task: asyncio.Task[object]) -> None:
        """Take a cancellation that came too late for the block here, not in the code after it."""
        if task in self._cancelled:
            await asyncio.sleep(0)
            raise self.reason or self._cancelled[task]

    def _restore(self, task: asyncio.Task[object]) -> LeaseLost | StopRequested | None:
        """Undo our own cancellation of the task, if there was one; its reason."""
        reason = self._cancelled.pop(task, None)
        if reason is not None:
            task.uncancel()
        return reason


def _loss_in(error: BaseException) -> LeaseLost | None:
    if isinstance(error, LeaseLost):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((loss for inner in error.exceptions if (loss := _loss_in(inner))), None)
    return None
