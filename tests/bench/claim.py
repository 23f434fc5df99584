"""Taking the right to serve and giving it back: round trips, and what it costs client and server."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from tests.bench.contenders import Contender, contenders
from tests.bench.measure import Effort, Measure, Samples, Section, by_subject, cost_of, interleaved
from tests.bench.servers import RoundTrips, running_server, server_cpu
from tests.support.servers import Server

NOTES = (
    "One cycle is a claim and a release of a free exchange or lock, one after the other on an open connection.",
    "Ours claims in two round trips: it looks (time, status, snapshot) before the script decides, so that a lease it "
    "has seen is waited for on its own clock. The third releases. python-redis-lock also looks before it acquires.",
)


def bench(effort: Effort) -> Section:
    """Claim and release against the peers."""
    with running_server() as server:
        trips = round_trips(server, held=False)
        costs = costs_of(server, held=False, rounds=effort.pick(16, 2), count=effort.pick(150, 3))
    return Section(
        title="Claim and release",
        measures=(Measure(what="round trips a cycle", unit="", samples=trips), *costs),
        notes=NOTES,
    )


def round_trips(server: Server, *, held: bool) -> dict[str, Samples]:
    """Round trips of a renewal (`held`) or of a cycle, counted on the wire over ten, connected and loaded before."""
    found = {}
    with RoundTrips(server) as proxy, ExitStack() as closing:
        for subject, each in contenders(proxy.url).items():
            closing.callback(each.close)
            each.cycles(2)
            each.claim()
            each.renewals(1)
            if not held:
                each.release()
            before = proxy.count
            each.renewals(10) if held else each.cycles(10)
            found[subject] = [(proxy.count - before) / 10]
            if held:
                each.release()
    return by_subject(found)


class _Cost(NamedTuple):
    """One operation. Units: µs."""

    client: float
    server: float
    wall: float


def costs_of(server: Server, *, held: bool, rounds: int, count: int) -> tuple[Measure, ...]:
    """What a renewal (`held`) or a cycle costs client and server and takes on the clock, the contenders in turn."""
    with ExitStack() as closing:
        subjects = contenders(server.url)
        for each in subjects.values():
            closing.callback(each.close)
            each.cycles(3)
        samples = interleaved(
            {subject: partial(_sample, server, each, held, count) for subject, each in subjects.items()}, rounds=rounds
        )
    return tuple(
        Measure(what=what, unit="µs", samples=by_subject({s: (cost[at] for cost in samples[s]) for s in samples}))
        for at, what in enumerate(("processor time of the client", "processor time of the server", "time on the clock"))
    )


def _sample(server: Server, each: Contender, held: bool, count: int) -> _Cost:
    if held:
        each.claim()
    before = server_cpu(server)
    cost = cost_of(lambda: each.renewals(count) if held else each.cycles(count))
    served = server_cpu(server) - before
    if held:
        each.release()
    return _Cost(cost.cpu / count * 1e6, served / count * 1e6, cost.wall / count * 1e6)
