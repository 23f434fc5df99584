"""A primary dies, freezes or hands over, a slot moves: our process goes on by itself, and knows what was accepted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from perseus import keys
from perseus.errors import PerseusError, StoreRefused, StoreUnavailable
from perseus.store import Store, scripts
from tests.store.calls import ID, STATUS, claimed_epoch, renew
from tests.support.cluster import Cluster
from tests.support.sentinel import SentinelTrio
from tests.support.servers import Server
from tests.support.waiting import wait_until, wait_until_async

Connect = Callable[..., Store]
COMMANDS = keys.commands(ID)
TIMEOUT_S = 1.0
# docs/guarantees.md promises that it recovers, the bench says how soon: the servers notice a death within about 1 s and
# vote; then one attempt of ours that was under way must time out.
RECOVERED_WITHIN_S = 20.0


@dataclass
class Writer:
    """Writes rising numbers to one stream the whole time, by a script."""

    store: Store
    accepted: list[int] = field(default_factory=list)
    failed: list[PerseusError] = field(default_factory=list)

    async def write(self) -> None:
        """One number after another, for ever; a failed one is not written again."""
        number = 0
        while True:
            number += 1
            try:
                await self.store.run(scripts.APPEND, keys=[COMMANDS], args=[1_000_000, 3600, "n", number])
            except PerseusError as error:
                self.failed.append(error)
                await asyncio.sleep(0.02)  # a refused connection fails at once
            else:
                self.accepted.append(number)

    async def wait_for_more(self, count: int = 20) -> None:
        """Return when that many more writes have been accepted."""
        goal = len(self.accepted) + count
        await wait_until_async(
            lambda: len(self.accepted) >= goal, description="writes are accepted", timeout=RECOVERED_WITHIN_S
        )


@asynccontextmanager
async def writing(store: Store) -> AsyncIterator[Writer]:
    """A writer at work during the block."""
    writer = Writer(store)
    task = asyncio.create_task(writer.write())
    try:
        await writer.wait_for_more()
        yield writer
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def numbers(store: Store) -> list[int]:
    """What is in the stream, in its order."""
    return [int(entry.fields["n"]) for entry in reversed(await store.entries(COMMANDS, count=1_000_000))]


@pytest.fixture(params=["cluster", "trio"])
def deployment(request: pytest.FixtureRequest) -> Cluster | SentinelTrio:
    """A Cluster, then a trio behind Sentinels."""
    found: Cluster | SentinelTrio = request.getfixturevalue(request.param)
    return found


def primary_of(deployment: Cluster | SentinelTrio) -> Server:
    """The server that serves exchange 2 now."""
    return deployment.primary_of(STATUS) if isinstance(deployment, Cluster) else deployment.primary()


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_dead_or_frozen_primary_is_replaced_for_a_process_that_goes_on(
    deployment: Cluster | SentinelTrio, connect: Connect, fault: str
) -> None:
    """A client that keeps to a frozen primary would lose every lease although its replica serves."""
    async with writing(connect(deployment.url, timeout=TIMEOUT_S)) as writer:
        getattr(primary_of(deployment), fault)()
        await wait_until_async(lambda: writer.failed, description="the fault is felt")
        await writer.wait_for_more()
    assert {type(error) for error in writer.failed} <= {StoreUnavailable, StoreRefused}


async def test_caller_that_gives_up_first_finds_the_new_primary_too(
    deployment: Cluster | SentinelTrio, connect: Connect
) -> None:
    """A renewal has a bound of its own; a call it ends tells as much about the node as one that ran out of time."""
    store = connect(deployment.url, timeout=TIMEOUT_S)
    await claimed_epoch(store)
    primary_of(deployment).pause()

    async def is_answered() -> bool:
        with suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(TIMEOUT_S / 2):
                await store.get(STATUS)
                return True
        return False

    await wait_until_async(is_answered, description="it leaves the frozen primary", timeout=RECOVERED_WITHIN_S)


async def test_planned_failover_of_a_cluster_loses_no_accepted_write(cluster: Cluster, connect: Connect) -> None:
    """The old primary holds back its clients until its replica has everything, then sends them on."""
    store = connect(cluster.url, timeout=TIMEOUT_S)
    async with writing(store) as writer:
        await asyncio.to_thread(cluster.failover, STATUS)
        await writer.wait_for_more()
    assert set(writer.accepted) <= set(await numbers(store))
    assert {type(error) for error in writer.failed} <= {StoreUnavailable, StoreRefused}


async def test_slot_that_moves_loses_no_accepted_write(cluster: Cluster, connect: Connect) -> None:
    """While its keys are on two nodes each call goes to where the key is: MOVED, ASK and TRYAGAIN are no failures."""
    store = connect(cluster.url, timeout=TIMEOUT_S)
    await claimed_epoch(store)
    await renew(store)
    async with writing(store) as writer:
        source = cluster.primary_of(STATUS)
        target = next(node for node in cluster.primaries() if node is not source)
        await asyncio.to_thread(cluster.migrate_slot, STATUS, to=target)
        await writer.wait_for_more()
    assert cluster.primary_of(STATUS) is target
    assert writer.failed == []
    found = await numbers(store)
    assert found[: len(writer.accepted)] == writer.accepted
    assert len(found) <= len(writer.accepted) + 1  # the last may have been cut off on its way back
    assert (await renew(store, rev=3))[0] == b"RENEWED"


async def test_script_whose_keys_are_on_two_nodes_waits_for_the_move(cluster: Cluster, connect: Connect) -> None:
    """A renewal needs two keys; while one has moved and the other has not, no node can carry it out."""
    store = connect(cluster.url, timeout=TIMEOUT_S)
    await claimed_epoch(store)
    await renew(store)
    source = cluster.primary_of(STATUS)
    target = next(node for node in cluster.primaries() if node is not source)
    loop, renewals = asyncio.get_running_loop(), []

    def renew_and_wait_for_refusal() -> None:
        renewals.append(asyncio.run_coroutine_threadsafe(renew(store, rev=3), loop))
        wait_until(
            lambda: any(b"errorstat_TRYAGAIN" in node.call("INFO", "errorstats") for node in (source, target)),
            description="a node has said TRYAGAIN",
        )

    for node in (source, target):
        node.call("CONFIG", "RESETSTAT")
    await asyncio.to_thread(cluster.migrate_slot, STATUS, to=target, halfway=renew_and_wait_for_refusal)
    assert (await asyncio.wrap_future(renewals[0]))[0] == b"RENEWED"


async def test_dead_primary_hides_only_its_own_exchanges(cluster: Cluster, connect: Connect) -> None:
    """One snapshot of all: what the living nodes serve is read, and the rest says that it could not be."""
    store = connect(cluster.url, timeout=TIMEOUT_S)
    slots = {cluster.primary_of(keys.status(each)).port: each for each in range(1, 30)}
    dead, alive, *_ = slots.values()
    cluster.call("SET", keys.status(alive), "{}", "EX", 45)
    await store.get(keys.status(alive))
    cluster.primary_of(keys.status(dead)).kill()
    clock, absent, time_there, value = await store.pipeline(
        ["TIME"], ["GET", keys.status(dead)], ["TIME"], ["GET", keys.status(alive)]
    )
    assert isinstance(clock, StoreUnavailable)
    assert isinstance(absent, StoreUnavailable)
    assert (int(time_there[0]) > 0, value) == (True, b"{}")
