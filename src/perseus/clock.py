"""The only reader of time: a boot-time clock for durations and deadlines, the store's clock for timestamps.

Two hosts' clocks are never compared. The host's wall clock is read in one place (`Clock.wall_ms`), for the one
rule that needs it: the activity log trims by the earlier of the store's and the host's time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

# CLOCK_BOOTTIME counts suspend; on macOS CLOCK_MONOTONIC does (and time.monotonic() there does not).
_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
STEP_MS = 1000.0  # two clocks that advance differently by more have not just drifted apart
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What every timed part of Perseus is given; tests and the simulation give their own."""

    def now(self) -> float:
        """Seconds on the boot-time clock: only differences mean anything, suspend is counted."""
        ...

    def wall_ms(self) -> int:
        """The host's wall clock, Unix milliseconds. It may be wrong by any amount."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait at least `seconds`; negative counts as zero."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        """Seconds since boot, suspend included."""
        return time.clock_gettime(_BOOT_CLOCK)

    def wall_ms(self) -> int:
        """Unix milliseconds by this host."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(max(0.0, seconds))


class StoreTime:
    """The store's clock, carried between answers by our own boot-time clock.

    Units: Unix milliseconds. Every answer that carries the store's TIME calls `observe`; between answers the
    estimate advances with the boot-time clock, so a step of this host's wall clock changes nothing. `on_step` is told
    by how many milliseconds the store's clock was stepped, more than `STEP_MS`, whoever noticed it.
    """

    def __init__(self, clock: Clock, *, on_step: Callable[[float], None] | None = None) -> None:
        self._clock = clock
        self._on_step = on_step
        self._offset_ms: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether the store has told us its time yet."""
        return self._offset_ms is not None

    def observe(self, store_ms: float, *, sent_at: float | None = None) -> None:
        """Take the store's time just read, in answer to what was sent at `sent_at` (boot-time seconds; None: just now).

        The answer may have been long on its way; what was known stays if the store may have read its clock then.
        """
        earliest = latest = store_ms - self._clock.now() * 1000
        if sent_at is not None:
            latest = store_ms - sent_at * 1000
        known = earliest if self._offset_ms is None else self._offset_ms
        self._offset_ms = min(max(known, earliest), latest)
        step = self._offset_ms - known
        if abs(step) > STEP_MS and self._on_step is not None:
            self._on_step(step)

    def now_ms(self) -> int:
        """The store's time now. Before the store's first answer: this host's wall clock, the only one there is."""
        if self._offset_ms is None:
            return self._clock.wall_ms()
        return round(self._clock.now() * 1000 + self._offset_ms)


def iso(unix_ms: int) -> str:
    """ISO-8601 UTC with milliseconds and `Z`: `2026-02-10T14:02:11.000Z`."""
    return (_EPOCH + timedelta(milliseconds=unix_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_ms(text: str) -> int:
    """The Unix milliseconds of an ISO-8601 timestamp with zone. Raises: ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"timestamp {text!r} has no time zone")
    return round((moment - _EPOCH) / timedelta(milliseconds=1))
