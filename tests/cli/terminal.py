"""A terminal for tests: `perseus` in a pseudo-terminal, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from pathlib import Path

from tests.support.processes import COMMAND
from tests.support.system import die_with_parent
from tests.support.waiting import wait_until


class Terminal:
    """`perseus ARGS` whose stdout is a terminal of 100 columns. A context manager that leaves nothing running."""

    def __init__(self, *args: str, directory: Path, environment: dict[str, str]) -> None:
        self._main, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        os.set_blocking(self._main, False)
        self._seen = b""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PERSEUS_") and k != "NO_COLOR"}
        self.process = subprocess.Popen(
            [*COMMAND, *args],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=directory,
            env=inherited | {"TERM": "xterm", "PERSEUS_DATA_DIR": str(directory)} | environment,
            start_new_session=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread, nothing else runs in it
        )
        os.close(terminal)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._main)

    @property
    def seen(self) -> str:
        """Everything printed so far, control sequences included."""
        while True:
            try:
                chunk = os.read(self._main, 65_536)
            except (BlockingIOError, OSError):  # nothing more now, or the process has closed its side
                break
            if not chunk:
                break
            self._seen += chunk
        return self._seen.decode("utf-8", "replace")

    def wait_for(self, text: str, *, timeout: float = 15.0) -> None:
        """Wait until this was printed."""
        wait_until(lambda: text in self.seen, description=f"{text!r} is on the terminal", timeout=timeout)

    def type(self, line: str) -> None:
        """Type a line and Enter."""
        os.write(self._main, f"{line}\n".encode())

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self, *, timeout: float = 15.0) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(timeout)
