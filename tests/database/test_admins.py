"""Admins: one person an e-mail address, always an owner, and who is disabled is out at once."""

from __future__ import annotations

import asyncio

import pytest

from perseus.database import admins, audit, sessions, tokens
from perseus.database.engine import Database
from perseus.errors import AlreadyExists, BadUsage, PerseusError, UnknownAdmin
from perseus.model import Role
from tests.database.people import HOUR, NOW, ROOT, admin


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ada@example.org", "ADA@Example.ORG"),
        ("ÅSA@example.org", "åsa@example.org"),
        ("straße@example.org", "STRASSE@example.org"),
        ("A\u030asa@example.org", "åsa@example.org"),
    ],
)
async def test_email_addresses_are_one_whatever_their_case(database: Database, one: str, other: str) -> None:
    """Two databases fold case differently, and SQLite only ASCII."""
    async with database.begin() as connection:
        added = await admin(connection, one)
        assert await admins.by_email(connection, other) == added
    assert added.email == one
    with pytest.raises(AlreadyExists, match="is an admin already, as owner"):
        async with database.begin() as connection:
            await admin(connection, other, Role.VIEWER)
    async with database.reading() as connection:
        assert await admins.read_all(connection) == [added]


async def test_of_two_who_add_one_admin_at_once_one_succeeds(database: Database) -> None:
    """The other is told who is there."""

    async def add(email: str) -> object:
        async with database.begin() as connection:
            return await admin(connection, email)

    both = await asyncio.gather(add("ada@example.org"), add("Ada@example.org"), return_exceptions=True)
    assert sorted(type(each).__name__ for each in both) == ["Admin", "AlreadyExists"]


@pytest.mark.parametrize(
    "email", ["", "ada", "@", "a@", "@b", "a b@c", "a@b\nc", "a@b\x00", "\ud800@b", "a" * 255 + "@b"]
)
async def test_what_is_no_email_address_is_refused(database: Database, email: str) -> None:
    """And nothing of it reaches the database."""
    async with database.begin() as connection:
        with pytest.raises(BadUsage):
            await admin(connection, email)
        assert await admins.by_email(connection, email) is None


async def test_display_name_of_any_script_is_kept(database: Database) -> None:
    """People have them."""
    async with database.begin() as connection:
        added = await admins.add(
            connection, "x@y", display_name=" Åda 愛 🦉'\"; -- ", role=Role.VIEWER, by=ROOT, now_ms=NOW
        )
    assert added.display_name == "Åda 愛 🦉'\"; --"


async def test_last_active_owner_stays_one(database: Database) -> None:
    """Nobody could let them in again."""
    async with database.begin() as connection:
        await admin(connection, "ada@example.org")
        await admin(connection, "bob@example.org")
        await admins.set_active(connection, "bob@example.org", False, by=ROOT, now_ms=NOW)
        with pytest.raises(PerseusError, match="only active owner"):
            await admins.set_role(connection, "ada@example.org", Role.VIEWER, by=ROOT, now_ms=NOW)
        with pytest.raises(PerseusError, match="only active owner"):
            await admins.set_active(connection, "ada@example.org", False, by=ROOT, now_ms=NOW)
        changed = await admins.set_role(connection, "bob@example.org", Role.VIEWER, by=ROOT, now_ms=NOW)
    assert (changed.role, changed.is_active) == (Role.VIEWER, False)


async def test_owners_who_remove_each_other_at_once_leave_one(database: Database) -> None:
    """Each sees the other still there, unless they take turns."""
    async with database.begin() as connection:
        await admin(connection, "ada@example.org")
        await admin(connection, "bob@example.org")

    async def step_down(email: str) -> None:
        async with database.begin() as connection:
            await admins.set_role(connection, email, Role.VIEWER, by=ROOT, now_ms=NOW)

    async with database.begin() as connection:
        await admins.set_role(connection, "ada@example.org", Role.VIEWER, by=ROOT, now_ms=NOW)
        bob = asyncio.create_task(step_down("bob@example.org"))
        await asyncio.wait({bob}, timeout=0.5)  # as far as it gets
    with pytest.raises(PerseusError, match="only active owner"):
        await bob
    async with database.reading() as connection:
        assert [each.role for each in await admins.read_all(connection)] == [Role.VIEWER, Role.OWNER]


async def test_disabled_admin_is_out_with_sessions_and_tokens(database: Database) -> None:
    """And when they are let in again, old sessions do not come back."""
    async with database.begin() as connection:
        bob = await admin(connection, "bob@example.org", Role.OPERATOR)
        token, _ = await tokens.create(connection, bob, name="x", role=Role.VIEWER, by=ROOT, now_ms=NOW)
        cookie = await sessions.open_session(
            connection, bob, how="password", user_agent="", expires_ms=NOW + HOUR, address="", now_ms=NOW
        )
        await admins.set_active(connection, bob.email, False, by=ROOT, now_ms=NOW)
        assert await tokens.find(connection, token, now_ms=NOW) is None
        assert await sessions.find(connection, cookie, now_ms=NOW) is None
        await admins.set_active(connection, bob.email, True, by=ROOT, now_ms=NOW)
        assert await tokens.find(connection, token, now_ms=NOW) is not None
        assert await sessions.find(connection, cookie, now_ms=NOW) is None


async def test_new_password_ends_sessions_and_is_found(database: Database) -> None:
    """Whoever stole the old one may be logged in."""
    async with database.begin() as connection:
        ada = await admin(connection)
        assert (await admins.password_hash(connection, ada.email), ada.has_password) == (None, False)
        cookie = await sessions.open_session(
            connection, ada, how="link", user_agent="", expires_ms=NOW + HOUR, address="", now_ms=NOW
        )
        changed = await admins.set_password(connection, ada.email, "$argon2id$1", by=ROOT, now_ms=NOW)
        assert changed.has_password
        assert await sessions.find(connection, cookie, now_ms=NOW) is None
        await admins.rehash(connection, old_hash="$argon2id$1", new_hash="$argon2id$2")
        assert await admins.password_hash(connection, "ADA@example.org") == "$argon2id$2"
        await admin(connection, "bob@example.org")
        await admins.set_active(connection, ada.email, False, by=ROOT, now_ms=NOW)
        assert await admins.password_hash(connection, ada.email) is None


async def test_every_change_is_told_by_whom_and_no_secret_is(database: Database) -> None:
    """The audit log is read by people who may not know passwords."""
    async with database.begin() as connection:
        await admin(connection)
        await admin(connection, "bob@example.org", Role.VIEWER)
        await admins.set_role(connection, "bob@example.org", Role.OPERATOR, by=ROOT, now_ms=NOW)
        await admins.set_password(connection, "bob@example.org", "$argon2id$secret", by=ROOT, now_ms=NOW)
        await admins.set_active(connection, "bob@example.org", False, by=ROOT, now_ms=NOW)
        told = await audit.entries(connection)
    assert [entry.action for entry in told] == [
        "admin.disable",
        "admin.password",
        "admin.role",
        "admin.add",
        "admin.add",
    ]
    assert told[2].details == {"from": "viewer", "to": "operator"}
    assert {entry.at for entry in told} == {"2026-02-10T14:02:11.000Z"}
    assert "secret" not in str(told)


async def test_unknown_admin_is_told(database: Database) -> None:
    """A typing error must not look like a success; the name comes from outside."""
    async with database.begin() as connection:
        with pytest.raises(UnknownAdmin, match="perseus admins list"):
            await admins.set_role(connection, "nobody@\x00\ud800", Role.OWNER, by=ROOT, now_ms=NOW)
