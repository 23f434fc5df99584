"""An instance that is paused or hangs past its lease: it never emits again in that tenure."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from perseus import keys
from tests.faults.test_store_away import comes_back
from tests.support.trials import EXCHANGE_ID, TTL_S, Trial

Repeat = Callable[..., Awaitable[None]]
BACK_WITHIN_S = 2.0  # a retry, an attempt, a claim and a warm-up


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
    trial.fault_is_over(within_s=1)
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
    trial.fault_is_over(within_s=BACK_WITHIN_S)
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


async def stopped_in_the_middle_of_a_renewal(trial: Trial, is_succeeded: bool) -> None:
    """Hold a renewal in the network until the lease is over, and deliver it before its sender goes on."""
    first = trial.feed("host-a", "--watch", through_proxy=True)
    old = await trial.emitting(first)
    trial.proxy.hold_requests(1, containing=b'"kind":"heartbeat"')
    await trial.until(lambda: trial.proxy.held_requests, description="a renewal is under way")
    first.sigstop()
    await trial.gone()
    second = trial.feed("host-b") if is_succeeded else None
    if second is not None:
        await trial.emitting(second)
    trial.proxy.release()
    first.sigcont()
    trial.fault_is_over(within_s=BACK_WITHIN_S)
    if second is not None:
        assert "host-b" in await trial.ended(first, 4)
        await trial.emitting(second)
        await trial.terminate(second)
    else:
        await comes_back(trial, first, old)
        await trial.terminate(first)


@pytest.mark.parametrize("is_succeeded", [True, False], ids=["succeeded", "alone"])
async def test_renewal_under_way_at_the_pause_revives_nothing(repeat: Repeat, is_succeeded: bool) -> None:
    """Its answer is the first thing the process sees when it goes on."""
    await repeat(partial(stopped_in_the_middle_of_a_renewal, is_succeeded=is_succeeded))


async def stopped_in_the_middle_of_a_claim(trial: Trial, is_succeeded: bool) -> None:
    """Stop a claimer whose claim is made, but not yet answered, until the lease of that claim is over."""
    await trial.settled()
    trial.proxy.hold_requests(1, containing=keys.primary(EXCHANGE_ID).encode())
    first = trial.feed("host-a", "--watch", through_proxy=True)
    await trial.until(lambda: trial.proxy.held_requests, description="a claim is under way")
    first.sigstop()
    trial.proxy.release()
    claimed = await trial.until(trial.status, description="the claim is made")
    await trial.gone()
    second = trial.feed("host-b") if is_succeeded else None
    if second is not None:
        await trial.emitting(second)
    first.sigcont()
    trial.fault_is_over(within_s=BACK_WITHIN_S)
    if second is not None:
        await trial.until(lambda: not first.is_running, description="it gives way")
        assert first.process.returncode in (3, 4), first.output
        await trial.emitting(second)
        await trial.terminate(second)
    else:
        assert (await trial.emitting(first))["epoch"] > claimed["epoch"]
        await trial.terminate(first)
    assert [write for write in first.recorded("write") if write["epoch"] == claimed["epoch"]] == []


@pytest.mark.parametrize("is_succeeded", [True, False], ids=["succeeded", "alone"])
async def test_claim_under_way_at_the_pause_is_no_lease(repeat: Repeat, is_succeeded: bool) -> None:
    """It is told that it has the exchange when that has been over for long: it counts from when it asked."""
    await repeat(partial(stopped_in_the_middle_of_a_claim, is_succeeded=is_succeeded))


async def suspended(trial: Trial) -> None:
    """Let the holder's boot-time clock jump past its lease, as it does over a suspend; nothing else has noticed."""
    feed = trial.feed("host-a", "--watch", "--rate", "200", "--jump", str(TTL_S + trial.pause_s(100)))
    old = await trial.emitting(feed)
    await asyncio.sleep(trial.pause_s())
    os.kill(feed.pid, signal.SIGUSR2)
    trial.fault_is_over(within_s=BACK_WITHIN_S)
    await comes_back(trial, feed, old)
    (jumped,) = [phase["at"] for phase in feed.recorded("phase") if phase["name"] == "jumped"]
    late = [each for each in feed.recorded("write") if each["epoch"] == old["epoch"] and each["asked"] > jumped]
    assert late == [], "it emitted on a lease that was over by its own clock"
    held = [each["at"] for each in feed.recorded("held") if each["epoch"] == old["epoch"]]
    assert max(held) <= jumped
    await trial.terminate(feed)


async def test_suspended_holder_emits_nothing_on_its_old_lease(repeat: Repeat) -> None:
    """Its timers have stood still: only a look at the clock before each write tells that hours have passed."""
    await repeat(suspended)


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
