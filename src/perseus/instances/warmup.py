"""Warm-up: enough history of every symbol in every timeframe, asking the exchange only for what the store lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from perseus.errors import VenueUnavailable
from perseus.exchanges.adapter import Adapter
from perseus.folding import Gap, filled, fold, gaps
from perseus.instances.candle_writer import CandleWriter
from perseus.instances.followed import FollowedSymbol
from perseus.model import Candle, Symbol, Timeframe

WANTED = 60  # closed candles a symbol and timeframe
RECONCILE_MS = 15 * Timeframe.M1.ms  # for this long the exchange may revise, or its history lag behind its stream
FEW_GAPS = 3  # more than this many are fetched as one stretch: fewer requests, some rows twice

ByTime = dict[int, Candle]


@dataclass
class Counts:
    """Candles fetched from the exchange, candles found in the store instead, and notes on too short histories."""

    fetched: int = 0
    kept: int = 0
    notes: tuple[str, ...] = ()


async def warm_symbol(followed: FollowedSymbol, *, adapter: Adapter, writer: CandleWriter) -> Counts:
    """Bring one symbol's history in the store up to now without gaps, and let `followed` begin from it.

    Source: what the store has, then the plan's native fetches, then folding; a hole that folding leaves is fetched too.
    Raises: InvalidSymbols, VenueUnavailable, VenueRefused, StoreUnavailable, LeaseLost.
    """
    followed.is_warm = False
    writer.forget(followed.symbol.name)
    history = _History(followed.symbol, adapter=adapter, writer=writer)
    plan = adapter.plan
    asked = {fetch.timeframe: fetch.depth for fetch in plan.native}
    for timeframe in sorted(asked, key=lambda timeframe: -timeframe.ms):  # days first: they tell a symbol's age
        await history.complete(timeframe, depth=asked[timeframe])
    for timeframe, source in plan.folded.items():
        await history.complete_folded(timeframe, source)
    await writer.write({(followed.symbol.name, timeframe): rows for timeframe, rows in history.changed().items()})
    if not history.candles.get(Timeframe.M1):
        raise VenueUnavailable(
            f"{adapter.name} has no 1m candle of {followed.symbol.name} yet. It is asked again until it has."
        )
    followed.begin(history.candles, begins_at=history.begins_at(Timeframe.M1))
    history.counts.notes = tuple(history.shortfalls())
    return history.counts


class _History:
    """One symbol's candles in every timeframe while they are being completed."""

    def __init__(self, symbol: Symbol, *, adapter: Adapter, writer: CandleWriter) -> None:
        self.counts = Counts()
        self.candles: dict[Timeframe, list[Candle]] = {}
        self._symbol = symbol
        self._adapter = adapter
        self._writer = writer
        self._stored: dict[Timeframe, ByTime] = {}
        self._began: dict[Timeframe, int] = {}  # the first candle, where there is none before it though we asked

    async def complete(self, timeframe: Timeframe, *, depth: int, folded: Sequence[Candle] = ()) -> None:
        """Bring a timeframe up to now: the newest `depth` candles, and further back as far as the store goes."""
        stored = {c.open_time: c for c in await self._writer.stored(self._symbol.name, timeframe)}
        self._stored[timeframe] = stored
        present = _to_be_trusted(stored) | {candle.open_time: candle for candle in folded}
        newest = timeframe.open_of(self._adapter.now_ms())
        start = self._start(timeframe, newest=newest, depth=depth, oldest=min(stored, default=newest))
        present = {t: candle for t, candle in present.items() if t >= start}
        fetched: ByTime = {}
        for gap in _few(gaps(present, timeframe, start=start, until=newest + timeframe.ms)):
            rows = await self._adapter.history(self._symbol, timeframe, start=gap.start, end=gap.end)
            fetched |= {row.open_time: row for row in rows}
        self.counts.fetched += len(fetched)
        self.counts.kept += len(present.keys() & stored.keys() - fetched.keys())
        merged = present | fetched
        self.candles[timeframe] = filled([merged[t] for t in sorted(merged)], timeframe)
        if merged and min(merged) > start:
            self._began[timeframe] = min(merged)

    async def complete_folded(self, timeframe: Timeframe, source: Timeframe) -> None:
        """Fold a timeframe from another; what the store has before that, with a hole between, is joined by fetching."""
        folded = fold(self.candles[source], timeframe, source=source, begins_at=self.begins_at(source))
        if folded:
            newest = timeframe.open_of(self._adapter.now_ms())
            depth = (newest - folded[0].open_time) // timeframe.ms + 1
            await self.complete(timeframe, depth=depth, folded=folded)

    def begins_at(self, timeframe: Timeframe) -> int | None:
        """The open time of the symbol's very first candle of a timeframe, if it is that young.

        Where it began before what was asked of this timeframe: that of its first hour, for the longer ones.
        """
        first_day = self._began.get(Timeframe.D1)
        for known in (timeframe, Timeframe.H1):
            first = self._began.get(known)
            if first is not None and Timeframe.D1.open_of(first) == first_day:
                return first
        return None  # no candle missing, or a hole at the start of what was asked for: not the symbol's beginning

    def shortfalls(self) -> Iterator[str]:
        """A sentence for each timeframe in which the exchange has too few candles of a young symbol."""
        for timeframe in sorted(self._writer.timeframes, key=lambda timeframe: timeframe.ms):
            count = sum(candle.is_closed for candle in self.candles.get(timeframe, ()))
            if count < WANTED:
                yield f"{self._symbol.name}: too young, {count} of {WANTED} closed {timeframe} candles exist"

    def changed(self) -> dict[Timeframe, list[Candle]]:
        """The candles the store does not have like this, the newest it keeps."""
        return {
            timeframe: [c for c in candles[-self._writer.kept :] if self._stored[timeframe].get(c.open_time) != c]
            for timeframe, candles in self.candles.items()
        }

    def _start(self, timeframe: Timeframe, *, newest: int, depth: int, oldest: int) -> int:
        """Where history begins: `depth` back, or further where the store has older candles that would leave a gap."""
        deep_enough = newest - (depth - 1) * timeframe.ms
        kept_from = newest - (self._writer.kept - 1) * timeframe.ms
        return min(deep_enough, max(oldest, kept_from))


def _to_be_trusted(stored: Mapping[int, Candle]) -> ByTime:
    """Closed candles of the exchange, except the newest: they may have been written just before they were revised."""
    closed = sorted(t for t, candle in stored.items() if candle.is_closed and not candle.is_synthetic)
    return {t: stored[t] for t in closed if t < closed[-1] - RECONCILE_MS}


def _few(missing: Sequence[Gap]) -> Sequence[Gap]:
    if len(missing) <= FEW_GAPS:
        return missing
    return [Gap(missing[0].start, missing[-1].end)]
