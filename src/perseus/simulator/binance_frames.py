"""Binance's WebSocket payloads, built from the generated market. Pure."""

from __future__ import annotations

from typing import Any

from perseus.simulator.binance_rest import agg_trade, book, ticker
from perseus.simulator.cells import Print
from perseus.simulator.instruments import Instrument
from perseus.simulator.market import CandleText, Market, decimal_text


def trade_frame(instrument: Instrument, trade: Print, *, now_ms: int) -> dict[str, Any]:
    """Write a `trade` event."""
    return {
        "e": "trade",
        "E": now_ms,
        "s": instrument.native,
        "t": trade.id,
        "p": decimal_text(trade.price, instrument.price_decimals),
        "q": decimal_text(trade.lots, instrument.lot_decimals),
        "T": trade.time,
        "m": trade.buyer_is_maker,
        "M": True,
    }


def agg_trade_frame(instrument: Instrument, trade: Print, *, now_ms: int) -> dict[str, Any]:
    """Write an `aggTrade` event."""
    return {"e": "aggTrade", "E": now_ms, "s": instrument.native, **agg_trade(instrument, trade)}


def book_ticker_frame(instrument: Instrument, trade: Print) -> dict[str, Any]:
    """Write a `bookTicker` payload, which has neither event type nor time."""
    bid, bid_lots, ask, ask_lots = book(trade)
    price, lot = instrument.price_decimals, instrument.lot_decimals
    return {
        "u": trade.id,
        "s": instrument.native,
        "b": decimal_text(bid, price),
        "B": decimal_text(bid_lots, lot),
        "a": decimal_text(ask, price),
        "A": decimal_text(ask_lots, lot),
    }


def kline_frame(symbol: str, timeframe: str, candle: CandleText, *, is_closed: bool, now_ms: int) -> dict[str, Any]:
    """Write a `kline` event. `f` and `L`, the first and last trade's ids, are -1 without trades."""
    return {
        "e": "kline",
        "E": now_ms,
        "s": symbol,
        "k": {
            "t": candle.open_time,
            "T": candle.close_time,
            "s": symbol,
            "i": timeframe,
            "f": candle.first_id if candle.trades else -1,
            "L": candle.first_id + candle.trades - 1 if candle.trades else -1,
            "o": candle.open,
            "c": candle.close,
            "h": candle.high,
            "l": candle.low,
            "v": candle.volume,
            "n": candle.trades,
            "x": is_closed,
            "q": candle.quote_volume,
            "V": candle.taker_volume,
            "Q": candle.taker_quote_volume,
            "B": "0",
        },
    }


def ticker_frames(market: Market, instrument: Instrument, *, now_ms: int) -> dict[str, dict[str, Any]]:
    """Write the `ticker` and `miniTicker` events of this moment, by their stream's kind."""
    row = ticker(market, instrument, now_ms)
    mini = {
        "s": row["symbol"],
        "c": row["lastPrice"],
        "o": row["openPrice"],
        "h": row["highPrice"],
        "l": row["lowPrice"],
        "v": row["volume"],
        "q": row["quoteVolume"],
    }
    full = {
        "p": row["priceChange"],
        "P": row["priceChangePercent"],
        "w": row["weightedAvgPrice"],
        "x": row["prevClosePrice"],
        "Q": row["lastQty"],
        "b": row["bidPrice"],
        "B": row["bidQty"],
        "a": row["askPrice"],
        "A": row["askQty"],
        "O": row["openTime"],
        "C": row["closeTime"],
        "F": row["firstId"],
        "L": row["lastId"],
        "n": row["count"],
    }
    return {
        "ticker": {"e": "24hrTicker", "E": now_ms, **mini, **full},
        "miniTicker": {"e": "24hrMiniTicker", "E": now_ms, **mini},
    }
