"""What Sentinels must be: enough of them, of one mind, and quick enough to replace a primary in time."""

from __future__ import annotations

import asyncio
from typing import NamedTuple
from urllib.parse import unquote

from perseus.errors import PerseusError
from perseus.store.cluster_check import failover_in_time
from perseus.store.connection import Store
from perseus.store.findings import Finding, Severity, fine
from perseus.timing import LeaseTiming

ENOUGH = 3


class _View(NamedTuple):
    """What one Sentinel says. `fault`: why it says nothing. `primary`: whom it names; `about`: what it knows of it."""

    name: str
    fault: PerseusError | None = None
    primary: str | None = None
    about: dict[str, str] | None = None
    has_quorum: bool | None = None


async def check_sentinels(store: Store, *, timing: LeaseTiming) -> list[Finding]:
    """Every finding about the Sentinels that STORE_URL names."""
    service = service_of(store)
    nodes = store.sentinels()
    views = await asyncio.gather(*(_ask(store.at(node), node.name, service=service) for node in nodes))
    answering = [view for view in views if view.fault is None]
    return [
        _reached(views),
        _agreement(answering, service=service),
        _number(answering, named=len(nodes)),
        _quorum(answering),
        _timing(answering, service=service, timing=timing),
    ]


def service_of(store: Store) -> str:
    """What the Sentinels call their primary, by STORE_URL."""
    return unquote(store.url.partition("://")[2].rpartition("@")[2].split("/")[1])


async def _ask(store: Store, name: str, *, service: str) -> _View:
    try:
        where, about, quorum = await store.pipeline(
            ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service),
            ("SENTINEL", "MASTER", service),
            ("SENTINEL", "CKQUORUM", service),
        )
    except PerseusError as error:
        return _View(name, fault=error)
    if isinstance(where, PerseusError):
        return _View(name, fault=where)
    texts = [] if isinstance(about, Exception) else [each.decode() for each in about]
    return _View(
        name,
        primary=f"{where[0].decode()}:{where[1].decode()}" if where else None,
        about=dict(zip(texts[::2], texts[1::2], strict=True)) or None,
        has_quorum=_has_quorum(quorum),
    )


def _has_quorum(reply: object) -> bool | None:
    if isinstance(reply, Exception):
        return False if "NOQUORUM" in str(reply) else None  # else it may not be asked
    return True


def _reached(views: list[_View]) -> Finding:
    silent = [view.name for view in views if view.fault is not None]
    if not silent:
        return fine("sentinels", f"{len(views)} named in STORE_URL, all answer.")
    return Finding(
        name="sentinels",
        severity=Severity.WARN,
        says=f"{', '.join(silent)} {'does' if len(silent) == 1 else 'do'} not answer, or not us.",
        fix="Bring it back, or take it out of STORE_URL; its user and password are sentinel_username and "
        "sentinel_password there.",
    )


def _agreement(views: list[_View], *, service: str) -> Finding:
    named = {view.name: view.primary or "none" for view in views}
    if len(set(named.values())) == 1:
        return fine("agreement", f"They agree that {views[0].primary} is the primary.")
    said = "; ".join(f"{name} names {primary}" for name, primary in named.items())
    return Finding(
        name="agreement",
        severity=Severity.WARN,
        says=f"They do not agree on the primary: {said}. Instances go by most of them.",
        fix=f"If it lasts, tell the odd one anew: `SENTINEL REMOVE {service}` on it, then `SENTINEL MONITOR {service} "
        f"HOST PORT QUORUM` with the others' primary and quorum.",
    )


def _number(views: list[_View], *, named: int) -> Finding:
    told = [int(view.about["num-other-sentinels"]) + 1 for view in views if view.about]
    if not told:
        return _untold("number")
    if max(told) < ENOUGH:
        return Finding(
            name="number",
            severity=Severity.WARN,
            says=f"There {'is' if max(told) == 1 else 'are'} {max(told)} of them: when one dies with the primary, no "
            f"majority is left to replace it.",
            fix=f"Run {ENOUGH} or more on hosts of their own.",
        )
    if named == 1:
        says = f"STORE_URL names one of {max(told)}: while that one is away, nobody says where the primary is."
        return Finding(name="number", severity=Severity.WARN, says=says, fix="Name them all in STORE_URL.")
    return fine("number", f"{max(told)} of them watch the primary.")


def _quorum(views: list[_View]) -> Finding:
    without = [view.name for view in views if view.has_quorum is False]
    if without:
        return Finding(
            name="quorum",
            severity=Severity.WARN,
            says=f"{', '.join(without)} cannot reach enough of the others: a dead primary would not be replaced.",
            fix="Bring the other Sentinels back and let them reach each other (`SENTINEL SENTINELS`, `SENTINEL RESET` "
            "for addresses that are gone).",
        )
    if not any(view.has_quorum for view in views):
        return _untold("quorum")
    return fine("quorum", "Enough of them reach each other to replace the primary.")


def _timing(views: list[_View], *, service: str, timing: LeaseTiming) -> Finding:
    told = [float(view.about["down-after-milliseconds"]) / 1000 for view in views if view.about]
    if not told:
        return _untold("failover")
    command = f"SENTINEL SET {service} down-after-milliseconds"
    return failover_in_time(max(told), "down-after-milliseconds", command, timing=timing)


def _untold(name: str) -> Finding:
    return Finding(
        name=name,
        severity=Severity.UNKNOWN,
        says="The Sentinels do not tell us.",
        fix="Let their user ask: `ACL SETUSER … +sentinel|master +sentinel|ckquorum` on each of them.",
    )
