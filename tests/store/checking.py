"""What the tests of findings share: look at a store, and do what a finding says."""

from __future__ import annotations

import re
import shlex
from typing import Protocol

from perseus.clock import SystemClock
from perseus.store import Store
from perseus.store.check import check_usable
from perseus.store.findings import Finding, Severity
from perseus.timing import LeaseTiming
from tests.support.servers import Server

ENDS_WITHIN_S = 20.0  # docs/cli.md promises seconds, whatever does not answer; it takes about three
OK, UNKNOWN, WARN, DOWN, REFUSE = Severity.OK, Severity.UNKNOWN, Severity.WARN, Severity.DOWN, Severity.REFUSE


class _Callable(Protocol):
    def call(self, *command: str) -> object: ...


async def looked_at(url: str, *, timing: LeaseTiming | None = None, replicas: int = 0) -> dict[str, Finding]:
    """Every finding by its name; each but the good ones has a fix."""
    store = Store(url)
    try:
        timing = timing or LeaseTiming()
        findings = await check_usable(store, clock=SystemClock(), timing=timing, replicas=replicas)
    finally:
        await store.close()
    assert not [finding for finding in findings if not finding.fix and finding.severity is not OK]
    by_name = {
        finding.name: finding for finding in sorted(findings, key=lambda each: list(Severity).index(each.severity))
    }
    assert len(by_name) >= len({finding.name for finding in findings})
    return by_name


def bad(found: dict[str, Finding]) -> dict[str, Severity]:
    """What is not good, but that a test's server keeps nothing on disk."""
    return {name: each.severity for name, each in found.items() if each.severity is not OK and name != "persistence"}


def commands_in(fix: str) -> list[list[str]]:
    """The commands for the store that a fix tells."""
    told = [shlex.split(text) for text in re.findall(r"`([^`]+)`", fix)]
    return [words for words in told if words[0].isupper() and "…" not in words]


def follow(fix: str, *servers: Server) -> None:
    """Type the commands of a fix on each of these servers."""
    commands = commands_in(fix)
    assert commands, f"{fix!r} tells no command"
    for server in servers:
        for command in commands:
            server.call(*command)
