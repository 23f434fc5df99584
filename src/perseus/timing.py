"""How often a lease is renewed, when its holder stops, and which combinations cannot work."""

from __future__ import annotations

import math
from dataclasses import dataclass

from perseus.errors import BadConfiguration


@dataclass(frozen=True)
class LeaseTiming:
    """Interval and TTL of a lease, and everything that follows from them. Units: seconds.

    Raises: BadConfiguration with the numbers if a late renewal could not be retried before the deadline.
    """

    interval_s: float = 15.0
    ttl_s: int = 45

    def __post_init__(self) -> None:
        faults = timing_faults(self.interval_s, self.ttl_s)
        if faults:
            raise BadConfiguration(" ".join(faults), faults=tuple(faults))

    @property
    def margin_s(self) -> float:
        """How long before expiry in the store the holder has stopped for certain."""
        return _margin(self.ttl_s)

    @property
    def attempt_timeout_s(self) -> float:
        """How long one attempt at the store may take."""
        return _attempt_timeout(self.interval_s)

    @property
    def retry_s(self) -> float:
        """The pause after a failed attempt."""
        return min(2.0, self.interval_s / 5)


def timing_faults(interval_s: float, ttl_s: float) -> list[str]:
    """Why a heartbeat interval and a lease TTL cannot work together, with the numbers; empty if they can.

    The holder must be able to miss one renewal, send the next, and still stop work a margin before the lease ends.
    """
    if interval_s <= 0:
        return [f"HEARTBEAT_INTERVAL {interval_s:g} s must be more than 0."]
    if ttl_s != int(ttl_s) or ttl_s < 3:
        return [f"LEASE_TTL {ttl_s:g} s must be whole seconds, at least 3."]
    usable, needed = ttl_s - _margin(ttl_s), _needed(interval_s)
    if usable >= needed:
        return []
    return [
        f"HEARTBEAT_INTERVAL {interval_s:g} s and LEASE_TTL {ttl_s:g} s contradict each other: work stops "
        f"{_margin(ttl_s):g} s before the lease ends, at {usable:g} s, but two intervals and an attempt take "
        f"{needed:.3g} s. Set LEASE_TTL to {_least_ttl(interval_s)} or more, or renew more often."
    ]


def _margin(ttl_s: float) -> float:
    return max(0.1 * ttl_s, min(1.0, 0.2 * ttl_s))


def _attempt_timeout(interval_s: float) -> float:
    return min(2.0, interval_s / 3)


def _needed(interval_s: float) -> float:
    return 2 * interval_s + _attempt_timeout(interval_s)


def _least_ttl(interval_s: float) -> int:
    ttl = max(3, math.ceil(_needed(interval_s)))
    while ttl - _margin(ttl) < _needed(interval_s):
        ttl += 1
    return ttl
