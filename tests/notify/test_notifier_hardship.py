"""What goes wrong around the notifier, or in a part of it, silences nothing else and tells nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from perseus import alerting, keys
from perseus.alerting import Health, Tenure
from perseus.database import incidents
from perseus.database.engine import ANSWER_TIMEOUT_S, open_database
from perseus.errors import StoreUnavailable
from perseus.model import Exchange
from perseus.notify import discord, ledger, queue, rules, turn, words
from perseus.notify.keeping import Keeping, Kept, Ours, recalled
from perseus.notify.state import Memory
from perseus.store import Store
from tests.notify.teller import BINANCE, COINBASE, KRAKEN, Teller, now_ms, teller
from tests.support.postgres import PostgreSQL
from tests.support.servers import Server
from tests.support.waiting import wait_until_async
from tests.test_alerting import held

Patch = pytest.MonkeyPatch


@pytest.fixture
async def telling(store: Store, tmp_path: Path) -> AsyncIterator[Teller]:
    """A store, a database and a Discord, all empty."""
    async with teller(store, tmp_path) as one:
        yield one


async def trouble(telling: Teller) -> str:
    """What the notifier lets everyone know that it cannot do."""
    health = (await alerting.read(telling.store)).health
    return (health.trouble if health is not None else None) or ""


def failing(why: Callable[..., bool] = lambda *_, **__: True, *, of: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with a defect that shows when `why` says so."""

    def broken(*args: Any, **options: Any) -> Any:
        if why(*args, **options):
            raise ZeroDivisionError("a defect")
        return of(*args, **options)

    return broken


# -- the logs ---------------------------------------------------------------------------------------------------------


@pytest.mark.foreign_keys
@pytest.mark.parametrize("when", ["before", "while"])
async def test_log_that_is_none_silences_no_other(telling: Teller, valkey: Server, when: str) -> None:
    """All logs are read with one question, and the store refuses it as a whole."""
    if when == "before":
        valkey.call("SET", keys.log("binance"), "hello")
    await telling.started("ops")
    if when == "while":
        valkey.call("SET", keys.log("binance"), "hello")
    await telling.log.die(KRAKEN)
    await telling.told("ops", "Kraken")
    await wait_until_async(lambda: _says(telling, keys.log("binance")), description="it is said")
    valkey.call("DEL", keys.log("binance"))
    await telling.log.die(BINANCE)
    await telling.told("ops", "Binance", timeout=15)


@pytest.mark.foreign_keys
async def test_requests_that_are_none_silence_no_log(telling: Teller, valkey: Server) -> None:
    """They are read with the logs."""
    await telling.started("ops")
    valkey.call("SET", keys.notifier_requests(), "hello", "EX", "60")
    await telling.log.die(KRAKEN)
    await telling.told("ops", "Kraken")
    valkey.call("DEL", keys.notifier_requests())


async def test_log_written_anew_by_a_clock_that_is_behind_is_read(telling: Teller, valkey: Server) -> None:
    """What was deleted begins again with smaller ids: behind the position, nothing would be read for ever."""
    ahead_ms = now_ms() + 3_600_000
    valkey.call("XADD", keys.log("binance"), f"{ahead_ms}-0", "event", "something")
    await telling.started("ops")
    valkey.call("XADD", keys.log("binance"), f"{ahead_ms}-1", "event", "something", "instanceId", "x", "epoch", "1")
    valkey.call("XADD", keys.log("kraken"), f"{ahead_ms}-0", "event", "something")
    await telling.log.die(COINBASE)
    await telling.told("ops", "Coinbase")
    valkey.call("DEL", keys.log("binance"), keys.log("kraken"))
    await telling.log.start(BINANCE)

    async def reads_on() -> bool:
        raw = await telling.store.pipeline(["HGET", keys.notifier_cursor(), "memory"])
        return str(ahead_ms) not in str(raw)

    await wait_until_async(reads_on, description="it reads on where the log is now", timeout=15)
    await telling.log.die(BINANCE)
    await telling.log.die(KRAKEN)
    await telling.told("ops", "Binance")
    await telling.told("ops", "Kraken")


