"""The admins: who may look at the network and what the most is they may do. None is ever deleted, only disabled.

E-mail addresses are one whatever their case. There is always an active owner once there was one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import Select

from perseus.clock import iso
from perseus.database import audit, sessions
from perseus.database.audit import Actor
from perseus.database.tables import admins
from perseus.database.values import given_name, printable, record
from perseus.errors import AlreadyExists, BadUsage, PerseusError, UnknownAdmin
from perseus.model import Role

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


class Admin(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A person. How they log in is not told, only whether by password."""

    id: int
    email: str
    display_name: str
    role: Role
    is_active: bool
    has_password: bool
    created_at: str


def admin_columns() -> Select[tuple[object, ...]]:
    """What makes an Admin."""
    names = ("id", "email", "display_name", "role", "is_active", "created_at")
    columns = [admins.c[name] for name in names]
    return select(*columns, admins.c.password_hash.is_not(None).label("has_password"))


async def read_all(connection: AsyncConnection) -> list[Admin]:
    """Every admin, by e-mail address."""
    return [record(row, Admin) for row in await connection.execute(admin_columns().order_by(admins.c.email_key))]


async def by_id(connection: AsyncConnection, admin_id: int) -> Admin | None:
    """The admin of this id; None if there is none."""
    row = (await connection.execute(admin_columns().where(admins.c.id == admin_id))).one_or_none()
    return None if row is None else record(row, Admin)


async def active_by_id(connection: AsyncConnection, ids: Collection[int]) -> dict[int, Admin]:
    """Those of these admins that are not disabled, by id."""
    wanted = admin_columns().where(admins.c.id.in_(ids), admins.c.is_active)
    return {row.id: record(row, Admin) for row in await connection.execute(wanted)}


async def by_email(connection: AsyncConnection, email: str) -> Admin | None:
    """The admin of this e-mail address, whatever its case; None if there is none."""
    row = (await connection.execute(admin_columns().where(admins.c.email_key == email_key(email)))).one_or_none()
    return None if row is None else record(row, Admin)


async def named(connection: AsyncConnection, email: str) -> Admin:
    """The admin of this e-mail address. Raises: UnknownAdmin."""
    found = await by_email(connection, email)
    if found is None:
        raise UnknownAdmin(
            f"There is no admin {printable(email, longest=254)!r}. `perseus admins list` shows them; "
            f"`perseus admins add EMAIL` adds one."
        )
    return found


async def password_hash(connection: AsyncConnection, email: str) -> str | None:
    """The hash of an active admin's password; None for anyone else, so that nobody learns who exists."""
    wanted = select(admins.c.password_hash).where(admins.c.email_key == email_key(email), admins.c.is_active)
    found: str | None = (await connection.execute(wanted)).scalar_one_or_none()
    return found


async def add(
    connection: AsyncConnection,
    email: str,
    *,
    display_name: str = "",
    role: Role,
    password_hash: str | None = None,
    by: Actor,
    now_ms: int,
) -> Admin:
    """Add an admin. Raises: BadUsage for a value that cannot be; AlreadyExists if the e-mail address is taken."""
    email = email.strip()
    if not _EMAIL.fullmatch(email) or len(email) > 254 or printable(email, longest=254) != email:
        raise BadUsage(f"{printable(email, longest=254)!r} is not an e-mail address.")
    row = {
        "email": email,
        "email_key": email_key(email),
        "display_name": given_name(display_name or email.partition("@")[0][:64], "The display name"),
        "role": Role(role),
        "password_hash": password_hash,
        "created_at": iso(now_ms),
    }
    try:
        async with connection.begin_nested():
            await connection.execute(insert(admins).values(row))
    except IntegrityError as error:
        taken = await named(connection, email)
        raise AlreadyExists(
            f"{email} was not added: {taken.email} ({taken.display_name}) is an admin already, as {taken.role}"
            f"{'' if taken.is_active else ', disabled'}. `perseus admins change` changes the role."
        ) from error
    details = {"role": Role(role), "displayName": row["display_name"]}
    await audit.append(connection, "admin.add", subject=email, by=by, now_ms=now_ms, details=details)
    return await named(connection, email)


async def set_role(connection: AsyncConnection, email: str, role: Role, *, by: Actor, now_ms: int) -> Admin:
    """Give an admin another role. Raises: UnknownAdmin; PerseusError if no owner would be left."""
    before = await named(connection, email)
    if before.role == Role(role):
        return before
    if before.role == Role.OWNER:
        await _keep_an_owner(connection, before)
    await connection.execute(update(admins).where(admins.c.id == before.id).values(role=Role(role)))
    details = {"from": before.role, "to": Role(role)}
    await audit.append(connection, "admin.role", subject=before.email, by=by, now_ms=now_ms, details=details)
    return await named(connection, email)


async def set_active(connection: AsyncConnection, email: str, is_active: bool, *, by: Actor, now_ms: int) -> Admin:
    """Let an admin in again, or keep them out: their sessions end, their tokens do not work while they are disabled.

    Raises: UnknownAdmin; PerseusError if no owner would be left.
    """
    before = await named(connection, email)
    if before.is_active == is_active:
        return before
    if not is_active:
        if before.role == Role.OWNER:
            await _keep_an_owner(connection, before)
        await sessions.close_all(connection, before.id, now_ms=now_ms)
    await connection.execute(update(admins).where(admins.c.id == before.id).values(is_active=is_active))
    action = "admin.enable" if is_active else "admin.disable"
    await audit.append(connection, action, subject=before.email, by=by, now_ms=now_ms)
    return await named(connection, email)


async def set_password(
    connection: AsyncConnection, email: str, password_hash: str | None, *, by: Actor, now_ms: int
) -> Admin:
    """Give an admin another password, or none; their sessions end. Raises: UnknownAdmin."""
    admin = await named(connection, email)
    await connection.execute(update(admins).where(admins.c.id == admin.id).values(password_hash=password_hash))
    await sessions.close_all(connection, admin.id, now_ms=now_ms)
    action = "admin.password" if password_hash else "admin.password.remove"
    await audit.append(connection, action, subject=admin.email, by=by, now_ms=now_ms)
    return await named(connection, email)


async def rehash(connection: AsyncConnection, *, old_hash: str, new_hash: str) -> None:
    """Keep the same password under today's parameters. No change of the password, so nothing is told or ended."""
    await connection.execute(update(admins).where(admins.c.password_hash == old_hash).values(password_hash=new_hash))


def email_key(email: str) -> str:
    """What two spellings of one e-mail address have in common."""
    return unicodedata.normalize("NFKC", printable(email, longest=254)).casefold()[:1000]


async def _keep_an_owner(connection: AsyncConnection, leaving: Admin) -> None:
    """Raises: PerseusError if this is the last active owner. Two who do this to each other take turns."""
    owners = select(admins.c.id).where(admins.c.role == Role.OWNER, admins.c.is_active).with_for_update()
    if leaving.is_active and set((await connection.execute(owners)).scalars()) <= {leaving.id}:
        raise PerseusError(
            f"{leaving.email} is the only active owner and stays one: nobody else could manage admins. Make somebody "
            f"else an owner first: `perseus admins change EMAIL --role owner`."
        )
