"""What Binance's REST answers and stream frames say, as our values. Pure.

Source: the venue's public API documentation. REST times are Unix ms; klines are ascending with both bounds inclusive on
the open time, the last row may be forming. On the stream `k.x` is the only word that a minute is final.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from perseus.errors import InvalidSymbols
from perseus.exchanges import http
from perseus.exchanges.adapter import CandleUpdate, Unreadable
from perseus.model import Candle, Symbol, Trade

CLOSED_AFTER_MS = 1500  # a row this long past its end is final; before, trades may still be on their way into it


# --- REST ---


class KlineRow(msgspec.Struct, array_like=True, frozen=True):
    """One row of `/klines`; the columns after `close_time` are not read."""

    open_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    close_time: int


class RateLimit(msgspec.Struct, frozen=True, rename="camel"):
    """One of `exchangeInfo`'s limits."""

    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int


class SymbolRow(msgspec.Struct, frozen=True, rename="camel"):
    """One of `exchangeInfo`'s symbols."""

    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    is_spot_trading_allowed: bool = True

    @property
    def is_trading(self) -> bool:
        """Whether it trades now and its name can stand in a key."""
        usable = not any(mark in self.base_asset + self.quote_asset for mark in ":{} ")
        return self.status == "TRADING" and self.is_spot_trading_allowed and usable


class ExchangeInfo(msgspec.Struct, frozen=True, rename="camel"):
    """`/exchangeInfo`, as far as we read it."""

    rate_limits: tuple[RateLimit, ...]
    symbols: tuple[SymbolRow, ...]

    @property
    def weight_a_minute(self) -> int | None:
        """The request weight allowed a minute, None if it is not said."""
        for limit in self.rate_limits:
            if (limit.rate_limit_type, limit.interval, limit.interval_num) == ("REQUEST_WEIGHT", "MINUTE", 1):
                return limit.limit
        return None


class TickerRow(msgspec.Struct, frozen=True, rename="camel"):
    """One of `/ticker/24hr`'s rows."""

    symbol: str
    quote_volume: Decimal


class ServerTime(msgspec.Struct, frozen=True, rename="camel"):
    """`/time`."""

    server_time: int


class Refusal(msgspec.Struct, frozen=True):
    """The venue's error body."""

    code: int
    msg: str


def candles_of(rows: Sequence[KlineRow], *, asked_ms: int) -> list[Candle]:
    """The candles of kline rows; `asked_ms`: the venue's time when they were asked for, which decides what is final."""
    return [
        Candle(
            open_time=row.open_time,
            open=row.open,
            high=row.high,
            low=row.low,
            close=row.close,
            volume=row.volume,
            is_closed=row.close_time + CLOSED_AFTER_MS < asked_ms,
        )
        for row in rows
    ]


def tradable(info: ExchangeInfo, tickers: Sequence[TickerRow]) -> list[Symbol]:
    """The symbols that trade now, with their 24-hour quote volume, most traded first."""
    volume_by_native = {row.symbol: row.quote_volume for row in tickers}
    symbols = [
        Symbol(
            name=f"{row.base_asset}-{row.quote_asset}",
            native=row.symbol,
            base=row.base_asset,
            quote=row.quote_asset,
            quote_volume_24h=volume_by_native.get(row.symbol, Decimal(0)),
        )
        for row in info.symbols
        if row.is_trading
    ]
    return sorted(symbols, key=lambda symbol: (-symbol.quote_volume_24h, symbol.name))


def most_traded(symbols: Sequence[Symbol], count: int, *, quotes: Sequence[str]) -> list[Symbol]:
    """The `count` most traded of one quote currency: of `quotes`, the one with the larger volume in all.

    Volumes in two currencies do not compare, so a ranking stays within one.
    """
    by_quote = {quote: [symbol for symbol in symbols if symbol.quote == quote] for quote in quotes}
    quote = max(quotes, key=lambda quote: sum(symbol.quote_volume_24h for symbol in by_quote[quote]))
    return by_quote[quote][:count]


def named(symbols: Sequence[Symbol], wanted: Sequence[str], *, exchange: str) -> list[Symbol]:
    """The symbols asked for, by our name (`BTC-USDT`) or the exchange's (`BTCUSDT`), in the order asked, once each.

    Raises: InvalidSymbols naming every one that does not trade now, with names that come near.
    """
    known = {spelling: symbol for symbol in symbols for spelling in (symbol.name, symbol.native)}
    found = {name: known.get(name.strip().upper()) for name in wanted}
    unknown = tuple(name for name, symbol in found.items() if symbol is None)
    if unknown:
        names = [symbol.name for symbol in symbols]
        near = {n for name in unknown for n in difflib.get_close_matches(name.upper(), names, n=2, cutoff=0.7)}
        hint = f" Near matches: {', '.join(sorted(near))}." if near else ""
        raise InvalidSymbols(
            f"{exchange} does not trade {', '.join(unknown)} now. Nothing was subscribed.{hint} "
            f"Give symbols as BASE-QUOTE (BTC-USDT) or as the exchange spells them (BTCUSDT).",
            unknown=unknown,
        )
    return list(dict.fromkeys(symbol for symbol in found.values() if symbol is not None))


