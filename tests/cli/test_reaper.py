"""A command that would be PID 1 runs below it: as the first process of a container it behaves as anywhere else."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from perseus import keys
from perseus.cli.reaper import PASSED_ON, ended_under_us
from tests.cli.conftest import QUICK
from tests.support.namespaces import as_pid_1
from tests.support.processes import PerseusProcess
from tests.support.servers import Server
from tests.support.system import die_with_parent
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="PID namespaces are Linux's")

PRELUDE = """
import os, signal, sys, time
from perseus.cli import reaper

def say(text):
    os.write(1, f"{text}\\n".encode())

code = reaper.ended_under_us()
if code is not None:
    sys.exit(code)
assert os.getpid() != 1
"""


class Container:
    """A program below PID 1 of a namespace, its output in one place. A context manager that leaves nothing running."""

    def __init__(self, program: str, *, terminal: int | None = None, before: str = "") -> None:
        bind = die_with_parent()

        def prepare() -> None:
            if bind is not None:
                bind()
            if terminal is not None:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self._process = subprocess.Popen(
            as_pid_1([sys.executable, "-c", before + PRELUDE + program]),
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509  started from the main thread, nothing else runs in it
        )

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def heard(self, word: str) -> None:
        """Read on to this line."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{word}\n".encode()

    def send(self, number: int) -> None:
        """Send PID 1 a signal."""
        (first,) = psutil.Process(self._process.pid).children()
        first.send_signal(number)

    def ended(self) -> tuple[int, str]:
        """Its exit code and what else it said."""
        said, _ = self._process.communicate(timeout=20)
        return self._process.returncode, said.decode()


def ran(program: str, *, before: str = "") -> tuple[int, str]:
    """Run the program to its end, `before` in PID 1 ahead of everything; exit code and output."""
    with Container(program, before=before) as container:
        return container.ended()


def test_any_other_process_goes_on_as_it_is() -> None:
    """Nothing is forked where nothing is wrong."""
    assert ended_under_us() is None


@pytest.mark.parametrize("code", [0, 3, 78])
def test_exit_code_is_passed_on(code: int) -> None:
    """Supervisors decide by it."""
    assert ran(f"sys.exit({code})") == (code, "")


def test_death_by_a_signal_is_passed_on_as_shells_do() -> None:
    """PID 1 cannot die by it itself."""
    assert ran("os.kill(os.getpid(), signal.SIGTERM)") == (128 + signal.SIGTERM, "")


def test_ends_are_noticed_where_the_parent_ignored_them() -> None:
    """An ignored SIGCHLD outlives exec, and the kernel then reaps without a word: the container would hang."""
    assert ran("sys.exit(3)", before="import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n") == (3, "")


def test_sigkill_is_explained() -> None:
    """A container that ends with 137 leaves no other trace of why."""
    code, said = ran("os.kill(os.getpid(), signal.SIGKILL)")
    assert code == 128 + signal.SIGKILL
    assert "its own fence" in said
    assert "memory" in said


@pytest.mark.parametrize("number", PASSED_ON)
def test_signals_reach_it(number: signal.Signals) -> None:
    """`docker stop` sends SIGTERM to PID 1, and to nobody else."""
    program = f"""
signal.pthread_sigmask(signal.SIG_BLOCK, [{number.value}])
say("ready")
say(signal.sigwait([{number.value}]).name)
"""
    with Container(program) as container:
        container.heard("ready")
        container.send(number)
        assert container.ended() == (0, f"{number.name}\n")


def test_ctrl_c_reaches_it_once() -> None:
    """The terminal tells both of us; a second SIGINT would end an orderly shutdown at once."""
    main, terminal = pty.openpty()
    program = """
received = []
signal.signal(signal.SIGINT, lambda *_: received.append(1))
say("ready")
time.sleep(1)
say(len(received))
"""
    try:
        with Container(program, terminal=terminal) as container:
            container.heard("ready")
            os.write(main, b"\x03")
            assert container.ended() == (0, "1\n")
    finally:
        os.close(main)
        os.close(terminal)


def test_orphans_are_reaped() -> None:
    """Whoever loses its parent becomes PID 1's, and would stay a zombie for the container's life."""
    program = """
reading, writing = os.pipe()
if os.fork() == 0:
    orphan = os.fork()
    if orphan:
        os.write(writing, str(orphan).encode())
    os._exit(0)
orphan = os.read(reading, 20).decode()
os.wait()
until = time.monotonic() + 10
while os.path.exists(f"/proc/{orphan}") and time.monotonic() < until:
    time.sleep(0.01)
say(os.path.exists(f"/proc/{orphan}"))
"""
    assert ran(program) == (0, "False\n")


def test_what_it_leaves_behind_may_end_in_order() -> None:
    """An embedded store saves its data when its owner is gone; the kernel would end it with PID 1."""
    assert ran("if os.fork() == 0: time.sleep(1); say('saved')") == (0, "saved\n")


def test_what_never_ends_does_not_keep_the_container() -> None:
    """It is bounded."""
    program = "if os.fork() == 0: time.sleep(60)"
    with Container(f"{program}") as container:
        code, _ = container.ended()
    assert code == 0


@pytest.fixture
def contained(valkey: Server, data_dir: Path) -> Iterator[Callable[..., PerseusProcess]]:
    """Start `perseus ARGS` as PID 1 of a namespace."""
    with ExitStack() as cleanup:

        def start(*args: str) -> PerseusProcess:
            process = PerseusProcess(
                *args, data_dir=data_dir / "box", store_url=valkey.url, hostname="box", settings=QUICK
            )
            process.command = as_pid_1(process.command)
            return cleanup.enter_context(process)

        yield start


def test_run_in_a_container_gives_its_lease_back(contained: Callable[..., PerseusProcess], valkey: Server) -> None:
    """PID 1 has no default action for SIGTERM: without being passed on it would be ignored until the SIGKILL."""
    box = contained("run", "binance", "--idle")
    wait_until(lambda: "waiting_for_start" in box.output, description="it is idle", timeout=20)
    (first,) = psutil.Process(box.pid).children()
    first.send_signal(signal.SIGTERM)
    assert box.wait_exit() == 0, box.output
    assert valkey.call("GET", keys.status(2)) is None
    assert json.loads(valkey.call("GET", keys.last(2)))["releasedAt"]


def test_run_in_a_container_ends_with_3_if_it_is_refused(
    contained: Callable[..., PerseusProcess], perseus: Callable[..., PerseusProcess]
) -> None:
    """The code and the paragraph come through."""
    perseus("run", "binance", "--idle").wait_for_state("idle")
    box = contained("run", "binance", "--idle")
    assert box.wait_exit() == 3, box.output
    assert "already served by host-a" in box.output
