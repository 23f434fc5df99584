"""The store is restarted and shows a lease from before, which by its own word still runs, under a living holder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.faults.test_store_away import comes_back
from tests.support.trials import TTL_S, Trial

Repeat = Callable[..., Awaitable[None]]
LONG_TTL_S = 6  # a lease of before outlasts what is done in between
BACK_WITHIN_S = LONG_TTL_S + 1 + 2  # a store just restarted is given a TTL and a second, in whole seconds; an attempt


def saved(trial: Trial) -> bytes:
    """What the server has now, on disk."""
    trial.server.call("SAVE")
    return snapshot(trial).read_bytes()


def bring_back(trial: Trial, data: bytes) -> None:
    """Restart the server with what it had then."""
    trial.keeps_data = False
    trial.server.kill()
    snapshot(trial).write_bytes(data)
    trial.server.start()


def snapshot(trial: Trial) -> Path:
    """Where the server keeps its data."""
    return trial.server.directory / "dump.rdb"


async def older_holder_shown_again(trial: Trial) -> None:
    """The store comes back with the lease of a holder that has given it back since; a newcomer claims at once."""
    await trial.settled(LONG_TTL_S)
    first = trial.feed("host-a", ttl_s=LONG_TTL_S)
    older = await trial.emitting(first)
    data = saved(trial)
    await trial.terminate(first)
    second = trial.feed("host-b", "--watch", ttl_s=LONG_TTL_S)
    old = await trial.emitting(second)
    await asyncio.sleep(trial.pause_s(0.5))
    bring_back(trial, data)
    trial.fault_is_over(within_s=BACK_WITHIN_S)
    assert trial.server.call("GET", "exchange:2:status"), "the lease of before is over already"
    newcomer = trial.feed("host-c", ttl_s=LONG_TTL_S)
    told = await trial.ended(newcomer, 3)
    assert "host-a" in told or "host-b" in told, "by the time it asks the living holder may have the exchange again"
    await comes_back(trial, second, old)
    assert trial.entries("lease_lost") == []
    assert trial.status()["epoch"] > old["epoch"] > older["epoch"]
    await trial.terminate(second)


async def test_holder_goes_on_after_an_older_lease_was_shown_again(repeat: Repeat) -> None:
    """Whoever held before is not whoever has taken over: nothing is lost, nobody gives way."""
    await repeat(older_holder_shown_again, own_server={})


async def older_word_of_our_own(trial: Trial) -> None:
    """The store comes back with an older status of the same tenure, its lease not over."""
    await trial.settled(LONG_TTL_S)
    feed = trial.feed("host-a", ttl_s=LONG_TTL_S)
    old = await trial.emitting(feed)
    data, rev = saved(trial), old["rev"]
    await trial.until(lambda: trial.status()["rev"] >= rev + 2, description="it has renewed since")
    await asyncio.sleep(trial.pause_s())
    bring_back(trial, data)
    trial.fault_is_over(within_s=2)
    newcomer = trial.feed("host-b", ttl_s=LONG_TTL_S)
    assert "host-a" in await trial.ended(newcomer, 3)
    await trial.emitting(feed)
    await trial.until(lambda: trial.status()["rev"] > rev + 2, description="its renewals are accepted")
    assert trial.status()["claimId"] == old["claimId"], "a status of its own from before cost it the lease"
    assert [each for each in trial.entries() if each["event"] != "state_transition"] == []
    await trial.terminate(feed)


async def test_holder_goes_on_in_its_tenure_after_its_own_older_status(repeat: Repeat) -> None:
    """The lease shown is its own, and its renewals are newer."""
    await repeat(older_word_of_our_own, own_server={})


async def emptied_under_a_holder_cut_off(trial: Trial) -> None:
    """Cut the holder off, restart the store with nothing, let a newcomer claim, and let the holder back in."""
    first = trial.feed("host-a", "--watch", through_proxy=True)
    old = await trial.emitting(first)
    rev = trial.status()["rev"]
    await trial.until(lambda: trial.status()["rev"] > rev, description="it has just renewed")
    trial.proxy.requests.dropping = trial.proxy.replies.dropping = True
    trial.keeps_data = False
    trial.server.restart(empty=True)
    trial.fault_is_over(within_s=TTL_S + 1 + 2)
    second = trial.feed("host-b")
    new = await trial.emitting(second)
    assert new["epoch"] > old["epoch"]
    await trial.until(lambda: "lease_lost" in first.output, description="the holder has stopped by itself")
    trial.proxy.requests.dropping = trial.proxy.replies.dropping = False
    assert "host-b" in await trial.ended(first, 4)
    await trial.terminate(second)


async def test_newcomer_waits_for_a_lease_that_the_store_forgot(repeat: Repeat) -> None:
    """The holder cannot know yet, and goes on until its deadline: nothing in the store tells of it."""
    await repeat(emptied_under_a_holder_cut_off, own_server={})
