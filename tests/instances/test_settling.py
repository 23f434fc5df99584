"""When a free exchange may be claimed: never while the lease before may still run, and at once where it cannot.

The claimer's own clock stands still until a test lets time pass, so that waiting costs nothing; the store's is real.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from perseus.clock import StoreTime
from perseus.errors import ExchangeClaimed, ExchangeSettling, StoreUnavailable, UnreadableKey
from perseus.instances.lockfile import LockFile
from perseus.lease import Claimed, Claimer, encode_status
from perseus.store import Store
from tests.support.clocks import ManualClock
from tests.support.instances import (
    BINANCE,
    EPOCH,
    LAST,
    STATUS,
    TIMING,
    holding,
    leave_behind,
    payload,
    setup_at,
    status_in,
    take_over,
)
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until, wait_until_async

StartServer = Callable[..., Server]
Connect = Callable[..., Store]
FAR_US = 3_000_000_000_000_000  # an epoch of the year 2065
LIMIT = 9_007_199_254_740_000


class Candidate:
    """A claimer of another host, whose clock is the test's."""

    def __init__(self, store: Store) -> None:
        self.clock = ManualClock(wall_ms=time.time_ns() // 1_000_000)
        self.claimer = Claimer(
            store, clock=self.clock, store_time=StoreTime(self.clock), exchange=BINANCE, instance_id="candidate"
        )

    async def claim(self, *, must_settle: bool = False) -> Claimed:
        """One attempt, a claim of its own."""
        status = payload(instance_id="candidate", epoch=0, claim_id=uuid.uuid4().hex, rev=0)
        return await self.claimer.claim(status, timing=TIMING, must_settle=must_settle)

    async def wait_ms(self, *, must_settle: bool = False) -> int:
        """For how long it must wait, as it is told now."""
        with pytest.raises(ExchangeSettling) as caught:
            await self.claim(must_settle=must_settle)
        return caught.value.wait_ms


@pytest.fixture
def candidate(store: Store) -> Candidate:
    """One that has seen nothing yet."""
    return Candidate(store)


# -- the lease that `last` tells of -----------------------------------------------------------------------------------


async def test_exchange_nobody_ever_served_is_claimed_at_once(candidate: Candidate) -> None:
    """There is nothing to wait for."""
    claimed = await candidate.claim()
    assert claimed.before is None


async def test_lease_that_may_still_run_is_waited_for(valkey: Server, candidate: Candidate) -> None:
    """The key vanished before it could have expired: its holder still believes in it for the rest of its TTL."""
    leave_behind(valkey, payload(age_s=2.0, ttl_s=3))
    assert 0 < await candidate.wait_ms() <= 1000
    leave_behind(valkey, payload(age_s=5.0, ttl_s=30))
    assert 24_000 < await candidate.wait_ms() <= 25_000, "what counts is the holder's TTL, not the claimer's"
    assert status_in(valkey) is None
    leave_behind(valkey, payload(age_s=3.1, ttl_s=3))
    claimed = await candidate.claim()
    assert claimed.before is not None
    assert claimed.before.instance_id == "other"


async def test_other_programs_snapshot_without_ttl_counts_for_45_s(valkey: Server, candidate: Candidate) -> None:
    """Other programs of the network write only the required fields, and theirs is a lease all the same."""
    leave_behind(valkey, payload(age_s=40.0, ttl_ms=None))
    assert 4_000 < await candidate.wait_ms() <= 5_000


async def test_released_exchange_is_claimed_at_once(valkey: Server, candidate: Candidate) -> None:
    """A handover by hand must not cost a TTL."""
    leave_behind(valkey, payload(age_s=0.0, released_at="2026-11-22T00:00:00.000Z"))
    await candidate.claim()


async def test_release_of_an_older_tenure_frees_nothing(valkey: Server, candidate: Candidate) -> None:
    """A store that went back in time tells of a release before the lease that was seen running."""
    take_over(valkey, payload(epoch=10), ttl_ms=2_000)
    with pytest.raises(ExchangeClaimed):
        await candidate.claim()
    valkey.call("DEL", STATUS)
    leave_behind(valkey, payload(epoch=9, released_at="2026-11-22T00:00:00.000Z"))
    assert 1_000 < await candidate.wait_ms() <= 2_000
    leave_behind(valkey, payload(epoch=10, released_at="2026-11-22T00:00:00.000Z"))
    await candidate.claim()


async def test_lease_that_was_seen_is_waited_for_on_the_claimers_own_clock(
    valkey: Server, candidate: Candidate
) -> None:
    """Expiry in the store is wall time: stepped ahead, it frees the key while the holder still emits."""
    take_over(valkey, payload(), ttl_ms=30_000)
    with pytest.raises(ExchangeClaimed) as caught:
        await candidate.claim()
    assert caught.value.ttl_ms is not None
    assert 29_000 < caught.value.ttl_ms <= 30_000
    valkey.call("DEL", STATUS)  # what a step of its clock does
    assert 29_000 < await candidate.wait_ms() <= 30_000
    candidate.clock.advance(29.0)
    assert 0 < await candidate.wait_ms() <= 1_000
    candidate.clock.advance(1.1)
    await candidate.claim()


@pytest.mark.parametrize("heartbeat", ["soon", "", "2026-02-10T14:02:11", None])
async def test_heartbeat_that_tells_no_age_costs_one_ttl(
    valkey: Server, candidate: Candidate, heartbeat: str | None
) -> None:
    """Unreadable, or (None) ahead of a store clock that was stepped back: waiting for ever would serve nobody."""
    status = payload(age_s=-86_400, ttl_s=3) if heartbeat is None else payload(last_heartbeat=heartbeat)
    leave_behind(valkey, status)
    assert 2_900 < await candidate.wait_ms() <= 3_000
    candidate.clock.advance(2.0)
    assert 900 < await candidate.wait_ms() <= 1_000
    candidate.clock.advance(1.1)
    await candidate.claim()


async def test_new_heartbeat_from_the_future_begins_the_wait_anew(valkey: Server, candidate: Candidate) -> None:
    """It was renewed meanwhile: another tenure runs now, whatever the clocks say."""
    leave_behind(valkey, payload(age_s=-86_400))
    await candidate.wait_ms()
    candidate.clock.advance(2.9)
    leave_behind(valkey, payload(age_s=-86_401, epoch=2))
    assert 2_900 < await candidate.wait_ms() <= 3_000


# -- a server that may have lost a lease ------------------------------------------------------------------------------


async def test_server_just_started_may_have_lost_a_lease(start_server: StartServer, connect: Connect) -> None:
    """Restarted empty it remembers no holder, who may go on for a TTL."""
    server = start_server()
    candidate = Candidate(connect(server.url))
    assert 3_000 <= await candidate.wait_ms(must_settle=True) <= 4_000
    await candidate.claim(must_settle=False)


async def test_longest_ttl_known_decides_how_long_a_server_must_be_up(valkey: Server, candidate: Candidate) -> None:
    """A claimer with a short TTL must not overtake a holder with a long one."""
    leave_behind(valkey, payload(ttl_s=90_000, age_s=90_001))
    assert await candidate.wait_ms(must_settle=True) > 3_600_000


@pytest.mark.parametrize("ttl_ms", [10**12, 10**400], ids=["31 years", "400 digits"])
async def test_absurd_ttl_of_another_program_does_not_bar_the_exchange(
    valkey: Server, candidate: Candidate, ttl_ms: int
) -> None:
    """Any program of the network can write it: nobody waits longer than a day for it, and nothing breaks."""
    leave_behind(valkey, msgspec.structs.replace(payload(age_s=10), ttl_ms=ttl_ms))
    for must_settle in (True, False):
        assert 45_000 < await candidate.wait_ms(must_settle=must_settle) <= 86_401_000
    leave_behind(valkey, msgspec.structs.replace(payload(age_s=86_401), ttl_ms=ttl_ms))
    await candidate.claim()


async def test_server_that_does_not_tell_its_uptime_is_watched_for_a_ttl_and_a_second(
    start_server: StartServer, connect: Connect
) -> None:
    """INFO is often denied: not knowing means waiting once, not for ever; a lost connection may have been a restart."""
    server = start_server(acl=["narrow on >secret ~* &* +@all -info -config"])
    with FaultProxy(server.url_for("narrow", "secret")) as network:
        candidate = Candidate(connect(network.url, timeout=0.5))
        assert await candidate.wait_ms(must_settle=True) == 4_000
        candidate.clock.advance(3.9)
        await candidate.wait_ms(must_settle=True)
        network.lose_replies(1, to=EPOCH.encode())
        with pytest.raises(Exception, match="store"):
            await candidate.claim(must_settle=True)
        candidate.clock.advance(0.2)
        await candidate.wait_ms(must_settle=True)
        candidate.clock.advance(4.1)
        await candidate.claim(must_settle=True)


async def test_server_that_was_away_when_it_was_looked_at_is_watched_anew(
    start_server: StartServer, connect: Connect
) -> None:
    """A restart is met by the look before the claim more often than by the claim itself."""
    server = start_server(acl=["narrow on >secret ~* &* +@all -info -config"])
    candidate = Candidate(connect(server.url_for("narrow", "secret"), timeout=0.5))
    await candidate.wait_ms(must_settle=True)
    candidate.clock.advance(3.9)
    server.kill()
    with pytest.raises(StoreUnavailable):
        await candidate.claim(must_settle=True)
    server.start()
    candidate.clock.advance(0.2)
    assert await candidate.wait_ms(must_settle=True) == 4_000


async def test_instance_starts_on_a_store_that_denies_info(start_server: StartServer, data_dir: Path) -> None:
    """The whole way, on the real clock: managed stores hide INFO and CONFIG, and must be usable."""
    server = start_server(acl=["narrow on >secret ~* &* +@all -info -config"])
    began = time.monotonic()
    async with asyncio.timeout(15), holding(setup_at(server.url_for("narrow", "secret"), data_dir)) as me:
        assert me.holds
        assert time.monotonic() - began >= 4.0


# -- moments in between -----------------------------------------------------------------------------------------------


async def test_lease_that_expires_while_it_is_looked_at_is_over(valkey: Server, connect: Connect) -> None:
    """Value and TTL are two reads: "expires in 0 s unless renewed" would send the claimer away from a free exchange."""
    for _ in range(5):
        with FaultProxy(valkey.url) as network:
            store = connect(network.url, timeout=10.0)
            await store.time_ms()
            leave_behind(valkey, payload(age_s=10.0))
            take_over(valkey, payload(age_s=10.0), ttl_ms=400)
            valkey.call("CONFIG", "RESETSTAT")
            network.requests.trickle = 0.005  # byte by byte: GET is through after some 0.3 s, PTTL 0.2 s later
            claiming = asyncio.create_task(Candidate(store).claim())
            await wait_until_async(lambda: not valkey.call("EXISTS", STATUS), description="the lease is over")
            was_read = b"cmdstat_get:" in valkey.call("INFO", "commandstats")
            network.requests.trickle = 0.0
            assert (await claiming).lease.epoch > 1
        if was_read:
            return
        valkey.call("FLUSHALL")
    pytest.fail("the value was never read before its expiry: the test's own timing is off")


async def test_two_claims_of_one_process_are_one_tenure_each(valkey: Server, candidate: Candidate) -> None:
    """Its own value may be replaced (the reply of an earlier claim was lost), and only by a higher epoch."""
    first = await candidate.claim()
    second = await candidate.claim()
    assert second.lease.epoch > first.lease.epoch
    assert second.lease.claim_id != first.lease.claim_id
    status = status_in(valkey)
    assert status is not None
    assert status.claim_id == second.lease.claim_id


# -- epochs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("absurd", [1_790_000_000_000_000_000, -5])
async def test_absurd_epoch_of_another_program_is_no_floor(valkey: Server, candidate: Candidate, absurd: int) -> None:
    """An epoch in nanoseconds passes 2^53: taken over, it would shut everybody out for ever."""
    take_over(valkey, payload(epoch=absurd), ttl_ms=1_000)
    with pytest.raises(ExchangeClaimed):
        await candidate.claim()
    candidate.clock.advance(2.0)
    valkey.call("DEL", STATUS)
    claimed = await candidate.claim()
    assert 0 < claimed.lease.epoch < LIMIT
    assert int(valkey.call("GET", EPOCH)) == claimed.lease.epoch


async def test_epoch_rises_above_the_one_before_a_store_was_emptied(valkey: Server, candidate: Candidate) -> None:
    """The store forgot it, its writes may still be on their way."""
    valkey.call("SET", EPOCH, FAR_US)  # else the server's clock hides what is tested
    first = await candidate.claim()
    assert first.lease.epoch == FAR_US + 1
    valkey.call("FLUSHALL")
    second = await candidate.claim()
    assert second.lease.epoch > first.lease.epoch


@pytest.mark.parametrize("where", ["last", "status"])
async def test_epoch_rises_above_every_one_that_was_seen(valkey: Server, candidate: Candidate, where: str) -> None:
    """The epoch key may have been lost alone."""
    if where == "last":
        leave_behind(valkey, payload(epoch=FAR_US, age_s=10))
    else:
        take_over(valkey, payload(epoch=FAR_US), ttl_ms=1)
        candidate.claimer.saw_holder(encode_status(payload(epoch=FAR_US)))
        wait_until(lambda: status_in(valkey) is None, description="the lease is over")
    assert (await candidate.claim()).lease.epoch > FAR_US


async def test_epoch_rises_above_what_the_lock_file_remembers(valkey: Server, data_dir: Path) -> None:
    """A process started again after the store was emptied knows its predecessor's epoch from this host's disk."""
    with LockFile(data_dir, BINANCE.id) as file:
        file.remember(FAR_US, holder="i1")
        file.remember(5, holder="i2")
        assert file.known_epoch() == FAR_US
    async with holding(setup_at(valkey.url, data_dir)) as me:
        first = me.epoch
    assert first > FAR_US
    valkey.call("FLUSHALL")
    async with holding(setup_at(valkey.url, data_dir)) as me:
        assert me.epoch > first


@pytest.mark.parametrize("content", ["", "no number", "-3", "1" * 40, "\0\xff"])
async def test_spoilt_lock_file_is_no_obstacle(valkey: Server, data_dir: Path, content: str) -> None:
    """It is a floor, not a source of truth: a disk that was full must not keep the exchange unserved."""
    (data_dir / "locks").mkdir()
    (data_dir / "locks" / str(BINANCE.id)).write_bytes(content.encode("latin-1"))
    async with holding(setup_at(valkey.url, data_dir)) as me:
        assert 0 < me.epoch < LIMIT


async def test_second_process_of_a_host_is_refused_like_any_other(valkey: Server, data_dir: Path) -> None:
    """The lock file decides nothing about another's lease: the message has to name its holder."""
    async with holding(setup_at(valkey.url, data_dir, hostname="host-b")) as me:
        with pytest.raises(ExchangeClaimed, match="host-b"):
            async with holding(setup_at(valkey.url, data_dir)):
                pass
        assert me.holds


@pytest.mark.foreign_keys
async def test_unreadable_snapshot_stops_the_claim_and_is_left_alone(valkey: Server, candidate: Candidate) -> None:
    """It may belong to somebody: a person has to look, and is told where."""
    valkey.call("SET", LAST, "not JSON")
    with pytest.raises(UnreadableKey, match=":last"):
        await candidate.claim()
    assert valkey.call("GET", LAST) == b"not JSON"
    assert status_in(valkey) is None


async def test_longer_lease_of_the_tenure_before_is_kept_in_mind_over_a_restart(
    start_server: StartServer, connect: Connect
) -> None:
    """Restarted with old data the server may have lost the last heartbeats of a lease of half a minute."""
    server = start_server()
    leave_behind(server, payload(ttl_s=30, age_s=31, released_at="2026-11-22T00:00:00.000Z"))
    assert 29_000 < await Candidate(connect(server.url)).wait_ms(must_settle=True) <= 31_000


# -- a store that shows the past --------------------------------------------------------------------------------------


async def test_holder_from_before_our_own_tenure_is_waited_for(valkey: Server, candidate: Candidate) -> None:
    """The store came back with old data: that lease is over, or a failover let another begin beside ours."""
    valkey.call("SET", EPOCH, FAR_US)
    ours = await candidate.claim()
    take_over(valkey, payload(epoch=ours.lease.epoch - 5, ttl_s=3), ttl_ms=2_000)
    assert 1_000 < await candidate.wait_ms() <= 2_000
    assert 0 < await candidate.wait_ms() <= 2_000, "nothing has changed"
    valkey.call("DEL", STATUS)
    candidate.clock.advance(2.1)
    assert (await candidate.claim()).lease.epoch > ours.lease.epoch


async def test_claim_that_is_not_renewed_succeeds_nobody(valkey: Server, candidate: Candidate) -> None:
    """It may be given back for want of replicas; whoever held before must not end for it, or nobody serves."""
    ours = await candidate.claim()
    claimed = payload(epoch=ours.lease.epoch + 5, rev=0)
    take_over(valkey, claimed, ttl_ms=2_000)
    assert 1_000 < await candidate.wait_ms() <= 2_000
    take_over(valkey, payload(epoch=ours.lease.epoch + 5, rev=1, claim_id=claimed.claim_id), ttl_ms=2_000)
    with pytest.raises(ExchangeClaimed):
        await candidate.claim()


async def test_holder_from_before_our_own_tenure_that_renews_is_alive(valkey: Server, candidate: Candidate) -> None:
    """To take its exchange away would be to have two."""
    valkey.call("SET", EPOCH, FAR_US)
    ours = await candidate.claim()
    older = payload(epoch=ours.lease.epoch - 5, rev=3)
    take_over(valkey, older, ttl_ms=2_000)
    await candidate.wait_ms()
    take_over(valkey, payload(epoch=ours.lease.epoch - 5, rev=4, claim_id=older.claim_id), ttl_ms=2_000)
    with pytest.raises(ExchangeClaimed):
        await candidate.claim()
