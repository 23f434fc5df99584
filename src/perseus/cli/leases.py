"""What the configured lease means in words, and whether the instances that hold one now have the same."""

from __future__ import annotations

from perseus import keys
from perseus.errors import PerseusError, StoreDenied, UnreadableKey
from perseus.lease import decode_status
from perseus.model import SEEDED_EXCHANGES
from perseus.store import Store
from perseus.store.findings import Finding, Severity, fine
from perseus.timing import LeaseTiming


def check_timing(timing: LeaseTiming) -> Finding:
    """When work stops and when others may begin, by the settings of this host."""
    stops_s, ends_s = timing.ttl_s - timing.margin_s, timing.ttl_s - timing.margin_s / 2
    return fine(
        "lease",
        f"Renewed every {timing.interval_s:g} s. Without an answer for {stops_s:g} s work stops, at {ends_s:g} s "
        f"`perseus run` is ended if it has not, and after {timing.ttl_s} s another instance may begin.",
    )


async def check_holders(store: Store, timing: LeaseTiming) -> list[Finding]:
    """Whether every lease that is held now has the TTL that is configured here: claimers go by their own.

    Raises: what a call to the store raises if none of its nodes answers.
    """
    replies = await store.pipeline(*(("GET", keys.status(exchange.id)) for exchange in SEEDED_EXCHANGES))
    other, unknown = [], []
    for exchange, raw in zip(SEEDED_EXCHANGES, replies, strict=True):
        try:
            if isinstance(raw, PerseusError):
                raise raw
            status = decode_status(raw, keys.status(exchange.id)) if raw is not None else None
        except StoreDenied:
            unknown.append(f"{exchange.name} (we may not read it)")
        except UnreadableKey:
            unknown.append(f"{exchange.name} (its status cannot be read)")
        except PerseusError:
            unknown.append(f"{exchange.name} (no answer)")
        else:
            if status is not None and status.ttl_ms not in (None, timing.ttl_s * 1000):
                other.append(f"{exchange.name} on {status.hostname}: {(status.ttl_ms or 0) / 1000:g} s")
    findings = [_unknown(unknown)] if unknown else []
    return [*findings, *([_different(other, timing)] if other else [])] or [
        fine("holders", f"No lease is held now with a TTL other than {timing.ttl_s} s.")
    ]


def _unknown(names: list[str]) -> Finding:
    return Finding(
        name="holders",
        severity=Severity.UNKNOWN,
        says=f"With which TTL the lease is held is not known of {', '.join(names)}.",
        fix="See what `perseus status` says of them.",
    )


def _different(names: list[str], timing: LeaseTiming) -> Finding:
    return Finding(
        name="holders",
        severity=Severity.WARN,
        says=f"Leases are held with another TTL than the {timing.ttl_s} s configured here ({', '.join(names)}): after "
        f"the store has restarted, an instance of this host could begin while another is still at work.",
        fix="Set the same PERSEUS_LEASE_TTL (and PERSEUS_HEARTBEAT_INTERVAL) for all instances of an exchange.",
    )
