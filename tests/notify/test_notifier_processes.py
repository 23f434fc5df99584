"""Several servers, killed at any moment: every outage is told, and told twice only if the kill hit its very sending."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from perseus import alerting
from perseus.alerting import Holder
from perseus.database import exchanges
from perseus.database.audit import Actor
from perseus.database.engine import open_database
from perseus.model import Exchange
from perseus.store import Store
from tests.notify.teller import BINANCE, Log, now_ms
from tests.support.discord import Posted
from tests.support.discord_control import StandInProcess
from tests.support.processes import PerseusProcess
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

TRIALS = int(os.environ.get("PERSEUS_FAULT_TRIALS") or 3)
HOSTS = ("web-1", "web-2", "web-3")


class Servers:
    """Three `perseus serve`, each as if on a host of its own, and what they tell."""

    def __init__(self, discord: StandInProcess, valkey: Server, directory: Path) -> None:
        settings = {
            "DISCORD_WEBHOOK_URLS": discord.setting("ops"),
            "DISCORD_ANNOUNCE": "offline,recovered",
            "DATABASE_URL": database_url(directory),
        }
        self.discord = discord
        self.by_host = {
            host: PerseusProcess(
                "serve",
                "--port",
                "0",
                data_dir=directory / host,
                store_url=valkey.url,
                hostname=host,
                settings=settings,
            )
            for host in HOSTS
        }

    def told(self, name: str) -> list[Posted]:
        """The messages that brought the outage of this exchange."""
        loud = [message for message in self.discord.messages("ops") if not message.is_silent]
        return [message for message in loud if name in message.text]


def database_url(directory: Path) -> str:
    """The database all of them share."""
    return f"sqlite:///{directory / 'perseus.db'}"


@pytest.fixture
async def venues(tmp_path: Path) -> list[Exchange]:
    """An exchange for each trial, because one that dies again and again is told of as flapping."""
    named = [Exchange(id=100 + n, name=f"venue-{n}", display_name=f"Venue {n}") for n in range(TRIALS)]
    async with await open_database(database_url(tmp_path)) as database, database.begin() as connection:
        for exchange in named:
            await exchanges.add(connection, exchange, by=Actor(name="test@here"), now_ms=now_ms())
    return named


@pytest.fixture
def servers(valkey: Server, venues: list[Exchange], tmp_path: Path) -> Iterator[Servers]:
    """Three servers before one store, one database and one Discord."""
    with ExitStack() as running:
        found = Servers(running.enter_context(StandInProcess()), valkey, tmp_path)
        for server in found.by_host.values():
            running.enter_context(server)
        yield found


async def holder(store: Store, *, after: str = "") -> Holder | None:
    """The notifier, once it has begun, and if it is not the one whose claim was `after`."""
    found = await alerting.read(store)
    has_begun = found.holder is not None and found.health is not None
    return found.holder if has_begun and found.holder and found.holder.claim_id != after else None


async def test_killed_notifier_is_followed_and_nothing_is_lost(
    servers: Servers, store: Store, venues: list[Exchange]
) -> None:
    """The server that tells dies just when there is something to tell: at a random moment around it."""
    log, seed, doubled = Log(store), random.randrange(2**32), 0
    chance = random.Random(seed)
    claim = ""
    for venue in venues:
        found = await wait_until_async(partial(holder, store, after=claim), description="there is one", timeout=30)
        assert found is not None
        claim = found.claim_id
        await log.start(venue)
        died = asyncio.create_task(log.die(venue))
        await asyncio.sleep(chance.uniform(0, 0.05))
        servers.by_host[found.hostname].kill9()
        await died
        told = partial(servers.told, venue.display_name)
        await wait_until_async(told, description=f"{venue.name} is told, {seed=}", timeout=20)
        servers.by_host[found.hostname].start()
    for venue in venues:
        times = len(servers.told(venue.display_name))
        doubled += times - 1
        assert 1 <= times <= 2, f"{venue.name} was told {times} times, {seed=}"
    print(f"{doubled} of {len(venues)} were told twice, {seed=}")


async def test_message_is_doubled_only_by_a_kill_between_its_sending_and_the_save(
    servers: Servers, store: Store
) -> None:
    """The window in which at-least-once shows: Discord has the message, and its answer never comes."""
    log = Log(store)
    found = await wait_until_async(lambda: holder(store), description="there is a notifier", timeout=30)
    assert found is not None
    await log.start(BINANCE)
    servers.discord.play("hang_after", on="ops", times=1)
    await log.die(BINANCE)
    await wait_until_async(lambda: servers.told("Binance"), description="Discord has taken it", timeout=20)
    servers.by_host[found.hostname].kill9()
    await wait_until_async(
        lambda: len(servers.told("Binance")) == 2, description="the next one tells it again", timeout=20
    )
    await log.start(BINANCE, host="fra-2")
    await wait_until_async(lambda: len(servers.discord.messages("ops")) > 2, description="its end is told", timeout=20)
    assert len(servers.told("Binance")) == 2


async def test_everyone_is_told_while_discord_cannot_be_reached(servers: Servers, store: Store) -> None:
    """It says so, keeps what is to be said, and says what is true when it is back: once."""
    log = Log(store)
    await wait_until_async(lambda: holder(store), description="there is a notifier", timeout=30)
    servers.discord.refuse()
    await log.start(BINANCE)
    await log.die(BINANCE)
    down_s = time.monotonic()

    async def is_failing() -> bool:
        health = (await alerting.read(store)).health
        return health is not None and any(channel.reason for channel in health.channels)

    await wait_until_async(is_failing, description="the channel is shown as failing", timeout=20)
    await log.start(BINANCE, host="fra-2")
    servers.discord.listen()
    await wait_until_async(
        lambda: servers.discord.messages("ops"), description="it is told late", timeout=60 + time.monotonic() - down_s
    )
    (message,) = servers.discord.messages("ops")
    assert "was down" in message.text
