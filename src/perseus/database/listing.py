"""The exchanges of the network for commands that only look: no SQLAlchemy, no migration, nothing made.

Importing SQLAlchemy costs more than everything else `perseus status` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from perseus.database.url import postgresql_dsn, sqlite_file
from perseus.errors import DatabaseUnavailable
from perseus.model import Exchange
from perseus.settings import redacted

_QUERY = "SELECT id, name, display_name, is_active, rest_url, ws_url FROM exchanges ORDER BY id"
_TIMEOUT_S = 2.0


def read_exchanges(url: str) -> tuple[Exchange, ...] | None:
    """Every exchange of this database, by id; None if there is no database yet. Call outside of an event loop.

    Raises: DatabaseUnavailable if there is one that cannot be read; BadConfiguration for another kind of URL.
    """
    file = sqlite_file(url)
    rows = _from_postgresql(url) if file is None else _from_sqlite(file)
    return None if rows is None else _exchanges(rows)


def _exchanges(rows: Iterable[Sequence[Any]]) -> tuple[Exchange, ...]:
    return tuple(
        Exchange(id=number, name=name, display_name=shown, is_active=bool(active), rest_url=rest_url, ws_url=ws_url)
        for number, name, shown, active, rest_url, ws_url in rows
    )


def _from_sqlite(file: Path) -> list[Sequence[Any]] | None:
    import sqlite3
    from contextlib import closing

    if not file.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT_S)) as connection:
            made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'exchanges'").fetchone()
            return connection.execute(_QUERY).fetchall() if made else None
    except sqlite3.Error as error:
        raise _unreadable(f"sqlite:///{file}", error) from error


def _from_postgresql(url: str) -> list[Sequence[Any]] | None:
    import asyncpg

    async def read() -> list[Sequence[Any]] | None:
        async with asyncio.timeout(_TIMEOUT_S):
            connection = await asyncpg.connect(postgresql_dsn(url), timeout=_TIMEOUT_S)
            try:
                made = await connection.fetchval("SELECT to_regclass('exchanges')")
                return list(await connection.fetch(_QUERY)) if made else None
            finally:
                connection.terminate()  # nothing is open, so there is nothing to wait for

    try:
        return asyncio.run(read())
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _unreadable(redacted(url), error) from error


def _unreadable(url: str, error: Exception) -> DatabaseUnavailable:
    said = " ".join(str(error).split()) or f"no answer within {_TIMEOUT_S:g} s"
    return DatabaseUnavailable(f"The exchanges in the database {url} cannot be read: {said}. See `perseus doctor`.")
