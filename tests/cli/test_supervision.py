"""What a supervisor is told: ready once the work can be done, alive only while it is, stopping when it stops."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perseus.cli import supervision
from perseus.cli.supervision import supervised
from perseus.instances.coordination import coordinating
from tests.support.processes import PerseusProcess
from tests.support.servers import Server
from tests.support.supervisor import NotifySocket
from tests.support.waiting import wait_until, wait_until_async

Perseus = Callable[..., PerseusProcess]


@pytest.fixture
def supervisor(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NotifySocket]:
    """Its socket, named in the environment as systemd does it."""
    with NotifySocket(data_dir / "notify") as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", listening.path)
        yield listening


async def test_ready_comes_when_it_is_true_and_beats_follow(
    supervisor: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is started after us relies on it; until then the start must not time out."""
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    monkeypatch.setattr(supervision, "EXTEND_EVERY_S", 0.02)
    ready = asyncio.Event()

    async def is_ready() -> None:
        await ready.wait()

    async with supervised(stop=asyncio.Event(), ready=is_ready):
        await wait_until_async(lambda: len(supervisor.told) > 2, description="more time is asked for")
        assert set(supervisor.told) == {"EXTEND_TIMEOUT_USEC=30000000"}
        ready.set()
        await wait_until_async(lambda: supervisor.told[-2:] == ["WATCHDOG=1"] * 2, description="it beats")
        assert supervisor.told.count("READY=1") == 1


async def test_silence_where_something_does_not_answer(
    supervisor: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beat from half of a process would keep a hung one alive."""
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    answering = asyncio.Event()
    answering.set()
    asked = asyncio.Event()

    async def alive() -> None:
        if not answering.is_set():
            asked.set()
        await answering.wait()

    async with supervised(stop=asyncio.Event(), alive=alive):
        await wait_until_async(lambda: "WATCHDOG=1" in supervisor.told, description="it beats")
        answering.clear()
        await asyncio.wait_for(asked.wait(), 5)
        before = supervisor.told
        await asyncio.sleep(0.2)  # eight beats
        assert supervisor.told == before
        answering.set()
        await wait_until_async(lambda: len(supervisor.told) > len(before), description="it beats again")


async def test_stopping_is_told_and_beats_go_on(supervisor: NotifySocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """An orderly end takes seconds, and is not to be shot during them."""
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    stop = asyncio.Event()
    async with supervised(stop=stop):
        stop.set()
        await wait_until_async(lambda: "STOPPING=1" in supervisor.told, description="it says so")
        count = len(supervisor.told)
        await wait_until_async(lambda: len(supervisor.told) > count + 1, description="it beats")


async def test_watchdog_of_another_process_is_not_ours(
    supervisor: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables are inherited by everything a service starts."""
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    async with supervised(stop=asyncio.Event()):
        await wait_until_async(lambda: supervisor.told, description="it is ready")
        await asyncio.sleep(0.1)
        assert supervisor.told == ["READY=1"]
        assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)


async def test_abstract_socket_is_reached(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some supervisors have no file."""
    with NotifySocket(Path(f"@{data_dir.name}")) as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", listening.path)
        async with supervised(stop=asyncio.Event()):
            await wait_until_async(lambda: listening.told == ["READY=1"], description="it is ready")


async def test_supervisor_that_is_gone_is_logged_once_and_ends_nothing(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exchange is not given up because nobody listens to us."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(data_dir / "nobody"))
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    printed = ""

    def said() -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        return "supervisor_not_reached" in printed

    async with supervised(stop=asyncio.Event()):
        await wait_until_async(said, description="it is logged")
        await asyncio.sleep(0.1)
        said()
    assert printed.count("supervisor_not_reached") == 1


async def test_thread_that_renews_the_lease_answers_only_while_it_lives(valkey: Server) -> None:
    """Without it an instance looks well and loses its exchange."""
    async with coordinating(valkey.url, timeout_s=1) as coordination:
        await asyncio.wait_for(coordination.answers(), 5)
        coordination.loop.call_soon_threadsafe(time.sleep, 0.3)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(coordination.answers(), 0.1)
        await asyncio.wait_for(coordination.answers(), 5)
    with pytest.raises(RuntimeError):
        await coordination.answers()


def test_instance_is_ready_once_it_has_the_exchange(
    perseus: Perseus, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`systemctl start` then says whether it has it: with exit code 3 where another instance does, without waiting."""
    with NotifySocket(data_dir / "a") as first, NotifySocket(data_dir / "b") as second:
        monkeypatch.setenv("NOTIFY_SOCKET", first.path)
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        process = perseus("run", "binance", "--idle")
        wait_until(lambda: "WATCHDOG=1" in first.told, description="it is ready")
        assert process.status() is not None
        monkeypatch.setenv("NOTIFY_SOCKET", second.path)
        assert perseus("run", "binance").wait_exit() == 3
        assert "READY=1" not in second.told
        told = first.told
        assert told.index("READY=1") < told.index("WATCHDOG=1")
        assert process.stop_signal(signal.SIGTERM) == 0
        assert first.told.count("STOPPING=1") == 1


async def test_supervisor_that_is_slow_to_read_is_told_everything(
    supervisor: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue holds ten messages; a lost READY would be a failed start."""
    monkeypatch.setattr(supervision, "EXTEND_EVERY_S", 0.002)
    waiting, stop = iter(range(40)), asyncio.Event()

    async def is_ready() -> None:
        for _ in waiting:
            await asyncio.sleep(0.01)

    async with supervised(stop=stop, ready=is_ready):
        stop.set()
        while next(waiting, None) is not None:
            await asyncio.sleep(0.01)
        await wait_until_async(lambda: {"READY=1", "STOPPING=1"} <= set(supervisor.told), description="all is told")


def test_hung_instance_falls_silent(perseus: Perseus, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what the watchdog ends."""
    with NotifySocket(data_dir / "a") as supervisor:
        monkeypatch.setenv("NOTIFY_SOCKET", supervisor.path)
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        process = perseus("run", "binance", "--idle")
        wait_until(lambda: "WATCHDOG=1" in supervisor.told, description="it beats")
        process.sigstop()
        before = supervisor.told
        time.sleep(0.2)
        assert supervisor.told == before
        process.sigcont()
        wait_until(lambda: len(supervisor.told) > len(before), description="it beats again")


def test_server_is_ready_once_its_port_is_open(
    perseus: Perseus, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for it may connect at once."""
    with NotifySocket(data_dir / "a") as supervisor:
        monkeypatch.setenv("NOTIFY_SOCKET", supervisor.path)
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        process = perseus("serve", "--port", "0")
        wait_until(lambda: supervisor.told[:2] == ["READY=1", "WATCHDOG=1"], description="it is ready")
        assert "serving" in process.output
        assert process.stop_signal(signal.SIGTERM) == 0
        assert "STOPPING=1" in supervisor.told
