"""Binance's WebSocket side: requests, formats, and frames that agree with REST."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import aiohttp
import pytest

from perseus.simulator.server import Simulator
from tests.simulator.conftest import START_MS
from tests.simulator.sockets import Wire, is_closed_kline, is_trade

MINUTE_MS = 60_000
OPEN_MS = START_MS - START_MS % MINUTE_MS


@pytest.fixture
def url(simulator: Simulator) -> str:
    """binance.com's WebSocket base."""
    return f"{simulator.ws_url}/binance"


async def test_requests_are_acknowledged_and_listed(client: aiohttp.ClientSession, url: str) -> None:
    """Clients wait for the acknowledgement with their id."""
    async with Wire(client, f"{url}/ws") as wire:
        assert await wire.request("SUBSCRIBE", "zrxusdt@trade", "zrxusdt@kline_1m", id=1) == {"result": None, "id": 1}
        assert await wire.request("UNSUBSCRIBE", "zrxusdt@trade", id=2) == {"result": None, "id": 2}
        assert await wire.request("LIST_SUBSCRIPTIONS", id=3) == {"result": ["zrxusdt@kline_1m"], "id": 3}
        assert await wire.request("GET_PROPERTY", "combined", id=4) == {"result": False, "id": 4}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 3),
        ('{"params":[]}', 2),
        ('{"method":"DANCE","params":[],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[7],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":"btcusdt@trade","id":1}', 2),
    ],
)
async def test_bad_requests_get_an_error_frame(client: aiohttp.ClientSession, url: str, text: str, code: int) -> None:
    """The connection survives a bad request, as on the venue."""
    async with Wire(client, f"{url}/ws") as wire:
        await wire.ws.send_str(text)
        answer = await wire.until(lambda frame: "code" in frame)
        assert answer["code"] == code
        assert await wire.request("LIST_SUBSCRIPTIONS") == {"result": [], "id": 1}


async def test_unknown_symbol_is_acknowledged_then_silent(client: aiohttp.ClientSession, url: str) -> None:
    """An adapter must notice the silence itself: the venue does not refuse."""
    async with Wire(client, f"{url}/ws") as wire:
        assert (await wire.request("SUBSCRIBE", "nopeusdt@trade", "btcusdt@nope"))["result"] is None
        await wire.until_pings(3)
        assert len(wire.frames) == 1


async def test_trades_of_a_minute_fold_to_the_closing_kline_and_to_rest(
    client: aiohttp.ClientSession, simulator: Simulator, url: str
) -> None:
    """One generator feeds both doors: what was streamed is what REST says afterwards."""
    async with Wire(client, f"{url}/ws/btcusdt@kline_1m/btcusdt@trade") as wire:
        closing = (await wire.until(is_closed_kline))["k"]
    assert closing["t"] == OPEN_MS
    trades = [frame for frame in wire.events("trade") if frame["T"] < OPEN_MS + MINUTE_MS]
    ids = [frame["t"] for frame in wire.events("trade")]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert trades[-1]["t"] == closing["L"]
    assert trades[-1]["p"] == closing["c"]
    async with client.get(
        f"{simulator.url}/binance/api/v3/klines", params={"symbol": "BTCUSDT", "interval": "1m", "startTime": OPEN_MS}
    ) as response:
        row = (await response.json())[0]
    keys = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")
    assert [closing[key] for key in keys] == row
    truth = list(simulator.venues["binance"].market.trades("BTCUSDT", OPEN_MS, OPEN_MS + MINUTE_MS))
    assert [frame["t"] for frame in trades] == [trade.id for trade in truth[-len(trades) :]]
    assert Decimal(sum(trade.lots for trade in truth)).scaleb(-5) == Decimal(closing["v"])


async def test_closing_kline_comes_before_the_next_candle(client: aiohttp.ClientSession, url: str) -> None:
    """It comes within half a second of the minute's end, and nothing is said of the next candle before it."""
    async with Wire(client, f"{url}/ws/btcusdt@kline_1m") as wire:
        await wire.until(lambda frame: frame.get("e") == "kline" and frame["k"]["t"] > OPEN_MS)
    first_next = wire.frames.pop()
    closing = wire.frames[-1]
    assert closing["k"]["x"] is True
    assert 100 <= closing["E"] - (OPEN_MS + MINUTE_MS) <= 500
    assert first_next["k"]["x"] is False
    assert all(frame["k"]["x"] is False for frame in wire.frames[:-1])


