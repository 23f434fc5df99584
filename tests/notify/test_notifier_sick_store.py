"""A store that takes no writes, holds somebody else's key, or whose clock is stepped: it is said, and nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from perseus import alerting, keys
from perseus.clock import SystemClock
from perseus.database import incidents
from perseus.database.audit import Actor
from perseus.errors import PerseusError
from perseus.notify import turn
from perseus.store import Store
from tests.notify.teller import BINANCE, COINBASE, KRAKEN, Teller, now_ms, teller
from tests.support.discord import Posted
from tests.support.servers import Server, server_seconds_ahead
from tests.support.waiting import wait_until_async

StartServer = Callable[..., Server]
Connect = Callable[..., Store]
OUTAGES = ("offline", "recovered")
TEN_MINUTES_S = 600


@pytest.fixture(autouse=True)
def _short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Much here waits for the lease to end, or to be renewed."""
    monkeypatch.setattr(alerting, "TTL_S", 3)
    monkeypatch.setattr(alerting, "RENEW_EVERY_S", 0.5)


@asynccontextmanager
async def telling_on(server: Server, connect: Connect, directory: Path) -> AsyncIterator[Teller]:
    """Everything a notifier needs, on this server."""
    async with teller(connect(server.url), directory) as one:
        yield one


async def why(telling: Teller) -> str:
    """Why no alerts are sent, as everyone is told."""
    return (await alerting.read(telling.store)).why or ""


async def says(telling: Teller, *words: str) -> bool:
    """Whether everyone is told this."""
    said = await why(telling)
    return all(word in said for word in words)


def loud(telling: Teller, name: str) -> list[Posted]:
    """The messages that woke people for this exchange."""
    return [each for each in telling.discord.messages("ops") if not each.is_silent and name in each.text]


# -- no writes --------------------------------------------------------------------------------------------------------

