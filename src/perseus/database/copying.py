"""Moving to another database: `python -m perseus.database.copying SOURCE` copies everything to DATABASE_URL.

From SQLite to PostgreSQL when a second host is to run `perseus serve`, or the other way. First end every `serve`.
"""

from __future__ import annotations

import asyncio
import sys

import click
from sqlalchemy import TextClause, delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from perseus.database import exchanges
from perseus.database.engine import Database, open_database
from perseus.database.tables import admins, audit, incidents, metadata
from perseus.errors import AlreadyExists, PerseusError
from perseus.model import SEEDED_EXCHANGES
from perseus.settings import load_settings


async def copy_everything(source: Database, target: Database) -> dict[str, int]:
    """Copy every row of every table, and return how many of each: all of them or, if anything fails, none.

    Raises: AlreadyExists if the target is in use: nothing in it is ever overwritten.
    """
    copied = {}
    async with source.reading() as old, target.begin() as new:
        await _check_unused(new, url=target.url)
        await new.execute(delete(metadata.tables["exchanges"]))  # the seeded ones: the source has its own
        for table in metadata.sorted_tables:
            rows = (await old.execute(select(table).order_by(*table.primary_key))).mappings().all()
            if rows:
                await new.execute(insert(table), [dict(row) for row in rows])
            copied[table.name] = len(rows)
            if new.dialect.name == "postgresql" and table.autoincrement_column is not None:
                await new.execute(_past_the_last(table.name))
    return copied


async def _check_unused(connection: AsyncConnection, *, url: str) -> None:
    people, told, outages = [
        (await connection.execute(select(func.count()).select_from(table))).scalar_one()
        for table in (admins, audit, incidents)
    ]
    if people or told or outages or await exchanges.read_all(connection) != SEEDED_EXCHANGES:
        raise AlreadyExists(
            f"The database {url} is in use ({people} admins, {outages} incidents). Nothing was copied; name an empty "
            f"one."
        )


def _past_the_last(table: str) -> TextClause:
    """PostgreSQL counts ids by itself, and was not asked for these."""
    return text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")  # noqa: S608  ours


async def _copy(source_url: str, target_url: str) -> None:
    async with await open_database(source_url) as source, await open_database(target_url) as target:
        for table, rows in (await copy_everything(source, target)).items():
            click.echo(f"{rows:>8} {table}")
        click.echo(f"Copied from {source.url} to {target.url}. Nothing was changed in the former.")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: PERSEUS_DATABASE_URL=TARGET python -m perseus.database.copying SOURCE")
    try:
        source_url = load_settings(environ={"PERSEUS_DATABASE_URL": sys.argv[1]}).database_url
        asyncio.run(_copy(source_url, load_settings().database_url))
    except PerseusError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
