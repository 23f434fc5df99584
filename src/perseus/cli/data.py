"""What the commands on the database share: which database it is, and who changes it when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from perseus.cli.options import person
from perseus.clock import SystemClock
from perseus.settings import Settings

if TYPE_CHECKING:
    from perseus.database.audit import Actor
    from perseus.database.engine import Transaction

T = TypeVar("T")


class Change(NamedTuple):
    """One change in the making: everything a function of `perseus.database` asks for."""

    connection: Transaction
    by: Actor
    now_ms: int


def changing(settings: Settings, work: Callable[[Change], Awaitable[T]]) -> T:
    """Do the work in one transaction on the database, which is brought up to date before."""
    return asyncio.run(_changing(settings, work))


def looking(settings: Settings, work: Callable[[Transaction], Awaitable[T]]) -> T:
    """The same for work that only reads: it waits for nobody who writes."""
    return asyncio.run(_looking(settings, work))


async def _changing(settings: Settings, work: Callable[[Change], Awaitable[T]]) -> T:
    from perseus.database.audit import Actor
    from perseus.database.engine import open_database

    async with await open_database(settings.database_url) as database, database.begin() as connection:
        return await work(Change(connection, Actor(name=person()), SystemClock().wall_ms()))


async def _looking(settings: Settings, work: Callable[[Transaction], Awaitable[T]]) -> T:
    from perseus.database.engine import open_database

    async with await open_database(settings.database_url) as database, database.reading() as connection:
        return await work(connection)
