"""A connection to the database: SQLite in a file of its own, or PostgreSQL.

    async with await open_database(settings.database_url) as database:
        async with database.begin() as connection:
            await exchanges.disable(connection, "kraken", by=actor, now_ms=now_ms)

The functions of this package take the connection; what they do is done when the block ends, or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import asyncpg
from sqlalchemy import URL, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from perseus.database.migration import bring_up_to_date, is_up_to_date
from perseus.database.url import postgresql_dsn, sqlite_file
from perseus.errors import DatabaseUnavailable
from perseus.settings import redacted

Transaction = AsyncConnection  # what `Database.begin` yields, for those who may not import SQLAlchemy
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0  # also how long a writer waits for another on SQLite
MIGRATION_TIMEOUT_S = 600.0
_NO_ANSWER = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class Database:
    """An open database, at the newest migration. A context manager that closes its connections."""

    def __init__(self, engine: AsyncEngine, *, url: str) -> None:
        self._engine = engine
        self.url = redacted(url)

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def begin(self, *, patience_s: float | None = None) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write: committed at the end of the block, undone if it raises.

        On SQLite it waits for another writer, `patience_s` at most; cancelling it does not end that wait sooner.
        Raises: DatabaseUnavailable if the database fails.
        """
        options = {} if patience_s is None else {"perseus_patience_s": patience_s}
        async with self._answering(), self._engine.execution_options(**options).begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads: on SQLite it waits for no writer. Raises: DatabaseUnavailable."""
        async with self._answering(), self._engine.connect() as connection:
            readonly = {"postgresql_readonly": True} if self._engine.dialect.name == "postgresql" else {}
            await connection.execution_options(perseus_reads=True, **readonly)
            yield connection

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        try:
            yield
        except (IntegrityError, DataError):  # the database is well: what was asked of it is a defect of ours
            raise
        except _NO_ANSWER as error:
            raise unavailable(self.url, error) from error


async def open_database(url: str, *, migrate: bool = True) -> Database:
    """Connect to `sqlite:///PATH` or `postgresql://…`, and bring it up to date.

    A SQLite file is made if there is none, readable by us only. Several processes may do this at once.
    Raises: DatabaseUnavailable if it cannot be reached or written; DatabaseUnsuitable if it is newer than this
        program or not ours; BadConfiguration for another kind of URL.
    """
    database = Database(_engine(url, answer_timeout_s=ANSWER_TIMEOUT_S), url=url)
    if not migrate:
        return database
    try:
        _prepare(url)
        if not await is_up_to_date(database):
            async with Database(_engine(url, answer_timeout_s=MIGRATION_TIMEOUT_S), url=url) as patient:
                await bring_up_to_date(patient)
    except BaseException:
        await database.close()
        raise
    return database


def unavailable(url: str, error: BaseException) -> DatabaseUnavailable:
    """What to tell of a database that failed with this. `url` is redacted; neither statement nor values are told."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    said = " ".join(str(cause).split()) or type(cause).__name__
    return DatabaseUnavailable(
        f"The database {url} failed: {said}. Nothing that was not confirmed counts as done. See that it runs, can be "
        f"reached and can be written; `perseus doctor` looks at it."
    )


def _prepare(url: str) -> None:
    """Make the file before SQLite does, for its owner only: it holds password hashes."""
    file = sqlite_file(url)
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
    except OSError as error:
        raise unavailable(redacted(url), error) from error


def _engine(url: str, *, answer_timeout_s: float) -> AsyncEngine:
    file = sqlite_file(url)
    return _postgresql(url, answer_timeout_s) if file is None else _sqlite(file, answer_timeout_s)


def _sqlite(file: Path, answer_timeout_s: float) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(file)),
        connect_args={"timeout": answer_timeout_s},
        hide_parameters=True,
    )

    def configure(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begin(connection: Connection) -> None:
        # Python would begin late, and not at all for CREATE TABLE. A writer takes its turn at once: a reader that
        # becomes one may have to fail instead.
        options = connection.get_execution_options()
        patience_s = options.get("perseus_patience_s", answer_timeout_s)
        if connection.info.get("patience_s", answer_timeout_s) != patience_s:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(patience_s * 1000)}")
            connection.info["patience_s"] = patience_s
        connection.exec_driver_sql("BEGIN" if options.get("perseus_reads") else "BEGIN IMMEDIATE")

    event.listen(engine.sync_engine, "connect", configure)
    event.listen(engine.sync_engine, "begin", begin)
    return engine


def _postgresql(url: str, answer_timeout_s: float) -> AsyncEngine:
    async def connect() -> asyncpg.Connection:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await asyncpg.connect(
                postgresql_dsn(url),
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=answer_timeout_s,
                server_settings={"application_name": "perseus"},
            )

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_pre_ping=True,  # a restarted server costs a connection, not an answer
        pool_timeout=answer_timeout_s,
        hide_parameters=True,
    )
