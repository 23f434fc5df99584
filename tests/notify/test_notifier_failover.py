"""The store fails over under the notifier: every outage is told, nothing that the store kept is told again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from perseus import alerting, keys
from perseus.errors import StoreUnavailable
from perseus.model import Exchange
from perseus.notify import queue
from perseus.notify.keeping import Kept
from perseus.store import Store
from tests.notify.teller import BINANCE, COINBASE, KRAKEN, Log, Teller, teller
from tests.support.cluster import Cluster
from tests.support.discord import Posted
from tests.support.discord_control import StandInProcess
from tests.support.processes import PerseusProcess
from tests.support.sentinel import SentinelTrio
from tests.support.waiting import wait_until_async

Connect = Callable[..., Store]
T = TypeVar("T")
TIMEOUT_S = 1.0
VENUES = [Exchange(id=100 + n, name=f"venue-{n}", display_name=f"Venue {n}") for n in range(6)]
OUTAGES = ("offline", "recovered")
AGAIN_IN_S = 0.05


class PatientStore(Store):
    """Writes its log entries until the store takes them, as instances and watchers do."""

    async def append(self, key: str, fields: Mapping[str, str], *, min_id: str | None) -> str:
        """Append an entry, however long that takes; one whose answer was lost is there twice."""
        while True:
            try:
                return await super().append(key, fields, min_id=min_id)
            except StoreUnavailable:
                await asyncio.sleep(AGAIN_IN_S)


@dataclass
class Failing:
    """A notifier on a store that is going to fail, and what it should have told."""

    telling: Teller
    deployment: SentinelTrio | Cluster

    async def fail(self, key: str, how: str) -> None:
        """kill -9 to the server of this key, or let it hand over to another, as `how` says: `killed`, `planned`."""
        store = self.deployment
        if how == "killed":
            (store.primary_of(key) if isinstance(store, Cluster) else store.primary()).kill()
        elif isinstance(store, Cluster):
            await asyncio.to_thread(store.failover, key)
        else:
            await asyncio.to_thread(store.failover)

    async def put_on_record(self, *venues: Exchange) -> None:
        """Record the deaths that the store forgot, as every watcher does that still sees the exchange dead."""
        for venue in venues:
            entries = await answered(partial(self.telling.store.entries, keys.log(venue.name), count=50))
            if not any(entry.fields["event"] == "instance_lost" for entry in entries):
                await self.telling.log.die(venue)

    def times_told(self, venue: Exchange) -> int:
        """How often people were woken for this exchange."""
        return len([each for each in self.told(venue) if not each.is_silent])

    def told(self, venue: Exchange) -> list[Posted]:
        """Every message that names it."""
        return [each for each in self.telling.discord.messages("ops") if venue.display_name in each.text]

    async def have_told(self, *venues: Exchange, within_s: float = 10.0) -> None:
        """Wait until people were woken for each of these."""
        for venue in venues:
            told = partial(self.times_told, venue)
            await wait_until_async(told, description=f"{venue.name} is told", timeout=within_s)

    async def says_the_truth(self, *, down: set[Exchange]) -> None:
        """Wait until what people were told last is that these are down, and no others."""

        async def is_true() -> bool:
            kept = await self._kept()
            open_ones = {each.exchange_id for each in kept.memory.state.incidents.values() if each.resolved_ms is None}
            channel, now_ms = kept.memory.channels["ops"], kept.saved_ms
            is_shown = queue.next_send(kept.memory.state, channel, now_ms=now_ms, announced=OUTAGES) is None
            return is_shown and open_ones == {venue.id for venue in down}

        await wait_until_async(is_true, description=f"what was told last is that {down} are down", timeout=20)

    async def _kept(self) -> Kept:
        raw, _ = await answered(partial(read_memory, self.telling.store))
        return msgspec.json.decode(raw or b"", type=Kept)


async def read_memory(store: Store) -> list[Any]:
    """What the notifier remembers, and in which tenure it was kept."""
    (reply,) = await store.pipeline(["HMGET", keys.notifier_cursor(), "memory", "claimId"])
    if isinstance(reply, Exception):
        raise reply
    return list(reply)


async def answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the store answers."""
    while True:
        try:
            return await ask()
        except StoreUnavailable:
            await asyncio.sleep(AGAIN_IN_S)


@contextmanager
def no_replication(trio: SentinelTrio) -> Iterator[None]:
    """The replicas stand still, and do not get what is written meanwhile."""
    primary = trio.primary()
    replicas = [server for server in trio.servers if server is not primary]
    for replica in replicas:
        replica.pause()
    primary.call("CLIENT", "KILL", "TYPE", "replica")  # else it would wait for them in their sockets
    try:
        yield
    finally:
        for replica in replicas:
            replica.resume()


