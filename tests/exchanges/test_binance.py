"""The Binance adapter against the simulator's real HTTP and WebSocket, and against answers no venue should give."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from aiohttp import web

from perseus.accepting import take_no_more
from perseus.clock import SystemClock
from perseus.errors import (
    ConnectionEnding,
    InvalidSymbols,
    UnknownExchange,
    VenueRefused,
    VenueUnavailable,
)
from perseus.exchanges import open_adapter
from perseus.exchanges.adapter import Adapter, CandleUpdate, Feed, Message, Subscribed, Unreadable
from perseus.exchanges.binance import Binance
from perseus.model import Symbol, Timeframe, Trade
from perseus.simulator.server import Simulator
from tests.support.system import free_port
from tests.support.venue import adapter_of, running_simulator, strike

START_MS = 1_772_452_770_000  # 2026-03-02T11:59:30Z
HOUR = Timeframe.H1.ms


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulator of its own, half a minute before noon."""
    async with running_simulator(start_ms=START_MS) as running:
        yield running


@pytest.fixture
async def binance(simulator: Simulator) -> AsyncIterator[Adapter]:
    """The adapter of binance.com, knowing the venue's time."""
    async with adapter_of(simulator) as adapter:
        await adapter.synchronize()
        yield adapter


@asynccontextmanager
async def venue_that(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[Adapter]:
    """An adapter of a host that treats every request alike."""
    application = web.Application()
    application.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    listener = await asyncio.get_running_loop().create_server(runner.server, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        async with open_adapter("binance", clock=SystemClock(), rest_url=url, ws_url=url) as adapter:
            yield adapter
    finally:
        await take_no_more([listener])
        await runner.cleanup()


async def btc(adapter: Adapter) -> Symbol:
    """BTC-USDT."""
    [symbol] = await adapter.symbols(("BTC-USDT",))
    return symbol


async def heard(feed: Feed, *, until: type[Message], count: int = 1) -> list[Message]:
    """The messages up to the `count`-th of a kind."""
    messages: list[Message] = []
    async with asyncio.timeout(20):
        async for message in feed:
            messages.append(message)
            if sum(isinstance(one, until) for one in messages) == count:
                break
    return messages


async def test_the_most_traded_symbols_share_one_quote_currency(binance: Adapter) -> None:
    """25 symbols out of the box, ranked by what was traded, comparable."""
    symbols = await binance.symbols(25)
    assert len(symbols) == 25
    assert {symbol.quote for symbol in symbols} == {"USDT"}
    assert [s.quote_volume_24h for s in symbols] == sorted((s.quote_volume_24h for s in symbols), reverse=True)


async def test_binance_us_is_the_same_protocol_elsewhere(simulator: Simulator) -> None:
    """Only hosts and limits differ, so one adapter serves both."""
    async with adapter_of(simulator, "binance_us") as adapter:
        assert isinstance(adapter, Binance)
        symbols = await adapter.symbols(3)
        assert len(symbols) == 3
        assert len({symbol.quote for symbol in symbols}) == 1


async def test_a_symbol_that_does_not_trade_is_refused_by_name(binance: Adapter) -> None:
    """The stream would acknowledge it and stay silent for ever."""
    with pytest.raises(InvalidSymbols, match="BTC-UST") as invalid:
        await binance.symbols(("ETH-USDT", "BTC-UST"))
    assert invalid.value.unknown == ("BTC-UST",)


async def test_history_is_complete_over_many_requests(binance: Adapter, simulator: Simulator) -> None:
    """A thousand rows a request, both bounds inclusive, nothing twice."""
    symbol, end = await btc(binance), START_MS - START_MS % 60_000
    start = end - 2499 * 60_000
    rows = await binance.history(symbol, Timeframe.M1, start=start, end=end)
    assert [row.open_time for row in rows] == list(range(start, end + 1, 60_000))
    truth = simulator.venues["binance"].market.candles("BTCUSDT", "1m", start, end - 60_000, START_MS)
    assert [(row.close, row.volume) for row in rows[:-1]] == [(Decimal(t.close), Decimal(t.volume)) for t in truth]
    assert all(row.is_closed for row in rows[:-1])
    assert not rows[-1].is_closed


async def test_a_symbol_unknown_to_history_is_named(binance: Adapter) -> None:
    """Delisted while it was followed: it alone is left out."""
    gone = Symbol(name="OLD-USDT", native="OLDUSDT", base="OLD", quote="USDT")
    with pytest.raises(InvalidSymbols, match="OLDUSDT"):
        await binance.history(gone, Timeframe.H1, start=START_MS - HOUR, end=START_MS)


async def test_a_refusal_for_too_many_requests_is_waited_out(binance: Adapter, simulator: Simulator) -> None:
    """Going on would get the address banned."""
    symbol = await btc(binance)
    await strike(simulator, "http", status=429, retry_after=1, count=1)
    loop = asyncio.get_running_loop()
    before = loop.time()
    with pytest.raises(VenueUnavailable, match="HTTP 429"):
        await binance.history(symbol, Timeframe.H1, start=START_MS - HOUR, end=START_MS)
    assert await binance.history(symbol, Timeframe.H1, start=START_MS - HOUR, end=START_MS)
    assert loop.time() - before >= 1


async def test_a_ban_is_said_to_be_one(binance: Adapter, simulator: Simulator) -> None:
    """The reader must know that nothing is asked for a while, and that it goes on by itself."""
    await strike(simulator, "http", status=418, retry_after=77, count=1)
    with pytest.raises(VenueUnavailable, match=r"banned for a while\. No request is sent for 77 s"):
        await binance.synchronize()


async def test_a_refused_location_names_the_other_venue(binance: Adapter, simulator: Simulator) -> None:
    """HTTP 451: trying again will not help, another exchange may."""
    await strike(simulator, "http", status=451, count=1)
    with pytest.raises(VenueRefused, match=r"HTTP 451.*perseus run binance_us"):
        await binance.symbols(5)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("<html><h1>Down for maintenance</h1></html>", 200, "not its documented JSON.*Down for maintenance"),
        ("<html>Bad gateway</html>", 502, "HTTP 502 and no JSON.*Bad gateway"),
        ('{"code":-1100,"msg":"Illegal characters"}', 400, r"HTTP 400: Illegal characters \(code -1100\)"),
    ],
)
async def test_an_answer_that_is_not_the_venues_is_shown(body: str, status: int, said: str) -> None:
    """A captive portal, a proxy, a maintenance page: the message shows what stood there."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, status=status, content_type="text/html")

    async with venue_that(answer) as adapter:
        with pytest.raises(VenueUnavailable, match=said):
            await adapter.synchronize()


async def test_a_url_without_the_api_is_refused_until_it_has_answered_once(
    binance: Adapter, simulator: Simulator
) -> None:
    """A slip in the settings shows at the start; later a 404 is a passing fault of something in between."""
    async with open_adapter("binance", clock=SystemClock(), rest_url=f"{simulator.url}/nowhere") as wrong:
        with pytest.raises(VenueRefused, match="there is no such API"):
            await wrong.synchronize()
    await strike(simulator, "http", status=404, count=1)
    with pytest.raises(VenueUnavailable, match="HTTP 404"):
        await binance.synchronize()


async def test_a_host_that_is_not_there_is_unavailable() -> None:
    """It may come back: nothing ends for good."""
    url = f"http://127.0.0.1:{free_port()}"
    async with open_adapter("binance", clock=SystemClock(), rest_url=url, ws_url=url) as adapter:
        with pytest.raises(VenueUnavailable, match="got no answer"):
            await adapter.synchronize()
        with pytest.raises(VenueUnavailable, match="was not opened"):
            async with adapter.connect(()):
                raise AssertionError("it was opened")


@pytest.mark.parametrize("url", ["ftp://example.invalid", "http://", "nonsense"])
async def test_a_bad_url_is_refused_at_once(url: str) -> None:
    """A slip in the settings must not look like an exchange that is down."""
    async with open_adapter("binance", clock=SystemClock(), rest_url=url, ws_url=url) as adapter:
        with pytest.raises(VenueRefused, match="Correct the exchange's REST URL"):
            await adapter.synchronize()


def test_an_exchange_without_adapter_is_named() -> None:
    """Nothing is half started."""
    with pytest.raises(UnknownExchange, match="binance, binance_us"):
        open_adapter("mtgox", clock=SystemClock())


async def test_a_connection_says_when_it_is_subscribed_and_then_delivers(binance: Adapter) -> None:
    """Both kinds of messages, for every symbol asked for."""
    symbols = await binance.symbols(4)
    async with binance.connect(symbols) as feed:
        messages = await heard(feed, until=Trade, count=40)
    [subscribed] = [one for one in messages if isinstance(one, Subscribed)]
    assert subscribed.symbols == tuple(symbol.native for symbol in symbols)
    natives = {symbol.native for symbol in symbols}
    assert {one.symbol for one in messages if isinstance(one, Trade)} <= natives
    assert any(isinstance(one, CandleUpdate) for one in messages)


async def test_subscriptions_are_packed_and_paced(binance: Adapter, simulator: Simulator) -> None:
    """More than five messages a second and the venue hangs up."""
    symbols = await binance.symbols(25)
    many = [*symbols, *(Symbol(name=f"X{n}-Y", native=f"X{n}Y", base=f"X{n}", quote="Y") for n in range(480))]
    assert len(many) <= binance.symbols_per_connection
    async with binance.connect(many) as feed:
        messages = await heard(feed, until=Subscribed)
    assert isinstance(messages[-1], Subscribed)


async def test_a_word_about_the_end_ends_the_connection_at_once(binance: Adapter, simulator: Simulator) -> None:
    """serverShutdown: reconnecting before the cut loses least."""
    async with binance.connect([await btc(binance)]) as feed:
        await heard(feed, until=Subscribed)
        await strike(simulator, "shutdown")
        with pytest.raises(ConnectionEnding, match="announced"):
            await heard(feed, until=Subscribed)


@pytest.mark.parametrize("fault", ["reset", "close_24h"])
async def test_a_lost_connection_says_why(binance: Adapter, simulator: Simulator, fault: str) -> None:
    """Iterating ends by an exception only, so that no loss is taken for the end of the data."""
    async with binance.connect([await btc(binance)]) as feed:
        await heard(feed, until=Subscribed)
        await strike(simulator, fault)
        with pytest.raises(VenueUnavailable, match=r"is gone: .*(reset|closed by the exchange)"):
            await heard(feed, until=Subscribed)


async def test_text_that_is_no_json_is_handed_on_and_the_connection_lives(
    binance: Adapter, simulator: Simulator
) -> None:
    """A proxy in between may speak up."""
    async with binance.connect([await btc(binance)]) as feed:
        await heard(feed, until=Subscribed)
        await strike(simulator, "text", text="CloudFlare WebSocket proxy restarting")
        messages = await heard(feed, until=Unreadable)
        assert isinstance(messages[-1], Unreadable)
        assert messages[-1].text == "CloudFlare WebSocket proxy restarting"
        await heard(feed, until=Trade)


async def test_a_silent_subscription_can_be_renewed(binance: Adapter) -> None:
    """Without losing the others of the same connection."""
    symbol = await btc(binance)
    async with binance.connect([symbol]) as feed:
        await heard(feed, until=Subscribed)
        await feed.resubscribe([symbol])
        await heard(feed, until=Trade, count=5)


async def test_a_subscription_that_is_not_acknowledged_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a subscription would look like a quiet market."""
    monkeypatch.setattr("perseus.exchanges.binance.ACK_TIMEOUT_S", 0.2)

    async def listen_only(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket

    symbol = Symbol(name="BTC-USDT", native="BTCUSDT", base="BTC", quote="USDT")
    async with venue_that(listen_only) as adapter:
        with pytest.raises(VenueUnavailable, match="did not acknowledge 1 subscription"):
            async with adapter.connect([symbol]) as feed:
                await heard(feed, until=Subscribed)
