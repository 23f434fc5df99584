"""What flows over Binance's WebSockets: one task computes every frame once and hands it to all who subscribed.

Trades go out at their times. A candle is repeated every two seconds while it changes, and once more with `x: true`
shortly after it closed, if anything was traded in it: a quiet minute closes without a word, as on the real venue.
Nothing is computed for symbols to which nobody listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from perseus.simulator.binance_frames import (
    agg_trade_frame,
    book_ticker_frame,
    kline_frame,
    ticker_frames,
    trade_frame,
)
from perseus.simulator.faults import FaultBoard
from perseus.simulator.instruments import Instrument
from perseus.simulator.market import TIMEFRAME_MS, Market, open_of

TICK_MS = 100
KLINE_EVERY_MS = 2000
TICKER_EVERY_MS = 1000
CLOSE_AFTER_MS = 250
CORRECT_AFTER_MS = 1000
CATCH_UP_MS = 120_000
"""After a longer pause (suspended machine, clock set ahead) the feed goes on from now, without what was between."""

encode = msgspec.json.Encoder().encode


class Listener(Protocol):
    """Whatever takes frames: a WebSocket."""

    def send(self, frame: Frame) -> None:
        """Take one frame without waiting."""


class Frame:
    """One payload, encoded at most once for each of the two formats."""

    def __init__(self, stream: str, payload: dict[str, Any]) -> None:
        self._stream = stream
        self.raw = encode(payload)
        self._combined: bytes | None = None

    @property
    def combined(self) -> bytes:
        """The payload wrapped with its stream's name, as `/stream` sends it."""
        if self._combined is None:
            self._combined = b'{"stream":"' + self._stream.encode() + b'","data":' + self.raw + b"}"
        return self._combined


class _KlineStream:
    """What was said of one symbol's candles of one timeframe."""

    def __init__(self, timeframe: str, now_ms: int) -> None:
        self.timeframe = timeframe
        self.open_time = open_of(now_ms, timeframe)
        self.said_trades = 0
        self.due_ms = now_ms
        self.correct_at_ms: int | None = None


class _SymbolFeed:
    """What was sent of one symbol: everything up to `sent_ms`."""

    def __init__(self, instrument: Instrument, now_ms: int) -> None:
        self.instrument = instrument
        self.symbol = instrument.native
        self.sent_ms = now_ms
        self.listeners: dict[str, set[Listener]] = {}
        self.klines: dict[str, _KlineStream] = {}
        self.ticker_due_ms = now_ms


