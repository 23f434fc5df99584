"""`perseus log`: the feed in a terminal, oldest first, and as lines of JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perseus import keys
from tests.support.processes import PerseusProcess, run_perseus
from tests.support.servers import Server
from tests.support.waiting import wait_until

HOUR_MS = 3_600_000


def now_ms(server: Server) -> int:
    """The server's time."""
    seconds, micros = server.call("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def add(server: Server, name: str, event: str, *, age_ms: int = 0, **fields: str) -> None:
    """Append an entry as old as that."""
    flat = [part for pair in fields.items() for part in pair]
    entry_id = f"{now_ms(server) - age_ms}-*" if age_ms else "*"
    server.call("XADD", keys.log(name), entry_id, "event", event, *flat)


def log(server: Server, data_dir: Path, *args: str) -> list[str]:
    """Its lines."""
    done = run_perseus("log", *args, data_dir=data_dir, store_url=server.url)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_events_read_as_sentences(valkey: Server, data_dir: Path) -> None:
    """Each event in its own words, with what a person asks next."""
    add(
        valkey, "binance", "state_transition", fromState="warming", toState="active", hostname="fra-2", ip="203.0.113.7"
    )
    add(valkey, "binance", "error", error="socket closed", count="3")
    add(valkey, "kraken", "instance_lost", state="active", lastHeartbeat="2026-02-10T14:02:11.000Z")
    add(valkey, "kraken", "command", command="stop", issuedBy="ada", outcome="refused", reason="expired")
    add(valkey, "kraken", "lease_lost", reason="taken", holder="ams-1")
    add(valkey, "kraken", "something_new")
    lines = log(valkey, data_dir)
    assert [line[:10].count("-") for line in lines] == [2] * 6
    assert [line.partition("Z  ")[2].split(maxsplit=1)[1] for line in lines] == [
        "warming → active  fra-2 (203.0.113.7)",
        "error socket closed (3 times)",
        "instance lost while active, last heartbeat 2026-02-10T14:02:11.000Z",
        "command stop by ada: refused (expired)",
        "lease lost · holder ams-1 (taken)",
        "something new",
    ]


def test_json_lines_have_the_documented_shape(valkey: Server, data_dir: Path) -> None:
    """One object a line: id, and the entry's fields as text."""
    add(valkey, "binance", "error", error="ö", exchangeName="binance")
    (line,) = log(valkey, data_dir, "--json")
    entry = json.loads(line)
    unknown = dict.fromkeys(("timestamp", "exchangeId", "hostname", "ip", "adminEmail"), "")
    assert entry == unknown | {"id": entry["id"], "event": "error", "error": "ö", "exchangeName": "binance"}
    assert "-" in entry["id"]


def test_filters_by_exchange_event_age_and_count(valkey: Server, data_dir: Path) -> None:
    """The newest that match, oldest first."""
    add(valkey, "binance", "error", age_ms=3 * HOUR_MS, error="old")
    for n in range(60):
        add(valkey, "binance", "state_transition", toState="active")
        add(valkey, "binance", "error", error=f"e{n}")
    add(valkey, "kraken", "error", error="kraken's")

    def errors(*args: str) -> list[str]:
        return [json.loads(line).get("error", "") for line in log(valkey, data_dir, "--json", *args)]

    assert errors("binance", "--event", "error", "--count", "3") == ["e57", "e58", "e59"]
    assert errors("--event", "error", "--count", "2") == ["e59", "kraken's"]
    assert errors("binance", "--event", "error", "--count", "1000")[0] == "old"
    assert errors("binance", "--event", "error", "--since", "2h", "--count", "1000")[0] == "e0"
    assert len(errors()) == 50


def test_empty_answer_tells_a_mistyped_event_from_good_news(valkey: Server, data_dir: Path) -> None:
    """Who asks for `instance-lost` and is shown nothing would conclude that nothing was lost."""
    add(valkey, "binance", "instance_lost")
    typed = run_perseus("log", "--json", "--event", "instance-lost", data_dir=data_dir, store_url=valkey.url)
    assert (typed.returncode, typed.stdout) == (0, "")
    assert "no event 'instance-lost'; it writes state_transition, error, instance_lost" in typed.stderr
    later = ("--event", "error", "--since", "2999-01-01T00:00:00Z")
    none = run_perseus("log", "--json", *later, data_dir=data_dir, store_url=valkey.url)
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "No entries.\n")


def test_follow_shows_new_entries_until_it_is_ended(valkey: Server, data_dir: Path) -> None:
    """Nothing twice, nothing missing, and SIGTERM is an ordinary end."""
    add(valkey, "binance", "error", error="before")
    with PerseusProcess("log", "--follow", "--json", data_dir=data_dir, store_url=valkey.url) as process:
        wait_until(lambda: "before" in process.output, description="the page is shown")
        for n in range(5):
            add(valkey, "kraken", "error", error=f"after{n}")
        wait_until(lambda: "after4" in process.output, description="the new entries are shown")
        errors = [json.loads(line)["error"] for line in process.output.splitlines()]
        assert errors == ["before", "after0", "after1", "after2", "after3", "after4"]
        assert process.stop_signal() == 0


@pytest.mark.foreign_keys
def test_unreadable_log_of_one_exchange_is_said(valkey: Server, data_dir: Path) -> None:
    """Its silence would read as peace."""
    add(valkey, "binance", "error", error="seen")
    valkey.call("SET", keys.log("kraken"), "x")
    done = run_perseus("log", data_dir=data_dir, store_url=valkey.url)
    assert "seen" in done.stdout
    assert "The log of kraken cannot be read" in done.stderr
    assert run_perseus("log", "kraken", data_dir=data_dir, store_url=valkey.url).returncode == 2
