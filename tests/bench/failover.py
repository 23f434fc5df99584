"""The store loses its primary, or hands over: how long no renewal is confirmed, and who still has its lock then."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from redis.crc import key_slot

from tests.bench.children import Child
from tests.bench.contenders import ETCD
from tests.bench.jobs import Job, lock_key
from tests.bench.measure import Effort, Measure, Section, by_subject
from tests.bench.sites import CLUSTER, OURS_AND_PEERS, SENTINEL, Site, running_sites
from tests.support.cluster import SHARDS, SLOTS
from tests.support.etcd import ELECTION_MS
from tests.support.waiting import wait_until

STORE = "the store itself"
ORDER = (*OURS_AND_PEERS, ETCD, STORE)


class Timing(NamedTuple):
    """Of every lock, and how long it is watched after the failover. Units: seconds."""

    interval_s: int
    ttl_s: int
    watched_s: float


class Found:
    """What was seen, by site and subject. Units: ms."""

    def __init__(self) -> None:
        self.first: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.longest: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.kept: dict[tuple[str, str], list[bool]] = defaultdict(list)


def bench(effort: Effort) -> Section:
    """Kill the primary, then hand over, with locks on each store renewed at all phases."""
    timing = Timing(effort.pick(4, 1), effort.pick(12, 5), effort.pick(13, 2))
    lanes, kills = effort.pick(12, 2), effort.pick(2, 1)
    killed, handed_over = Found(), Found()
    with running_sites() as sites:
        for _ in range(kills):
            _watch(sites, timing, lanes, killed, strike=_kill)
        _watch(sites, timing, lanes, handed_over, strike=_hand_over)
    return Section(
        title="Failover",
        measures=[measure for title in (SENTINEL, CLUSTER) for measure in _measures(title, killed, handed_over)],
        notes=_notes(timing, lanes, kills=kills),
    )


def _notes(timing: Timing, lanes: int, *, kills: int) -> tuple[str, ...]:
    return (
        f"TTL {timing.ttl_s} s, renewed every {timing.interval_s} s at phases spread evenly, {lanes} locks each on "
        f"the same servers at the same time; {kills} kills, one handover. A Valkey primary with two replicas and three "
        "Sentinels (down after 0.7 s); a Cluster of three primaries with a replica each (node timeout 1 s), all locks "
        "on the shard that fails; both replicate asynchronously and nobody waits for replicas.",
        "To the first renewal confirmed: the store's own failover (“the store itself”: until a plain SET is accepted, "
        "polled), and the time until the next renewal is due. Longest: between two confirmed renewals in a row, "
        f"{timing.interval_s} s without any fault. Kept: whether {timing.watched_s:g} s later the key still holds what "
        "it held before; a lock that nobody renews is gone by then. Those who renewed no more have no times.",
        "Handed over by `SENTINEL FAILOVER`, the old primary confirms writes for some three seconds after its "
        "successor was promoted, and all of those are lost, whoever the client: a lock renewed more often than that "
        "can lose two renewals in a row, and with a TTL of three intervals the lock.",
        "Ours: the instance's own heartbeat. redis-py: its clients for Sentinel and Cluster as documented, with their "
        "own retries and a socket timeout of 1 s, `reacquire` in a loop of ours that tries again as soon after an "
        "error as our heartbeat. python-redis-lock: the same clients (a Cluster's only with `strict=False`), its own "
        "renewal thread, which ends, silently, with the first error that gets through to it.",
        f"etcd: three members as delivered (election after {ELECTION_MS} ms or more), the leader killed or moved, "
        "`etcdctl lease keep-alive`; the same samples stand beside both. It loses no confirmed write, and after an "
        "election gives every lease its full TTL anew, a dead holder's, too.",
    )


def _measures(title: str, killed: Found, handed_over: Found) -> Iterator[Measure]:
    def measure(what: str, values: Mapping[tuple[str, str], list[float]], unit: str = "ms") -> Measure:
        all_of_them = {subject: each for (site, subject), each in values.items() if site in (title, ETCD)}
        mine = {subject: all_of_them[subject] for subject in ORDER if subject in all_of_them}
        return Measure(what=f"{title}, {what}", unit=unit, samples=by_subject(mine), more_is_better=unit == "%")

    def share(kept: Mapping[tuple[str, str], list[bool]]) -> dict[tuple[str, str], list[float]]:
        return {about: [100 * sum(each) / len(each)] for about, each in kept.items()}

    yield measure("kill -9: to the first renewal confirmed", killed.first)
    yield measure("kill -9: kept their lock", share(killed.kept), "%")
    yield measure("handed over: longest without a renewal", handed_over.longest)
    yield measure("handed over: kept their lock", share(handed_over.kept), "%")


# --- one failover of every site, watched ---


def _watch(
    sites: Sequence[Site], timing: Timing, lanes: int, found: Found, *, strike: Callable[[Site, Found], float]
) -> None:
    """Let everybody renew, strike each site in turn, and note what became of every lock."""
    with ExitStack() as ending:
        renewers = {
            (site.title, subject): ending.enter_context(Child(_job(site, subject, lanes, timing).command))
            for site in sites
            for subject in site.subjects
        }
        for renewer in renewers.values():
            renewer.answers(lanes)
        time.sleep(timing.interval_s)  # everybody renews once: a stretch of life, not a wait for something
        before = {site.title: _holders(site, lanes) for site in sites}
        struck = {site.title: strike(site, found) for site in sites}
        time.sleep(timing.watched_s)  # what is watched
        for site in sites:
            after = _holders(site, lanes)
            for about, holder in before[site.title].items():
                assert holder is not None, f"{about} was not held before"
                found.kept[site.title, about[0]].append(after[about] == holder)
        for (title, subject), renewer in renewers.items():
            renewer.tell("report")
            (report,) = renewer.answers(1)
            for moments in report["confirmed"].values():
                _note(found, (title, subject), moments, struck[title])
    for site in sites:
        site.repair()


def _note(found: Found, about: tuple[str, str], moments: list[float], struck: float) -> None:
    """Take the confirmed renewals of one lock; one that was never renewed again has no times, it was not kept."""
    after = [at for at in moments if at > struck]
    if not after:
        return
    found.first[about].append((after[0] - struck) * 1000)
    around = [*[at for at in moments if at <= struck][-1:], *after]
    found.longest[about].append(max((b - a for a, b in itertools.pairwise(around)), default=0.0) * 1000)


def _kill(site: Site, found: Found) -> float:
    """Kill the site's primary, and wait until it accepts writes again; when it was killed."""
    kill = site.victim()
    struck = time.monotonic()
    kill()
    wait_until(site.is_writable, description=f"{site.title} accepts writes again", timeout=20, every=0.005)
    if site.title != ETCD:
        found.first[site.title, STORE].append((time.monotonic() - struck) * 1000)
    return struck


def _hand_over(site: Site, _: Found) -> float:
    struck = time.monotonic()
    site.hand_over()
    return struck


def _job(site: Site, subject: str, lanes: int, timing: Timing) -> Job:
    return Job(
        role="renew",
        subject=subject,
        url=site.url,
        lanes=_lanes(subject, lanes),
        spread_s=timing.interval_s,
        interval_s=timing.interval_s,
        ttl_s=timing.ttl_s,
    )


def _lanes(subject: str, count: int) -> tuple[int, ...]:
    """Locks whose keys the first shard of a Cluster serves."""
    first = (lane for lane in itertools.count() if key_slot(lock_key(subject, lane).encode()) < SLOTS // SHARDS)
    return tuple(itertools.islice(first, count))


def _holders(site: Site, lanes: int) -> dict[tuple[str, int], object]:
    return {(subject, lane): site.holder(subject, lane) for subject in site.subjects for lane in _lanes(subject, lanes)}
