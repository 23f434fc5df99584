"""A supervisor's end of NOTIFY_SOCKET: what systemd would be told."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self


class NotifySocket:
    """A datagram socket at a path of its own, and every message it was sent, in order. A context manager."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.path[1:] if self.path.startswith("@") else self.path)
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @property
    def told(self) -> list[str]:
        """Everything said so far."""
        while True:
            try:
                self._told.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return list(self._told)
