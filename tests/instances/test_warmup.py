"""History from a venue that listed a symbol at any moment, and what is folded from it afterwards."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from perseus.clock import SystemClock
from perseus.exchanges import ADAPTERS, Venue
from perseus.exchanges.adapter import CandleUpdate
from perseus.exchanges.binance import Binance
from perseus.instances.candle_writer import CandleWriter
from perseus.instances.followed import FollowedSymbol
from perseus.instances.warmup import warm_symbol
from perseus.model import Candle, Symbol, Timeframe
from tests.support.instances import holding, setup_at
from tests.support.servers import Server

MIDNIGHT = 1_772_409_600_000  # 2026-03-02T00:00Z
MINUTE, HOUR, DAY = Timeframe.M1.ms, Timeframe.H1.ms, Timeframe.D1.ms
SYMBOL = Symbol(name="NEW-USDT", native="NEWUSDT", base="NEW", quote="USDT")
VENUE: Venue = ADAPTERS["binance"]


def minute(open_time: int) -> Candle:
    """What was traded in a minute: the same whoever asks."""
    price = Decimal(100 + open_time // MINUTE % 50)
    return Candle(
        open_time=open_time,
        open=price,
        high=price + 2,
        low=price - 1,
        close=price + 1,
        volume=Decimal(5),
        is_closed=True,
    )


class Listed(Binance):
    """The adapter with the answers of a venue that listed the symbol at `listed`, asked at `now`."""

    def __init__(self, *, listed: int, now: int) -> None:
        super().__init__("binance", venue=VENUE, clock=SystemClock())
        self.listed, self.now = listed, now

    def now_ms(self) -> int:
        """The venue's time."""
        return self.now

    def candle(self, timeframe: Timeframe, open_time: int) -> Candle:
        """A candle as the venue folds it."""
        end = min(open_time + timeframe.ms, self.now + 1)
        minutes = [minute(t) for t in range(max(open_time, self.listed), end, MINUTE)]
        return Candle(
            open_time=open_time,
            open=minutes[0].open,
            high=max(one.high for one in minutes),
            low=min(one.low for one in minutes),
            close=minutes[-1].close,
            volume=sum((one.volume for one in minutes), Decimal(0)),
            is_closed=open_time + timeframe.ms <= self.now,
        )

    async def history(self, symbol: Symbol, timeframe: Timeframe, *, start: int, end: int) -> list[Candle]:
        """The candles there are."""
        first = max(timeframe.open_of(start + timeframe.ms - 1), timeframe.open_of(self.listed))
        return [self.candle(timeframe, t) for t in range(first, min(end, self.now) + 1, timeframe.ms)]


@pytest.mark.parametrize("listed_at", [5 * HOUR, 5 * HOUR + 20 * MINUTE, 12 * HOUR + 10 * MINUTE])
async def test_the_day_of_a_listing_closes_also_when_it_is_followed_from_the_evening_on(
    valkey: Server, data_dir: Path, listed_at: int
) -> None:
    """Its minutes no longer reach back to the first trade, its hours do: day and four hours must not stay open."""
    venue = Listed(listed=MIDNIGHT + listed_at, now=MIDNIGHT + 22 * HOUR + 30 * MINUTE + 20_000)
    followed = FollowedSymbol(SYMBOL, now=0.0)
    written: dict[Timeframe, dict[int, Candle]] = {timeframe: {} for timeframe in Timeframe}
    async with holding(setup_at(valkey.url, data_dir)) as me:
        writer = CandleWriter(me, timeframes=Timeframe, kept=1500)
        await warm_symbol(followed, adapter=venue, writer=writer)
    for open_time in range(Timeframe.M1.open_of(venue.now), MIDNIGHT + DAY + 2 * HOUR, MINUTE):
        venue.now = open_time + MINUTE + 300
        update = CandleUpdate(symbol=SYMBOL.native, candle=minute(open_time), last_trade_id=None, sent_at=venue.now)
        followed.see_candle(update, now=0.0)
        for timeframe, changed in followed.take_changes().items():
            written[timeframe].update((candle.open_time, candle) for candle in changed)
    assert not followed.is_stuck
    assert written[Timeframe.D1][MIDNIGHT] == venue.candle(Timeframe.D1, MIDNIGHT)
    assert written[Timeframe.H4][MIDNIGHT + 20 * HOUR] == venue.candle(Timeframe.H4, MIDNIGHT + 20 * HOUR)
