"""What the store must be: findings about a server, shared by every start and by `perseus doctor`."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from perseus.clock import Clock
from perseus.errors import BadConfiguration, StoreDenied
from perseus.store.connection import Store

MINIMUM_VERSION = (6, 2)
CLOCK_WARN_MS = 60_000


class Severity(StrEnum):
    """How bad a finding is: `refuse` keeps instances from starting unless --unsafe-store."""

    OK = "ok"
    WARN = "warn"
    REFUSE = "refuse"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at: what is true, and what to do about it (`""` if nothing)."""

    name: str
    severity: Severity
    says: str
    fix: str = ""


async def check_store(store: Store, *, clock: Clock) -> list[Finding]:
    """Look at version, role, eviction, persistence and clock, reading INFO where CONFIG is denied.

    Raises: StoreUnavailable, StoreRefused, and StoreDenied for wrong credentials.
    """
    store_ms = await store.time_ms()
    host_ms = clock.wall_ms()
    try:
        info = await store.info("server", "memory", "persistence", "replication")
    except StoreDenied as error:
        fix = "Grant it: ACL SETUSER … +info (see docs/store.md)."
        says = f"INFO is denied ({error}), so version, role, eviction and uptime are unknown; every claim waits a TTL."
        return [Finding(name="rights", severity=Severity.WARN, says=says, fix=fix)]
    return [
        _version(info),
        _role(info),
        _eviction(info),
        _persistence(info),
        _clock(store_ms, host_ms),
    ]


async def require_usable(store: Store, *, clock: Clock, unsafe: bool) -> list[Finding]:
    """The findings worth a warning. Raises: BadConfiguration if the store must not be used, unless `unsafe`."""
    findings = await check_store(store, clock=clock)
    refused = [finding for finding in findings if finding.severity is Severity.REFUSE]
    if refused and not unsafe:
        faults = tuple(f"{finding.says} {finding.fix}" for finding in refused)
        raise BadConfiguration(
            f"The store at {store.url} cannot keep leases: {' '.join(faults)} Nothing was started. "
            f"(--unsafe-store starts all the same.)",
            faults=faults,
        )
    return [finding for finding in findings if finding.severity is not Severity.OK]


def _version(info: dict[str, str]) -> Finding:
    is_valkey = "valkey_version" in info
    text = info.get("valkey_version") or info.get("redis_version", "unknown")
    # Valkey answers redis_version 7.2.4 for the clients' sake; its own versions begin above the minimum
    numbers = tuple(int(part) for part in info.get("redis_version", "0").split(".")[:2] if part.isdigit())
    says = f"{'Valkey' if is_valkey else 'Redis'} {text}."
    if numbers >= MINIMUM_VERSION:
        return Finding(name="version", severity=Severity.OK, says=says)
    return Finding(
        name="version",
        severity=Severity.REFUSE,
        says=f"{says[:-1]} is too old.",
        fix="Use Redis 6.2 or newer, or Valkey.",
    )


def _role(info: dict[str, str]) -> Finding:
    role = info.get("role", "unknown")
    if role != "slave":
        return Finding(name="role", severity=Severity.OK, says=f"Role {role}.")
    primary = f"{info.get('master_host')}:{info.get('master_port')}"
    return Finding(
        name="role",
        severity=Severity.REFUSE,
        says="The server is a replica: it refuses writes.",
        fix=f"Set STORE_URL to its primary, {primary}.",
    )


def _eviction(info: dict[str, str]) -> Finding:
    policy = info.get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        return Finding(name="eviction", severity=Severity.OK, says="Evicts nothing (noeviction).")
    if policy == "unknown":
        return Finding(
            name="eviction",
            severity=Severity.WARN,
            says="The server does not say whether it evicts keys.",
            fix="Make sure that maxmemory-policy is noeviction.",
        )
    return Finding(
        name="eviction",
        severity=Severity.REFUSE,
        says=f"The server evicts keys when memory runs short (maxmemory-policy {policy}): a lease could vanish.",
        fix="Set it: CONFIG SET maxmemory-policy noeviction.",
    )


def _persistence(info: dict[str, str]) -> Finding:
    # INFO tells of the append-only file only; whether snapshots are scheduled shows in the last save having happened
    if info.get("aof_enabled") == "1":
        return Finding(name="persistence", severity=Severity.OK, says="Append-only file is on.")
    return Finding(
        name="persistence",
        severity=Severity.WARN,
        says="No append-only file: a restart loses the activity log and candles since the last snapshot, or all.",
        fix="Set it: CONFIG SET appendonly yes, and in the server's configuration file.",
    )


def _clock(store_ms: float, host_ms: int) -> Finding:
    apart_s = abs(store_ms - host_ms) / 1000
    if apart_s * 1000 <= CLOCK_WARN_MS:
        return Finding(name="clock", severity=Severity.OK, says=f"Store and host clocks are {apart_s:.1f} s apart.")
    return Finding(
        name="clock",
        severity=Severity.WARN,
        says=f"The store's clock and this host's are {apart_s:.0f} s apart; all times shown are the store's.",
        fix="Let NTP set both (timedatectl set-ntp true).",
    )
