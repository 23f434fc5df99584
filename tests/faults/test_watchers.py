"""A death nobody succeeds is on record all the same, once; an instance that lives is never recorded as lost."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from perseus import keys
from perseus.model import exchange_named
from perseus.network.losses import LOOK_EVERY_S, RETURN_S
from tests.faults.test_store_away import comes_back
from tests.support.trials import INTERVAL_S, TTL_S, FeedProcess, Trial, uptime_s

Repeat = Callable[..., Awaitable[None]]
GRACE_S = TTL_S + INTERVAL_S + RETURN_S  # what a store that was away, or has just started, is given
SLOW_INTERVAL_S, SLOW_TTL_S = 3, 8  # so slow that a watcher misses a key before its holder does
SLOW_GRACE_S = SLOW_TTL_S + SLOW_INTERVAL_S + RETURN_S
SLACK_S = 1.0  # other work shares these processors


class Watcher(FeedProcess):
    """`tests.support.watcher` as a process on a host of its own."""

    def __init__(self, **properties: Any) -> None:
        super().__init__(**properties)
        self.command = (sys.executable, "-m", "tests.support.watcher", *self.command[3:])

    def looks(self) -> list[float]:
        """When it had looked at everything, and recorded what it found."""
        return [each["at"] for each in self.recorded("look")]


async def watchers(trial: Trial, count: int = 2) -> list[Watcher]:
    """Start watchers; each has looked once."""
    started = []
    for n in range(count):
        watcher = Watcher(
            data_dir=trial.directory / f"w{n}", hostname=f"w{n}", store_url=trial.server.url, variant=trial.variant
        )
        started.append(trial.cleanup.enter_context(watcher))
        trial.feeds.append(watcher)
    await looked(trial, started, times=1)
    return started


async def looked(trial: Trial, watching: list[Watcher], *, times: int = 2, since: float | None = None) -> None:
    """Wait until each has begun and ended some more looks after now, or after `since`."""
    after = trial.clock.now() if since is None else since

    def enough() -> bool:
        for watcher in watching:
            assert watcher.is_running, f"a watcher ended:\n{watcher.output[-3000:]}"
        return all(sum(at > after for at in watcher.looks()) >= times for watcher in watching)

    await trial.until(enough, description="every watcher has looked")


async def trusted(trial: Trial, grace_s: float = GRACE_S) -> None:
    """Wait until the server has been up for so long that its word counts."""
    await trial.until(lambda: uptime_s(trial.server) > grace_s, description="the server is up for long", timeout=40)


async def killed_under_watchers(trial: Trial) -> None:
    """kill -9, and nobody claims: the record is there when the lease is over, from one of the watchers."""
    feed = trial.feed("host-a")
    dead = await trial.emitting(feed)
    watching = await watchers(trial)
    await trusted(trial)
    await asyncio.sleep(trial.pause_s())
    feed.kill9()
    killed_at, left_s = trial.clock.now(), trial.server.call("PTTL", keys.status(2)) / 1000
    await trial.until(lambda: trial.entries("instance_lost"), description="the loss is on record")
    took_s = trial.clock.now() - killed_at
    print(f"on record {took_s:.2f} s after the kill, {took_s - left_s:.2f} s after the lease was over")
    assert took_s < left_s + LOOK_EVERY_S + SLACK_S, f"the record came {took_s - left_s:.2f} s after the lease was over"
    await looked(trial, watching)
    heir = await trial.emitting(trial.feed("host-b"))
    (lost,) = trial.entries("instance_lost")
    assert (lost["instanceId"], lost["epoch"], lost["hostname"]) == (dead["instanceId"], str(dead["epoch"]), "host-a")
    assert lost["detectedBy"].startswith("watcher on w")
    assert lost["lastHeartbeat"] >= dead["lastHeartbeat"]
    assert heir["epoch"] > dead["epoch"]


async def test_death_nobody_succeeds_is_on_record_within_a_second_of_its_lease(repeat: Repeat) -> None:
    """Without anybody claiming, the outage would otherwise show on a card only, and in no history."""
    await repeat(killed_under_watchers)


async def killed_and_claimed_under_watchers(trial: Trial) -> None:
    """The heir claims in the second in which the watchers notice."""
    feed = trial.feed("host-a")
    await trial.emitting(feed)
    watching = await watchers(trial, 3)
    await trusted(trial)
    await asyncio.sleep(trial.pause_s())
    feed.kill9()
    await trial.gone()
    await trial.emitting(trial.feed("host-b"))
    await looked(trial, watching)
    assert len(trial.entries("instance_lost")) == 1


async def test_watchers_and_a_claimer_leave_one_record(repeat: Repeat) -> None:
    """Whoever notices first writes it, and nobody after that."""
    await repeat(killed_and_claimed_under_watchers)


async def released_under_a_watcher(trial: Trial) -> None:
    """SIGTERM: the lease is given back."""
    feed = trial.feed("host-a")
    await trial.emitting(feed)
    watching = await watchers(trial, 1)
    await trusted(trial)
    await trial.terminate(feed)
    await looked(trial, watching, times=round(TTL_S + INTERVAL_S) + 2)
    assert trial.entries("instance_lost") == []


async def test_clean_end_is_not_recorded_as_a_loss(repeat: Repeat) -> None:
    """A person is woken by a loss."""
    await repeat(released_under_a_watcher)


async def paused_under_a_watcher(trial: Trial) -> None:
    """SIGSTOP past the TTL: for all that can be seen it is dead, until it says itself that it is not."""
    feed = trial.feed("host-a")
    old = await trial.emitting(feed)
    watching = await watchers(trial, 1)
    await trusted(trial)
    feed.sigstop()
    await trial.until(lambda: trial.entries("instance_lost"), description="the loss is on record")
    feed.sigcont()
    await trial.until(
        lambda: trial.status().get("epoch", 0) > old["epoch"], description="it holds a new epoch", timeout=15
    )
    await trial.emitting(feed)
    await looked(trial, watching)
    (lost,), (lapse,) = trial.entries("instance_lost"), trial.entries("lease_lapsed")
    assert lost["epoch"] == lapse["epoch"] == str(old["epoch"])
    await trial.terminate(feed)


async def test_paused_instance_is_lost_once_and_comes_back(repeat: Repeat) -> None:
    """The outage was real; its own entry says that it ended."""
    await repeat(paused_under_a_watcher)


async def stopped_store_under_watchers(trial: Trial) -> None:
    """The store is away for longer than the TTL and comes back with its data: the key has expired, `last` is there."""
    feed = trial.feed("host-a")
    old = await trial.emitting(feed)
    watching = await watchers(trial)
    await trusted(trial)
    await asyncio.sleep(trial.pause_s())
    trial.server.stop()
    await asyncio.sleep(TTL_S + 1 + trial.pause_s())
    trial.server.start()
    started_at = trial.clock.now()
    await comes_back(trial, feed, old)
    await looked(trial, watching, since=started_at + GRACE_S + 2)
    assert trial.entries("instance_lost") == [], "a living instance was recorded as lost"
    await trial.terminate(feed)


async def test_store_that_was_away_makes_no_losses(repeat: Repeat) -> None:
    """Watchers see the store again before the instance may claim again: what they find must not count yet."""
    await repeat(stopped_store_under_watchers, own_server={})


async def restarted_empty_under_three_instances(trial: Trial) -> None:
    """Kill the server and start it with nothing, under three live instances and two watchers.

    The instances are idle, and have just renewed: their next renewal is the first to find the key gone.
    """
    exchanges = [exchange_named(name) for name in ("coinbase", "binance", "kraken")]
    feeds = [
        trial.feed(f"host-{each.name}", "--idle", exchange=each.name, interval_s=SLOW_INTERVAL_S, ttl_s=SLOW_TTL_S)
        for each in exchanges
    ]

    def held(name: str) -> list[int]:
        found = [trial.server.call("GET", keys.status(exchange.id)) for exchange in exchanges]
        return [json.loads(raw)[name] if raw else 0 for raw in found]

    def risen(name: str, before: list[int]) -> bool:
        return all(now > then for now, then in zip(held(name), before, strict=True))

    await trial.until(lambda: all(held("rev")), description="three instances hold their exchanges")
    watching = await watchers(trial)
    await trusted(trial, SLOW_GRACE_S)
    revs, epochs = held("rev"), held("epoch")
    await trial.until(lambda: risen("rev", revs), description="all three have renewed")
    await asyncio.sleep(trial.pause_s(SLOW_INTERVAL_S / 10))
    trial.keeps_data = trial.keeps_time = False
    trial.server.restart(empty=True)
    restarted_at = trial.clock.now()
    await trial.until(lambda: risen("epoch", epochs), description="all three hold new epochs")
    await looked(trial, watching, since=restarted_at + SLOW_GRACE_S + 2)
    lost = [entry for exchange in exchanges for entry in trial.entries("instance_lost", exchange=exchange.name)]
    assert lost == [], f"living instances were recorded as lost: {lost}"
    for feed in feeds:
        await trial.terminate(feed)


async def test_store_restarted_empty_under_three_instances_loses_none(repeat: Repeat) -> None:
    """Three false alarms at once, and three false outages in the statistics for 90 days."""
    await repeat(restarted_empty_under_three_instances, own_server={}, judged=False)
