"""`perseus exchanges`, and the commands that look: they know the exchanges of the database."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from perseus.model import SEEDED_EXCHANGES
from tests.support.postgres import PostgreSQL
from tests.support.processes import run_perseus
from tests.support.servers import Server
from tests.support.system import free_port


def perseus(database_url: str, data_dir: Path, *args: str, code: int = 0) -> str:
    """What the command says, on stdout if it succeeds, else on stderr."""
    done = run_perseus(*args, data_dir=data_dir, settings={"DATABASE_URL": database_url})
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if code else done.stdout


def test_exchanges_are_added_switched_and_listed(database_url: str, data_dir: Path) -> None:
    """As a person does it, on either database."""
    assert perseus(database_url, data_dir, "exchanges", "add", "okx", "--id", "7", "--display-name", "OKX 歐易")
    perseus(database_url, data_dir, "exchanges", "disable", "kraken")
    perseus(database_url, data_dir, "exchanges", "enable", "binance_us")
    listed = json.loads(perseus(database_url, data_dir, "exchanges", "list", "--json"))["exchanges"]
    shown = [(each["id"], each["name"], each["displayName"], each["isActive"]) for each in listed]
    assert shown[1:] == [
        (2, "binance", "Binance", True),
        (3, "binance_us", "Binance US", True),
        (4, "kraken", "Kraken", False),
        (7, "okx", "OKX 歐易", True),
    ]
    lines = perseus(database_url, data_dir, "exchanges", "list").splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["id", "name"],
        *([str(each["id"]), each["name"]] for each in listed),
    ]


def test_what_is_wrong_is_said_in_a_line(database_url: str, data_dir: Path) -> None:
    """And the exit code tells bad usage from a clash."""
    assert '"kraken" (Kraken) has the id 4' in perseus(
        database_url, data_dir, "exchanges", "add", "x", "--id", "4", code=1
    )
    assert "coinbase, binance, binance_us, kraken" in perseus(
        database_url, data_dir, "exchanges", "enable", "krakn", code=64
    )
    assert "--id" in perseus(database_url, data_dir, "exchanges", "add", "x", code=64)
    assert "'Krä ken'" in perseus(database_url, data_dir, "exchanges", "add", "Krä ken", "--id", "9", code=64)


def test_list_makes_no_database(data_dir: Path) -> None:
    """Looking changes nothing."""
    done = run_perseus("exchanges", "list", "--json", data_dir=data_dir)
    assert [each["id"] for each in json.loads(done.stdout)["exchanges"]] == [each.id for each in SEEDED_EXCHANGES]
    assert "There is no database yet" in done.stderr
    assert list(data_dir.iterdir()) == []


def test_list_of_an_empty_postgresql_changes_nothing(postgresql: PostgreSQL, data_dir: Path) -> None:
    """A newer version that only looks must not migrate what older hosts still use."""
    url = postgresql.new_database()
    assert "coinbase" in perseus(url, data_dir, "exchanges", "list")
    assert (
        postgresql.execute("SELECT 1 FROM pg_class WHERE relnamespace = current_schema()::regnamespace", url=url) == []
    )


def test_status_shows_the_exchanges_of_the_database(database_url: str, data_dir: Path, valkey: Server) -> None:
    """One that was added is looked at, one that was switched off is not missed."""
    perseus(database_url, data_dir, "exchanges", "add", "okx", "--id", "7")
    perseus(database_url, data_dir, "exchanges", "disable", "coinbase")

    def names(*args: str) -> list[str]:
        done = run_perseus(
            "status", "--json", *args, data_dir=data_dir, store_url=valkey.url, settings={"DATABASE_URL": database_url}
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [each["exchangeName"] for each in json.loads(done.stdout)["instances"]]

    assert names() == ["binance", "kraken", "okx"]
    assert names("okx") == ["okx"]


def test_status_needs_no_sqlalchemy(data_dir: Path, valkey: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is typed all day, and importing it takes longer than the rest of the command."""
    run_perseus("exchanges", "disable", "coinbase", data_dir=data_dir)
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    done = run_perseus("status", "--json", data_dir=data_dir, store_url=valkey.url)
    assert "coinbase" not in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "sqlite3" in imported
    assert {"sqlalchemy", "alembic", "asyncpg"} & imported == set()


def test_database_that_is_away_does_not_hide_the_network(data_dir: Path, valkey: Server) -> None:
    """`status`, `log` and `candles` are what one looks at during an outage; they say what they could not read."""
    settings = {"DATABASE_URL": f"postgresql://perseus:hunter2@127.0.0.1:{free_port()}/perseus"}
    for command in (["status", "--json"], ["log"]):
        done = run_perseus(*command, data_dir=data_dir, store_url=valkey.url, settings=settings)
        assert done.returncode == 0, done.stderr
        assert "cannot be read" in done.stderr
        assert "hunter2" not in done.stderr


def test_file_that_is_no_database_is_told(data_dir: Path, valkey: Server) -> None:
    """And left as it is."""
    (data_dir / "perseus.db").write_text("notes\n" * 1000)
    done = run_perseus("status", data_dir=data_dir, store_url=valkey.url)
    assert "file is not a database" in done.stderr
    assert "Binance" in done.stdout
    assert "file is not a database" in perseus(
        f"sqlite:///{data_dir}/perseus.db", data_dir, "exchanges", "list", code=2
    )


def test_user_without_a_name_can_use_it(data_dir: Path) -> None:
    """Containers run as numbers; who did it is told all the same."""
    command = ("perseus exchanges disable kraken", "perseus admins audit --json")
    code = (
        "import os, pwd, sys\n"
        "pwd.getpwuid = lambda uid: (_ for _ in ()).throw(KeyError(uid))\n"  # as for a uid nobody has
        "from perseus.cli import main\n"
        "sys.argv = sys.argv[1:]\n"
        "main()\n"
    )
    import os
    import sys

    unset = ("LOGNAME", "USER", "LNAME", "USERNAME")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"PERSEUS_DATA_DIR": str(data_dir), "HOME": str(data_dir)}
    for each in command:
        done = subprocess.run(
            [sys.executable, "-c", code, *each.split()], env=environment, capture_output=True, text=True, check=True
        )
    assert json.loads(done.stdout)["entries"][0]["actor"].startswith(f"uid-{os.getuid()}@")
