"""The lock file as proof of a death: only the very file, under the same boot, held by us."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec
import pytest

from perseus.instances.identity import Identity, fresh_status
from perseus.instances.lockfile import LockFile, boot_id
from perseus.model import InstanceStatus, exchange_named
from perseus.timing import LeaseTiming

BINANCE = exchange_named("binance")
NOW = "2026-02-10T14:02:11.000Z"


def holder(lock: LockFile) -> InstanceStatus:
    """The status of a holder on this host that held this lock."""
    status = fresh_status(BINANCE, Identity(), LeaseTiming(), now=NOW)
    lock.remember(7, holder=status.instance_id or "")
    return msgspec.structs.replace(status, lock_file=lock.identity)


@pytest.mark.skipif(boot_id() is None, reason="this system's boots have no name: nothing is ever proven")
def test_holder_of_this_lock_is_dead_if_we_hold_it(data_dir: Path) -> None:
    """The kernel gives the lock to another only when every process that shared it is gone."""
    with LockFile(data_dir, BINANCE.id) as lock:
        assert not lock.proves_dead(holder(lock)), "nobody has tried to hold it yet"
        assert lock.acquire()
        assert lock.proves_dead(holder(lock))


def test_holder_of_this_lock_lives_while_another_has_it(data_dir: Path) -> None:
    """A paused process keeps it."""
    with LockFile(data_dir, BINANCE.id) as theirs, LockFile(data_dir, BINANCE.id) as ours:
        assert theirs.acquire()
        assert not ours.acquire()
        assert not ours.proves_dead(holder(theirs))


@pytest.mark.parametrize(
    "foreign",
    [{"boot_id": "0d15ea5e"}, {"boot_id": None}, {"lock_file": "1:1"}, {"lock_file": None}],
    ids=["another boot", "no boot id", "another file", "no lock"],
)
def test_anything_else_proves_nothing(data_dir: Path, foreign: dict[str, str | None]) -> None:
    """A data directory can be copied, deleted and made again, or shared over a network."""
    with LockFile(data_dir, BINANCE.id) as lock:
        assert lock.acquire()
        assert not lock.proves_dead(msgspec.structs.replace(holder(lock), **foreign))


def test_file_must_name_the_holder(data_dir: Path) -> None:
    """Machines made from one image share the file's device and inode, and if resumed from memory the boot as well."""
    with LockFile(data_dir, BINANCE.id) as lock:
        assert lock.acquire()
        named = holder(lock)
        lock.remember(8, holder="another")
        assert not lock.proves_dead(named)


def test_file_keeps_the_highest_epoch_and_the_last_holder(data_dir: Path) -> None:
    """The one is a floor, the other says whose death it can prove."""
    with LockFile(data_dir, BINANCE.id) as lock:
        assert (lock.known_epoch(), lock.recent_holders()) == (0, [])
        lock.remember(9, holder="i1")
        lock.remember(5, holder="i22")
        assert (lock.known_epoch(), lock.recent_holders()) == (9, ["i22"])


def test_file_names_those_who_have_asked_since(data_dir: Path) -> None:
    """Killed between the claim and its answer, a holder must be provably dead all the same, as those before it."""
    with LockFile(data_dir, BINANCE.id) as lock:
        lock.announce("nobody")  # without the lock it may not say so
        assert lock.acquire()
        lock.remember(9, holder="i1")
        for claimer in ("i2", "i2", "i3", "i4", "i5"):
            lock.announce(claimer)
        assert (lock.known_epoch(), lock.recent_holders()) == (9, ["i2", "i3", "i4", "i5"])
        dead = msgspec.structs.replace(
            fresh_status(BINANCE, Identity(), LeaseTiming(), now=NOW), lock_file=lock.identity
        )
        assert lock.proves_dead(msgspec.structs.replace(dead, instance_id="i3")) is (boot_id() is not None)
        lock.remember(9, holder="i" * 32)
        for claimer in ("a" * 32, "b" * 32, "c" * 32, "d" * 32):
            lock.announce(claimer)
        assert lock.recent_holders() == ["a" * 32, "b" * 32, "c" * 32, "d" * 32]


def test_lock_outlives_the_file(data_dir: Path) -> None:
    """Deleted and made again it is another file: whoever holds the new one knows nothing of the old one's holder."""
    with LockFile(data_dir, BINANCE.id) as old:
        assert old.acquire()
        (data_dir / "locks" / str(BINANCE.id)).unlink()
        with LockFile(data_dir, BINANCE.id) as new:
            assert new.acquire()
            assert not new.proves_dead(holder(old))


def test_child_that_shares_the_lock_keeps_it(data_dir: Path) -> None:
    """It may go on emitting although the process that took the lock is gone."""
    with LockFile(data_dir, BINANCE.id) as ours:
        path = data_dir / "locks" / str(BINANCE.id)
        fd = os.open(path, os.O_RDWR)
        shared = os.dup(fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.close(fd)
        assert not ours.acquire()
        os.close(shared)
        assert ours.acquire()