FULL = ("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "maxmemory"
ALONE = (
    ("CONFIG", "SET", "min-replicas-to-write", "1"),
    ("CONFIG", "SET", "min-replicas-to-write", "0"),
    "NOREPLICAS",
)
REPLICA = ("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "read only"


@pytest.mark.parametrize("fault", [FULL, ALONE, REPLICA], ids=["full", "alone", "replica"])
async def test_store_that_takes_no_writes_for_a_while_loses_nothing(
    start_server: StartServer, connect: Connect, tmp_path: Path, fault: tuple[tuple[str, ...], tuple[str, ...], str]
) -> None:
    """Nothing can be kept, so nothing is said; what died just before and what dies then is told when it can be."""
    begin, end, reason = fault
    server = start_server(config={"repl-diskless-sync-delay": "0"})
    async with telling_on(server, connect, tmp_path) as telling:
        await telling.started("ops", kinds=OUTAGES)
        await telling.log.die(BINANCE)
        await telling.told("ops", "Binance")
        await telling.log.die(KRAKEN)
        server.call(*begin)
        await wait_until_async(
            lambda: says(telling, "No alerts are being sent", reason), description="it is said why", timeout=15
        )
        assert (await alerting.read(telling.store)).word == "none"
        with pytest.raises(PerseusError):
            await telling.log.die(COINBASE)
        server.call(*end)
        await telling.log.die(COINBASE)
        await telling.told("ops", "Kraken")
        await telling.told("ops", "Coinbase")
        await wait_until_async(lambda: _is_well(telling), description="all is well")
        assert [len(loud(telling, name)) for name in ("Binance", "Kraken", "Coinbase")] == [1, 1, 1]


async def _is_well(telling: Teller) -> bool:
    seen = await alerting.read(telling.store)
    return seen.word == "sent" and seen.why is None


# -- somebody else's key ----------------------------------------------------------------------------------------------


@pytest.mark.foreign_keys
async def test_memory_of_another_type_is_said_and_works_as_soon_as_it_is_gone(telling: Teller, valkey: Server) -> None:
    """No lease is taken that is of no use, and it is not taken and given back in turns."""
    valkey.call("SET", keys.notifier_cursor(), "hello")
    telling.start("ops", kinds=OUTAGES)
    await telling.log.die(BINANCE)
    valkey.call("CONFIG", "RESETSTAT")
    (said,) = await whys(telling)
    assert said.startswith("No alerts are being sent")
    assert f"redis-cli DEL {keys.notifier_cursor()}" in said
    assert b"cmdstat_del:" not in valkey.call("INFO", "commandstats"), "a lease was taken, and given back"
    valkey.call("DEL", keys.notifier_cursor())
    await telling.told("ops", "Binance")
    assert await _is_well(telling)


@pytest.mark.foreign_keys
async def test_memory_overwritten_by_another_type_is_said_and_kept_again(telling: Teller, valkey: Server) -> None:
    """The notifier at work is the only one who still knows what was said, so it stays the notifier."""
    await telling.started("ops", kinds=OUTAGES)
    await telling.log.die(BINANCE)
    await telling.told("ops", "Binance")
    (holder,) = {(await alerting.read(telling.store)).holder}
    valkey.call("SET", keys.notifier_cursor(), "hello")
    await telling.log.die(KRAKEN)
    (said,) = await whys(telling)
    assert f"redis-cli DEL {keys.notifier_cursor()}" in said
    assert valkey.call("GET", keys.notifier_cursor()) == b"hello"
    assert not [each for each in telling.discord.messages("ops") if "Kraken" in each.text]
    valkey.call("DEL", keys.notifier_cursor())
    await telling.told("ops", "Kraken")
    await wait_until_async(lambda: _is_well(telling), description="all is well")
    assert (await alerting.read(telling.store)).holder == holder
    assert len(loud(telling, "Binance")) == 1


async def whys(telling: Teller) -> set[str]:
    """What everyone is told in the time in which a notifier claims twice."""
    seen = set()
    for _ in range(60):
        seen.add(await why(telling))
        await asyncio.sleep(0.02)
    return seen


@pytest.fixture
async def telling(store: Store, tmp_path: Path) -> AsyncIterator[Teller]:
    """A store, a database and a Discord, all empty."""
    async with teller(store, tmp_path) as one:
        yield one


# -- old data ---------------------------------------------------------------------------------------------------------


async def test_log_that_lost_its_end_and_is_written_on_by_a_clock_that_is_behind_is_read_whole(
    telling: Teller, valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is after a failover: what is new there has smaller ids than what was read and lost."""
    monkeypatch.setattr(turn, "LOOK_EVERY_S", 0.5)
    await telling.log.start(BINANCE)
    await telling.started("ops", kinds=OUTAGES)
    await telling.log.die(BINANCE)
    await telling.told("ops", "Binance")
    replicated = valkey.call("DUMP", keys.log("binance"))
    ahead = f"{now_ms() + 60_000}-0"
    valkey.call("XADD", keys.log("binance"), ahead, "event", "command")
    await wait_until_async(lambda: _has_read(telling, ahead), description="it is read up to there")
    valkey.call("RESTORE", keys.log("binance"), 0, replicated, "REPLACE")
    await telling.log.start(BINANCE, host="fra-2")
    await telling.log.die(BINANCE, host="fra-2")
    await wait_until_async(
        lambda: len(loud(telling, "Binance")) == 2, description="its second outage is told", timeout=5
    )


async def _has_read(telling: Teller, entry_id: str) -> bool:
    (raw,) = await telling.store.pipeline(["HGET", keys.notifier_cursor(), "memory"])
    return entry_id in str(raw)


# -- stepped clocks ---------------------------------------------------------------------------------------------------


async def step(telling: Teller, server: Server, seconds: float) -> None:
    """Step the store's clock, and wait until the notifier reckons with it: it has renewed its lease, or claimed it."""
    server.step_clock(seconds)

    async def is_noticed() -> bool:
        left_ms = server.call("PTTL", keys.notifier())
        return abs(server_seconds_ahead(server) - seconds) < 1 and 0 < left_ms <= alerting.TTL_S * 1000

    await wait_until_async(is_noticed, description="the notifier reckons with the new clock", timeout=20)


def texts(telling: Teller) -> list[str]:
    """What the messages say now, without the links."""
    return [message.payload["content"] for message in telling.discord.messages("ops")]


@pytest.mark.parametrize("seconds", [TEN_MINUTES_S, -TEN_MINUTES_S])
async def test_stepped_clock_makes_neither_storm_nor_silence(
    start_server: StartServer, connect: Connect, tmp_path: Path, seconds: int
) -> None:
    """Nothing is told again or called late, and all that comes is told as ever, also to a channel that is new."""
    server = start_server(steppable=True)
    async with telling_on(server, connect, tmp_path) as telling:
        await telling.started("ops")
        await telling.log.start(BINANCE)
        await telling.log.start(KRAKEN)
        await telling.log.die(BINANCE)
        await telling.told("ops", "Binance is offline")
        before = len(texts(telling))
        await step(telling, server, seconds)
        await alerting.request_test(telling.store, channel="ops", by="ada")
        await telling.told("ops", "Test message", timeout=5)
        await telling.log.die(KRAKEN)
        await telling.told("ops", "Kraken is offline")
        await telling.log.start(BINANCE, host="fra-2")
        await telling.told("ops", "Binance is active again")
        await telling.log.start(COINBASE)
        await telling.told("ops", "Coinbase is active")
        assert not [text for text in texts(telling) if "late" in text or "still" in text]
        assert len(texts(telling)) == before + 4, texts(telling)


async def test_clock_that_is_stepped_to_and_fro_makes_no_storm(
    start_server: StartServer, connect: Connect, tmp_path: Path
) -> None:
    """An open outage, a muted one, one that flaps: each has its times, and no step brings more than these."""
    server = start_server(steppable=True)
    async with telling_on(server, connect, tmp_path) as telling:
        await telling.started("ops", kinds=OUTAGES)
        for _ in range(2):
            await telling.log.start(COINBASE)
            await telling.log.die(COINBASE)
        await telling.log.start(COINBASE)
        await telling.told("ops", "Coinbase is flapping")
        await telling.log.die(BINANCE)
        await telling.log.die(KRAKEN)
        await telling.told("ops", "Kraken")
        await mute(telling, "kraken", minutes=5)
        before = len(texts(telling))
        for seconds in (TEN_MINUTES_S, -TEN_MINUTES_S, TEN_MINUTES_S):
            await step(telling, server, seconds)
        await telling.told("ops", "Coinbase is stable again")
        await telling.told("ops", "Kraken is still offline")
        await telling.log.start(BINANCE, host="fra-2")
        await telling.told("ops", "Binance is active again")
        told = texts(telling)[before:]
        assert len([text for text in told if "Coinbase is stable again" in text]) == 1, told
        assert len([text for text in told if "Kraken is still offline" in text]) in (1, 2), told  # as it ends again
        assert len(told) <= 4, told


async def test_dead_notifiers_lease_ends_although_the_clock_was_stepped_back(
    start_server: StartServer, connect: Connect, tmp_path: Path
) -> None:
    """It would last for the time of the step, and nobody would be told anything."""
    server = start_server(steppable=True)
    async with telling_on(server, connect, tmp_path) as telling:
        dead = await alerting.claim(
            telling.store, clock=SystemClock(), instance_id="x", hostname="web-0", version="1", channels=1
        )
        assert dead is not None
        server.step_clock(-TEN_MINUTES_S)
        await telling.log.start(BINANCE)
        await telling.started("ops", kinds=OUTAGES)
        await telling.log.die(BINANCE)
        await telling.told("ops", "Binance")


async def mute(telling: Teller, name: str, *, minutes: int) -> None:
    """Mute the open incident of an exchange, as soon as there is one, and wait until the notifier knows."""

    async def found() -> str | None:
        async with telling.database.reading() as connection:
            open_ones = await incidents.open_incidents(connection)
        return next((each.id for each in open_ones if each.exchange_name == name), None)

    incident_id = str(await wait_until_async(found, description="its incident is on record"))
    now_ms = round(await telling.store.time_ms())
    async with telling.database.begin() as connection:
        until_ms, by = now_ms + minutes * 60_000, Actor(name="ada")
        await incidents.mute(connection, incident_id, until_ms=until_ms, by=by, reason="", now_ms=now_ms)

    async def is_known() -> bool:
        (raw,) = await telling.store.pipeline(["HGET", keys.notifier_cursor(), "memory"])
        return f'"mutedUntilMs":{until_ms}' in str(raw)

    await wait_until_async(is_known, description="the notifier knows that it is muted")
