"""Clocks that do as they are told: time passes, stands still or jumps when the test says so."""

from __future__ import annotations

import asyncio

from perseus.clock import SystemClock


class JumpingClock(SystemClock):
    """The machine's clocks, but the boot-time clock can jump ahead, as it does over a suspend."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def now(self) -> float:
        """Seconds since boot, the jumps included."""
        return super().now() + self._ahead_s

    def jump(self, seconds: float) -> None:
        """Be ahead by so much more."""
        self._ahead_s += seconds


class ManualClock:
    """Boot time and wall time under the test's control. Sleeping advances it at once. Units: seconds."""

    def __init__(self, *, wall_ms: int = 1_795_378_000_000) -> None:
        self._now = 1000.0
        self._wall_ms = wall_ms
        self.slept: list[float] = []

    def now(self) -> float:
        """Seconds since boot."""
        return self._now

    def wall_ms(self) -> int:
        """The host's wall clock, Unix ms."""
        return self._wall_ms

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
        self._wall_ms += round(seconds * 1000)

    async def sleep(self, seconds: float) -> None:
        """Pass the time without waiting."""
        self.slept.append(max(0.0, seconds))
        self.advance(max(0.0, seconds))


class StandingClock(SystemClock):
    """A boot-time clock that only the test moves on: whoever sleeps on it sleeps until then. Units: seconds."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._moved = asyncio.Event()
        self.asleep: list[float] = []  # for how long each of those who sleep now wants to

    def now(self) -> float:
        """Seconds since boot."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake whose time has come."""
        self._now += seconds
        self._moved.set()
        self._moved = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has let so much time pass."""
        until = self._now + seconds
        self.asleep.append(seconds)
        try:
            while self._now < until:
                await self._moved.wait()
        finally:
            self.asleep.remove(seconds)


class TravellingClock(SystemClock):
    """The machine's clocks, both ahead by as much as the test says: what is due in a week is due now."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def now(self) -> float:
        """Seconds since boot, the journey included."""
        return super().now() + self._ahead_s

    def wall_ms(self) -> int:
        """Unix milliseconds, the journey included."""
        return super().wall_ms() + round(self._ahead_s * 1000)

    def travel(self, seconds: float) -> None:
        """Be so much later."""
        self._ahead_s += seconds
