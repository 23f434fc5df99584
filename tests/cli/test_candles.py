"""`perseus candles`: what is kept, exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from perseus import keys
from perseus.candles import encode
from tests.support.processes import run_perseus
from tests.support.servers import Server
from tests.support.trials import FeedProcess
from tests.support.waiting import wait_until


def test_kept_candles_are_shown_exactly(valkey: Server, feed: Callable[..., FeedProcess], data_dir: Path) -> None:
    """Decimal for decimal; forming and closed told apart."""
    process = feed()
    process.wait_for_state("active")
    key = keys.candles(2, "BTC-USDT", "1m")
    wait_until(lambda: (valkey.call("ZCARD", key) or 0) >= 3, description="three candles are kept")
    process.kill9()
    done = run_perseus(
        "candles", "binance", "btc-usdt", "--last", "2", "--json", data_dir=data_dir, store_url=valkey.url
    )
    answer = json.loads(done.stdout)
    assert (answer["exchangeName"], answer["symbol"], answer["timeframe"]) == ("binance", "BTC-USDT", "1m")
    kept = [json.loads(member) for member in valkey.call("ZRANGE", key, -2, -1)]
    assert [candle["open"] for candle in answer["candles"]] == [member[1] for member in kept]
    assert [candle["isClosed"] for candle in answer["candles"]] == [bool(member[6]) for member in kept]
    table = run_perseus("candles", "binance", "BTC-USDT", data_dir=data_dir, store_url=valkey.url)
    assert table.stdout.splitlines()[0].split()[:3] == ["open", "time", "(UTC)"]
    assert len(table.stdout.splitlines()) <= 21
    assert callable(encode)


def test_candles_nobody_writes_any_more_are_called_not_current(valkey: Server, data_dir: Path) -> None:
    """A symbol that left the list keeps its last candle, forming for ever: shown as it is, never as current."""
    key = keys.candles(2, "ETC-USDT", "1m")
    seconds, _ = valkey.call("TIME")
    minute = int(seconds) // 60 * 60_000
    for opened, remark in ((minute - 600_000, "Not current"), (minute, "")):
        valkey.call("ZADD", key, opened, f'[{opened},"1.5","1.5","1.5","1.5","0.1",0,0]')
        done = run_perseus("candles", "binance", "ETC-USDT", data_dir=data_dir, store_url=valkey.url)
        assert (done.returncode, done.stderr.startswith(remark), bool(done.stderr)) == (0, True, bool(remark))


def test_nothing_kept_is_1_and_says_how_symbols_are_written(valkey: Server, data_dir: Path) -> None:
    """An empty table would look like an answer."""
    done = run_perseus("candles", "binance", "BTCUSDT", data_dir=data_dir, store_url=valkey.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "BTC-USDT" in done.stderr
    as_json = run_perseus("candles", "binance", "BTCUSDT", "--json", data_dir=data_dir, store_url=valkey.url)
    assert (as_json.returncode, json.loads(as_json.stdout)["candles"]) == (1, [])
