"""The store stops, comes back, or comes back with nothing: the instance survives by itself, with a new epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tests.support.trials import TTL_S, FeedProcess, Trial

Repeat = Callable[..., Awaitable[None]]
BACK_WITHIN_S = (
    TTL_S + 1 + 2
)  # a store just restarted is given a TTL and a second, in whole seconds; an attempt, a start


async def comes_back(trial: Trial, feed: FeedProcess, old: dict[str, object]) -> None:
    """It serves again, in a new tenure, and the log tells of a lapse, not of a loss."""
    await trial.until(
        lambda: trial.status().get("epoch", 0) > old["epoch"], description="it holds a new epoch", timeout=25
    )
    new = await trial.emitting(feed)
    assert new["instanceId"] == old["instanceId"]
    (lapse,) = trial.entries("lease_lapsed")
    assert (lapse["epoch"], lapse["newEpoch"]) == (str(old["epoch"]), str(new["epoch"]))
    assert trial.entries("instance_lost") == []
    assert trial.transitions(new["epoch"]) == ["starting", "warming", "active"]


async def stopped_for_longer_than_the_ttl(trial: Trial, options: Sequence[str] = ()) -> None:
    """Stop the server, data saved, and start it again when the lease is long over. `options`: of the feed."""
    feed = trial.feed("host-a", *options)
    old = await trial.emitting(feed)
    await asyncio.sleep(trial.pause_s())
    trial.server.stop()
    await asyncio.sleep(TTL_S + 1 + trial.pause_s())
    assert feed.is_running, feed.output
    trial.server.start()
    trial.fault_is_over(within_s=BACK_WITHIN_S)
    await comes_back(trial, feed, old)
    await trial.terminate(feed)


async def test_instance_comes_back_after_the_store_was_stopped(repeat: Repeat) -> None:
    """An outage of the store longer than the TTL must need nobody's hand."""
    await repeat(stopped_for_longer_than_the_ttl, own_server={})


async def frozen_for_longer_than_the_ttl(trial: Trial, options: Sequence[str] = ()) -> None:
    """SIGSTOP the server: connections stay open, requests pile up and are carried out at once when it goes on."""
    feed = trial.feed("host-a", *options)
    old = await trial.emitting(feed)
    await asyncio.sleep(trial.pause_s())
    trial.server.pause()
    await asyncio.sleep(TTL_S + 1 + trial.pause_s())
    trial.server.resume()
    trial.fault_is_over(within_s=2)
    await comes_back(trial, feed, old)
    await trial.terminate(feed)


async def test_instance_comes_back_after_the_store_was_frozen(repeat: Repeat) -> None:
    """Renewals sent while it was frozen must not bring the old tenure back to life."""
    await repeat(frozen_for_longer_than_the_ttl, own_server={})


async def restarted_empty(trial: Trial) -> None:
    """Kill the server and start it with nothing, while the holder's lease still runs."""
    feed = trial.feed("host-a")
    old = await trial.emitting(feed)
    await asyncio.sleep(trial.pause_s())
    trial.keeps_data = trial.keeps_time = False
    trial.server.restart(empty=True)
    trial.fault_is_over(within_s=2)
    await comes_back(trial, feed, old)
    await trial.terminate(feed)


async def test_store_restarted_empty_loses_no_instance(repeat: Repeat) -> None:
    """The epoch must rise although its key is gone, and a live instance must not be reported as lost."""
    await repeat(restarted_empty, own_server={})


async def restarted_empty_under_an_idle_holder(trial: Trial) -> None:
    """The same under an instance that writes nothing: its next renewal is the first to find the key gone."""
    feed = trial.feed("host-a", "--idle")
    old = await trial.reach(feed, "idle")
    await asyncio.sleep(trial.pause_s())
    trial.keeps_data = trial.keeps_time = False
    trial.server.restart(empty=True)
    trial.fault_is_over(within_s=2, state="idle")
    await trial.until(
        lambda: trial.status().get("epoch", 0) > old["epoch"], description="it holds a new epoch", timeout=15
    )
    (lapse,) = await trial.until(lambda: trial.entries("lease_lapsed"), description="the lapse is on record")
    assert lapse["epoch"] == str(old["epoch"])
    await trial.terminate(feed)


async def test_renewal_never_creates_a_missing_key(repeat: Repeat) -> None:
    """Nobody knows who may have held the exchange meanwhile: only a claim, with a new epoch, may begin again."""
    await repeat(restarted_empty_under_an_idle_holder, own_server={})


async def restarted_with_old_data(trial: Trial) -> None:
    """Bring the server back with what it held in an earlier tenure, of another host, whose lease is over."""
    first = trial.feed("host-a")
    older = await trial.emitting(first)
    trial.server.call("SAVE")
    snapshot = trial.server.directory / "dump.rdb"
    old_data, saved_at = snapshot.read_bytes(), trial.clock.now()
    await trial.terminate(first)
    second = trial.feed("host-b")
    old = await trial.emitting(second)
    await asyncio.sleep(trial.pause_s())
    await trial.until(lambda: trial.clock.now() > saved_at + TTL_S, description="the older lease is over")
    trial.keeps_data = trial.keeps_time = False
    trial.server.kill()
    snapshot.write_bytes(old_data)
    trial.server.start()
    trial.fault_is_over(within_s=BACK_WITHIN_S)
    await trial.until(
        lambda: trial.status().get("epoch", 0) > old["epoch"], description="it holds a new epoch", timeout=20
    )
    new = await trial.emitting(second)
    assert older["epoch"] < old["epoch"] < new["epoch"]
    assert new["instanceId"] == old["instanceId"]
    assert trial.entries("instance_lost") == []
    await trial.terminate(second)


async def test_old_data_bring_back_neither_holder_nor_epoch(repeat: Repeat) -> None:
    """The default snapshots lose minutes: the epoch in them is of the past, but the process knows better."""
    await repeat(restarted_with_old_data, own_server={})


async def restarted_empty_under_a_waiting_claimer(trial: Trial) -> None:
    """Another host starts up just as the store loses everything: the holder may not know yet."""
    first = trial.feed("host-a")
    old = await trial.emitting(first)
    trial.keeps_data = False
    trial.server.restart(empty=True)
    trial.fault_is_over(within_s=2)
    second = trial.feed("host-b")
    new = await trial.until(
        lambda: trial.status() if trial.status().get("epoch", 0) > old["epoch"] else None, description="someone claims"
    )
    assert new["instanceId"] == old["instanceId"], "the newcomer claimed while the holder's lease could still run"
    assert "host-a" in await trial.ended(second, 3)
    await trial.emitting(first)
    assert trial.entries("instance_lost") == []
    await trial.terminate(first)


async def test_newcomer_waits_after_the_store_restarted_empty(repeat: Repeat) -> None:
    """It cannot see the lease that was lost with the data, so it must assume one."""
    await repeat(restarted_empty_under_a_waiting_claimer, own_server={})