async def test_outage_that_is_over_further_on_in_the_log_is_not_told_as_if_it_were_not(telling: Teller) -> None:
    """Servers were down for days: what is true now is known only at the end of the logs."""
    await telling.log.start(BINANCE)
    await telling.stop(await telling.started("ops"))
    for _ in range(150):
        await telling.log.add(BINANCE, "command")
    await telling.log.die(BINANCE)
    for _ in range(350):
        await telling.log.add(BINANCE, "command")
    await telling.log.start(BINANCE)
    await telling.started("ops", host="web-2")
    await telling.told("ops", "Binance")
    assert [len(message.versions) for message in telling.discord.messages("ops")] == [1]
    assert "was down" in telling.discord.messages("ops")[0].text


# -- defects of ours --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "name"),
    [(rules, "tick"), (rules, "compare"), (queue, "prune"), (queue, "health"), (rules, "recorded"), (rules, "begin")],
)
async def test_defect_in_one_part_silences_no_other(
    telling: Teller, monkeypatch: Patch, module: Any, name: str
) -> None:
    """The web server lives on, and outages are told: that is what all of it is for."""
    monkeypatch.setattr(turn, "COMPARE_EVERY_S", 0.2)
    telling.cards = []
    monkeypatch.setattr(module, name, failing(of=getattr(module, name)))
    task = telling.start("ops")
    await asyncio.sleep(1.5)  # long enough for each part to fail
    await telling.log.die(BINANCE)
    await telling.told("ops", "Binance")
    assert not task.done()


async def test_defect_over_one_message_holds_up_no_other(telling: Teller, monkeypatch: Patch) -> None:
    """One that cannot be worded is counted as dropped."""
    names_binance = failing(lambda send, **_: "Binance" in str(send), of=words.payload)
    monkeypatch.setattr(words, "payload", names_binance)
    await telling.started("ops")
    await telling.log.die(BINANCE)
    await telling.log.start(KRAKEN)
    await telling.told("ops", "Kraken")


async def test_defect_in_one_channel_silences_no_other_and_is_said(telling: Teller, monkeypatch: Patch) -> None:
    """Each has a queue of its own."""
    monkeypatch.setattr(turn, "COMPARE_EVERY_S", 0.2)
    of_dev = failing(lambda _, channel, **__: channel.name == "dev", of=queue.next_send)
    monkeypatch.setattr(queue, "next_send", of_dev)
    await telling.started("dev", "ops")
    await telling.log.die(BINANCE)
    await telling.told("ops", "Binance")
    await wait_until_async(lambda: _says(telling, "channel dev"), description="it is said")


