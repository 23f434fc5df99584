"""`perseus up`: the whole network from one command, and nothing left of it afterwards, however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psutil
import pytest

from tests.cli.conftest import QUICK, venue
from tests.cli.terminal import Terminal
from tests.support.processes import PerseusProcess, run_perseus
from tests.support.servers import Server
from tests.support.trials import FeedProcess
from tests.support.waiting import wait_until

UP = ("up", "--simulate", "--symbols", "2", "--port", "0")


@pytest.fixture
def up(data_dir: Path) -> Iterator[PerseusProcess]:
    """A simulated network with two symbols, running."""
    with PerseusProcess(*UP, data_dir=data_dir, settings=QUICK) as process:
        wait_active(data_dir)
        yield process


def perseus(data_dir: Path, *args: str, timeout: float = 30.0) -> CompletedProcess[str]:
    """Run a command beside it, as in a second terminal."""
    return run_perseus(*args, data_dir=data_dir, settings=QUICK, timeout=timeout)


def card(data_dir: Path) -> dict[str, Any]:
    """Binance as `perseus status` sees it; empty while it cannot."""
    done = perseus(data_dir, "status", "binance", "--json")
    return json.loads(done.stdout)["instances"][0] if done.stdout else {}


def wait_active(data_dir: Path) -> dict[str, Any]:
    """Wait until binance is active, and return its card."""
    wait_until(lambda: card(data_dir).get("health") == "active", description="binance is active", timeout=45, every=0.2)
    return card(data_dir)


def losses(data_dir: Path) -> int:
    """How often a loss is on record."""
    return len(perseus(data_dir, "log", "--event", "instance_lost").stdout.splitlines())


def children(process: PerseusProcess) -> list[psutil.Process]:
    """Simulator, store and instance."""
    found: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    assert len(found) >= 3
    return found


def instance_pid(process: PerseusProcess, exchange: str = "binance") -> int:
    """The child that serves it."""
    (child,) = [each for each in children(process) if {"run", exchange} <= set(each.cmdline())]
    return int(child.pid)


def test_network_serves_and_a_killed_instance_is_started_again_by_hand(up: PerseusProcess, data_dir: Path) -> None:
    """The README's tour: candles arrive, a kill is noticed and on record once, a person brings it back."""
    assert "No adapter yet, not started: coinbase, kraken" in up.output
    wait_until(
        lambda: "No alerts are being sent: no Discord webhook is set on host-a. " in up.output,
        description="the view says that nobody is told",
    )
    assert "no notifier runs" not in up.output
    wait_until(lambda: "binance: active · 2 symbols" in up.output, description="the view says so")
    minute = json.loads(perseus(data_dir, "candles", "binance", "BTC-USDT", "--last", "100", "--json").stdout)
    assert sum(candle["isClosed"] for candle in minute["candles"]) >= 60

    os.kill(instance_pid(up), signal.SIGKILL)
    wait_until(lambda: "was killed by SIGKILL" in up.output, description="up says what was lost")
    assert "Start it again: `perseus run binance --simulated --symbols 2`" in up.output
    wait_until(lambda: card(data_dir)["health"] == "offline", description="the outage shows", every=0.2)
    wait_until(lambda: "binance: the loss of its instance on" in up.output, description="up records it", timeout=15)
    assert losses(data_dir) == 1
    assert perseus(data_dir, "status").returncode == 1
    assert up.is_running

    with PerseusProcess("run", "binance", "--symbols", "2", data_dir=data_dir, settings=QUICK) as again:
        found = wait_active(data_dir)
        assert found["status"]["pid"] == again.pid
        assert losses(data_dir) == 1
        assert again.stop_signal() == 0
    assert card(data_dir)["health"] == "stopped"


def test_ctrl_c_stops_everything_cleanly(up: PerseusProcess, data_dir: Path) -> None:
    """No process is left, and the instance has given its lease back instead of letting it run out."""
    started = children(up)
    assert up.stop_signal(signal.SIGINT) == 0
    assert [each for each in started if each.is_running()] == []
    assert "Stopped." in up.output
    log = (data_dir / "simulated" / "logs" / "binance.log").read_text()
    assert "previous=stopping" in log


