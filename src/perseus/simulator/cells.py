"""The arithmetic of the generated market: candles as integers, split into smaller ones and finally into trades.

Everything is made from the top down. A day is given; it is halved again and again into hours, an hour into minutes,
a minute into its trades. Every half realises its share of the parent exactly: folding the parts gives back the
parent's open, high, low, close, volume, quote volume and number of trades, integer for integer. So any minute of any
year costs a handful of halvings, and every view of the market (REST or WebSocket, coarse or fine) agrees.

Units: prices in ticks, volumes in lots, quote volumes in ticks x lots. No float ever reaches a price or a volume
except as a random fraction that is rounded at once, and those come from `random.Random.random`, whose sequence
Python keeps the same across versions and machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

Fraction = Callable[[], float]
"""A source of fractions in [0, 1): `random.Random(seed).random`."""

LEAST_TRADES = 6
"""A minute with trades has at least this many: first, last, high, low, the settling one, and one to spare."""

NARROW = 4
"""Ticks. A range this small is handed on whole, so that no minute with trades becomes flat."""


DRAWS = 6
GOOD_PLACE, WORST_PLACE = 0.12, 0.2
"""How far a candle's quote volume may lie from the middle of its range, as a fraction of the range."""


class Cell(NamedTuple):
    """One candle in integers. Without trades it is flat, and `first_id` is the id the next trade will get."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    quote: int
    trades: int
    first_id: int


class Print(NamedTuple):
    """One execution. `time`: Unix ms."""

    id: int
    price: int
    lots: int
    time: int
    buyer_is_maker: bool


def flat(price: int, *, next_id: int) -> Cell:
    """Return a candle in which nothing was traded."""
    return Cell(price, price, price, price, 0, 0, 0, next_id)


def fold(cells: Iterable[Cell]) -> Cell:
    """Merge consecutive candles into one.

    Candles without trades add nothing, not even their flat price: a candle opens with its first trade. Only when all
    are empty is the result flat, at the last close.
    Raises: ValueError without any candle.
    """
    merged: Cell | None = None
    for cell in cells:
        if merged is None or (merged.trades == 0 and cell.trades):
            merged = cell
        elif cell.trades:
            merged = Cell(
                merged.open,
                cell.high if cell.high > merged.high else merged.high,
                cell.low if cell.low < merged.low else merged.low,
                cell.close,
                merged.volume + cell.volume,
                merged.quote + cell.quote,
                merged.trades + cell.trades,
                merged.first_id,
            )
        elif merged.trades == 0:
            merged = cell
    if merged is None:
        raise ValueError("Nothing to fold: no candle was given.")
    return merged


def fold_prints(prints: Iterable[Print]) -> Cell | None:
    """Merge trades into a candle; None without any."""
    cells = (Cell(p.price, p.price, p.price, p.price, p.lots, p.price * p.lots, 1, p.id) for p in prints)
    first = next(cells, None)
    return None if first is None else fold([first, *cells])


def split(parent: Cell, leaves: int, *, least: int, fraction: Fraction) -> list[Cell]:
    """Return `leaves` candles which fold to `parent`, each with at least `least` trades."""
    if leaves == 1:
        return [parent]
    left = leaves // 2
    first, second = _halve(parent, left=left, right=leaves - left, least=least, fraction=fraction)
    return [
        *split(first, left, least=least, fraction=fraction),
        *split(second, leaves - left, least=least, fraction=fraction),
    ]


def _halve(parent: Cell, *, left: int, right: int, least: int, fraction: Fraction) -> tuple[Cell, Cell]:
    """Cut a candle in two which share its volume, trades and quote volume and overlap in price."""
    share = left / (left + right) * (0.8 + 0.4 * fraction())
    trades = min(max(int(parent.trades * share), least * left), parent.trades - least * right)
    volume = int(parent.volume * share * (0.9 + 0.2 * fraction()))
    rest = parent.volume - volume
    (low, high), (rest_low, rest_high) = _ranges(parent, volume=volume, rest=rest, fraction=fraction)
    # Both halves get a quote volume at the same place of what their range allows, so the sum is exact.
    own, other = volume * (high - low), rest * (rest_high - rest_low)
    quote = volume * low + (parent.quote - volume * low - rest * rest_low) * own // (own + other)
    bottom, top = max(low, rest_low), min(high, rest_high)
    joint = bottom + int((top - bottom + 1) * fraction())
    # The next candle opens near, not at, the last close, as on a real market.
    reopen = min(max(joint + int(3 * fraction()) - 1, rest_low), rest_high)
    second_id = parent.first_id + trades
    return (
        Cell(parent.open, high, low, joint, volume, quote, trades, parent.first_id),
        Cell(reopen, rest_high, rest_low, parent.close, rest, parent.quote - quote, parent.trades - trades, second_id),
    )


def _ranges(parent: Cell, *, volume: int, rest: int, fraction: Fraction) -> tuple[tuple[int, int], tuple[int, int]]:
    """Choose the (low, high) of both halves: each extreme stays on one side, and the other side's moves inwards.

    Drawn again when the parent's quote volume would not lie near the middle of what the halves can have together; the
    best draw is taken. When all are bad both keep the parent's range, whose middle half holds it by construction.
    """
    whole = (parent.low, parent.high)
    span = parent.high - parent.low
    if span <= NARROW:
        return whole, whole
    best, distance = (whole, whole), WORST_PLACE
    for _ in range(DRAWS):
        drop, lift = int(span * 0.6 * fraction()), int(span * 0.6 * fraction())
        if drop + lift >= span:
            continue
        near_low, near_high = parent.low + lift, parent.high - drop
        if fraction() < 0.5:
            high, rest_high = parent.high, max(near_high, parent.close)
        else:
            high, rest_high = max(near_high, parent.open), parent.high
        if fraction() < 0.5:
            low, rest_low = parent.low, min(near_low, parent.close)
        else:
            low, rest_low = min(near_low, parent.open), parent.low
        room = volume * (high - low) + rest * (rest_high - rest_low)
        place = (parent.quote - volume * low - rest * rest_low) / room
        if abs(place - 0.5) < distance:
            best, distance = ((low, high), (rest_low, rest_high)), abs(place - 0.5)
            if distance < GOOD_PLACE:
                break
    return best


def prints_of(minute: Cell, *, open_time: int, fraction: Fraction) -> list[Print]:
    """Return the trades of a minute, in order: they fold to it, and their ids are contiguous. Units: Unix ms."""
    if minute.trades == 0:
        return []
    prices, high_at, low_at, settle_at = _path(minute, fraction)
    lots = _lots(minute, prices, high_at=high_at, low_at=low_at, settle_at=settle_at, fraction=fraction)
    times = sorted(open_time + int(60_000 * fraction()) for _ in prices)
    return [
        Print(minute.first_id + index, price, size, time, fraction() < 0.5)
        for index, (price, size, time) in enumerate(zip(prices, lots, times, strict=True))
    ]


def _path(minute: Cell, fraction: Fraction) -> tuple[list[int], int, int, int]:
    """Draw the prices from open over both extremes to close; return them with the places of high, low and settler."""
    count, half = minute.trades, (minute.trades - 2) // 2
    early = 1 + int(half * fraction())
    late = half + 1 + int((count - 2 - half) * fraction())
    high_at, low_at = (early, late) if fraction() < 0.5 else (late, early)
    settle_at = early + 1 if early < half else early - 1
    anchors = [(0, minute.open), *sorted([(high_at, minute.high), (low_at, minute.low)]), (count - 1, minute.close)]
    prices = [minute.open]
    noise = (minute.high - minute.low) * 0.3
    for (start, price), (end, target) in pairwise(anchors):
        slope = (target - price) / (end - start)
        for step in range(1, end - start):
            drawn = int(price + slope * step + noise * (fraction() - 0.5))
            prices.append(min(max(drawn, minute.low), minute.high))
        prices.append(target)
    return prices, high_at, low_at, settle_at


def _lots(
    minute: Cell, prices: list[int], *, high_at: int, low_at: int, settle_at: int, fraction: Fraction
) -> list[int]:
    """Size the trades so that volume and quote volume come out exactly; sets the settling trade's price.

    Most trades get a random share. What is left of the volume goes to the trades at the high and at the low, whose
    proportion settles the quote volume up to less than one range; one trade of a single lot settles that remainder by
    its price.
    """
    weights = [0.05 + fraction() ** 3 for _ in prices]
    for place in (high_at, low_at, settle_at):
        weights[place] = 0.0
    total, span = sum(weights), minute.high - minute.low
    free = minute.volume * 0.7
    while True:
        lots = [1 + int(free * weight / total) if weight else 0 for weight in weights]
        rest = minute.volume - sum(lots) - 1
        owed = minute.quote - sum(map(int.__mul__, prices, lots)) - rest * minute.low - minute.low
        at_high, above_low = divmod(owed, span)
        if 1 <= at_high < rest:
            break
        if free < 1:
            raise ValueError(f"{minute} cannot be realised by trades: its quote volume is outside its price range.")
        free /= 2
    lots[high_at], lots[low_at], lots[settle_at] = at_high, rest - at_high, 1
    prices[settle_at] = minute.low + above_low
    return lots
