"""Binance's public REST answers: a market, a query and a moment in, the venue's JSON out. Pure.

Source: the venue's public REST documentation. Unverified: the exact order in which it checks several wrong parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from perseus.simulator.cells import Cell, Print
from perseus.simulator.instruments import LISTED_MS, Instrument
from perseus.simulator.market import DAY_MS, MINUTE_MS, TIMEFRAME_MS, CandleText, Market, decimal_text, open_of

Query = Mapping[str, str]
SYMBOL_PATTERN = "^[A-Z0-9-_.]{1,20}$"
FAR_MS = 1 << 53


class Refused(Exception):
    """The venue refuses a request: its own code and message, and the HTTP status."""

    def __init__(self, code: int, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class Moment(NamedTuple):
    """What an answer depends on besides the query."""

    market: Market
    now_ms: int
    weight_limit: int


def ping(moment: Moment, query: Query) -> Any:
    """Answer that the venue is there."""
    return {}


def time(moment: Moment, query: Query) -> Any:
    """Answer the venue's clock."""
    return {"serverTime": moment.now_ms}


def exchange_info(moment: Moment, query: Query) -> Any:
    """Answer the limits and the listed symbols."""
    asked = _symbols(moment.market, query)
    listed = moment.market.instruments.values() if asked is None else asked
    limits = (
        ("REQUEST_WEIGHT", "MINUTE", 1, moment.weight_limit),
        ("ORDERS", "SECOND", 10, 100),
        ("ORDERS", "DAY", 1, 200_000),
        ("RAW_REQUESTS", "MINUTE", 5, 61_000),
    )
    return {
        "timezone": "UTC",
        "serverTime": moment.now_ms,
        "rateLimits": [
            {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}
            for kind, interval, number, limit in limits
        ],
        "exchangeFilters": [],
        "symbols": [_listing(instrument) for instrument in listed],
    }


