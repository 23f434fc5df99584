"""How fast one webhook may be used, by what Discord's answers say of its rate limits.

A request belongs to a bucket; which one, how much is left in it and when it is full again is only known from answers.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from perseus.clock import Clock

Route = Literal["post", "edit"]
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0  # between two attempts of our own accord
LONGEST_ASKED_S = 3600.0  # whatever Discord asks for: a wrong figure must not silence a channel for ever
SLACK_S = 0.05  # what Discord says is rounded
_DOUBLINGS = 10  # past LONGEST_PAUSE_S, and far from what is no float any more


@dataclass
class _Bucket:
    name: str
    remaining: int = 1
    full_at: float = float("-inf")  # boot-time seconds


class Pace:
    """What is known of one webhook. Units: seconds. Who uses the webhook holds `turn` from `wait_s` to `observe`."""

    def __init__(self, clock: Clock) -> None:
        self.turn = asyncio.Lock()
        self._clock = clock
        self._buckets: dict[Route, _Bucket] = {}
        self._failures = 0

    def wait_s(self, route: Route) -> float:
        """How long until a request may be sent; 0 if now, or if nothing is known yet."""
        bucket = self._buckets.get(route)
        if bucket is None or bucket.remaining > 0:
            return 0.0
        return max(0.0, bucket.full_at - self._clock.now())

    def spend(self, route: Route) -> None:
        """Count a request that is sent now: its answer, which would tell, may never come."""
        if (bucket := self._buckets.get(route)) is not None:
            if bucket.full_at <= self._clock.now():
                bucket.remaining = 1  # full again, of unknown size: its answer will tell
            bucket.remaining -= 1

    def observe(self, route: Route, headers: Mapping[str, str]) -> None:
        """Take what an answer says. `headers` by lower-case name; without the rate limit's nothing changes."""
        remaining = seconds(headers.get("x-ratelimit-remaining"))
        full_after = seconds(headers.get("x-ratelimit-reset-after"))
        if remaining is None or full_after is None:
            return
        bucket = self._bucket(route, headers.get("x-ratelimit-bucket", route))
        bucket.remaining, bucket.full_at = int(remaining), self._clock.now() + full_after + SLACK_S

    def block(self, route: Route, seconds: float) -> None:
        """Send nothing on this route for so long: Discord said so."""
        bucket = self._buckets.setdefault(route, _Bucket(route))
        bucket.remaining, bucket.full_at = 0, max(bucket.full_at, self._clock.now() + seconds + SLACK_S)

    def succeeded(self) -> None:
        """An answer came that means what it says: the next trouble is a first one again."""
        self._failures = 0

    def failed(self) -> float:
        """Count a failure; how long to leave the webhook alone now. It doubles each time, and is spread."""
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures, _DOUBLINGS))
        self._failures += 1
        return random.uniform(pause / 2, pause)  # noqa: S311  no secret: what failed together comes back apart

    def _bucket(self, route: Route, name: str) -> _Bucket:
        """The bucket of this name, shared by routes that were told the same one."""
        known = next((bucket for bucket in self._buckets.values() if bucket.name == name), None)
        self._buckets[route] = known or _Bucket(name)
        return self._buckets[route]


def seconds(said: object) -> float | None:
    """A duration another program wrote, as text or number, cut to `LONGEST_ASKED_S`; None if it is none."""
    if not isinstance(said, str | int | float) or isinstance(said, bool):
        return None
    try:
        value = float(said)
    except (ValueError, OverflowError):
        return None
    return min(value, LONGEST_ASKED_S) if math.isfinite(value) and value >= 0 else None
