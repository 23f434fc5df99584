"""The audit log: who changed what, when and from where. It is only ever appended to; the database refuses the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from perseus.clock import iso
from perseus.database.tables import audit
from perseus.database.values import printable, printable_json, record


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who does something: an admin, or a person at a command line (`ada@fra-2`)."""

    name: str
    admin_id: int | None = None
    address: str | None = None  # the client's


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing that was done. `action` is like `token.create`, `subject` what it was done to."""

    id: int
    at: str
    actor: str
    admin_id: int | None
    action: str
    subject: str
    details: dict[str, Any]
    address: str | None


async def append(
    connection: AsyncConnection,
    action: str,
    *,
    subject: str,
    by: Actor,
    now_ms: int,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry, in the transaction of what it tells of. Texts of strangers are cleaned and cut off."""
    row = {
        "at": iso(now_ms),
        "actor": printable(by.name, longest=254),
        "admin_id": by.admin_id,
        "action": action,
        "subject": printable(subject, longest=254),
        "details": printable_json(details or {}),
        "address": None if by.address is None else printable(by.address, longest=64),
    }
    await connection.execute(insert(audit).values(row))


async def entries(
    connection: AsyncConnection, *, count: int = 50, before_id: int | None = None, action: str | None = None
) -> list[AuditEntry]:
    """The newest entries, newest first: those before an id for the next page, or only those of one action."""
    wanted = select(audit).order_by(audit.c.id.desc()).limit(count)
    if before_id is not None:
        wanted = wanted.where(audit.c.id < before_id)
    if action is not None:
        wanted = wanted.where(audit.c.action == action)
    return [record(row, AuditEntry) for row in await connection.execute(wanted)]
