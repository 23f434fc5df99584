"""A process that holds locks through failovers: `python -m tests.bench.renewers JOB`, which is a `Job` as JSON.

It takes every lock, spread over one interval, says so, and renews it as its library does. After the line `report` it
says when each renewal was confirmed, as `{"confirmed": {lane: [moment, …]}}`, and ends.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import redis
import redis_lock
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import LockError
from redis.sentinel import Sentinel

from perseus.clock import SystemClock
from perseus.errors import LeaseLost, PerseusError
from perseus.instances.fence import Fence
from perseus.instances.heartbeat import Heartbeat
from perseus.lease import Lease
from tests.bench.contenders import ETCD, REDIS_LOCK, Perseus, bench_exchange
from tests.bench.jobs import Job, lock_key, lock_name, say, told
from tests.bench.measure import OURS
from tests.support.etcd import etcdctl, run_etcdctl
from tests.support.system import die_with_parent

LOOK_S = 0.002  # between two looks at whether a renewal of ours was confirmed
ANSWER_S = 1.0  # the peers' socket timeout; ours gives an attempt a third of its interval

_confirmed: dict[int, list[float]] = defaultdict(list)


def confirmed(lane: int) -> None:
    """Note that a renewal of this lock has just been confirmed."""
    _confirmed[lane].append(time.monotonic())


# --- ours: the instance's own heartbeat, a connection for each ---


class _Ended:
    """The witness of a heartbeat: nobody needs to be told, its end is seen when `run` returns."""

    def lease_ended(self, ended: Lease, lost: LeaseLost) -> None:
        pass

    def renewal_failed(self, error: Exception) -> None:
        pass

    def renewal_recovered(self) -> None:
        pass

    def loop_blocked(self, for_s: float) -> None:
        pass


async def renew_ours(job: Job) -> None:
    """Hold and renew; what was lost is claimed again, as an instance does."""
    tasks = [asyncio.create_task(_live(job, lane, begin)) for lane, begin in job.begins()]
    await asyncio.to_thread(sys.stdin.readline)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _live(job: Job, lane: int, begin: float) -> None:
    await asyncio.sleep(begin)
    lock = Perseus(job.url, bench_exchange(lane), timing=job.timing)
    await lock.claim()
    say(lane)
    while True:
        await _tenure(lane, lock)
        while True:
            try:
                await lock.claim(must_settle=True)
                break
            except PerseusError:
                await asyncio.sleep(job.timing.retry_s)
        confirmed(lane)


async def _tenure(lane: int, lock: Perseus) -> None:
    heartbeat = Heartbeat(
        store=lock.store,
        clock=lock.clock,
        store_time=lock.store_time,
        lease=lock.lease,
        snapshot=lambda: lock.status,
        last_tick=SystemClock().now,
        loop=asyncio.get_running_loop(),
        witness=_Ended(),
        fence=Fence(),
    )
    renewing = asyncio.create_task(heartbeat.run())
    try:
        seen = heartbeat.lease
        while not renewing.done():
            if heartbeat.lease is not seen:
                seen = heartbeat.lease
                confirmed(lane)
            await asyncio.sleep(LOOK_S)
        renewing.result()
    finally:
        renewing.cancel()


# --- the peers on the same store: a thread and a connection for each lock ---


def renew_peer(job: Job) -> None:
    """Hold and renew; what cannot be renewed is tried again as soon as ours would."""
    for lane, begin in job.begins():
        work = _renew_redis_lock if job.subject == REDIS_LOCK else _renew_redis_py
        threading.Thread(target=partial(work, job, lane, begin), daemon=True).start()
    sys.stdin.readline()


def client_for(url: str) -> Any:
    """redis-py's client of a service behind Sentinels, or of a Cluster, as its documentation makes them."""
    parts = urlsplit(url)
    hosts = [(host, int(port)) for host, _, port in (each.partition(":") for each in parts.netloc.split(","))]
    sentinel: Any = Sentinel  # the library has no types for these two
    node: Any = ClusterNode
    if parts.scheme == "redis+sentinel":
        return sentinel(hosts, socket_timeout=ANSWER_S).master_for(parts.path.strip("/"), socket_timeout=ANSWER_S)
    return RedisCluster(startup_nodes=[node(*host) for host in hosts], socket_timeout=ANSWER_S)


def _renew_redis_py(job: Job, lane: int, begin: float) -> None:
    lock = client_for(job.url).lock(lock_key(job.subject, lane), timeout=job.ttl_s, thread_local=False)
    time.sleep(begin)
    assert lock.acquire(blocking=False)
    say(lane)
    pause_s = job.interval_s
    while True:
        time.sleep(pause_s)
        try:
            lock.reacquire()
        except LockError:
            return  # it is somebody else's now, or nobody's
        except redis.RedisError:
            pause_s = job.timing.retry_s
        else:
            confirmed(lane)
            pause_s = job.interval_s


class _RedisLock(redis_lock.Lock):  # type: ignore[misc]  # the library has no types
    """One whose own renewal thread tells us; its first failure ends that thread."""

    def extend(self, expire: int | None = None) -> None:
        super().extend(expire)
        confirmed(self.lane)


def _renew_redis_lock(job: Job, lane: int, begin: float) -> None:
    # Not strict: only so does it take a Cluster's client.
    lock = _RedisLock(client_for(job.url), lock_name(lane), expire=job.ttl_s, auto_renewal=True, strict=False)
    lock.lane = lane
    lock._lock_renewal_interval = job.interval_s  # what its documentation lets a subclass do
    time.sleep(begin)
    assert lock.acquire(blocking=False)
    say(lane)
    threading.Event().wait()  # the library keeps no reference to the lock either


# --- etcd: its own client, `etcdctl lease keep-alive`, a process for each lock, which dies with us ---


def renew_etcd(job: Job) -> None:
    """Put a key under a lease of its own, and let the client keep that alive: every third of its TTL."""
    began = time.monotonic()
    for lane, begin in sorted(job.begins(), key=lambda each: each[1]):
        time.sleep(max(0.0, began + begin - time.monotonic()))
        lease = run_etcdctl(job.url, "lease", "grant", str(job.ttl_s)).split()[1]
        run_etcdctl(job.url, "put", lock_key(ETCD, lane), lease, "--lease", lease)
        keeping = subprocess.Popen(
            etcdctl(job.url, "lease", "keep-alive", lease),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it warns of the member that was killed
            text=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread, which holds no lock then
        )
        say(lane)
        threading.Thread(target=partial(_note_etcd, lane, keeping), daemon=True).start()
    sys.stdin.readline()


def _note_etcd(lane: int, keeping: subprocess.Popen[str]) -> None:
    assert keeping.stdout is not None
    for line in keeping.stdout:
        if "keepalived" in line:
            confirmed(lane)


def main() -> None:
    """Renew until asked for the report."""
    job = told()
    threading.excepthook = lambda _: None  # python-redis-lock's renewal thread ends so, and tells nobody either
    if job.subject == OURS:
        asyncio.run(renew_ours(job))
    else:
        (renew_etcd if job.subject == ETCD else renew_peer)(job)
    sys.stdout.write(json.dumps({"confirmed": _confirmed}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
