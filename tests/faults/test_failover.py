"""A replica takes over without the primary's last writes: who held goes on or gives way, nobody serves beside it.

A proxy stands for the address that clients know, and another for the link between the servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.faults.test_store_away import comes_back
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.trials import INTERVAL_S, TTL_S, Trial

Repeat = Callable[..., Awaitable[None]]
LONG_TTL_S = 6  # a lease that the replica shows outlasts what is done in between
ATTEMPTS_S = 2.0  # a retry, an attempt, a start and a warm-up
HANDOVER_S = 4  # for which an old primary may go on in a planned failover
SETTLED_S = TTL_S + 1 + HANDOVER_S + ATTEMPTS_S  # what a server that took over is given, in whole seconds


@asynccontextmanager
async def replica_of(trial: Trial, primary: Server) -> AsyncIterator[tuple[Server, FaultProxy]]:
    """A server, up for a while, that has all of the primary's data; and the link by which it gets more."""
    replica = trial.spare()
    with FaultProxy(primary.url) as link:
        primary.call("CONFIG", "SET", "repl-diskless-sync-delay", 0)
        replica.call("REPLICAOF", "127.0.0.1", link.port)
        await trial.until(lambda: in_sync(replica), description="the replica is in sync")
        yield replica, link


def in_sync(replica: Server) -> bool:
    """Whether the replica follows its primary."""
    return b"master_link_status:up" in replica.call("INFO", "replication")


async def fail_over(trial: Trial, replica: Server) -> None:
    """Kill the primary; the replica takes its place and its address."""
    trial.server.kill()
    replica.call("REPLICAOF", "NO", "ONE")
    trial.proxy.lead_to(replica.url)
    await trial.look_at(replica)


async def last_writes_lost(trial: Trial) -> None:
    """The exchange changes hands after the link froze: what took over knows the former holder only."""
    trial.keeps_data = False
    await trial.settled(LONG_TTL_S)
    async with replica_of(trial, trial.server) as (replica, link):
        first = trial.feed("host-a", through_proxy=True, ttl_s=LONG_TTL_S)
        older = await trial.emitting(first)
        link.replies.dropping = True
        await trial.terminate(first)
        second = trial.feed("host-b", "--watch", through_proxy=True, ttl_s=LONG_TTL_S)
        old = await trial.emitting(second)
        await asyncio.sleep(trial.pause_s(0.5))
        await fail_over(trial, replica)
        # the rest of the lease that is shown, then the wait after a failover, which begins with the first claim
        trial.fault_is_over(within_s=LONG_TTL_S + LONG_TTL_S + 1 + HANDOVER_S + ATTEMPTS_S)
        assert replica.call("GET", "exchange:2:status"), "the lease of before is over already"
        newcomer = trial.feed("host-c", through_proxy=True, ttl_s=LONG_TTL_S)
        assert "host-a" in await trial.ended(newcomer, 3)
        await comes_back(trial, second, old)
        assert trial.entries("lease_lost") == []
        assert trial.status()["epoch"] > old["epoch"] > older["epoch"]
        await trial.terminate(second)


async def test_holder_whose_claim_was_lost_in_a_failover_goes_on(repeat: Repeat) -> None:
    """Nobody has taken over from it: what the new primary shows is its predecessor."""
    await repeat(last_writes_lost, own_server={})


async def forgotten_by_the_new_primary(trial: Trial) -> None:
    """The new primary never heard of the holder; a newcomer claims in the same moment."""
    trial.keeps_data = False
    async with replica_of(trial, trial.server) as (replica, link):
        link.replies.dropping = True
        first = trial.feed("host-a", "--watch", through_proxy=True)
        old = await trial.emitting(first)
        await asyncio.sleep(trial.pause_s())
        await fail_over(trial, replica)
        trial.fault_is_over(within_s=ATTEMPTS_S)
        newcomer = trial.feed("host-b")
        await comes_back(trial, first, old)
        assert "host-a" in await trial.ended(newcomer, 3)
        await trial.terminate(first)


async def test_holder_unknown_to_the_new_primary_claims_again_before_anyone_else(repeat: Repeat) -> None:
    """Its own deadline is ahead, so nobody can have succeeded it: it alone need not wait."""
    await repeat(forgotten_by_the_new_primary, own_server={})


