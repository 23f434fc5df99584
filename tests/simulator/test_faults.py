"""Each fault does what its row in the table says, and ends when it should."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from perseus.simulator import faults as faults_module
from perseus.simulator.faults import AT_ONCE, LASTING, Fault, FaultBoard
from perseus.simulator.server import Simulator
from tests.simulator.conftest import START_MS
from tests.simulator.sockets import Wire, is_closed_kline, is_trade

MINUTE_MS = 60_000
OPEN_MS = START_MS - START_MS % MINUTE_MS


class Control:
    """The `/control` door and one venue's doors."""

    def __init__(self, client: aiohttp.ClientSession, simulator: Simulator) -> None:
        self._client = client
        self.url = simulator.url
        self.ws = f"{simulator.ws_url}/binance/ws"

    async def post(self, fault: str, **parameters: Any) -> dict[str, Any]:
        async with self._client.post(f"{self.url}/control", json={"fault": fault, **parameters}) as response:
            body: dict[str, Any] = await response.json()
            assert response.status == 200, body
            return body

    async def active(self) -> list[dict[str, Any]]:
        async with self._client.get(f"{self.url}/control") as response:
            found: list[dict[str, Any]] = await response.json()
            return found

    async def get(self, path: str, **query: str | int) -> tuple[int, Any, dict[str, str]]:
        async with self._client.get(f"{self.url}/binance/api/v3/{path}", params=query) as response:
            return response.status, await response.json(), dict(response.headers)

    def wire(self, *streams: str) -> Wire:
        return Wire(self._client, f"{self.ws}/{'/'.join(streams)}")


@pytest.fixture
def control(client: aiohttp.ClientSession, simulator: Simulator) -> Control:
    """Everything a fault test needs of a running simulator."""
    return Control(client, simulator)


def test_the_table_names_every_fault() -> None:
    """The module's docstring is the documentation."""
    for name in AT_ONCE | LASTING:
        assert f"| `{name}` |" in (faults_module.__doc__ or "")


def test_faults_end_by_time_by_use_or_when_cleared() -> None:
    """A fault that never ended would spoil the next test."""
    now = 100.0
    board = FaultBoard(monotonic=lambda: now)
    board.post(Fault(fault="silent", seconds=5))
    board.post(Fault(fault="http", count=2))
    board.post(Fault(fault="slow", venue="binance_us"))
    assert [board.take("http", venue="binance") is not None for _ in range(3)] == [True, True, False]
    assert board.find("slow", venue="binance") is None
    assert board.find("silent", venue="binance", symbol="BTCUSDT") is not None
    now = 105.0
    assert board.find("silent", venue="binance", symbol="BTCUSDT") is None
    assert [fault.fault for fault in board.active()] == ["slow"]
    assert board.clear() == 1
    assert not board.is_any_active


async def test_faults_are_listed_and_cleared(control: Control, client: aiohttp.ClientSession) -> None:
    """A test sees and ends what it began, one or all."""
    first = await control.post("silent", symbol="BTCUSDT")
    await control.post("slow", ms=1)
    assert [fault["fault"] for fault in await control.active()] == ["silent", "slow"]
    async with client.delete(f"{control.url}/control/{first['id']}") as response:
        assert await response.json() == {"ended": 1}
    async with client.delete(f"{control.url}/control") as response:
        assert await response.json() == {"ended": 1}
    assert await control.active() == []


@pytest.mark.parametrize(
    "body",
    ['{"fault":"earthquake"}', '{"fault":"silent","sekonds":3}', "no json", '{"fault":"silent","venue":"mtgox"}'],
)
async def test_unknown_faults_are_refused(control: Control, client: aiohttp.ClientSession, body: str) -> None:
    """A misspelt fault would make a test pass without testing anything."""
    async with client.post(f"{control.url}/control", data=body) as response:
        assert response.status == 400
        assert (await response.json())["error"]
    assert await control.active() == []


async def test_reset_drops_every_socket(control: Control) -> None:
    """No close frame: the connection is simply gone."""
    async with control.wire("btcusdt@trade") as one, control.wire() as two:
        await control.post("reset")
        for wire in (one, two):
            with pytest.raises((ConnectionError, aiohttp.ClientError)):
                await wire.until(lambda _: False)
            assert wire.ws.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE


async def test_close_24h_sends_a_close_frame(control: Control) -> None:
    """The venue ends every connection after a day."""
    async with control.wire("btcusdt@trade") as wire:
        await control.post("close_24h", venue="binance")
        with pytest.raises(ConnectionError, match="CLOSE: 1001"):
            await wire.until(lambda _: False)


async def test_shutdown_announces_itself(control: Control) -> None:
    """A client that understands it reconnects before the connection ends."""
    async with control.wire() as wire:
        await control.post("shutdown", ms=50)
        assert set(await wire.until(lambda frame: frame.get("e") == "serverShutdown")) == {"e", "E"}
        with pytest.raises(ConnectionError, match="CLOSE: 1001"):
            await wire.until(lambda _: False)


async def test_text_is_not_json(control: Control) -> None:
    """Such frames have been seen on real sockets."""
    async with control.wire() as wire:
        await control.post("text")
        message = await wire.receive()
        assert message.data == "CloudFlare WebSocket proxy restarting"


async def test_silent_sockets_still_ping_and_acknowledge(control: Control) -> None:
    """The trap: everything looks alive while no data comes, for one symbol or for all."""
    await control.post("silent", symbol="BTCUSDT")
    async with control.wire("btcusdt@trade") as wire:
        await wire.request("SUBSCRIBE", "ethusdt@trade")
        await wire.until(lambda frame: frame.get("s") == "ETHUSDT")
        pings = wire.pings
        await wire.until_pings(pings + 3)
        assert {frame["s"] for frame in wire.events("trade")} == {"ETHUSDT"}
        await control.post("silent")
        seen = len(wire.frames) + len(wire.events("trade"))
        await wire.until_pings(wire.pings + 3)
        assert len(wire.frames) <= seen + 5


