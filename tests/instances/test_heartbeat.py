"""The heartbeat on a real store: renews while it may, counts from sending, and ends a tenure for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest

from perseus.clock import StoreTime, SystemClock
from perseus.errors import LeaseLost
from perseus.instances.fence import Fence
from perseus.instances.heartbeat import Heartbeat
from perseus.instances.identity import Identity, fresh_status
from perseus.lease import Claimer, Lease
from perseus.model import ConnectionState, InstanceStatus
from perseus.store import Store
from perseus.timing import LeaseTiming
from tests.support.instances import BINANCE, LAST, STATUS
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

TIMING = LeaseTiming(0.5, 3)
StartServer = Callable[..., Server]


class MomentOfConfirmation(Fence):
    """Lets something happen when a renewal was confirmed, just before the deadline is moved."""

    then: Callable[[], object] = staticmethod(lambda: None)

    def move(self, lease: Lease) -> None:
        """That is now."""
        super().move(lease)
        self.then()


class Tenure:
    """A claimed lease and its heartbeat; as its own witness it writes down what it is told."""

    def __init__(self, store: Store, lease: Lease, status: InstanceStatus) -> None:
        self.clock = SystemClock()
        self.status = status
        self.lease = lease
        self.ticks = True
        self.last_tick = self.clock.now()
        self.told: list[str] = []
        self.lost: LeaseLost | None = None
        self.deadline_when_told: float | None = None
        self.fence = MomentOfConfirmation()
        self.heartbeat = Heartbeat(
            store=store,
            clock=self.clock,
            store_time=StoreTime(self.clock),
            lease=lease,
            snapshot=lambda: self.status,
            last_tick=self.tick,
            loop=asyncio.get_running_loop(),
            witness=self,
            fence=self.fence,
        )

    def tick(self) -> float:
        """When the feed's loop last ran: now, unless it hangs."""
        if self.ticks:
            self.last_tick = self.clock.now()
        return self.last_tick

    def lease_ended(self, _ended: Lease, lost: LeaseLost) -> None:
        """The end, and what the deadline said at that moment."""
        self.lost, self.deadline_when_told = lost, self.heartbeat.soft_deadline

    def renewal_failed(self, _error: Exception) -> None:
        """An episode of failures began."""
        self.told.append("failed")

    def renewal_recovered(self) -> None:
        """It is over."""
        self.told.append("recovered")

    def loop_blocked(self, _for_s: float) -> None:
        """The feed hangs."""
        self.told.append("blocked")

    async def renewed(self, *, times: int = 1) -> None:
        """Wait until the deadline has moved this often."""
        for _ in range(times):
            await wait_until_async(partial(self._has_moved, self.heartbeat.soft_deadline), description="it is renewed")

    def _has_moved(self, before: float) -> bool:
        return self.heartbeat.soft_deadline > before


@asynccontextmanager
async def tenure(url: str, data_dir: Path, timing: LeaseTiming = TIMING) -> AsyncIterator[Tenure]:
    """A tenure whose heartbeat runs until the block ends."""
    clock, store = SystemClock(), Store(url, timeout=1)
    claimer = Claimer(store, clock=clock, store_time=StoreTime(clock), exchange=BINANCE, instance_id="i1")
    status = fresh_status(BINANCE, Identity(instance_id="i1"), timing, now="2026-02-10T14:02:11.000Z")
    status = msgspec.structs.replace(status, claim_id="c1")
    claimed = await claimer.claim(status, timing=timing, must_settle=False)
    it = Tenure(store, claimed.lease, status)
    running = asyncio.create_task(it.heartbeat.run())
    try:
        yield it
    finally:
        running.cancel()
        await asyncio.wait({running})
        await store.close()


def in_store(server: Server, key: str) -> InstanceStatus:
    """The payload at a key."""
    return msgspec.json.decode(server.call("GET", key), type=InstanceStatus)


async def test_renewal_moves_the_deadline_and_publishes(valkey: Server, data_dir: Path) -> None:
    """HB-01: status and `last` hold the same snapshot, each `rev` higher than the one before."""
    async with tenure(valkey.url, data_dir) as it:
        await it.renewed(times=3)
        first = in_store(valkey, STATUS)
        assert first.rev is not None
        assert first.rev >= 3
        assert first.epoch == it.lease.epoch
        assert valkey.call("GET", STATUS) == valkey.call("GET", LAST)
        now = it.clock.now()
        assert it.heartbeat.soft_deadline <= now + TIMING.ttl_s - TIMING.margin_s
        assert 0 < valkey.call("PTTL", STATUS) <= TIMING.ttl_s * 1000
        await it.renewed()
        assert (in_store(valkey, STATUS).rev or 0) > first.rev
    assert it.told == []


async def test_published_change_is_in_the_store_when_its_future_is_done(valkey: Server, data_dir: Path) -> None:
    """A transition is confirmed by a renewal composed after it, not by one under way."""
    async with tenure(valkey.url, data_dir, LeaseTiming(15, 45)) as it:
        await it.renewed()
        for state in (ConnectionState.STARTING, ConnectionState.WARMING, ConnectionState.ACTIVE):
            it.status = msgspec.structs.replace(it.status, connection_state=state)
            await asyncio.wait_for(asyncio.wrap_future(it.heartbeat.publish()), 2)
            assert in_store(valkey, STATUS).connection_state is state


