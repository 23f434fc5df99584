"""A clock that stands still until it is told to go on, for code whose only input is time."""

from __future__ import annotations


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