def _listing(instrument: Instrument) -> dict[str, Any]:
    tick, lot = decimal_text(1, instrument.price_decimals), decimal_text(1, instrument.lot_decimals)
    return {
        "symbol": instrument.native,
        "status": instrument.status,
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000000000.00000000", "stepSize": lot},
            {
                "filterType": "NOTIONAL",
                "minNotional": "5.00000000",
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def klines(moment: Moment, query: Query) -> list[list[Any]]:
    """Answer candles: both bounds inclusive on the open time, oldest first, the last one forming."""
    symbol = _symbol(moment.market, query).native
    timeframe = _required(query, "interval")
    if timeframe not in TIMEFRAME_MS:
        raise Refused(-1120, "Invalid interval.")
    limit = _limit(query, default=500)
    start, end = _integer(query, "startTime"), _integer(query, "endTime")
    now_ms = moment.now_ms
    if start is None:
        newest = open_of(min(now_ms if end is None else end, now_ms), timeframe)
        start = newest - (limit - 1) * TIMEFRAME_MS[timeframe]
    rows = moment.market.candles(symbol, timeframe, start, FAR_MS if end is None else end, now_ms, limit=limit)
    return [_row(candle) for candle in rows]


def _row(candle: CandleText) -> list[Any]:
    return [*candle[:11], "0"]


def ticker_24hr(moment: Moment, query: Query) -> Any:
    """Answer the last 24 hours of one symbol, of several, or of all."""
    asked = _symbols(moment.market, query)
    listed = list(moment.market.instruments.values()) if asked is None else asked
    rows = [ticker(moment.market, instrument, moment.now_ms) for instrument in listed]
    return rows[0] if "symbol" in query else rows


def ticker(market: Market, instrument: Instrument, now_ms: int) -> dict[str, Any]:
    """Summarise the 24 hours up to now. Units: Unix ms."""
    symbol = instrument.native
    start = max(LISTED_MS, now_ms - DAY_MS - now_ms % MINUTE_MS)
    window = market.cell(symbol, start, now_ms + 1)
    before = market.minute(symbol, start // MINUTE_MS - 1) if start > LISTED_MS else window
    last = market.last_trades(symbol, 1, now_ms)[-1]
    change = window.close - window.open
    price, lot = instrument.price_decimals, instrument.lot_decimals
    average = window.quote * 10**8 // (window.volume * 10**price) if window.volume else window.close * 10 ** (8 - price)
    return {
        "symbol": symbol,
        "priceChange": decimal_text(change, price) if change >= 0 else "-" + decimal_text(-change, price),
        "priceChangePercent": f"{100 * change / window.open:.3f}",
        "weightedAvgPrice": decimal_text(average, 8),
        "prevClosePrice": decimal_text(before.close, price),
        "lastPrice": decimal_text(window.close, price),
        "lastQty": decimal_text(last.lots, lot),
        **_book(instrument, last),
        "openPrice": decimal_text(window.open, price),
        "highPrice": decimal_text(window.high, price),
        "lowPrice": decimal_text(window.low, price),
        "volume": decimal_text(window.volume, lot),
        "quoteVolume": decimal_text(window.quote, price + lot),
        "openTime": start,
        "closeTime": now_ms,
        "firstId": window.first_id,
        "lastId": window.first_id + window.trades - 1,
        "count": window.trades,
    }


def _book(instrument: Instrument, last: Print) -> dict[str, str]:
    bid, bid_lots, ask, ask_lots = book(last)
    price, lot = instrument.price_decimals, instrument.lot_decimals
    return {
        "bidPrice": decimal_text(bid, price),
        "bidQty": decimal_text(bid_lots, lot),
        "askPrice": decimal_text(ask, price),
        "askQty": decimal_text(ask_lots, lot),
    }


def book(last: Print) -> tuple[int, int, int, int]:
    """Return bid, its lots, ask, its lots: one tick apart, with the last trade on the side that made it."""
    bid = last.price if last.buyer_is_maker else last.price - 1
    return bid, 1 + last.id * 7919 % 100_003, bid + 1, 1 + last.id * 104_729 % 100_003


def ticker_price(moment: Moment, query: Query) -> Any:
    """Answer last prices."""
    asked = _symbols(moment.market, query)
    listed = list(moment.market.instruments.values()) if asked is None else asked
    rows = [{"symbol": i.native, "price": decimal_text(_now(moment, i).close, i.price_decimals)} for i in listed]
    return rows[0] if "symbol" in query else rows


def book_ticker(moment: Moment, query: Query) -> Any:
    """Answer best bids and asks."""
    asked = _symbols(moment.market, query)
    listed = list(moment.market.instruments.values()) if asked is None else asked
    rows = [{"symbol": i.native, **_book(i, moment.market.last_trades(i.native, 1, moment.now_ms)[-1])} for i in listed]
    return rows[0] if "symbol" in query else rows


def _now(moment: Moment, instrument: Instrument) -> Cell:
    return moment.market.cell(instrument.native, moment.now_ms - moment.now_ms % MINUTE_MS, moment.now_ms + 1)


def trades(moment: Moment, query: Query) -> list[dict[str, Any]]:
    """Answer the newest trades, or those from an id on; oldest first."""
    instrument = _symbol(moment.market, query)
    limit, from_id = _limit(query, default=500), _integer(query, "fromId")
    if from_id is None:
        found = moment.market.last_trades(instrument.native, limit, moment.now_ms)
    else:
        found = moment.market.trades_from(instrument.native, from_id, limit, moment.now_ms)
    price, lot = instrument.price_decimals, instrument.lot_decimals
    return [
        {
            "id": p.id,
            "price": decimal_text(p.price, price),
            "qty": decimal_text(p.lots, lot),
            "quoteQty": decimal_text(p.price * p.lots, price + lot),
            "time": p.time,
            "isBuyerMaker": p.buyer_is_maker,
            "isBestMatch": True,
        }
        for p in found
    ]


def agg_trades(moment: Moment, query: Query) -> list[dict[str, Any]]:
    """Answer aggregate trades; here each has exactly one trade and its id."""
    instrument = _symbol(moment.market, query)
    symbol, limit = instrument.native, _limit(query, default=500)
    start, end, from_id = (_integer(query, name) for name in ("startTime", "endTime", "fromId"))
    until = min(moment.now_ms, FAR_MS if end is None else end)
    if from_id is not None:
        found = moment.market.trades_from(symbol, from_id, limit, moment.now_ms)
    elif start is not None:
        found = [
            p
            for p, _ in zip(moment.market.trades(symbol, max(start, LISTED_MS), until + 1), range(limit), strict=False)
        ]
    else:
        found = moment.market.last_trades(symbol, limit, until)
    return [agg_trade(instrument, p) for p in found]


def agg_trade(instrument: Instrument, trade: Print) -> dict[str, Any]:
    """Write one aggregate trade, as REST and WebSocket share it."""
    return {
        "a": trade.id,
        "p": decimal_text(trade.price, instrument.price_decimals),
        "q": decimal_text(trade.lots, instrument.lot_decimals),
        "f": trade.id,
        "l": trade.id,
        "T": trade.time,
        "m": trade.buyer_is_maker,
        "M": True,
    }


def _required(query: Query, name: str) -> str:
    value = query.get(name, "")
    if not value:
        raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return value


def _symbol(market: Market, query: Query) -> Instrument:
    return _listed(market, _required(query, "symbol"))


def _listed(market: Market, symbol: str) -> Instrument:
    if not re.fullmatch(SYMBOL_PATTERN, symbol):
        raise Refused(-1100, f"Illegal characters found in parameter 'symbol'; legal range is '{SYMBOL_PATTERN}'.")
    if symbol not in market.instruments:
        raise Refused(-1121, "Invalid symbol.")
    return market.instruments[symbol]


def _symbols(market: Market, query: Query) -> list[Instrument] | None:
    """Return the instruments named by `symbol` or `symbols`, None when neither was sent."""
    if "symbol" in query:
        return [_symbol(market, query)]
    if "symbols" not in query:
        return None
    try:
        names = msgspec.json.decode(query["symbols"], type=list[str])
    except msgspec.DecodeError as error:
        raise Refused(-1100, "Illegal characters found in parameter 'symbols'; legal range is a JSON array.") from error
    return [_listed(market, name) for name in names]


def _integer(query: Query, name: str) -> int | None:
    value = query.get(name)
    if value is None:
        return None
    if not re.fullmatch("[0-9]{1,20}", value):
        raise Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(value)


def _limit(query: Query, *, default: int) -> int:
    limit = _integer(query, "limit")
    if limit == 0:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(1000, default if limit is None else limit)


def _ticker_weight(query: Query) -> int:
    if "symbol" in query:
        return 2
    if "symbols" not in query:
        return 80
    count = query["symbols"].count(",") + 1
    return 2 if count <= 20 else 40 if count <= 100 else 80


Answer = Callable[[Moment, Query], Any]
Weight = Callable[[Query], int]

ANSWERS: dict[str, tuple[Answer, Weight]] = {
    "ping": (ping, lambda _: 1),
    "time": (time, lambda _: 1),
    "exchangeInfo": (exchange_info, lambda _: 20),
    "klines": (klines, lambda _: 2),
    "uiKlines": (klines, lambda _: 2),
    "ticker/24hr": (ticker_24hr, _ticker_weight),
    "ticker/price": (ticker_price, lambda query: 2 if "symbol" in query else 4),
    "ticker/bookTicker": (book_ticker, lambda query: 2 if "symbol" in query else 4),
    "trades": (trades, lambda _: 25),
    "historicalTrades": (trades, lambda _: 25),
    "aggTrades": (agg_trades, lambda _: 4),
}
"""Path below `/api/v3/`: who answers, and what the request weighs."""
