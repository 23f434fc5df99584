"""A network of its own for a trial: a store and hosts in network namespaces, joined by cables that can be pulled.

No namespace has a default route, so nothing can leave. Each lives as long as one process of ours, and everything in it
goes with it. The store is reached from here by its Unix socket, which no cable carries.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Self

from tests.support.servers import Server, missing
from tests.support.system import die_with_parent
from tests.support.waiting import wait_until


class Namespace:
    """A network namespace; a context manager."""

    def __init__(self) -> None:
        if (fault := _fault()) is not None:
            missing("a network namespace with iproute2 in it", f"it needs root: {fault}")

    def __enter__(self) -> Self:
        self._keeper = subprocess.Popen(
            ("unshare", "--net", "sleep", "infinity"),
            preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread
        )
        ours = Path("/proc/self/ns/net").readlink()
        theirs = Path(f"/proc/{self._keeper.pid}/ns/net")
        wait_until(lambda: theirs.readlink() != ours, description="the namespace is there")
        self.run("ip", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        self._keeper.kill()
        self._keeper.wait(10)

    @property
    def pid(self) -> int:
        """A process in it."""
        return self._keeper.pid

    def inside(self, command: Sequence[str]) -> tuple[str, ...]:
        """The command in this namespace; its process id stays its own."""
        return ("nsenter", f"--net=/proc/{self._keeper.pid}/ns/net", "--", *command)

    def run(self, *command: str) -> None:
        """Run a command in it to its end."""
        subprocess.run(self.inside(command), check=True, capture_output=True, timeout=10)


class Network:
    """A store in a namespace, and hosts in others, each on a cable of its own. A context manager."""

    def __init__(self, binary: Path, directory: Path, *, config: dict[str, str]) -> None:
        self._binary = binary
        self._directory = directory
        self._config = config
        self._cleanup = ExitStack()
        self._cables = 0

    def __enter__(self) -> Self:
        self.center = self._cleanup.enter_context(Namespace())
        self.server = _ServerInside(self._binary, self._directory, inside=self.center.inside, config=self._config)
        self._cleanup.callback(self.server.kill)
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def host(self) -> Host:
        """One more host, on a cable to the store."""
        self._cables += 1
        name, subnet = f"cable{self._cables}", f"10.77.{self._cables}"
        namespace = self._cleanup.enter_context(Namespace())
        self.center.run(
            *("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(namespace.pid))
        )
        for space, device, end in ((self.center, name, 1), (namespace, "eth0", 2)):
            space.run("ip", "addr", "add", f"{subnet}.{end}/24", "dev", device)
            space.run("ip", "link", "set", device, "up")
        return Host(namespace, f"redis://{subnet}.1:{self.server.port}", center=self.center, cable=name)


class Host:
    """A host of the network: `url` is the store as it sees it."""

    def __init__(self, namespace: Namespace, url: str, *, center: Namespace, cable: str) -> None:
        self.inside = namespace.inside
        self.url = url
        self._center = center
        self._cable = cable

    def cut(self) -> None:
        """Pull the cable at the store's end: this host's own end does not know, and nothing is refused."""
        self._center.run("ip", "link", "set", self._cable, "down")

    def join(self) -> None:
        """Put it in again."""
        self._center.run("ip", "link", "set", self._cable, "up")


class _ServerInside(Server):
    """A server in a namespace: `url` is its Unix socket, for who is outside."""

    def __init__(
        self,
        binary: Path,
        directory: Path,
        *,
        inside: Callable[[Sequence[str]], Sequence[str]],
        config: dict[str, str],
    ) -> None:
        self._socket = directory / "socket"
        reached = {"unixsocket": str(self._socket), "bind": "0.0.0.0", "protected-mode": "no"}
        super().__init__(binary, directory, config=reached | config, inside=inside)

    @property
    def url(self) -> str:
        """Its Unix socket."""
        return f"unix://{self._socket}"


@cache
def _fault() -> str | None:
    """Why there can be no such network here; None if there can."""
    if shutil.which("ip") is None or shutil.which("nsenter") is None:
        return "apt-get install iproute2 util-linux"
    command = ("unshare", "--net", "ip", "link", "add", "cable0", "type", "veth", "peer", "name", "cable1")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip()
