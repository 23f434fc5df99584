"""Migrations: applied once whoever starts, never over data of others, and each with its way back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import Connection

import perseus.database.migrations
from perseus.database import exchanges
from perseus.database.engine import Database, open_database
from perseus.database.migration import bring_up_to_date, revision, revisions, take_back
from perseus.database.tables import metadata
from perseus.errors import DatabaseUnavailable, DatabaseUnsuitable
from perseus.model import SEEDED_EXCHANGES
from tests.support.postgres import PostgreSQL
from tests.support.system import free_port

FOLDER = Path(perseus.database.migrations.__file__).parent
EVERY_TABLE = "SELECT count(*) FROM exchanges"


async def _set_revision(database: Database, number: str) -> None:
    async with database.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = :number"), {"number": number})


def test_migrations_are_one_line_in_the_order_of_their_numbers() -> None:
    """A start takes the newest revision from the file names, without Alembic."""
    line = [script.revision for script in ScriptDirectory(str(FOLDER)).walk_revisions()]
    assert line[::-1] == revisions()


async def test_new_database_has_the_seeded_exchanges(database: Database) -> None:
    """Ids are what other programs know an exchange by."""
    async with database.reading() as connection:
        assert await exchanges.read_all(connection) == SEEDED_EXCHANGES


async def test_migrated_tables_are_those_of_the_code(database: Database) -> None:
    """A column in one and not in the other fails at some customer's, not here."""

    def differences(connection: Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_each_migration_can_be_taken_back_and_applied_again(database: Database) -> None:
    """Who must return to the version before should not need a backup for it."""
    steps = ["base", *revisions()]
    for before in reversed(steps[:-1]):
        await take_back(database, to=before)
        async with database.reading() as connection:
            assert await revision(connection) == (None if before == "base" else before)
    async with database.reading() as connection:
        statement = {
            "sqlite": "SELECT name FROM sqlite_master "
            "WHERE name NOT LIKE 'alembic_version%' AND name NOT LIKE 'sqlite%'",
            "postgresql": "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
            "AND relname NOT LIKE 'alembic_version%' UNION SELECT proname FROM pg_proc "
            "WHERE pronamespace = current_schema()::regnamespace",
        }[connection.dialect.name]
        assert (await connection.execute(text(statement))).scalars().all() == []
    await bring_up_to_date(database)
    async with database.reading() as connection:
        assert await exchanges.read_all(connection) == SEEDED_EXCHANGES


async def test_second_start_changes_nothing_and_imports_no_alembic(database_url: str) -> None:
    """It costs more than everything else a start does."""
    async with await open_database(database_url):
        pass
    code = (
        "import asyncio, sys\n"
        "from perseus.database.engine import open_database\n"
        "database = asyncio.run(open_database(sys.argv[1]))\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'alembic']\n"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, database_url], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


async def test_hosts_that_start_at_once_migrate_once(database_url: str) -> None:
    """Two hosts are upgraded together, or a service manager starts everything at boot."""
    code = (
        "import asyncio, sys\n"
        "from perseus.database.engine import open_database\n"
        "async def main():\n"
        "    async with await open_database(sys.argv[1]):\n"
        "        print('open')\n"
        "sys.stdin.readline()\n"
        "asyncio.run(main())\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, database_url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert answers == [(b"open\n", b"")] * 3
    async with await open_database(database_url) as database, database.reading() as connection:
        assert await exchanges.read_all(connection) == SEEDED_EXCHANGES


async def test_newer_database_is_refused_and_stays_as_it_is(database_url: str) -> None:
    """The host that is upgraded last must not damage what the first one made."""
    async with await open_database(database_url) as database:
        await _set_revision(database, "9999")
    with pytest.raises(DatabaseUnsuitable, match="at revision 9999, which this version of Perseus does not know"):
        await open_database(database_url)
    database = await open_database(database_url, migrate=False)
    async with database, database.reading() as connection:
        assert await revision(connection) == "9999"
        assert await exchanges.read_all(connection) == SEEDED_EXCHANGES


async def test_tables_of_another_program_are_never_touched(database_url: str) -> None:
    """An existing database of that name may be somebody's only copy."""
    async with await open_database(database_url) as database:
        await take_back(database, to="base")
        async with database.begin() as connection:
            await connection.execute(text("CREATE TABLE exchanges (theirs TEXT)"))
            await connection.execute(text("INSERT INTO exchanges VALUES ('kept')"))
    with pytest.raises(DatabaseUnsuitable, match="tables that Perseus did not make, named like its own: exchanges"):
        await open_database(database_url)
    database = await open_database(database_url, migrate=False)
    async with database, database.reading() as connection:
        assert (await connection.execute(text("SELECT theirs FROM exchanges"))).scalars().all() == ["kept"]


async def test_migration_that_fails_changes_nothing(database: Database, tmp_path: Path) -> None:
    """Half a migration is a database no version can open: SQLite, too, takes all of it back."""
    await take_back(database, to="base")
    async with database.begin() as connection:  # the last statement of the migration will fail
        name = "ix_audit_at"
        await connection.execute(text("CREATE TABLE other (at TEXT)"))
        await connection.execute(text(f"CREATE INDEX {name} ON other (at)"))
    with pytest.raises(DatabaseUnavailable, match="already exists"):
        await bring_up_to_date(database)
    async with database.reading() as connection:
        assert await revision(connection) is None
        with pytest.raises(Exception, match="exchanges"):
            await connection.execute(text(EVERY_TABLE))


async def test_sqlite_file_is_for_its_owner_only(tmp_path: Path) -> None:
    """It holds password hashes."""
    async with await open_database(f"sqlite:///{tmp_path / 'new' / 'perseus.db'}"):
        files = [path for path in (tmp_path / "new").iterdir() if path.is_file()]
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


async def test_server_that_cannot_be_reached_is_told_without_its_password() -> None:
    """The message goes into logs and tickets."""
    url = f"postgresql://perseus:hunter2@127.0.0.1:{free_port()}/perseus"
    with pytest.raises(DatabaseUnavailable) as caught:
        await open_database(url)
    assert "hunter2" not in str(caught.value)
    assert "perseus:***@127.0.0.1" in str(caught.value)


async def test_wrong_password_is_told_without_it(postgresql: PostgreSQL) -> None:
    """So does this one."""
    with pytest.raises(DatabaseUnavailable, match="authentication failed") as caught:
        await open_database(postgresql.url(password="hunter2"))
    assert "hunter2" not in str(caught.value)


async def test_sqlite_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """Below a file nothing can be made, even by root."""
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailable, match="File exists"):
        await open_database(f"sqlite:///{tmp_path / 'file' / 'perseus.db'}")


async def test_file_that_is_no_database_is_told_and_kept(tmp_path: Path) -> None:
    """It may be anything, and is somebody's."""
    file = tmp_path / "perseus.db"
    file.write_text("notes\n" * 1000)
    with pytest.raises(DatabaseUnavailable, match="file is not a database"):
        await open_database(f"sqlite:///{file}")
    assert file.read_text() == "notes\n" * 1000


async def test_connections_cut_off_by_a_restart_are_replaced(postgresql: PostgreSQL) -> None:
    """A database server is restarted for updates while `perseus serve` runs on."""
    async with await open_database(postgresql.new_database()) as database:
        async with database.reading() as connection:
            await exchanges.read_all(connection)
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'perseus'"
        assert await asyncio.to_thread(postgresql.execute, end)
        async with database.reading() as connection:
            assert await exchanges.read_all(connection) == SEEDED_EXCHANGES
