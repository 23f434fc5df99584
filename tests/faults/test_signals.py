"""SIGTERM, whatever the instance is doing: it stops, says so, gives the exchange back and ends with exit code 0."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from tests.support.trials import Trial

Repeat = Callable[..., Awaitable[None]]
LONG_OUTAGE_S = 6.0  # longer than a lease
LINGER_S = 60  # longer than any test waits: only the signal ends it


async def ended_in(trial: Trial, state: str) -> None:
    """Bring an instance into a state, end it there, and let another host claim at once."""
    options = {"idle": ("--idle",), "stopped": (), "active": (), "stopping": ("--linger", "stopping=2")}
    feed = trial.feed("host-a", *options.get(state, ("--linger", f"{state}={LINGER_S}")))
    if state in ("stopping", "stopped"):
        await trial.emitting(feed)
        await trial.command("stop", until="running" if state == "stopping" else "done")
    tenure = await trial.reach(feed, state)
    await asyncio.sleep(trial.pause_s(0.5))
    await trial.terminate(feed)
    await trial.gone()
    assert trial.transitions(tenure["epoch"])[-2:] == ["stopping", "stopped"]
    last = trial.last()
    assert (last["connectionState"], last["epoch"]) == ("stopped", tenure["epoch"])
    assert last["releasedAt"], "the next claimer would wait for a lease that was given back"
    heir = trial.feed("host-b", "--idle")
    await trial.reach(heir, "idle", timeout=10)
    await trial.terminate(heir)
    assert trial.entries("instance_lost") == []


@pytest.mark.parametrize("state", ["idle", "starting", "warming", "active", "stopping", "stopped"])
async def test_signal_ends_an_instance_in_order_in_every_state(repeat: Repeat, state: str) -> None:
    """A deployment that restarts an instance must cost neither a TTL nor a false alarm."""
    await repeat(partial(ended_in, state=state))


async def ended_while_waiting_to_claim(trial: Trial) -> None:
    """The store has just started, so the claim waits for a TTL; end the process meanwhile."""
    feed = trial.feed("host-a", ttl_s=30)
    await trial.until(lambda: "waiting_to_claim" in feed.output, description="it waits to claim")
    await asyncio.sleep(trial.pause_s())
    await trial.terminate(feed, timeout=5)
    assert trial.server.all_keys() == []


async def test_signal_ends_an_instance_that_waits_to_claim(repeat: Repeat) -> None:
    """Nothing was begun, so nothing may be left behind, and the wait must not outlive the signal."""
    await repeat(ended_while_waiting_to_claim, own_server={"config": {"appendonly": "no"}})  # one just started


async def ended_while_the_store_is_away(trial: Trial) -> None:
    """End a process whose store does not answer."""
    feed = trial.feed("host-a")
    await trial.emitting(feed)
    trial.server.pause()
    await asyncio.sleep(trial.pause_s(LONG_OUTAGE_S))
    try:
        os.kill(feed.pid, signal.SIGTERM)
        await trial.until(lambda: not feed.is_running, description="it ends", timeout=15)
    finally:
        trial.server.resume()
    assert feed.process.returncode == 0, feed.output[-2000:]
    await trial.gone()
    heir = trial.feed("host-b")
    await trial.emitting(heir)
    await trial.terminate(heir)


async def test_signal_ends_an_instance_whose_store_is_away(repeat: Repeat) -> None:
    """A host that shuts down during an outage of the store must not hang on it."""
    await repeat(ended_while_the_store_is_away, own_server={})
