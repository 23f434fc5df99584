"""The venue's limits: request weight a minute for REST, messages a second for a WebSocket.

Source: the venue's public documentation. Unverified: how many refused requests lead to a ban, and for how long.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import NamedTuple

MINUTE_MS = 60_000
STRIKES = 10
"""Refused requests within a minute which end in a ban."""
BAN_MS = 120_000


class Verdict(NamedTuple):
    """What to answer: 200, or 429 or 418 with `retry_after` in seconds. `used` is this minute's weight."""

    status: int
    used: int
    retry_after: int


class _Client:
    def __init__(self) -> None:
        self.minute = self.used = self.strikes = self.banned_until = 0


class WeightLimit:
    """Request weight by address and minute; going on after a refusal ends in a ban."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._clients: defaultdict[str, _Client] = defaultdict(_Client)

    def use(self, address: str, weight: int, *, now_ms: int) -> Verdict:
        """Count a request and say whether it may be answered."""
        client = self._clients[address]
        if now_ms < client.banned_until:
            return Verdict(418, client.used, 1 + (client.banned_until - now_ms) // 1000)
        minute = now_ms // MINUTE_MS
        if minute != client.minute:
            client.minute, client.used, client.strikes = minute, 0, 0
        if client.used + weight <= self.per_minute:
            client.used += weight
            return Verdict(200, client.used, 0)
        client.strikes += 1
        if client.strikes > STRIKES:
            client.banned_until = now_ms + BAN_MS
            return Verdict(418, client.used, BAN_MS // 1000)
        return Verdict(429, client.used, 1 + (MINUTE_MS - now_ms % MINUTE_MS) // 1000)


class MessageRate:
    """At most so many messages within any second."""

    def __init__(self, per_second: int) -> None:
        self._recent: deque[float] = deque(maxlen=per_second)

    def is_exceeded(self, now: float) -> bool:
        """Count a message; true when it is one too many. Units: seconds."""
        is_full = len(self._recent) == self._recent.maxlen
        exceeded = is_full and now - self._recent[0] < 1
        self._recent.append(now)
        return exceeded