async def cut_off_and_forgotten(trial: Trial) -> None:
    """The holder is cut off as well, and goes on until its deadline; a newcomer claims on the new primary."""
    trial.keeps_data = False
    async with replica_of(trial, trial.server) as (replica, link):
        link.replies.dropping = True
        first = trial.feed("host-a", "--watch", through_proxy=True)
        old = await trial.emitting(first)
        rev = trial.status()["rev"]
        await trial.until(lambda: trial.status()["rev"] > rev, description="it has just renewed")
        trial.proxy.requests.dropping = trial.proxy.replies.dropping = True
        await fail_over(trial, replica)
        trial.fault_is_over(within_s=SETTLED_S)
        second = trial.feed("host-b")
        new = await trial.emitting(second)
        assert new["epoch"] > old["epoch"], "the clock alone must keep epochs rising"
        await trial.until(lambda: "lease_lost" in first.output, description="the holder has stopped by itself")
        trial.proxy.requests.dropping = trial.proxy.replies.dropping = False
        assert "host-b" in await trial.ended(first, 4)
        await trial.terminate(second)


async def test_newcomer_waits_for_a_lease_that_a_failover_lost(repeat: Repeat) -> None:
    """The new primary has been up for long: its uptime tells nothing of what it missed."""
    await repeat(cut_off_and_forgotten, own_server={})


async def confirmed_by_a_replica(trial: Trial) -> None:
    """With a replica waited for, nothing confirmed is lost: the tenure goes on over the failover."""
    async with replica_of(trial, trial.server) as (replica, _link):
        feed = trial.feed("host-a", through_proxy=True, replicas=1)
        old = await trial.emitting(feed)
        await asyncio.sleep(trial.pause_s())
        trial.keeps_data = False  # of the data nobody waits for
        await fail_over(trial, replica)
        trial.fault_is_over(within_s=ATTEMPTS_S)
        async with replica_of(trial, replica):
            await trial.emitting(feed)
            rev = trial.status()["rev"]
            await trial.until(lambda: trial.status()["rev"] > rev + TTL_S, description="it renews")
            assert trial.status()["claimId"] == old["claimId"], "a confirmed lease was lost"
            await trial.terminate(feed)


async def test_confirmed_lease_survives_a_failover(repeat: Repeat) -> None:
    """That is what waiting for a replica buys."""
    await repeat(confirmed_by_a_replica, own_server={})


async def replica_frozen(trial: Trial) -> None:
    """Freeze the only replica: the primary does everything, and nobody confirms it."""
    async with replica_of(trial, trial.server) as (replica, _link):
        feed = trial.feed("host-a", "--watch", replicas=1)
        old = await trial.emitting(feed)
        await asyncio.sleep(trial.pause_s())
        replica.pause()
        frozen_at = trial.clock.now()
        await trial.until(lambda: "lease_lost" in feed.output, description="it stops", timeout=TTL_S + INTERVAL_S)
        await refused_for_want_of_replicas(trial)
        await trial.until(lambda: trial.status() == {}, description="its claims are given back", timeout=5)
        replica.resume()
        # it may have seen the newcomer's claim, and waits for the end of what it has seen
        trial.fault_is_over(within_s=TTL_S + ATTEMPTS_S)
        held = [each["at"] for each in feed.recorded("held") if each["epoch"] == old["epoch"]]
        assert max(held) < frozen_at + TTL_S, "it went on on a lease that a failover could lose"
        await comes_back(trial, feed, old)
        await trial.terminate(feed)


async def refused_for_want_of_replicas(trial: Trial) -> None:
    """A newcomer that waits for a replica gets none, and leaves nothing behind."""
    newcomer = trial.feed("host-b", replicas=1)
    await trial.until(lambda: not newcomer.is_running, description="the newcomer gives up", timeout=10)
    assert newcomer.process.returncode in (2, 3), newcomer.output
    assert newcomer.recorded("claim") == []


async def test_unconfirmed_lease_is_no_lease(repeat: Repeat) -> None:
    """A failover could lose it, so it stops at its deadline, and what it claims meanwhile it gives back."""
    await repeat(replica_frozen, own_server={})
