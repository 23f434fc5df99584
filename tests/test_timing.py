"""Lease timing: whatever is accepted leaves room for a missed renewal, its repetition and a stop before the expiry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perseus.errors import BadConfiguration
from perseus.timing import LeaseTiming, timing_faults

INTERVALS = st.floats(0.01, 600, allow_nan=False)
# from far too short to ample, most of them where the decision falls
TTL_RATIOS = st.one_of(st.floats(1.9, 2.6), st.floats(0.1, 10))


@pytest.mark.parametrize(
    ("interval_s", "ttl_s", "margin_s", "attempt_timeout_s", "retry_s"),
    [(15.0, 45, 4.5, 2.0, 2.0), (1.0, 3, 0.6, 1 / 3, 0.2), (60.0, 180, 18.0, 2.0, 2.0), (3.0, 9, 1.0, 1.0, 0.6)],
)
def test_everything_follows_from_interval_and_ttl(
    interval_s: float, ttl_s: int, margin_s: float, attempt_timeout_s: float, retry_s: float
) -> None:
    """The numbers of the protocol: a margin too small lets a holder write into another's lease."""
    timing = LeaseTiming(interval_s, ttl_s)
    assert timing.margin_s == pytest.approx(margin_s)
    assert timing.attempt_timeout_s == pytest.approx(attempt_timeout_s)
    assert timing.retry_s == pytest.approx(retry_s)


@given(interval_s=INTERVALS, ttl_ratio=TTL_RATIOS)
def test_accepted_timing_survives_one_missed_renewal(interval_s: float, ttl_ratio: float) -> None:
    """Sent an interval late, a renewal must still be answered before work stops, or every hiccup costs the lease."""
    ttl_s = max(3, round(interval_s * ttl_ratio))
    if timing_faults(interval_s, ttl_s):
        return
    timing = LeaseTiming(interval_s, ttl_s)
    assert 2 * timing.interval_s + timing.attempt_timeout_s <= timing.ttl_s - timing.margin_s
    assert timing.margin_s >= min(1.0, 0.2 * ttl_s)
    assert timing.retry_s < timing.interval_s


@given(interval_s=INTERVALS, ttl_ratio=TTL_RATIOS)
def test_refusal_names_a_ttl_that_works(interval_s: float, ttl_ratio: float) -> None:
    """A fix that is refused in turn sends the admin round in circles."""
    ttl_s = max(3, round(interval_s * ttl_ratio))
    for fault in timing_faults(interval_s, ttl_s):
        advised = int(fault.partition("Set LEASE_TTL to ")[2].partition(" ")[0])
        assert advised > ttl_s
        assert timing_faults(interval_s, advised) == []
        assert timing_faults(interval_s, advised - 1) or advised == 3, "it is the least that works"


@pytest.mark.parametrize(
    ("interval_s", "ttl_s", "words"),
    [
        (15.0, 35, "two intervals and an attempt take 32 s. Set LEASE_TTL to 36 or more"),
        (15.0, 30, "HEARTBEAT_INTERVAL 15 s and LEASE_TTL 30 s contradict each other"),
        (1.0, 2, "LEASE_TTL 2 s must be whole seconds, at least 3"),
        (1.0, 4.5, "LEASE_TTL 4.5 s must be whole seconds"),
        (0.0, 45, "HEARTBEAT_INTERVAL 0 s must be more than 0"),
        (-1.0, 45, "HEARTBEAT_INTERVAL -1 s must be more than 0"),
    ],
)
def test_unusable_timing_is_refused_with_its_numbers(interval_s: float, ttl_s: float, words: str) -> None:
    """Refused at the start, not found out when the first renewal is late."""
    (fault,) = timing_faults(interval_s, ttl_s)
    assert words in fault
    with pytest.raises(BadConfiguration) as caught:
        LeaseTiming(interval_s, ttl_s)  # type: ignore[arg-type]  # what a settings file may hold
    assert caught.value.faults == (fault,)
