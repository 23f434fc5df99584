"""The locks compared: ours, redis-py's `Lock` (asyncio and blocking) and python-redis-lock, each used as documented.

All on the same server with the same TTL. What they promise differs (docs/performance.md says how): the peers keep a
random token under a key; ours publishes a status of some 800 bytes, raises an epoch and keeps a snapshot.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Coroutine
from typing import Any, Protocol

import msgspec
import redis
import redis.asyncio
import redis_lock

from perseus import lease
from perseus.clock import StoreTime, SystemClock, iso
from perseus.instances.lockfile import LockFile
from perseus.lease import Claimer, Lease
from perseus.model import ConnectionState, DesiredState, Exchange, InstanceStatus
from perseus.store import Store
from perseus.timing import LeaseTiming
from tests.bench.measure import OURS

TTL_S = 3  # the shortest lease we allow; whole seconds, because python-redis-lock takes no others
TIMING = LeaseTiming(1.0, TTL_S)
REDIS_PY = "redis-py Lock"
REDIS_PY_ASYNC = "redis-py Lock, asyncio"
REDIS_LOCK = "python-redis-lock"
ETCD = "etcd"

logging.getLogger("redis_lock").setLevel(logging.CRITICAL)  # it warns each time somebody else has the lock


class Contender(Protocol):
    """One library with one lock on one connection, driven from one thread."""

    def claim(self) -> None:
        """Take the lock, which is free."""

    def release(self) -> None:
        """Give it back."""

    def cycles(self, count: int) -> None:
        """Take and give back `count` times."""

    def renewals(self, count: int) -> None:
        """Set the TTL of the lock, which is held, to the full time again, `count` times."""

    def close(self) -> None:
        """Close the connection."""


class Perseus:
    """The core of ours: what an instance does at a claim, a renewal and a release, with a status as long as its own.

    `lock_file`: held for as long as the exchange is, so that our death can be proven on this host.
    """

    def __init__(
        self, url: str, exchange: Exchange, *, timing: LeaseTiming = TIMING, lock_file: LockFile | None = None
    ) -> None:
        self.exchange = exchange
        self.timing = timing
        self.lock_file = lock_file
        self.store = Store(url, timeout=timing.attempt_timeout_s)
        self.clock = SystemClock()
        self.store_time = StoreTime(self.clock)
        self.status = full_status(exchange, timing)
        if lock_file is not None:
            self.status = msgspec.structs.replace(self.status, lock_file=lock_file.identity, boot_id=lock_file.boot_id)
        self._lease: Lease | None = None
        self._claimer = Claimer(
            self.store,
            clock=self.clock,
            store_time=self.store_time,
            exchange=exchange,
            instance_id=self.status.instance_id or "",
            is_dead=lock_file.proves_dead if lock_file else lambda _holder: False,
        )

    @property
    def lease(self) -> Lease:
        """What was claimed."""
        assert self._lease is not None, "claim first"
        return self._lease

    async def claim(self, *, must_settle: bool = False) -> None:
        """Claim with a fresh claim id. Raises what `Claimer.claim` raises."""
        self.status = msgspec.structs.replace(self.status, claim_id=uuid.uuid4().hex, rev=0)
        claimed = await self._claimer.claim(self.status, timing=self.timing, must_settle=must_settle)
        self._lease = claimed.lease
        self.status = msgspec.structs.replace(self.status, epoch=claimed.lease.epoch)
        if self.lock_file is not None:
            self.lock_file.remember(claimed.lease.epoch, holder=self.status.instance_id or "")

    async def renew(self) -> None:
        """Compose and send one renewal, as the heartbeat does."""
        rev, at = (self.status.rev or 0) + 1, iso(self.store_time.now_ms())
        self.status = msgspec.structs.replace(self.status, rev=rev, last_heartbeat=at)
        sent_at = self.clock.now()
        renewal = await lease.renew(self.store, self.lease, self.status, kind="heartbeat")
        assert renewal.outcome == "RENEWED", renewal
        self.store_time.observe(renewal.store_ms)
        self._lease = self.lease.renewed(sent_at)

    async def release(self) -> None:
        """Give the exchange back with a final snapshot."""
        now_ms = self.store_time.now_ms()
        assert await lease.release(self.store, self.lease, self.status, by="bench", store_ms=now_ms), "it was not ours"

    async def close(self) -> None:
        """Close the connection."""
        await self.store.close()


class RedisPyAsync:
    """redis-py's asyncio `Lock`: the same kind of I/O as ours."""

    def __init__(self, url: str, name: str) -> None:
        self._client = redis.asyncio.Redis.from_url(url)
        self._lock = self._client.lock(name, timeout=TTL_S)

    async def claim(self) -> None:
        """`acquire`."""
        assert await self._lock.acquire(blocking=False)

    async def renew(self) -> None:
        """`reacquire`: the TTL is full again (`extend` would add to it)."""
        await self._lock.reacquire()

    async def release(self) -> None:
        """`release`."""
        await self._lock.release()

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


