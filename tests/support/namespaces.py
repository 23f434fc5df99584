"""Commands in namespaces of their own: as PID 1, or on a boot-time clock that is ahead."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Sequence

from tests.support.servers import missing

_PID = ("--pid", "--fork", "--mount-proc", "--kill-child")


def as_pid_1(command: Sequence[str]) -> tuple[str, ...]:
    """The command as PID 1 of a namespace, as in a container; killing what is started here ends all of it."""
    return _unshared(_PID, command)


def with_boot_time_ahead(command: Sequence[str], *, by_s: int) -> tuple[str, ...]:
    """The command on a boot-time clock that is ahead of the monotonic one, as after so long a suspend.

    A death by signal n is exit code 128 + n: unshare itself fails to pass SIGKILL on.
    """
    shell = ("sh", "-c", '"$0" "$@"; exit $?', *command)
    return _unshared(("--time", "--boottime", str(by_s), "--fork", "--kill-child"), shell)


def _unshared(options: tuple[str, ...], command: Sequence[str]) -> tuple[str, ...]:
    if (fault := _fault(options)) is not None:
        missing(f"`unshare {' '.join(options)}`", f"it needs util-linux 2.38 and root: {fault}")
    return ("unshare", *options, "--", *command)


@functools.cache
def _fault(options: tuple[str, ...]) -> str | None:
    """Why this cannot be done here; None if it can."""
    if shutil.which("unshare") is None:
        return "there is no unshare"
    done = subprocess.run(["unshare", *options, "--", "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip()
