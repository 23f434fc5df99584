"""Binance's REST side answers in the venue's shapes, bounds, limits and error codes."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from perseus.simulator.server import Simulator
from tests.simulator.conftest import START_MS

MINUTE_MS = 60_000
OPEN_MS = START_MS - START_MS % MINUTE_MS


class Api:
    """GET below `/api/v3/` of one venue."""

    def __init__(self, client: aiohttp.ClientSession, base: str) -> None:
        self._client = client
        self._base = base

    async def get(self, path: str, **query: str | int) -> tuple[int, Any, dict[str, str]]:
        async with self._client.get(f"{self._base}/api/v3/{path}", params=query) as response:
            return response.status, await response.json(), dict(response.headers)


@pytest.fixture
def api(simulator: Simulator, client: aiohttp.ClientSession) -> Api:
    """binance.com."""
    return Api(client, f"{simulator.url}/binance")


@pytest.fixture
def us_api(simulator: Simulator, client: aiohttp.ClientSession) -> Api:
    """binance.us."""
    return Api(client, f"{simulator.url}/binance_us")


async def test_time_is_the_venues_clock(api: Api) -> None:
    """Clients measure their clock's offset with it."""
    status, body, _ = await api.get("time")
    assert status == 200
    assert 0 <= body["serverTime"] - START_MS < 10_000
    assert (await api.get("ping"))[1] == {}


async def test_exchange_info_lists_symbols_and_limits(api: Api, us_api: Api) -> None:
    """Adapters choose tradable symbols and learn the weight limit from it, which differs by venue."""
    _, info, headers = await api.get("exchangeInfo")
    _, us_info, _ = await us_api.get("exchangeInfo")
    assert headers["X-MBX-USED-WEIGHT-1M"] == "20"
    for body, limit in ((info, 6000), (us_info, 1200)):
        [weight] = [row for row in body["rateLimits"] if row["rateLimitType"] == "REQUEST_WEIGHT"]
        assert weight == {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit}
    btc = next(row for row in info["symbols"] if row["symbol"] == "BTCUSDT")
    assert (btc["status"], btc["isSpotTradingAllowed"], btc["baseAsset"]) == ("TRADING", True, "BTC")
    assert {row["quoteAsset"] for row in info["symbols"]} >= {"USDT", "USDC", "BTC"}
    assert {row["status"] for row in info["symbols"]} == {"TRADING", "BREAK"}
    tradable = [row for row in info["symbols"] if row["status"] == "TRADING" and row["quoteAsset"] == "USDT"]
    assert len(tradable) >= 25


async def test_klines_are_the_markets_candles(api: Api, simulator: Simulator) -> None:
    """Both bounds are inclusive on the open time, rows ascend, and have the venue's twelve columns."""
    start, end = OPEN_MS - 10 * MINUTE_MS, OPEN_MS - 5 * MINUTE_MS
    _, rows, _ = await api.get("klines", symbol="BTCUSDT", interval="1m", startTime=start, endTime=end)
    truth = simulator.venues["binance"].market.candles("BTCUSDT", "1m", start, end, START_MS)
    assert [row[0] for row in rows] == list(range(start, end + 1, MINUTE_MS))
    assert rows == [[*candle[:11], "0"] for candle in truth]
    assert rows[0][6] == start + MINUTE_MS - 1


async def test_klines_without_bounds_end_with_the_forming_candle(api: Api) -> None:
    """The last row is open: a client must not take it for closed."""
    _, rows, _ = await api.get("klines", symbol="BTCUSDT", interval="1m", limit=3)
    assert [row[0] for row in rows] == [OPEN_MS - 2 * MINUTE_MS, OPEN_MS - MINUTE_MS, OPEN_MS]
    _, again, _ = await api.get("klines", symbol="BTCUSDT", interval="1m", startTime=OPEN_MS, limit=1)
    assert again[0][8] >= rows[-1][8] > 0


