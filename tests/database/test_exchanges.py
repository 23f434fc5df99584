"""Exchanges: ids and names never change hands, and every change is in the audit log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perseus.database import audit, exchanges
from perseus.database.engine import Database
from perseus.errors import AlreadyExists, BadUsage, UnknownExchange
from perseus.model import SEEDED_EXCHANGES, Exchange
from tests.database.people import NOW, ROOT

OKX = Exchange(
    id=7, name="okx", display_name="OKX ✓ 歐易", rest_url="https://www.okx.com", ws_url="wss://ws.okx.com:8443"
)
WRONG: list[dict[str, Any]] = [
    {"id": 0},
    {"id": -3},
    {"id": 2**31},
    {"name": ""},
    {"name": "Kraken"},
    {"name": "-x"},
    {"name": "a" * 33},
    {"name": "x'; DROP TABLE exchanges; --"},
    {"name": "okx\n"},
    {"display_name": " "},
    {"display_name": "a\x00b"},
    {"display_name": "\ud800"},
    {"display_name": "a" * 65},
    {"rest_url": "ftp://x"},
    {"rest_url": "https://"},
    {"rest_url": "https://user:secret@host"},
    {"rest_url": "https://[::1"},
    {"ws_url": "https://host"},
    {"ws_url": "wss://host/\x00"},
]


async def test_added_exchange_is_listed_by_id(database: Database) -> None:
    """Every card and every page of the API begins with this list."""
    async with database.begin() as connection:
        added = await exchanges.add(connection, OKX, by=ROOT, now_ms=NOW)
    async with database.reading() as connection:
        assert added == OKX
        assert await exchanges.read_all(connection) == (*SEEDED_EXCHANGES, OKX)
        assert await exchanges.by_id(connection, 7) == OKX
        assert [await exchanges.by_id(connection, each) for each in (0, -1, 8, 2**31, 2**70)] == [None] * 5


@pytest.mark.parametrize(
    ("taken", "named"),
    [
        ({"id": 4, "name": "other"}, '"kraken" (Kraken) has the id 4'),
        ({"id": 9, "name": "kraken"}, '"kraken" (Kraken) has the id 4'),
        ({"id": 1, "name": "kraken"}, '"coinbase" (Coinbase) has the id 1 and "kraken" (Kraken) has the id 4'),
    ],
)
async def test_id_or_name_that_is_taken_is_refused_and_named(
    database: Database, taken: dict[str, object], named: str
) -> None:
    """The same id for two exchanges would mix their keys in the store."""
    wanted = Exchange(display_name="Other", **taken)  # type: ignore[arg-type]
    with pytest.raises(AlreadyExists) as caught:
        async with database.begin() as connection:
            await exchanges.add(connection, wanted, by=ROOT, now_ms=NOW)
    assert named in str(caught.value)
    async with database.reading() as connection:
        assert await exchanges.read_all(connection) == SEEDED_EXCHANGES
        assert await audit.entries(connection) == []


async def test_of_two_who_add_the_same_at_once_one_succeeds(database: Database) -> None:
    """Both look first, both find it free: only the database can decide."""

    async def add(name: str) -> object:
        async with database.begin() as connection:
            return await exchanges.add(connection, Exchange(id=9, name=name, display_name=name), by=ROOT, now_ms=NOW)

    results = await asyncio.gather(*(add(f"venue-{n}") for n in range(4)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["AlreadyExists"] * 3 + ["Exchange"]


async def test_value_that_cannot_be_is_refused(database: Database) -> None:
    """Before the database sees it: the two would refuse different things, in their own words."""
    async with database.begin() as connection:
        for wrong in WRONG:
            values: dict[str, Any] = {"id": 9, "name": "okx", "display_name": "OKX"} | wrong
            with pytest.raises(BadUsage):
                await exchanges.add(connection, Exchange(**values), by=ROOT, now_ms=NOW)
        assert await exchanges.read_all(connection) == SEEDED_EXCHANGES


async def test_hostile_name_is_kept_as_it_is(database: Database) -> None:
    """Text is data: quotes and tags come out as they went in."""
    name = "Robert'); DROP TABLE exchanges;-- <script>\"%s{}"
    async with database.begin() as connection:
        await exchanges.add(connection, Exchange(id=9, name="x", display_name=name), by=ROOT, now_ms=NOW)
        found = await exchanges.by_id(connection, 9)
    assert found is not None
    assert found.display_name == name


async def test_enabling_and_disabling_are_told_once(database: Database) -> None:
    """Doing it twice changes nothing, so there is nothing to tell the second time."""
    async with database.begin() as connection:
        for _ in range(2):
            assert not (await exchanges.disable(connection, "kraken", by=ROOT, now_ms=NOW)).is_active
        for _ in range(2):
            assert (await exchanges.enable(connection, "binance_us", by=ROOT, now_ms=NOW)).is_active
    async with database.reading() as connection:
        told = [(entry.action, entry.subject, entry.actor) for entry in await audit.entries(connection)]
    assert told == [("exchange.enable", "binance_us", "root@fra-1"), ("exchange.disable", "kraken", "root@fra-1")]


async def test_unknown_exchange_is_told_with_those_there_are(database: Database) -> None:
    """A typing error must not look like a success."""
    async with database.begin() as connection:
        with pytest.raises(UnknownExchange, match="coinbase, binance, binance_us, kraken"):
            await exchanges.disable(connection, "krakn", by=ROOT, now_ms=NOW)
