"""The local lock file of an exchange: proof on this host that no other process of this data directory serves it.

Held by `flock` for the life of the process, so the kernel gives it up when the process dies, however it dies; a process
that is only paused keeps it. Who holds the very file that a holder's status names, under the same boot of the kernel,
knows that this holder is dead, which no process id could tell: containers share a kernel but not their process ids.
It also keeps the highest epoch this host has seen, a floor that survives a store restarted empty.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from perseus.errors import BadConfiguration
from perseus.model import InstanceStatus

RECENT = 4  # instances named in the file: one that held, and those that died while they tried to
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str | None:
    """What this boot of the kernel is called, the same in every container on it; None where there is no such name."""
    return _BOOT_ID.read_text(encoding="ascii").strip() if _BOOT_ID.exists() else None


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
        self.boot_id = boot_id()
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

    def proves_dead(self, holder: InstanceStatus) -> bool:
        """Whether the process behind this status has ended: it held this very file, and now we do.

        That it did shows in the file, too: machines made from one image have the same device, inode and even boot.
        """
        return (
            self.is_held
            and holder.lock_file == self.identity
            and holder.boot_id is not None
            and holder.boot_id == boot_id()
            and holder.instance_id in self.recent_holders()
        )

    def known_epoch(self) -> int:
        """The highest epoch remembered; 0 if none, or if the file holds something else."""
        text = self._words()[0]
        return int(text) if text.isdigit() else 0

    def recent_holders(self) -> list[str]:
        """The instance that last held the exchange from here, and those that have asked for it since, oldest first."""
        return [word.decode("ascii", "replace") for word in self._words()[1:]]

    def announce(self, claimer: str) -> None:
        """Keep who is about to claim: killed before it knows that it holds, it must be known all the same.

        Raises: OSError if the disk is full.
        """
        recent = self.recent_holders()
        if self.is_held and claimer not in recent:
            self._write(self.known_epoch(), [*recent[1 - RECENT :], claimer])

    def remember(self, epoch: int, *, holder: str) -> None:
        """Keep who holds the exchange now, and the highest epoch yet. Raises: OSError if the disk is full."""
        self._write(max(epoch, self.known_epoch()), [holder])

    def _write(self, epoch: int, holders: list[str]) -> None:
        os.pwrite(self._fd, f"{epoch:<20d}\n{' '.join(holders):<{41 * RECENT}}\n".encode(), 0)

    def _words(self) -> list[bytes]:
        return os.pread(self._fd, 64 + 41 * RECENT, 0).split() or [b""]
