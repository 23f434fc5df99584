"""Whole processes from exec on: imports, commands, and until an instance is registered."""

from __future__ import annotations

import compileall
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import redis

from perseus import keys
from perseus.store.embedded import socket_path
from tests.bench.children import ROOT, Child, clean_environment, perseus
from tests.bench.measure import OURS, Effort, Measure, Section, by_subject, interleaved
from tests.bench.servers import running_server, uptime_s
from tests.support.servers import Server
from tests.support.system import short_directory
from tests.support.waiting import wait_until

BINANCE = 2
SETTINGS = {"PERSEUS_HEARTBEAT_INTERVAL": "1", "PERSEUS_LEASE_TTL": "4"}
BARE = "python -c pass"
IMPORT_REDIS = "import redis"
REDIS_GET = "import redis, one GET"
REDIS_LOCK = "import redis, Lock.acquire"
_GET = "import redis, sys; redis.Redis.from_url(sys.argv[1]).get('x')"
_LOCK = "import redis, sys, time; redis.Redis.from_url(sys.argv[1]).lock('bench', timeout=9).acquire(); time.sleep(60)"


def bench(effort: Effort) -> Section:
    """Import time, commands that end, and spawn to registered."""
    compileall.compile_dir(ROOT / "src", quiet=2)
    with short_directory() as directory, running_server() as server:
        measures = [*_imports(server, directory, rounds=effort.pick(15, 1))]
        wait_until(
            lambda: uptime_s(server) > 5, description="the server is up long enough to be claimed on", timeout=15
        )
        measures += _registered(server, directory, rounds=effort.pick(9, 1))
    return Section(
        title="Start",
        measures=measures,
        notes=(
            "Whole processes, exec to exit, bytecode compiled. `perseus status` reads four exchanges from a running "
            "server; its peer imports redis-py and reads one key.",
            "Registered: from exec until the key can be read, polled about every 0.3 ms. Ours has then checked the "
            "store, claimed, and begun to renew; with the embedded store it has also started that server.",
        ),
    )


def _imports(server: Server, directory: Path, *, rounds: int) -> list[Measure]:
    python = [sys.executable, "-c"]
    run = partial(_seconds, directory=directory)
    taken = interleaved(
        {
            "import": partial(run, [*python, "import perseus"]),
            "help": partial(run, perseus("--help")),
            "status": partial(run, perseus("status", "--store", server.url), allowed=(0, 1)),
            BARE: partial(run, [*python, "pass"]),
            IMPORT_REDIS: partial(run, [*python, IMPORT_REDIS]),
            REDIS_GET: partial(run, [*python, _GET, server.url]),
        },
        rounds=rounds,
    )

    def measure(what: str, ours: str, *peers: str, aim: float) -> Measure:
        samples = by_subject({OURS: taken[ours]} | {peer: taken[peer] for peer in peers})
        return Measure(what=what, unit="ms", samples=samples, aim=aim)

    return [
        measure("`python -c 'import perseus'`", "import", BARE, IMPORT_REDIS, aim=100),
        measure("`perseus --help`", "help", BARE, IMPORT_REDIS, aim=100),
        measure("`perseus status`", "status", BARE, REDIS_GET, aim=300),
    ]


def _registered(server: Server, directory: Path, *, rounds: int) -> list[Measure]:
    with server.client() as there:
        in_store = interleaved(
            {
                OURS: lambda: _until_registered(
                    perseus("run", "binance", "--idle", "--store", server.url, "--data-dir", directory / "data"),
                    lambda: bool(there.exists(keys.status(BINANCE))),
                    forget=there.flushall,
                ),
                REDIS_LOCK: lambda: _until_registered(
                    [sys.executable, "-c", _LOCK, server.url],
                    lambda: bool(there.exists("bench")),
                    forget=there.flushall,
                ),
            },
            rounds=rounds,
        )
    embedded = [_until_embedded(directory / f"embedded{number}") for number in range(max(1, rounds // 2))]
    return [
        Measure(what="spawn to registered, running server", unit="ms", samples=by_subject(in_store)),
        Measure(what="spawn to registered, embedded store", unit="ms", samples=by_subject({OURS: embedded})),
    ]


def _seconds(command: Sequence[str], *, directory: Path, allowed: Sequence[int] = (0,)) -> float:
    """Milliseconds a process takes."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, cwd=directory, env=clean_environment(), check=False)
    taken = time.perf_counter() - began
    assert done.returncode in allowed, f"{command} ended with {done.returncode}: {done.stderr.decode()[-500:]}"
    return taken * 1000


def _until_registered(command: Sequence[str], is_there: Callable[[], bool], *, forget: Callable[[], object]) -> float:
    """Milliseconds from exec until the key is there. It is killed then, and the store forgets it."""
    began = time.perf_counter()
    with Child(command, settings=SETTINGS, talks=False) as child:
        _poll(is_there, child)
        taken = time.perf_counter() - began
    forget()
    return taken * 1000


def _until_embedded(data_dir: Path) -> float:
    began = time.perf_counter()
    with ExitStack() as closing:
        child = closing.enter_context(
            Child(perseus("run", "binance", "--idle", "--data-dir", data_dir), settings=SETTINGS, talks=False)
        )
        _poll(lambda: _registered_in(data_dir), child)
        taken = time.perf_counter() - began
        child.stop()
    return taken * 1000


def _registered_in(data_dir: Path) -> bool:
    if not socket_path(data_dir).exists():
        return False
    try:
        with redis.Redis(unix_socket_path=str(socket_path(data_dir))) as client:
            return bool(client.exists(keys.status(BINANCE)))
    except (redis.ConnectionError, redis.BusyLoadingError):
        return False  # it listens a moment after its socket is there


def _poll(is_there: Callable[[], bool], child: Child) -> None:
    wait_until(
        lambda: is_there() or not child.is_running, description="the process has registered", timeout=20, every=0.0003
    )
    assert child.is_running, "the process ended before it had registered"
