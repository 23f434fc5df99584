"""What the API bench shows: exchanges in a database, their records in a store, and what a right answer holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import redis

from perseus import keys
from perseus.activity import entry_fields
from perseus.clock import iso
from perseus.database import admins, exchanges, tokens
from perseus.database.audit import Actor
from perseus.database.engine import open_database
from perseus.model import (
    SEEDED_EXCHANGES,
    ConnectionState,
    DesiredState,
    Exchange,
    InstanceStatus,
    Role,
    WarmupProgress,
)

ENTRIES = 60  # of each log: more than a page
TTL_MS, INTERVAL_MS = 3_600_000, 1_200_000  # nothing expires or is late while the bench runs
_BY = Actor(name="bench@here")
_BETWEEN_MS = 1000  # two entries of one log


def network_of(count: int) -> list[Exchange]:
    """So many active exchanges: the seeded ones, then others."""
    seeded = [each for each in SEEDED_EXCHANGES if each.is_active][:count]
    more = range(1001, 1001 + count - len(seeded))
    return seeded + [Exchange(id=number, name=f"venue_{number}", display_name=f"Venue {number}") for number in more]


def make_database(url: str, chosen: Sequence[Exchange], *, now_ms: int) -> str:
    """Bring a new database up to date, with these exchanges active; returns an API token for it."""
    return asyncio.run(_make_database(url, chosen, now_ms=now_ms))


async def _make_database(url: str, chosen: Sequence[Exchange], *, now_ms: int) -> str:
    seeded = {each.id for each in SEEDED_EXCHANGES}
    async with await open_database(url) as database, database.begin() as connection:
        for exchange in chosen:
            if exchange.id not in seeded:
                await exchanges.add(connection, exchange, by=_BY, now_ms=now_ms)
        admin = await admins.add(
            connection, "bench@example.org", role=Role.VIEWER, password_hash=None, by=_BY, now_ms=now_ms
        )
        secret, _ = await tokens.create(
            connection, admin, name="bench", role=Role.VIEWER, expires_ms=None, by=_BY, now_ms=now_ms
        )
    return secret


def fill(store: redis.Redis, chosen: Sequence[Exchange]) -> list[str]:
    """Put every exchange's records into the store; returns the ids of the newest page of all logs."""
    store.flushall()
    seconds, micros = store.time()
    now_ms = seconds * 1000 + micros // 1000
    ids: list[tuple[int, str, str]] = []
    with store.pipeline(transaction=False) as pipe:
        for at, exchange in enumerate(chosen):
            status = _status(exchange, now_ms)
            payload = msgspec.json.encode(status)
            pipe.set(keys.status(exchange.id), payload, px=TTL_MS)
            pipe.set(keys.last(exchange.id), payload, ex=keys.LAST_TTL_S)
            pipe.set(keys.warmup(exchange.id), _WARMUP, ex=keys.WARMUP_REPORT_TTL_S)
            for number in range(ENTRIES):
                ms = now_ms - (ENTRIES - number) * _BETWEEN_MS - at % _BETWEEN_MS
                pipe.xadd(keys.log(exchange.name), _entry(status, number, ms), id=f"{ms}-0")
                ids.append((ms, exchange.name, f"{ms}-0"))
        pipe.execute()
    return [entry_id for _, _, entry_id in sorted(ids, reverse=True)]


def append_entry(store: redis.Redis, exchange: Exchange, *, number: int) -> str:
    """Append one more entry to a log, as its instance would; returns its id."""
    seconds, micros = store.time()
    now_ms = seconds * 1000 + micros // 1000
    added = store.xadd(keys.log(exchange.name), _entry(_status(exchange, now_ms), number, now_ms))
    return added.decode() if isinstance(added, bytes) else str(added)


def write_exchanges(path: Path, chosen: Sequence[Exchange]) -> None:
    """The exchanges as the peer reads them."""
    listed = [{"id": each.id, "name": each.name, "displayName": each.display_name} for each in chosen]
    path.write_text(json.dumps(listed), encoding="utf-8")


def _entry(status: InstanceStatus, number: int, ms: int) -> Any:  # the client's own type for fields is too narrow
    return entry_fields(status, "state_transition", at_ms=ms, fromState="warming", toState="active", seq=number)


def _status(exchange: Exchange, now_ms: int) -> InstanceStatus:
    """A payload of usual length."""
    return InstanceStatus(
        exchange_id=exchange.id,
        exchange_name=exchange.name,
        connection_state=ConnectionState.ACTIVE,
        connected_at=iso(now_ms - 3_600_000),
        last_heartbeat=iso(now_ms),
        symbol_count=25,
        admin_email="ada@example.org",
        admin_display_name="Ada Lovelace",
        ip_address="203.0.113.7",
        hostname="fra-2",
        last_error=None,
        instance_id=f"{exchange.id:032x}",
        epoch=now_ms * 1000,
        claim_id=f"{exchange.id:032x}",
        rev=7,
        registered_at=iso(now_ms - 3_700_000),
        last_state_change=iso(now_ms - 3_600_000),
        heartbeat_interval_ms=INTERVAL_MS,
        ttl_ms=TTL_MS,
        version="0.1.0",
        pid=4242,
        started_at=iso(now_ms - 3_700_000),
        last_message_at=iso(now_ms),
        desired_state=DesiredState(state="running"),
    )


_WARMUP = msgspec.json.encode(
    WarmupProgress(
        percent=100.0,
        eta_seconds=None,
        current_symbol=None,
        done=25,
        total=25,
        started_at=iso(0),
        finished_at=iso(60_000),
        candles_fetched=225_000,
    )
)
