"""What was found out about a store or a host: what is true, how bad that is, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec
from msgspec import structs


class Severity(StrEnum):
    """How bad a finding is, from nothing to worst.

    `down` is for what may pass by itself (a server still loading its data): instances are kept from running by the
    refusals of the store, not by us, and try again. `refuse` does not pass: they do not start, unless --unsafe-store.
    """

    OK = "ok"
    UNKNOWN = "unknown"
    WARN = "warn"
    DOWN = "down"
    REFUSE = "refuse"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at: what is true, and what to do about it (`""` if nothing).

    `nodes`: whom it is about, where the store has several and it is not true of all. Commands to type stand in
    backticks; those in capitals are for the store.
    """

    name: str
    severity: Severity
    says: str
    fix: str = ""
    nodes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is true, and of which nodes."""
        return f"{', '.join(self.nodes)}: {self.says}" if self.nodes else self.says


def fine(name: str, says: str) -> Finding:
    """A finding that needs no fix."""
    return Finding(name=name, severity=Severity.OK, says=says)


def grant(user: str, *rights: str) -> str:
    """The command that gives a user these rights, as a fix."""
    return f"Grant it: `ACL SETUSER {user} {' '.join(rights)}`."


def together(findings_by_node: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """Each different finding once, naming the nodes it is about unless it is about all; those of one name in a row."""
    nodes_by_finding: dict[Finding, list[str]] = {}
    for node, findings in findings_by_node.items():
        for finding in findings:
            nodes_by_finding.setdefault(finding, []).append(node)
    found = [
        finding if len(nodes) == len(findings_by_node) else structs.replace(finding, nodes=tuple(nodes))
        for finding, nodes in nodes_by_finding.items()
    ]
    names, bad_first = list(dict.fromkeys(finding.name for finding in found)), list(Severity)[::-1]
    return sorted(found, key=lambda finding: (names.index(finding.name), bad_first.index(finding.severity)))
