"""docs/database.md: its tables are complete, its commands work."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from perseus.database.engine import open_database
from perseus.database.tables import metadata
from perseus.settings import load_settings
from tests.database.people import admin
from tests.support.postgres import PostgreSQL
from tests.support.processes import run_perseus

TEXT = (Path(__file__).parents[2] / "docs" / "database.md").read_text(encoding="utf-8")


def test_every_table_is_there_with_every_column() -> None:
    """Who restores, audits or moves a database needs all of them."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (`\w+`[^|]*) \|$", TEXT, re.MULTILINE)
    documented = {name: re.findall(r"`(\w+)`", columns) for name, columns in rows}
    assert documented == {table.name: [column.name for column in table.columns] for table in metadata.sorted_tables}


def test_every_form_of_the_setting_is_accepted(tmp_path: Path) -> None:
    """As it stands there."""
    for form in re.findall(r"`((?:sqlite|postgresql):///?/?[\w:@./?=-]+)`", TEXT):
        assert load_settings(environ={"PERSEUS_DATABASE_URL": form}, directory=tmp_path).database_url


async def test_backup_taken_while_it_is_written_is_complete(tmp_path: Path) -> None:
    """A backup is tried before it is needed."""
    (command,) = re.findall(r"^\$ (python3 -c .+)$", TEXT, re.MULTILINE)
    async with await open_database(f"sqlite:///{tmp_path / 'perseus.db'}") as database:
        async with database.begin() as connection:
            await admin(connection)  # still in the -wal file
        subprocess.run([sys.executable, *shlex.split(command)[1:]], cwd=tmp_path, check=True)
    with closing(sqlite3.connect(tmp_path / "backup.db")) as backup:
        assert backup.execute("SELECT email FROM admins").fetchall() == [("ada@example.org",)]


def test_moving_to_postgresql_works_as_it_stands_there(postgresql: PostgreSQL, data_dir: Path) -> None:
    """Role, database, then one command."""
    (statements,) = re.findall(r"```sql\n(.+?)```", TEXT, re.DOTALL)
    for statement in statements.strip().splitlines():
        postgresql.execute(statement.replace("perseus", "moved"))
    run_perseus("admins", "add", "ada@example.org", "--role", "owner", data_dir=data_dir)
    target = postgresql.url("moved", password="change-me").replace("//perseus:", "//moved:")
    (command,) = re.findall(r"^\$ python (-m .+) sqlite:", TEXT, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, *command.split(), f"sqlite:///{data_dir / 'perseus.db'}"],
        env={"PERSEUS_DATABASE_URL": target},
        cwd=data_dir,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "change-me" not in done.stdout
    shown = run_perseus("admins", "list", data_dir=data_dir, settings={"DATABASE_URL": target})
    assert "ada@example.org" in shown.stdout
