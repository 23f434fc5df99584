"""The network between a host and the store is cut: nothing is refused, nothing is closed, nothing arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.faults.test_store_away import comes_back
from tests.support.network import Host, Network
from tests.support.servers import BINARIES
from tests.support.trials import DURABLE, INTERVAL_S, TTL_S, FeedProcess, Trial

Repeat = Callable[..., Awaitable[None]]
# a retry may find the kernel waiting to send again, or to ask for an address
JOINED_WITHIN_S = 6.0


async def network(trial: Trial) -> Network:
    """A network of the trial's own."""
    binary = BINARIES["redis7" if trial.number % 3 == 2 else "valkey9"]()
    found = trial.cleanup.enter_context(Network(binary, trial.directory / "network", config=DURABLE))
    await trial.look_at(found.server)
    return found


def feed_on(trial: Trial, name: str, host: Host) -> FeedProcess:
    """Start the feed program on this host of the network."""
    return trial.feed(name, "--watch", store_url=host.url, inside=host.inside)


async def cut_off_and_succeeded(trial: Trial) -> None:
    """Cut the holder off for longer than the TTL; another host claims; join it again."""
    net = await network(trial)
    here, there = net.host(), net.host()
    first = feed_on(trial, "host-a", here)
    old = await trial.emitting(first)
    await asyncio.sleep(trial.pause_s())
    here.cut()
    cut_at = trial.clock.now()
    await trial.gone()
    second = feed_on(trial, "host-b", there)
    new = await trial.emitting(second)
    assert new["epoch"] > old["epoch"]
    assert max(each["at"] for each in first.recorded("held")) < cut_at + TTL_S
    here.join()
    trial.fault_is_over(within_s=INTERVAL_S)
    assert "host-b" in await trial.ended(first, 4, timeout=30)
    await trial.emitting(second)
    assert [lost["epoch"] for lost in trial.entries("instance_lost")] == [str(old["epoch"])]
    (told,) = trial.entries("lease_lost")
    assert told["epoch"] == str(old["epoch"])
    await trial.terminate(second)


async def test_partitioned_holder_stops_and_gives_way(repeat: Repeat) -> None:
    """The other side cannot ask it to stop, and need not: its own clock did."""
    await repeat(cut_off_and_succeeded)


async def cut_off_alone(trial: Trial) -> None:
    """Cut the only host off for longer than the TTL, and join it again."""
    net = await network(trial)
    host = net.host()
    feed = feed_on(trial, "host-a", host)
    old = await trial.emitting(feed)
    await asyncio.sleep(trial.pause_s())
    host.cut()
    cut_at = trial.clock.now()
    await trial.gone()
    await asyncio.sleep(trial.pause_s(2 * TTL_S))
    assert max(each["at"] for each in feed.recorded("held")) < cut_at + TTL_S
    host.join()
    trial.fault_is_over(within_s=JOINED_WITHIN_S)
    await comes_back(trial, feed, old)
    assert trial.entries("lease_lost") == []
    await trial.terminate(feed)


async def test_partitioned_holder_comes_back_by_itself(repeat: Repeat) -> None:
    """Nobody else wanted it: a cable must need nobody's hand but the one that puts it in."""
    await repeat(cut_off_alone)


async def cut_off_for_less(trial: Trial) -> None:
    """Cut the holder off for a moment, less than its deadline leaves."""
    net = await network(trial)
    host = net.host()
    feed = feed_on(trial, "host-a", host)
    old = await trial.emitting(feed)
    host.cut()
    await asyncio.sleep(INTERVAL_S + trial.pause_s(0.3))
    host.join()
    trial.fault_is_over(within_s=JOINED_WITHIN_S)
    await trial.emitting(feed)
    told = [entry["event"] for entry in trial.entries() if entry["event"] not in ("state_transition", "lease_lapsed")]
    assert told == []
    assert trial.status()["instanceId"] == old["instanceId"]
    await trial.terminate(feed)


async def test_short_cut_loses_no_instance(repeat: Repeat) -> None:
    """It may cost the tenure, if the kernel is slow to send again, but neither the instance nor a record of a loss."""
    await repeat(cut_off_for_less)
