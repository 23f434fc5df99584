"""The generated market of one venue: any candle and any trade of any moment, the same in every run with one seed.

Nothing is stored. A day's candle comes from a hash of seed, venue, symbol and day; hours, minutes and trades are split
off it (`cells`), so the cost of a minute does not depend on how long ago it was, and a candle of any timeframe equals
the fold of the candles and of the trades below it, decimal for decimal, quote volume and trade ids included.

Does not promise: taker volumes that match the trades' sides. They are half of the volume.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter
from random import Random
from typing import NamedTuple

from perseus.simulator.cells import LEAST_TRADES, Cell, Print, flat, fold, fold_prints, prints_of, split
from perseus.simulator.instruments import INSTRUMENTS_BY_VENUE, LISTED_MS, Instrument

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000

TIMEFRAME_MS = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": 7 * DAY_MS,
}
"""Every timeframe offered; a calendar month is not."""

MONDAY_MS = 4 * DAY_MS
"""Weeks open on Mondays; the Unix epoch was a Thursday."""

_WAVES = ((233, 0.25), (59, 0.10), (17, 0.05), (3, 0.02))
"""(length in days, amplitude as a fraction of the price) of the waves a price is made of."""


_time_of = attrgetter("time")


class CandleText(NamedTuple):
    """A candle as the venue would write it: times in Unix ms, decimals as text with eight places."""

    open_time: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time: int
    quote_volume: str
    trades: int
    taker_volume: str
    taker_quote_volume: str
    is_closed: bool
    first_id: int


class Market:
    """The generator behind one venue. Pure: the same arguments give the same answer, in every process."""

    def __init__(self, seed: int = 0, venue: str = "binance") -> None:
        self.seed = seed
        self.venue = venue
        self.instruments: dict[str, Instrument] = {i.native: i for i in INSTRUMENTS_BY_VENUE[venue]}
        # Recently used levels only: a day costs 2 ms of a request for minutes, so nothing older is worth its memory.
        self._close = lru_cache(maxsize=8192)(self._draw_close)
        self._hours = lru_cache(maxsize=256)(self._split_day)
        self._minutes = lru_cache(maxsize=256)(self._split_hour)
        self._prints = lru_cache(maxsize=128)(self._split_minute)

    def candles(
        self, symbol: str, timeframe: str, start_ms: int, end_ms: int, now_ms: int, *, limit: int | None = None
    ) -> list[CandleText]:
        """Return the candles whose open time is in [start_ms, end_ms], oldest first, as they stand at `now_ms`.

        Closed ones are final; the one that contains `now_ms` is forming and counts the trades so far. With `limit`
        only the oldest so many. Raises: KeyError for an unknown symbol or timeframe.
        """
        step = TIMEFRAME_MS[timeframe]
        first = open_of(max(start_ms, LISTED_MS) + step - 1, timeframe)
        last = min(end_ms, now_ms)
        if limit is not None:
            last = min(last, first + (limit - 1) * step)
        return [self.candle(symbol, timeframe, at, now_ms) for at in range(first, last + 1, step)]

    def candle(self, symbol: str, timeframe: str, open_time: int, now_ms: int) -> CandleText:
        """Return the candle that opened at `open_time`, as it stands at `now_ms`. Units: Unix ms."""
        step = TIMEFRAME_MS[timeframe]
        cell = self.cell(symbol, open_time, min(open_time + step, now_ms + 1))
        return candle_text(self.instruments[symbol], cell, open_time, step, now_ms=now_ms)

    def trades(self, symbol: str, start_ms: int, end_ms: int) -> Iterator[Print]:
        """Yield the trades with start_ms <= time < end_ms in order."""
        for minute in range(start_ms - start_ms % MINUTE_MS, end_ms, MINUTE_MS):
            tape = self._prints(symbol, minute // MINUTE_MS)
            yield from tape[bisect_left(tape, start_ms, key=_time_of) : bisect_left(tape, end_ms, key=_time_of)]

    def last_trades(self, symbol: str, count: int, now_ms: int) -> list[Print]:
        """Return the newest `count` trades at `now_ms`, oldest first."""
        found: list[Print] = []
        minute = now_ms // MINUTE_MS
        while len(found) < count and minute * MINUTE_MS >= LISTED_MS:
            found = [p for p in self._prints(symbol, minute) if p.time <= now_ms] + found
            minute -= 1
        return found[-count:]

    def trades_from(self, symbol: str, first_id: int, count: int, now_ms: int) -> list[Print]:
        """Return up to `count` trades with ids from `first_id` on, oldest first."""
        found: list[Print] = []
        minute = self._minute_of_id(symbol, first_id)
        while len(found) < count and minute * MINUTE_MS <= now_ms:
            found += [p for p in self._prints(symbol, minute) if p.id >= first_id and p.time <= now_ms]
            minute += 1
        return found[:count]

    def cell(self, symbol: str, start_ms: int, end_ms: int) -> Cell:
        """Fold the market from a minute's start up to, not including, any later moment.

        Cost: the largest whole units in between, at most 23 hours, 59 minutes and one minute's trades at the end.
        """
        return fold(self._units(symbol, start_ms, end_ms))

    def _units(self, symbol: str, at: int, end_ms: int) -> Iterator[Cell]:
        while at < end_ms:
            if at % DAY_MS == 0 and at + DAY_MS <= end_ms:
                yield self.day(symbol, at // DAY_MS)
                at += DAY_MS
            elif at % HOUR_MS == 0 and at + HOUR_MS <= end_ms:
                yield self._hours(symbol, at // DAY_MS)[at % DAY_MS // HOUR_MS]
                at += HOUR_MS
            elif at + MINUTE_MS <= end_ms:
                yield self._minutes(symbol, at // HOUR_MS)[at % HOUR_MS // MINUTE_MS]
                at += MINUTE_MS
            else:
                yield self._part_of_minute(symbol, at, end_ms)
                at = end_ms

    def _part_of_minute(self, symbol: str, at: int, end_ms: int) -> Cell:
        part = fold_prints(self.trades(symbol, at, end_ms))
        if part is not None:
            return part
        before = self.minute(symbol, at // MINUTE_MS - 1)
        return flat(before.close, next_id=before.first_id + before.trades)

    def minute(self, symbol: str, index: int) -> Cell:
        """Return one whole minute. Units: `index` counts minutes since the Unix epoch."""
        return self._minutes(symbol, index // 60)[index % 60]

    def day(self, symbol: str, index: int) -> Cell:
        """Return one whole day, from which all below it is split. Units: `index` counts days since the Unix epoch."""
        instrument = self.instruments[symbol]
        fraction = self._random("day", symbol, index).random
        open_, close = self._close(symbol, index - 1), self._close(symbol, index)
        reach = 0.025 * instrument.sway
        high = max(open_, close) + 10 + int(max(open_, close) * reach * fraction())
        low = min(open_, close) - 10 - int(min(open_, close) * reach * fraction())
        volume = int(instrument.lots * (0.6 + 0.8 * fraction()))
        quote = volume * low + int(volume * (high - low) * (0.4 + 0.2 * fraction()))
        first_id = 1 + (index - LISTED_MS // DAY_MS) * instrument.trades
        return Cell(open_, high, low, close, volume, quote, instrument.trades, first_id)

    def _split_day(self, symbol: str, day: int) -> tuple[Cell, ...]:
        fraction = self._random("hours", symbol, day).random
        least = LEAST_TRADES * self.instruments[symbol].minutes
        return tuple(split(self.day(symbol, day), 24, least=least, fraction=fraction))

    def _split_hour(self, symbol: str, hour: int) -> tuple[Cell, ...]:
        parent = self._hours(symbol, hour // 24)[hour % 24]
        fraction = self._random("minutes", symbol, hour).random
        busy = self.instruments[symbol].minutes
        parts = iter(split(parent, busy, least=LEAST_TRADES, fraction=fraction))
        if busy == 60:
            return tuple(parts)
        chosen = set(sorted(range(60), key=lambda _: fraction())[:busy])
        # A quiet minute stands still at the last close: before the hour's first trade that is the last hour's.
        price, next_id = self._close_before(symbol, hour), parent.first_id
        cells: list[Cell] = []
        for minute in range(60):
            cell = next(parts) if minute in chosen else flat(price, next_id=next_id)
            price, next_id = cell.close, cell.first_id + cell.trades
            cells.append(cell)
        return tuple(cells)

    def _close_before(self, symbol: str, hour: int) -> int:
        """Every hour has trades, so the hour before says at what price it ended."""
        return self._hours(symbol, (hour - 1) // 24)[(hour - 1) % 24].close

    def _split_minute(self, symbol: str, minute: int) -> tuple[Print, ...]:
        fraction = self._random("trades", symbol, minute).random
        return tuple(prints_of(self.minute(symbol, minute), open_time=minute * MINUTE_MS, fraction=fraction))

    def _minute_of_id(self, symbol: str, trade_id: int) -> int:
        day = LISTED_MS // DAY_MS + max(0, trade_id - 1) // self.instruments[symbol].trades
        hours = self._hours(symbol, day)
        hour = max(i for i, cell in enumerate(hours) if cell.first_id <= max(1, trade_id))
        minutes = self._minutes(symbol, day * 24 + hour)
        minute = max(i for i, cell in enumerate(minutes) if cell.first_id <= max(1, trade_id))
        return (day * 24 + hour) * 60 + minute

    def _draw_close(self, symbol: str, day: int) -> int:
        """A day's last price: waves of several lengths around the instrument's level, each between hashed points."""
        instrument = self.instruments[symbol]
        height = 0.0
        for length, amplitude in _WAVES:
            index, part = divmod(day, length)
            start, end = self._point(symbol, length, index), self._point(symbol, length, index + 1)
            height += amplitude * (start + (end - start) * part / length)
        return int(instrument.price * (1 + instrument.sway * height))

    def _point(self, symbol: str, length: int, index: int) -> float:
        return 2 * self._random(f"wave{length}", symbol, index).random() - 1

    def _random(self, purpose: str, symbol: str, index: int) -> Random:
        name = f"{self.seed}/{self.venue}/{symbol}/{purpose}/{index}"
        seed = int.from_bytes(blake2b(name.encode(), digest_size=8).digest())
        return Random(seed)  # noqa: S311 (a repeatable market, not a secret)


def open_of(unix_ms: int, timeframe: str) -> int:
    """Return the open time of the candle which contains this moment. Units: Unix ms."""
    shift = MONDAY_MS if timeframe == "1w" else 0
    return unix_ms - (unix_ms - shift) % TIMEFRAME_MS[timeframe]


def decimal_text(units: int, decimals: int) -> str:
    """Return an integer number of 10^-decimals as text with the venue's eight places."""
    scaled = units * 10 ** (8 - decimals)
    return f"{scaled // 100_000_000}.{scaled % 100_000_000:08d}"


def candle_text(instrument: Instrument, cell: Cell, open_time: int, length_ms: int, *, now_ms: int) -> CandleText:
    """Write a candle as the venue does. Units: Unix ms."""
    price, lot = 10 ** (8 - instrument.price_decimals), instrument.lot_decimals
    open_, high, low, close = (
        f"{scaled // 100_000_000}.{scaled % 100_000_000:08d}"
        for scaled in (cell.open * price, cell.high * price, cell.low * price, cell.close * price)
    )
    quote_decimals = instrument.price_decimals + lot
    return CandleText(
        open_time,
        open_,
        high,
        low,
        close,
        decimal_text(cell.volume, lot),
        open_time + length_ms - 1,
        decimal_text(cell.quote, quote_decimals),
        cell.trades,
        decimal_text(cell.volume // 2, lot),
        decimal_text(cell.quote // 2, quote_decimals),
        open_time + length_ms <= now_ms,
        cell.first_id,
    )
