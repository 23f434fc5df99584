"""The embedded store: one server a data directory, gone with its owner, back with the next process, data and all."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from perseus.errors import BadConfiguration, StoreUnavailable
from perseus.store import Store, embedded
from perseus.store.embedded import embedded_store, socket_path, url
from tests.support.system import die_with_parent
from tests.support.waiting import wait_until, wait_until_async

ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory to another user")
Spawn = Callable[[], "subprocess.Popen[str]"]

# A process that keeps the store of the directory it is given, and says so.
OWNER = """
import asyncio, sys
from pathlib import Path
from perseus.store.embedded import embedded_store
async def own():
    async with embedded_store(Path(sys.argv[1])):
        print("up", flush=True)
        await asyncio.Event().wait()
asyncio.run(own())
"""


def servers_of(data_dir: Path) -> list[psutil.Process]:
    """The live servers of this data directory: their title names their socket."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        is_ours = str(socket_path(data_dir)) in " ".join(process.info["cmdline"] or ())
        if is_ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


@pytest.fixture
def spawn(data_dir: Path) -> Iterator[Spawn]:
    """Start a process that has the store open, and wait until it has; all are gone at the end."""
    with ExitStack() as cleanup:

        def start() -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", OWNER, str(data_dir)],
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread, nothing else runs in it
            )
            cleanup.callback(_kill, process)
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            return process

        yield start
        for server in servers_of(data_dir):
            server.resume()  # a test that failed may have left it stopped
    wait_until(lambda: not servers_of(data_dir), description="no server is left behind")


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


async def call(data_dir: Path, *command: Any) -> Any:
    """One command to the store of this data directory, by its public URL."""
    store = Store(url(data_dir))
    try:
        (reply,) = await store.pipeline(command)
    finally:
        await store.close()
    if isinstance(reply, Exception):
        raise reply
    return reply


async def answered(data_dir: Path, *command: Any) -> Any:
    """The same, as soon as there is somebody to answer."""

    async def reply() -> Any:
        try:
            return await call(data_dir, *command)
        except StoreUnavailable:
            return None

    return await wait_until_async(reply, description=f"{command} is answered")


# -- one after another ----------------------------------------------------------------------------------------------


async def test_data_is_kept_over_a_restart(data_dir: Path) -> None:
    """The log, the candles and the epochs are what a network remembers."""
    async with embedded_store(data_dir) as store_url:
        assert store_url == url(data_dir)
        await call(data_dir, "SET", "kept", "yes")
        (server,) = servers_of(data_dir)
        config = await call(data_dir, "CONFIG", "GET", "maxmemory-policy")
        assert config[1] == b"noeviction"
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
    async with embedded_store(data_dir):
        assert await call(data_dir, "GET", "kept") == b"yes"
    assert servers_of(data_dir) == []


async def test_only_its_user_may_connect(data_dir: Path) -> None:
    """It has no password: the directory and the socket are what keeps others out, and no port is open."""
    async with embedded_store(data_dir):
        path = socket_path(data_dir)
        assert path.stat().st_mode & 0o077 == 0
        (server,) = servers_of(data_dir)
        assert server.net_connections("inet") == []


async def test_killed_owner_leaves_no_server_and_its_data(data_dir: Path, spawn: Spawn) -> None:
    """kill -9 gives nobody a chance to clean up: the kernel ends the server, and the next owner finds everything."""
    owner = spawn()
    await call(data_dir, "SET", "kept", "yes")
    await call(data_dir, "WAITAOF", 1, 0, 2000)
    assert len(servers_of(data_dir)) == 1
    owner.kill()
    owner.wait()
    await wait_until_async(lambda: not servers_of(data_dir), description="the server has ended with its owner")
    async with embedded_store(data_dir):
        assert await call(data_dir, "GET", "kept") == b"yes"


async def test_next_owner_may_come_before_the_server_of_the_killed_one_has_ended(data_dir: Path, spawn: Spawn) -> None:
    """A supervisor restarts at once: the newcomer waits for the lock, it does not fail."""
    for _ in range(5):
        spawn().kill()
        async with asyncio.timeout(15), embedded_store(data_dir):
            # the old server may be the one that still answers; when it has gone, ours is there
            assert await answered(data_dir, "PING") == b"PONG"
        assert [server for server in servers_of(data_dir) if server.ppid() == os.getpid()] == []


