"""Longer candles from shorter ones, gaps between candles, and the rule that fills them. Pure.

Every timeframe is folded from the one before it in `CHAIN`, all on UTC boundaries. Only complete input is folded:
a hole leaves the longer candle out instead of making it wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple

from perseus.model import Candle, Timeframe

# (timeframe, the timeframe it is folded from), shortest first
CHAIN: tuple[tuple[Timeframe, Timeframe], ...] = (
    (Timeframe.M5, Timeframe.M1),
    (Timeframe.M15, Timeframe.M5),
    (Timeframe.H1, Timeframe.M15),
    (Timeframe.H4, Timeframe.H1),
    (Timeframe.D1, Timeframe.H4),
)
_HOUR_MS = Timeframe.H1.ms


class Gap(NamedTuple):
    """Missing candles: open times from `start` to `end`, both included. Units: Unix ms."""

    start: int
    end: int


def gaps(present: Iterable[int], timeframe: Timeframe, *, start: int, until: int) -> list[Gap]:
    """The gaps among open times from `start`, inclusive, to `until`, exclusive; `present` in any order."""
    found = []
    expected = start
    for open_time in sorted(set(present)):
        if not start <= open_time < until:
            continue
        if open_time > expected:
            found.append(Gap(expected, open_time - timeframe.ms))
        expected = open_time + timeframe.ms
    if expected < until:
        found.append(Gap(expected, until - timeframe.ms - (until - expected) % timeframe.ms))
    return found


def flat(after: Candle, *, open_time: int, is_closed: bool = True) -> Candle:
    """The synthetic candle of a time without trades: at the previous close, volume 0."""
    price = after.close
    return Candle(
        open_time=open_time,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=Decimal(0),
        is_closed=is_closed,
        is_synthetic=True,
    )


def filled(candles: Sequence[Candle], timeframe: Timeframe, *, until: int | None = None) -> list[Candle]:
    """The candles, ascending, with every gap between them (and up to `until`, exclusive) filled flat.

    One rule for all exchanges: some send empty minutes, some leave them out, and "60 candles" must mean one thing.
    """
    if not candles:
        return []
    ends = [*(candle.open_time for candle in candles[1:]), until or 0]
    complete: list[Candle] = []
    for candle, end in zip(candles, ends, strict=True):
        complete.append(candle)
        complete += (flat(candle, open_time=t) for t in range(candle.open_time + timeframe.ms, end, timeframe.ms))
    return complete


def fold(
    candles: Sequence[Candle], timeframe: Timeframe, *, source: Timeframe = Timeframe.M1, begins_at: int | None = None
) -> list[Candle]:
    """The candles of `timeframe` that ascending candles of `source` make up, complete or forming.

    Left out: those with a hole, and those that began before the first candle given, unless the symbol itself began
    there (`begins_at`: the open time, Unix ms, of the first candle that ever existed).
    """
    folded = []
    for open_time, children in groupby(candles, key=lambda candle: timeframe.open_of(candle.open_time)):
        candle = _folded(list(children), open_time, timeframe, source=source, begins_at=begins_at)
        if candle is not None:
            folded.append(candle)
    # only the newest may be forming: an older one that never closed has lost its end
    return [candle for candle in folded[:-1] if candle.is_closed] + folded[-1:]


def _folded(
    children: Sequence[Candle], open_time: int, timeframe: Timeframe, *, source: Timeframe, begins_at: int | None
) -> Candle | None:
    first, last = children[0], children[-1]
    began_here = begins_at is not None and first.open_time == source.open_of(begins_at)
    if first.open_time != open_time and not began_here:
        return None
    if last.open_time - first.open_time != (len(children) - 1) * source.ms:
        return None
    if not all(child.is_closed for child in children[:-1]):
        return None
    # A candle opens with its first trade, not with the flat stretch before it. Whether the exchange folds a leading
    # flat minute into open, high and low is not documented; where trades continue at the last price both agree.
    traded = [child for child in children if child.volume] or children
    return Candle(
        open_time=open_time,
        open=traded[0].open,
        high=max(child.high for child in traded),
        low=min(child.low for child in traded),
        close=last.close,
        volume=sum((child.volume for child in children[1:]), first.volume),  # 28 digits: exact for any real market
        is_closed=last.is_closed and last.open_time + source.ms == open_time + timeframe.ms,
        is_synthetic=all(child.is_synthetic for child in children),
    )


class Folder:
    """The candles of one symbol that may still change: a stretch of each timeframe, kept consistent with its minutes.

    It remembers minutes since the start of the previous hour and hours since the start of that day: enough to refold
    every timeframe when one of those minutes is revised, and nothing more.
    """

    def __init__(self) -> None:
        self.begins_at: int | None = None  # set for a symbol younger than its history was asked for
        self._kept: dict[Timeframe, dict[int, Candle]] = {source: {} for _, source in CHAIN}

    def minute(self, open_time: int) -> Candle | None:
        """The 1m candle with this open time, if it is remembered."""
        return self._kept[Timeframe.M1].get(open_time)

    def minutes(self) -> Mapping[int, Candle]:
        """The remembered 1m candles by open time."""
        return self._kept[Timeframe.M1]

    def seed(self, timeframe: Timeframe, candles: Iterable[Candle]) -> None:
        """Take candles of any timeframe as they are, without folding them further."""
        kept = self._kept.get(timeframe)
        if kept is not None:
            kept.update((candle.open_time, candle) for candle in candles)

    def refold(self, minutes: Iterable[Candle]) -> dict[Timeframe, list[Candle]]:
        """Take new, changed or revised 1m candles; return them with every longer candle that changed with them.

        A longer candle whose minutes are not all there is not returned: it changes when they are.
        """
        changed = {Timeframe.M1: sorted(minutes, key=lambda candle: candle.open_time)}
        self.seed(Timeframe.M1, changed[Timeframe.M1])
        for timeframe, source in CHAIN:
            opens = dict.fromkeys(timeframe.open_of(child.open_time) for child in changed[source])
            changed[timeframe] = [candle for t in opens if (candle := self._fold(t, timeframe, source)) is not None]
            self.seed(timeframe, changed[timeframe])
        return changed

    def forget_before(self, now_ms: int) -> None:
        """Drop what no revision is expected for any more: all before the previous hour, hours before that one's day."""
        since = self.since(now_ms)
        for timeframe, kept in self._kept.items():
            oldest = since if timeframe.ms < _HOUR_MS else Timeframe.D1.open_of(since)
            for open_time in [t for t in kept if t < oldest]:
                del kept[open_time]

    @staticmethod
    def since(now_ms: int) -> int:
        """The open time of the oldest minute remembered at `now_ms`."""
        return Timeframe.H1.open_of(now_ms) - _HOUR_MS

    def _fold(self, open_time: int, timeframe: Timeframe, source: Timeframe) -> Candle | None:
        children = list(_present(self._kept[source], open_time, timeframe, source))
        if not children:
            return None
        return _folded(children, open_time, timeframe, source=source, begins_at=self.begins_at)


def _present(kept: Mapping[int, Candle], open_time: int, timeframe: Timeframe, source: Timeframe) -> Iterator[Candle]:
    for child_time in range(open_time, open_time + timeframe.ms, source.ms):
        candle = kept.get(child_time)
        if candle is not None:
            yield candle
