"""Keeping the right to serve: what one renewal costs client and server."""

from __future__ import annotations

from perseus.lease import encode_status
from tests.bench.claim import costs_of, round_trips
from tests.bench.contenders import bench_exchange, full_status
from tests.bench.measure import Effort, Measure, Section
from tests.bench.servers import running_server


def bench(effort: Effort) -> Section:
    """One renewal after the other on an open connection, against the peers."""
    with running_server() as server:
        trips = round_trips(server, held=True)
        costs = costs_of(server, held=True, rounds=effort.pick(16, 2), count=effort.pick(300, 3))
    size = len(encode_status(full_status(bench_exchange())))
    return Section(
        title="Heartbeat",
        measures=(Measure(what="round trips a renewal", unit="", samples=trips, aim=1), *costs),
        notes=(
            f"Ours composes and publishes a status of {size} bytes, keeps it as a snapshot and wakes whoever watches; "
            "the peers set a TTL. redis-py: `reacquire`, which a program must call itself; python-redis-lock: "
            "`extend`, which its renewal thread calls.",
            "At the default of one renewal in 15 s all of this is small; “An idle process” has what one really uses.",
        ),
    )