class BinanceFeed:
    """The live streams of one venue."""

    def __init__(self, market: Market, faults: FaultBoard, *, now_ms: Callable[[], int]) -> None:
        self._market = market
        self._faults = faults
        self._now_ms = now_ms
        self._feeds: dict[str, _SymbolFeed] = {}
        self._held: dict[str, Frame] = {}

    @property
    def symbols(self) -> set[str]:
        """The symbols somebody listens to."""
        return set(self._feeds)

    def subscribe(self, listener: Listener, stream: str) -> None:
        """Send the stream's frames to the listener from now on; one that does not exist never has any."""
        symbol, _, kind = stream.partition("@")
        instrument = self._market.instruments.get(symbol.upper())
        if instrument is None or symbol != symbol.lower() or instrument.status != "TRADING":
            return
        feed = self._feeds.setdefault(instrument.native, _SymbolFeed(instrument, self._now_ms()))
        feed.listeners.setdefault(kind, set()).add(listener)
        timeframe = kind.removeprefix("kline_")
        if timeframe != kind and timeframe in TIMEFRAME_MS and kind not in feed.klines:
            feed.klines[kind] = _KlineStream(timeframe, self._now_ms())

    def unsubscribe(self, listener: Listener, stream: str) -> None:
        """Send no more of the stream to the listener."""
        symbol, _, kind = stream.partition("@")
        feed = self._feeds.get(symbol.upper())
        if feed is None or listener not in feed.listeners.get(kind, ()):
            return
        feed.listeners[kind].discard(listener)
        if not feed.listeners[kind]:
            del feed.listeners[kind]
            feed.klines.pop(kind, None)
        if not feed.listeners:
            del self._feeds[feed.symbol]

    async def run(self) -> None:
        """Send for ever what is due."""
        while True:
            self.send_due()
            await asyncio.sleep((TICK_MS - self._now_ms() % TICK_MS) / 1000)

    def send_due(self) -> None:
        """Send what became due since the last time."""
        now_ms = self._now_ms()
        for feed in list(self._feeds.values()):
            self._advance(feed, now_ms)

    def _advance(self, feed: _SymbolFeed, now_ms: int) -> None:
        if not 0 <= now_ms - feed.sent_ms <= CATCH_UP_MS:
            feed.sent_ms = now_ms
        self._send_trades(feed, now_ms)
        for kind, kline in feed.klines.items():
            self._send_kline(feed, kind, kline, now_ms)
        if _is_due(feed.ticker_due_ms, TICKER_EVERY_MS, now_ms):
            feed.ticker_due_ms = now_ms + TICKER_EVERY_MS
            if "ticker" in feed.listeners or "miniTicker" in feed.listeners:
                for kind, payload in ticker_frames(self._market, feed.instrument, now_ms=now_ms).items():
                    self._send(feed, kind, payload)

    def _send_trades(self, feed: _SymbolFeed, now_ms: int) -> None:
        instrument, kinds = feed.instrument, feed.listeners
        for trade in self._market.trades(feed.symbol, feed.sent_ms + 1, now_ms + 1):
            if self._faults.take("skip_trades", venue=self._market.venue, symbol=feed.symbol) is None:
                if "trade" in kinds:
                    self._send(feed, "trade", trade_frame(instrument, trade, now_ms=now_ms))
                if "aggTrade" in kinds:
                    self._send(feed, "aggTrade", agg_trade_frame(instrument, trade, now_ms=now_ms))
            if "bookTicker" in kinds:
                self._send(feed, "bookTicker", book_ticker_frame(instrument, trade))
        feed.sent_ms = now_ms

    def _send_kline(self, feed: _SymbolFeed, kind: str, kline: _KlineStream, now_ms: int) -> None:
        timeframe, length = kline.timeframe, TIMEFRAME_MS[kline.timeframe]
        if kline.correct_at_ms is not None and now_ms >= kline.correct_at_ms:
            kline.correct_at_ms = None
            self._send_closed(feed, kind, timeframe, kline.open_time - length, now_ms)
        current = open_of(now_ms, timeframe)
        if current != kline.open_time:
            # Nothing is said of the next candle before this one is closed.
            if now_ms >= kline.open_time + length + CLOSE_AFTER_MS + self._lateness_ms(feed.symbol):
                self._close(feed, kind, kline, now_ms)
                kline.open_time, kline.said_trades, kline.due_ms = current, 0, now_ms
        elif _is_due(kline.due_ms, KLINE_EVERY_MS, now_ms):
            kline.due_ms = now_ms + KLINE_EVERY_MS
            candle = self._market.candle(feed.symbol, timeframe, current, now_ms)
            if candle.trades != kline.said_trades:
                kline.said_trades = candle.trades
                payload = kline_frame(feed.symbol, timeframe, candle, is_closed=False, now_ms=now_ms)
                self._send(feed, kind, payload)

    def _lateness_ms(self, symbol: str) -> int:
        fault = self._faults.find("late_close", venue=self._market.venue, symbol=symbol)
        return 0 if fault is None else fault.ms

    def _close(self, feed: _SymbolFeed, kind: str, kline: _KlineStream, now_ms: int) -> None:
        """Say that a candle closed; under the `revise` fault a wrong one first, to be corrected later."""
        as_of_ms = now_ms
        if self._faults.take("revise", venue=self._market.venue, symbol=feed.symbol):
            end_ms = kline.open_time + TIMEFRAME_MS[kline.timeframe]
            last = self._market.last_trades(feed.symbol, 1, end_ms - 1)[-1]  # an earlier minute's, if this was quiet
            as_of_ms = max(kline.open_time, last.time - 1)
            kline.correct_at_ms = now_ms + CORRECT_AFTER_MS
        self._send_closed(feed, kind, kline.timeframe, kline.open_time, now_ms, as_of_ms=as_of_ms)

    def _send_closed(
        self,
        feed: _SymbolFeed,
        kind: str,
        timeframe: str,
        open_time: int,
        now_ms: int,
        *,
        as_of_ms: int | None = None,
    ) -> None:
        candle = self._market.candle(feed.symbol, timeframe, open_time, now_ms if as_of_ms is None else as_of_ms)
        if candle.trades and self._faults.take("no_close", venue=self._market.venue, symbol=feed.symbol) is None:
            self._send(feed, kind, kline_frame(feed.symbol, timeframe, candle, is_closed=True, now_ms=now_ms))

    def _send(self, feed: _SymbolFeed, kind: str, payload: dict[str, Any]) -> None:
        listeners = feed.listeners.get(kind)
        if not listeners:
            return
        stream = f"{feed.symbol.lower()}@{kind}"
        for frame in self._disturbed(feed.symbol, stream, Frame(stream, payload)):
            for listener in list(listeners):
                listener.send(frame)

    def _disturbed(self, symbol: str, stream: str, frame: Frame) -> list[Frame]:
        """Return what is really sent in place of a frame while faults are active."""
        if not self._faults.is_any_active:
            return [frame]
        where = {"venue": self._market.venue, "symbol": symbol}
        if self._faults.take("silent", **where):
            return []
        if self._faults.take("duplicate", **where):
            return [frame, frame]
        held = self._held.pop(stream, None)
        if held is not None:
            return [frame, held]
        if self._faults.take("reorder", **where):
            self._held[stream] = frame
            return []
        return [frame]


def _is_due(due_ms: int, every_ms: int, now_ms: int) -> bool:
    """True when the moment has come, or lies further ahead than it can: the clock was set back."""
    return not 0 < due_ms - now_ms <= every_ms
