"""API tokens: what programs show instead of a password. Each is an admin's, and may do no more than they may."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from perseus.clock import iso
from perseus.database import admins, audit
from perseus.database.admins import Admin
from perseus.database.audit import Actor
from perseus.database.tables import api_tokens
from perseus.database.values import digest, given_name, random_secret, record
from perseus.errors import BadUsage, PerseusError, UnknownToken
from perseus.model import Role

PREFIX = "perseus_"  # secret scanners and people recognise it
COARSE_MS = 60_000  # how exactly `last_used_at` is kept


class Token(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An API token without its secret. `expires_at` None: never."""

    id: int
    admin_id: int
    name: str
    role: Role
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class Bearer(NamedTuple):
    """Who shows a valid token, and the most they may do with it: the lesser of its role and their own."""

    token: Token
    admin: Admin
    role: Role


_COLUMNS = [column for column in api_tokens.c if column.name != "token_hash"]


async def create(
    connection: AsyncConnection,
    admin: Admin,
    *,
    name: str,
    role: Role,
    expires_ms: int | None = None,
    by: Actor,
    now_ms: int,
) -> tuple[str, Token]:
    """Make a token and return its secret, which is kept nowhere, and what is kept.

    Raises: BadUsage for a role above the admin's or a moment that has passed; PerseusError if the admin is disabled.
    """
    _check(admin, role=role, expires_ms=expires_ms, now_ms=now_ms)
    secret = random_secret(PREFIX)
    row = {
        "admin_id": admin.id,
        "name": given_name(name, "The name"),
        "token_hash": digest(secret),
        "role": Role(role),
        "created_at": iso(now_ms),
        "expires_at": None if expires_ms is None else iso(expires_ms),
    }
    made = (await connection.execute(insert(api_tokens).values(row).returning(*_COLUMNS))).one()
    token = record(made, Token)
    details = {"id": token.id, "name": token.name, "role": token.role, "expiresAt": token.expires_at}
    await audit.append(connection, "token.create", subject=admin.email, by=by, now_ms=now_ms, details=details)
    return secret, token


async def find(connection: AsyncConnection, secret: str, *, now_ms: int) -> Bearer | None:
    """Who shows this secret; None if it is unknown, expired or revoked, or its admin is disabled."""
    return (await find_all(connection, [secret], now_ms=now_ms)).get(secret)


async def find_all(connection: AsyncConnection, secrets: Iterable[str], *, now_ms: int) -> dict[str, Bearer]:
    """Who shows each of these secrets, without those of which `find` would say None. Two queries, however many."""
    secret_of = {digest(secret): secret for secret in secrets if secret.startswith(PREFIX)}
    if not secret_of:
        return {}
    wanted = select(*api_tokens.c).where(
        api_tokens.c.token_hash.in_(secret_of),
        api_tokens.c.revoked_at.is_(None),
        api_tokens.c.expires_at.is_(None) | (api_tokens.c.expires_at > iso(now_ms)),
    )
    rows = (await connection.execute(wanted)).all()
    owners = await admins.active_by_id(connection, {row.admin_id for row in rows})
    return {
        secret_of[row.token_hash]: Bearer(token, owner, min(token.role, owner.role, key=list(Role).index))
        for row in rows
        if (owner := owners.get(row.admin_id)) and (token := record(row, Token))
    }


async def note_use(connection: AsyncConnection, token_id: int, *, now_ms: int) -> None:
    """Keep that a token was used, to the minute."""
    due = api_tokens.c.last_used_at.is_(None) | (api_tokens.c.last_used_at < iso(now_ms - COARSE_MS))
    await connection.execute(
        update(api_tokens).where(api_tokens.c.id == token_id, due).values(last_used_at=iso(now_ms))
    )


async def read_all(connection: AsyncConnection, *, admin_id: int | None = None) -> list[Token]:
    """Every token, of one admin or of all, in the order they were made; revoked and expired ones too."""
    wanted = select(*_COLUMNS).order_by(api_tokens.c.id)
    if admin_id is not None:
        wanted = wanted.where(api_tokens.c.admin_id == admin_id)
    return [record(row, Token) for row in await connection.execute(wanted)]


async def revoke(connection: AsyncConnection, token_id: int, *, by: Actor, now_ms: int) -> Token:
    """Make a token useless for good; one that is stays as it was. Raises: UnknownToken."""
    living = (api_tokens.c.id == token_id, api_tokens.c.revoked_at.is_(None))
    revoked = (await connection.execute(update(api_tokens).where(*living).values(revoked_at=iso(now_ms)))).rowcount
    row = (await connection.execute(select(*_COLUMNS).where(api_tokens.c.id == token_id))).one_or_none()
    if row is None:
        raise UnknownToken(f"There is no API token {token_id}. `perseus admins tokens` lists them with their ids.")
    token = record(row, Token)
    if revoked:
        owner = await admins.by_id(connection, token.admin_id)
        details = {"id": token.id, "name": token.name}
        subject = owner.email if owner else str(token.admin_id)
        await audit.append(connection, "token.revoke", subject=subject, by=by, now_ms=now_ms, details=details)
    return token


def _check(admin: Admin, *, role: Role, expires_ms: int | None, now_ms: int) -> None:
    if not admin.is_active:
        raise PerseusError(f"{admin.email} is disabled, so a token of theirs would not work. None was made.")
    if list(Role).index(Role(role)) > list(Role).index(admin.role):
        raise BadUsage(f"{admin.email} is {admin.role}; a token of theirs cannot be {role}. None was made.")
    if expires_ms is not None and expires_ms <= now_ms:
        raise BadUsage(f"A token that expires at {iso(expires_ms)} would be useless at once. None was made.")
