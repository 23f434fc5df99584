"""The venue's limits count as documented."""

from __future__ import annotations

from perseus.simulator.limits import BAN_MS, STRIKES, MessageRate, WeightLimit

NOON_MS = 1_772_452_800_000


def test_weight_starts_again_with_the_minute() -> None:
    """The window is the clock's minute, and Retry-After says how long is left of it."""
    limit = WeightLimit(100)
    assert limit.use("a", 60, now_ms=NOON_MS + 50_000).used == 60
    refused = limit.use("a", 60, now_ms=NOON_MS + 50_000)
    assert (refused.status, refused.used, refused.retry_after) == (429, 60, 11)
    assert limit.use("b", 60, now_ms=NOON_MS + 50_000).status == 200
    assert limit.use("a", 60, now_ms=NOON_MS + 60_000) == (200, 60, 0)


def test_a_ban_outlasts_the_minute_and_ends() -> None:
    """418 stays for its whole length, however politely one asks meanwhile."""
    limit = WeightLimit(1)
    statuses = [limit.use("a", 2, now_ms=NOON_MS).status for _ in range(STRIKES + 1)]
    assert statuses == [429] * STRIKES + [418]
    assert limit.use("a", 1, now_ms=NOON_MS + BAN_MS - 1).status == 418
    assert limit.use("a", 1, now_ms=NOON_MS + BAN_MS).status == 200


def test_the_sixth_message_within_a_second_is_too_many() -> None:
    """Five a second are fine for ever."""
    rate = MessageRate(5)
    assert not any(rate.is_exceeded(number * 0.21) for number in range(50))
    assert [rate.is_exceeded(100 + number * 0.1) for number in range(6)] == [False] * 5 + [True]