async def replicated(trio: SentinelTrio) -> None:
    """Wait until the replicas have all there is now."""
    primary = trio.primary()
    _, offset, _ = primary.call("ROLE")

    def is_there() -> bool:
        return all(int(each[2]) >= offset for each in primary.call("ROLE")[2])

    await wait_until_async(is_there, description="the replicas have it")


async def notifier_on(store: Store) -> str | None:
    """The host whose server is the notifier, once it has begun."""
    found = await alerting.read(store)
    return found.holder.hostname if found.holder is not None and found.health is not None else None


@asynccontextmanager
async def failing_on(deployment: SentinelTrio | Cluster, connect: Connect, directory: Path) -> AsyncIterator[Failing]:
    """A notifier at work on a store, with exchanges that are served."""
    async with teller(connect(deployment.url, timeout=TIMEOUT_S), directory) as telling:
        patient = PatientStore(deployment.url, timeout=TIMEOUT_S)
        telling.log, telling.exchanges = Log(patient), VENUES
        for venue in VENUES:
            await telling.log.start(venue)
        try:
            yield Failing(telling, deployment)
        finally:
            await patient.close()


@pytest.mark.parametrize("how", ["killed", "planned"])
async def test_outages_around_a_failover_are_all_told_and_told_once(
    trio: SentinelTrio, connect: Connect, tmp_path: Path, how: str
) -> None:
    """The host that goes down often has an exchange's instance beside the store's primary."""
    before, just_then, meanwhile, after, back, *_ = VENUES
    async with failing_on(trio, connect, tmp_path) as it:
        log = it.telling.log
        await it.telling.started("ops", kinds=OUTAGES)
        await log.die(before)
        await log.die(back)
        await it.have_told(before, back)
        at_once = asyncio.create_task(log.die(just_then))
        await asyncio.sleep(random.uniform(0, 0.03))
        over = asyncio.create_task(it.fail(keys.notifier(), how))
        await at_once
        await log.die(meanwhile)
        await log.start(back, host="fra-2")
        await over
        await it.put_on_record(before, just_then, meanwhile)
        await log.die(after)
        await it.have_told(before, just_then, meanwhile, after)
        await log.start(before, host="fra-2")
        await it.says_the_truth(down={just_then, meanwhile, after})
        times = {venue.name: it.times_told(venue) for venue in VENUES}
        print(times)
        assert all(times[venue.name] == 1 for venue in (before, just_then, meanwhile, after, back)), times


async def test_what_a_failover_loses_is_not_told_again_by_the_notifier_that_told_it(
    trio: SentinelTrio, connect: Connect, tmp_path: Path
) -> None:
    """Replication lags: the new primary has neither the entry nor the memory of its having been told."""
    lost, later, *_ = VENUES
    async with failing_on(trio, connect, tmp_path) as it:
        await it.telling.started("ops", kinds=OUTAGES)
        with no_replication(trio):
            await it.telling.log.die(lost)
            await it.have_told(lost)
            await it.fail(keys.notifier(), "killed")
        await it.put_on_record(lost)
        await it.telling.log.die(later)
        await it.have_told(later)
        await it.says_the_truth(down={lost, later})
        assert it.times_told(lost) == 1


async def test_what_a_failover_loses_is_told_once_more_by_another_server(trio: SentinelTrio, tmp_path: Path) -> None:
    """A host goes down with the store's primary and the notifier on it: what only they knew is told again, no more."""
    async with AsyncExitStack() as running:
        store, patient = (kind(trio.url, timeout=TIMEOUT_S) for kind in (Store, PatientStore))
        running.push_async_callback(store.close)
        running.push_async_callback(patient.close)
        discord, log = running.enter_context(StandInProcess()), Log(patient)
        settings = {
            "DISCORD_WEBHOOK_URLS": discord.setting("ops"),
            "DISCORD_ANNOUNCE": "offline,recovered,promoted",
            "DATABASE_URL": f"sqlite:///{tmp_path / 'perseus.db'}",
        }
        servers = {
            host: running.enter_context(
                PerseusProcess(
                    "serve",
                    "--port",
                    "0",
                    data_dir=tmp_path / host,
                    store_url=trio.url,
                    hostname=host,
                    settings=settings,
                )
            )
            for host in ("web-1", "web-2")
        }

        def told(venue: Exchange) -> list[Posted]:
            return [each for each in discord.messages("ops") if venue.display_name in each.text]

        holder = await wait_until_async(lambda: notifier_on(store), description="there is a notifier", timeout=30)
        await log.add(KRAKEN, "promoted")
        await wait_until_async(lambda: told(KRAKEN), description="Kraken is told", timeout=20)
        await replicated(trio)
        with no_replication(trio):
            await log.die(BINANCE)
            await wait_until_async(lambda: told(BINANCE), description="Binance is told", timeout=20)
            trio.primary().kill()
            servers[str(holder)].kill9()
        await log.die(BINANCE)
        await log.die(COINBASE)
        await wait_until_async(lambda: told(COINBASE), description="Coinbase is told", timeout=30)
        await wait_until_async(lambda: len(told(BINANCE)) == 2, description="Binance is told again", timeout=20)
        assert len(told(KRAKEN)) == 1


