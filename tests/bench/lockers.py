"""A process that holds locks, or waits for them: `python -m tests.bench.lockers JOB`, which is a `Job` as JSON.

hold: takes every lock, spread over `spread_s`, says so, and keeps it, renewing as its library does. After the line
`release` it gives one after the other back, saying when it called.
wait: begins to wait for every lock, spread over `spread_s`, says so, and says when it has it.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import redis
import redis_lock
from redis.lock import Lock as RedisPyLock

from perseus.errors import ExchangeClaimed, ExchangeSettling
from perseus.instances.lockfile import LockFile
from tests.bench.contenders import ETCD, REDIS_PY, Perseus, bench_exchange
from tests.bench.jobs import Job, lock_key, lock_name, say, told
from tests.bench.measure import OURS
from tests.support.etcd import etcdctl, run_etcdctl
from tests.support.system import die_with_parent
from tests.support.waiting import wait_until

POLL_S = 0.1  # redis-py's own default
LOOK_S = 0.02  # between two looks at a lock file: a system call, nothing leaves the host
BETWEEN_RELEASES_S = (0.03, 0.13)  # longer than a poll, so that a release can meet any moment of one


# --- ours: one event loop, a connection for each lock ---


async def hold_ours(job: Job) -> None:
    """Hold, then release when told."""
    locks = [(lane, _ours(job, lane), begin) for lane, begin in job.begins()]
    tasks = [asyncio.create_task(_keep(lane, lock, begin)) for lane, lock, begin in locks]
    await asyncio.to_thread(sys.stdin.readline)
    for (lane, lock, _), task in zip(locks, tasks, strict=True):
        await asyncio.sleep(random.uniform(*BETWEEN_RELEASES_S))
        task.cancel()
        await asyncio.wait({task})
        at = time.monotonic()
        await lock.release()
        say(lane, at)
    await asyncio.Event().wait()


def _ours(job: Job, lane: int) -> Perseus:
    exchange = bench_exchange(lane)
    lock_file = LockFile(Path(job.data_dir), exchange.id) if job.data_dir else None
    return Perseus(job.url, exchange, timing=job.timing, lock_file=lock_file)


async def _keep(lane: int, lock: Perseus, begin: float) -> None:
    await asyncio.sleep(begin)
    assert lock.lock_file is None or lock.lock_file.acquire()
    await lock.claim()
    say(lane)
    while True:
        await asyncio.sleep(lock.timing.interval_s)
        await lock.renew()


async def wait_ours(job: Job) -> None:
    """Claim each lock as soon as possible, then renew it no more."""
    async with asyncio.TaskGroup() as tasks:
        for lane, begin in job.begins():
            tasks.create_task(_claim(lane, _ours(job, lane), begin))
    await asyncio.Event().wait()


async def _claim(lane: int, lock: Perseus, begin: float) -> None:
    await asyncio.sleep(begin)
    waiting = False
    while True:
        try:
            if lock.lock_file is None or lock.lock_file.acquire():
                await lock.claim(must_settle=True)
                say(lane)
                return
            wait_s = LOOK_S
        except ExchangeClaimed as claimed:
            wait_s = ((claimed.ttl_ms or 0) + 1) / 1000
        except ExchangeSettling as settling:
            wait_s = settling.wait_ms / 1000
        if not waiting:
            say(lane)
        waiting = True
        await asyncio.sleep(min(POLL_S, wait_s))


# --- the peers on the same store: a thread and a connection for each lock ---


def hold_peer(job: Job) -> None:
    """Hold, then release when told."""
    locks = [(lane, _peer(job, lane), begin, threading.Event()) for lane, begin in job.begins()]
    threads = [_threaded(partial(_keep_peer, job, *each)) for each in locks]
    sys.stdin.readline()
    for (lane, lock, _, stop), thread in zip(locks, threads, strict=True):
        time.sleep(random.uniform(*BETWEEN_RELEASES_S))
        stop.set()
        thread.join()
        at = time.monotonic()
        lock.release()
        say(lane, at)
    threading.Event().wait()


def wait_peer(job: Job) -> None:
    """Acquire each lock, waiting as the library does, then renew it no more."""
    for lane, begin in job.begins():
        _threaded(partial(_acquire, lane, _peer(job, lane, renews=False), begin))
    threading.Event().wait()


Peer: TypeAlias = RedisPyLock | redis_lock.Lock


def _peer(job: Job, lane: int, *, renews: bool = True) -> Peer:
    if job.subject == REDIS_PY:
        client = redis.Redis.from_url(job.url)
        return client.lock(lock_key(job.subject, lane), timeout=job.ttl_s, thread_local=False)
    client = redis.Redis.from_url(job.url, socket_timeout=None)  # by default `acquire` fails after 5 s of its waiting
    lock = redis_lock.Lock(client, lock_name(lane), expire=job.ttl_s, auto_renewal=renews)
    if renews:
        lock._lock_renewal_interval = job.interval_s  # what its documentation lets a subclass do
    return lock


def _keep_peer(job: Job, lane: int, lock: Peer, begin: float, stop: threading.Event) -> None:
    time.sleep(begin)
    assert lock.acquire(blocking=False)
    say(lane)
    if isinstance(lock, redis_lock.Lock):
        return  # its own thread renews
    while not stop.wait(job.interval_s):
        lock.reacquire()


def _acquire(lane: int, lock: Peer, begin: float) -> None:
    time.sleep(begin)
    say(lane)
    assert lock.acquire()
    say(lane)


def _threaded(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


# --- etcd: its own client, `etcdctl lock`, a process for each lock, which dies with us ---


def hold_etcd(job: Job) -> None:
    """Hold, then release when told."""
    locks = []
    began = time.monotonic()
    for lane, begin in sorted(job.begins(), key=lambda each: each[1]):
        time.sleep(max(0.0, began + begin - time.monotonic()))
        lock = _etcdctl_lock(job, lane)
        _await_etcd(lane, lock)
        locks.append((lane, lock))
    sys.stdin.readline()
    for lane, lock in locks:
        time.sleep(random.uniform(*BETWEEN_RELEASES_S))
        at = time.monotonic()
        lock.send_signal(signal.SIGINT)
        say(lane, at)
    threading.Event().wait()


def wait_etcd(job: Job) -> None:
    """Acquire each lock, waiting as the client does."""
    locks = [(lane, _etcdctl_lock(job, lane)) for lane in job.lanes]
    for lane, lock in locks:
        wait_until(partial(_is_queued, job, lane), description="the lock's key is held or its waiter queued")
        say(lane)
        _threaded(partial(_await_etcd, lane, lock))
    threading.Event().wait()


def _etcdctl_lock(job: Job, lane: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        etcdctl(job.url, "lock", "--ttl", str(job.ttl_s), lock_name(lane)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread, which holds no lock then
    )


def _await_etcd(lane: int, lock: subprocess.Popen[bytes]) -> None:
    assert lock.stdout is not None
    assert lock.stdout.readline(), f"etcdctl ended with {lock.wait()}; what it said stands above"
    say(lane)


def _is_queued(job: Job, lane: int) -> bool:
    """Whether holder and waiter both have their key: the waiter's is created when it begins to wait."""
    keys = run_etcdctl(job.url, "get", "--prefix", f"{lock_name(lane)}/", "--keys-only").split()
    return len(keys) >= 2


def main() -> None:
    """Play the role until killed."""
    job = told()
    if job.subject == OURS:
        asyncio.run((hold_ours if job.role == "hold" else wait_ours)(job))
    elif job.subject == ETCD:
        (hold_etcd if job.role == "hold" else wait_etcd)(job)
    else:
        (hold_peer if job.role == "hold" else wait_peer)(job)


if __name__ == "__main__":
    main()
