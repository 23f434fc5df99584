"""A real etcd, alone or a cluster of three, that can lose its leader; Debian's package, as delivered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.support.system import die_with_parent, free_port
from tests.support.waiting import wait_until

HEARTBEAT_MS, ELECTION_MS = 100, 1000  # its defaults


class Etcd:
    """`members` processes on loopback, data and log in a directory each. Start it from the main thread only.

    Everything but ports and directories is as delivered: fsync of every write, the timing above. The command-line
    client `etcdctl` is etcd's own client library with its sessions and locks.
    """

    def __init__(self, directory: Path, *, members: int = 1) -> None:
        self._directories = [directory / f"etcd{n}" for n in range(members)]
        self._ports = [free_port() for _ in self._directories]
        self._peer_ports = [free_port() for _ in self._directories]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._cleanup = ExitStack()

    @property
    def url(self) -> str:
        """What `etcdctl --endpoints` takes: every member."""
        return ",".join(self._endpoint(number) for number in range(len(self._ports)))

    def start(self) -> Self:
        """Start every member; return once they have a leader and answer."""
        self._cleanup.callback(self._kill_all)
        for number in range(len(self._ports)):
            self._start(number, "new")
        self.wait_until_whole()
        return self

    def kill(self) -> None:
        """kill -9 to every member."""
        self._cleanup.close()

    def leader(self) -> int:
        """The number of the member that leads."""
        statuses = {number: self._status(number)["Status"] for number in self._processes}
        return next(number for number, each in statuses.items() if each["header"]["member_id"] == each.get("leader", 0))

    def kill_member(self, number: int) -> None:
        """kill -9 to one member."""
        self._processes[number].kill()
        self._processes.pop(number).wait(10)

    def move_leader(self) -> None:
        """Hand leadership over to another member, losing nothing."""
        leader = self.leader()
        other = next(number for number in self._processes if number != leader)
        target = self._status(other)["Status"]["header"]["member_id"]
        self.ctl("move-leader", f"{target:x}", "--endpoints", self._endpoint(leader))

    def repair(self) -> None:
        """Bring back every member that was killed."""
        for number in range(len(self._ports)):
            if number not in self._processes:
                self._start(number, "existing")
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Return once every member answers and all name the same leader."""
        wait_until(self._is_whole, description="etcd is whole", timeout=20)

    def ctl(self, *words: str) -> str:
        """What `etcdctl` answers. Raises: CalledProcessError with what it said instead."""
        return run_etcdctl(self.url, *words)

    def _start(self, number: int, state: str) -> None:
        peers = ",".join(f"m{n}=http://127.0.0.1:{port}" for n, port in enumerate(self._peer_ports))
        peer, client = f"http://127.0.0.1:{self._peer_ports[number]}", f"http://{self._endpoint(number)}"
        directory = self._directories[number]
        directory.mkdir(parents=True, exist_ok=True)
        options = {
            "name": f"m{number}",
            "data-dir": str(directory / "data"),
            "enable-v2": "false",
            "heartbeat-interval": str(HEARTBEAT_MS),
            "election-timeout": str(ELECTION_MS),
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "initial-cluster": peers,
            "initial-cluster-state": state,
        }
        with (directory / "log").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                ["etcd", *(f"--{name}={value}" for name, value in options.items())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread, nothing else runs in it
            )

    def _kill_all(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait(10)
        self._processes.clear()

    def _endpoint(self, number: int) -> str:
        return f"127.0.0.1:{self._ports[number]}"

    def _status(self, number: int) -> dict[str, Any]:
        (status,) = json.loads(run_etcdctl(self._endpoint(number), "endpoint", "status", "-w", "json"))
        return dict(status)

    def _is_whole(self) -> bool:
        for number, process in self._processes.items():
            assert process.poll() is None, f"etcd ended:\n{self._log_tail(number)}"
        try:
            leaders = {self._status(number)["Status"].get("leader", 0) for number in self._processes}
        except subprocess.CalledProcessError:
            return False
        return len(leaders) == 1 and leaders != {0}

    def _log_tail(self, number: int) -> str:
        return (self._directories[number] / "log").read_text(errors="replace")[-1500:]


def has_etcd() -> bool:
    """Whether this machine has etcd and its client (Debian: etcd-server, etcd-client)."""
    return bool(shutil.which("etcd") and shutil.which("etcdctl"))


def etcdctl(url: str, *words: str) -> list[str]:
    """The command that runs etcd's own client on these endpoints."""
    return ["etcdctl", *([] if "--endpoints" in words else ["--endpoints", url]), *words]


def run_etcdctl(url: str, *words: str) -> str:
    """What `etcdctl` answers. Raises: CalledProcessError with what it said instead."""
    command = etcdctl(url, *words)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment(), timeout=20)
    return done.stdout


def _environment() -> dict[str, str]:
    """Ours without settings of etcd's, and with the third version of its protocol."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ETCD")} | {"ETCDCTL_API": "3"}
