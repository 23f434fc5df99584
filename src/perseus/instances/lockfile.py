"""The local lock file of an exchange: proof on this host that no other process of this data directory serves it.

Held by `flock` for the life of the process, so the kernel gives it up when the process dies, however it dies. It also
keeps the highest epoch this host has seen, a floor that survives a store restarted empty.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from perseus.errors import BadConfiguration


class LockFile:
    """`DATA_DIR/locks/<exchange id>`. Raises: BadConfiguration if it cannot be opened for writing."""

    def __init__(self, data_dir: Path, exchange_id: int) -> None:
        path = data_dir / "locks" / str(exchange_id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BadConfiguration(
                f"DATA_DIR {str(data_dir)!r} cannot be written: {error.strerror} ({path}). Nothing was started. "
                f"Make it writable or set PERSEUS_DATA_DIR to a directory that is."
            ) from error
        self.is_held = False
        stat = os.fstat(self._fd)
        self.identity = f"{stat.st_dev}:{stat.st_ino}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def acquire(self) -> bool:
        """Try to hold the lock; False while another process does. Held until this process ends."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.is_held = False
        else:
            self.is_held = True
        return self.is_held

    def known_epoch(self) -> int:
        """The highest epoch remembered; 0 if none, or if the file holds something else."""
        text = os.pread(self._fd, 32, 0).strip()
        return int(text) if text.isdigit() else 0

    def remember(self, epoch: int) -> None:
        """Keep `epoch` if it is the highest yet. Raises: OSError if the disk is full; the epoch is only a floor."""
        if epoch > self.known_epoch():
            os.pwrite(self._fd, f"{epoch:<20d}\n".encode(), 0)
