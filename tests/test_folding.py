"""Folding: whatever the order of arrival, the longer candles say what their minutes say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from perseus.folding import CHAIN, Folder, Gap, filled, flat, fold, gaps
from perseus.model import Candle, Timeframe

MINUTE, HOUR, DAY = Timeframe.M1.ms, Timeframe.H1.ms, Timeframe.D1.ms
MIDNIGHT = 20_000 * DAY


def minutes(count: int, *, seed: int, start: int = MIDNIGHT, quiet: float = 0.3) -> list[Candle]:
    """Closed minutes of a random walk in which every `quiet`-th has no trades."""
    source = random.Random(seed)
    close = Decimal("100.00")
    made: list[Candle] = []
    for n in range(count):
        if made and source.random() < quiet:
            made.append(flat(made[-1], open_time=start + n * MINUTE))
            continue
        prices = [close + Decimal(source.randint(-50, 50)) / 100 for _ in range(4)]
        close = prices[-1]
        made.append(
            Candle(
                open_time=start + n * MINUTE,
                open=prices[0],
                high=max(prices),
                low=min(prices),
                close=close,
                volume=Decimal(source.randint(1, 10**9)) / 10**4,
                is_closed=True,
            )
        )
    return made


def expected(children: Sequence[Candle], timeframe: Timeframe) -> dict[int, tuple[Decimal, ...]]:
    """The folded values, computed the slow and obvious way from all minutes."""
    result: dict[int, tuple[Decimal, ...]] = {}
    for start in {timeframe.open_of(child.open_time) for child in children}:
        inside = [child for child in children if start <= child.open_time < start + timeframe.ms]
        traded = [child for child in inside if child.volume] or inside[:1]
        result[start] = (
            traded[0].open,
            max(child.high for child in traded),
            min(child.low for child in traded),
            inside[-1].close,
            sum((child.volume for child in inside), Decimal(0)),
        )
    return result


def values(candle: Candle) -> tuple[Decimal, ...]:
    """What trades decide."""
    return (candle.open, candle.high, candle.low, candle.close, candle.volume)


@given(seed=st.integers(0, 10**6), count=st.integers(1, 3000))
@settings(max_examples=25, deadline=None)
def test_folding_step_by_step_equals_folding_at_once(seed: int, count: int) -> None:
    """Candles are folded each from the one before, which must not lose anything on the way to a day."""
    source = minutes(count, seed=seed)
    candles, made_of = source, Timeframe.M1
    for timeframe, made_of_next in CHAIN:
        assert made_of is made_of_next
        candles, made_of = fold(candles, timeframe, source=made_of), timeframe
        assert {c.open_time: values(c) for c in candles} == expected(source, timeframe)
        complete = [start for start in expected(source, timeframe) if start + timeframe.ms <= MIDNIGHT + count * MINUTE]
        assert [c.open_time for c in candles if c.is_closed] == sorted(complete)


@given(seed=st.integers(0, 10**6), count=st.integers(1, 130), shuffle=st.randoms())
@settings(max_examples=40, deadline=None)
def test_the_order_of_arrival_does_not_matter(seed: int, count: int, shuffle: random.Random) -> None:
    """Stream, trades and history bring minutes late, twice and out of order."""
    source = minutes(count, seed=seed)
    arriving = source + source[: count // 3]
    shuffle.shuffle(arriving)
    folder = Folder()
    known: dict[Timeframe, dict[int, Candle]] = {timeframe: {} for timeframe in Timeframe}
    for candle in arriving:
        for timeframe, changed in folder.refold([candle]).items():
            known[timeframe].update((c.open_time, c) for c in changed)
    for timeframe, _ in CHAIN:
        assert {t: values(c) for t, c in known[timeframe].items()} == expected(source, timeframe)


@given(seed=st.integers(0, 10**6), revised=st.integers(0, 119))
@settings(max_examples=40, deadline=None)
def test_a_revised_minute_is_refolded_into_every_timeframe(seed: int, revised: int) -> None:
    """An exchange may correct a closed candle; the day it belongs to must follow."""
    source = minutes(120, seed=seed)
    folder = Folder()
    folder.refold(source)
    correction = minutes(1, seed=seed + 1, start=source[revised].open_time, quiet=0)[0]
    changed = folder.refold([correction])
    truth = [*source[:revised], correction, *source[revised + 1 :]]
    for timeframe, _ in CHAIN:
        start = timeframe.open_of(correction.open_time)
        assert [values(c) for c in changed[timeframe]] == [expected(truth, timeframe)[start]]


def test_a_hole_leaves_the_longer_candle_out() -> None:
    """A wrong candle is worse than a late one: it is folded when its minutes are all there."""
    source = minutes(10, seed=1)
    folder = Folder()
    missing = source.pop(2)
    assert [c.open_time for c in folder.refold(source)[Timeframe.M5]] == [MIDNIGHT + 5 * MINUTE]
    assert [c.open_time for c in fold(source, Timeframe.M5)] == [MIDNIGHT + 5 * MINUTE]
    healed = folder.refold([missing])
    assert values(healed[Timeframe.M5][0]) == expected([*source, missing], Timeframe.M5)[MIDNIGHT]


def test_a_minute_that_never_closed_leaves_the_longer_candle_out() -> None:
    """Between two closed minutes a forming one has lost its end; its successors do not make up for it."""
    source = minutes(5, seed=1)
    source[1] = msgspec.structs.replace(source[1], is_closed=False)
    assert fold(source, Timeframe.M5) == []


def test_only_the_newest_folded_candle_may_be_forming() -> None:
    """An old one that stays forming would look like the present to whoever reads the store."""
    source = [*minutes(3, seed=1), *minutes(5, seed=2, start=MIDNIGHT + 5 * MINUTE)]
    assert [(c.open_time, c.is_closed) for c in fold(source, Timeframe.M5)] == [(MIDNIGHT + 5 * MINUTE, True)]


def test_a_candle_before_the_first_minute_is_left_out_unless_the_symbol_began_there() -> None:
    """The first part of a window is no candle; the first minutes of a new symbol are."""
    began = MIDNIGHT + 2 * MINUTE
    source = minutes(6, seed=1, start=began)
    assert [c.open_time for c in fold(source, Timeframe.M5)] == [MIDNIGHT + 5 * MINUTE]
    assert [c.open_time for c in fold(source, Timeframe.M5, begins_at=began)] == [MIDNIGHT, MIDNIGHT + 5 * MINUTE]
    folder = Folder()
    folder.begins_at = began
    changed = folder.refold(source)
    assert [c.open_time for c in changed[Timeframe.D1]] == [MIDNIGHT]


def test_memory_is_bounded_by_two_hours_of_minutes() -> None:
    """Three hundred symbols must fit; what is older than the previous hour is asked for again when needed."""
    folder = Folder()
    source = minutes(600, seed=1)
    folder.refold(source)
    folder.forget_before(source[-1].open_time)
    assert len(folder.minutes()) <= 120
    assert min(folder.minutes()) == Folder.since(source[-1].open_time)
    revised = msgspec.structs.replace(source[-60], volume=Decimal(10**6))
    changed = folder.refold([revised])
    truth = [*source[:-60], revised, *source[-59:]]
    assert values(changed[Timeframe.D1][0]) == expected(truth, Timeframe.D1)[MIDNIGHT]


def test_a_folded_day_of_empty_minutes_is_flat_and_synthetic() -> None:
    """Nothing happened, and it must be told apart from a day in which somebody traded."""
    first = msgspec.structs.replace(minutes(1, seed=1, start=MIDNIGHT - MINUTE)[0])
    quiet = [flat(first, open_time=MIDNIGHT + n * MINUTE) for n in range(60)]
    [hour] = fold(quiet, Timeframe.H1)
    assert (hour.is_synthetic, hour.volume, hour.open, hour.close) == (True, Decimal(0), first.close, first.close)


@given(st.sets(st.integers(0, 40)), st.integers(0, 10), st.integers(11, 41))
def test_gaps_are_exactly_what_is_missing(present: set[int], start: int, until: int) -> None:
    """What is not found missing is never fetched."""
    found = gaps([n * MINUTE for n in present], Timeframe.M1, start=start * MINUTE, until=until * MINUTE)
    missing = {t // MINUTE for gap in found for t in range(gap.start, gap.end + 1, MINUTE)}
    assert missing == set(range(start, until)) - present
    assert all(a.end + MINUTE < b.start for a, b in pairwise(found))


def test_gaps_are_reported_as_stretches() -> None:
    """One request a stretch, not one a minute."""
    present = [n * MINUTE for n in (0, 1, 5, 6)]
    assert gaps(present, Timeframe.M1, start=0, until=8 * MINUTE) == [
        Gap(2 * MINUTE, 4 * MINUTE),
        Gap(7 * MINUTE, 7 * MINUTE),
    ]


@given(st.sets(st.integers(0, 30), min_size=1))
def test_filling_leaves_no_gap_and_invents_no_trade(present: set[int]) -> None:
    """One rule for exchanges that send empty minutes and those that leave them out."""
    source = [c for n, c in enumerate(minutes(31, seed=3, quiet=0)) if n in present]
    complete = filled(source, Timeframe.M1, until=MIDNIGHT + 31 * MINUTE)
    assert [c.open_time for c in complete] == list(range(source[0].open_time, MIDNIGHT + 31 * MINUTE, MINUTE))
    assert [c for c in complete if not c.is_synthetic] == source
    for before, after in pairwise(complete):
        if after.is_synthetic:
            assert values(after) == (before.close, before.close, before.close, before.close, Decimal(0))
