"""The fence: a kernel timer that ends this process when its lease is over and its work is not.

A process that is paused (SIGSTOP, a suspended host) or hangs cannot look at a clock; the kernel can. The timer stands
on the boot-time clock, which counts suspend, at the *absolute* hard deadline, and its signal is SIGKILL: it cannot be
ignored, blocked or handled, and it ends a stopped process where it stands, with all its threads. Only confirmed claims
and renewals move it; it is disarmed once the work of the tenure has ended.

It ends the whole process, so only a process that serves one exchange and nothing else has one: `perseus run`.
Does not promise: an end for PID 1, which the kernel exempts (see `cli/reaper.py`); anything where a virtual machine was
paused or cloned, because its clocks stood still too.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import structlog

from perseus.clock import SystemClock
from perseus.lease import Lease
from perseus.lifeline import ends_with_us

_TIMER_ABSTIME = 1
_SIGEV_SIGNAL = 0
_AHEAD_S = 0.002  # how far ahead the self-test sets its timer
_BY_THEN_S = 5.0  # and how long it waits for the end: only a machine without a working timer takes so long

log = structlog.get_logger()


class Fence:
    """Where this process must end unless the tenure is renewed. Without a timer it ends nothing. Any thread."""

    def __init__(self, timer: KernelTimer | None = None) -> None:
        self._timer = timer
        self._lock = threading.Lock()  # renewals are confirmed on the coordination thread, work ends on the feed's
        self._claim_id: str | None = None
        self._at = 0.0

    def begin(self, lease: Lease) -> None:
        """Fence a tenure that was just claimed; its deadline counts from when the claim was sent."""
        with self._lock:
            self._claim_id, self._at = lease.claim_id, lease.hard_deadline
            self._set()

    def move(self, lease: Lease) -> None:
        """Take a confirmed renewal; ignored unless it is of the fenced tenure, and never moved back."""
        with self._lock:
            if lease.claim_id == self._claim_id and lease.hard_deadline > self._at:
                self._at = lease.hard_deadline
                self._set()

    def disarm(self) -> None:
        """Take the fence away: all work of the tenure has ended. What is confirmed later does not bring it back."""
        with self._lock:
            self._claim_id = None
            if self._timer is not None:
                self._timer.cancel()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.kill_at(self._at)


class KernelTimer:
    """A POSIX timer that sends this process SIGKILL. It does not outlive the process and is not inherited by a child.

    Raises: OSError where the kernel or libc has none.
    """

    def __init__(self) -> None:
        self._libc = _libc_with_timers()
        self._id = ctypes.c_void_p()
        event = _Event(None, signal.SIGKILL, _SIGEV_SIGNAL, b"")
        _checked(self._libc.timer_create(time.CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(self._id)))

    def kill_at(self, boot_s: float) -> None:
        """End the process at this moment of the boot-time clock; at once if it is over. Replaces an earlier moment."""
        ns = max(1, round(boot_s * 1e9))  # zero would disarm it
        self._set(ns)

    def cancel(self) -> None:
        """End nothing."""
        self._set(0)

    def _set(self, ns: int) -> None:
        moment = _Setting(_Time(0, 0), _Time(*divmod(ns, 1_000_000_000)))
        _checked(self._libc.timer_settime(self._id, _TIMER_ABSTIME, ctypes.byref(moment), None))


def tested_fence() -> Fence:
    """This process's fence, after a self-test; where none works, one that ends nothing, with a warning why.

    Call before any thread is started: the self-test forks.
    """
    fault = fence_fault()
    if fault is None:
        return Fence(KernelTimer())
    log.warning(
        "fence_unavailable",
        why=fault,
        means="a process paused past its lease is not ended before it runs again; it stops at its first look at the "
        "clock, and the store refuses its writes all the same",
    )
    return Fence()


def fence_fault() -> str | None:
    """Why a process paused past its lease would not be ended here; None if it would. Tries it on a child: a few ms.

    Call before any thread is started: it forks.
    """
    if sys.platform != "linux":
        return f"{sys.platform} has no timer that counts suspend and ends a stopped process"
    # Ignored, as a parent may leave it over exec, the kernel would reap the child and tell nobody how it ended
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    reading, writing = os.pipe()
    end_with_us = ends_with_us(signal.SIGKILL)
    child = os.fork()
    if child == 0:
        _die_by_timer(writing, end_with_us)
    os.close(writing)
    said, has_ended = "", False
    try:
        if select.select([reading], [], [], _BY_THEN_S)[0]:  # at its end, or with what it has to say
            said, has_ended = os.read(reading, 500).decode(errors="replace"), True
    finally:
        os.close(reading)
        if not has_ended:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if said or not has_ended:
        return said or f"a stopped process outlived its timer by {_BY_THEN_S:g} s"
    by_kill = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return None if by_kill else f"a process with a timer did not end by it (wait status {status})"


def _die_by_timer(writing: int, end_with_us: Callable[[], None] | None) -> NoReturn:
    """The child's part: set the timer, stop, and never run again."""
    try:
        if end_with_us is not None:
            end_with_us()  # a stopped process that nobody waits for would stay for ever
        KernelTimer().kill_at(SystemClock().now() + _AHEAD_S)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.write(writing, b"a stopped process went on past its timer")
    except BaseException as error:  # noqa: BLE001  nothing of the parent's may run in this child
        os.write(writing, f"no timer can be made: {error}".encode())
    finally:
        os._exit(1)


class _Time(ctypes.Structure):
    """struct timespec."""

    _fields_ = (("seconds", ctypes.c_long), ("ns", ctypes.c_long))


class _Setting(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = (("interval", _Time), ("value", _Time))


class _Event(ctypes.Structure):
    """struct sigevent, 64 bytes on every 64-bit Linux."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("number", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    )


def _libc_with_timers() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    return libc if hasattr(libc, "timer_create") else ctypes.CDLL("librt.so.1", use_errno=True)  # glibc before 2.34


def _checked(outcome: int) -> None:
    if outcome != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
