"""Binance spot, binance.com and binance.us: the same protocol on other hosts, with other limits.

Source: the venue's public API documentation. No snapshot comes on subscribing; continuity is by trade id. A symbol that
does not exist is acknowledged and stays silent, as far as we know: symbols are checked against `exchangeInfo` first.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import NoReturn, Self, TypeVar

import aiohttp
import msgspec

from perseus.clock import Clock
from perseus.errors import ConnectionEnding, InvalidSymbols, VenueRefused, VenueUnavailable
from perseus.exchanges import Venue, http
from perseus.exchanges import binance_parse as parse
from perseus.exchanges.adapter import CandleUpdate, HistoryPlan, Message, NativeFetch, Subscribed, Unreadable
from perseus.exchanges.budget import WeightBudget
from perseus.exchanges.venue_time import VenueTime
from perseus.model import Candle, Symbol, Timeframe, Trade

PLAN = HistoryPlan(
    native=(NativeFetch(Timeframe.M1, 1000), NativeFetch(Timeframe.H1, 1000), NativeFetch(Timeframe.D1, 200)),
    folded={Timeframe.M5: Timeframe.M1, Timeframe.M15: Timeframe.M1, Timeframe.H4: Timeframe.H1},
)
STREAMS_A_CONNECTION = 1024
STREAMS_A_MESSAGE = 200
SEND_PAUSE_S = 0.25  # 5 messages a second, pongs included
ACK_TIMEOUT_S = 10.0
LIFETIME_S = 23 * 3600.0  # the venue closes at 24 h
ROWS_A_CALL = 1000
LEAST_LIMIT = 1200  # weight a minute until exchangeInfo says the real one: the smaller venue's
INVALID_SYMBOL = -1121
RETRY_AFTER_S = 60.0  # when a 429 or 418 does not say how long
T = TypeVar("T")


def open_adapter(name: str, *, venue: Venue, clock: Clock) -> Binance:
    """The adapter of one of the two venues; enter it with `async with`."""
    return Binance(name, venue=venue, clock=clock)


class Binance:
    """binance.com or binance.us. See `adapter.Adapter`."""

    plan = PLAN
    symbols_per_connection = STREAMS_A_CONNECTION // 2
    connection_lifetime_s: float | None = LIFETIME_S

    def __init__(self, name: str, *, venue: Venue, clock: Clock) -> None:
        self.name = name
        self._venue = venue
        self._clock = clock
        self._time = VenueTime(clock)
        self._budget = WeightBudget(limit=LEAST_LIMIT, clock=clock, venue_ms=self._time.now_ms)
        self._session: aiohttp.ClientSession | None = None
        self._has_answered = False  # then the URL is right, and a 404 is a passing fault of something in between
        self._has_connected = False

    async def __aenter__(self) -> Self:
        """Open the HTTP session; nothing is sent yet."""
        self._session = http.new_session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the HTTP session and whatever is still open."""
        if self._session is not None:
            await self._session.close()

    def now_ms(self) -> int:
        """The exchange's time now, Unix ms."""
        return self._time.now_ms()

    @property
    def doubts_time(self) -> bool:
        """Whether the stream speaks of an earlier time than `now_ms`: `synchronize` settles it."""
        return self._time.is_in_doubt

    async def synchronize(self) -> None:
        """Ask the exchange for its time."""
        answer = await self._get("time", {}, weight=1, type_=parse.ServerTime)
        self._time.answered(answer.server_time)

    async def symbols(self, wanted: int | tuple[str, ...]) -> list[Symbol]:
        """The symbols to serve; the most traded are ranked within one quote currency (`Venue.quotes`)."""
        info = await self._get("exchangeInfo", {}, weight=20, type_=parse.ExchangeInfo)
        self._budget.limit = info.weight_a_minute or self._budget.limit
        if isinstance(wanted, tuple):
            return parse.named(parse.tradable(info, ()), wanted, exchange=self.name)
        tickers = await self._get("ticker/24hr", {}, weight=80, type_=list[parse.TickerRow])
        return parse.most_traded(parse.tradable(info, tickers), wanted, quotes=self._venue.quotes)

    async def trading(self) -> frozenset[str]:
        """The native names of all symbols that trade now."""
        info = await self._get("exchangeInfo", {}, weight=20, type_=parse.ExchangeInfo)
        return frozenset(row.symbol for row in info.symbols if row.is_trading)

    async def history(self, symbol: Symbol, timeframe: Timeframe, *, start: int, end: int) -> list[Candle]:
        """The candles with open times from `start` to `end`, 1000 a request."""
        found: list[Candle] = []
        while start <= end:
            query = {"symbol": symbol.native, "interval": timeframe.value, "startTime": str(start)}
            query |= {"endTime": str(end), "limit": str(ROWS_A_CALL)}
            await self._budget.spend(2)
            asked_ms = self.now_ms()  # before the request: what it answers was true then
            rows = await self._get("klines", query, weight=0, type_=list[parse.KlineRow])
            found += parse.candles_of(rows, asked_ms=asked_ms)
            if len(rows) < ROWS_A_CALL:
                break
            start = rows[-1].open_time + timeframe.ms
        return found

    @asynccontextmanager
    async def connect(self, symbols: Sequence[Symbol]) -> AsyncIterator[Connection]:
        """A connection subscribed to 1m candles and trades of the symbols; a pong late by 7 s ends it."""
        if self._session is None:
            raise VenueUnavailable(f"The adapter of {self.name} is not open.")
        url = f"{self._venue.ws_url}/stream"
        async with http.open_socket(self._session, url, has_worked=self._has_connected) as socket:
            self._has_connected = True
            connection = Connection(socket, symbols, name=self.name, clock=self._clock, venue_time=self._time)
            await connection.request("SUBSCRIBE", symbols)
            yield connection

    async def _get(self, path: str, query: dict[str, str], *, weight: int, type_: type[T]) -> T:
        if self._session is None:
            raise VenueUnavailable(f"The adapter of {self.name} is not open.")
        if weight:
            await self._budget.spend(weight)
        minute = self._budget.minute
        answer = await http.get(self._session, f"{self._venue.rest_url}/api/v3/{path}", query)
        used = answer.headers.get("x-mbx-used-weight-1m", "")
        if used.isdigit():
            self._budget.observe(int(used), minute=minute)
        if answer.status != 200:
            self._refuse(answer, path, query)
        try:
            decoded = msgspec.json.decode(answer.body, type=type_)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise VenueUnavailable(
                f"{self.name} answered {path} with something that is not its documented JSON ({error}): "
                f"{answer.excerpt!r}. Nothing was taken from it. A proxy or a maintenance page may stand in between."
            ) from error
        self._has_answered = True
        return decoded

    def _refuse(self, answer: http.Answer, path: str, query: dict[str, str]) -> NoReturn:
        what = f"{self.name} answered {path} with HTTP {answer.status}"
        match answer.status:
            case 451:
                raise VenueRefused(_refused_here(self.name, self._venue.rest_url), status=451)
            case 404 if not self._has_answered:
                raise VenueRefused(
                    f"{what} at {self._venue.rest_url}: there is no such API. Correct the exchange's REST URL in the "
                    f"settings; the paths (/api/v3/…) are appended to it.",
                    status=404,
                )
            case 429 | 418:
                seconds = _seconds(answer.headers.get("retry-after", ""))
                self._budget.block(seconds)
                why = "too many requests" if answer.status == 429 else "this address is banned for a while"
                raise VenueUnavailable(
                    f"{what}: {why}. No request is sent for {seconds:g} s, then it goes on by itself. Other programs "
                    f"behind this address share the limit.",
                    status=answer.status,
                    retry_after_s=seconds,
                )
        try:
            refusal = msgspec.json.decode(answer.body, type=parse.Refusal)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise VenueUnavailable(f"{what} and no JSON: {answer.excerpt!r}.", status=answer.status) from error
        if refusal.code == INVALID_SYMBOL:
            raise InvalidSymbols(
                f"{self.name} does not know the symbol {query.get('symbol', '?')} (any more). It is left out.",
                unknown=(query.get("symbol", "?"),),
            )
        raise VenueUnavailable(f"{what}: {refusal.msg} (code {refusal.code}).", status=answer.status)


