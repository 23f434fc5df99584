"""Who and when, for tests of the database."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from perseus.clock import iso
from perseus.database import admins
from perseus.database.admins import Admin
from perseus.database.audit import Actor
from perseus.database.incidents import IncidentRecord
from perseus.model import Role

NOW = 1_770_732_131_000  # 2026-02-10T14:02:11.000Z
HOUR = 3_600_000
ROOT = Actor(name="root@fra-1")


async def admin(connection: AsyncConnection, email: str = "ada@example.org", role: Role = Role.OWNER) -> Admin:
    """Add an admin."""
    return await admins.add(connection, email, role=role, by=ROOT, now_ms=NOW)


def outage(at_ms: int = NOW, *, exchange: str = "binance", exchange_id: int = 2, **fields: Any) -> IncidentRecord:
    """An incident that was noticed at a moment, a minute after the last heartbeat; open unless `fields` say more."""
    known = {"id": f"{exchange}-{at_ms}-0", "since": iso(at_ms - 60_000), "opened_at": iso(at_ms), "cause": "offline"}
    return IncidentRecord(exchange_id=exchange_id, exchange_name=exchange, **(known | fields))
