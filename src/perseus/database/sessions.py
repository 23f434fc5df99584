"""Sessions of browsers: known by the digest of the cookie's secret, ended by the server at any time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from perseus.clock import iso, unix_ms
from perseus.database import audit
from perseus.database.audit import Actor
from perseus.database.tables import sessions
from perseus.database.values import digest, printable, random_secret, record

if TYPE_CHECKING:
    from perseus.database.admins import Admin

COARSE_MS = 60_000  # how exactly `last_used_at` is kept
KEPT_MS = 30 * 86_400_000  # for how long after its end a session is remembered


class Session(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A browser that is logged in. `id` is the digest of its secret: harmless to show."""

    id: str
    admin_id: int
    created_at: str
    last_used_at: str
    expires_at: str
    revoked_at: str | None
    user_agent: str


class LoggedIn(NamedTuple):
    """A living session and whose it is."""

    session: Session
    admin: Admin


async def open_session(
    connection: AsyncConnection, admin: Admin, *, how: str, user_agent: str, expires_ms: int, address: str, now_ms: int
) -> str:
    """Log an admin in until `expires_ms` and return the cookie's secret, which is kept nowhere.

    `how` they proved who they are (`password`, `link`) goes to the audit log as `login`.
    """
    secret = random_secret()
    row = {
        "id": digest(secret),
        "admin_id": admin.id,
        "created_at": iso(now_ms),
        "last_used_at": iso(now_ms),
        "expires_at": iso(expires_ms),
        "user_agent": printable(user_agent, longest=200),
    }
    await connection.execute(delete(sessions).where(sessions.c.expires_at < iso(now_ms - KEPT_MS)))
    await connection.execute(insert(sessions).values(row))
    by = Actor(name=admin.email, admin_id=admin.id, address=address)
    await audit.append(connection, "login", subject=admin.email, by=by, now_ms=now_ms, details={"how": how})
    return secret


async def find(connection: AsyncConnection, secret: str, *, now_ms: int) -> LoggedIn | None:
    """The session of this secret and its admin; None if it ended, expired, or the admin is disabled."""
    return (await find_all(connection, {secret: 0}, now_ms=now_ms)).get(secret)


async def find_all(connection: AsyncConnection, until_ms: Mapping[str, int], *, now_ms: int) -> dict[str, LoggedIn]:
    """The session of each of these secrets, without those of which `find` would say None. Two queries, however many.

    `until_ms`: by secret, until when a use that is yet to be kept lets it live.
    """
    from perseus.database import admins

    if not until_ms:
        return {}
    secret_of = {digest(secret): secret for secret in until_ms}
    wanted = select(sessions).where(sessions.c.id.in_(secret_of), sessions.c.revoked_at.is_(None))
    found = [record(row, Session) for row in await connection.execute(wanted)]
    owners = await admins.active_by_id(connection, {session.admin_id for session in found})
    return {
        secret: LoggedIn(session, owner)
        for session in found
        if (owner := owners.get(session.admin_id))
        and now_ms < max(unix_ms(session.expires_at), until_ms[secret := secret_of[session.id]])
    }


async def note_use(connection: AsyncConnection, session_id: str, *, now_ms: int, expires_ms: int | None = None) -> None:
    """Keep that a session was used, to the minute; `expires_ms` lets it live on until then."""
    values = {"last_used_at": iso(now_ms)} | ({} if expires_ms is None else {"expires_at": iso(expires_ms)})
    due = sessions.c.last_used_at < iso(now_ms - COARSE_MS)
    await connection.execute(update(sessions).where(sessions.c.id == session_id, due).values(values))


async def of_admin(connection: AsyncConnection, admin_id: int, *, now_ms: int) -> list[Session]:
    """The living sessions of an admin, the one used last first."""
    alive = (sessions.c.admin_id == admin_id, sessions.c.revoked_at.is_(None), sessions.c.expires_at > iso(now_ms))
    wanted = select(sessions).where(*alive).order_by(sessions.c.last_used_at.desc(), sessions.c.id)
    return [record(row, Session) for row in await connection.execute(wanted)]


async def close(connection: AsyncConnection, session_id: str, *, by: Actor, now_ms: int) -> bool:
    """End a session; whether it was alive. `logout` goes to the audit log."""
    alive = (sessions.c.id == session_id, sessions.c.revoked_at.is_(None))
    ended = (await connection.execute(update(sessions).where(*alive).values(revoked_at=iso(now_ms)))).rowcount
    if ended:
        await audit.append(connection, "logout", subject=by.name, by=by, now_ms=now_ms)
    return bool(ended)


async def close_all(connection: AsyncConnection, admin_id: int, *, now_ms: int) -> int:
    """End every session of an admin, as a part of something the audit log tells; how many were ended."""
    alive = (sessions.c.admin_id == admin_id, sessions.c.revoked_at.is_(None))
    return (await connection.execute(update(sessions).where(*alive).values(revoked_at=iso(now_ms)))).rowcount
