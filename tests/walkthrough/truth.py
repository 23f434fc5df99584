"""What an instance keeps, held against what the simulator's market really did."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from perseus import candles
from perseus.model import SEEDED_EXCHANGES, Candle, Timeframe
from perseus.simulator.market import Market
from perseus.store import Store

OPEN_MINUTE_MS = 90_000  # the newest minute must have opened within this

BINANCE_ID = next(exchange.id for exchange in SEEDED_EXCHANGES if exchange.name == "binance")


async def faults_of(store: Store, symbol: str, *, market: Market, least_closed: int, now_ms: int) -> list[str]:
    """Everything wrong with the kept candles of one symbol, a sentence each: too few, stale, a gap, a wrong value."""
    faults = []
    for timeframe in Timeframe:
        kept = await candles.read(store, BINANCE_ID, symbol, timeframe, last=2000)
        closed = [candle for candle in kept if candle.is_closed]
        if len(closed) < least_closed:
            faults.append(f"{symbol} {timeframe}: {len(closed)} closed candles, {least_closed} wanted")
            continue
        opens = [candle.open_time for candle in kept]
        if timeframe is Timeframe.M1 and now_ms - opens[-1] > OPEN_MINUTE_MS:
            faults.append(f"{symbol}: the newest minute opened {(now_ms - opens[-1]) / 1000:.0f} s ago")
        holes = [now for before, now in pairwise(opens) if now - before != timeframe.ms]
        faults += [f"{symbol} {timeframe}: gap before {at}" for at in holes]
        faults += _wrong(symbol.replace("-", ""), timeframe, closed, market=market, now_ms=now_ms)
    return faults


def _wrong(native: str, timeframe: Timeframe, closed: list[Candle], *, market: Market, now_ms: int) -> list[str]:
    first, last = closed[0].open_time, closed[-1].open_time
    truth = {row.open_time: row for row in market.candles(native, timeframe.value, first, last, now_ms=now_ms)}
    faults = []
    for candle in closed:
        row = truth[candle.open_time]
        real = tuple(map(Decimal, (row.open, row.high, row.low, row.close, row.volume)))
        have = (candle.open, candle.high, candle.low, candle.close, candle.volume)
        if have != real:
            faults.append(f"{native} {timeframe} {candle.open_time}: kept {have}, really {real}")
    return faults
