"""Why nobody is let in: what is told apart only for those who hold a real secret, and for who starts the server."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Column, Table, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from perseus.clock import iso
from perseus.database.tables import admins, api_tokens, sessions
from perseus.database.values import digest

Refusal = Literal["unknown", "revoked", "expired", "disabled"]


async def why_token_is_refused(connection: AsyncConnection, secret: str, *, now_ms: int) -> Refusal:
    """Why `tokens.find` gave None for this secret."""
    return await _why(connection, api_tokens, api_tokens.c.token_hash, secret, now_ms=now_ms)


async def why_session_is_refused(connection: AsyncConnection, secret: str, *, now_ms: int) -> Refusal:
    """Why `sessions.find` gave None for this secret."""
    return await _why(connection, sessions, sessions.c.id, secret, now_ms=now_ms)


async def can_anyone_log_in(connection: AsyncConnection, *, now_ms: int) -> bool:
    """Whether an active admin has a password or a token that works: without one, an open door has no key."""
    valid = api_tokens.c.revoked_at.is_(None) & or_(
        api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > iso(now_ms)
    )
    has_token = exists().where(api_tokens.c.admin_id == admins.c.id, valid)
    wanted = select(admins.c.id).where(admins.c.is_active, or_(admins.c.password_hash.is_not(None), has_token))
    return (await connection.execute(wanted.limit(1))).first() is not None


async def _why(connection: AsyncConnection, table: Table, hashes: Column[Any], secret: str, *, now_ms: int) -> Refusal:
    wanted = (
        select(table.c.revoked_at, table.c.expires_at, admins.c.is_active)
        .join(admins, admins.c.id == table.c.admin_id)
        .where(hashes == digest(secret))
    )
    row = (await connection.execute(wanted)).one_or_none()
    if row is None:
        return "unknown"
    # disabling an admin ends their sessions, too, but that is not what they need to know
    if not row.is_active:
        return "disabled"
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= iso(now_ms) else "unknown"
