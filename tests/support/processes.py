"""`perseus …` as real processes: each with its own data directory, hostname and log, and none left at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import psutil
import redis

from perseus import keys
from tests.support.system import die_with_parent
from tests.support.waiting import wait_until

# Inherited by everything the process starts, however it detaches: how its descendants are found at the end.
_MARK = "TEST_PROCESS_TREE"
# The command of the environment these tests run in.
COMMAND = (sys.executable, "-m", "perseus")


class PerseusProcess:
    """`perseus ARGS` in the background; output goes to `log`. A context manager that leaves nothing running.

    Start it from the main thread only (see `system.die_with_parent`). Public IP detection is off, so that no test
    leaves this machine.
    """

    def __init__(  # each is one independent property of the process
        self,
        *args: str,
        data_dir: Path,
        store_url: str = "",
        hostname: str = "host-a",
        exchange_id: int = 2,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.command = (*COMMAND, *args)
        self.data_dir = data_dir
        self.log = data_dir / f"{uuid.uuid4().hex[:8]}.log"
        self._store_url = store_url
        self._exchange_id = exchange_id
        self._mark = uuid.uuid4().hex
        self._environment = _clean_environment() | {
            "PERSEUS_DATA_DIR": str(data_dir),
            "PERSEUS_HOSTNAME": hostname,
            "PERSEUS_PUBLIC_IP_URLS": "off",
            **({"PERSEUS_STORE_URL": store_url} if store_url else {}),
            **{f"PERSEUS_{name}": value for name, value in (settings or {}).items()},
            _MARK: self._mark,
        }
        data_dir.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it. A second call starts the same command again, as a person would after a crash."""
        assert self._process is None or self._process.poll() is not None, "it is running already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self.data_dir,
                start_new_session=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread, nothing else runs in it
            )
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process itself."""
        assert self._process is not None, "it was never started"
        return self._process

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def output(self) -> str:
        """Everything it has printed so far, both streams."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def is_running(self) -> bool:
        """Whether it has not ended (a stopped process is running)."""
        return self.process.poll() is None

    def status(self) -> dict[str, Any] | None:
        """The exchange's status payload, read from the store as another program would; None without one."""
        with redis.Redis.from_url(self._store_url, socket_timeout=5, protocol=2) as client:
            raw = client.get(keys.status(self._exchange_id))
        return None if raw is None else dict(json.loads(raw))

    def state(self) -> str | None:
        """`connectionState` of this process's own status; None while someone else or nobody has the exchange."""
        status = self.status()
        return status["connectionState"] if status and status.get("pid") == self.pid else None

    def wait_for_state(self, state: str, *, timeout: float = 30.0) -> dict[str, Any]:
        """Wait until this process says it is in `state`, and return its payload."""

        def reached() -> bool:
            assert self.is_running, f"{' '.join(self.command)} ended with {self.process.returncode}:\n{self.output}"
            return self.state() == state

        wait_until(reached, description=f"{' '.join(self.command)} is {state}", timeout=timeout)
        status = self.status()
        assert status is not None, "the status vanished between two reads"
        return status

    def wait_exit(self, *, timeout: float = 20.0) -> int:
        """Wait for it to end by itself; its exit code, negative for a signal."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired as late:
            message = f"{' '.join(self.command)} still runs after {timeout:g} s:\n{self.output[-3000:]}"
            raise AssertionError(message) from late

    def kill9(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait(10)

    def stop_signal(self, number: int = signal.SIGTERM, *, timeout: float = 20.0) -> int:
        """Send SIGTERM (or another signal) and wait for its exit code."""
        os.kill(self.pid, number)
        return self.wait_exit(timeout=timeout)

    def sigstop(self) -> None:
        """SIGSTOP: it executes nothing until `sigcont`."""
        os.kill(self.pid, signal.SIGSTOP)

    def sigcont(self) -> None:
        """SIGCONT; harmless if it has ended meanwhile."""
        if self.is_running:
            os.kill(self.pid, signal.SIGCONT)

    def descendants(self) -> list[psutil.Process]:
        """Every live process that this one started, directly or not, detached or not; without itself."""
        return [process for process in psutil.process_iter() if self._is_descendant(process)]

    def end(self) -> None:
        """Kill it and everything it started."""
        if self._process is not None:
            self.kill9()
        for process in self.descendants():
            process.kill()
        wait_until(lambda: not self.descendants(), description="every descendant is gone")

    def _is_descendant(self, process: psutil.Process) -> bool:
        if self._process is not None and process.pid == self._process.pid:
            return False
        try:
            return bool(process.environ().get(_MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


def run_perseus(
    *args: str,
    data_dir: Path,
    store_url: str = "",
    settings: Mapping[str, str] | None = None,
    timeout: float = 30.0,
) -> subprocess.CompletedProcess[str]:
    """Run `perseus ARGS` to its end: exit code, stdout and stderr as text."""
    environment = _clean_environment() | {
        "PERSEUS_DATA_DIR": str(data_dir),
        "PERSEUS_PUBLIC_IP_URLS": "off",
        **({"PERSEUS_STORE_URL": store_url} if store_url else {}),
        **{f"PERSEUS_{name}": value for name, value in (settings or {}).items()},
    }
    return subprocess.run(
        [*COMMAND, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        cwd=data_dir,
        timeout=timeout,
        check=False,
    )


def _clean_environment() -> dict[str, str]:
    """Ours without any PERSEUS_ setting, and with bytecode written: compiling at each start costs over a second."""
    dropped = ("PYTHONDONTWRITEBYTECODE", "NO_COLOR", "FORCE_COLOR")
    return {k: v for k, v in os.environ.items() if not k.startswith("PERSEUS_") and k not in dropped}
