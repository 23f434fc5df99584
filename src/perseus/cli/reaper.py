"""Never be PID 1: the kernel ignores a timer's signal to it, so a fence there would end nothing.

As the first process of a container, a command forks; PID 1 stays behind and does what an init must: it passes signals
on, reaps what was left behind, and ends as its child ended.
"""

from __future__ import annotations

import os
import signal
import time

from perseus.cli.output import SENDERS_OF_SIGKILL, say

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
LAST_ONES_S = 5.0  # for what the child leaves behind, an embedded store that saves its data for one
_FROM_KERNEL = 0x80  # SI_KERNEL


def ended_under_us() -> int | None:
    """Fork if this process is PID 1: None in the process that goes on, there as the exit code once that one has ended.

    Call it before anything else: what was started before (a thread, a store bound to it) would stay with PID 1.
    """
    if os.getpid() != 1:
        return None
    watched = {signal.SIGCHLD, *PASSED_ON}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as whoever started us may have, it would never come
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)  # what comes meanwhile waits for `sigwaitinfo`
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None
    status = _attend(child, watched)
    _reap_the_last()
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        say(
            f"perseus (process {child}) was killed by SIGKILL: by {SENDERS_OF_SIGKILL}. Start it again; the exchange "
            f"can be claimed when its lease is over."
        )
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _attend(child: int, watched: set[signal.Signals]) -> int:
    """Pass signals on to the child and reap orphans until the child has ended; its wait status."""
    while True:
        received = signal.sigwaitinfo(watched)
        if received.si_signo != signal.SIGCHLD:
            # a terminal's Ctrl-C reaches the child by itself: it is in our process group
            if received.si_signo not in (signal.SIGINT, signal.SIGQUIT) or received.si_code != _FROM_KERNEL:
                os.kill(child, received.si_signo)
            continue
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                return ended[1]


def _reap_the_last() -> None:
    """Wait a while for whoever the child left behind; the kernel ends all others with PID 1."""
    until = time.monotonic() + LAST_ONES_S
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return  # nobody is left
        left_s = until - time.monotonic()
        if not ended and left_s <= 0:
            return
        if not ended:
            signal.sigtimedwait({signal.SIGCHLD}, left_s)
