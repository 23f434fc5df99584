"""`perseus status`: is anything wrong, for a person and for a script."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perseus import keys
from perseus.clock import iso
from tests.cli.terminal import Terminal
from tests.support.processes import run_perseus
from tests.support.servers import Server
from tests.support.trials import FeedProcess
from tests.support.waiting import wait_until

Feed = Callable[..., FeedProcess]


def status(server: Server, data_dir: Path, *args: str) -> tuple[int, str]:
    """Exit code and stdout."""
    done = run_perseus("status", *args, data_dir=data_dir, store_url=server.url)
    assert done.stderr == ""
    return done.returncode, done.stdout


def instances(server: Server, data_dir: Path, *args: str) -> dict[str, dict[str, Any]]:
    """The items of --json by exchange."""
    answer = json.loads(status(server, data_dir, "--json", *args)[1])
    return {item["exchangeName"]: item for item in answer["instances"]}


def test_network_where_nothing_ever_ran_is_fine(valkey: Server, data_dir: Path) -> None:
    """Never started is no outage; an exchange that is switched off is not even listed."""
    code, text = status(valkey, data_dir)
    assert code == 0
    assert text.startswith("Nothing is running · 3 never started · observed ")
    assert list(instances(valkey, data_dir)) == ["coinbase", "binance", "kraken"]


def test_active_exchange_is_shown_with_everything_and_is_fine(valkey: Server, feed: Feed, data_dir: Path) -> None:
    """Who runs it, where, since when, how fresh."""
    feed(ADMIN_EMAIL="ada@example.org", ADMIN_NAME="Ada").wait_for_state("active")
    code, text = status(valkey, data_dir)
    assert code == 0
    assert text.startswith("All is well · 1 active · 2 never started")
    assert "● Binance      active         running for" in text
    assert "host host-a · IP unknown · admin Ada <ada@example.org>" in text
    assert "1 symbol · heartbeat" in text
    assert "offline in" in text


def test_json_is_the_documented_answer(valkey: Server, feed: Feed, data_dir: Path) -> None:
    """Its shape is that of `network.getInstances`, whose clients exist."""
    feed().wait_for_state("active")
    code, text = status(valkey, data_dir, "binance", "--json")
    answer = json.loads(text)
    (item,) = answer["instances"]
    assert code == 0
    assert answer["serverTime"].endswith("Z")
    assert (item["exchangeId"], item["displayName"], item["online"], item["health"]) == (2, "Binance", True, "active")
    assert item["status"] == json.loads(valkey.call("GET", keys.status(2))) | {
        name: item["status"][name] for name in ("lastHeartbeat", "rev", "lastMessageAt")
    }
    assert item["status"]["hostname"] == "host-a"


def test_killed_instance_is_offline_with_its_last_known_facts_and_exit_1(
    valkey: Server, feed: Feed, data_dir: Path
) -> None:
    """What a person needs at three in the morning must still be there."""
    process = feed(ADMIN_EMAIL="ada@example.org")
    process.wait_for_state("active")
    process.kill9()
    wait_until(lambda: valkey.call("GET", keys.status(2)) is None, description="the lease has run out")
    code, text = status(valkey, data_dir, "binance")
    assert code == 1
    assert text.startswith("1 of 1 needs attention · binance offline ")
    assert "last known: host host-a · IP unknown · admin ada@example.org" in text
    assert "was active · seen" in text
    item = instances(valkey, data_dir, "binance")["binance"]
    assert (item["online"], item["status"], item["health"]) == (False, None, "offline")
    assert item["offlineSince"] == item["lastKnown"]["lastHeartbeat"]


def test_exchange_that_is_warming_is_not_active_yet(valkey: Server, feed: Feed, data_dir: Path) -> None:
    """A script that waits for the network must not go on too early."""
    feed("--linger", "warming=60").wait_for_state("warming")
    code, text = status(valkey, data_dir, "binance")
    assert code == 1
    assert "◐ Binance      warming" in text
    assert "warm-up 100 % · 1 of 1 symbol" in text


def test_idle_instance_is_nobodys_problem(valkey: Server, feed: Feed, data_dir: Path) -> None:
    """It waits for `start`; nobody asked for more."""
    feed("--idle").wait_for_state("idle")
    code, text = status(valkey, data_dir, "binance")
    assert code == 0
    assert "■ Binance      idle" in text


@pytest.mark.foreign_keys
def test_unreadable_key_is_2_and_one_card(valkey: Server, data_dir: Path) -> None:
    """It cannot be told whether kraken runs; coinbase can."""
    valkey.call("SET", keys.status(4), "gibberish")
    code, text = status(valkey, data_dir)
    assert code == 2
    assert "? Kraken       unreadable" in text
    assert "1 of 3 needs attention · kraken unreadable · 2 never started" in text
    assert status(valkey, data_dir, "coinbase")[0] == 0


@pytest.mark.foreign_keys
def test_foreign_payload_is_a_card_like_any_other(valkey: Server, data_dir: Path) -> None:
    """Other programs of the network write the required fields and a TTL of 45 s, nothing else."""
    seconds, micros = valkey.call("TIME")
    now = iso(int(seconds) * 1000 + int(micros) // 1000)
    theirs = {
        "exchangeId": 3,
        "exchangeName": "binance_us",
        "connectionState": "active",
        "connectedAt": now,
        "lastHeartbeat": now,
        "symbolCount": 7,
        "adminEmail": "",
        "adminDisplayName": "",
        "ipAddress": None,
        "hostname": "ams-1",
        "lastError": "socket closed",
        "theirs": 1,
    }
    valkey.call("SET", keys.status(3), json.dumps(theirs), "EX", 45)
    code, text = status(valkey, data_dir)
    assert code == 0
    assert "● Binance US   active" in text  # switched off in our list, but somebody runs it
    assert "last error: socket closed" in text
    assert instances(valkey, data_dir)["binance_us"]["status"] == theirs


def test_watch_redraws_until_ctrl_c(valkey: Server, feed: Feed, data_dir: Path) -> None:
    """Ctrl-C is how a person ends it; that is no failure."""
    process = feed("--idle")
    process.wait_for_state("idle")
    with Terminal("status", "--watch", "--store", valkey.url, directory=data_dir, environment={}) as terminal:
        terminal.wait_for("idle")
        process.stop_signal()
        terminal.wait_for("by signal")
        assert "\x1b[H" in terminal.seen
        assert terminal.interrupt() == 0


def test_watch_says_when_it_is_blind(start_server: Callable[..., Server], data_dir: Path) -> None:
    """A frozen view must not pass for a live one, and nothing turns red because we cannot see."""
    server = start_server()
    with Terminal("status", "--watch", "--store", server.url, directory=data_dir, environment={}) as terminal:
        terminal.wait_for("never started")
        server.kill()
        terminal.wait_for("Live view lost")
        terminal.wait_for("data frozen at")
        assert "offline" not in terminal.seen
        server.start()
        terminal.wait_for("answers again")
