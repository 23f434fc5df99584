"""Servers for trials, started ahead of need: a store that has just started may have lost a lease, so claims wait."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from perseus.store import scripts
from tests.faults.variants import broken_scripts
from tests.support.servers import BINARIES, Server

TRIALS = int(os.environ.get("PERSEUS_FAULT_TRIALS") or 3)
AT_ONCE = 3 if TRIALS <= 3 else 6  # they mostly wait; but a busy machine must not look like a fault
_SCRIPTS = [each for each in vars(scripts).values() if isinstance(each, scripts.Script)]


class Pool:
    """Lends servers to trials, emptied and with the scripts loaded.

    `lend` and `give_back`: shared by one trial after another. `part_with`: a server the trial may stop or break; there
    is always another growing old, so the first claim on it need not wait for a TTL: half of a fault test's time.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started = 0
        self._running: list[Server] = []
        self._free = {kind: [self._start(kind) for _ in range(count)] for kind, count in _SHARED.items()}
        self._spare = {kind: [self._start(kind) for _ in range(2)] for kind in BINARIES}

    def lend(self, number: int, *, variant: str) -> Server:
        """A server nobody uses now: Redis for every third trial, Valkey otherwise."""
        kind = "redis7" if number % 3 == 2 and self._free["redis7"] else "valkey9"
        return prepared(self._free[kind].pop(), variant)

    def give_back(self, server: Server) -> None:
        """It is free for the next."""
        self._free[self.kind_of(server)].append(server)

    def kind_of(self, server: Server) -> str:
        """Its key in `BINARIES`."""
        return next(kind for kind, binary in BINARIES.items() if binary() == server.binary)

    def part_with(self, number: int, *, variant: str) -> Server:
        """A server of the trial's own, up for a while, Valkey and Redis in turns; the trial kills it."""
        return self.part_with_one(_in_turns(number), variant=variant)

    def part_with_one(self, kind: str, *, variant: str) -> Server:
        """The same of this kind."""
        self._spare[kind].append(self._start(kind))
        return prepared(self._spare[kind].pop(0), variant)

    def close(self) -> None:
        """Kill them all."""
        for server in self._running:
            server.kill()

    def _start(self, kind: str) -> Server:
        self._started += 1
        server = Server(BINARIES[kind](), self._directory / str(self._started)).start()
        self._running.append(server)
        return server


_SHARED = {"valkey9": AT_ONCE, "redis7": AT_ONCE // 3}


def new_server(directory: Path, number: int, *, variant: str, properties: dict[str, Any]) -> Server:
    """A server with these properties, just started, Valkey and Redis in turns; the trial kills it."""
    return prepared(Server(BINARIES[_in_turns(number)](), directory, **properties).start(), variant)


def prepared(server: Server, variant: str) -> Server:
    """The server emptied, and knowing every script: a reply lost on purpose must not be that of an unknown script."""
    server.call("FLUSHALL")
    for script in (*_SCRIPTS, *broken_scripts(variant).values()):
        server.call("SCRIPT", "LOAD", script.text)
    return server


def _in_turns(number: int) -> str:
    return sorted(BINARIES)[::-1][number % 2]
