"""`perseus run`: one instance in the foreground, its exit codes, its log."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Callable

import pytest

from perseus import keys
from perseus.cli.logs import redact
from tests.cli.conftest import venue
from tests.support.processes import PerseusProcess
from tests.support.servers import Server
from tests.support.system import free_port
from tests.support.trials import FeedProcess

Perseus = Callable[..., PerseusProcess]


def test_idle_instance_claims_and_waits(perseus: Perseus) -> None:
    """The exchange is taken, nothing is asked of it yet."""
    process = perseus("run", "binance", "--idle")
    status = process.wait_for_state("idle")
    assert status["hostname"] == "host-a"
    assert "waiting_for_start" in process.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_gives_the_lease_back_and_ends_with_0(perseus: Perseus, valkey: Server, number: int) -> None:
    """A planned end leaves no lease to wait for."""
    process = perseus("run", "binance", "--idle")
    process.wait_for_state("idle")
    assert process.stop_signal(number) == 0
    assert valkey.call("GET", keys.status(2)) is None
    assert json.loads(valkey.call("GET", keys.last(2)))["releasedAt"]


def test_instance_needs_no_database(perseus: Perseus, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance must start while the database is away, and its libraries cost memory in every one of them."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # every import is a line of its output
    process = perseus("run", "binance", "--idle", DATABASE_URL=f"postgresql://x:y@127.0.0.1:{free_port()}/z")
    process.wait_for_state("idle")
    imported = {line.rpartition("|")[2].strip() for line in process.output.splitlines()}
    assert "redis" in imported
    assert {"sqlalchemy", "asyncpg", "sqlite3", "alembic", "perseus.database"} & imported == set()


def test_instance_without_a_fence_says_so_and_serves(perseus: Perseus) -> None:
    """A sandbox may refuse kernel timers; that the fence is missing must be known before it is needed."""
    process = perseus("run", "binance", "--idle", inside=("prlimit", "--sigpending=0"))
    process.wait_for_state("idle")
    (line,) = [line for line in process.output.splitlines() if "fence_unavailable" in line]
    assert "no timer can be made" in line
    assert process.stop_signal() == 0


def test_instance_with_a_fence_says_nothing(perseus: Perseus) -> None:
    """The usual case."""
    process = perseus("run", "binance", "--idle")
    process.wait_for_state("idle")
    assert "fence" not in process.output


def test_claimed_exchange_is_3_with_who_has_it(
    perseus: Perseus, feed: Callable[..., FeedProcess], valkey: Server
) -> None:
    """One paragraph: who, where, since when, and what to do."""
    feed().wait_for_state("active")
    process = perseus("run", "binance")
    assert process.wait_exit() == 3
    (line,) = [line for line in process.output.splitlines() if "already served" in line]
    assert "host-a" in line
    assert "perseus stop binance" in line
    assert "Traceback" not in process.output


def test_market_is_followed_and_logged_as_json(perseus: Perseus, simulator: str, valkey: Server) -> None:
    """One JSON object a line on stderr, times in UTC, for whoever collects logs."""
    process = perseus(
        "run", "binance", "--symbols", "BTC-USDT", "--timeframes", "1m,5m", LOG_FORMAT="json", **venue(simulator)
    )
    process.wait_for_state("active")
    lines = [json.loads(line) for line in process.output.splitlines()]
    assert {"claimed", "starting", "warming", "active"} <= {line["event"] for line in lines}
    assert all(line["timestamp"].endswith("Z") and line["level"] for line in lines)
    assert valkey.call("ZCARD", keys.candles(2, "BTC-USDT", "5m")) >= 60


def test_location_that_the_exchange_refuses_is_said_with_the_way_out(perseus: Perseus, simulator: str) -> None:
    """HTTP 451 does not pass by waiting; binance_us may serve that place."""
    fault = json.dumps({"fault": "http", "status": 451, "count": 1000}).encode()
    urllib.request.urlopen(urllib.request.Request(f"http://{simulator}/control", data=fault, method="POST")).close()
    process = perseus("run", "binance", "--symbols", "BTC-USDT", **venue(simulator))
    assert process.wait_exit() == 1
    (line,) = [line for line in process.output.splitlines() if line.startswith("binance")]
    assert "451" in line
    assert "binance_us" in line


def test_log_level_is_respected(perseus: Perseus) -> None:
    """A quiet host stays quiet."""
    process = perseus("run", "binance", "--idle", LOG_LEVEL="error")
    process.wait_for_state("idle")
    assert process.stop_signal() == 0
    assert process.output == ""


def test_secrets_do_not_reach_the_log() -> None:
    """Logs are copied, shipped and pasted."""
    facts = {
        "event": "store",
        "says": "redis://user:hunter2@host:1/0 and rediss://:hunter2@h2 failed",
        "store_password": "hunter2",
        "webhook_url": "https://discord.example/hunter2",
        "cookie": "perseus_session=hunter2",
        "request": "GET /login?next=/&token=hunter2 and http://localhost:8777/login?token=hunter2 with Bearer hunter2",
        "exception": "KeyError: 'perseus_session=hunter2; perseus_hunter2-hunter2-hunter2-hunter2'",
        "exchange": "binance",
        "count": 3,
    }
    shown = redact(None, "info", facts)
    assert "hunter2" not in str(shown)
    assert (shown["exchange"], shown["count"]) == ("binance", 3)
    assert "redis://user:***@host:1/0 and rediss://:***@h2 failed" in shown["says"]
