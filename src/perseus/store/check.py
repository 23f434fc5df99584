"""What the store must be: looked at before every start of an instance, and by `perseus doctor`."""

from __future__ import annotations

import asyncio

from perseus.clock import Clock
from perseus.errors import BadConfiguration
from perseus.store.cluster_check import check_cluster
from perseus.store.connection import Store
from perseus.store.facts import Facts, Survey, kind_of, survey
from perseus.store.findings import Finding, Severity, together
from perseus.store.replica_check import check_replicas
from perseus.store.rights import check_rights
from perseus.store.sentinel_check import check_sentinels
from perseus.store.server_check import check_server
from perseus.timing import LeaseTiming


async def check_store(store: Store, *, clock: Clock, timing: LeaseTiming, replicas: int) -> list[Finding]:
    """Look at every server of the store: what it is, whether it keeps what it is given, its replicas and clocks.

    `timing`: of the leases it is to keep; `replicas`: how many must confirm each of them. Bounded: a few times the
    bound of one call, whatever is dead.
    Raises: StoreUnavailable or StoreDenied if no primary can be asked.
    """
    found = await survey(store, clock=clock)
    return await _judged(store, found, timing=timing, wait=replicas)


async def check_usable(store: Store, *, clock: Clock, timing: LeaseTiming, replicas: int) -> list[Finding]:
    """`check_store`, and whether the user may do what an instance does. Raises: as `check_store`."""
    found = await survey(store, clock=clock)
    judging, trying = await asyncio.gather(
        _judged(store, found, timing=timing, wait=replicas),
        check_rights(store, found, wait_replicas=replicas, is_cluster=kind_of(store) == "cluster"),
    )
    return trying + judging


async def require_usable(
    store: Store, *, clock: Clock, timing: LeaseTiming, replicas: int, unsafe: bool
) -> list[Finding]:
    """The findings worth a warning. Raises: BadConfiguration if the store must not be used, unless `unsafe`."""
    findings = await check_usable(store, clock=clock, timing=timing, replicas=replicas)
    refused = [finding for finding in findings if finding.severity is Severity.REFUSE]
    if refused and not unsafe:
        faults = tuple(f"{finding.text} {finding.fix}" for finding in refused)
        raise BadConfiguration(
            f"The store at {store.url} cannot keep leases: {' '.join(faults)} Nothing was started. "
            f"(--unsafe-store starts all the same.)",
            faults=faults,
        )
    # What cannot be known (a managed server without CONFIG) nobody can change before the next start
    return [finding for finding in findings if finding.severity not in (Severity.OK, Severity.UNKNOWN)]


async def _judged(store: Store, found: Survey, *, timing: LeaseTiming, wait: int) -> list[Finding]:
    kind = kind_of(store)
    findings = together(
        {each.name: _of_shard(each, found, kind=kind, timing=timing, wait=wait) for each in found.primaries}
    )
    if kind == "cluster":
        findings += await check_cluster(store, found, timing=timing)
    if kind == "sentinel":
        findings += await check_sentinels(store, timing=timing)
    return findings


def _of_shard(primary: Facts, found: Survey, *, kind: str, timing: LeaseTiming, wait: int) -> list[Finding]:
    if primary.fault is not None:
        fix = "Bring it back, or let its replica take over: exchanges whose slots it serves cannot be claimed."
        says = str(primary.fault).partition(" Check ")[0]
        return [Finding(name="server", severity=Severity.WARN, says=says, fix=fix)]
    findings = check_server(primary, timing=timing, kind=kind)
    return findings + check_replicas(primary, found.replicas_of(primary), timing=timing, wait=wait)
