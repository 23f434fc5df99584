"""A process that only holds an exchange: its memory, and what its heartbeats cost."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import redis

from perseus import keys
from perseus.store.embedded import socket_path
from tests.bench.children import Child, perseus
from tests.bench.measure import OURS, Effort, Measure, Section, by_subject
from tests.bench.servers import running_server
from tests.support.servers import Server
from tests.support.system import free_port, short_directory
from tests.support.waiting import wait_until

BINANCE = 2
REDIS_LOCK = "python-redis-lock, auto_renewal"
REDIS_PY = "redis-py Lock, asyncio loop"
BARE = "bare python"
REDIS_SERVER = "redis-server"
# The peers renew every 15 s too, each as documented; `bench:ready:*` says that they hold their lock.
_REDIS_LOCK = """
import redis, redis_lock, sys, threading
class Lock(redis_lock.Lock):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._lock_renewal_interval = 15
client = redis.StrictRedis.from_url(sys.argv[1])
Lock(client, sys.argv[2], expire=45, auto_renewal=True).acquire()
client.set("bench:ready:" + sys.argv[2], 1)
threading.Event().wait()
"""
_REDIS_PY = """
import asyncio, redis.asyncio, sys
async def main():
    client = redis.asyncio.Redis.from_url(sys.argv[1])
    lock = client.lock(sys.argv[2], timeout=45)
    await lock.acquire()
    await client.set("bench:ready:" + sys.argv[2], 1)
    while True:
        await asyncio.sleep(15)
        await lock.reacquire()
asyncio.run(main())
"""
_BARE = "import threading; threading.Event().wait()"


def bench(effort: Effort) -> Section:
    """Memory after settling, and processor time over two heartbeats at the default interval of 15 s."""
    stretch_s, copies = effort.pick(30, 1), effort.pick(3, 1)
    with running_server() as server, short_directory() as directory, ExitStack() as ending:
        children: dict[str, list[Child]] = {subject: [] for subject in (OURS, REDIS_LOCK, REDIS_PY, BARE)}
        for number in range(copies):
            for subject, command in _commands(server, directory, number).items():
                child = ending.enter_context(Child(command, talks=False, directory=directory))
                children[subject].append(child)
        for number, ours in enumerate(children[OURS]):
            ending.callback(ours.stop)
            _wait_ready(server, directory, number)
        cpu = _cpu_over(children, seconds=stretch_s)
        memory = {subject: [child.resident_mib for child in each] for subject, each in children.items()}
        stores = _stores([_server_of(child) for child in children[OURS]], directory)
    return Section(
        title="An idle process",
        measures=(
            Measure(what="resident memory of the process", unit="MiB", samples=by_subject(memory), aim=50),
            Measure(what="processor time a minute", unit="ms CPU", samples=by_subject(cpu)),
            Measure(what="resident memory of the store", unit="MiB", samples=by_subject(stores)),
        ),
        notes=(
            "`perseus run binance --idle` with the embedded store and default settings: a renewal every 15 s, a "
            "command stream it waits on, a store it watches, a clock it looks at once a second because timers do not "
            "count suspend. The peers renew every 15 s and do nothing else.",
            f"{copies} of each side by side over {stretch_s} s. The store is the server the instance started; its peer "
            "an empty one of Debian's with the same options, where it is installed.",
        ),
    )


def _commands(server: Server, directory: Path, number: int) -> dict[str, list[str]]:
    python = [sys.executable, "-c"]
    return {
        OURS: perseus("run", "binance", "--idle", "--data-dir", directory / str(number)),
        REDIS_LOCK: [*python, _REDIS_LOCK, server.url, f"redis-lock-{number}"],
        REDIS_PY: [*python, _REDIS_PY, server.url, f"redis-py-{number}"],
        BARE: [*python, _BARE],
    }


def _wait_ready(server: Server, directory: Path, number: int) -> None:
    names = [f"bench:ready:redis-lock-{number}", f"bench:ready:redis-py-{number}"]
    wait_until(lambda: server.call("EXISTS", *names) == 2, description="the peers hold their locks", timeout=30)
    data_dir = directory / str(number)
    wait_until(lambda: _is_idle(data_dir), description="the instance holds its exchange", timeout=30)


def _is_idle(data_dir: Path) -> bool:
    with redis.Redis(unix_socket_path=str(socket_path(data_dir))) as client:
        try:
            return bool(client.exists(keys.status(BINANCE)))
        except redis.ConnectionError:
            return False


def _cpu_over(children: dict[str, list[Child]], *, seconds: int) -> dict[str, list[float]]:
    """Milliseconds of processor time a minute. Bare Python is left out: it uses none."""
    time.sleep(1 if seconds > 1 else 0)  # what the start left over has settled then
    before = {subject: [child.cpu for child in each] for subject, each in children.items() if subject != BARE}
    began = time.monotonic()
    time.sleep(seconds)  # the stretch that is measured, not a wait for something
    to_minute = 60_000 / (time.monotonic() - began)
    return {
        subject: [(child.cpu - at) * to_minute for child, at in zip(children[subject], earlier, strict=True)]
        for subject, earlier in before.items()
    }


def _server_of(child: Child) -> psutil.Process:
    (server,) = psutil.Process(child.pid).children()
    return server


def _stores(servers: list[psutil.Process], directory: Path) -> dict[str, list[float]]:
    found = {OURS: [_mib(server) for server in servers]}
    binary = shutil.which("redis-server")
    if binary is not None:
        port = free_port()
        options = ("--port", port, "--dir", directory, "--appendonly", "yes", "--save", "")
        with Child([binary, *map(str, options)], talks=False, directory=directory) as child:
            client = redis.Redis(port=port)
            wait_until(lambda: _answers(client), description="redis-server answers")
            client.close()
            found[REDIS_SERVER] = [child.resident_mib]
    return found


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20
