"""The feed sends each frame once, whenever it is asked."""

from __future__ import annotations

import json
from typing import Any

from perseus.simulator.binance_feed import CATCH_UP_MS, BinanceFeed, Frame
from perseus.simulator.faults import FaultBoard
from perseus.simulator.market import MINUTE_MS, Market

NOON_MS = 1_772_452_800_000
MARKET = Market(seed=7)


class Notebook:
    """A listener that writes everything down."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []

    def send(self, frame: Frame) -> None:
        """Write a frame down."""
        self.frames.append(json.loads(frame.raw))


class Hands:
    """A clock which is set by hand."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def test_every_trade_is_sent_once_even_at_the_very_moment_of_asking() -> None:
    """A trade in the millisecond of a tick belongs to that tick, and not to the next one as well."""
    clock, notebook = Hands(NOON_MS - 1), Notebook()
    feed = BinanceFeed(MARKET, FaultBoard(), now_ms=clock)
    feed.subscribe(notebook, "btcusdt@trade")
    trades = list(MARKET.trades("BTCUSDT", NOON_MS, NOON_MS + MINUTE_MS))
    for trade in trades:
        clock.now_ms = trade.time
        feed.send_due()
    assert [frame["t"] for frame in notebook.frames] == [trade.id for trade in trades]


def test_quiet_minutes_close_without_a_word() -> None:
    """The venue says nothing of a minute without trades: a client closes it by its own clock."""
    clock, notebook = Hands(NOON_MS), Notebook()
    feed = BinanceFeed(MARKET, FaultBoard(), now_ms=clock)
    feed.subscribe(notebook, "zrxusdt@kline_1m")
    for clock.now_ms in range(NOON_MS, NOON_MS + 60 * MINUTE_MS + 1000, 500):
        feed.send_due()
    closed = [frame["k"] for frame in notebook.frames if frame["k"]["x"]]
    candles = MARKET.candles("ZRXUSDT", "1m", NOON_MS, NOON_MS + 60 * MINUTE_MS - 1, clock.now_ms)
    assert [(kline["t"], kline["c"], kline["v"]) for kline in closed] == [
        (candle.open_time, candle.close, candle.volume) for candle in candles if candle.trades
    ]
    assert len(closed) == 6


def test_a_clock_that_jumps_does_not_pour_out_the_time_between() -> None:
    """A suspended machine goes on from now, and a clock set back does not stop the feed."""
    clock, notebook = Hands(NOON_MS), Notebook()
    feed = BinanceFeed(MARKET, FaultBoard(), now_ms=clock)
    feed.subscribe(notebook, "btcusdt@trade")
    for moment in (NOON_MS + 2 * CATCH_UP_MS, NOON_MS - 2 * CATCH_UP_MS):
        clock.now_ms = moment
        feed.send_due()
        assert notebook.frames == []
        clock.now_ms += 5000
        feed.send_due()
        assert notebook.frames
        assert all(moment < frame["T"] <= moment + 5000 for frame in notebook.frames)
        notebook.frames.clear()
