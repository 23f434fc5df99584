"""The audit log: what it holds stays as it is, whatever is tried, and comes and goes with what it tells of."""

from __future__ import annotations

from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from perseus.database import audit, exchanges
from perseus.database.audit import Actor
from perseus.database.engine import Database
from tests.database.people import NOW, ROOT

EVE = Actor(name="eve\x00\x1b[2J@example.org", address="203.0.113.7\n")


async def _append(database: Database, *actions: str) -> None:
    async with database.begin() as connection:
        for action in actions:
            await audit.append(connection, action, subject="kraken", by=ROOT, now_ms=NOW, details={"n": 1})


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'nobody'",
        "UPDATE audit SET details = '{}' WHERE id = 1",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE id = 1",
        "TRUNCATE audit",
        "INSERT INTO audit (id, at, actor, action, subject, details) VALUES (1, 'x', 'x', 'x', 'x', '{}')",
        "INSERT OR REPLACE INTO audit (id, at, actor, action, subject, details) VALUES (1, 'x', 'x', 'x', 'x', '{}')",
    ],
)
async def test_entry_can_be_neither_changed_nor_removed(database: Database, statement: str) -> None:
    """Not even by a defect of ours: the database refuses."""
    await _append(database, "first", "second")
    async with database.reading() as connection:
        before = await audit.entries(connection)
    with pytest.raises(Exception, match=r"append-only|UNIQUE|unique|syntax") as caught:
        async with database.begin() as connection:
            await connection.execute(text(statement))
    assert isinstance(caught.value, DBAPIError) or isinstance(caught.value.__cause__, DBAPIError)
    async with database.reading() as connection:
        assert await audit.entries(connection) == before


async def test_entries_are_paged_newest_first(database: Database) -> None:
    """Entries of one moment keep their order: the id decides."""
    await _append(database, "a", "b", "c", "b")
    async with database.reading() as connection:
        first = await audit.entries(connection, count=3)
        rest = await audit.entries(connection, count=3, before_id=first[-1].id)
        assert [entry.action for entry in (*first, *rest)] == ["b", "c", "b", "a"]
        assert len(await audit.entries(connection, action="b")) == 2


async def test_what_is_undone_is_not_told(database: Database) -> None:
    """An entry of something that never happened is a lie."""
    with suppress(ZeroDivisionError):
        async with database.begin() as connection:
            await exchanges.disable(connection, "kraken", by=ROOT, now_ms=NOW)
            raise ZeroDivisionError
    async with database.reading() as connection:
        assert await audit.entries(connection) == []
        found = await exchanges.by_id(connection, 4)
    assert found is not None
    assert found.is_active


async def test_texts_of_strangers_are_cleaned(database: Database) -> None:
    """Failed logins are told with what was typed: any bytes, any length."""
    details = {"email\x00": "x" * 9999, "nested": [{"a": "\ud800"}, None, 1.5, True]}
    async with database.begin() as connection:
        await audit.append(
            connection, "login.failed", subject="\x07" * 999 + "z" * 999, by=EVE, now_ms=NOW, details=details
        )
        (entry,) = await audit.entries(connection)
    assert (entry.actor, entry.address, entry.subject) == ("eve [2J@example.org", "203.0.113.7", "z" * 254)
    assert entry.details == {"email": "x" * 2000, "nested": [{"a": "?"}, None, 1.5, True]}
