"""Whether the database can be used: reached, at this program's revision, and written. Changes nothing."""

from __future__ import annotations

from sqlalchemy import text

from perseus.database.engine import Database, open_database
from perseus.database.migration import revision, revisions
from perseus.database.url import sqlite_file
from perseus.errors import DatabaseUnavailable
from perseus.settings import redacted
from perseus.store.findings import Finding, Severity, fine

_FIX = "Correct DATABASE_URL, or what it names; docs/database.md has every form."


async def check_database(url: str) -> Finding:
    """The finding about this database. A fault is a warning: instances need none, `perseus serve` does."""
    file, shown = sqlite_file(url), redacted(url)
    if file is not None and not file.exists():
        return fine("database", f"{shown} is not there yet; `perseus serve` and `perseus admins` make it.")
    try:
        async with await open_database(url, migrate=False) as database:
            return await _condition(database)
    except DatabaseUnavailable as error:
        says = str(error).partition(" Nothing that was not")[0]
        return Finding(name="database", severity=Severity.WARN, says=says, fix=_FIX)


async def _condition(database: Database) -> Finding:
    async with database.reading() as connection:
        found, known = await revision(connection), revisions()
    if found is None:
        return fine("database", f"{database.url} answers and has no tables yet; `perseus serve` makes them.")
    if found not in known:
        says = (
            f"{database.url} is at revision {found}, newer than this Perseus knows ({known[-1]}), or another program's."
        )
        return Finding(name="database", severity=Severity.WARN, says=says, fix=f"Upgrade Perseus here. {_FIX}")
    async with database.begin() as connection:  # a real write, of nothing
        await connection.execute(text("UPDATE exchanges SET name = name WHERE id < 0"))
    if found != known[-1]:
        says = f"{database.url} can be written and is at revision {found}; `perseus serve` brings it to {known[-1]}."
        return fine("database", says)
    return fine("database", f"{database.url} can be written and is at revision {found}.")
