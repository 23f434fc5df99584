"""A process that holds locks, or waits for them: `python -m tests.bench.lockers ROLE SUBJECT URL LOCKS SPREAD OFFSET`.

hold: takes every lock, spread over SPREAD seconds, says so, and keeps it, renewing as its library does. After the line
`release` it gives one after the other back, saying when it called.
wait: begins to wait for every lock, spread over SPREAD seconds, says so, and says when it has it.
Moments are this machine's monotonic clock, the same for all processes.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import redis
import redis_lock
from redis.lock import Lock as RedisPyLock

from perseus.errors import ExchangeClaimed, ExchangeSettling
from tests.bench.contenders import REDIS_PY, TIMING, TTL_S, Perseus, bench_exchange
from tests.bench.measure import OURS
from tests.bench.takeover import lock_key, lock_name

POLL_S = 0.1  # redis-py's own default
BETWEEN_RELEASES_S = (0.03, 0.13)  # longer than a poll, so that a release can meet any moment of one


def say(lane: int, at: float | None = None) -> None:
    """Print one answer."""
    sys.stdout.write(json.dumps({"lane": lane, "at": time.monotonic() if at is None else at}) + "\n")
    sys.stdout.flush()


def begin_of(lane: int, *, lanes: int, spread: float, offset: float) -> float:
    """How many seconds after the start this lock's turn is: all of them evenly spread, from a random phase."""
    return spread * ((lane / lanes + offset) % 1)


# --- ours: one event loop, a connection for each lock ---


async def hold_ours(url: str, begins: list[float]) -> None:
    """Hold, then release when told."""
    locks = [Perseus(url, bench_exchange(lane)) for lane in range(len(begins))]
    tasks = [asyncio.create_task(_keep(lane, lock, begins[lane])) for lane, lock in enumerate(locks)]
    await asyncio.to_thread(sys.stdin.readline)
    for lane, (lock, task) in enumerate(zip(locks, tasks, strict=True)):
        await asyncio.sleep(random.uniform(*BETWEEN_RELEASES_S))
        task.cancel()
        await asyncio.wait({task})
        at = time.monotonic()
        await lock.release()
        say(lane, at)
    await asyncio.Event().wait()


async def _keep(lane: int, lock: Perseus, begin: float) -> None:
    await asyncio.sleep(begin)
    await lock.claim()
    say(lane)
    while True:
        await asyncio.sleep(TIMING.interval_s)
        await lock.renew()


async def wait_ours(url: str, begins: list[float]) -> None:
    """Claim each lock as soon as possible, then renew it no more."""
    async with asyncio.TaskGroup() as tasks:
        for lane, begin in enumerate(begins):
            tasks.create_task(_claim(lane, Perseus(url, bench_exchange(lane)), begin))
    await asyncio.Event().wait()


async def _claim(lane: int, lock: Perseus, begin: float) -> None:
    await asyncio.sleep(begin)
    waiting = False
    while True:
        try:
            await lock.claim(must_settle=True)
        except ExchangeClaimed as claimed:
            wait_s = ((claimed.ttl_ms or 0) + 1) / 1000
        except ExchangeSettling as settling:
            wait_s = settling.wait_ms / 1000
        else:
            say(lane)
            return
        if not waiting:
            say(lane)
        waiting = True
        await asyncio.sleep(min(POLL_S, wait_s))


# --- the peers: a thread and a connection for each lock ---


def hold_peer(subject: str, url: str, begins: list[float]) -> None:
    """Hold, then release when told."""
    locks = [_peer(subject, url, lane) for lane in range(len(begins))]
    stops = [threading.Event() for _ in begins]
    threads = [_threaded(partial(_keep_peer, lane, lock, begins[lane], stops[lane])) for lane, lock in enumerate(locks)]
    sys.stdin.readline()
    for lane, lock in enumerate(locks):
        time.sleep(random.uniform(*BETWEEN_RELEASES_S))
        stops[lane].set()
        threads[lane].join()
        at = time.monotonic()
        lock.release()
        say(lane, at)
    threading.Event().wait()


def wait_peer(subject: str, url: str, begins: list[float]) -> None:
    """Acquire each lock, waiting as the library does, then renew it no more."""
    for lane, begin in enumerate(begins):
        _threaded(partial(_acquire, lane, _peer(subject, url, lane, renews=False), begin))
    threading.Event().wait()


Peer: TypeAlias = RedisPyLock | redis_lock.Lock


def _peer(subject: str, url: str, lane: int, *, renews: bool = True) -> Peer:
    client = redis.Redis.from_url(url)
    if subject == REDIS_PY:
        return client.lock(lock_key(subject, lane), timeout=TTL_S, thread_local=False)
    return redis_lock.Lock(client, lock_name(lane), expire=TTL_S, auto_renewal=renews)


def _keep_peer(lane: int, lock: Peer, begin: float, stop: threading.Event) -> None:
    time.sleep(begin)
    assert lock.acquire(blocking=False)
    say(lane)
    if isinstance(lock, redis_lock.Lock):
        return  # its own thread renews
    while not stop.wait(TIMING.interval_s):
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


def main() -> None:
    """Play the role until killed."""
    role, subject, url, count, spread, offset = sys.argv[1:]
    lanes = int(count)
    begins = [begin_of(lane, lanes=lanes, spread=float(spread), offset=float(offset)) for lane in range(lanes)]
    if subject == OURS:
        asyncio.run((hold_ours if role == "hold" else wait_ours)(url, begins))
    else:
        (hold_peer if role == "hold" else wait_peer)(subject, url, begins)


if __name__ == "__main__":
    main()
