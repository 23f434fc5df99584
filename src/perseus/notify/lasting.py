"""Work that is to last: a defect of ours in one part must not silence the others, nor end unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from perseus.notify.keeping import TenureOver

AGAIN_IN_S = 1.0
T = TypeVar("T")
log = structlog.get_logger()


class Lasting:
    """Parts of one tenure's work, each begun again when it fails. `trouble`: which ones did, a sentence."""

    def __init__(self) -> None:
        self._failed: dict[str, str] = {}

    @property
    def trouble(self) -> str | None:
        """What fails in this tenure through a defect of ours."""
        failed = "; ".join(f"{part}: {what}" for part, what in self._failed.items())
        return f"A part of the notifier fails and is tried again ({failed}); its log says more" if failed else None

    async def last(self, part: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do this work for ever. Raises: TenureOver."""
        while True:
            try:
                await work()
            except TenureOver:
                raise
            except asyncio.CancelledError as error:
                if is_cancelled():
                    raise
                self._again(part, "it was cancelled by nobody", error)
            except Exception as error:  # noqa: BLE001  logged, with its trace, by what follows
                self._again(part, type(error).__name__, error)
            else:
                self._again(part, "it ended", None)
            await asyncio.sleep(AGAIN_IN_S)

    def _again(self, part: str, what: str, error: BaseException | None) -> None:
        if part in self._failed:  # it has been said already, and would be every second
            return
        self._failed[part] = what
        log.error("notifier_part_failed", part=part, why=what, again_in_s=AGAIN_IN_S, exc_info=error)


async def finished(work: Coroutine[Any, Any, T], *, within_s: float, ending: Callable[[], None] = lambda: None) -> T:
    """Do this, and when cancelled meanwhile call `ending` and let it come to its end first, if that is within so long.

    Cancelling a request on its way, or a connection being opened, loses what became of it.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        ending()
        await asyncio.wait({task}, timeout=within_s)
        if not task.cancel() and not task.cancelled() and (error := task.exception()) is not None:
            log.warning("not_finished", error=str(error) or type(error).__name__)
        raise


def is_cancelled() -> bool:
    """Whether somebody wants this task to end; a cancelled call of a library's within it looks the same otherwise."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
