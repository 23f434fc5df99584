"""From one holder to the next: after a crash, as another host sees it; after a release, from its call on."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.bench.children import Child
from tests.bench.contenders import ETCD, REDIS_LOCK, REDIS_PY, TTL_S
from tests.bench.jobs import Job, Role, lock_key
from tests.bench.measure import OURS, Effort, Measure, Section, by_subject
from tests.bench.servers import running_etcd, running_server
from tests.support.servers import Server

SEED = 20260210

Pairs = dict[str, tuple[Child, Child]]
Found = dict[str, list[float]]


def bench(effort: Effort) -> Section:
    """Crash takeover and graceful gap against the peers, each waiting in its own way; several locks a process."""
    lanes, rounds = effort.pick(12, 2), effort.pick(2, 1)
    killed: Found = {}
    expired: Found = {}
    released: Found = {}
    with running_server() as server, running_etcd() as etcd:
        urls = dict.fromkeys((OURS, REDIS_PY, REDIS_LOCK), server.url) | ({ETCD: etcd.url} if etcd else {})
        for number in range(rounds):
            with _pairs(urls, lanes=lanes, seed=SEED + number, spread_s=effort.pick(TTL_S, 0)) as pairs:
                _crash(server, pairs, lanes, killed=killed, expired=expired)
            server.call("FLUSHALL")
            with _pairs(urls, lanes=lanes, seed=SEED + number, spread_s=0) as pairs:
                _release(pairs, lanes, released)
            server.call("FLUSHALL")
    return Section(
        title="Takeover by another host",
        measures=(
            Measure(what="kill -9: from the kill to the next holder", unit="ms", samples=by_subject(killed)),
            Measure(what="kill -9: from expiry to the next holder", unit="ms", samples=by_subject(expired)),
            Measure(what="release: from its call to the next holder", unit="ms", samples=by_subject(released)),
        ),
        notes=(
            f"Real processes; TTL {TTL_S} s, renewed every second at phases spread evenly, {rounds * lanes} locks each "
            f"(seed {SEED}). Most of the time from the kill is what is left of the TTL then.",
            "redis-py waits in `acquire`, polling every 0.1 s; python-redis-lock in `acquire`, which a release wakes "
            "and a crash does not: it looks again when its own wait of one TTL ends.",
            "etcd: one member as delivered, each write on disk before it is answered, holders and waiters are "
            "`etcdctl lock`, its own client's session and lock; a watch wakes the waiter. It ends expired leases twice "
            "a second, and says what is left of one in whole seconds only, so there is no time from expiry. Its "
            "shortest TTL with default timing is 2 s.",
            "Ours is a loop around a claim that looks every 0.1 s, and at the moment the refusal says the lease will "
            "end: the standby, which a release wakes, does not exist yet.",
        ),
    )


@contextmanager
def _pairs(urls: dict[str, str], *, lanes: int, seed: int, spread_s: int) -> Iterator[Pairs]:
    """A holder of every lock and a process waiting for all of them, by subject."""
    with ExitStack() as ending:

        def start(role: Role, subject: str) -> Child:
            offset = random.Random(f"{seed} {role} {subject}").random()
            job = Job(
                role=role,
                subject=subject,
                url=urls[subject],
                lanes=tuple(range(lanes)),
                spread_s=spread_s,
                offset=offset,
            )
            return ending.enter_context(Child(job.command))

        holders = {subject: start("hold", subject) for subject in urls}
        for holder in holders.values():
            holder.answers(lanes)
        waiters = {subject: start("wait", subject) for subject in urls}
        for waiter in waiters.values():
            waiter.answers(lanes)  # each says when it has begun to wait
        yield {subject: (holders[subject], waiters[subject]) for subject in urls}


def _crash(server: Server, pairs: Pairs, lanes: int, *, killed: Found, expired: Found) -> None:
    """Kill every holder, and note when each lock's waiter has it."""
    kills: dict[str, float] = {}
    expiry: dict[str, list[float]] = {}
    for subject, (holder, _) in pairs.items():
        kills[subject] = time.monotonic()
        holder.kill9()
        if subject != ETCD:
            expiry[subject] = _expiry(server, subject, lanes)
    for subject, (_, waiter) in pairs.items():
        for said in waiter.answers(lanes):
            killed.setdefault(subject, []).append((said["at"] - kills[subject]) * 1000)
            if subject in expiry:
                expired.setdefault(subject, []).append((said["at"] - expiry[subject][said["lane"]]) * 1000)


def _expiry(server: Server, subject: str, lanes: int) -> list[float]:
    """When each lock will have expired."""
    with server.client() as client, client.pipeline(transaction=False) as reading:
        for lane in range(lanes):
            reading.execute_command("PTTL", lock_key(subject, lane))
        left = reading.execute()
    now = time.monotonic()
    assert min(left) > 0, f"a lock of {subject} was not held when its holder was killed: {left}"
    return [now + ms / 1000 for ms in left]


def _release(pairs: Pairs, lanes: int, released: Found) -> None:
    """Let every holder give its locks back, and note when each lock's waiter has it."""
    for subject, (holder, waiter) in pairs.items():
        holder.tell("release")
        at = {said["lane"]: said["at"] for said in holder.answers(lanes)}
        gaps = [(said["at"] - at[said["lane"]]) * 1000 for said in waiter.answers(lanes)]
        released.setdefault(subject, []).extend(gaps)
