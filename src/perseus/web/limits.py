"""How often a client may ask, and how often a login may fail. Memory is fixed, whatever anybody sends.

What is counted (an address, an account) is hashed with a secret of this process into a fixed number of slots. Two may
share one and then limit each other; nobody can choose with whom, and nothing is ever forgotten to make room.
"""

from __future__ import annotations

import math
import secrets
from array import array
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from perseus.clock import Clock
from perseus.errors import TooOften

SLOTS = 2**14
_REMEMBERED = 1024  # slots of clients
_ROUNDING_S = 1e-6  # sums of fractions of a second are a little off


class Rate(NamedTuple):
    """So many a second for ever, so many at once after a quiet time."""

    per_second: float
    burst: float


class Backoff(NamedTuple):
    """After `free` failures in a row each further one must wait, twice as long every time. Units: seconds."""

    free: int
    first_s: float
    longest_s: float
    forgotten_after_s: float = 3600.0


class _Slots:
    """What a key's place in the arrays is."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(16)

    def of(self, key: str) -> int:
        digest = blake2b(key.encode("utf-8", "replace"), digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "big") % SLOTS


class RateLimit:
    """A leaky bucket for each client (GCRA): one number a slot, the moment at which it will be empty."""

    def __init__(self, rate: Rate, *, clock: Clock) -> None:
        self._rate, self._clock = rate, clock
        self._slot_of = lru_cache(_REMEMBERED)(_Slots().of)  # of who asks again and again; addresses are short
        self._empty_at = array("d", bytes(8 * SLOTS))

    def take(self, key: str, count: int = 1) -> None:
        """Count so many requests. Raises: TooOften, having counted nothing."""
        slot, now = self._slot_of(key), self._clock.now()
        empty_at = max(self._empty_at[slot], now) + count / self._rate.per_second
        wait = empty_at - now - self._rate.burst / self._rate.per_second
        if wait > _ROUNDING_S:
            raise too_often("Too many requests from this address.", wait)
        self._empty_at[slot] = empty_at


class _Failures:
    """Failures in a row by key, and until when the next attempt must wait."""

    def __init__(self, backoff: Backoff, *, clock: Clock) -> None:
        self._backoff, self._clock = backoff, clock
        self._slots = _Slots()
        self._counts = array("L", bytes(array("L").itemsize * SLOTS))
        self._last_at = array("d", bytes(8 * SLOTS))
        self._barred_until = array("d", bytes(8 * SLOTS))

    def wait_s(self, key: str) -> float:
        return self._barred_until[self._slots.of(key)] - self._clock.now()

    def count(self, key: str) -> None:
        slot, now = self._slots.of(key), self._clock.now()
        if now - self._last_at[slot] > self._backoff.forgotten_after_s:
            self._counts[slot] = 0
        self._counts[slot] += 1
        self._last_at[slot] = now
        if (over := self._counts[slot] - self._backoff.free) >= 0:
            self._barred_until[slot] = now + min(self._backoff.longest_s, self._backoff.first_s * 2.0 ** min(over, 60))

    def forgive(self, key: str, *, everything: bool) -> None:
        slot = self._slots.of(key)
        self._counts[slot] = 0 if everything else max(0, self._counts[slot] - 1)
        self._barred_until[slot] = 0.0


class LoginLimit:
    """Attempts to log in, by address and by account.

    An attempt counts as failed when it begins, so that a hundred at once are a hundred. A success clears its account,
    but only itself from its address: else somebody with an account could guess at others' for ever.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        by_address: Backoff = Backoff(free=20, first_s=1.0, longest_s=900.0),  # noqa: B008  immutable
        by_account: Backoff = Backoff(free=5, first_s=1.0, longest_s=300.0),  # noqa: B008  immutable
    ) -> None:
        self._addresses = _Failures(by_address, clock=clock)
        self._accounts = _Failures(by_account, clock=clock)

    def begin(self, *, address: str, account: str | None = None) -> None:
        """Count an attempt. Raises: TooOften while either must wait; such an attempt does not count."""
        wait = max(self._addresses.wait_s(address), self._accounts.wait_s(account) if account is not None else 0.0)
        if wait > 0:
            raise too_often("Too many failed attempts to log in.", wait)
        self._addresses.count(address)
        if account is not None:
            self._accounts.count(account)

    def succeeded(self, *, address: str, account: str | None = None) -> None:
        """The attempt that began was right."""
        self._addresses.forgive(address, everything=False)
        if account is not None:
            self._accounts.forgive(account, everything=True)


def too_often(what: str, wait_s: float) -> TooOften:
    """The refusal, with the whole seconds after which trying again makes sense."""
    seconds = max(1, math.ceil(wait_s))
    return TooOften(f"{what} Try again in {seconds} s.", retry_after_s=seconds)