async def test_klines_limits_are_500_and_1000(api: Api) -> None:
    """With a start the oldest rows come, with only an end the newest before it."""
    _, rows, _ = await api.get("klines", symbol="ETHUSDT", interval="5m")
    assert len(rows) == 500
    _, rows, _ = await api.get("klines", symbol="ETHUSDT", interval="1m", startTime=1_700_000_000_000, limit=5000)
    assert len(rows) == 1000
    assert rows[0][0] == 1_700_000_040_000
    _, rows, _ = await api.get("klines", symbol="ETHUSDT", interval="1h", endTime=1_700_000_000_000, limit=2)
    assert [row[0] for row in rows] == [1_699_995_600_000, 1_699_999_200_000]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({}, 400, -1102),
        ({"symbol": "BTCUSDT"}, 400, -1102),
        ({"symbol": "NOPE", "interval": "1m"}, 400, -1121),
        ({"symbol": "btcusdt!", "interval": "1m"}, 400, -1100),
        ({"symbol": "BTCUSDT", "interval": "1M"}, 400, -1120),
        ({"symbol": "BTCUSDT", "interval": "1m", "startTime": "yesterday"}, 400, -1100),
        ({"symbol": "BTCUSDT", "interval": "1m", "limit": "0"}, 400, -1130),
    ],
)
async def test_wrong_parameters_get_the_venues_codes(api: Api, query: dict[str, str], status: int, code: int) -> None:
    """Clients tell a bad symbol from a bad interval by the code."""
    got, body, _ = await api.get("klines", **query)
    assert (got, body["code"]) == (status, code)
    assert body["msg"]


async def test_ticker_sums_up_24_hours(api: Api, simulator: Simulator) -> None:
    """Ranking by quote volume needs one row for each symbol asked for."""
    _, one, _ = await api.get("ticker/24hr", symbol="BTCUSDT")
    _, two, headers = await api.get("ticker/24hr", symbols='["BTCUSDT","ETHUSDT"]')
    assert headers["X-MBX-USED-WEIGHT-1M"] == "4"
    _, everything, _ = await api.get("ticker/24hr")
    assert [row["symbol"] for row in two] == ["BTCUSDT", "ETHUSDT"]
    assert len(everything) == len(simulator.venues["binance"].market.instruments)
    assert one["count"] == one["lastId"] - one["firstId"] + 1
    assert float(one["lowPrice"]) <= float(one["weightedAvgPrice"]) <= float(one["highPrice"])
    ranked = sorted(everything, key=lambda row: float(row["quoteVolume"]), reverse=True)
    assert ranked[0]["symbol"] == "BTCUSDT"
    _, price, _ = await api.get("ticker/price", symbol="BTCUSDT")
    assert price["symbol"] == "BTCUSDT"


async def test_trades_are_contiguous_and_reachable_by_id(api: Api) -> None:
    """A client fills missing trades by id."""
    _, newest, _ = await api.get("trades", symbol="BTCUSDT", limit=700)
    ids = [trade["id"] for trade in newest]
    assert ids == list(range(ids[0], ids[0] + 700))
    _, older, _ = await api.get("historicalTrades", symbol="BTCUSDT", fromId=ids[0], limit=10)
    assert older == newest[:10]
    _, aggregated, _ = await api.get("aggTrades", symbol="BTCUSDT", fromId=ids[0], limit=1)
    assert (aggregated[0]["a"], aggregated[0]["p"]) == (ids[0], newest[0]["price"])


async def test_going_on_past_the_limit_ends_in_a_ban(us_api: Api) -> None:
    """429 with Retry-After first, then 418: the client that ignores the first is banned."""
    statuses: list[int] = []
    headers: dict[str, str] = {}
    for _ in range(75):
        status, body, headers = await us_api.get("exchangeInfo")
        statuses.append(status)
    assert statuses[:60] == [200] * 60
    assert statuses[60:70] == [429] * 10
    assert statuses[70:] == [418] * 5
    assert body["code"] == -1003
    assert int(headers["Retry-After"]) > 60