async def test_only_candles_that_end_are_closed(client: aiohttp.ClientSession, url: str) -> None:
    """At noon a minute, an hour and four hours end; the day does not."""
    async with Wire(client, f"{url}/ws/btcusdt@kline_1m/btcusdt@kline_1h/btcusdt@kline_4h/btcusdt@kline_1d") as wire:
        await wire.until(lambda frame: frame["k"]["i"] == "4h" and frame["k"]["t"] == OPEN_MS + MINUTE_MS)
    closed = [(frame["k"]["i"], frame["k"]["T"]) for frame in wire.frames if frame["k"]["x"]]
    assert sorted(closed) == [(timeframe, OPEN_MS + MINUTE_MS - 1) for timeframe in ("1h", "1m", "4h")]


async def test_combined_streams_wrap_the_same_payload(client: aiohttp.ClientSession, url: str) -> None:
    """`/stream` names the stream around each payload; `/ws` does not."""
    async with Wire(client, f"{url}/stream?streams=btcusdt@trade/ethusdt@aggTrade") as combined:
        frame = await combined.until(lambda frame: frame.get("stream") == "ethusdt@aggTrade")
        assert frame["data"]["e"] == "aggTrade"
        assert frame["data"]["s"] == "ETHUSDT"
        frame = await combined.until(lambda frame: frame.get("stream") == "btcusdt@trade")
        assert set(frame["data"]) == {"e", "E", "s", "t", "p", "q", "T", "m", "M"}


@pytest.mark.parametrize("kind", ["aggTrade", "bookTicker", "ticker", "miniTicker", "kline_5m"])
async def test_every_kind_of_stream_flows(client: aiohttp.ClientSession, url: str, kind: str) -> None:
    """Public clients subscribe to more than our adapter does."""
    async with Wire(client, f"{url}/ws/btcusdt@{kind}") as wire:
        frame = await wire.until(lambda frame: frame.get("s") == "BTCUSDT")
        assert ("e" in frame) == (kind != "bookTicker")


async def test_two_sockets_get_the_same_frames(client: aiohttp.ClientSession, url: str) -> None:
    """Frames are computed once for all; nobody gets another's leftovers."""
    async with Wire(client, f"{url}/ws/btcusdt@trade") as one, Wire(client, f"{url}/ws/btcusdt@trade") as two:
        last = await one.until(lambda frame: is_trade(frame) and frame["T"] > START_MS + 1500)
        await two.until(lambda frame: frame["t"] == last["t"])
        shared = two.events("trade")[-5:]
        assert shared == one.events("trade")[-5:]


async def test_more_than_five_messages_a_second_end_the_connection(client: aiohttp.ClientSession, url: str) -> None:
    """The venue's rule; pongs count too, so an adapter has to pack its subscriptions."""
    async with Wire(client, f"{url}/ws") as wire:
        for number in range(8):
            await wire.ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
        with pytest.raises(ConnectionError, match="CLOSE: 1008"):
            await wire.until(lambda _: False)


async def test_more_than_1024_streams_are_refused(client: aiohttp.ClientSession, url: str) -> None:
    """The venue's limit for one connection."""
    streams = [f"s{number}@trade" for number in range(1025)]
    async with Wire(client, f"{url}/ws") as wire:
        assert (await wire.request("SUBSCRIBE", *streams))["code"] == 2
        assert (await wire.request("SUBSCRIBE", *streams[:1024]))["result"] is None


async def test_pings_come_and_are_answered(client: aiohttp.ClientSession, url: str) -> None:
    """Liveness works in both directions."""
    async with Wire(client, f"{url}/ws") as wire:
        await wire.until_pings(2)
        await wire.ws.ping(b"are you there")
        async with asyncio.timeout(5):
            message = await wire.receive()
        assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"are you there")


async def test_nothing_is_computed_when_nobody_listens(
    client: aiohttp.ClientSession, simulator: Simulator, url: str
) -> None:
    """A closed socket's subscriptions end with it."""
    feed = simulator.venues["binance"].feed
    async with Wire(client, f"{url}/ws/btcusdt@trade/ethusdt@kline_1m") as wire:
        await wire.until(is_trade)
        assert feed.symbols == {"BTCUSDT", "ETHUSDT"}
    async with Wire(client, f"{url}/ws") as wire:
        await wire.request("LIST_SUBSCRIPTIONS")
    assert feed.symbols == set()
