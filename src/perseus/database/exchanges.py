"""The exchanges of the network: which there are, under which id, and which should run."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from perseus.database import audit
from perseus.database.audit import Actor
from perseus.database.tables import exchanges
from perseus.database.values import given_name, record
from perseus.errors import AlreadyExists, BadUsage
from perseus.model import LARGEST_EXCHANGE_ID, Exchange, exchange_named, exchange_with


async def read_all(connection: AsyncConnection) -> tuple[Exchange, ...]:
    """Every exchange, by id."""
    return tuple(record(row, Exchange) for row in await connection.execute(select(exchanges).order_by("id")))


async def by_id(connection: AsyncConnection, exchange_id: int) -> Exchange | None:
    """The exchange of this id; None if there is none."""
    if not 0 < exchange_id <= LARGEST_EXCHANGE_ID:
        return None
    row = (await connection.execute(select(exchanges).where(exchanges.c.id == exchange_id))).one_or_none()
    return None if row is None else record(row, Exchange)


async def add(connection: AsyncConnection, exchange: Exchange, *, by: Actor, now_ms: int) -> Exchange:
    """Add an exchange; the id is the caller's, for other programs know it by that. Returns it as it is kept.

    Raises: BadUsage for a value that cannot be; AlreadyExists naming the exchange with this id or name.
    """
    kept = exchange_with(
        exchange.id,
        exchange.name,
        is_active=exchange.is_active,
        display_name=given_name(exchange.display_name, "The display name"),
        rest_url=_url(exchange.rest_url, "http", "https"),
        ws_url=_url(exchange.ws_url, "ws", "wss"),
    )
    row = msgspec.structs.asdict(kept)
    try:
        async with connection.begin_nested():
            await connection.execute(insert(exchanges).values(row))
    except IntegrityError as error:
        raise AlreadyExists(await _what_exists(connection, exchange)) from error
    details = {"id": kept.id, "displayName": kept.display_name, "isActive": kept.is_active}
    details |= {"restUrl": kept.rest_url, "wsUrl": kept.ws_url}
    await audit.append(connection, "exchange.add", subject=kept.name, by=by, now_ms=now_ms, details=details)
    return kept


async def enable(connection: AsyncConnection, name: str, *, by: Actor, now_ms: int) -> Exchange:
    """Count the exchange among those that should run. Raises: UnknownExchange."""
    return await _set_active(connection, name, is_active=True, by=by, now_ms=now_ms)


async def disable(connection: AsyncConnection, name: str, *, by: Actor, now_ms: int) -> Exchange:
    """No longer count the exchange among those that should run. Stops no instance. Raises: UnknownExchange."""
    return await _set_active(connection, name, is_active=False, by=by, now_ms=now_ms)


async def _set_active(connection: AsyncConnection, name: str, *, is_active: bool, by: Actor, now_ms: int) -> Exchange:
    """Set it, and tell of it if it was otherwise."""
    statement = (
        update(exchanges)
        .where(exchanges.c.name == name, exchanges.c.is_active != is_active)
        .values(is_active=is_active)
    )
    changed = (await connection.execute(statement)).rowcount
    if changed:
        action = "exchange.enable" if is_active else "exchange.disable"
        await audit.append(connection, action, subject=name, by=by, now_ms=now_ms)
    return exchange_named(name, await read_all(connection))


def _url(text: str | None, *schemes: str) -> str | None:
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        usable = parts.scheme in schemes and parts.hostname and parts.username is None and len(text) <= 500
    except ValueError:
        usable = False
    if not usable or given_name(text, "The URL", longest=500) != text:
        raise BadUsage(f"The URL must begin with {' or '.join(f'{scheme}://' for scheme in schemes)} and name a host.")
    return text


async def _what_exists(connection: AsyncConnection, exchange: Exchange) -> str:
    same = (exchanges.c.id == exchange.id) | (exchanges.c.name == exchange.name)
    found = [record(row, Exchange) for row in await connection.execute(select(exchanges).where(same).order_by("id"))]
    these = " and ".join(f'"{each.name}" ({each.display_name}) has the id {each.id}' for each in found)
    return (
        f'"{exchange.name}" with the id {exchange.id} was not added: {these}. Ids and names never change hands; see '
        f"`perseus exchanges list`."
    )
