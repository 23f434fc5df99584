"""Whether the store's user may do what an instance does: tried on every server, by commands that change nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import NamedTuple

from perseus import keys
from perseus.errors import PerseusError, StoreDenied
from perseus.model import SEEDED_EXCHANGES
from perseus.store.connection import Store
from perseus.store.facts import Facts, Survey
from perseus.store.findings import Finding, Severity, fine, grant, together

_PROBED = next(exchange for exchange in SEEDED_EXCHANGES if exchange.is_active)
_KEY = keys.reply(_PROBED.id, "probe")  # within every pattern an instance is given, and never existing
_STATUS = keys.status(_PROBED.id)
_LOG = keys.log(_PROBED.name)
_WAKE = b'{"exchangeId":0,"kind":"probe","epoch":0}'  # readers of the channel ignore kinds they do not know
_UNKNOWN_SCRIPT = "0" * 40


class _Probe(NamedTuple):
    """A command in a form that leaves nothing behind, and what permits its keys or channel."""

    command: tuple[str | bytes | int, ...]
    pattern: str = ""


# Every command an instance or a script of ours needs. (INFO and CONFIG GET are of use, not needed.) A server looks at
# rights first, so it does not matter that a key is served by another node, or that a replica takes no writes.
_PROBES = (
    _Probe(("TIME",)),
    _Probe(("GET", _STATUS), "~exchange:*:status"),
    _Probe(("PTTL", _KEY), "~{exchange:*:status}:*"),
    _Probe(("SET", _KEY, "", "XX"), "~{exchange:*:status}:*"),
    _Probe(("DEL", _KEY), "~{exchange:*:status}:*"),
    _Probe(("EXPIRE", _KEY, 1), "~{exchange:*:status}:*"),
    _Probe(("XADD", keys.log("probe"), "NOMKSTREAM", "*", "event", "probe"), "~logs:network:*"),
    _Probe(("XREVRANGE", _LOG, "+", "-", "COUNT", 1), "~logs:network:*"),
    _Probe(("XREAD", "COUNT", 1, "STREAMS", _LOG, "$"), "~logs:network:*"),
    _Probe(("ZADD", _KEY, "XX", 0, ""), "~{exchange:*:status}:*"),
    _Probe(("ZRANGE", _KEY, 0, 0), "~{exchange:*:status}:*"),
    _Probe(("ZREMRANGEBYSCORE", _KEY, 0, 0), "~{exchange:*:status}:*"),
    _Probe(("ZREMRANGEBYRANK", _KEY, 0, 0), "~{exchange:*:status}:*"),
    _Probe(("PUBLISH", keys.WAKE_CHANNEL, _WAKE), f"&{keys.WAKE_CHANNEL}"),
    _Probe(("EVALSHA", _UNKNOWN_SCRIPT, 1, _STATUS), "~exchange:*:status"),  # may it write that key?
    _Probe(("EVALSHA", _UNKNOWN_SCRIPT, 1, _KEY), "~{exchange:*:status}:*"),
    _Probe(("EVALSHA", _UNKNOWN_SCRIPT, 1, _LOG), "~logs:network:*"),
    _Probe(("EVAL", "return 1", 1, _KEY), "~{exchange:*:status}:*"),
)
_WITH_REPLICAS = _Probe(("WAIT", 0, 1))  # for none it waits not at all
_ON_CLUSTER = _Probe(("ASKING",))  # while a slot is being moved; the next command is permitted by it, so it is the last


async def check_rights(store: Store, found: Survey, *, wait_replicas: int, is_cluster: bool) -> list[Finding]:
    """What the user may not do on which server, or that it may do everything an instance needs.

    Users are not replicated: one that a replica lacks is locked out after a failover, so replicas are tried, too.
    """
    probes = _PROBES + ((_WITH_REPLICAS,) if wait_replicas else ()) + ((_ON_CLUSTER,) if is_cluster else ())
    servers = [(facts, True) for facts in found.primaries] + [(facts, False) for facts in found.replicas]
    reached = [(facts, is_primary) for facts, is_primary in servers if _lets_us_ask(facts)]
    tried = await asyncio.gather(*(_missing(store.at(facts.node), facts, probes) for facts, _ in reached))
    by_node: dict[str, list[Finding]] = {}
    for (facts, is_primary), missing in zip(reached, tried, strict=True):
        by_node[facts.name] = [_finding(facts, missing, is_primary=is_primary)]
    if len(by_node) < len(servers):
        by_node[""] = []  # so that the others are named
    return together(by_node)


def rights_denied(error: StoreDenied) -> str:
    """The right an error names, as `+get`; `""` if it is about a key, a channel or credentials."""
    named = re.search(r"run the '([^']+)' command", _refusal(error))
    return f"+{named[1].lower()}" if named else ""


def _lets_us_ask(facts: Facts) -> bool:
    return facts.fault is None or isinstance(facts.fault, StoreDenied)


async def _missing(store: Store, facts: Facts, probes: Iterable[_Probe]) -> list[str] | PerseusError | None:
    """The rights missing on this server; why it lets us do nothing; or None if that cannot be told."""
    if facts.fault is not None:
        return facts.fault
    probes = tuple(probes)
    try:
        replies = await store.pipeline(*(probe.command for probe in probes))
    except PerseusError:
        return None
    missing = [_right(probe, reply) for probe, reply in zip(probes, replies, strict=True) if _is_denied(reply)]
    return sorted(set(missing), key=lambda right: (right[0] == "+", missing.index(right)))


def _is_denied(reply: object) -> bool:
    return isinstance(reply, StoreDenied)


def _right(probe: _Probe, error: StoreDenied) -> str:
    about = _refusal(error)
    return probe.pattern if " key" in about or " channel" in about else f"+{str(probe.command[0]).lower()}"


def _refusal(error: StoreDenied) -> str:
    return str(error).partition("refused us: ")[2].partition(" Check ")[0]


def _finding(facts: Facts, missing: list[str] | PerseusError | None, *, is_primary: bool) -> Finding:
    if missing is None:
        says = "It no longer answers, so what the user may do there is not known."
        return Finding(name="rights", severity=Severity.UNKNOWN, says=says, fix="Look again when it is back.")
    if isinstance(missing, PerseusError):
        return _locked_out(facts, missing)
    if not missing:
        return fine("rights", f"User {facts.user} may do all that an instance does.")
    then = "so no instance can run as it" if is_primary else "so after a failover to it no instance could go on"
    return Finding(
        name="rights",
        severity=Severity.REFUSE if is_primary else Severity.WARN,
        says=f"User {facts.user} lacks {' '.join(missing)} there, {then}.",
        fix=f"{grant(facts.user, *missing)[:-1]}, and keep it (ACL SAVE, or its configuration file).",
    )


def _locked_out(facts: Facts, error: PerseusError) -> Finding:
    return Finding(
        name="rights",
        severity=Severity.WARN,
        says=f"It does not let user {facts.user} in ({_refusal(error) if isinstance(error, StoreDenied) else error}): "
        f"after a failover to it, no instance could go on. Users are not replicated.",
        fix="Give it the same users and passwords as the others: `ACL LIST` there shows their lines, `ACL SETUSER …` "
        "makes them here.",
    )
