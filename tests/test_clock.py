"""Time: what is written can be read back to the millisecond, and the store's time is carried by our own clock."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perseus.clock import StoreTime, SystemClock, iso, unix_ms
from tests.support.clocks import ManualClock

YEAR_9999_MS = 253_402_300_799_999


@given(st.integers(0, YEAR_9999_MS))
def test_timestamp_is_read_back_to_the_millisecond(moment: int) -> None:
    """A heartbeat's age is told from its text: a rounding error would grow into a wrong age."""
    text = iso(moment)
    assert unix_ms(text) == moment
    assert len(text) == len("2026-02-10T14:02:11.000Z")
    assert text.endswith("Z")


@given(st.integers(0, YEAR_9999_MS), st.integers(0, YEAR_9999_MS))
def test_timestamps_sort_as_they_follow_one_another(one: int, other: int) -> None:
    """Other programs compare them as text."""
    assert (iso(one) < iso(other)) == (one < other)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-10T14:02:11Z",
        "2026-02-10T14:02:11.000000Z",
        "2026-02-10T15:02:11+01:00",
        "2026-02-10T09:02:11.000-05:00",
        "20260210T140211Z",
    ],
)
def test_other_programs_ways_to_write_a_time_are_read(text: str) -> None:
    """Any ISO-8601 with a zone is meant: other programs of the network write the payload too."""
    assert unix_ms(text) == round(datetime(2026, 2, 10, 14, 2, 11, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "soon", "2026-02-10T14:02:11", "2026-02-10", "1770732131", "2026-02-30T00:00Z"])
def test_time_without_a_zone_or_sense_is_refused(text: str) -> None:
    """Read as local time it would be hours wrong on every other host."""
    with pytest.raises(ValueError):
        unix_ms(text)


def test_store_time_runs_on_our_clock_between_answers() -> None:
    """Two hosts' clocks are never compared: the store says what time it is, our own clock counts on from there."""
    clock = ManualClock(wall_ms=5)
    store_time = StoreTime(clock)
    assert not store_time.is_known
    assert store_time.now_ms() == 5, "before the first answer there is only the host's clock"
    store_time.observe(1_000_000.0)
    assert store_time.is_known
    clock.advance(2.5)
    assert store_time.now_ms() == 1_002_500


def test_step_of_the_stores_clock_is_told() -> None:
    """A stepped clock moves every expiry in the store, so the holder has to be warned; drift is no step."""
    clock = ManualClock()
    steps: list[float] = []
    store_time = StoreTime(clock, on_step=steps.append)
    store_time.observe(1_000_000.0)
    clock.advance(1.0)
    store_time.observe(1_001_900.0)
    assert steps == [], "the first answer and 0.9 s are no step"
    clock.advance(1.0)
    store_time.observe(1_062_900.0)
    clock.advance(1.0)
    store_time.observe(1_003_900.0)
    assert steps == pytest.approx([60_000, -60_000])
    assert store_time.now_ms() == 1_003_900, "the newest answer counts"


def test_answer_that_was_long_on_its_way_is_no_step() -> None:
    """A renewal that waits for replicas tells the time of its beginning: heartbeats would be dated seconds back."""
    clock = ManualClock()
    steps: list[float] = []
    store_time = StoreTime(clock, on_step=steps.append)
    store_time.observe(1_000_000.0)
    sent_at = clock.now()
    clock.advance(1.6)
    store_time.observe(1_000_000.0, sent_at=sent_at)
    assert store_time.now_ms() == 1_001_600
    store_time.observe(1_000_500.0, sent_at=sent_at)
    assert store_time.now_ms() == 1_001_600, "it may have been read at any moment in between"
    store_time.observe(1_061_600.0, sent_at=sent_at)
    assert steps == [60_000], "what cannot be explained by the way is a step"
    assert store_time.now_ms() == 1_061_600


async def test_boot_time_only_goes_forward() -> None:
    """Deadlines are counted on it, and a negative wait means no wait."""
    clock = SystemClock()
    before = clock.now()
    await clock.sleep(-1)
    await clock.sleep(0.01)
    assert 0.01 <= clock.now() - before < 5
