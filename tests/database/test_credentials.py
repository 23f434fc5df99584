"""Tokens, sessions and login links: found by their secret alone, which the database does not hold, and while valid."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from perseus.clock import iso
from perseus.database import audit, login_links, sessions, tokens
from perseus.database.admins import Admin
from perseus.database.audit import Actor
from perseus.database.engine import Database
from perseus.errors import BadUsage, UnknownToken
from perseus.model import Role
from tests.database.people import HOUR, NOW, ROOT, admin

TABLES = ("admins", "api_tokens", "sessions", "login_links", "audit")
HOSTILE = [
    "",
    "perseus_",
    "' OR 1=1 --",
    "perseus_' OR '1'='1",
    "\x00",
    "perseus_\x00",
    "\ud800",
    "perseus_\ud800",
    "x" * 9999,
]


async def _session(connection: AsyncConnection, owner: Admin, *, user_agent: str = "Firefox") -> str:
    return await sessions.open_session(
        connection,
        owner,
        how="password",
        user_agent=user_agent,
        expires_ms=NOW + HOUR,
        address="203.0.113.7",
        now_ms=NOW,
    )


async def test_token_is_found_by_its_secret_until_it_expires(database: Database) -> None:
    """At its expiry it is over, not a moment later."""
    async with database.begin() as connection:
        ada = await admin(connection)
        secret, token = await tokens.create(
            connection,
            ada,
            name="grafana",
            role=Role.OPERATOR,
            expires_ms=NOW + HOUR,
            by=ROOT,
            now_ms=NOW,
        )
    assert secret.startswith("perseus_")
    assert len(secret) == len("perseus_") + 43  # 256 bits
    assert token.expires_at == iso(NOW + HOUR)
    async with database.reading() as connection:
        assert await tokens.find(connection, secret, now_ms=NOW + HOUR - 1) == (token, ada, Role.OPERATOR)
        assert await tokens.find(connection, secret, now_ms=NOW + HOUR) is None
        assert await tokens.find(connection, secret[:-1], now_ms=NOW) is None


async def test_token_may_do_no_more_than_its_owner_may_now(database: Database) -> None:
    """Roles change after tokens were made."""
    from perseus.database import admins

    async with database.begin() as connection:
        await admin(connection)
        bob = await admin(connection, "bob@example.org", Role.OPERATOR)
        with pytest.raises(BadUsage, match="cannot be owner"):
            await tokens.create(connection, bob, name="x", role=Role.OWNER, by=ROOT, now_ms=NOW)
        secret, _ = await tokens.create(connection, bob, name="x", role=Role.OPERATOR, by=ROOT, now_ms=NOW)
        roles = []
        for role in Role:
            await admins.set_role(connection, bob.email, role, by=ROOT, now_ms=NOW)
            bearer = await tokens.find(connection, secret, now_ms=NOW)
            assert bearer is not None
            roles.append(bearer.role)
    assert roles == [Role.VIEWER, Role.OPERATOR, Role.OPERATOR]


async def test_token_for_what_is_not_there_is_refused(database: Database) -> None:
    """Nothing that could never work is made."""
    async with database.begin() as connection:
        ada = await admin(connection)
        for wrong, error in (
            ({"expires_ms": NOW}, BadUsage),
            ({"name": " "}, BadUsage),
        ):
            options = {"name": "x", "role": Role.VIEWER, "by": ROOT, "now_ms": NOW} | wrong
            with pytest.raises(error):
                await tokens.create(connection, ada, **options)  # type: ignore[arg-type]
        assert await tokens.read_all(connection) == []


async def test_revoked_token_is_over_for_good(database: Database) -> None:
    """And its revocation is told once, with the moment it happened."""
    async with database.begin() as connection:
        secret, token = await tokens.create(
            connection, await admin(connection), name="x", role=Role.VIEWER, by=ROOT, now_ms=NOW
        )
        assert token.expires_at is None
        first = await tokens.revoke(connection, token.id, by=ROOT, now_ms=NOW + 1)
        assert await tokens.revoke(connection, token.id, by=ROOT, now_ms=NOW + 2) == first
        assert await tokens.find(connection, secret, now_ms=NOW) is None
        with pytest.raises(UnknownToken):
            await tokens.revoke(connection, 999, by=ROOT, now_ms=NOW)
        assert [entry.action for entry in await audit.entries(connection, action="token.revoke")] == ["token.revoke"]


async def test_use_is_written_down_once_a_minute(database: Database) -> None:
    """A client that asks every second must not make a write of every read."""
    async with database.begin() as connection:
        ada = await admin(connection)
        secret, token = await tokens.create(connection, ada, name="x", role=Role.VIEWER, by=ROOT, now_ms=NOW)
        cookie = await _session(connection, ada)
        seen = []
        for after in (1, 60_001, 60_002, 120_002):
            await tokens.note_use(connection, token.id, now_ms=NOW + after)
            bearer = await tokens.find(connection, secret, now_ms=NOW)
            found = await sessions.find(connection, cookie, now_ms=NOW)
            assert bearer is not None
            assert found is not None
            await sessions.note_use(connection, found.session.id, now_ms=NOW + after, expires_ms=NOW + 2 * HOUR)
            seen.append(bearer.token.last_used_at)
        assert seen == [iso(NOW + 1), iso(NOW + 1), iso(NOW + 60_002), iso(NOW + 60_002)]
        found = await sessions.find(connection, cookie, now_ms=NOW + HOUR)
        assert found is not None
        assert found.session.last_used_at == iso(NOW + 120_002)


async def test_session_is_found_until_it_expires_or_is_ended(database: Database) -> None:
    """The server decides, whatever the cookie says of itself."""
    async with database.begin() as connection:
        ada = await admin(connection)
        cookie, other = await _session(connection, ada), await _session(connection, ada)
        found = await sessions.find(connection, cookie, now_ms=NOW + HOUR - 1)
        assert found is not None
        assert (found.admin, found.session.user_agent) == (ada, "Firefox")
        assert await sessions.find(connection, cookie, now_ms=NOW + HOUR) is None
        assert len(await sessions.of_admin(connection, ada.id, now_ms=NOW)) == 2
        me = Actor(name=ada.email, admin_id=ada.id)
        assert await sessions.close(connection, found.session.id, by=me, now_ms=NOW)
        assert not await sessions.close(connection, found.session.id, by=me, now_ms=NOW)
        assert await sessions.find(connection, cookie, now_ms=NOW) is None
        assert await sessions.find(connection, other, now_ms=NOW) is not None
        told = [(entry.action, entry.address) for entry in await audit.entries(connection, count=3)]
    assert told == [("logout", None), ("login", "203.0.113.7"), ("login", "203.0.113.7")]


async def test_what_strangers_send_is_kept_clean_and_short(database: Database) -> None:
    """A user agent is anything; PostgreSQL refuses NUL and lone surrogates, terminals obey escapes."""
    async with database.begin() as connection:
        cookie = await _session(connection, await admin(connection), user_agent="a\x00b\x1b[2J\ud800" + "x" * 9999)
        found = await sessions.find(connection, cookie, now_ms=NOW)
    assert found is not None
    assert found.session.user_agent.startswith("a b [2J?xxx")
    assert len(found.session.user_agent) == 200


async def test_sessions_and_links_long_over_are_forgotten(database: Database) -> None:
    """Otherwise the tables grow with every login for ever."""
    later = NOW + sessions.KEPT_MS + 2 * HOUR
    async with database.begin() as connection:
        ada = await admin(connection)
        await _session(connection, ada)
        await login_links.create(connection, ada, by=ROOT, now_ms=NOW)
        await sessions.open_session(
            connection, ada, how="x", user_agent="", expires_ms=later + HOUR, address="", now_ms=later
        )
        await login_links.create(connection, ada, by=ROOT, now_ms=later)
        for table in ("sessions", "login_links"):
            assert (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 1


async def test_login_link_lets_in_once(database: Database) -> None:
    """It stands in terminals, histories and chats afterwards."""
    async with database.begin() as connection:
        ada = await admin(connection)
        secret = await login_links.create(connection, ada, by=ROOT, now_ms=NOW)
        assert await login_links.use(connection, secret, address="203.0.113.7", now_ms=NOW) == ada
        assert await login_links.use(connection, secret, address="203.0.113.7", now_ms=NOW) is None
        late = await login_links.create(connection, ada, by=ROOT, now_ms=NOW)
        end = NOW + login_links.LIFETIME_MS
        assert await login_links.use(connection, late, address="", now_ms=end) is None
        assert await login_links.use(connection, late, address="", now_ms=end - 1) == ada


async def test_login_link_used_many_times_at_once_lets_in_once(database: Database) -> None:
    """Two tabs, a link scanner, a thief: one of them gets in."""
    async with database.begin() as connection:
        secret = await login_links.create(connection, await admin(connection), by=ROOT, now_ms=NOW)

    async def use() -> Admin | None:
        async with database.begin() as connection:
            return await login_links.use(connection, secret, address="", now_ms=NOW)

    results = await asyncio.gather(*(use() for _ in range(8)))
    assert len([result for result in results if result is not None]) == 1
    async with database.reading() as connection:
        assert len(await audit.entries(connection, action="login_link.use")) == 1


async def test_login_link_of_a_disabled_admin_lets_nobody_in(database: Database) -> None:
    """It may have been made before."""
    from perseus.database import admins

    async with database.begin() as connection:
        await admin(connection)
        bob = await admin(connection, "bob@example.org", Role.VIEWER)
        secret = await login_links.create(connection, bob, by=ROOT, now_ms=NOW)
        await admins.set_active(connection, bob.email, False, by=ROOT, now_ms=NOW)
        assert await login_links.use(connection, secret, address="", now_ms=NOW) is None


async def test_hostile_secret_finds_nothing(database: Database) -> None:
    """It is hashed before anything else happens."""
    async with database.begin() as connection:
        ada = await admin(connection)
        await tokens.create(connection, ada, name="x", role=Role.VIEWER, by=ROOT, now_ms=NOW)
        await _session(connection, ada)
        for secret in HOSTILE:
            assert await tokens.find(connection, secret, now_ms=NOW) is None
            assert await sessions.find(connection, secret, now_ms=NOW) is None
            assert await login_links.use(connection, secret, address="", now_ms=NOW) is None


async def test_no_secret_is_in_the_database(database: Database) -> None:
    """A backup in the wrong hands must not let anybody in."""
    async with database.begin() as connection:
        ada = await admin(connection)
        token, _ = await tokens.create(connection, ada, name="x", role=Role.VIEWER, by=ROOT, now_ms=NOW)
        secrets = [token, await _session(connection, ada)]
        secrets.append(await login_links.create(connection, ada, by=ROOT, now_ms=NOW))
        everything = [str((await connection.execute(text(f"SELECT * FROM {table}"))).all()) for table in TABLES]
    assert len(set(secrets)) == 3
    assert not [secret for secret in secrets if secret.removeprefix("perseus_") in "".join(everything)]
