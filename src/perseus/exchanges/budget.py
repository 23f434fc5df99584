"""Keeping within a venue's request limit: weights counted per minute of the venue's own clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from perseus.clock import Clock

MINUTE_MS = 60_000
USABLE = 0.8  # others behind the same address use the venue too
LEAST_SLEEP_S = 0.001  # a rest too small for the clock to show would be waited for without end
SLACK_S = 0.2  # our idea of the venue's minute may be early


class WeightBudget:
    """Makes callers wait until a request's weight fits into the current minute, in the order they came.

    Units: weight a minute. The venue's own count, where it says one, replaces ours.
    """

    def __init__(self, *, limit: int, clock: Clock, venue_ms: Callable[[], int]) -> None:
        self.limit = limit
        self._clock = clock
        self._venue_ms = venue_ms
        self._minute = -1
        self._used = 0
        self._blocked_until = float("-inf")  # boot-time seconds
        self._turn = asyncio.Lock()

    @property
    def blocked_s(self) -> float:
        """How long the venue still wants no request at all; 0 if it takes them."""
        return max(0.0, self._blocked_until - self._clock.now())

    @property
    def minute(self) -> int:
        """The venue's minute now: ask before a request, and give it to `observe` with the answer."""
        return self._venue_ms() // MINUTE_MS

    async def spend(self, weight: int) -> None:
        """Wait until `weight` may be spent, and count it."""
        async with self._turn:
            while (wait_s := self._wait_s(weight)) > 0:  # while we wait, an answer may forbid more
                await self._clock.sleep(wait_s)
            self._used += weight

    def observe(self, used: int, *, minute: int) -> None:
        """Take the venue's own count for a request sent in `minute`; other programs behind our address count too."""
        self._new_minute()
        if minute == self._minute:  # else it may count what no longer matters
            self._used = max(self._used, used)

    def block(self, seconds: float) -> None:
        """Send nothing for this long: the venue said so."""
        self._blocked_until = max(self._blocked_until, self._clock.now() + seconds)

    def _wait_s(self, weight: int) -> float:
        self._new_minute()
        if self.blocked_s:
            return max(LEAST_SLEEP_S, self.blocked_s)
        if self._used and self._used + weight > self.limit * USABLE:
            return (MINUTE_MS - self._venue_ms() % MINUTE_MS) / 1000 + SLACK_S
        return 0.0

    def _new_minute(self) -> None:
        minute = self.minute
        if minute != self._minute:
            self._minute, self._used = minute, 0
