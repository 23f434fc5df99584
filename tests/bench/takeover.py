"""From one holder to the next: after a crash, from the lock's expiry on; after a release, from its call on."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from perseus import keys
from tests.bench.children import Child, module
from tests.bench.contenders import REDIS_LOCK, REDIS_PY, TTL_S, bench_exchange
from tests.bench.measure import OURS, Effort, Measure, Section, by_subject
from tests.bench.servers import running_server
from tests.support.servers import Server

SUBJECTS = (OURS, REDIS_PY, REDIS_LOCK)
SEED = 20260210


def bench(effort: Effort) -> Section:
    """Crash takeover and graceful gap against the peers, each waiting in its own way; several locks a process."""
    lanes, rounds = effort.pick(12, 2), effort.pick(2, 1)
    crash: dict[str, list[float]] = {subject: [] for subject in SUBJECTS}
    graceful: dict[str, list[float]] = {subject: [] for subject in SUBJECTS}
    with running_server() as server:
        for number in range(rounds):
            for found, gaps_of, spread_s in (
                (crash, _crash_gaps, effort.pick(TTL_S, 0)),
                (graceful, _graceful_gaps, 0),
            ):
                with _pairs(server, lanes=lanes, seed=SEED + number, spread_s=spread_s) as pairs:
                    for subject, gaps in gaps_of(server, pairs, lanes).items():
                        found[subject] += gaps
                server.call("FLUSHALL")
    return Section(
        title="Takeover",
        measures=(
            Measure(what="kill -9: from expiry to the next holder", unit="ms", samples=by_subject(crash)),
            Measure(what="release: from its call to the next holder", unit="ms", samples=by_subject(graceful)),
        ),
        notes=(
            f"Real processes; TTL {TTL_S} s, holders renewing at phases spread evenly, {rounds * lanes} locks each "
            f"(seed {SEED}). How long a dead holder's lock lasts is its TTL, the same for all, and not counted.",
            "redis-py waits in `acquire`, polling every 0.1 s; python-redis-lock in `acquire`, which a release wakes "
            "and a crash does not: it looks again when its own wait of one TTL ends.",
            "Ours is a loop around a claim that looks every 0.1 s, and at the moment the refusal says the lease will "
            "end: the standby, which a release wakes, does not exist yet.",
        ),
    )


Pairs = dict[str, tuple[Child, Child]]


@contextmanager
def _pairs(server: Server, *, lanes: int, seed: int, spread_s: int) -> Iterator[Pairs]:
    """A holder of every lock and a process waiting for all of them, by subject."""
    with ExitStack() as ending:

        def start(role: str, subject: str) -> Child:
            offset = random.Random(f"{seed} {role} {subject}").random()
            args = (role, subject, server.url, lanes, spread_s, f"{offset:.6f}")
            return ending.enter_context(Child(module("tests.bench.lockers", *args)))

        holders = {subject: start("hold", subject) for subject in SUBJECTS}
        for holder in holders.values():
            holder.answers(lanes)
        waiters = {subject: start("wait", subject) for subject in SUBJECTS}
        for waiter in waiters.values():
            waiter.answers(lanes)  # each says when it has begun to wait
        yield {subject: (holders[subject], waiters[subject]) for subject in SUBJECTS}


def _crash_gaps(server: Server, pairs: Pairs, lanes: int) -> dict[str, list[float]]:
    expiry: dict[str, list[float]] = {}
    for subject, (holder, _) in pairs.items():
        holder.kill9()
        with server.client() as client, client.pipeline(transaction=False) as reading:
            for lane in range(lanes):
                reading.execute_command("PTTL", lock_key(subject, lane))
            left = reading.execute()
        now = time.monotonic()
        assert min(left) > 0, f"a lock of {subject} was not held when its holder was killed: {left}"
        expiry[subject] = [now + ms / 1000 for ms in left]
    return {
        subject: [(said["at"] - expiry[subject][said["lane"]]) * 1000 for said in waiter.answers(lanes)]
        for subject, (_, waiter) in pairs.items()
    }


def _graceful_gaps(_server: Server, pairs: Pairs, lanes: int) -> dict[str, list[float]]:
    gaps = {}
    for subject, (holder, waiter) in pairs.items():
        holder.tell("release")
        released = {said["lane"]: said["at"] for said in holder.answers(lanes)}
        gaps[subject] = [(said["at"] - released[said["lane"]]) * 1000 for said in waiter.answers(lanes)]
    return gaps


def lock_key(subject: str, lane: int) -> str:
    """The key whose expiry frees the lock."""
    match subject:
        case "Perseus":
            return keys.status(bench_exchange(lane).id)
        case "python-redis-lock":
            return f"lock:{lock_name(lane)}"
    return f"redis-py:{lock_name(lane)}"


def lock_name(lane: int) -> str:
    """What a lock is called where its library prefixes the key."""
    return f"bench{lane}"