class RedisPy:
    """redis-py's blocking `Lock`."""

    def __init__(self, url: str, name: str) -> None:
        self._client = redis.Redis.from_url(url)
        self.lock = self._client.lock(name, timeout=TTL_S, thread_local=False)

    def claim(self) -> None:
        """`acquire`."""
        assert self.lock.acquire(blocking=False)

    def renew(self) -> None:
        """`reacquire`: the TTL is full again (`extend` would add to it)."""
        self.lock.reacquire()

    def release(self) -> None:
        """`release`."""
        self.lock.release()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class RedisLock:
    """python-redis-lock. `renewal_s`: let its own thread renew this often (its documented way is a subclass)."""

    def __init__(self, url: str, name: str, *, renewal_s: float | None = None) -> None:
        self._client = redis.StrictRedis.from_url(url)
        self.lock = redis_lock.Lock(self._client, name, expire=TTL_S, auto_renewal=renewal_s is not None)
        if renewal_s is not None:
            self.lock._lock_renewal_interval = renewal_s

    def claim(self) -> None:
        """`acquire`."""
        assert self.lock.acquire(blocking=False)

    def renew(self) -> None:
        """`extend`: the TTL is full again."""
        self.lock.extend()

    def release(self) -> None:
        """`release`."""
        self.lock.release()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class Blocking:
    """A blocking lock as a contender."""

    def __init__(self, lock: RedisPy | RedisLock) -> None:
        self._lock = lock
        self.claim, self.release, self.close = lock.claim, lock.release, lock.close

    def cycles(self, count: int) -> None:
        """Take and give back `count` times."""
        for _ in range(count):
            self._lock.claim()
            self._lock.release()

    def renewals(self, count: int) -> None:
        """Renew `count` times."""
        for _ in range(count):
            self._lock.renew()


class OnLoop:
    """An asyncio lock as a contender: each call below is one run of its own event loop."""

    def __init__(self, lock: Perseus | RedisPyAsync) -> None:
        self._lock = lock
        self._runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on this contender's loop."""
        self._runner.run(work)

    def claim(self) -> None:
        """Take the lock."""
        self.run(self._lock.claim())

    def release(self) -> None:
        """Give it back."""
        self.run(self._lock.release())

    def cycles(self, count: int) -> None:
        """Take and give back `count` times."""
        self.run(self._cycles(count))

    def renewals(self, count: int) -> None:
        """Renew `count` times."""
        self.run(self._renewals(count))

    def close(self) -> None:
        """Close the connection and the loop."""
        self.run(self._lock.close())
        self._runner.close()

    async def _cycles(self, count: int) -> None:
        for _ in range(count):
            await self._lock.claim()
            await self._lock.release()

    async def _renewals(self, count: int) -> None:
        for _ in range(count):
            await self._lock.renew()


def contenders(url: str) -> dict[str, Contender]:
    """One of each on this server."""
    return {
        OURS: OnLoop(Perseus(url, bench_exchange())),
        REDIS_PY_ASYNC: OnLoop(RedisPyAsync(url, "bench-redis-py-asyncio")),
        REDIS_PY: Blocking(RedisPy(url, "bench-redis-py")),
        REDIS_LOCK: Blocking(RedisLock(url, "bench")),
    }


def bench_exchange(number: int = 0) -> Exchange:
    """An exchange no real one can be mistaken for."""
    return Exchange(id=9000 + number, name=f"bench{number}", display_name="Bench")


def full_status(exchange: Exchange, timing: LeaseTiming = TIMING) -> InstanceStatus:
    """A status as long as that of a real, active instance: every field that then has a value has one."""
    at = "2026-02-10T14:02:11.000Z"
    return InstanceStatus(
        exchange_id=exchange.id,
        exchange_name=exchange.name,
        connection_state=ConnectionState.ACTIVE,
        connected_at=at,
        last_heartbeat=at,
        symbol_count=25,
        admin_email="admin@example.com",
        admin_display_name="Example Admin",
        ip_address="203.0.113.7",
        hostname="bench",
        last_error=None,
        instance_id=uuid.uuid4().hex,
        rev=0,
        registered_at=at,
        last_state_change=at,
        heartbeat_interval_ms=round(timing.interval_s * 1000),
        ttl_ms=timing.ttl_s * 1000,
        version="0.1.0",
        pid=4_194_304,
        boot_id=str(uuid.uuid4()),
        lock_file="65024:1048576",
        started_at=at,
        last_message_at=at,
        desired_state=DesiredState(state="running", at=at),
    )
