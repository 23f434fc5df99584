"""Two claimers at once, and status values nobody can read: one wins, and nothing is ever overwritten."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from perseus import keys
from tests.support.trials import EXCHANGE_ID, FeedProcess, Trial

Repeat = Callable[..., Awaitable[None]]
STATUS = keys.status(EXCHANGE_ID)
REQUIRED = {
    "exchangeId": EXCHANGE_ID,
    "exchangeName": "binance",
    "connectionState": "active",
    "connectedAt": "2026-02-10T14:02:11.000Z",
    "lastHeartbeat": "2026-02-10T14:02:11.000Z",
    "symbolCount": 312,
    "adminEmail": "ops@example.com",
    "adminDisplayName": "Ops",
    "ipAddress": "203.0.113.7",
    "hostname": "fra-2",
    "lastError": None,
}


async def two_at_once(trial: Trial, hosts: tuple[str, str]) -> None:
    """Start two claimers together."""
    feeds = [trial.feed(host) for host in hosts]
    await trial.until(trial.status, description="one has claimed")
    await trial.until(lambda: not all(feed.is_running for feed in feeds), description="one has given up")
    loser, winner = sorted(feeds, key=lambda feed: feed.is_running)
    told = await trial.ended(loser, 3)
    await trial.emitting(winner)
    assert f"{winner.data_dir.name} (IP unknown)" in told
    assert "connected since" in told or "registered" in told
    assert {sample.status["claimId"] for sample in trial.recorder.samples if sample.status} == {
        trial.status()["claimId"]
    }
    await trial.terminate(winner)


@pytest.mark.parametrize("hosts", [("host-a", "host-a"), ("host-a", "host-b")], ids=["one host", "two hosts"])
async def test_one_of_two_claimers_wins_and_the_other_says_who(repeat: Repeat, hosts: tuple[str, str]) -> None:
    """LOCK-01: exactly one, also when both are started in the same moment by the same person."""
    await repeat(partial(two_at_once, hosts=hosts))


FOREIGN: dict[str, tuple[list[Any], int, str]] = {
    "no JSON": (["SET", "certainly not JSON", "EX", 60], 2, "is not a status"),
    "a list": (["SET", "[1, 2]", "EX", 60], 2, "is not a status"),
    "no status": (["SET", json.dumps({"exchangeName": "binance", "online": True}), "EX", 60], 2, "is not a status"),
    "another type": (["RPUSH", "theirs"], 2, STATUS),
    "another program's": (["SET", json.dumps(REQUIRED), "EX", 60], 3, "fra-2 (203.0.113.7), admin ops@example.com"),
    "without TTL": (["SET", json.dumps(REQUIRED)], 3, f"redis-cli DEL {STATUS}"),
    "of another exchange": (["SET", json.dumps(REQUIRED | {"exchangeName": "kucoin"}), "EX", 60], 78, '"kucoin"'),
}


async def foreign(trial: Trial, kind: str) -> None:
    """Put a value at the status key and try to claim."""
    (command, *value), code, message = FOREIGN[kind]
    trial.server.call(command, STATUS, *value)
    before = trial.server.call("DUMP", STATUS)
    told = await trial.ended(trial.feed("host-a"), code)
    assert message in told
    assert "Traceback" not in told
    assert trial.server.call("DUMP", STATUS) == before
    assert trial.server.all_keys() in ([STATUS], [STATUS, keys.log("binance")]), "only the error may be on record"


@pytest.mark.parametrize("kind", FOREIGN)
async def test_foreign_status_is_never_overwritten(repeat: Repeat, kind: str) -> None:
    """Another program of the network may own it; a person is told what is there and what to do."""
    await repeat(partial(foreign, kind=kind), judged=False)


async def overwritten(trial: Trial, value: str) -> None:
    """Another program overwrites the status of a live holder."""
    feed = trial.feed("host-a", "--rate", "100")
    await trial.emitting(feed)
    await asyncio.sleep(trial.pause_s())
    trial.server.call("SET", STATUS, value)
    at = trial.clock.now()
    await ended_somehow(trial, feed)
    (lost,) = trial.entries("lease_lost")
    assert lost["holder"] == ("fra-2 (another program)" if "fra-2" in value else "another program")
    assert trial.server.call("GET", STATUS) == value.encode()
    late = [write for write in trial.accepted(feed) if write["asked"] > at]
    assert late == [], "writes were accepted beside a status that is not ours"


async def ended_somehow(trial: Trial, feed: FeedProcess) -> None:
    """Wait until it gives up."""
    await trial.until(lambda: not feed.is_running, description="it ends")
    assert feed.process.returncode in (2, 3, 4), feed.output[-2000:]
    assert "Traceback" not in feed.output


@pytest.mark.parametrize("value", ["{broken", json.dumps(REQUIRED)], ids=["malformed", "another program's"])
async def test_holder_gives_way_to_whatever_was_written_over_its_status(repeat: Repeat, value: str) -> None:
    """Whoever wrote it may serve now; writing ours over it would be two holders in turn."""
    await repeat(partial(overwritten, value=value), judged=False)
