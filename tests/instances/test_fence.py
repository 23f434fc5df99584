"""The fence on real processes: which moment ends one, and that nothing prevents it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from perseus.clock import SystemClock
from perseus.instances.fence import Fence, fence_fault
from perseus.lease import Lease
from tests.support.instances import BINANCE, TIMING
from tests.support.namespaces import as_pid_1, with_boot_time_ahead
from tests.support.system import die_with_parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fence is a Linux timer")

HARD_S = TIMING.ttl_s - TIMING.margin_s / 2
# what every program here begins with: `ends_in(s)` is a lease whose hard deadline is so far ahead
PRELUDE = f"""
import os, signal, sys, threading, time
from pathlib import Path
from perseus.clock import SystemClock
from perseus.instances.fence import Fence, KernelTimer
from tests.support.instances import BINANCE, TIMING
from perseus.lease import Lease

clock, fence = SystemClock(), Fence(KernelTimer())

def ends_in(seconds, claim="c1"):
    return Lease(BINANCE, "i1", claim, 1, clock.now() + seconds - {HARD_S}, TIMING)

def survived():
    print("survived", flush=True)
    os._exit(0)
"""
ROOT = Path(__file__).parents[2]
KILLED, SURVIVED = -9, 0


def ran(program: str, *, inside: Callable[[Sequence[str]], Sequence[str]] = tuple) -> tuple[int, str]:
    """Run the program after the prelude; its exit code (negative: a signal) and what it printed."""
    done = subprocess.run(
        inside([sys.executable, "-c", PRELUDE + program]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        cwd=ROOT,
        check=False,
        preexec_fn=die_with_parent(),
    )
    return done.returncode, done.stdout


def test_process_ends_at_the_hard_deadline() -> None:
    """Not before it, when it may still hold the lease, and not noticeably after."""
    code, said = ran("lease = ends_in(0.3); fence.begin(lease); print(lease.hard_deadline, flush=True); time.sleep(10)")
    ended = SystemClock().now()
    assert code == KILLED, said
    assert 0 <= ended - float(said) < 1


def test_stopped_process_ends_with_all_its_threads_and_runs_no_more() -> None:
    """A signal with a handler or a default action would wait for SIGCONT and let other threads run meanwhile."""
    program = """
def stamp():
    while True:
        os.write(1, f"{clock.now()}\\n".encode())
        time.sleep(0.001)

lease = ends_in(0.5)
fence.begin(lease)
print(lease.hard_deadline, flush=True)
for _ in range(4):
    threading.Thread(target=stamp, daemon=True).start()
time.sleep(0.1)
os.kill(os.getpid(), signal.SIGSTOP)
survived()
"""
    code, said = ran(program)
    deadline, *stamps = said.split()
    assert code == KILLED, said
    assert stamps
    assert max(map(float, stamps)) < float(deadline) - 0.2, "it ran after it was stopped"


def test_signals_that_are_blocked_or_ignored_make_no_difference() -> None:
    """A parent may have had every signal ignored: SIGKILL alone cannot be."""
    program = """
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
fence.begin(ends_in(0.05))
time.sleep(5)
survived()
"""
    assert ran(program)[0] == KILLED


def test_deadline_that_is_over_ends_the_process_at_once() -> None:
    """An absolute moment cannot be missed, however long the process was paused before it set the timer."""
    assert ran("fence.begin(ends_in(-1)); time.sleep(5); survived()")[0] == KILLED


@pytest.mark.parametrize(
    ("then", "code"),
    [
        ("fence.move(ends_in(60))", SURVIVED),
        ("fence.move(ends_in(60, claim='another'))", KILLED),
        ("fence.move(ends_in(60)); fence.move(ends_in(0.1))", SURVIVED),
        ("fence.disarm()", SURVIVED),
        ("fence.disarm(); fence.move(ends_in(0.5))", SURVIVED),
        ("fence.disarm(); fence.begin(ends_in(0.1))", KILLED),
        ("fence.begin(ends_in(60, claim='next')); fence.move(ends_in(0.1))", SURVIVED),
        ("threading.Thread(target=fence.move, args=(ends_in(60),)).start()", SURVIVED),
    ],
)
def test_only_confirmations_of_the_fenced_tenure_move_it(then: str, code: int) -> None:
    """A late answer of an older tenure must neither save this one nor end the next."""
    assert ran(f"fence.begin(ends_in(0.3)); {then}; time.sleep(0.8); survived()")[0] == code


def test_children_are_not_fenced() -> None:
    """The embedded store outlives us long enough to save its data."""
    program = """
child = os.fork()
fence.begin(ends_in(0.1)) if child else None
time.sleep(5 if child else 0.5)
survived()
"""
    assert ran(program) == (KILLED, "survived\n")


def test_suspend_counts() -> None:
    """A timer on the monotonic clock would stand still with it and come hours late."""
    code, said = ran(
        "fence.begin(ends_in(0.1)); time.sleep(5); survived()",
        inside=lambda command: with_boot_time_ahead(command, by_s=100_000),
    )
    assert code == 128 + 9, said


def test_pid_1_is_exempt() -> None:
    """Why `perseus run` never is PID 1; if this fails, the kernel has changed and the reaper may go."""
    code, said = ran("fence.begin(ends_in(0.1)); time.sleep(0.5); survived()", inside=as_pid_1)
    assert (code, said) == (0, "survived\n")


def test_fence_works_here() -> None:
    """What `perseus run` asks at its start."""
    assert fence_fault() is None


def test_fence_works_where_the_parent_ignored_ends_of_children() -> None:
    """An ignored SIGCHLD outlives exec; the self-test's child was then nobody's to wait for."""
    program = """
from perseus.instances.fence import fence_fault
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(fence_fault())
"""
    assert ran(program) == (SURVIVED, "None\n")


def test_self_test_says_why_no_fence_works() -> None:
    """A sandbox may refuse timers; the instance runs without a fence then, and says so."""
    program = """
import resource
from perseus.instances.fence import tested_fence
resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))
refused = tested_fence()
refused.begin(ends_in(0.1))
time.sleep(0.3)
refused.disarm()
survived()
"""
    code, said = ran(program)
    assert (code, said.splitlines()[-1]) == (SURVIVED, "survived")
    assert "fence_unavailable" in said
    assert "no timer can be made" in said


def test_fence_without_a_timer_ends_nothing() -> None:
    """What a program with `perseus.instance` has: it is not ours to kill."""
    fence = Fence()
    lease = Lease(BINANCE, "i1", "c1", 1, SystemClock().now() - 100, TIMING)
    fence.begin(lease)
    fence.move(lease)
    fence.disarm()
