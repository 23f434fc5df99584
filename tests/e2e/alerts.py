"""What a notifier leaves in a store and a database, written without one: how channels are, and incidents."""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from perseus import keys
from perseus.alerting import TTL_S, ChannelHealth, ChannelWord, Health, Holder, TestOutcome
from perseus.database import incidents, tables
from perseus.database.audit import Actor
from perseus.database.engine import open_database
from perseus.database.incidents import IncidentRecord
from perseus.notify.state import ANNOUNCED
from tests.e2e.records import HOUR, ago, id_of
from tests.e2e.site import STAND_IN, Site, run_elsewhere
from tests.support.servers import Server

DEAD = "Discord does not know this webhook: 404 Not Found (10015, Unknown Webhook)"
FAILING = "Discord answers 503 Service Unavailable"
GRACE = "grace@example.org"
_NUMBER = itertools.count(1)


def channel(name: str = "ops", state: ChannelWord = "ok", **fields: Any) -> ChannelHealth:
    """A channel as its notifier tells of it; one that works did so four minutes ago."""
    told: dict[str, Any] = {
        "last_success_at": None if state == "unused" else ago(250),
        "queued": 0,
        "oldest_unsent_at": None,
        "reason": None,
    }
    return ChannelHealth(name=name, state=state, **(told | fields))


def failing_channel() -> ChannelHealth:
    """One that Discord does not answer."""
    return channel("night", "failing", queued=3, oldest_unsent_at=ago(250), reason=FAILING)


def dead_channel() -> ChannelHealth:
    """One whose webhook somebody removed."""
    return channel("old", "dead", reason=DEAD, queued=2, oldest_unsent_at=ago(HOUR), dropped=5)


def lead(store: Server, *channels: ChannelHealth, **health: Any) -> None:
    """Be the notifier with these channels, so that the server under test is not: it has none, and gives way.

    The site renews the lease.
    """
    store.call("SET", keys.notifier(), _holder(len(channels)), "EX", TTL_S)
    _say(store, *channels, **health)


@contextmanager
def nobody_leads(store: Server) -> Iterator[None]:
    """No notifier runs in the block: the server under test may read the key of its lease, and not write it."""
    with store.client() as client, client.pipeline() as at_once:
        at_once.execute_command("DEL", keys.notifier())
        at_once.execute_command("ACL", "SETUSER", "default", "resetkeys", "%R~*", "~{*", "~exchange:*", "~logs:*")
        at_once.execute()
    try:
        yield
    finally:
        _lead_again(store)


@contextmanager
def unreadable_alerts(store: Server) -> Iterator[None]:
    """The server under test may not read who the notifier is in the block: then it cannot tell who is told."""
    store.call("ACL", "SETUSER", "default", "resetkeys", "~{*", "~exchange:*", "~logs:*")
    try:
        yield
    finally:
        _lead_again(store)


def _lead_again(store: Server) -> None:
    """In one breath, else the server takes its turn, and ends the incidents of the next test as forgotten ones."""
    with store.client() as client, client.pipeline(transaction=False) as at_once:
        at_once.execute_command("ACL", "SETUSER", "default", "allkeys")
        at_once.execute_command("SET", keys.notifier(), _holder(), "EX", TTL_S)
        at_once.execute()


def _holder(channels: int = 0) -> bytes:
    """Who has the lease."""
    holder = Holder(
        claim_id=STAND_IN,
        instance_id="notifier-1",
        hostname="fra-alerts",
        since=ago(4 * HOUR + 90),
        version="0.5.0",
        channels=channels,
    )
    return msgspec.json.encode(holder)


def _say(store: Server, *channels: ChannelHealth, **health: Any) -> None:
    """Let everyone know how these channels are."""
    told: dict[str, Any] = {"saved_at": ago(0), "channels": channels, "announced": ANNOUNCED}
    store.call("HSET", keys.notifier_cursor(), "health", msgspec.json.encode(Health(**(told | health))))
    store.call("EXPIRE", keys.notifier_cursor(), keys.NOTIFIER_TTL_S)


def asked_tests(store: Server) -> list[str]:
    """The ids of the test messages somebody asked for."""
    return [entry[0].decode() for entry in store.call("XRANGE", keys.notifier_requests(), "-", "+")]


def answer_tests(store: Server, outcome: TestOutcome, *channels: ChannelHealth) -> None:
    """Say what became of every test message that was asked for."""
    _say(store, *channels, tests=dict.fromkeys(asked_tests(store), outcome))


def incident(name: str = "kraken", *, since_s: float = 250, **fields: Any) -> IncidentRecord:
    """An open incident of an exchange."""
    told: dict[str, Any] = {
        "id": f"{name}-{next(_NUMBER)}-0",
        "exchange_id": id_of(name),
        "exchange_name": name,
        "cause": "offline",
        "since": ago(since_s),
        "opened_at": ago(since_s - 45),
        "hostname": f"fra-{name}",
        "ip": f"203.0.113.{id_of(name)}",
        "admin_email": "ada@example.org",
        "last_state": "active",
        "detail": "read timed out",
    }
    return IncidentRecord(**(told | fields))


def resolved(name: str = "kraken", *, since_s: float = 7200, lasted_s: float = 192, **fields: Any) -> IncidentRecord:
    """An incident that is over."""
    over = {"resolved_at": ago(since_s - lasted_s), "resolution": "recovered"}
    return incident(name, since_s=since_s, **(over | fields))


def write_incidents(site: Site, *records: IncidentRecord) -> None:
    """Put them on record in this order."""

    async def write(connection: AsyncConnection) -> None:
        for each in records:
            await incidents.record(connection, each)

    _in_database(site, write)


def forget_incidents(site: Site) -> None:
    """None is on record any more."""

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(delete(tables.incidents))

    _in_database(site, write)


def acknowledge(site: Site, record: IncidentRecord, *, by: str = GRACE, reason: str = "", ago_s: float = 60) -> None:
    """Let somebody else acknowledge it."""

    async def write(connection: AsyncConnection) -> None:
        at = _ms_ago(ago_s)
        await incidents.acknowledge(connection, record.id, by=Actor(name=by), reason=reason, now_ms=at)

    _in_database(site, write)


def mute(site: Site, record: IncidentRecord, *, by: str = GRACE, reason: str = "", minutes: int = 60) -> None:
    """Let somebody else mute it."""

    async def write(connection: AsyncConnection) -> None:
        at = _ms_ago(0)
        until = at + minutes * 60_000
        await incidents.mute(connection, record.id, until_ms=until, by=Actor(name=by), reason=reason, now_ms=at)

    _in_database(site, write)


def _in_database(site: Site, write: Callable[[AsyncConnection], Awaitable[None]]) -> None:
    async def run() -> None:
        async with await open_database(site.database_url) as database, database.begin() as connection:
            await write(connection)

    run_elsewhere(run)


def _ms_ago(seconds: float) -> int:
    return round((time.time() - seconds) * 1000)