def test_network_of_two_with_a_webhook(data_dir: Path) -> None:
    """Who may write to the channel is for the server alone to know, and only what runs is stopped."""
    both = ("up", "binance", "binance_us", *UP[1:])
    settings = QUICK | {"DISCORD_WEBHOOK_URLS": f"ops=http://127.0.0.1:9/api/webhooks/1/{'secret' * 10}"}
    with PerseusProcess(*both, data_dir=data_dir, settings=settings) as up:
        active = ("binance: active", "binance_us: active")
        wait_until(lambda: all(word in up.output for word in active), description="both are active", timeout=45)
        assert "No alerts" not in up.output
        assert "Z binance_us is inactive in the database, so pages, counts and alerts leave it out. " in up.output
        assert "`perseus exchanges enable binance_us --simulated`" in up.output
        assert "Z binance is inactive" not in up.output
        assert "secret" in str(psutil.Process(up.pid).environ())
        assert [child.name() for child in children(up) if "secret" in str(child.environ())] == []
        os.kill(instance_pid(up, "binance"), signal.SIGKILL)
        wait_until(lambda: "was killed by SIGKILL" in up.output, description="up has noticed")
        assert up.stop_signal(signal.SIGINT) == 0
        assert [line.partition("Z ")[2] for line in up.output.splitlines() if "Stopping" in line] == [
            "Stopping: binance_us"
        ]