# -- side by side ---------------------------------------------------------------------------------------------------


async def test_two_processes_share_one_server_and_the_second_takes_over(data_dir: Path, spawn: Spawn) -> None:
    """`perseus up` is several processes: whichever dies, the others must get their store back."""
    first = spawn()
    second = spawn()
    (server,) = servers_of(data_dir)
    assert server.ppid() == first.pid
    await call(data_dir, "SET", "kept", "yes")
    await call(data_dir, "WAITAOF", 1, 0, 2000)
    first.kill()
    first.wait()
    assert await answered(data_dir, "GET", "kept") == b"yes"
    (heir,) = await wait_until_async(
        lambda: [each for each in servers_of(data_dir) if each.ppid() == second.pid], description="the second runs it"
    )
    assert servers_of(data_dir) == [heir]


async def test_server_that_outlives_its_owner_keeps_the_directory_to_itself(
    data_dir: Path, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers on one append-only file spoil it: a newcomer waits for the old one's end, or gives up."""
    owner = spawn()
    (old,) = servers_of(data_dir)
    os.kill(old.pid, signal.SIGSTOP)  # it cannot end with its owner
    owner.kill()
    owner.wait()
    monkeypatch.setattr(embedded, "READY_WITHIN_S", 0.7)
    with pytest.raises(StoreUnavailable, match="did not come up"):
        async with embedded_store(data_dir):
            pytest.fail("it was entered")
    assert [each.pid for each in servers_of(data_dir)] == [old.pid]
    monkeypatch.setattr(embedded, "READY_WITHIN_S", 10.0)
    entering = asyncio.create_task(_ping(data_dir))
    await asyncio.sleep(0)
    os.kill(old.pid, signal.SIGCONT)
    assert await entering == b"PONG"


async def _ping(data_dir: Path) -> Any:
    async with embedded_store(data_dir):
        await wait_until_async(
            lambda: [each for each in servers_of(data_dir) if each.ppid() == os.getpid()], description="it runs ours"
        )
        return await answered(data_dir, "PING")


async def test_server_that_dies_is_brought_back_by_its_owner(data_dir: Path) -> None:
    """Out of memory, or killed by hand: the process that ran it still lives, and so must its store."""
    async with embedded_store(data_dir):
        await call(data_dir, "SET", "kept", "yes")
        await call(data_dir, "WAITAOF", 1, 0, 2000)
        (server,) = servers_of(data_dir)
        server.kill()
        assert await answered(data_dir, "GET", "kept") == b"yes"
        (new,) = servers_of(data_dir)
        assert new.pid != server.pid
    assert servers_of(data_dir) == []


async def test_ten_at_once_start_one_server(data_dir: Path) -> None:
    """A race for the lock has one winner, and the losers wait for it."""

    async def use(number: int) -> int:
        async with embedded_store(data_dir):
            await call(data_dir, "INCRBY", "uses", number)
            everyone.release()
            await asyncio.wait_for(over.wait(), 20)
            return len(servers_of(data_dir))

    everyone, over = asyncio.Semaphore(0), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        users = [tasks.create_task(use(number)) for number in range(10)]
        for _ in users:
            await asyncio.wait_for(everyone.acquire(), 20)
        assert len(servers_of(data_dir)) == 1
        assert await call(data_dir, "GET", "uses") == b"45"
        over.set()
    assert servers_of(data_dir) == []


# -- what cannot work -----------------------------------------------------------------------------------------------


@contextmanager
def mute_server(data_dir: Path) -> Iterator[None]:
    """A server that holds the lock and accepts connections, but answers nothing: stopped, or hung."""
    (data_dir / "store").mkdir(mode=0o700)
    lock = os.open(data_dir / "store" / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    listener = socket.socket(socket.AF_UNIX)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        listener.bind(str(socket_path(data_dir)))
        listener.listen(100)
        yield
    finally:
        listener.close()
        os.close(lock)


async def test_server_that_does_not_answer_is_given_up(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for ever for a hung server would look like a slow start; meanwhile the event loop must stay free."""
    assert embedded.READY_WITHIN_S == 10.0
    monkeypatch.setattr(embedded, "READY_WITHIN_S", 1.5)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    beating = asyncio.create_task(beat())
    began = time.monotonic()
    with mute_server(data_dir), pytest.raises(StoreUnavailable, match="did not come up"):
        async with asyncio.timeout(20), embedded_store(data_dir):
            pytest.fail("it was entered")
    assert time.monotonic() - began >= 1.5
    assert beats > 10
    beating.cancel()
    assert servers_of(data_dir) == []


async def test_paused_server_of_ones_own_is_ended_all_the_same(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped by a debugger, it does not hear SIGTERM: leaving it behind would lock the directory."""
    monkeypatch.setattr(embedded, "STOP_WITHIN_S", 0.5)
    async with embedded_store(data_dir):
        (server,) = servers_of(data_dir)
        os.kill(server.pid, signal.SIGSTOP)
    assert servers_of(data_dir) == []
    async with embedded_store(data_dir):
        assert await call(data_dir, "PING") == b"PONG"


async def test_server_that_ends_at_once_is_reported_with_its_last_words(data_dir: Path) -> None:
    """Spoilt data, a full disk: what the server said is the only clue."""
    async with embedded_store(data_dir):
        await call(data_dir, "SET", "kept", "yes")
    for file in (data_dir / "store").glob("appendonlydir/*.incr.aof"):
        file.write_bytes(b"*spoilt\r\n" * 100)
    with pytest.raises(StoreUnavailable, match="ended at once with code 1") as caught:
        async with embedded_store(data_dir):
            pytest.fail("it was entered")
    assert "valkey.log" in str(caught.value)
    assert servers_of(data_dir) == []


async def test_data_directory_with_a_long_path_works(data_dir: Path) -> None:
    """A Unix socket's path may have 107 bytes, a data directory's thousands."""
    deep = data_dir / ("d" * 100) / ("é" * 60)
    deep.mkdir(parents=True)
    async with embedded_store(deep):
        assert len(os.fsencode(socket_path(deep))) <= 107
        assert socket_path(deep).parent.stat().st_mode & 0o077 == 0
        await call(deep, "SET", "kept", "yes")
    async with embedded_store(deep):
        assert await call(deep, "GET", "kept") == b"yes"
    assert socket_path(deep) != socket_path(deep.parent / ("e" * 60)), "one socket a data directory"
    socket_path(deep).unlink(missing_ok=True)
    socket_path(deep).parent.rmdir()


async def test_data_directory_that_cannot_be_written_is_refused(data_dir: Path) -> None:
    """One sentence that names the directory and what to do, and nothing half-started."""
    (data_dir / "file").write_text("")
    with pytest.raises(BadConfiguration, match="PERSEUS_DATA_DIR") as caught:
        async with embedded_store(data_dir / "file"):
            pytest.fail("it was entered")
    assert str(data_dir / "file") in str(caught.value)


@ROOT
async def test_directory_of_another_user_is_refused(data_dir: Path) -> None:
    """Whoever owns the directory can put a server of their own where ours should be."""
    (data_dir / "store").mkdir()
    os.chown(data_dir / "store", 65534, 65534)
    with pytest.raises(BadConfiguration, match="it belongs to another user"):
        async with embedded_store(data_dir):
            pytest.fail("it was entered")
    assert servers_of(data_dir) == []


@ROOT
async def test_socket_directory_prepared_by_another_user_is_refused(data_dir: Path) -> None:
    """With a long path the socket lies in a directory everybody may write to, under a name everybody can compute."""
    deep = data_dir / ("d" * 120)
    deep.mkdir()
    trap = socket_path(deep).parent
    trap.mkdir(mode=0o777)
    try:
        os.chown(trap, 65534, 65534)
        with pytest.raises(BadConfiguration, match="it belongs to another user"):
            async with embedded_store(deep):
                pytest.fail("it was entered")
    finally:
        trap.rmdir()
    assert servers_of(deep) == []
