"""Lives that end while people are to be told: of one instance, of one with the notifier's host, of many at once."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from perseus import keys
from perseus.timing import LeaseTiming
from tests.bench.alert_network import AlertedNetwork
from tests.bench.alert_polling import EVERY_S, PEER
from tests.bench.contenders import TIMING, TTL_S
from tests.bench.measure import OURS, Measure, by_subject
from tests.bench.servers import uptime_s
from tests.support.waiting import wait_until

CROWD = LeaseTiming(4.0, 12)  # of one process for all: a busy machine must not lose it a lease
SETTLED_S = TTL_S + TIMING.interval_s + 9  # of a store's uptime: before, a watcher waits for who may come back
TOLD_WITHIN_MS = (TTL_S + 2) * 1000
NOTIFIER_WITHIN_MS = 7000
SEED = 20261123

_random = random.Random(SEED)
_Times = defaultdict[str, list[float]]


class Pace(NamedTuple):
    """Of the deaths. `poll_s`: the peer's. `apart_s`: from a message to the next kill, some 2 s before an expiry.

    Deaths within 10 s would share a message.
    """

    poll_s: float = EVERY_S
    apart_s: float = 8.5
    crowd: LeaseTiming = CROWD

    @property
    def seen_s(self) -> float:
        """Of a life: the peer has looked at it then."""
        return self.poll_s + 0.5


class Death(NamedTuple):
    """One that was told. Units: Unix seconds. `ends_at`: of every lease that had to end first."""

    killed_at: float
    ends_at: float
    told_at: Mapping[str, float]


def alone(networks: Sequence[AlertedNetwork], lanes: range, *, pace: Pace) -> Iterator[Measure]:
    """kill -9 of an instance, in each network one after the other; its servers live on."""
    deaths = [death for lane in lanes for death in _round(networks, lane, AlertedNetwork.die, pace=pace)]
    yield from _measures("kill -9 of an instance", deaths, within_ms=TOLD_WITHIN_MS)


def with_notifier(networks: Sequence[AlertedNetwork], lanes: range, *, pace: Pace) -> Iterator[Measure]:
    """kill -9 of an instance and of the server that tells, at once, in each network one after the other."""

    def strike(network: AlertedNetwork, lane: int) -> float:
        notifier = network.notifier()
        assert notifier is not None, "there is no notifier to kill"
        ends_at = network.die(lane)
        network.kill(notifier.hostname)
        return max(ends_at, network.ends_at(keys.notifier()))

    deaths: list[Death] = []
    for lane in lanes:
        deaths += _round(networks, lane, strike, pace=pace, channels=(OURS,))
        for network in networks:
            network.restart_killed()
    yield from _measures("kill -9 of instance and notifier at once", deaths, within_ms=NOTIFIER_WITHIN_MS)


def crowd(network: AlertedNetwork, *, rounds: int, pace: Pace) -> Iterator[Measure]:
    """kill -9 of a process that holds many exchanges at once."""
    each = len(network.lanes) // rounds
    last, requests = _Times(list), _Times(list)
    for first in range(0, len(network.lanes), each):
        lanes = range(first, first + each)
        network.live(*lanes, timing=pace.crowd, spread_s=pace.crowd.interval_s)
        time.sleep(pace.seen_s if first == 0 else max(pace.seen_s, pace.apart_s + 2))
        killed_at = time.time()
        ends_at = network.die(*lanes)
        names = [network.lanes[lane].display_name for lane in lanes]
        ours = [f"{each} of {network.exchanges} exchanges"]
        for subject, texts in ((OURS, ours), (PEER, names)):
            told = network.told[subject]
            last[subject].append((told.wait_for(*texts, since=killed_at) - ends_at) * 1000)
            requests[subject].append(told.requests(since=killed_at))
    what = f"{each} exchanges die at once"
    yield Measure(what=f"{what}: from the last lease's end until all are told", unit="ms", samples=by_subject(last))
    yield Measure(what=f"{what}: requests to Discord", unit="", samples=by_subject(requests))


def _round(
    networks: Sequence[AlertedNetwork],
    lane: int,
    strike: Callable[[AlertedNetwork, int], float],
    *,
    pace: Pace,
    channels: Sequence[str] = (OURS, PEER),
) -> list[Death]:
    """Let one life in each network end at a moment of its own, and wait until all of that is told."""
    for network in networks:
        network.live(lane)
    seen_at = time.time() + pace.seen_s
    struck: list[tuple[float, float]] = []
    for network in networks:
        paced_at = network.told_at + pace.apart_s
        time.sleep(max(0.0, seen_at - time.time(), paced_at - time.time()) + _random.uniform(0, TIMING.interval_s))
        struck.append((time.time(), strike(network, lane)))
    deaths = []
    for network, (killed_at, ends_at) in zip(networks, struck, strict=True):
        name = network.lanes[lane].display_name
        told_at = {channel: network.told[channel].wait_for(name) for channel in channels}
        network.told_at = told_at[OURS]
        deaths.append(Death(killed_at, ends_at, told_at))
    return deaths


def _measures(what: str, deaths: Sequence[Death], *, within_ms: float) -> Iterator[Measure]:
    killed, ended = _Times(list), _Times(list)
    for death in deaths:
        for subject, at in death.told_at.items():
            killed[subject].append((at - death.killed_at) * 1000)
            ended[subject].append((at - death.ends_at) * 1000)
    slowest = {subject: [max(values)] for subject, values in killed.items()}
    yield Measure(what=f"{what}: from the kill to the message", unit="ms", samples=by_subject(killed))
    yield Measure(what=f"{what}: the slowest of {len(deaths)}", unit="ms", samples=by_subject(slowest), aim=within_ms)
    yield Measure(what=f"{what}: from the lease's end to the message", unit="ms", samples=by_subject(ended))


def settle(networks: Sequence[AlertedNetwork]) -> None:
    """Wait until every store has been up for so long that a death is recorded at once."""
    for network in networks:
        wait_until(
            partial(_is_settled, network),
            description="the store has been up for long enough",
            timeout=60,
            every=0.2,
        )


def _is_settled(network: AlertedNetwork) -> bool:
    return uptime_s(network.store) >= SETTLED_S