# --- stream ---


class Kline(msgspec.Struct, frozen=True):
    """The `k` of a kline event. `L`: the last trade's id, -1 without any."""

    t: int
    L: int
    o: Decimal
    c: Decimal
    h: Decimal
    l: Decimal  # noqa: E741  # the venue's name
    v: Decimal
    x: bool


class KlineEvent(msgspec.Struct, frozen=True, tag_field="e", tag="kline"):
    """A 1m candle as it is now."""

    E: int
    s: str
    k: Kline


class TradeEvent(msgspec.Struct, frozen=True, tag_field="e", tag="trade"):
    """One trade; `m`: the buyer is the maker."""

    E: int
    s: str
    t: int
    p: Decimal
    q: Decimal
    T: int
    m: bool


class ShutdownEvent(msgspec.Struct, frozen=True, tag_field="e", tag="serverShutdown"):
    """The server will close soon: reconnect at once."""


class Fault(msgspec.Struct, frozen=True):
    """What the venue says of a request it refuses."""

    code: int = 0
    msg: str = ""


class Frame(msgspec.Struct, frozen=True):
    """Any frame of a combined connection: data, the answer to a request, a refusal, or a word from the server."""

    stream: str | None = None
    data: KlineEvent | TradeEvent | ShutdownEvent | None = None
    id: int | str | None = None
    code: int | None = None
    msg: str = ""
    error: Fault | None = None
    e: str | None = None


class Acknowledged(msgspec.Struct, frozen=True):
    """The venue accepted the request with this id."""

    id: int | str


class Shutdown(msgspec.Struct, frozen=True):
    """The venue will close this connection soon."""


class Denied(msgspec.Struct, frozen=True):
    """The venue refused a request."""

    code: int
    msg: str


class Nothing(msgspec.Struct, frozen=True):
    """A frame of the protocol that says nothing to us."""


Said = CandleUpdate | Trade | Acknowledged | Denied | Shutdown | Unreadable | Nothing
_frame_decoder = msgspec.json.Decoder(Frame)


def parse_frame(text: str) -> Said:
    """What one text frame says."""
    try:
        frame = _frame_decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError) as error:
        return _foreign_frame(text, str(error))
    match frame.data:
        case KlineEvent(s=symbol, E=sent_at, k=k):
            return CandleUpdate(symbol=symbol, candle=_candle_of(k), last_trade_id=k.L, sent_at=sent_at)
        case TradeEvent() as trade:
            return Trade(
                symbol=trade.s, id=trade.t, price=trade.p, quantity=trade.q, time=trade.T, buyer_is_maker=trade.m
            )
        case _:
            return _control(frame)


def _control(frame: Frame) -> Acknowledged | Denied | Shutdown | Nothing:
    if frame.e == "serverShutdown" or isinstance(frame.data, ShutdownEvent):
        return Shutdown()
    if frame.error is not None:
        return Denied(frame.error.code, frame.error.msg)
    if frame.code is not None:
        return Denied(frame.code, frame.msg)
    return Nothing() if frame.id is None else Acknowledged(frame.id)


def _candle_of(k: Kline) -> Candle:
    return Candle(open_time=k.t, open=k.o, high=k.h, low=k.l, close=k.c, volume=k.v, is_closed=k.x)


class _AnyFrame(msgspec.Struct, frozen=True):
    stream: str


def _foreign_frame(text: str, reason: str) -> Unreadable | Nothing:
    """Another stream's event is none of our business; everything else that we cannot read is reported."""
    try:
        stream = msgspec.json.decode(text, type=_AnyFrame).stream
    except (msgspec.MsgspecError, UnicodeError):
        return Unreadable(text=http.excerpt(text), reason=reason)
    if stream.endswith(("@kline_1m", "@trade")):
        return Unreadable(text=http.excerpt(text), reason=reason)
    return Nothing()


def streams_of(symbols: Sequence[Symbol]) -> list[str]:
    """The stream names of both subscriptions of each symbol."""
    return [f"{symbol.native.lower()}@{kind}" for symbol in symbols for kind in ("kline_1m", "trade")]
