"""What tests need of the operating system: free ports, short directories, children that cannot outlive us."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# Below Linux's ephemeral range (32768 …): while a server is down on purpose, no outgoing connection takes its port.
# Of tests that run side by side each worker has its own: a port chosen is not yet a port taken.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = range(20_000 + _WORKER, 32_000, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
_random = random.Random(os.getpid())
_given: set[int] = set()  # a server of several may be started long after its port was chosen


def free_port() -> int:
    """A port on 127.0.0.1 nobody listens on now, and that was not given before."""
    for _ in range(1000):
        port = _random.choice(_PORTS)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise RuntimeError("no free port between 20000 and 32000 after 1000 tries")


def die_with_parent() -> Callable[[], None] | None:
    """A `preexec_fn` after which the kernel kills the child when we die, even by kill -9. None where it cannot.

    The signal is bound to the forking *thread*: start processes from the main thread only.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return in_child


@contextmanager
def short_directory() -> Iterator[Path]:
    """A temporary directory whose path leaves room for a Unix socket's 107 bytes; removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix="perseus-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
