"""Child processes of a bench: they answer in JSON lines, cannot outlive us, and never make us wait for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

from tests.support.system import die_with_parent

ROOT = Path(__file__).parent.parent.parent
LONGEST_S = 120.0


class Child:
    """A process that prints JSON objects, one a line (`talks`), or whose output nobody reads.

    Start it from the main thread only; killed at the block's end, or when it took longer than `longest_s`.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        settings: Mapping[str, str] | None = None,
        directory: Path = ROOT,
        talks: bool = True,
        longest_s: float = LONGEST_S,
    ) -> None:
        self._command = command
        self._longest_s = longest_s
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if talks else subprocess.DEVNULL,
            stderr=None if talks else subprocess.DEVNULL,
            cwd=directory,
            env=clean_environment() | dict(settings or {}),
            preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread, nothing else runs in it
        )
        self._guard = threading.Timer(longest_s, self._process.kill)
        self._guard.daemon = True
        self._guard.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.cancel()
        self.kill9()

    def answers(self, count: int) -> list[dict[str, Any]]:
        """The next `count` objects it prints. Raises: AssertionError if it ends before."""
        assert self._process.stdout is not None
        lines = [line for line in (self._process.stdout.readline() for _ in range(count)) if line]
        assert len(lines) == count, (
            f"{' '.join(self._command[1:])} ended or took longer than {self._longest_s:g} s after {len(lines)} of "
            f"{count} answers; what it said on stderr stands above"
        )
        return [json.loads(line) for line in lines]

    def tell(self, word: str) -> None:
        """Send it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def cpu(self) -> float:
        """Seconds of processor time it has used, all threads, its own children not."""
        if sys.platform == "linux":
            return time.clock_gettime((~self.pid << 3) | 2)  # clock_getcpuclockid(3): nanoseconds, not ticks
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    @property
    def resident_mib(self) -> float:
        """Its resident memory, MiB, shared pages included."""
        return float(psutil.Process(self.pid).memory_info().rss) / 2**20

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone."""
        self._process.terminate()
        self._process.wait(20)

    def kill9(self) -> None:
        """kill -9, and wait until it is gone."""
        self._process.kill()
        self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def module(name: str, *args: object) -> list[str]:
    """The command that runs one of our modules in the environment of this process."""
    return [sys.executable, "-m", name, *map(str, args)]


def perseus(*args: object) -> list[str]:
    """The command as people run it: the script beside this Python, which its installation made."""
    script = Path(sysconfig.get_path("scripts"), "perseus")
    return [*([str(script)] if script.exists() else module("perseus")), *map(str, args)]


def clean_environment() -> dict[str, str]:
    """The environment without any setting of Perseus, and without what makes Python start differently."""
    dropped = ("PERSEUS_", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"PERSEUS_PUBLIC_IP_URLS": "off"}
