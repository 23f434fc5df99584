"""What a failover would find: how many replicas there are, what they must have confirmed, and what time they have."""

from __future__ import annotations

from collections.abc import Sequence

from perseus.store.facts import Facts
from perseus.store.findings import Finding, Severity, fine
from perseus.timing import LeaseTiming

_HOLDS = "the refusal of writes holds on whichever server answers (docs/guarantees.md)"


def check_replicas(primary: Facts, replicas: Sequence[Facts], *, timing: LeaseTiming, wait: int) -> list[Finding]:
    """Every finding about the replicas of one primary. `wait`: STORE_WAIT_REPLICAS."""
    if "INFO" in primary.denied:
        return []  # said already
    findings = [_confirmations(primary, wait=wait)]
    needed = int(primary.config.get("min-replicas-to-write") or 0)
    good = primary.number("min_slaves_good_slaves", needed)
    if good < needed:
        findings.append(
            Finding(
                name="writes",
                severity=Severity.DOWN,
                says=f"It refuses writes: {good} of at least {needed} replicas (min-replicas-to-write) are in time.",
                fix="Bring its replicas back; or, to go on without them, run `CONFIG SET min-replicas-to-write "
                f"{good}` on it.",
            )
        )
    return findings + ([_clocks(primary, replicas, timing=timing)] if replicas else [])


def _confirmations(primary: Facts, *, wait: int) -> Finding:
    connected = len(primary.replicas)
    has = f"{connected} replica{'' if connected == 1 else 's'} {'is' if connected == 1 else 'are'} connected"
    if wait > connected:
        return Finding(
            name="replicas",
            severity=Severity.DOWN,
            says=f"STORE_WAIT_REPLICAS is {wait}, but {has if connected else 'no replica is connected'}: every claim "
            f"would be given back, and no renewal counts.",
            fix=f"Bring its replicas back, or set PERSEUS_STORE_WAIT_REPLICAS={connected}.",
        )
    if wait:
        survives = "whichever is promoted has it" if wait == connected else "a failover to another one may lose it"
        return fine("replicas", f"{has}, and {wait} must have each claim and renewal before it counts: {survives}.")
    if not connected:
        return fine("replicas", "None are connected: nothing can be lost to a failover.")
    return _unconfirmed(primary, has=has)


def _unconfirmed(primary: Facts, *, has: str) -> Finding:
    least = primary.config.get("min-replicas-to-write", "")
    if least not in ("", "0"):
        says = f"{has}, and it takes writes only while {least} of them keep up: a failover loses the last moments only"
        return fine("replicas", f"{says}; {_HOLDS}.")
    unless = "" if least else " (unless min-replicas-to-write is set, which is not said)"
    return Finding(
        name="replicas",
        severity=Severity.WARN,
        says=f"{has}, but nothing waits for {'it' if has.startswith('1 ') else 'them'}{unless}: a failover can lose "
        f"the newest claim or renewal, and an instance cut off together with the old primary goes on beside its "
        f"successor; {_HOLDS}.",
        fix="Set PERSEUS_STORE_WAIT_REPLICAS=1 on every instance: claims and renewals then count once a replica has "
        "them.",
    )


def _clocks(primary: Facts, replicas: Sequence[Facts], *, timing: LeaseTiming) -> Finding:
    """Expiry is wall time: a promoted replica whose clock is ahead ends leases before their holders stop."""
    limit_ms = timing.margin_s * 1000 / 2
    apart, unknown = [], []
    for replica in replicas:
        if primary.time is None or replica.time is None:
            unknown.append(f"{replica.name} ({_why(replica)})")
            continue
        ahead_ms = replica.time.offset_ms - primary.time.offset_ms
        if abs(ahead_ms) > limit_ms:
            apart.append(f"{replica.name} {abs(ahead_ms) / 1000:.1f} s {'ahead' if ahead_ms > 0 else 'behind'}")
        elif abs(ahead_ms) + replica.time.give_or_take_ms + primary.time.give_or_take_ms > limit_ms:
            unknown.append(f"{replica.name} (it answers too slowly to tell)")
    if apart:
        also = f" Unknown: {', '.join(unknown)}." if unknown else ""
        return Finding(
            name="replica clocks",
            severity=Severity.WARN,
            says=f"By its primary's clock, {', '.join(apart)}; more than {limit_ms / 1000:g} s, half the margin of a "
            f"lease, and once promoted it ends leases too early or too late.{also}",
            fix="Let NTP set the clock of every server (`timedatectl set-ntp true`).",
        )
    if unknown:
        return Finding(
            name="replica clocks",
            severity=Severity.UNKNOWN,
            says=f"Not known of {', '.join(unknown)}: once promoted, a replica whose clock is more than "
            f"{limit_ms / 1000:g} s off ends leases too early or too late.",
            fix="Look from a host that reaches them with the same user, or compare `TIME` on them by hand.",
        )
    return fine("replica clocks", f"Less than {limit_ms / 1000:g} s from their primary's.")


def _why(replica: Facts) -> str:
    if "TIME" in replica.denied:
        return "TIME is denied there"
    return "it cannot be reached from here, or does not let us in" if replica.fault else "its primary's is not known"