@pytest.mark.parametrize("call", ["wait_entries", "get"])
async def test_call_that_was_cancelled_by_nobody_silences_nothing(
    telling: Teller, monkeypatch: Patch, call: str
) -> None:
    """A library may cancel what it waits for; the task would end, and nobody would hear of it."""
    original, calls = getattr(Store, call), 0

    async def cancelled_once(self: Store, *args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        return await original(self, *args, **options)

    monkeypatch.setattr(Store, call, cancelled_once)
    await telling.started("ops")
    await telling.log.die(BINANCE)
    await telling.told("ops", "Binance")


# -- the database -----------------------------------------------------------------------------------------------------


async def test_incident_the_database_does_not_take_holds_up_no_other(telling: Teller, monkeypatch: Patch) -> None:
    """Neither what is told nor what else is recorded."""
    original = incidents.record

    async def picky(connection: Any, incident: incidents.IncidentRecord, **options: Any) -> None:
        if incident.exchange_name == "binance":
            raise ValueError("this one not")
        await original(connection, incident, **options)

    monkeypatch.setattr(incidents, "record", picky)
    await telling.started("ops")
    await telling.log.die(BINANCE)
    await telling.told("ops", "Binance")
    await telling.log.die(KRAKEN)
    await telling.told("ops", "Kraken")
    await wait_until_async(lambda: _recorded(telling, "kraken"), description="the other is recorded")
    await wait_until_async(lambda: _says(telling, "binance"), description="it is said")


async def test_many_incidents_are_recorded_by_a_slow_database(telling: Teller, monkeypatch: Patch) -> None:
    """A thousand at once are more than it takes in the time it is given; all or nothing would be nothing, for ever."""
    original = incidents.record

    async def slow(connection: Any, incident: incidents.IncidentRecord, **options: Any) -> None:
        await asyncio.sleep(0.05)
        await original(connection, incident, **options)

    monkeypatch.setattr(incidents, "record", slow)
    monkeypatch.setattr(ledger, "WITHIN_S", 0.6)
    monkeypatch.setattr(ledger, "AT_ONCE", 5)
    telling.exchanges = [Exchange(id=100 + n, name=f"venue-{n}", display_name=f"Venue {n}") for n in range(20)]
    await telling.started("ops")
    for venue in telling.exchanges:
        await telling.log.die(venue)
    for venue in telling.exchanges:
        await wait_until_async(partial(_recorded, telling, venue.name), description=f"{venue.name} is recorded")


@pytest.mark.one_server
async def test_names_no_database_takes_are_recorded(store: Store, postgresql: PostgreSQL, tmp_path: Path) -> None:
    """Other programs write the entries, and PostgreSQL takes no NUL in a text."""
    async with await open_database(postgresql.new_database()) as database, teller(store, tmp_path) as telling:
        telling.database = database
        await telling.started("ops")
        await telling.log.die(BINANCE, host="fra\x00-1")
        await telling.told("ops", "Binance")
        await wait_until_async(lambda: _recorded(telling, "binance"), description="it is recorded")


async def test_locked_database_delays_neither_alerts_nor_the_end_of_a_server(
    telling: Teller, monkeypatch: Patch
) -> None:
    """SQLite has one writer at a time, and a wait for it cannot be broken off."""
    monkeypatch.setattr(ledger, "WITHIN_S", 60.0)  # so that nothing ends its wait but its patience
    task = await telling.started("ops")
    async with telling.database.begin():
        await telling.log.die(BINANCE)
        await telling.told("ops", "Binance")
        async with asyncio.timeout(ANSWER_TIMEOUT_S - 2):  # which is the wait that a server's end is spared
            await telling.stop(task)


# -- ends and beginnings ----------------------------------------------------------------------------------------------


async def test_orderly_end_while_a_message_is_on_its_way_doubles_nothing(telling: Teller) -> None:
    """Upgrades restart servers, and that they do so during an outage is no reason to tell it twice."""
    telling.discord.play("slow", on="ops", times=1, retry_after=0.4)
    task = await telling.started("ops")
    await telling.log.die(BINANCE)
    await telling.told("ops", "Binance")
    await telling.stop(task)
    await telling.started("ops", host="web-2")
    await telling.log.start(KRAKEN)
    await telling.told("ops", "Kraken")
    assert len(await telling.told("ops", "Binance")) == 1


async def test_end_while_discord_hangs_is_not_held_up(telling: Teller) -> None:
    """A server ends within seconds, whatever Discord does; what was on its way is told by the next one."""
    task = await telling.started("ops")
    telling.discord.play("hang", on="ops", times=1)
    await telling.log.die(BINANCE)
    await wait_until_async(lambda: telling.discord.asked, description="it is on its way")
    async with asyncio.timeout(discord.TIMEOUT_S - 2):  # whoever waited for Discord's answer would take longer
        await telling.stop(task)
    assert (await alerting.read(telling.store)).holder is None
    await telling.started("ops", host="web-2")
    await telling.told("ops", "Binance")


async def test_memory_the_store_lost_is_kept_again(telling: Teller, valkey: Server) -> None:
    """Evicted, deleted, or lost in a failover: whoever comes next must not tell everything again."""
    task = await telling.started("ops")
    await telling.log.die(BINANCE)
    await telling.told("ops", "Binance")
    valkey.call("DEL", keys.notifier_cursor())
    await wait_until_async(lambda: valkey.call("EXISTS", keys.notifier_cursor()), description="it is kept again")
    await telling.stop(task)
    await telling.started("ops", host="web-2")
    await telling.log.start(KRAKEN)
    await telling.told("ops", "Kraken")
    assert len(await telling.told("ops", "Binance")) == 1


async def test_store_that_comes_back_with_old_data_doubles_nothing(telling: Teller, valkey: Server) -> None:
    """A backup, or a replica that was behind: what was said since is known here."""
    await telling.started("ops")
    await telling.log.start(KRAKEN)
    await telling.told("ops", "Kraken")
    old: list[bytes] = valkey.call("HGETALL", keys.notifier_cursor())
    await telling.log.die(BINANCE)
    await telling.told("ops", "Binance")
    valkey.call("DEL", keys.notifier())
    valkey.call("HSET", keys.notifier_cursor(), *old)
    await wait_until_async(lambda: valkey.call("EXISTS", keys.notifier()), description="it begins again")
    await telling.log.die(COINBASE)
    await telling.told("ops", "Coinbase")
    assert len([each for each in telling.discord.messages("ops") if "Binance" in each.text]) == 1


async def test_nothing_is_sent_that_is_not_kept(telling: Teller, monkeypatch: Patch) -> None:
    """A kill at that moment would leave a message nobody remembers, and the next one would send it again."""
    await telling.started("ops")

    async def cannot(*_: object) -> bool:
        raise StoreUnavailable("it is full")

    with monkeypatch.context() as patch:
        patch.setattr(Tenure, "remember", cannot)
        await telling.log.die(BINANCE)
        await asyncio.sleep(1)  # a message takes a tenth of it
        assert telling.discord.asked == []
    await telling.told("ops", "Binance")


async def test_what_was_said_and_could_not_be_kept_is_remembered(store: Store) -> None:
    """The store was away for longer than the lease; the same process goes on, and knows what it said."""
    tenure = await held(store)
    keeping = Keeping(tenure, Kept(saved_ms=0, memory=Memory()), health=lambda *_: Health(saved_at=""))
    await keeping.keep()
    keeping.change(Memory(positions={"binance": "2-0"}))  # and this is not kept
    ours = Ours(tenure.claim_id, keeping.kept)
    assert (await recalled(tenure, ours=ours)) == ours.kept
    await tenure.give_back()
    successor = await held(store)
    later = Keeping(successor, ours.kept, health=lambda *_: Health(saved_at=""))
    later.change(Memory(positions={"binance": "3-0"}))
    await later.keep()
    assert (await recalled(successor, ours=ours)) == later.kept


async def test_what_was_kept_by_a_clock_that_was_ahead_does_not_win_for_ever(store: Store) -> None:
    """Of two memories the later one counts, whatever the store's clock said when."""
    tenure = await held(store)
    ahead = Kept(saved_ms=now_ms() + 3_600_000, memory=Memory(positions={"binance": "1-0"}))
    keeping = Keeping(tenure, ahead, health=lambda *_: Health(saved_at=""))
    keeping.change(Memory(positions={"binance": "2-0"}))
    await keeping.keep()
    assert (await recalled(tenure, ours=Ours("earlier", ahead))) == keeping.kept


@pytest.mark.parametrize(
    "garbage", [b"\xff\xfe", b"{}", b"[" * 100_000, b'{"savedMs":1,"memory":{"positions":{"binance":"x"}}}']
)
async def test_memory_that_is_none_silences_nothing(telling: Teller, valkey: Server, garbage: bytes) -> None:
    """Of another release, or of nobody knows whom."""
    valkey.call("HSET", keys.notifier_cursor(), "memory", garbage)
    valkey.call("EXPIRE", keys.notifier_cursor(), "60")
    await telling.started("ops")
    await telling.log.die(BINANCE)
    await telling.told("ops", "Binance")


async def _says(telling: Teller, what: str) -> bool:
    return what in await trouble(telling)


async def _recorded(telling: Teller, name: str) -> bool:
    async with telling.database.reading() as connection:
        return name in [each.exchange_name for each in await incidents.open_incidents(connection)]