async def test_failures_leave_the_deadline_and_are_told_once(valkey: Server, proxy: FaultProxy, data_dir: Path) -> None:
    """HB-02: nothing was confirmed, so nothing is extended; and a person wants one line an episode."""
    async with tenure(proxy.url, data_dir) as it:
        await it.renewed()
        proxy.refuse()
        proxy.reset()
        await wait_until_async(lambda: it.told == ["failed"], description="the failure is told")
        deadline = it.heartbeat.soft_deadline
        published = it.heartbeat.publish()
        await asyncio.sleep(3 * TIMING.retry_s)
        assert it.heartbeat.soft_deadline == deadline
        assert it.heartbeat.is_failing
        assert not published.done()
        proxy.accept()
        await it.renewed()
        await asyncio.wait_for(asyncio.wrap_future(published), 2)
        assert it.told == ["failed", "recovered"]


async def test_deadline_ends_the_tenure_when_nothing_is_confirmed(
    valkey: Server, proxy: FaultProxy, data_dir: Path
) -> None:
    """HB-03: work stops before the store can let the lease expire, whatever else is going on."""
    async with tenure(proxy.url, data_dir) as it:
        await it.renewed()
        proxy.replies.dropping = True
        deadline = it.heartbeat.soft_deadline
        await wait_until_async(lambda: it.lost, description="the tenure is over")
        late_s = it.clock.now() - deadline
        assert it.lost is not None
        assert it.lost.reason == "expired"
        assert 0 <= late_s < 0.3
        assert it.heartbeat.soft_deadline == float("-inf")


async def test_error_replies_confirm_nothing(start_server: StartServer, data_dir: Path) -> None:
    """A store out of memory answers, but it has renewed nothing."""
    server = start_server()
    async with tenure(server.url, data_dir) as it:
        await it.renewed()
        server.call("CONFIG", "SET", "maxmemory", "1")
        await wait_until_async(lambda: it.told == ["failed"], description="the refusal is told")
        deadline = it.heartbeat.soft_deadline
        await asyncio.sleep(3 * TIMING.retry_s)
        assert it.heartbeat.soft_deadline == deadline
        server.call("CONFIG", "SET", "maxmemory", "0")
        await it.renewed()


async def test_tenure_ended_while_a_renewal_is_confirmed_stays_ended(valkey: Server, data_dir: Path) -> None:
    """The feed's thread may end it at any moment: else a hung instance would be renewed for, its fence with it."""
    async with tenure(valkey.url, data_dir) as it:
        await it.renewed()
        it.fence.then = it.heartbeat.abandon
        await wait_until_async(lambda: it.lost, description="the tenure is over")
        assert it.heartbeat.soft_deadline == float("-inf")


@pytest.mark.parametrize(
    ("found", "reason"), [(b'{"claimId":"c2","instanceId":"i2"}', "taken"), (None, "missing")], ids=["taken", "missing"]
)
async def test_loss_is_final_before_anyone_is_told(
    valkey: Server, data_dir: Path, found: bytes | None, reason: str
) -> None:
    """Emission stops before anything else, and nothing of ours is written again."""
    async with tenure(valkey.url, data_dir) as it:
        await it.renewed()
        if found is None:
            valkey.call("DEL", STATUS)
        else:
            valkey.call("SET", STATUS, found, "EX", 60)
        await wait_until_async(lambda: it.lost, description="the tenure is over")
        assert it.lost is not None
        assert (it.lost.reason, it.lost.holder) == (reason, found)
        assert it.deadline_when_told == float("-inf")
        late: Future[None] = it.heartbeat.publish()
        with pytest.raises(LeaseLost):
            await asyncio.wait_for(asyncio.wrap_future(late), 2)
        assert valkey.call("GET", STATUS) == found


async def test_hung_feed_is_not_renewed_for(valkey: Server, data_dir: Path) -> None:
    """A process that does nothing must lose its lease; one that was slow for a moment must not."""
    async with tenure(valkey.url, data_dir) as it:
        await it.renewed()
        it.ticks = False
        await wait_until_async(lambda: it.told == ["blocked"], description="the block is told")
        deadline = it.heartbeat.soft_deadline
        await asyncio.sleep(2 * TIMING.retry_s)
        assert it.heartbeat.soft_deadline == deadline
        it.ticks = True
        await it.renewed()
        it.ticks = False
        await wait_until_async(lambda: it.lost, description="the tenure is over")
        assert it.told == ["blocked", "blocked"], "once an episode"


async def test_answer_about_an_older_attempt_confirms_nothing(valkey: Server, data_dir: Path) -> None:
    """A newer `rev` of ours is in the store: this attempt changed nothing, so it extended nothing."""
    async with tenure(valkey.url, data_dir) as it:
        await it.renewed()
        ahead = msgspec.json.decode(valkey.call("GET", STATUS)) | {"rev": 1000}
        valkey.call("SET", STATUS, msgspec.json.encode(ahead), "EX", TIMING.ttl_s)
        deadline = it.heartbeat.soft_deadline
        await wait_until_async(lambda: it.lost, description="the tenure is over")
        assert it.lost is not None
        assert it.lost.reason == "expired"
        assert it.told == []
        assert deadline <= it.clock.now()