def on_the_node_of(key: str, cluster: Cluster, *, is_on: bool) -> list[Exchange]:
    """The exchanges whose logs are on the node that serves this key, or those whose logs are not."""
    node = cluster.primary_of(key)
    return [venue for venue in VENUES if (cluster.primary_of(keys.log(venue.name)) is node) == is_on]


@pytest.mark.parametrize(
    ("whose", "how"), [("the notifier", "killed"), ("a log", "killed"), ("the notifier", "planned")]
)
async def test_outages_around_the_end_of_a_primary_are_all_told_and_told_once(
    cluster: Cluster, connect: Connect, tmp_path: Path, whose: str, how: str
) -> None:
    """The notifier's memory and the logs are on different nodes, and each can go alone."""
    key = keys.notifier()
    if whose == "a log":
        key = keys.log(on_the_node_of(key, cluster, is_on=False)[0].name)
    here = on_the_node_of(key, cluster, is_on=True)
    elsewhere = on_the_node_of(key, cluster, is_on=False)
    async with failing_on(cluster, connect, tmp_path) as it:
        log = it.telling.log
        await it.telling.started("ops", kinds=OUTAGES)
        await log.die(elsewhere[0])
        await it.have_told(elsewhere[0])
        at_once = [asyncio.create_task(log.die(venue)) for venue in (*here[:1], elsewhere[1])]
        await asyncio.sleep(random.uniform(0, 0.03))
        over = asyncio.create_task(it.fail(key, how))
        await asyncio.gather(over, *at_once, *(log.die(venue) for venue in (*here[1:], *elsewhere[2:])))
        await it.put_on_record(*here, *elsewhere)
        await it.have_told(*here, *elsewhere)
        await log.start(elsewhere[0], host="fra-2")
        await it.says_the_truth(down={*here, *elsewhere} - {elsewhere[0]})
        times = {venue.name: it.times_told(venue) for venue in VENUES}
        print(times)
        assert set(times.values()) == {1}, times


async def test_logs_that_are_away_for_long_silence_no_other_and_are_named(
    cluster: Cluster, connect: Connect, tmp_path: Path
) -> None:
    """A node and its replica are gone; a Cluster may go on without them, and so do alerts."""
    away = on_the_node_of(keys.notifier(), cluster, is_on=False)[0]
    key = keys.log(away.name)
    here = on_the_node_of(key, cluster, is_on=False)[0]
    with without_full_coverage(cluster):
        async with failing_on(cluster, connect, tmp_path) as it:
            await it.telling.started("ops", kinds=OUTAGES)
            for node in (cluster.replica_of(key), cluster.primary_of(key)):
                node.kill()
            await wait_until_async(lambda: trouble_of(it.telling.store, key), description="it is named", timeout=20)
            await it.telling.log.die(here)
            await it.have_told(here, within_s=5)
            cluster.repair()
            await it.telling.log.start(away, host="fra-2")
            await it.telling.log.die(away, host="fra-2")
            await it.have_told(away)
            await wait_until_async(partial(is_well, it.telling.store), description="all is well", timeout=20)


async def is_well(store: Store) -> bool:
    """Whether everyone is told that alerts are sent, and of no trouble."""
    view = (await alerting.read(store)).view()
    return (view.alerts, view.trouble) == ("sent", None)


async def trouble_of(store: Store, what: str) -> bool:
    """Whether everyone is told of this as a trouble."""
    health = (await alerting.read(store)).health
    return health is not None and what in (health.trouble or "")


@contextmanager
def without_full_coverage(cluster: Cluster) -> Iterator[None]:
    """The Cluster serves what it can although some slots are served by nobody."""
    for node in cluster.nodes:
        node.call("CONFIG", "SET", "cluster-require-full-coverage", "no")
    try:
        yield
    finally:
        cluster.repair()
        for node in cluster.nodes:
            node.call("CONFIG", "SET", "cluster-require-full-coverage", "yes")
