"""Who and when, for tests of the database."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from perseus.database import admins
from perseus.database.admins import Admin
from perseus.database.audit import Actor
from perseus.model import Role

NOW = 1_770_732_131_000  # 2026-02-10T14:02:11.000Z
HOUR = 3_600_000
ROOT = Actor(name="root@fra-1")


async def admin(connection: AsyncConnection, email: str = "ada@example.org", role: Role = Role.OWNER) -> Admin:
    """Add an admin."""
    return await admins.add(connection, email, role=role, by=ROOT, now_ms=NOW)
