"""An instance that is paused or hangs past its lease: it never emits again in that tenure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from tests.support.trials import TTL_S, Trial

Repeat = Callable[..., Awaitable[None]]


async def stopped_while_another_claims(trial: Trial) -> None:
    """SIGSTOP the holder past its TTL, let another host claim and serve, then SIGCONT."""
    first = trial.feed("host-a")
    old = await trial.emitting(first)
    await asyncio.sleep(trial.pause_s())
    first.sigstop()
    await trial.gone()
    second = trial.feed("host-b")
    new = await trial.emitting(second)
    trial.look_at_writes()
    first.sigcont()
    told = await trial.ended(first, 4)
    assert "host-b" in told
    await trial.emitting(second)
    assert trial.status()["claimId"] == new["claimId"]
    assert [lost["epoch"] for lost in trial.entries("instance_lost")] == [str(old["epoch"])]
    (said,) = trial.entries("lease_lost")
    assert said["epoch"] == str(old["epoch"])
    await trial.terminate(second)


async def test_paused_holder_gives_way_to_the_one_that_claimed(repeat: Repeat) -> None:
    """The classic split brain: it wakes up believing that no time has passed."""
    await repeat(stopped_while_another_claims)


async def stopped_while_nobody_claims(trial: Trial) -> None:
    """SIGSTOP the holder past its TTL, then SIGCONT."""
    feed = trial.feed("host-a")
    old = await trial.emitting(feed)
    await asyncio.sleep(trial.pause_s())
    feed.sigstop()
    await trial.gone()
    feed.sigcont()
    await trial.until(lambda: trial.status().get("epoch", 0) > old["epoch"], description="it holds a new epoch")
    new = await trial.emitting(feed)
    assert new["instanceId"] == old["instanceId"]
    (lapse,) = trial.entries("lease_lapsed")
    assert (lapse["epoch"], lapse["newEpoch"]) == (str(old["epoch"]), str(new["epoch"]))
    assert trial.entries("instance_lost") == []
    await trial.terminate(feed)


async def test_paused_holder_goes_on_with_a_new_epoch_if_nobody_claimed(repeat: Repeat) -> None:
    """A suspended laptop comes back by itself; but what it sent before is of another tenure."""
    await repeat(stopped_while_nobody_claims)


async def stopped_in_the_middle_of_a_write(trial: Trial, through: str = "candles") -> None:
    """Hold a write of the old tenure in the network until another host serves, and deliver it then."""
    first = trial.feed("host-a", "--through", through, through_proxy=True)
    await trial.emitting(first)
    await asyncio.sleep(trial.pause_s())
    trial.proxy.hold_requests(1, containing=b":candles:" if through == "candles" else b":warmup")
    await trial.until(lambda: trial.proxy.held_requests, description="a write is under way")
    first.sigstop()
    await trial.gone()
    second = trial.feed("host-b", "--idle")
    new = await trial.reach(second, "idle")
    trial.look_at_writes()
    value = trial.server.call("GET", "{exchange:2:status}:warmup")
    trial.proxy.release()
    first.sigcont()
    assert "host-b" in await trial.ended(first, 4)
    trial.look_at_writes()
    assert trial.server.call("GET", "{exchange:2:status}:warmup") == value, "a late write was accepted"
    assert trial.status()["claimId"] == new["claimId"]
    await trial.terminate(second)


@pytest.mark.parametrize("through", ["candles", "value"])
async def test_write_under_way_at_the_pause_is_refused(repeat: Repeat, through: str) -> None:
    """No check before sending can help here: only the store can refuse what arrives too late."""
    await repeat(partial(stopped_in_the_middle_of_a_write, through=through))


async def blocked(trial: Trial) -> None:
    """Hang the event loop past the TTL; the process's other threads go on."""
    feed = trial.feed("host-a", "--block", str(2 * TTL_S))
    old = await trial.emitting(feed)
    await asyncio.sleep(trial.pause_s())
    feed.block_loop()
    await trial.gone()
    await trial.until(lambda: trial.status().get("epoch", 0) > old["epoch"], description="it holds a new epoch")
    await trial.emitting(feed)
    assert any("loop_blocked" in entry["error"] for entry in trial.entries("error"))
    assert len(trial.entries("lease_lapsed")) == 1
    await trial.terminate(feed)


async def test_hung_process_loses_its_lease_and_says_why(repeat: Repeat) -> None:
    """A renewal thread that goes on renewing for a hung feed keeps a dead exchange claimed for ever."""
    await repeat(blocked)


async def blocked_while_another_claims(trial: Trial) -> None:
    """Hang the event loop; another host claims meanwhile."""
    first = trial.feed("host-a", "--block", str(3 * TTL_S))
    old = await trial.emitting(first)
    first.block_loop()
    await trial.gone()
    second = trial.feed("host-b")
    await trial.emitting(second)
    assert "host-b" in await trial.ended(first, 4)
    assert [lost["epoch"] for lost in trial.entries("instance_lost")] == [str(old["epoch"])]
    await trial.terminate(second)


async def test_hung_process_gives_way_to_the_one_that_claimed(repeat: Repeat) -> None:
    """When it runs again, its first look at the time must end it."""
    await repeat(blocked_while_another_claims)
