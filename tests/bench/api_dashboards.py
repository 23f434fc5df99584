"""Dashboards that are told: event streams of `network.onChange`, all fed by one reading of the store."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import NamedTuple

import redis

from tests.bench.api_records import ENTRIES, append_entry
from tests.bench.api_sites import LONGEST_S, Site, site_of
from tests.bench.children import Child, module
from tests.bench.measure import OURS, Effort, Measure, by_subject
from tests.support.servers import Server

EXCHANGES = 3
EVERY_S = 0.37  # an entry comes: not in step with the readings
_NO_READS = re.compile(r"info|xadd|time|client|hello|ping|auth|select")  # the bench's own, and those of no key


class Told(NamedTuple):
    """Lines of the table, and what must be known to read them."""

    measures: Sequence[Measure]
    notes: Sequence[str]


class _Stretch(NamedTuple):
    """What some seconds with subscribers cost. Units: ms of processor time a second, MiB, commands a second, ms."""

    cpu: float
    resident_mib: float
    reads: float
    waits_ms: list[float]


def told(store: Server, effort: Effort) -> Told:
    """The same stretch with one subscriber and with many; an entry comes every EVERY_S, and all must get it."""
    many, seconds = effort.pick(1000, 20), effort.pick(10, 1)
    with site_of(EXCHANGES, store=store, peers=False) as site:
        one, crowd = (_stretch(site, store, count, seconds=seconds) for count in (1, many))
    per_subscriber_kib = (crowd.resident_mib - one.resident_mib) * 1024 / (many - 1)
    lines = {
        ("commands that read the store, 1 dashboard told, a second", ""): [one.reads],
        (f"commands that read the store, {many} dashboards told, a second", ""): [crowd.reads],
        (f"{many} dashboards told: processor time a second", "ms CPU"): [crowd.cpu],
        (f"{many} dashboards told: resident memory for each", "KiB"): [per_subscriber_kib],
        (f"{many} dashboards told: from an entry until the last of them has it", "ms"): crowd.waits_ms,
    }
    note = (
        f"Dashboards told: event streams of `network.onChange` on a network of {EXCHANGES} exchanges, pinged every "
        f"second. Every {EVERY_S:g} s, for {seconds} s, an entry came to a log; each of them was told of every one, in "
        "order. The store is read once a second, so an entry waits for half a second before anything is done."
    )
    measures = [
        Measure(what=what, unit=unit, samples=by_subject({OURS: values})) for (what, unit), values in lines.items()
    ]
    return Told(measures, [note])


def _stretch(site: Site, store: Server, count: int, *, seconds: int) -> _Stretch:
    server = site.servers[OURS]
    command = module("tests.bench.api_subscribers", server.port, count)
    with (
        Child(command, settings={"BENCH_TOKEN": site.token}, longest_s=LONGEST_S) as dashboards,
        redis.Redis(port=store.port) as client,
    ):
        dashboards.answers(1)  # all of them have the cards
        began, cpu, reads = time.monotonic(), server.child.cpu, _reads(store)
        added = []
        for number in range(round(seconds / EVERY_S)):
            added.append(append_entry(client, site.exchanges[0], number=ENTRIES + number))
            time.sleep(EVERY_S)  # the pace of the stretch that is measured
        took = time.monotonic() - began
        cpu_ms, read = (server.child.cpu - cpu) * 1000 / took, (_reads(store) - reads) / took
        dashboards.tell(" ".join(added))
        (said,) = dashboards.answers(1)
        return _Stretch(cpu_ms, server.child.resident_mib, read, said["waitsMs"])


def _reads(store: Server) -> int:
    """How many commands that read keys the store has been given."""
    stats = store.call("INFO", "commandstats").decode()
    calls = re.findall(r"^cmdstat_([\w|-]+):calls=(\d+)", stats, re.MULTILINE)
    return sum(int(count) for name, count in calls if not _NO_READS.match(name))
