"""Records as the store holds them, for tests of what an observer concludes."""

from __future__ import annotations

import json
from typing import Any

from perseus.clock import iso
from perseus.errors import PerseusError
from perseus.model import exchange_named
from perseus.network.cards import Card, Record, conclude
from perseus.store import Entry

BINANCE = exchange_named("binance")
NOW_MS = 1_795_378_173_828
REQUIRED = (
    "exchangeId",
    "exchangeName",
    "connectionState",
    "connectedAt",
    "lastHeartbeat",
    "symbolCount",
    "adminEmail",
    "adminDisplayName",
    "ipAddress",
    "hostname",
    "lastError",
)


def payload(*, age_ms: int = 0, drop: tuple[str, ...] = (), **changes: Any) -> bytes:
    """A status payload whose last heartbeat was `age_ms` before NOW_MS; `changes` by JSON name."""
    whole: dict[str, Any] = {
        "exchangeId": BINANCE.id,
        "exchangeName": BINANCE.name,
        "connectionState": "active",
        "connectedAt": iso(NOW_MS - 3_600_000),
        "lastHeartbeat": iso(NOW_MS - age_ms),
        "symbolCount": 25,
        "adminEmail": "ada@example.org",
        "adminDisplayName": "Ada",
        "ipAddress": "203.0.113.7",
        "hostname": "fra-2",
        "lastError": None,
        "instanceId": "i1",
        "epoch": 1_795_378_000_000_000,
        "claimId": "c1",
        "rev": 7,
        "heartbeatIntervalMs": 15_000,
        "ttlMs": 45_000,
        "desiredState": {"state": "running", "by": "", "at": ""},
    }
    return json.dumps({name: value for name, value in (whole | changes).items() if name not in drop}).encode()


def foreign(*, age_ms: int = 0, **changes: Any) -> bytes:
    """A payload with the required fields only, as another program of the network writes it."""
    whole = json.loads(payload(age_ms=age_ms, **changes))
    return json.dumps({name: whole[name] for name in whole if name in REQUIRED}).encode()


def entry(event: str = "state_transition", *, age_ms: int = 0, **fields: str) -> Entry:
    """A log entry of that age."""
    base = {"event": event, "timestamp": iso(NOW_MS - age_ms), "exchangeName": BINANCE.name}
    return Entry(f"{NOW_MS - age_ms}-0", base | fields)


def card(
    status: bytes | PerseusError | None = None,
    *,
    pttl: int | None = None,
    last: bytes | PerseusError | None = None,
    warmup: bytes | PerseusError | None = None,
    newest: Entry | None = None,
    now_ms: int = NOW_MS,
    previous: Card | None = None,
) -> Card:
    """What is concluded from these records at `now_ms`; `pttl` defaults to what fits `status`."""
    ttl_ms = pttl if pttl is not None else (-2 if status is None else 45_000)
    record = Record(exchange=BINANCE, status=status, ttl_ms=ttl_ms, last=last, warmup=warmup, newest=newest)
    return conclude(record, now_ms=now_ms, previous=previous)
