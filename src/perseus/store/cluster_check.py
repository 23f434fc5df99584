"""What a Cluster must be: whole, every exchange's slots served, and able to replace a primary in time."""

from __future__ import annotations

from perseus import keys
from perseus.errors import PerseusError, StoreUnavailable
from perseus.model import SEEDED_EXCHANGES
from perseus.store.connection import Store
from perseus.store.facts import Facts, Survey
from perseus.store.findings import Finding, Severity, fine, grant
from perseus.timing import LeaseTiming

SLOTS = 16_384
FAILOVER_S = 3.0  # from a primary counted as dead to the first write on its successor; 1.5 s in our tests


async def check_cluster(store: Store, found: Survey, *, timing: LeaseTiming) -> list[Finding]:
    """Every finding about the Cluster as a whole."""
    views = [facts for facts in found.primaries if facts.fault is None]
    told = next((facts for facts in views if facts.cluster), None)
    state = [_not_told(views[0])] if told is None else [_state(views), _coverage(told)]
    alone = [facts.name for facts in views if "INFO" not in facts.denied and not facts.replicas]
    return [*state, await _exchanges(store), _spares(alone), _cut_off(found), _failover(views, timing=timing)]


def _not_told(facts: Facts) -> Finding:
    says = "CLUSTER INFO is denied, so whether the Cluster is whole is known from our own keys only."
    return Finding(name="cluster", severity=Severity.UNKNOWN, says=says, fix=grant(facts.user, "+cluster|info"))


def _state(views: list[Facts]) -> Finding:
    failing = [each.name for each in views if each.cluster and each.cluster.get("cluster_state") != "ok"]
    unassigned = max(SLOTS - int(each.cluster.get("cluster_slots_assigned", SLOTS)) for each in views if each.cluster)
    lost = max(int(each.cluster.get("cluster_slots_fail", 0)) for each in views if each.cluster)
    if not (failing or unassigned or lost):
        return fine("cluster", f"All {SLOTS} slots are served.")
    says = f"{unassigned} slots belong to no node, {lost} to one that failed"
    if failing:
        says = (
            f"{', '.join(failing)} {'refuses' if len(failing) == 1 else 'refuse'} writes (cluster_state fail): {says}"
        )
    return Finding(
        name="cluster",
        severity=Severity.DOWN if failing else Severity.WARN,
        says=f"{says}.",
        fix="Bring the missing nodes back, or give their slots to others: `valkey-cli --cluster fix HOST:PORT` (or "
        "redis-cli).",
    )


def _coverage(told: Facts) -> Finding:
    if told.config.get("cluster-require-full-coverage") == "no":
        return fine("coverage", "A slot that nobody serves stops only the exchanges in it.")
    says = "A slot that nobody serves stops every exchange (cluster-require-full-coverage yes, the default)."
    return fine("coverage", says)


async def _exchanges(store: Store) -> Finding:
    """Whether the nodes of every exchange's status and log answer, by asking them for those keys."""
    exchanges = [exchange for exchange in SEEDED_EXCHANGES if exchange.is_active]
    wanted = [(each, key) for each in exchanges for key in (keys.status(each.id), keys.log(each.name))]
    try:
        replies = await store.pipeline(*(("PTTL", key) for _, key in wanted))
    except PerseusError as error:
        replies = [error] * len(wanted)
    # A node that denies us a key answers; what is denied is a finding of its own
    down = ((each.name, why) for (each, _), why in zip(wanted, replies, strict=True) if _is_away(why))
    faults = dict(down)
    if not faults:
        return fine("slots", f"The nodes that serve {', '.join(each.name for each in exchanges)} answer.")
    why = dict.fromkeys(str(fault).partition(" Check ")[0] for fault in faults.values())
    return Finding(
        name="slots",
        severity=Severity.DOWN,
        says=f"{', '.join(faults)} cannot be served now: {' '.join(why)}",
        fix="Bring the node back that serves their slots, or let its replica take over (`CLUSTER FAILOVER` on that).",
    )


def _is_away(reply: object) -> bool:
    return isinstance(reply, StoreUnavailable)


def _spares(alone: list[str]) -> Finding:
    if not alone:
        return fine("spares", "Every primary has a replica.")
    return Finding(
        name="spares",
        severity=Severity.WARN,
        says=f"{', '.join(alone)} {'has' if len(alone) == 1 else 'have'} no replica: when a primary without one dies, "
        f"its exchanges stop until it is back.",
        fix="Add a node, and on it run `CLUSTER REPLICATE` with the primary's id (`CLUSTER MYID` there).",
    )


def _cut_off(found: Survey) -> Finding:
    broken = [each.name for each in found.replicas if each.info.get("master_link_status") == "down"]
    silent = [each.name for each in found.replicas if each.fault is not None]
    if not (broken or silent):
        return fine("replication", "Every replica is in touch with its primary.")
    said = f"{', '.join(broken)} cannot reach its primary: promoted, it would lack the leases since." if broken else ""
    if silent:
        said += f" {', '.join(silent)} does not answer us, so neither its clock nor what it has is known."
    return Finding(
        name="replication",
        severity=Severity.WARN,
        says=said.strip(),
        fix="See that it runs and that its user and password for the primary are right (primaryuser, primaryauth).",
    )


def _failover(views: list[Facts], *, timing: LeaseTiming) -> Finding:
    setting = "cluster-node-timeout"
    told = [float(each.config[setting]) / 1000 for each in views if setting in each.config]
    if not told:
        says = "How soon a dead primary is replaced is not said."
        fix = grant(views[0].user, "+config|get")
        return Finding(name="failover", severity=Severity.UNKNOWN, says=says, fix=fix)
    return failover_in_time(max(told), setting, f"CONFIG SET {setting}", timing=timing)


def failover_in_time(noticed_s: float, setting: str, command: str, *, timing: LeaseTiming) -> Finding:
    """Whether a primary that dies right before a renewal is replaced before the instances' deadline."""
    left_s = timing.ttl_s - timing.margin_s - timing.interval_s
    if noticed_s + FAILOVER_S <= left_s:
        return fine(
            "failover", f"A dead primary is replaced about {noticed_s:g} s later ({setting}), before work has to stop."
        )
    better_ms = max(500, min(5000, int((left_s - FAILOVER_S) * 500)))
    return Finding(
        name="failover",
        severity=Severity.WARN,
        says=f"A dead primary is noticed after {noticed_s:g} s ({setting}) and replaced some seconds later; instances "
        f"may have to stop work after {left_s:g} s without it. They go on by themselves, with a gap.",
        fix=f"Run `{command} {better_ms}` on each of them, or set a longer PERSEUS_LEASE_TTL.",
    )
