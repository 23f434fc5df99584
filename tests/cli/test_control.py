"""`perseus start` and `stop`: asked of the tenure that holds the exchange, followed to the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from perseus import keys
from perseus.clock import iso
from tests.support.processes import run_perseus
from tests.support.servers import Server
from tests.support.trials import FeedProcess

Feed = Callable[..., FeedProcess]


def ask(server: Server, data_dir: Path, *args: str) -> CompletedProcess[str]:
    """Run the command to its end."""
    return run_perseus(*args, data_dir=data_dir, store_url=server.url, settings={"ADMIN_EMAIL": "ada@example.org"})


def steps(done: CompletedProcess[str]) -> list[str]:
    """What it printed, without the command's name."""
    return [line.partition(": ")[2] for line in done.stdout.splitlines()]


def test_stop_and_start_show_each_step_and_end_with_0(valkey: Server, feed: Feed, data_dir: Path) -> None:
    """A person sees their command arrive, run and finish; who and why is on record."""
    process = feed()
    process.wait_for_state("active")
    stopped = ask(valkey, data_dir, "stop", "binance", "--reason", "lunch")
    assert (stopped.returncode, steps(stopped)) == (0, ["asked host-a", "accepted", "running", "done (stopped)"])
    process.wait_for_state("stopped")
    status = run_perseus("status", "binance", data_dir=data_dir, store_url=valkey.url)
    assert status.returncode == 0
    assert "stopped        by ada@example.org" in status.stdout
    started = ask(valkey, data_dir, "start", "binance")
    assert (started.returncode, steps(started)[-1]) == (0, "done (active)")
    process.wait_for_state("active")
    log = run_perseus("log", "binance", "--event", "command", data_dir=data_dir, store_url=valkey.url).stdout
    assert "command stop by ada@example.org: done" in log
    assert "lunch" in log


def test_refusal_is_1_with_its_reason(valkey: Server, feed: Feed, data_dir: Path) -> None:
    """Starting what runs already changes nothing, and says so."""
    feed().wait_for_state("active")
    done = ask(valkey, data_dir, "start", "binance")
    assert done.returncode == 1
    assert steps(done)[-1] == "refused (it is active already)"


def test_exchange_that_nobody_holds_is_1_and_names_run(valkey: Server, data_dir: Path) -> None:
    """There is nobody to ask; nothing may be left in the store for a later holder."""
    for verb in ("start", "stop"):
        done = ask(valkey, data_dir, verb, "binance")
        assert (done.returncode, done.stdout) == (1, "")
        assert "perseus run binance" in done.stderr
    assert valkey.all_keys() == []


def test_instance_that_does_not_answer_is_1(valkey: Server, feed: Feed, data_dir: Path) -> None:
    """A hung process holds the lease until it runs out; the person must not wait for ever."""
    process = feed(HEARTBEAT_INTERVAL="2", LEASE_TTL="8")
    process.wait_for_state("active")
    process.sigstop()
    done = ask(valkey, data_dir, "stop", "binance", "--wait", "1")
    process.sigcont()
    assert done.returncode == 1
    assert "Nobody answered within 1 s" in done.stderr
    assert "host-a" in done.stderr


def test_command_that_takes_longer_than_the_wait_is_1_and_goes_on(valkey: Server, feed: Feed, data_dir: Path) -> None:
    """It was accepted; claiming failure would be wrong."""
    process = feed("--idle", "--linger", "warming=3")
    process.wait_for_state("idle")
    done = ask(valkey, data_dir, "start", "binance", "--wait", "1")
    assert done.returncode == 1
    assert "was running but is not finished after 1 s; it goes on" in done.stderr
    process.wait_for_state("active")


@pytest.mark.foreign_keys
def test_program_that_takes_no_commands_is_not_asked(valkey: Server, data_dir: Path) -> None:
    """Another program of the network holds the exchange and has no instance id."""
    seconds, micros = valkey.call("TIME")
    now = iso(int(seconds) * 1000 + int(micros) // 1000)
    names = ("connectedAt", "ipAddress", "lastError")
    theirs = dict.fromkeys(names) | {
        "exchangeId": 2,
        "exchangeName": "binance",
        "connectionState": "active",
        "lastHeartbeat": now,
        "symbolCount": 7,
        "adminEmail": "",
        "adminDisplayName": "",
        "hostname": "ams-1",
    }
    valkey.call("SET", keys.status(2), json.dumps(theirs), "EX", 45)
    done = ask(valkey, data_dir, "stop", "binance")
    assert (done.returncode, done.stdout) == (1, "")
    assert "another program on ams-1" in done.stderr
    valkey.call("SET", keys.status(2), "gibberish", "EX", 45)
    assert ask(valkey, data_dir, "stop", "binance").returncode == 2
