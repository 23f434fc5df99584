"""One-time login links: whoever has the secret is let in once, soon."""

from __future__ import annotations

from sqlalchemy import delete, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from perseus.clock import iso
from perseus.database import admins, audit
from perseus.database.admins import Admin
from perseus.database.audit import Actor
from perseus.database.tables import login_links
from perseus.database.values import digest, random_secret

LIFETIME_MS = 15 * 60_000
_KEPT_MS = 30 * 86_400_000


async def create(
    connection: AsyncConnection, admin: Admin, *, by: Actor, now_ms: int, lifetime_ms: int = LIFETIME_MS
) -> str:
    """Make a link for an admin and return its secret, which is kept nowhere."""
    secret = random_secret()
    row = {
        "hash": digest(secret),
        "admin_id": admin.id,
        "created_at": iso(now_ms),
        "expires_at": iso(now_ms + lifetime_ms),
    }
    await connection.execute(delete(login_links).where(login_links.c.expires_at < iso(now_ms - _KEPT_MS)))
    await connection.execute(insert(login_links).values(row))
    details = {"expiresAt": row["expires_at"]}
    await audit.append(connection, "login_link.create", subject=admin.email, by=by, now_ms=now_ms, details=details)
    return secret


async def use(connection: AsyncConnection, secret: str, *, address: str, now_ms: int) -> Admin | None:
    """Use a link up and return whom it lets in; None if it is unknown, used, expired, or the admin is disabled.

    Of any number of requests with one secret, on any number of hosts, one gets the admin.
    """
    usable = (
        login_links.c.hash == digest(secret),
        login_links.c.used_at.is_(None),
        login_links.c.expires_at > iso(now_ms),
    )
    statement = update(login_links).where(*usable).values(used_at=iso(now_ms)).returning(login_links.c.admin_id)
    admin_id = (await connection.execute(statement)).scalar_one_or_none()
    admin = None if admin_id is None else await admins.by_id(connection, admin_id)
    if admin is None or not admin.is_active:
        return None
    by = Actor(name=admin.email, admin_id=admin.id, address=address)
    await audit.append(connection, "login_link.use", subject=admin.email, by=by, now_ms=now_ms)
    return admin
