"""What this host must be for an instance: a data directory with locks that hold, a fence that works, a free port."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from perseus.instances.fence import fence_fault
from perseus.instances.lockfile import boot_id
from perseus.settings import PREFIX, Settings
from perseus.store.findings import Finding, Severity, fine

_MOUNTS = Path("/proc/self/mountinfo")
# Where a file lock is kept by a server, if at all: it may outlive the process, or not be seen by the other host.
_OVER_THE_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "9p", "virtiofs", "ceph", "glusterfs", "lustre", "gpfs"),
    *("beegfs", "ocfs2", "gfs2", "orangefs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.ceph"),
}
_PROBE = ".perseus-doctor-"
_LOCAL = "Set PERSEUS_DATA_DIR to a directory on a local disk."


def check_host(settings: Settings) -> list[Finding]:
    """Every finding about this host. Call before any thread is started: it forks."""
    directory = _data_dir(settings.data_dir)
    usable = directory.severity is Severity.OK
    return [
        directory,
        *([_file_system(settings.data_dir), _takeover(settings.data_dir)] if usable else []),
        _fence(),
        _admin(settings),
        _port(settings),
        *([_overlooked(settings.overlooked)] if settings.overlooked else []),
    ]


def file_system_of(path: Path, mounts: str) -> str:
    """The type of the file system `path` is on, by the text of /proc/self/mountinfo; `""` if it does not say."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4].encode().decode("unicode_escape"))
        if path.is_relative_to(point) and len(point.parts) >= best:  # a later mount hides an earlier one
            best, kind = len(point.parts), after.split()[0]
    return kind


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _data_dir(path: Path) -> Finding:
    existing = _existing(path)
    try:  # permissions tell too little: the disk may be full, the mount read-only, the file system no real one
        with tempfile.NamedTemporaryFile(dir=existing, prefix=_PROBE) as probe:
            probe.write(b"perseus doctor")
            probe.flush()
    except OSError as error:
        return Finding(
            name="data directory",
            severity=Severity.REFUSE,
            says=f"{path} cannot be written ({existing}: {error.strerror}).",
            fix="Make it writable, or set PERSEUS_DATA_DIR to a directory that is.",
        )
    return fine("data directory", f"{path} can be written.")


def _file_system(path: Path) -> Finding:
    kind = file_system_of(_existing(path).resolve(), _MOUNTS.read_text()) if _MOUNTS.exists() else ""
    if not kind:
        says = "On which file system the data directory is, is not known here."
        return Finding(name="file system", severity=Severity.UNKNOWN, says=says, fix=f"If it is not local: {_LOCAL}")
    if kind not in _OVER_THE_NETWORK:
        return fine("file system", f"The data directory is local ({kind}).")
    return Finding(
        name="file system",
        severity=Severity.WARN,
        says=f"The data directory is on a network file system ({kind}), whose locks may outlive a dead process or hold "
        f"on one host only: the embedded store and the takeover on this host cannot be relied on.",
        fix=_LOCAL,
    )


def _takeover(path: Path) -> Finding:
    """Whether a dead instance's exchange can be taken over here without waiting for its lease."""
    otherwise = "the exchange of an instance that died on this host has to wait for the end of its lease"
    if not _locks_hold(_existing(path)):
        says = f"A file lock taken here does not keep another process out, so {otherwise}, and the embedded store may "
        says += "be started twice."
        return Finding(name="takeover", severity=Severity.WARN, says=says, fix=_LOCAL)
    if boot_id() is None:
        says = f"This system does not name its boots, so {otherwise}."
        fix = "Mount /proc." if sys.platform == "linux" else "Nothing to be done on this system; it costs time only."
        return Finding(name="takeover", severity=Severity.UNKNOWN, says=says, fix=fix)
    return fine("takeover", "The exchange of an instance that died on this host can be claimed here at once.")


def _locks_hold(directory: Path) -> bool:
    """Whether a second process is kept out by a lock in this directory: tried on a file that is removed again."""
    with tempfile.NamedTemporaryFile(dir=directory, prefix=_PROBE) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # no locks at all there
            return False
        child = os.fork()
        if child == 0:
            _try_to_lock(file.name)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status) == 0


def _try_to_lock(name: str) -> None:
    """The child's part: ends with 0 if it was kept out."""
    code = 1
    try:
        with open(name, "rb") as again:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        code = 0
    finally:
        os._exit(code)


def _fence() -> Finding:
    fault = fence_fault()
    if fault is None:
        here = "Here, in a container, `perseus run` serves in a child of PID 1, which" if os.getpid() == 1 else ""
        return fine("fence", f"{here or '`perseus run`'} is ended by the kernel if it is paused past its lease.")
    return Finding(
        name="fence",
        severity=Severity.WARN,
        says=f"A process that was paused past its lease is not ended before it runs again ({fault}). It stops at its "
        f"first look at the clock, and the store refuses its writes all the same.",
        fix="Run instances on Linux, where timer_create(2) is permitted (a container's seccomp profile may forbid it).",
    )


def _admin(settings: Settings) -> Finding:
    if settings.admin_email:
        return fine("admin", f"{settings.admin_email} is shown on the cards.")
    return Finding(
        name="admin",
        severity=Severity.WARN,
        says="ADMIN_EMAIL is not set: nobody can tell whose instance this is.",
        fix="Set PERSEUS_ADMIN_EMAIL and PERSEUS_ADMIN_NAME.",
    )


def _overlooked(names: Sequence[str]) -> Finding:
    """Other programs may share the file, so it is no fault."""
    return Finding(
        name=".env",
        severity=Severity.WARN,
        says=f"It has {', '.join(names)} without {PREFIX}, so that has no effect on Perseus.",
        fix=f"If it is meant for Perseus, write {', '.join(PREFIX + name for name in names)}.",
    )


def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        used = error.errno == errno.EADDRINUSE
        what = (
            "is in use, by a web server of Perseus or another program" if used else f"cannot be used: {error.strerror}"
        )
        return Finding(
            name="port",
            severity=Severity.WARN,
            says=f"{where} {what}.",
            fix="Set PERSEUS_PORT (or PERSEUS_HOST) to a free one before another web server is started here.",
        )
    return fine("port", f"{where} is free.")
