"""Moving to another database takes everything along, and what is made afterwards does not clash with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from perseus.database import admins, audit, exchanges, incidents, login_links, sessions, tokens
from perseus.database.copying import copy_everything
from perseus.database.engine import Database, open_database
from perseus.database.tables import metadata
from perseus.errors import AlreadyExists
from perseus.model import Exchange, Role
from tests.database.people import HOUR, NOW, ROOT, admin, outage
from tests.support.postgres import PostgreSQL


async def _fill(database: Database) -> tuple[str, str]:
    """Rows in every table; a token and the cookie of a session."""
    async with database.begin() as connection:
        okx = Exchange(id=7, name="okx", display_name="OKX 歐易", is_active=False)
        await exchanges.add(connection, okx, by=ROOT, now_ms=NOW)
        await admin(connection)
        bob = await admin(connection, "bob@example.org", Role.OPERATOR)
        secret, _ = await tokens.create(connection, bob, name="x", role=Role.VIEWER, by=ROOT, now_ms=NOW)
        await login_links.create(connection, bob, by=ROOT, now_ms=NOW)
        cookie = await sessions.open_session(
            connection, bob, how="link", user_agent="", expires_ms=NOW + HOUR, address="", now_ms=NOW
        )
        await incidents.record(connection, outage())
    return secret, cookie


async def _rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    async with database.reading() as connection:
        return {
            table.name: [tuple(row) for row in await connection.execute(select(table).order_by(*table.primary_key))]
            for table in metadata.sorted_tables
        }


@pytest.mark.parametrize("to_postgresql", [True, False])
async def test_everything_is_taken_along(postgresql: PostgreSQL, tmp_path: Path, to_postgresql: bool) -> None:
    """Who was logged in stays so, tokens work, and the next ids are free."""
    urls = [f"sqlite:///{tmp_path / 'perseus.db'}", postgresql.new_database()]
    source_url, target_url = urls if to_postgresql else urls[::-1]
    async with await open_database(source_url) as source, await open_database(target_url) as target:
        secret, cookie = await _fill(source)
        counts = await copy_everything(source, target)
        assert await _rows(target) == await _rows(source)
        assert counts == {name: len(rows) for name, rows in (await _rows(source)).items()}
        assert min(counts.values()) >= 1
        async with target.begin() as connection:
            assert await tokens.find(connection, secret, now_ms=NOW) is not None
            assert await sessions.find(connection, cookie, now_ms=NOW) is not None
            eve = await admin(connection, "eve@example.org")
            await tokens.create(connection, eve, name="y", role=Role.VIEWER, by=ROOT, now_ms=NOW)
            assert (await audit.entries(connection, count=1))[0].action == "token.create"


async def test_database_in_use_is_never_overwritten(database: Database, tmp_path: Path) -> None:
    """Source and target are easily mistaken for each other."""
    async with database.begin() as connection:
        await admin(connection)
    async with await open_database(f"sqlite:///{tmp_path / 'other.db'}") as other:
        await _fill(other)
        before = await _rows(database)
        with pytest.raises(AlreadyExists, match=r"in use \(1 admins, 0 incidents\)"):
            await copy_everything(other, database)
        assert await _rows(database) == before
        async with other.reading() as connection:
            assert len(await admins.read_all(connection)) == 2


async def test_database_with_nothing_but_incidents_is_in_use(database: Database, tmp_path: Path) -> None:
    """A notifier writes before there is any admin."""
    async with database.begin() as connection:
        await incidents.record(connection, outage())
    async with await open_database(f"sqlite:///{tmp_path / 'other.db'}") as other:
        with pytest.raises(AlreadyExists, match="1 incidents"):
            await copy_everything(other, database)
