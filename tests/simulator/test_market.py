"""The generated market agrees with itself at every level: what a candle says is what its parts add up to."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perseus.simulator.cells import LEAST_TRADES, Cell, flat, fold, fold_prints
from perseus.simulator.instruments import BINANCE, INSTRUMENTS_BY_VENUE, LISTED_MS
from perseus.simulator.market import DAY_MS, HOUR_MS, MINUTE_MS, TIMEFRAME_MS, CandleText, Market, open_of

MARKET = Market(seed=7)
SYMBOLS = st.sampled_from([instrument.native for instrument in BINANCE])
DAYS = st.integers(LISTED_MS // DAY_MS + 1, LISTED_MS // DAY_MS + 4000)
HOURS_OF_DAY = st.integers(0, 23)
MINUTES_OF_HOUR = st.integers(0, 59)
QUIET = "ZRXUSDT"
NOON_MS = 1_772_452_800_000
"""2026-03-02T12:00Z."""


def fold_text(candles: list[CandleText]) -> tuple[Decimal, ...]:
    """Fold candles as a client would: open, high, low, close, volume, quote volume, trades."""
    traded = [candle for candle in candles if candle.trades] or candles[-1:]
    return (
        Decimal(traded[0].open),
        max(Decimal(candle.high) for candle in traded),
        min(Decimal(candle.low) for candle in traded),
        Decimal(traded[-1].close),
        sum((Decimal(candle.volume) for candle in candles), Decimal(0)),
        sum((Decimal(candle.quote_volume) for candle in candles), Decimal(0)),
        Decimal(sum(candle.trades for candle in candles)),
    )


@given(SYMBOLS, DAYS)
@settings(max_examples=60, deadline=None)
def test_hours_fold_to_their_day(symbol: str, day: int) -> None:
    """A client that folds hours into days compares them with the venue's own."""
    start = day * DAY_MS
    hours = [MARKET.cell(symbol, start + hour * HOUR_MS, start + (hour + 1) * HOUR_MS) for hour in range(24)]
    assert fold(hours) == MARKET.day(symbol, day)


