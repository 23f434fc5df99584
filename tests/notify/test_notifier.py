"""The notifier, whole: each thing is told once, whoever dies in between, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from perseus import alerting, keys
from perseus.database import incidents
from perseus.database.audit import Actor
from perseus.notify.turn import AT_ONCE
from perseus.store import Store
from tests.notify.teller import BINANCE, COINBASE, KRAKEN, Teller, now_ms, teller
from tests.support.servers import Server
from tests.support.waiting import wait_until_async


@pytest.fixture
async def telling(store: Store, tmp_path: Path) -> AsyncIterator[Teller]:
    """A store, a database and a Discord, all empty."""
    async with teller(store, tmp_path) as one:
        yield one


async def test_death_is_told_at_once_and_its_end_too(telling: Teller) -> None:
    """The core of it: one loud message that says what and where, its end in the same one, and a silent word."""
    await telling.log.start(BINANCE)
    await telling.started("ops")
    await telling.log.die(BINANCE)
    (message,) = await telling.told("ops", "offline")
    assert not message.is_silent
    assert "Binance" in message.payload["content"]
    assert "fra-1" in message.text
    await telling.log.start(BINANCE, host="fra-2")
    await wait_until_async(lambda: len(message.versions) > 1, description="its end is added")
    await wait_until_async(lambda: len(telling.discord.messages("ops")) == 2, description="the end is posted")
    assert telling.discord.messages("ops")[1].is_silent


async def test_what_happened_before_the_first_notifier_is_not_told(telling: Teller) -> None:
    """Who sets a webhook wants to hear of what is, not of last month; but an outage that goes on is."""
    await telling.log.start(BINANCE)
    await telling.log.die(BINANCE)
    await telling.log.start(BINANCE)
    await telling.log.start(KRAKEN)
    await telling.log.die(KRAKEN)
    await telling.started("ops")
    (message,) = await telling.told("ops", "offline")
    assert "Kraken" in message.payload["content"]
    await telling.log.start(COINBASE)
    await telling.told("ops", "Coinbase")
    assert not any("Binance" in each.text for each in telling.discord.messages("ops"))


async def test_nothing_is_lost_while_no_notifier_runs(telling: Teller) -> None:
    """Every server may be down at the moment an exchange dies: that is when it happens."""
    await telling.log.start(BINANCE)
    first = await telling.started("ops")
    await telling.stop(first)
    await telling.log.die(BINANCE)
    await telling.started("ops", host="web-2")
    await telling.told("ops", "offline")


async def test_more_than_is_taken_at_once_is_taken_whole(telling: Teller) -> None:
    """What came while none ran is taken piece by piece, so that others get their turn: no piece may be skipped."""
    await telling.log.start(BINANCE)
    await telling.stop(await telling.started("ops"))
    for _ in range(2 * AT_ONCE + 7):
        newest = await telling.log.add(BINANCE, "error", error="refused")
        await telling.log.add(KRAKEN, "error", error="refused")
    await telling.started("ops", host="web-2")
    (message,) = await telling.told("ops", f"**Binance** reports {2 * AT_ONCE + 7} errors")
    assert f"**Kraken** reports {2 * AT_ONCE + 7} errors" in message.text
    (raw,) = await telling.store.pipeline(["HGET", keys.notifier_cursor(), "memory"])
    assert json.loads(raw)["memory"]["positions"]["binance"] == newest


async def test_handing_over_doubles_nothing(telling: Teller) -> None:
    """Servers are restarted for upgrades, one after the other."""
    await telling.log.start(BINANCE)
    task = await telling.started("ops", host="web-0")
    await telling.log.die(BINANCE)
    await telling.told("ops", "offline")
    for turn in range(1, 4):
        await telling.stop(task)
        task = await telling.started("ops", host=f"web-{turn}")
    await telling.log.die(KRAKEN)
    await telling.told("ops", "Kraken")
    assert len([each for each in telling.discord.messages("ops") if "Binance" in each.text]) == 1


async def test_channel_that_is_gone_holds_up_no_other(telling: Teller) -> None:
    """And it is said that it is gone."""
    await telling.started("dev", "ops")
    telling.discord.remove("dev")
    await telling.log.start(BINANCE)
    await telling.log.die(BINANCE)
    await telling.told("ops", "offline")

    async def is_dead() -> bool:
        health = (await alerting.read(telling.store)).health
        assert health is not None
        return {channel.name: channel.state for channel in health.channels} == {"dev": "dead", "ops": "ok"}

    await wait_until_async(is_dead, description="the channel is shown as dead")


@pytest.mark.parametrize("form", ["hang", "error", "limited", "limited_global", "cloudflare", "reset", "half"])
async def test_whatever_discord_does_the_message_arrives(telling: Teller, form: str) -> None:
    """Its trouble is temporary, the outage is not told twice, unless nobody can know that it was taken."""
    await telling.started("ops")
    telling.discord.play(form, on="ops", times=1)
    await telling.log.start(BINANCE)
    await telling.log.die(BINANCE)
    await telling.told("ops", "offline", timeout=25)
    assert len(await telling.told("ops", "offline")) <= (2 if form == "half" else 1)


async def test_refused_form_is_sent_as_plain_text(telling: Teller) -> None:
    """An embed Discord does not take must not swallow an outage."""
    await telling.started("ops")
    telling.discord.play("invalid", on="ops", times=1)
    await telling.log.die(BINANCE)
    (message,) = await telling.told("ops", "offline")
    assert not message.payload.get("embeds")


async def test_database_that_is_away_delays_no_alert(telling: Teller, tmp_path: Path) -> None:
    """Incidents are written down when it is back."""
    await telling.started("ops")
    await telling.database.close()
    file = tmp_path / "perseus.db"
    file.rename(tmp_path / "away")
    file.mkdir()
    await telling.log.die(BINANCE)
    await telling.told("ops", "offline")

    async def trouble() -> str | None:
        health = (await alerting.read(telling.store)).health
        return health.trouble if health is not None else None

    await wait_until_async(trouble, description="everyone can see that incidents are not recorded")
    file.rmdir()
    (tmp_path / "away").rename(file)

    async def recorded() -> bool:
        async with telling.database.reading() as connection:
            return [each.exchange_name for each in await incidents.open_incidents(connection)] == ["binance"]

    await wait_until_async(recorded, description="the incident is recorded")


async def test_what_people_do_about_an_incident_is_told(telling: Teller) -> None:
    """Whoever wakes up next sees that somebody has it."""
    await telling.started("ops")
    await telling.log.die(BINANCE)
    (message,) = await telling.told("ops", "offline")

    async def the_open_one() -> str | None:
        async with telling.database.reading() as connection:
            found = await incidents.open_incidents(connection)
        return found[0].id if found else None

    incident_id = await wait_until_async(the_open_one, description="the incident is recorded")
    assert incident_id is not None
    async with telling.database.begin() as connection:
        by = Actor(name="ada@example.com")
        await incidents.acknowledge(connection, incident_id, by=by, reason="looking", now_ms=now_ms())
    await wait_until_async(lambda: "ada@example.com" in _plain(message.text), description="it is told")


async def test_test_message_goes_to_its_channel_alone(telling: Teller) -> None:
    """The button says what became of it."""
    await telling.started("dev", "ops")
    request_id = await alerting.request_test(telling.store, channel="dev", by="ada@example.com")

    async def outcome() -> str | None:
        health = (await alerting.read(telling.store)).health
        found = health.tests.get(request_id) if health is not None else None
        return None if found is None or found.outcome == "waiting" else found.outcome

    assert await wait_until_async(outcome, description="the outcome is known") == "delivered"
    assert len(telling.discord.messages("dev")) == 1
    assert telling.discord.messages("ops") == []


async def test_store_that_comes_back_empty_doubles_nothing(telling: Teller, valkey: Server) -> None:
    """What was said is remembered here, too."""
    await telling.started("ops")
    await telling.log.die(BINANCE)
    await telling.told("ops", "offline")
    valkey.call("FLUSHALL")
    await telling.log.die(KRAKEN)
    await telling.told("ops", "Kraken", timeout=20)
    assert len(await telling.told("ops", "Binance")) == 1


async def test_notifier_that_lost_its_lease_says_nothing_further(
    telling: Teller, connect: Callable[..., Store], valkey: Server
) -> None:
    """One that was paused wakes up beside its successor."""
    await telling.started("ops", host="web-1")
    valkey.call("DEL", keys.notifier())
    await telling.started("ops", host="web-2", store=connect(valkey.url))
    await telling.log.start(BINANCE)
    await telling.log.die(BINANCE)
    await telling.told("ops", "offline")
    await asyncio.sleep(1.5)  # as long as the other one would need to tell it, too
    assert len(await telling.told("ops", "offline")) == 1


async def test_entry_that_makes_no_sense_silences_nothing(telling: Teller, valkey: Server) -> None:
    """Other programs write to the logs, too."""
    await telling.started("ops")
    valkey.call("XADD", keys.log("binance"), "*", "event", "instance_lost", "epoch", "x", "lastHeartbeat", "never")
    valkey.call("XADD", keys.log("binance"), "*", b"\xff", b"\xfe")
    await telling.log.die(KRAKEN)
    await telling.told("ops", "Kraken")


def _plain(text: str) -> str:
    """What a message says without the marks that keep Discord from reading it as anything but text."""
    return text.replace("\\", "").replace("\u200b", "").replace("\u2060", "")