def test_nothing_survives_kill_9(up: PerseusProcess) -> None:
    """An orphan would hold the lease and write on, unseen."""
    started = children(up)
    os.kill(up.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []


def test_next_up_takes_over_from_a_killed_one(up: PerseusProcess, data_dir: Path) -> None:
    """After a crash the same command is all it takes, and the loss is on record once."""
    before = instance_pid(up)
    up.kill9()
    with PerseusProcess(*UP, data_dir=data_dir, settings=QUICK):
        wait_until(
            lambda: wait_active(data_dir)["status"]["pid"] != before, description="the second one's instance is up"
        )
        assert losses(data_dir) == 1


def test_lease_of_a_dead_host_is_waited_for(
    valkey: Server, feed: Callable[..., FeedProcess], simulator: str, data_dir: Path
) -> None:
    """A person should be told to wait, not to act: the instance starts as soon as it may."""
    dead = feed()
    dead.wait_for_state("active")
    dead.kill9()
    settings = QUICK | venue(simulator)
    here = data_dir / "host-b"
    with PerseusProcess(
        "up", "binance", "--symbols", "2", data_dir=here, store_url=valkey.url, settings=settings
    ) as up:
        wait_until(lambda: "has not run out; starting in" in up.output, description="up says that it waits")
        wait_until(lambda: "binance: active · 2 symbols" in up.output, description="the instance serves", timeout=30)
        log = run_perseus("log", "--event", "instance_lost", data_dir=here, store_url=valkey.url).stdout
        assert len(log.splitlines()) == 1
        assert up.stop_signal() == 0


def test_second_up_of_one_data_directory_is_refused(up: PerseusProcess, data_dir: Path) -> None:
    """Two would fight over store and leases."""
    done = perseus(data_dir, *UP)
    assert done.returncode == 1
    assert f"already runs for {data_dir / 'simulated'} (pid {up.pid})" in done.stderr
    assert card(data_dir)["health"] == "active"


def test_simulated_data_is_kept_apart_from_real_data(up: PerseusProcess, data_dir: Path) -> None:
    """A simulated candle in a real series could never be found again."""
    assert {path.name for path in data_dir.iterdir() if path.is_dir()} == {"simulated"}
    asked = perseus(data_dir, "status", "--no-simulated")
    assert (asked.returncode, "No embedded store runs" in asked.stderr) == (2, True)
    beside = perseus(data_dir, "status")
    assert "Using the simulated network" in beside.stderr
    assert up.is_running


def test_data_of_a_simulated_network_is_known_as_such_ever_after(up: PerseusProcess, data_dir: Path) -> None:
    """Whoever names its directory later must not take what is there for real, nor add real candles to it."""
    home = ("--data-dir", str(data_dir / "simulated"))
    assert perseus(data_dir, "status", *home).stdout.startswith("Simulated: All is well · 1 active")
    assert perseus(data_dir, "log", *home).stderr == f"The network in {data_dir / 'simulated'} is simulated.\n"
    assert up.stop_signal(signal.SIGINT) == 0
    refused = perseus(data_dir, "run", "binance", *home)
    assert (refused.returncode, "would mix with simulated ones" in refused.stderr) == (78, True)
    with PerseusProcess("serve", "--port", "0", *home, data_dir=data_dir, settings=QUICK) as web:
        said = wait_until(
            lambda: re.search(r"serving +simulated=True +url=(http://\S+)\n", web.output), description="it serves"
        )
        assert said is not None
        with urllib.request.urlopen(f"{said[1]}/login", timeout=10) as page:
            assert b"<p>Simulated network</p>" in page.read()
        assert perseus(data_dir, "status", *home).stdout.startswith("Simulated: ")


def test_link_made_beside_it_leads_to_its_port(up: PerseusProcess, data_dir: Path) -> None:
    """Which port it has is known on this machine; the default one led a newcomer to nobody, or to somebody else."""
    opened = re.search(r"Open (http://\S+)/login", up.output)
    assert opened is not None
    made = perseus(data_dir, "admins", "link", "owner@localhost")
    assert made.stdout.startswith(f"{opened[1]}/login?token=")
    assert "port" not in made.stderr
    elsewhere = {"DATABASE_URL": f"sqlite:///{data_dir / 'other.db'}"}
    run_perseus("admins", "add", "owner@localhost", data_dir=data_dir, settings=elsewhere)
    made = run_perseus("admins", "link", "owner@localhost", data_dir=data_dir, settings=elsewhere)
    assert made.stdout.startswith("http://127.0.0.1:8777/login?token=")
    with urllib.request.urlopen(opened[1] + "/healthz", timeout=10) as answer:
        assert answer.status == 200


def test_second_instance_of_the_network_is_refused_with_3(up: PerseusProcess, data_dir: Path) -> None:
    """Exactly one live instance: also on the same host, with the same data directory."""
    done = perseus(data_dir, "run", "binance", "--symbols", "2")
    assert done.returncode == 3
    assert "is already served by" in done.stderr
    assert up.is_running


def test_exchange_served_by_a_live_instance_elsewhere_is_left_alone(
    valkey: Server, feed: Callable[..., FeedProcess], data_dir: Path
) -> None:
    """Its lease is renewed while we wait for its end: that is no leftover, so we stop trying."""
    feed(LEASE_TTL="12").wait_for_state("active")  # by its TTL alone we would wait longer than we do here
    here = data_dir / "host-b"
    with PerseusProcess("up", "binance", data_dir=here, store_url=valkey.url, settings=QUICK) as process:
        wait_until(lambda: "is already served by host-a" in process.output, description="up names the holder")
        assert "ended with code 3" in process.output
        assert process.is_running
        assert process.stop_signal() == 0


def test_refused_instance_ends_up_with_its_code(data_dir: Path) -> None:
    """Nothing would ever run, so nothing half-started is left."""
    with PerseusProcess("up", "--simulate", "--symbols", "NO-SUCH", data_dir=data_dir, settings=QUICK) as process:
        assert process.wait_exit(timeout=40) == 64
        assert "NO-SUCH" in process.output
        assert process.descendants() == []


def test_terminal_shows_cards_and_how_to_end_it(data_dir: Path) -> None:
    """On a terminal the view is redrawn in place."""
    environment = {f"PERSEUS_{name}": text for name, text in QUICK.items()} | {"PERSEUS_PUBLIC_IP_URLS": "off"}
    with Terminal(*UP, directory=data_dir, environment=environment) as terminal:
        terminal.wait_for("Simulated: All is well · 1 active · 2 never started", timeout=45)
        terminal.wait_for("No alerts are being sent: no Discord webhook is set")
        assert "Ctrl-C stops everything" in terminal.seen
        assert terminal.interrupt() == 0
