"""`perseus doctor`: everything an instance needs, and a fix with every failure."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.processes import run_perseus
from tests.support.servers import Server
from tests.support.system import free_port


def doctor(data_dir: Path, code: int, **settings: str) -> dict[str, dict[str, Any]]:
    """Its findings by name; it must end with this code, and say so."""
    done = run_perseus("doctor", "--json", data_dir=data_dir, settings=settings)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["exitCode"]) == (code, code), done.stdout
    assert all(finding["fix"] for finding in answer["findings"] if finding["severity"] != "ok"), answer
    return {finding["name"]: finding for finding in answer["findings"]}


def test_usable_store_is_0(server: Server, data_dir: Path) -> None:
    """On Valkey 9 and Redis 7; looking leaves nothing behind."""
    found = doctor(data_dir, 0, STORE_URL=server.url, ADMIN_EMAIL="ada@example.org", PORT=str(free_port()))
    assert {name for name, finding in found.items() if finding["severity"] != "ok"} == {"persistence", "alerts"}
    assert {"store", "rights", "version", "lease", "holders", "data directory", "takeover", "fence", "port"} <= set(
        found
    )
    assert server.all_keys() == []
    assert list(data_dir.iterdir()) == []


def test_store_that_evicts_is_1_with_its_fix(start_server: Callable[..., Server], data_dir: Path) -> None:
    """The command that repairs it is right there."""
    server = start_server(config={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"})
    found = doctor(data_dir, 1, STORE_URL=server.url)
    assert found["eviction"]["severity"] == "refuse"
    assert "CONFIG SET maxmemory-policy noeviction" in found["eviction"]["fix"]


def test_missing_rights_are_1_and_named(start_server: Callable[..., Server], data_dir: Path) -> None:
    """An instance would fail in the middle of its work, one right at a time."""
    server = start_server(acl=["reader on >secret ~* &* +@read +@connection +info +time"])
    found = doctor(data_dir, 1, STORE_URL=server.url_for("reader", "secret"))
    assert found["rights"]["severity"] == "refuse"
    assert "+evalsha" in found["rights"]["fix"]
    assert "+publish" in found["rights"]["fix"]
    assert "+get" not in found["rights"]["fix"]


def test_clock_that_is_wrong_is_a_warning(start_server: Callable[..., Server], data_dir: Path) -> None:
    """Perseus works by the store's clock alone, but a person should know."""
    server = start_server(steppable=True)
    server.step_clock(600)
    found = doctor(data_dir, 0, STORE_URL=server.url)
    assert found["clock"]["severity"] == "warn"
    assert "600 s ahead" in found["clock"]["says"]


def test_store_that_cannot_be_reached_is_2(data_dir: Path) -> None:
    """The rest is examined all the same."""
    found = doctor(data_dir, 2, STORE_URL=f"redis://127.0.0.1:{free_port()}")
    assert found["store"]["severity"] == "down"
    assert found["data directory"]["severity"] == "ok"


def test_wrong_password_is_78_and_never_shown(start_server: Callable[..., Server], data_dir: Path) -> None:
    """Doctor's output is what people paste into tickets."""
    server = start_server(password="right")
    url = server.url_for("someone", "hunter2")
    assert doctor(data_dir, 78, STORE_URL=url)["store"]["severity"] == "refuse"
    done = run_perseus("doctor", data_dir=data_dir, settings={"STORE_URL": url})
    assert "hunter2" not in done.stdout + done.stderr
    assert "***" in done.stdout


def test_embedded_store_that_does_not_run_is_2(data_dir: Path) -> None:
    """Nothing is wrong, but nothing can be said either; doctor starts nothing."""
    assert "perseus up" in doctor(data_dir, 2)["store"]["fix"]
    assert not (data_dir / "store").exists()


def test_database_is_looked_at_without_being_changed(database_url: str, valkey: Server, data_dir: Path) -> None:
    """Before its first use and after: the first look made nothing, or the second would say the same."""
    settings = {"DATABASE_URL": database_url}
    for _ in range(2):
        found = doctor(data_dir, 0, STORE_URL=valkey.url, **settings)["database"]
        assert (found["severity"], " yet; `perseus serve`" in found["says"]) == ("ok", True)
    assert run_perseus("exchanges", "disable", "kraken", data_dir=data_dir, settings=settings).returncode == 0
    found = doctor(data_dir, 0, STORE_URL=valkey.url, **settings)["database"]
    assert (found["severity"], "can be written and is at revision" in found["says"]) == ("ok", True)


def test_database_that_cannot_be_used_is_a_warning(valkey: Server, data_dir: Path) -> None:
    """`perseus serve` would not start, instances do; the password is not shown."""
    url = f"postgresql://perseus:hunter2@127.0.0.1:{free_port()}/perseus"
    done = run_perseus("doctor", "--json", data_dir=data_dir, store_url=valkey.url, settings={"DATABASE_URL": url})
    (found,) = [each for each in json.loads(done.stdout)["findings"] if each["name"] == "database"]
    assert (done.returncode, found["severity"], "hunter2" in done.stdout) == (0, "warn", False)
    (data_dir / "perseus.db").write_text("notes\n" * 1000)
    found = doctor(data_dir, 0, STORE_URL=valkey.url)["database"]
    assert (found["severity"], "file is not a database" in found["says"]) == ("warn", True)


def test_port_in_use_and_missing_admin_are_warnings(valkey: Server, data_dir: Path) -> None:
    """They keep no instance from running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = doctor(data_dir, 0, STORE_URL=valkey.url, PORT=str(taken.getsockname()[1]))
    assert "in use" in found["port"]["says"]
    assert found["admin"]["severity"] == "warn"


def test_data_directory_that_cannot_be_written_is_1(valkey: Server, data_dir: Path) -> None:
    """A path below a file cannot be written even by root, nor can /proc, whatever its permissions say."""
    (data_dir / "file").touch()
    for where in (data_dir / "file" / "x", Path("/proc/x")):
        done = run_perseus("doctor", "--data-dir", str(where), data_dir=data_dir, store_url=valkey.url)
        assert (done.returncode, done.stderr) == (1, "")
        assert "cannot be written" in done.stdout


def test_settings_are_shown_with_their_source(valkey: Server, data_dir: Path) -> None:
    """Why is it this value? is what doctor is asked most."""
    (data_dir / "perseus.toml").write_text("candles_kept = 99\n")
    (data_dir / ".env").write_text("PERSEUS_ADMIN_NAME=Ada\n")
    done = run_perseus("doctor", "--json", "--store", valkey.url, data_dir=data_dir)
    source = {row["name"]: (row["value"], row["source"]) for row in json.loads(done.stdout)["settings"]}
    assert source["CANDLES_KEPT"] == ("99", "perseus.toml")
    assert source["ADMIN_NAME"] == ("Ada", ".env")
    assert source["STORE_URL"] == (valkey.url, "flag")
    assert source["PUBLIC_IP_URLS"] == ("off", "environment")
    assert source["PORT"] == ("8777", "default")