@given(SYMBOLS, DAYS, HOURS_OF_DAY)
@settings(max_examples=60, deadline=None)
def test_minutes_fold_to_their_hour_and_ids_go_on(symbol: str, day: int, hour: int) -> None:
    """Candles and trade ids meet without a hole, also across minutes in which nothing was traded."""
    start = day * DAY_MS + hour * HOUR_MS
    minutes = [MARKET.minute(symbol, start // MINUTE_MS + index) for index in range(60)]
    assert fold(minutes) == MARKET.cell(symbol, start, start + HOUR_MS)
    for before, after in pairwise(minutes):
        assert after.first_id == before.first_id + before.trades
    assert all(minute.trades == 0 or minute.trades >= LEAST_TRADES for minute in minutes)


@given(SYMBOLS, DAYS, HOURS_OF_DAY, MINUTES_OF_HOUR)
@settings(max_examples=150, deadline=None)
def test_trades_fold_to_their_minute(symbol: str, day: int, hour: int, minute: int) -> None:
    """A client that builds candles from trades compares them with the venue's own, quote volume included."""
    at = day * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS
    cell = MARKET.minute(symbol, at // MINUTE_MS)
    trades = list(MARKET.trades(symbol, at, at + MINUTE_MS))
    assert [trade.id for trade in trades] == list(range(cell.first_id, cell.first_id + cell.trades))
    assert trades == sorted(trades, key=lambda trade: trade.time)
    assert all(trade.lots > 0 and cell.low <= trade.price <= cell.high for trade in trades)
    assert (fold_prints(trades) or flat(cell.close, next_id=cell.first_id)) == cell


@given(SYMBOLS, DAYS, st.integers(0, DAY_MS - 1), st.sampled_from(["1m", "5m", "15m", "1h"]))
@settings(max_examples=60, deadline=None)
def test_forming_candle_is_the_fold_of_its_trades_so_far(symbol: str, day: int, now: int, timeframe: str) -> None:
    """What REST calls forming is exactly what a WebSocket client has seen."""
    now_ms = day * DAY_MS + now
    open_time = open_of(now_ms, timeframe)
    [candle] = MARKET.candles(symbol, timeframe, open_time, open_time, now_ms)
    traded = list(MARKET.trades(symbol, open_time, now_ms + 1))
    assert candle.is_closed is False
    assert candle.trades == len(traded)
    if traded:
        tick = Decimal(1).scaleb(-MARKET.instruments[symbol].price_decimals)
        assert Decimal(candle.open) == traded[0].price * tick
        assert Decimal(candle.high) == max(trade.price for trade in traded) * tick
        assert Decimal(candle.low) == min(trade.price for trade in traded) * tick
        assert Decimal(candle.close) == traded[-1].price * tick


@pytest.mark.parametrize("symbol", ["BTCUSDT", "SHIBUSDT", "XLMUSDT", QUIET])
@pytest.mark.parametrize(("small", "large"), [("1m", "5m"), ("1m", "15m"), ("15m", "1h"), ("1h", "4h"), ("4h", "1d")])
def test_written_candles_fold_decimal_for_decimal(symbol: str, small: str, large: str) -> None:
    """Folding works on the text the venue sends, not only on the generator's integers."""
    start = open_of(NOON_MS, "1d")
    for [whole], parts in (
        (
            MARKET.candles(symbol, large, at, at, start + 10 * DAY_MS),
            MARKET.candles(symbol, small, at, at + TIMEFRAME_MS[large] - 1, start + 10 * DAY_MS),
        )
        for at in range(start, start + 2 * DAY_MS, TIMEFRAME_MS[large])
    ):
        assert len(parts) == TIMEFRAME_MS[large] // TIMEFRAME_MS[small]
        assert fold_text(parts) == fold_text([whole])


@given(SYMBOLS, DAYS, HOURS_OF_DAY)
@settings(max_examples=30, deadline=None)
def test_two_markets_with_one_seed_agree(symbol: str, day: int, hour: int) -> None:
    """The ground truth of a test is computed in another process than the simulator's, in another order."""
    at = day * DAY_MS + hour * HOUR_MS
    other = Market(seed=7)
    assert list(other.trades(symbol, at, at + MINUTE_MS)) == list(MARKET.trades(symbol, at, at + MINUTE_MS))
    now = at + 90 * MINUTE_MS
    assert other.candles(symbol, "5m", at, now, now) == MARKET.candles(symbol, "5m", at, now, now)


def test_another_seed_is_another_market() -> None:
    """Otherwise --seed would do nothing."""
    assert Market(seed=8).day("BTCUSDT", 20_000) != MARKET.day("BTCUSDT", 20_000)


def test_quiet_minutes_stand_flat_at_the_last_close() -> None:
    """Most minutes of a quiet market pass without a trade, and REST fills them."""
    candles = MARKET.candles(QUIET, "1m", NOON_MS, NOON_MS + DAY_MS - 1, NOON_MS + DAY_MS)
    quiet = [index for index, candle in enumerate(candles) if candle.trades == 0]
    assert len(quiet) == 24 * 54
    for index in quiet[1:]:
        last, candle = candles[index - 1], candles[index]
        assert {candle.open, candle.high, candle.low, candle.close} == {last.close}
        assert candle.volume == candle.quote_volume == "0.00000000"


def test_ids_begin_with_one() -> None:
    """A venue's first trade has the id 1; from there they count without a hole."""
    assert next(MARKET.trades("BTCUSDT", LISTED_MS, LISTED_MS + MINUTE_MS)).id == 1
    assert MARKET.trades_from("BTCUSDT", 0, 2, LISTED_MS + DAY_MS)[0].id == 1


def test_candles_are_bounded_by_listing_and_now() -> None:
    """Nothing before the listing, nothing from the future, and only the newest is forming."""
    now = LISTED_MS + 10 * MINUTE_MS + 30_000
    candles = MARKET.candles("BTCUSDT", "1m", 0, now + DAY_MS, now)
    assert [candle.open_time for candle in candles] == [LISTED_MS + i * MINUTE_MS for i in range(11)]
    assert [candle.is_closed for candle in candles] == [True] * 10 + [False]


@given(SYMBOLS, DAYS, st.integers(0, 9_999))
@settings(max_examples=40, deadline=None)
def test_trades_are_found_by_id(symbol: str, day: int, offset: int) -> None:
    """A client that missed trades asks for them by id."""
    first_id = MARKET.day(symbol, day).first_id + offset % MARKET.instruments[symbol].trades
    found = MARKET.trades_from(symbol, first_id, 5, (day + 2) * DAY_MS)
    assert [trade.id for trade in found] == list(range(first_id, first_id + 5))


@pytest.mark.parametrize("venue", INSTRUMENTS_BY_VENUE)
def test_instruments_keep_the_generator_exact(venue: str) -> None:
    """Eight decimals hold a quote volume, ids are whole, and every trade can be cut from the day's volume."""
    for instrument in INSTRUMENTS_BY_VENUE[venue]:
        assert instrument.price_decimals + instrument.lot_decimals <= 8, instrument.native
        assert instrument.trades >= 24 * instrument.minutes * LEAST_TRADES, instrument.native
        assert instrument.lots >= 400 * instrument.trades, instrument.native
        assert instrument.price >= 100, instrument.native


@pytest.mark.parametrize("venue", INSTRUMENTS_BY_VENUE)
def test_every_market_of_every_venue_can_be_cut_into_trades(venue: str) -> None:
    """One market with too small a volume or range would break the feed in the middle of a day."""
    market = Market(seed=1, venue=venue)
    for symbol in market.instruments:
        for minute in range(NOON_MS, NOON_MS + HOUR_MS, MINUTE_MS):
            trades = list(market.trades(symbol, minute, minute + MINUTE_MS))
            assert len(trades) == market.minute(symbol, minute // MINUTE_MS).trades


def test_folding_nothing_is_refused() -> None:
    """An empty candle has no price."""
    with pytest.raises(ValueError, match="Nothing to fold"):
        fold([])


def test_a_candle_opens_with_its_first_trade() -> None:
    """A flat minute before the first trade does not set the open of the candle above it."""
    traded = Cell(105, 110, 104, 106, 10, 1065, 6, 1)
    assert fold([flat(90, next_id=1), traded, flat(106, next_id=7)]) == traded
