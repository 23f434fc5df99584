"""The fence of `perseus run`: a process paused or hung past its lease ends; one whose work ended in time goes on."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from functools import partial

import psutil

from perseus import keys
from tests.faults.test_store_away import frozen_for_longer_than_the_ttl, stopped_for_longer_than_the_ttl
from tests.support.namespaces import as_pid_1
from tests.support.trials import EXCHANGE_ID, TTL_S, FeedProcess, Trial
from tests.support.waiting import wait_until_async

Repeat = Callable[..., Awaitable[None]]
KILLED = -signal.SIGKILL
FENCED = ("--fence",)


async def is_stopped(trial: Trial, process: psutil.Process) -> None:
    """Stop it, and wait until every thread stands."""
    process.suspend()
    await trial.until(lambda: process.status() == psutil.STATUS_STOPPED, description="it is stopped")


async def stopped_past_its_lease(trial: Trial) -> None:
    """SIGSTOP, and never SIGCONT: it is dead before its key is gone, without another instruction."""
    feed = trial.feed("host-a", "--fence", "--rate", "200")
    old = await trial.emitting(feed, writes=20)
    await asyncio.sleep(trial.pause_s())
    await is_stopped(trial, psutil.Process(feed.pid))
    told = feed.history.stat().st_size
    await trial.gone()
    assert not feed.is_running, "it outlived its lease"
    assert feed.process.returncode == KILLED
    assert feed.history.stat().st_size == told, "it went on after the pause"
    second = trial.feed("host-b", "--fence")
    await trial.emitting(second)
    assert [lost["epoch"] for lost in trial.entries("instance_lost")] == [str(old["epoch"])]
    await trial.terminate(second)


async def test_process_paused_past_its_lease_never_runs_again(repeat: Repeat) -> None:
    """Without the fence it wakes up between a check and a send, and what leaves for elsewhere nobody refuses."""
    await repeat(stopped_past_its_lease)


async def continued_near_the_deadline(trial: Trial) -> None:
    """SIGCONT at about the hard deadline: it is dead, or it has its lease, and nothing in between."""
    feed = trial.feed("host-a", "--fence", "--rate", "200")
    await trial.emitting(feed, writes=20)
    await is_stopped(trial, psutil.Process(feed.pid))
    key = keys.status(EXCHANGE_ID)
    near = trial.random.uniform(0.3, 0.55)  # margin / 2 is 0.4 s
    await wait_until_async(
        lambda: trial.server.call("PTTL", key) < near * 1000, description="the lease is nearly over", every=0.005
    )
    feed.sigcont()
    second = trial.feed("host-b", "--fence", "--idle")
    await trial.until(lambda: not (feed.is_running and second.is_running), description="one of them ends")
    if feed.is_running:
        assert second.process.returncode == 3, second.output
        await trial.emitting(feed)
        await trial.terminate(feed)
    else:
        assert feed.process.returncode == KILLED
        second.end()
        await trial.gone()


async def test_process_continued_near_its_deadline_has_its_lease_or_is_dead(repeat: Repeat) -> None:
    """The race that matters: whoever comes back in the last moment must not emit after it."""
    await repeat(continued_near_the_deadline)


async def renewed_for_several_leases(trial: Trial) -> None:
    """Three TTLs of ordinary work, then an orderly end that takes longer than a lease."""
    feed = trial.feed("host-a", "--fence", "--linger", f"stopping={TTL_S + 2}")
    first = await trial.emitting(feed)
    until = trial.clock.now() + 3 * TTL_S
    await trial.until(lambda: not feed.is_running or trial.clock.now() > until, description="three TTLs are over")
    assert feed.is_running, f"a healthy holder ended with {feed.process.returncode}"
    assert (await trial.emitting(feed))["epoch"] == first["epoch"]
    await trial.terminate(feed)


async def test_renewals_keep_it_alive(repeat: Repeat) -> None:
    """A fence that kills the healthy is worse than none."""
    await repeat(renewed_for_several_leases)


async def test_store_outage_is_survived(repeat: Repeat) -> None:
    """The work stopped in time, so nothing needs to be ended: it comes back by itself with the store."""
    await repeat(partial(stopped_for_longer_than_the_ttl, options=FENCED), own_server={})


async def test_frozen_store_is_survived(repeat: Repeat) -> None:
    """The same where requests hang instead of failing."""
    await repeat(partial(frozen_for_longer_than_the_ttl, options=FENCED), own_server={})


async def work_that_never_ends(trial: Trial) -> None:
    """Stop the store under work that swallows its cancellation."""
    feed = trial.feed("host-a", "--fence", "--stubborn")
    await trial.emitting(feed)
    trial.server.stop()
    await trial.ended(feed, KILLED, timeout=2 * TTL_S)


async def test_work_that_ignores_its_end_is_ended(repeat: Repeat) -> None:
    """Whatever a library does in its clean-up, it does not do it in the next holder's time."""
    await repeat(work_that_never_ends, own_server={})


async def hung(trial: Trial) -> None:
    """Hang the event loop past the TTL."""
    feed = trial.feed("host-a", "--fence", "--block", str(3 * TTL_S))
    await trial.emitting(feed)
    feed.block_loop()
    await trial.gone()
    assert not feed.is_running, "it outlived its lease"
    assert feed.process.returncode == KILLED


async def test_hung_process_is_ended(repeat: Repeat) -> None:
    """Its lease is over while its work is not: a supervisor can start another."""
    await repeat(hung)


async def stopped_under_pid_1(trial: Trial) -> None:
    """The same as the first process of a container."""
    feed = FeedProcess(
        *("binance", "--fence"),
        data_dir=trial.directory / "container",
        variant=trial.variant,
        hostname="container",
        store_url=trial.server.url,
        settings={"HEARTBEAT_INTERVAL": "1", "LEASE_TTL": str(TTL_S)},
    )
    feed.command = as_pid_1(feed.command)
    trial.cleanup.enter_context(feed)
    await trial.until(lambda: trial.status().get("connectionState") == "active", description="it is active")
    await asyncio.sleep(trial.pause_s())
    await is_stopped(trial, serving(feed))
    await trial.gone()
    await trial.ended(feed, 128 + signal.SIGKILL, timeout=2)
    assert "its own fence" in feed.output
    assert json.loads(trial.server.call("GET", keys.last(EXCHANGE_ID)))["releasedAt"] is None


def serving(feed: FeedProcess) -> psutil.Process:
    """The process below `unshare` and, where there is one, its reaper that has the exchange."""
    *_, last = psutil.Process(feed.pid).children(recursive=True)
    return last


async def test_process_that_would_be_pid_1_is_ended_all_the_same(repeat: Repeat) -> None:
    """The kernel exempts PID 1, and a container's only process is PID 1."""
    await repeat(stopped_under_pid_1)
