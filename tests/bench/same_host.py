"""A holder with a long lease dies; the next one on the same host can prove that it died, and need not wait for it."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
from redis import Redis

from perseus import keys
from perseus.lease import decode_status
from perseus.model import exchange_named
from perseus.timing import LeaseTiming
from tests.bench.children import Child, perseus
from tests.bench.contenders import ETCD, REDIS_LOCK, REDIS_PY
from tests.bench.jobs import Job
from tests.bench.lockers import LOOK_S, POLL_S
from tests.bench.measure import OURS, Effort, Measure, Section, by_subject
from tests.bench.servers import running_etcd, running_server, uptime_s
from tests.support.servers import Server
from tests.support.system import short_directory
from tests.support.waiting import wait_until

SEED = 20260210
STATUS = keys.status(exchange_named("binance").id)


def bench(effort: Effort) -> Section:
    """Kill holders for whom somebody waits, and holders after whom somebody is started."""
    lanes, timing = effort.pick(8, 2), LeaseTiming(effort.pick(4, 1), effort.pick(12, 3))
    with running_server() as server, running_etcd() as etcd, short_directory() as directory, ExitStack() as ending:
        peers = {REDIS_PY: server.url, REDIS_LOCK: server.url} | ({ETCD: etcd.url} if etcd else {})
        scene = partial(_Scene, timing=timing, ending=ending)
        waited = [scene(OURS, server.url, range(lanes), data_dir=str(directory))]
        waited += [scene(peer, url, range(lanes)) for peer, url in peers.items()]
        started = [scene(peer, url, range(lanes, 2 * lanes)) for peer, url in peers.items()]
        for each in (*waited, *started):
            each.wait_until_held()
        for each in waited:
            each.begin_to_wait()
        settled = "a claim need not wait for the server, which has been up for long enough"
        wait_until(lambda: uptime_s(server) > timing.ttl_s + 1, description=settled, timeout=60)
        for each in waited:
            each.kill()
        for each in started:
            each.kill()
            each.begin_to_wait()
        restarts = {OURS: _restarts(server, directory, effort.pick(8, 1), timing=timing)}
        gaps = {each.subject: each.gaps() for each in waited}
        restarts |= {each.subject: each.gaps() for each in started}
    return Section(
        title="Takeover on the same host",
        measures=(
            Measure(what="kill -9, another waiting: to the next holder", unit="ms", samples=by_subject(gaps), aim=100),
            Measure(what="kill -9, another started then: to the next holder", unit="ms", samples=by_subject(restarts)),
        ),
        notes=_notes(timing, lanes),
    )


def _notes(timing: LeaseTiming, lanes: int) -> tuple[str, ...]:
    return (
        f"TTL {timing.ttl_s} s, renewed every {timing.interval_s:g} s at phases spread evenly; real processes, {lanes} "
        "locks each.",
        "The kernel frees a dead holder's lock file; whoever holds that file then knows that the holder is dead and "
        "replaces its lease ([decision 17](decisions/0017-a-dead-holder-is-proven-by-its-lock-file.md)). The peers "
        "have nothing like it: their next holder waits for what is left of the TTL, and python-redis-lock's until its "
        "own wait of one TTL is over and the key has expired (redis-py's default socket timeout of 5 s would end its "
        "`acquire` with an error before that; here it has none). On another host ours waits for the TTL, too.",
        f"Waiting, ours is a loop that tries the lock file every {LOOK_S * 1000:g} ms, which costs the store nothing, "
        "and claims once it has it. Started then: `perseus run binance --idle`, again and again in the same data "
        "directory, until its status stands in the store; start-up is included, for the peers as well.",
    )


class _Scene:
    """A process that holds locks, and one that wants them, after it was killed or before."""

    def __init__(
        self,
        subject: str,
        url: str,
        lanes: range,
        *,
        timing: LeaseTiming,
        ending: ExitStack,
        data_dir: str | None = None,
    ) -> None:
        self.subject = subject
        self._job = Job(
            role="hold",
            subject=subject,
            url=url,
            lanes=tuple(lanes),
            spread_s=timing.interval_s,
            offset=random.Random(f"{SEED} {subject}").random(),
            interval_s=timing.interval_s,
            ttl_s=timing.ttl_s,
            data_dir=data_dir,
        )
        self._ending = ending
        self._holder = ending.enter_context(Child(self._job.command))
        self._killed_at = 0.0
        self._waited_before = False
        self._waiter: Child | None = None

    def wait_until_held(self) -> None:
        """Return once the holder has all its locks."""
        self._holder.answers(len(self._job.lanes))

    def begin_to_wait(self) -> None:
        """Start who wants them; while the holder lives, return once they do."""
        waits = msgspec.structs.replace(self._job, role="wait", spread_s=POLL_S)
        self._waiter = self._ending.enter_context(Child(waits.command))
        self._waited_before = not self._killed_at
        if self._waited_before:
            self._waiter.answers(len(self._job.lanes))

    def kill(self) -> None:
        """kill -9 to the holder."""
        self._killed_at = time.monotonic()
        self._holder.kill9()

    def gaps(self) -> list[float]:
        """From the kill until each lock had its next holder, ms."""
        assert self._waiter is not None
        said = self._waiter.answers(len(self._job.lanes) * (1 if self._waited_before else 2))
        moments = {each["lane"]: each["at"] for each in said}  # its last word: that it has the lock
        return [(at - self._killed_at) * 1000 for at in moments.values()]


def _restarts(server: Server, directory: Path, rounds: int, *, timing: LeaseTiming) -> list[float]:
    """From the kill of an instance until the one started then is registered, ms."""
    command = perseus("run", "binance", "--idle", "--store", server.url, "--data-dir", directory / "data")
    settings = {"PERSEUS_HEARTBEAT_INTERVAL": str(timing.interval_s), "PERSEUS_LEASE_TTL": str(timing.ttl_s)}
    gaps: list[float] = []
    with server.client() as there, ExitStack() as ending:
        holder = ending.enter_context(Child(command, settings=settings, talks=False))
        for _ in range(rounds):
            before = _claim_in(there, "", renewed=True, process=holder)
            killed_at = time.monotonic()
            holder.kill9()
            holder = ending.enter_context(Child(command, settings=settings, talks=False))
            _claim_in(there, before, renewed=False, process=holder)
            gaps.append((time.monotonic() - killed_at) * 1000)
    return gaps


def _claim_in(there: Redis, before: str, *, renewed: bool, process: Child) -> str:
    """Wait for another claim than `before`, renewed at least once if that is wanted; its id."""

    def claim() -> str | None:
        assert process.is_running, "the instance ended before it had registered"
        raw = there.get(STATUS)
        status = decode_status(raw, STATUS) if isinstance(raw, bytes) else None
        is_it = status is not None and status.claim_id != before and (not renewed or (status.rev or 0) > 0)
        return status.claim_id if status is not None and is_it else None

    found = wait_until(claim, description="the instance has registered", timeout=30, every=0.0003)
    assert found is not None
    return found
