"""Child processes of `perseus up`: they die with us, even by kill -9, and what they say goes to a file."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from perseus.lifeline import ends_with_us
from perseus.webhooks import without_webhooks

COMMAND = (sys.executable, "-m", "perseus")


class Child:
    """`perseus ARGS` as a process of ours in a session of its own, so that Ctrl-C reaches us alone. It sends no alerts.

    Start it from the main thread: the kernel ends it with the *thread* that started it.
    """

    def __init__(self, *args: str, environment: Mapping[str, str], log: Path) -> None:
        self.command = (*COMMAND, *args)
        self.log = log
        self._environment = {**without_webhooks(os.environ), **environment}
        self._process: asyncio.subprocess.Process | None = None
        self._said_before = 0

    @property
    def pid(self) -> int | None:
        """Its process id, None before it was started."""
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self, *, piped: bool = False) -> asyncio.StreamReader | None:
        """Start it, its output appended to the log; with `piped` stdout is returned for us to read instead."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._said_before = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if piped else log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
                preexec_fn=ends_with_us(signal.SIGKILL),
            )
        return self._process.stdout

    async def wait(self) -> int:
        """Its exit code, negative for a signal."""
        return await self._process.wait() if self._process else 0

    async def stop(self, *, within_s: float) -> None:
        """SIGTERM, then SIGKILL when it has not ended in time."""
        if self._process is None or not self.is_running:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def last_words(self) -> str:
        """The last line it wrote since it was started: an error is one line there."""
        with self.log.open("rb") as log:
            log.seek(max(self._said_before, self.log.stat().st_size - 8192))
            lines = log.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def how_it_ended(code: int) -> str:
    """`was killed by SIGKILL`, `ended with code 1`."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return "ended" if code == 0 else f"ended with code {code}"
