"""A guarded site for each test, on a database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perseus.database.engine import open_database
from tests.web.site import Site, copied_database, running_site


@pytest.fixture(scope="session")
def database_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file at the newest migration: copying it is quicker than migrating again."""
    path = tmp_path_factory.mktemp("database") / "template.db"

    async def make() -> None:
        async with await open_database(f"sqlite:///{path}"):
            pass

    asyncio.run(make())
    return path


@pytest.fixture
def site_database(database_template: Path, tmp_path: Path) -> str:
    """The URL of an empty database, up to date."""
    return copied_database(database_template, tmp_path)


@pytest.fixture
async def site(site_database: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A site with the settings a machine has without any."""
    async with running_site(site_database, directory=tmp_path) as running:
        yield running
