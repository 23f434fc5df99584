"""`perseus admins`: people, tokens, links and the audit log, as an owner of the network meets them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import Terminal
from tests.support.processes import COMMAND, run_perseus
from tests.support.sqlite import written_elsewhere
from tests.support.waiting import wait_until

PASSWORD = "correct horse battery"


def admins(
    data_dir: Path, *args: str, code: int = 0, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`perseus admins ARGS`, which must end with this code."""
    done = run_perseus("admins", *args, data_dir=data_dir, settings=settings)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def listed(
    data_dir: Path, what: str = "list", name: str = "admins", settings: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """The items of a --json answer."""
    items: list[dict[str, Any]] = json.loads(admins(data_dir, what, "--json", settings=settings).stdout)[name]
    return items


def test_admin_is_added_changed_and_listed(database_url: str, data_dir: Path) -> None:
    """On either database."""
    settings = {"DATABASE_URL": database_url}
    assert "perseus admins add EMAIL" in admins(data_dir, "list", settings=settings).stderr
    admins(data_dir, "add", "Ada@example.org", "--role", "owner", "--name", "Ada 愛", settings=settings)
    admins(data_dir, "add", "bob@example.org", settings=settings)
    admins(data_dir, "change", "BOB@example.org", "--role", "operator", "--disable", settings=settings)
    found = [
        {name: each[name] for name in ("email", "role", "isActive")} for each in listed(data_dir, settings=settings)
    ]
    assert found == [
        {"email": "Ada@example.org", "role": "owner", "isActive": True},
        {"email": "bob@example.org", "role": "operator", "isActive": False},
    ]
    table = admins(data_dir, "list", settings=settings).stdout.splitlines()
    assert re.fullmatch(r"Ada@example\.org  Ada 愛 +owner +active +no +\d{4}-\d\d-\d\d", table[1])
    assert "disabled" in table[2]
    told = [each["action"] for each in listed(data_dir, "audit", "entries", settings=settings)]
    assert told == ["admin.disable", "admin.role", "admin.add", "admin.add"]


def test_token_is_shown_once_and_can_be_revoked(data_dir: Path) -> None:
    """Only stdout has it, so that it can be piped into a file."""
    admins(data_dir, "add", "ada@example.org", "--role", "owner")
    made = admins(data_dir, "token", "ada@example.org", "--name", "grafana", "--expires", "8w")
    assert re.fullmatch(r"perseus_[\w-]{43}\n", made.stdout)
    (token,) = listed(data_dir, "tokens", "tokens")
    assert (token["email"], token["role"]) == ("ada@example.org", "viewer")
    assert (token["state"], token["lastUsedAt"]) == ("valid", None)
    assert made.stdout.strip() not in admins(data_dir, "tokens").stdout
    admins(data_dir, "revoke", str(token["id"]))
    assert [each["state"] for each in listed(data_dir, "tokens", "tokens")] == ["revoked"]


def test_looking_waits_for_nobody_who_writes(data_dir: Path) -> None:
    """During a backup or a long migration, too, one can see who is let in."""
    admins(data_dir, "add", "ada@example.org", "--role", "owner")
    admins(data_dir, "token", "ada@example.org", "--name", "grafana")
    with written_elsewhere(data_dir / "perseus.db"):
        assert [each["email"] for each in listed(data_dir)] == ["ada@example.org"]
        assert [each["name"] for each in listed(data_dir, "tokens", "tokens")] == ["grafana"]
        assert len(listed(data_dir, "audit", "entries")) == 2
        assert run_perseus("exchanges", "list", data_dir=data_dir).returncode == 0


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["add", "ADA@example.org"], 1, "is an admin already"),
        (["add", "nobody"], 64, "not an e-mail address"),
        (["add", "x@y", "--role", "king"], 64, "king"),
        (["change", "ada@example.org"], 64, "Nothing to change"),
        (["change", "ada@example.org", "--role", "viewer"], 1, "only active owner"),
        (["change", "eve@example.org", "--enable"], 64, "There is no admin"),
        (["token", "ada@example.org", "--name", "x", "--expires", "soon"], 64, "12h, 90d, 8w, 1y or never"),
        (["token", "ada@example.org", "--name", "x", "--expires", "0d"], 64, "12h, 90d, 8w, 1y or never"),
        (["token", "ada@example.org"], 64, "--name"),
        (["revoke", "99"], 64, "no API token 99"),
        (["link", "eve@example.org"], 64, "There is no admin"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(ada: Path, args: list[str], code: int, says: str) -> None:
    """What failed, and what to do; nothing was changed."""
    done = admins(ada, *args, code=code)
    (paragraph,) = done.stderr.splitlines()
    assert says in paragraph
    assert len(listed(ada)) == 1


@pytest.fixture(scope="module")
def ada(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with one owner."""
    data_dir = tmp_path_factory.mktemp("ada")
    admins(data_dir, "add", "ada@example.org", "--role", "owner")
    return data_dir


@pytest.mark.parametrize(
    ("settings", "begins", "doubt"),
    [
        ({}, "http://127.0.0.1:8777/login?token=", "at the default port 8777 of this machine; if it is elsewhere, set"),
        ({"HOST": "0.0.0.0", "PORT": "9000"}, "http://localhost:9000/login?token=", "at port 9000 of this machine"),
        ({"HOST": "::1"}, "http://[::1]:8777/login?token=", "set PERSEUS_PUBLIC_URL to"),
        ({"PUBLIC_URL": "https://perseus.example"}, "https://perseus.example/login?token=", ""),
    ],
)
def test_link_leads_to_where_the_pages_are(ada: Path, settings: dict[str, str], begins: str, doubt: str) -> None:
    """Only stdout has it; it is another one each time. Where nobody can tell which port it is, that is said."""
    done = [admins(ada, "link", "ada@example.org", settings=settings) for _ in range(2)]
    assert all(doubt in each.stderr and ("port" in each.stderr) == bool(doubt) for each in done)
    links = {each.stdout for each in done}
    assert len(links) == 2
    assert all(link.startswith(begins) and len(link) == len(begins) + 43 + 1 for link in links)


def test_password_is_read_from_stdin(data_dir: Path) -> None:
    """Scripts have it in a file; on the command line everybody on the host could see it."""
    environment = os.environ | {"PERSEUS_DATA_DIR": str(data_dir)}
    command = [*COMMAND, "admins", "add", "ada@example.org", "--role", "owner", "--password"]
    for typed, code in (("", 64), ("short\n", 64), (f"{PASSWORD}\n", 0)):
        done = subprocess.run(command, input=typed, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert PASSWORD not in done.stdout + done.stderr
    assert [each["hasPassword"] for each in listed(data_dir)] == [True]


def test_password_is_typed_twice_and_never_shown(data_dir: Path) -> None:
    """A typing error must not lock anybody out, a bystander must not learn it."""
    args = ("admins", "add", "ada@example.org", "--role", "owner", "--password")
    with Terminal(*args, directory=data_dir, environment={}) as terminal:
        terminal.wait_for("Password:")
        terminal.type(PASSWORD)
        terminal.wait_for("Once more:")
        terminal.type(f"{PASSWORD}?")
        wait_until(lambda: terminal.seen.count("Password:") == 2, description="it is asked for again")
        terminal.type(PASSWORD)
        wait_until(lambda: terminal.seen.count("Once more:") == 2, description="it is to be typed once more")
        terminal.type(PASSWORD)
        assert terminal.wait() == 0
        assert PASSWORD not in terminal.seen
    assert [each["hasPassword"] for each in listed(data_dir)] == [True]
