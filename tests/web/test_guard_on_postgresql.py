"""The guard on PostgreSQL: what depends on the database must hold there, too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.postgres import PostgreSQL
from tests.web import matrix, test_identity, test_login
from tests.web.site import Site, running_site


@pytest.fixture
async def site(postgresql: PostgreSQL, tmp_path: Path) -> AsyncIterator[Site]:
    """A site on a database of its own."""
    async with running_site(postgresql.new_database(), directory=tmp_path) as running:
        yield running


async def test_table_holds(site: Site) -> None:
    """One role's part of it: the rest is the same code."""
    assert await matrix.faults(site, only="operator") == []


async def test_link_works_once(site: Site) -> None:
    """Also for ten at once."""
    await test_login.test_of_many_who_use_one_link_at_once_one_gets_in(site)


async def test_sessions_end(site: Site) -> None:
    """After a week unused, after thirty days used."""
    await test_login.test_session_ends_after_a_week_unused_and_after_thirty_days_used(site)


async def test_logins_are_on_record(site: Site) -> None:
    """In the order in which they happened."""
    await test_login.test_logins_are_on_record(site)


async def test_disabled_admin_is_out(site: Site) -> None:
    """With everything they hold."""
    await test_identity.test_disabled_admin_loses_every_token_and_session(site)
