"""Two public client libraries take the simulator for Binance: they are given other URLs, and nothing else.

Both live in the package `binance`, so each is imported from its own modules, never from `binance` itself, and only
where the warnings of what they in turn import are tolerated.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import pytest

from perseus.simulator.server import Simulator, serve

TIMEFRAMES = ("1m", "5m", "15m", "1h", "4h", "1d")
TRADES = 50

# Both use deprecated calls of their own dependencies, which is not ours to judge.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
async def running() -> AsyncIterator[Simulator]:
    """A simulator on the real clock."""
    simulator = await serve(seed=5)
    yield simulator
    await simulator.aclose()


async def test_python_binance_loads_symbols_candles_and_trades(
    running: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most used unofficial client."""
    from binance.async_client import AsyncClient
    from binance.ws.streams import BinanceSocketManager

    monkeypatch.setattr(AsyncClient, "API_URL", f"{running.url}/binance/api")
    monkeypatch.setattr(BinanceSocketManager, "STREAM_URL", f"{running.ws_url}/binance/")
    client = await AsyncClient.create()
    try:
        info = await client.get_exchange_info()
        assert "BTCUSDT" in {row["symbol"] for row in info["symbols"]}
        for timeframe in TIMEFRAMES:
            rows = await client.get_klines(symbol="BTCUSDT", interval=timeframe, limit=60)
            assert len(rows) == 60
        assert float((await client.get_ticker(symbol="BTCUSDT"))["quoteVolume"]) > 0
        async with BinanceSocketManager(client).trade_socket("BTCUSDT") as stream:
            async with asyncio.timeout(60):
                trades = [await stream.recv() for _ in range(TRADES)]
    finally:
        await client.close_connection()
    ids = [trade["t"] for trade in trades]
    assert ids == list(range(ids[0], ids[0] + TRADES))


async def test_binance_connector_loads_symbols_candles_and_trades(running: Simulator) -> None:
    """The venue's own client, which blocks: it runs in threads."""
    ids = await asyncio.to_thread(_use_connector, running)
    assert ids == list(range(ids[0], ids[0] + len(ids)))


def _use_connector(running: Simulator) -> list[int]:
    from binance.spot import Spot
    from binance.websocket.spot.websocket_stream import SpotWebsocketStreamClient

    rest = Spot(base_url=f"{running.url}/binance")
    with rest.session:
        assert "ETHUSDT" in {row["symbol"] for row in rest.exchange_info()["symbols"]}
        for timeframe in TIMEFRAMES:
            assert len(rest.klines("ETHUSDT", timeframe, limit=60)) == 60
        assert rest.ticker_24hr("ETHUSDT")["symbol"] == "ETHUSDT"
    ids: list[int] = []
    enough = threading.Event()

    def on_message(_: object, text: str) -> None:
        frame = json.loads(text)
        if frame.get("e") == "trade":
            ids.append(frame["t"])
        if len(ids) >= TRADES:
            enough.set()

    stream = SpotWebsocketStreamClient(stream_url=f"{running.ws_url}/binance", on_message=on_message)
    try:
        stream.trade(symbol="btcusdt")
        assert enough.wait(60), f"only {len(ids)} trades came"
    finally:
        stream.stop()
        stream.socket_manager.join(10)
        stream.socket_manager.ws.shutdown()  # it leaves its socket open otherwise
    return ids[:TRADES]
