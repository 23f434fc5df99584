"""Bringing the database up to date when a program starts, and back again.

`alembic_version` says where the database is; the files in `migrations/versions`, in the order of their numbers, where
it should be. Alembic is imported only when the two differ: it costs more than everything else a start does.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from perseus.errors import DatabaseUnsuitable

if TYPE_CHECKING:
    from perseus.database.engine import Database

_LOCK = 0x7065727365757300  # "perseus": one migration at a time among all hosts of a PostgreSQL server
_OURS = ("exchanges", "admins", "api_tokens", "sessions", "login_links", "audit", "incidents")


async def is_up_to_date(database: Database) -> bool:
    """Whether the database is at this program's revision. Raises: DatabaseUnsuitable if it cannot be brought there."""
    async with database.reading() as connection:
        return await _is_current(connection, url=database.url)


async def bring_up_to_date(database: Database) -> None:
    """Apply the migrations that are missing, all of them or none.

    Safe with other processes and hosts doing the same: the first one migrates, the others wait and find it done.
    Raises: DatabaseUnsuitable, having changed nothing; DatabaseUnavailable.
    """
    async with database.begin() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if not await _is_current(connection, url=database.url):  # it may be by now
            await connection.run_sync(_run_alembic, "upgrade", "head")


async def take_back(database: Database, *, to: str) -> None:
    """Undo migrations down to revision `to`; `base` undoes all of them. What they brought is lost."""
    async with database.begin() as connection:
        await connection.run_sync(_run_alembic, "downgrade", to)


def revisions() -> list[str]:
    """Every revision this program knows, oldest first."""
    files = resources.files("perseus.database") / "migrations" / "versions"
    return sorted(file.name.partition("_")[0] for file in files.iterdir() if file.name.endswith(".py"))


async def revision(connection: AsyncConnection) -> str | None:
    """The revision the database is at; None if it has never been migrated."""
    if "alembic_version" not in await _tables(connection, ("alembic_version",)):
        return None
    found = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalars().all()
    return ",".join(sorted(found)) or None


async def _is_current(connection: AsyncConnection, *, url: str) -> bool:
    """Whether nothing is to be done. Raises: DatabaseUnsuitable if nothing can be."""
    known, found = revisions(), await revision(connection)
    if found is None:
        foreign = await _tables(connection, _OURS)
        if foreign:
            raise DatabaseUnsuitable(
                f"The database {url} has tables that Perseus did not make, named like its own: {', '.join(foreign)}. "
                f"Nothing was changed. Give Perseus a database of its own (DATABASE_URL)."
            )
    elif found not in known:
        raise DatabaseUnsuitable(
            f"The database {url} is at revision {found}, which this version of Perseus does not know (its newest is "
            f"{known[-1]}). Nothing was changed. A newer Perseus has migrated it, or it is another program's: upgrade "
            f"this host, or correct DATABASE_URL."
        )
    return found == known[-1]


async def _tables(connection: AsyncConnection, names: tuple[str, ...]) -> list[str]:
    """Which of these tables there are, where ours would be made."""
    if connection.dialect.name == "postgresql":
        exists = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    else:
        exists = "SELECT name FROM sqlite_master WHERE type = 'table'"
    present = set((await connection.execute(text(exists))).scalars())
    return [name for name in names if name in present]


def _run_alembic(connection: Connection, direction: str, target: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "perseus.database:migrations")
    config.attributes["connection"] = connection
    getattr(command, direction)(config, target)