class Connection:
    """One WebSocket: requests go out paced, frames come in as messages. See `adapter.Feed`."""

    def __init__(
        self, socket: http.Socket, symbols: Sequence[Symbol], *, name: str, clock: Clock, venue_time: VenueTime
    ) -> None:
        self._socket = socket
        self._natives = tuple(symbol.native for symbol in symbols)
        self._name = name
        self._clock = clock
        self._time = venue_time
        self._ids = itertools.count(1)
        self._unanswered: set[int | str] = set()
        self._answers_due = 0.0  # loop time
        self._is_subscribed = False

    async def request(self, method: str, symbols: Sequence[Symbol]) -> None:
        """Send SUBSCRIBE or UNSUBSCRIBE for the symbols, paced; the answers come among the messages."""
        streams = parse.streams_of(symbols)
        sending_s = len(streams) / STREAMS_A_MESSAGE * SEND_PAUSE_S
        self._answers_due = asyncio.get_running_loop().time() + sending_s + ACK_TIMEOUT_S
        for at in range(0, len(streams), STREAMS_A_MESSAGE):
            number = next(self._ids)
            self._unanswered.add(number)
            request = {"method": method, "params": streams[at : at + STREAMS_A_MESSAGE], "id": number}
            await self._socket.send(msgspec.json.encode(request).decode())
            await self._clock.sleep(SEND_PAUSE_S)

    async def resubscribe(self, symbols: Sequence[Symbol]) -> None:
        """Subscribe again to what has gone silent on a connection that is otherwise alive."""
        await self.request("UNSUBSCRIBE", symbols)
        await self.request("SUBSCRIBE", symbols)

    async def __aiter__(self) -> AsyncIterator[Message]:
        """The messages in the order of arrival; data may come before the acknowledgement."""
        while True:
            said = parse.parse_frame(await self._receive())
            match said:
                case CandleUpdate():
                    self._time.heard(said.sent_at)
                    yield said
                case Trade():
                    self._time.heard(said.time)
                    yield said
                case Unreadable():
                    yield said
                case parse.Acknowledged(id=number):
                    self._unanswered.discard(number)
                    if not self._unanswered and not self._is_subscribed:
                        self._is_subscribed = True
                        yield Subscribed(symbols=self._natives)
                case parse.Denied(code=code, msg=text):
                    raise VenueUnavailable(f"{self._name} refused a subscription: {text} (code {code}).")
                case parse.Shutdown():
                    raise ConnectionEnding(f"{self._name} announced that it will close this connection.")

    async def _receive(self) -> str:
        if not self._unanswered:
            return await self._socket.receive()
        try:
            async with asyncio.timeout_at(self._answers_due):
                return await self._socket.receive()
        except TimeoutError as error:
            raise VenueUnavailable(
                f"{self._name} did not acknowledge {len(self._unanswered)} subscription requests within "
                f"{ACK_TIMEOUT_S:g} s."
            ) from error


def _refused_here(name: str, url: str) -> str:
    if name == "binance_us":
        return f"{url} refuses this location (HTTP 451). Nothing was started. Run it from where the venue serves."
    return (
        f"binance.com refuses this location (HTTP 451, asked at {url}). Nothing can be fetched from here. "
        f"Where binance.us serves you, run `perseus run binance_us`; elsewhere run it from another location."
    )


def _seconds(text: str) -> float:
    return float(text) if text.isdigit() else RETRY_AFTER_S
