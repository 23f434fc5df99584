"""The request budget and the venue's clock: what keeps us from being banned, and from closing minutes too early."""

from __future__ import annotations

import pytest

from perseus.exchanges.budget import USABLE, WeightBudget
from perseus.exchanges.venue_time import ENOUGH, WINDOW_MS, VenueTime
from tests.support.clocks import ManualClock

LIMIT = 1000


def budget(clock: ManualClock) -> WeightBudget:
    """A budget in the minutes of the clock's wall time."""
    return WeightBudget(limit=LIMIT, clock=clock, venue_ms=clock.wall_ms)


async def test_weight_is_spent_without_waiting_while_it_lasts() -> None:
    """The limit is a ceiling, not a pace."""
    clock = ManualClock()
    one = budget(clock)
    for _ in range(int(LIMIT * USABLE) // 2):
        await one.spend(2)
    assert sum(clock.slept) == 0


async def test_the_next_minute_is_awaited_when_the_weight_is_used_up() -> None:
    """The venue counts by its own minutes; a request too many leads to a ban."""
    clock = ManualClock(wall_ms=60_000 * 1000 + 20_000)
    one = budget(clock)
    await one.spend(int(LIMIT * USABLE))
    await one.spend(2)
    assert 40 <= sum(clock.slept) < 41


async def test_what_others_behind_our_address_used_counts_too() -> None:
    """The header is the venue's own count for the address."""
    clock = ManualClock()
    one = budget(clock)
    one.observe(LIMIT - 1, minute=one.minute)
    await one.spend(2)
    assert sum(clock.slept) > 0


async def test_an_answer_of_the_minute_before_does_not_count_for_this_one() -> None:
    """Sent at :59.9 and answered at :00.1, it would cost a whole minute's requests."""
    clock = ManualClock()
    one = budget(clock)
    sent = one.minute
    clock.advance(60)
    one.observe(LIMIT - 1, minute=sent)
    await one.spend(2)
    assert sum(clock.slept) == 0


class Ban:
    """A clock during whose first sleep an answer still under way forbids requests for two minutes."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.now, self.wall_ms = clock.now, clock.wall_ms
        self.budget: WeightBudget | None = None

    async def sleep(self, seconds: float) -> None:
        """Sleep, and be banned."""
        await self._clock.sleep(seconds)
        if self.budget is not None:
            self.budget.block(120)
            self.budget = None


@pytest.mark.parametrize("first", ["the minute's weight is used up", "blocked for a while"])
async def test_a_ban_that_comes_while_waiting_is_waited_out_too(first: str) -> None:
    """Sent into a ban, each request makes it longer."""
    clock = ManualClock()
    banning = Ban(clock)
    one = banning.budget = WeightBudget(limit=LIMIT, clock=banning, venue_ms=clock.wall_ms)
    if first == "blocked for a while":
        one.block(20)
    else:
        one.observe(LIMIT, minute=one.minute)
    await one.spend(2)
    assert one.blocked_s == 0
    assert sum(clock.slept) >= 120


async def test_a_request_larger_than_the_budget_is_not_awaited_for_ever() -> None:
    """A lower limit than documented must not hang the start."""
    clock = ManualClock()
    one = budget(clock)
    await one.spend(5 * LIMIT)
    assert sum(clock.slept) == 0


async def test_nothing_is_sent_while_the_venue_wants_no_request() -> None:
    """Going on after 429 turns it into 418, a ban."""
    clock = ManualClock()
    one = budget(clock)
    one.block(30)
    one.block(5)
    assert one.blocked_s == 30
    await one.spend(1)
    assert sum(clock.slept) == 30


def test_the_venue_time_runs_on_our_boot_clock() -> None:
    """A step of the host's wall clock must not close or open minutes."""
    clock = ManualClock()
    time = VenueTime(clock)
    assert time.now_ms() == clock.wall_ms()
    time.answered(5_000_000)
    clock.advance(7)
    assert time.now_ms() == 5_007_000


def test_a_message_moves_the_venue_time_forward_at_once_and_never_back_alone() -> None:
    """It cannot come from the future, but it can be slow."""
    time = VenueTime(ManualClock())
    time.answered(5_000_000)
    time.heard(5_001_000)
    assert time.now_ms() == 5_001_000
    time.heard(4_000_000)
    assert time.now_ms() == 5_001_000


def test_a_stream_that_speaks_of_an_earlier_time_casts_doubt_which_an_answer_settles() -> None:
    """It may lag by a minute, and then no minute would ever be late; or the venue's clock was set back."""
    clock = ManualClock()
    time = VenueTime(clock)
    time.answered(5_000_000)
    for step in range(ENOUGH + 1):
        clock.advance(WINDOW_MS / 1000 / ENOUGH)
        time.heard(1_000_000 + round(step * WINDOW_MS / ENOUGH))
    assert time.now_ms() == 5_000_000 + (ENOUGH + 1) * WINDOW_MS / ENOUGH
    assert time.is_in_doubt
    time.answered(1_012_000)
    assert time.now_ms() == 1_012_000
    assert not time.is_in_doubt


def test_a_stream_that_is_on_time_casts_no_doubt() -> None:
    """Each doubt costs a request."""
    clock = ManualClock()
    time = VenueTime(clock)
    time.answered(5_000_000)
    for step in range(1, 3 * ENOUGH):
        clock.advance(WINDOW_MS / 1000 / ENOUGH)
        time.heard(5_000_000 + round(step * WINDOW_MS / ENOUGH) - 200)
    assert not time.is_in_doubt
