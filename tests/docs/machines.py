"""Machines on which the commands of docs/deploy.md run as they stand: directories with a root of their own.

Only hosts, ports, paths and passwords are replaced. `sudo` and its like become what they would do here, without root;
`systemctl` is played by this module, from the unit files that the guide's own commands have written.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.supervisor import NotifySocket
from tests.support.system import die_with_parent
from tests.support.waiting import wait_until

_PATHS = re.compile(
    r"(?<![\w.])/(?=(?:etc/(?:perseus|valkey|postgresql|systemd|nginx|ssl|cron\.d)|var|opt|usr/local)\b)"
)
_SHIMS = {
    "sudo": 'while [ "$1" = -u ]; do shift 2; done; exec "$@"',
    "runuser": 'shift 3; exec "$@"',
    "useradd": "",
    "install": """
for word; do
  shift
  if [ -n "$skip" ]; then skip=; elif [ "$word" = -o ] || [ "$word" = -g ]; then skip=1; else set -- "$@" "$word"; fi
done
exec /usr/bin/install "$@"
""",
    "valkey-cli": 'exec redis-cli "$@"',
}


class Unit:
    """A unit as systemd would run it: readiness by its socket, and the exit code when it ended instead."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.name = name
        self._machine = machine
        template, _, instance = name.partition("@")
        file = machine.root / "etc/systemd/system" / f"{template}{'@' if instance else ''}.service"
        text = file.read_text().replace("%i", instance)
        self.options = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
        self.log = machine.root / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._supervisor: NotifySocket | None = None

    def spawn(self) -> None:
        """Begin to start it."""
        assert not self.is_running, f"{self.name} runs already"
        path = self._machine.root / f"{self.name}.notify"
        path.unlink(missing_ok=True)
        self._close()
        self._supervisor = NotifySocket(path)
        environment = self._machine.environment | {
            "NOTIFY_SOCKET": str(path),
            "WATCHDOG_USEC": f"{int(self.options['WatchdogSec']) * 1_000_000}",
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                shlex.split(self.options["ExecStart"]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.options["WorkingDirectory"],
                start_new_session=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread, nothing else runs in it
            )

    def started(self) -> int | None:
        """Wait until it is ready, None, or has ended: its exit code."""
        process, supervisor = self._process, self._supervisor
        assert process is not None
        assert supervisor is not None
        wait_until(
            lambda: "READY=1" in supervisor.told or process.poll() is not None,
            description=f"{self.name} is ready",
            timeout=60,
        )
        return process.poll()

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """`systemctl stop`: in order, within the time it is given."""
        if self._process is not None:
            self._process.terminate()
            code = self._process.wait(int(self.options["TimeoutStopSec"]))
            assert code == 0, f"{self.name} ended with {code}:\n{self.log.read_text()[-3000:]}"

    def kill(self) -> None:
        """kill -9; nobody starts it again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        self._close()

    def _close(self) -> None:
        if self._supervisor is not None:
            self._supervisor.__exit__(None, None, None)
            self._supervisor = None


class Machine:
    """A machine: its files below `root`, its services, and the words of the guide that mean something else here.

    `services`: what `systemctl start`, `stop`, `restart` and `reload` do to those that are not ours, by name.
    """

    def __init__(
        self,
        root: Path,
        *,
        words: Mapping[str, str],
        environment: Mapping[str, str],
        services: Mapping[str, Callable[[str], None]] | None = None,
    ) -> None:
        self.root = root
        self.units: dict[str, Unit] = {}
        self._words = dict(words)
        self._services = dict(services or {})
        for folder in ("etc/systemd/system", "etc/cron.d", "usr/local/bin", "usr/local/sbin", "opt/perseus", "home"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        shims = root / "shims"
        shims.mkdir(exist_ok=True)
        for name, body in _SHIMS.items():
            (shims / name).write_text(f"#!/bin/sh\n{body}\n")
            (shims / name).chmod(0o755)
        paths = (shims, root / "usr/local/bin", environment.get("PATH") or os.environ["PATH"])
        self.environment = {**environment, "PATH": os.pathsep.join(map(str, paths))}

    def here(self, text: str) -> str:
        """What the guide says, about this machine."""
        for word, meant in self._words.items():
            text = text.replace(word, meant)
        return _PATHS.sub(f"{self.root}/", text)

    def run(self, block: str, *, stdin: str = "") -> str:
        """Run a block of the guide, its `systemctl` lines too. What it prints; every command must succeed."""
        printed = ""
        for part in _parts(self.here(block)):
            if part.startswith("sudo systemctl "):
                self.systemctl(*shlex.split(part)[2:])
                continue
            done = subprocess.run(
                ["/bin/bash", "-euo", "pipefail", "-c", part],
                input=stdin,
                capture_output=True,
                text=True,
                env=self.environment,
                cwd=self.root / "home",
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, f"{part}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
            printed += done.stdout
        return printed

    def systemctl(self, verb: str, *words: str) -> None:
        """Do what systemd would. A unit that does not become ready is an error, as there."""
        patterns = [word for word in words if not word.startswith("--")]
        for name in (each for pattern in patterns for each in self._expanded(pattern)):
            if name in self._services:
                self._services[name](verb)
                continue
            if verb in ("stop", "restart"):
                self.units[name].stop()
            if verb in ("start", "enable", "restart"):
                self.spawn(name)
                code = self.units[name].started()
                assert code is None, f"{name} ended with {code}:\n{self.units[name].log.read_text()[-3000:]}"

    def spawn(self, name: str) -> Unit:
        """Begin to start one of our units."""
        unit = self.units.setdefault(name, Unit(self, name))
        unit.spawn()
        return unit

    def kill(self) -> None:
        """End all units."""
        for unit in self.units.values():
            unit.kill()

    def _expanded(self, pattern: str) -> Sequence[str]:
        if "*" not in pattern:
            return [pattern]
        return [name for name, unit in self.units.items() if fnmatch.fnmatch(name, pattern) and unit.is_running]


def clean_environment() -> dict[str, str]:
    """Ours without settings of anybody's, and with bytecode."""
    dropped = ("PERSEUS_", "PG", "PYTHONDONTWRITEBYTECODE", "NOTIFY_SOCKET", "WATCHDOG_")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


def _parts(block: str) -> Iterator[str]:
    """Each `systemctl` line by itself, and what lies between them; here-documents stay whole."""
    gathered: list[str] = []
    ends_with = ""
    for line in block.splitlines():
        if not ends_with and line.startswith("sudo systemctl "):
            if gathered:
                yield "\n".join(gathered)
                gathered = []
            yield line
            continue
        gathered.append(line)
        if ends_with:
            ends_with = "" if line == ends_with else ends_with
        elif found := re.search(r"<<'(\w+)'", line):
            ends_with = found[1]
    if gathered:
        yield "\n".join(gathered)