async def test_skipped_trades_leave_a_hole_in_the_ids(control: Control) -> None:
    """Missing ids are how a client notices lost trades; REST still has them."""
    async with control.wire("btcusdt@trade") as wire:
        before = await wire.until(is_trade)
        await control.post("skip_trades", symbol="BTCUSDT", count=3)
        after = await wire.until(lambda frame: is_trade(frame) and _steps(wire)[-1] > 1)
    assert after["t"] > before["t"]
    assert [step for step in _steps(wire) if step != 1] == [4]


def _steps(wire: Wire) -> list[int]:
    ids = [frame["t"] for frame in wire.events("trade")]
    return [after - before for before, after in pairwise(ids)]


async def test_no_close_leaves_the_candle_open(control: Control) -> None:
    """The client has to close it by its own clock."""
    await control.post("no_close")
    async with control.wire("btcusdt@kline_1m") as wire:
        await wire.until(lambda frame: frame.get("e") == "kline" and frame["k"]["t"] > OPEN_MS)
    assert not any(frame["k"]["x"] for frame in wire.frames)


async def test_late_close_comes_late(control: Control) -> None:
    """A capture shows 1.8 s after the minute."""
    await control.post("late_close", ms=1500)
    async with control.wire("btcusdt@kline_1m") as wire:
        closing = await wire.until(is_closed_kline)
    assert closing["E"] - (OPEN_MS + MINUTE_MS) >= 1750


async def test_revise_corrects_a_closed_candle(control: Control) -> None:
    """The venue may say twice that a candle closed; the second is right."""
    await control.post("revise", count=1)
    async with control.wire("btcusdt@kline_1m") as wire:
        wrong = (await wire.until(is_closed_kline))["k"]
        right = (await wire.until(is_closed_kline))["k"]
    assert wrong["t"] == right["t"] == OPEN_MS
    assert wrong["n"] < right["n"]
    _, rows, _ = await control.get("klines", symbol="BTCUSDT", interval="1m", startTime=OPEN_MS, limit=1)
    assert (rows[0][8], rows[0][5]) == (right["n"], right["v"])


async def test_duplicates_come_twice(control: Control) -> None:
    """A client must not count a trade twice."""
    await control.post("duplicate")
    async with control.wire("btcusdt@trade") as wire:
        for _ in range(6):
            await wire.until(is_trade)
    ids = [frame["t"] for frame in wire.events("trade")]
    assert ids == [ids[0], ids[0], ids[0] + 1, ids[0] + 1, ids[0] + 2, ids[0] + 2]


async def test_reordered_frames_come_in_swapped_pairs(control: Control) -> None:
    """Nothing is lost, but the order is."""
    await control.post("reorder")
    async with control.wire("btcusdt@trade") as wire:
        for _ in range(6):
            await wire.until(is_trade)
    ids = [frame["t"] for frame in wire.events("trade")]
    assert [number - min(ids) for number in ids] == [1, 0, 3, 2, 5, 4]


async def test_no_pong_leaves_pings_unanswered(control: Control) -> None:
    """A client that relies on pongs must give up by itself."""
    await control.post("no_pong")
    async with control.wire() as wire:
        await wire.ws.ping(b"hello")
        await wire.until_pings(3)
        assert wire.frames == []


@pytest.mark.parametrize("status", [418, 429, 451, 500])
async def test_http_statuses_come_so_often_as_asked(control: Control, status: int) -> None:
    """With Retry-After where one was asked for, and the venue's JSON body."""
    await control.post("http", status=status, count=2, retry_after=3, path="klines")
    query = {"symbol": "BTCUSDT", "interval": "1m"}
    assert (await control.get("ping"))[0] == 200
    for _ in range(2):
        got, body, headers = await control.get("klines", **query)
        assert (got, headers["Retry-After"]) == (status, "3")
        assert body["msg"]
    assert (await control.get("klines", **query))[0] == 200


async def test_slow_answers_come_late(control: Control) -> None:
    """Timeouts are tested with it."""
    await control.post("slow", ms=300, count=1)
    begun = time.monotonic()
    await control.get("ping")
    assert time.monotonic() - begun >= 0.3


async def test_holes_leave_out_candles(control: Control) -> None:
    """A gap in the history that REST itself has."""
    await control.post("holes", every=5)
    _, rows, _ = await control.get("klines", symbol="BTCUSDT", interval="1m", limit=50)
    assert len(rows) == 40


async def test_refused_connections_are_reset_but_control_answers(
    control: Control, client: aiohttp.ClientSession
) -> None:
    """The venue is gone for a while; the switch that brings it back is not."""
    fault = await control.post("refuse")
    with pytest.raises(aiohttp.ClientError):
        await control.get("ping")
    with pytest.raises(aiohttp.ClientError):
        async with control.wire():
            pass
    async with client.delete(f"{control.url}/control/{fault['id']}"):
        pass
    assert (await control.get("ping"))[0] == 200


async def test_skew_moves_the_venues_clock(control: Control) -> None:
    """Client and venue disagree about the time."""
    await control.post("skew", ms=-3_600_000)
    _, body, _ = await control.get("time")
    assert abs(body["serverTime"] - (START_MS - 3_600_000)) < 10_000
    async with control.wire("btcusdt@trade") as wire:
        trade = await wire.until(is_trade)
    assert trade["T"] < START_MS - 3_500_000
