"""`notify.*` over HTTP: is anybody told, what is wrong, who knows of it; on both databases, behind the real guard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perseus import keys
from perseus.alerting import ChannelHealth, HolderView, StatusView
from perseus.alerting import TestOutcome as Outcome
from perseus.clock import SystemClock, iso, unix_ms
from perseus.database import audit
from perseus.database.incidents import IncidentRecord, IncidentsView
from perseus.model import Role
from perseus.store import Store
from tests.database.people import NOW, outage
from tests.support.clocks import ManualClock
from tests.support.notifying import ANNOUNCED, answer_test, channel, leading
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async
from tests.web.matrix import COOKIE
from tests.web.notify_site import NotifySite, notify_site

OPEN, OVER = outage(), outage(NOW - 1, resolved_at=iso(NOW), resolution="recovered")
ACTIONS: list[tuple[str, dict[str, Any]]] = [
    ("acknowledge", {"incidentId": OPEN.id}),
    ("mute", {"incidentId": OPEN.id, "minutes": 5}),
    ("unmute", {"incidentId": OPEN.id}),
]


@pytest.fixture
async def running(database_url: str, store: Store, tmp_path: Path) -> AsyncIterator[NotifySite]:
    """A site on each kind of database."""
    async with notify_site(database_url, store, directory=tmp_path) as site:
        yield site


@pytest.fixture
async def quick(site_database: str, store: Store, tmp_path: Path) -> AsyncIterator[NotifySite]:
    """A site for what no database has a part in."""
    async with notify_site(site_database, store, directory=tmp_path) as site:
        yield site


def _fields(type_: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(type_)}


async def test_nobody_is_told_while_no_notifier_runs(quick: NotifySite) -> None:
    """The page must say so above everything else, with what to do."""
    answer = await quick.ask("getStatus", role=Role.VIEWER)
    assert answer.status == 200
    assert answer.data.keys() == _fields(StatusView)
    assert (answer.data["alerts"], answer.data["holder"], answer.data["channels"]) == ("none", None, [])
    assert "no notifier runs" in answer.data["why"]
    assert "`perseus serve`" in answer.data["why"]
    assert abs(unix_ms(answer.data["serverTime"]) - SystemClock().wall_ms()) < 60_000


async def test_status_shows_who_tells_and_how_each_channel_is(quick: NotifySite, store: Store) -> None:
    """And when nobody tells any more, what the last one said of its channels is not shown as true."""
    async with leading(store, channel(), channel("boss", "dead", reason="401")):
        told = (await quick.ask("getStatus", role=Role.VIEWER)).data
    assert (told["alerts"], told["announced"], told["trouble"]) == ("sent", [*ANNOUNCED], None)
    assert told["why"].startswith("Alerts are sent to ops, but not to boss: 401. ")
    assert told["holder"].keys() == _fields(HolderView)
    assert (told["holder"]["hostname"], told["holder"]["version"]) == ("fra-2", "0.5.0")
    assert [each.keys() for each in told["channels"]] == [_fields(ChannelHealth)] * 2
    assert [(each["name"], each["state"], each["reason"]) for each in told["channels"]] == [
        ("ops", "ok", None),
        ("boss", "dead", "401"),
    ]

    async def is_told() -> bool:
        nonlocal told
        told = (await quick.ask("getStatus", role=Role.VIEWER)).data
        return bool(told["alerts"] == "none")

    await wait_until_async(is_told, description="it is told that nobody tells")
    assert (told["channels"], told["announced"], told["holder"]) == ([], [], None)


async def test_status_of_a_store_that_is_away_is_not_calm(
    site_database: str, proxy: FaultProxy, connect: Callable[..., Store], tmp_path: Path
) -> None:
    """ "No alerts" and "nobody knows" need different acts."""
    async with notify_site(site_database, connect(proxy.url, timeout=0.5), directory=tmp_path) as site:
        await site.record(OPEN)
        proxy.refuse()
        proxy.reset()
        for path, asked in (("getStatus", None), ("test", {"channel": "ops"})):
            answer = await site.ask(path, asked)
            assert (answer.status, answer.error["data"]["code"]) == (503, "SERVICE_UNAVAILABLE")
        answer = await site.ask("mute", {"incidentId": OPEN.id, "minutes": 5})  # by this host's clock then
        assert 0 < unix_ms(answer.data["mutedUntil"]) - SystemClock().wall_ms() <= 5 * 60_000


@pytest.mark.foreign_keys
async def test_key_of_another_program_is_said_to_be_in_the_way(quick: NotifySite, valkey: Server) -> None:
    """Nobody is told anything, and no page may say so without the remedy."""
    valkey.call("SET", keys.notifier(), "[]", "EX", 60)
    status = (await quick.ask("getStatus")).data
    assert status["alerts"] == "none"
    assert f"redis-cli DEL {keys.notifier()}" in status["why"]
    test = (await quick.ask("test", {"channel": "ops"})).data
    assert test == {"outcome": "failed", "reason": status["why"]}


async def test_incidents_are_paged_newest_first_and_filtered(running: NotifySite) -> None:
    """The page of incidents, the bar above all and the page of an exchange ask this."""
    kraken = outage(NOW + 2, exchange="kraken", exchange_id=4)
    await running.record(OVER, OPEN, kraken)
    assert (await running.ask("getIncidents", role=Role.VIEWER)).data.keys() == _fields(IncidentsView)
    shown, cursor = list[dict[str, Any]](), None
    while cursor or not shown:
        asked = {"count": 1} | ({"cursor": cursor} if cursor else {})
        page = (await running.ask("getIncidents", asked, role=Role.VIEWER)).data
        shown += page["incidents"]
        cursor = page["nextCursor"]
    assert [each["id"] for each in shown] == [kraken.id, OPEN.id, OVER.id]
    assert {*shown[0]} == _fields(IncidentRecord)
    assert (shown[2]["resolvedAt"], shown[2]["resolution"], shown[2]["displayName"]) == (
        iso(NOW),
        "recovered",
        "Binance",
    )
    for asked, expected in (
        ({"isOpen": True}, [kraken, OPEN]),
        ({"isOpen": False}, [OVER]),
        ({"exchangeId": 2}, [OPEN, OVER]),
        ({"exchangeId": 1, "isOpen": None}, []),
    ):
        found = (await running.ask("getIncidents", asked)).data["incidents"]
        assert [each["id"] for each in found] == [each.id for each in expected], asked


async def test_operator_acknowledges_mutes_and_unmutes(running: NotifySite) -> None:
    """Each answers with the incident as it is then, and the audit log has who, from where, and why."""
    await running.record(OPEN)
    assert (await running.ask("getIncidents")).data["incidents"][0]["acknowledgedAt"] is None
    noted = (await running.ask("acknowledge", {"incidentId": OPEN.id, "reason": "on it"})).data
    assert (await running.ask("getIncidents")).data["incidents"] == [noted]  # what many share is of now
    assert {*noted} == _fields(IncidentRecord)
    assert (noted["acknowledgedBy"], noted["acknowledgedReason"]) == ("operator@example.org", "on it")
    muted = (await running.ask("mute", {"incidentId": OPEN.id, "minutes": 120, "reason": "upgrade"})).data
    assert (muted["mutedBy"], muted["mutedReason"]) == ("operator@example.org", "upgrade")
    assert muted["acknowledgedReason"] == "on it"
    left_ms = unix_ms(muted["mutedUntil"]) - SystemClock().wall_ms()
    assert 119 * 60_000 < left_ms <= 120 * 60_000
    assert (await running.ask("unmute", {"incidentId": OPEN.id})).data["mutedUntil"] is None
    taken_over = (await running.ask("acknowledge", {"incidentId": OPEN.id}, role=Role.OWNER)).data
    assert (taken_over["acknowledgedBy"], taken_over["acknowledgedReason"]) == ("owner@example.org", None)
    async with running.site.database.reading() as connection:
        told = [each for each in await audit.entries(connection) if each.action.startswith("incident.")]
    assert [(each.actor, each.action, each.address) for each in told] == [
        ("owner@example.org", "incident.acknowledge", "127.0.0.1"),
        ("operator@example.org", "incident.unmute", "127.0.0.1"),
        ("operator@example.org", "incident.mute", "127.0.0.1"),
        ("operator@example.org", "incident.acknowledge", "127.0.0.1"),
    ]
    assert {each.admin_id for each in told} == {
        running.site.admins[f"{role}@example.org"].id for role in ("owner", "operator")
    }


async def test_viewer_looks_and_changes_nothing(running: NotifySite) -> None:
    """Silencing an alarm is not looking."""
    await running.record(OPEN)
    for path, asked in (*ACTIONS, ("test", {"channel": "ops"})):
        answer = await running.ask(path, asked, role=Role.VIEWER)
        assert (answer.status, answer.error["data"]["needed"]) == (403, "operator"), path
    (found,) = (await running.ask("getIncidents", role=Role.VIEWER)).data["incidents"]
    assert (found["acknowledgedAt"], found["mutedUntil"]) == (None, None)


async def test_incident_that_is_over_or_unknown_is_told_apart(running: NotifySite) -> None:
    """Two people acknowledge while it ends: neither made a mistake."""
    await running.record(OVER)
    for path, asked in ACTIONS:
        answer = await running.ask(path, asked | {"incidentId": OVER.id})
        assert (answer.status, answer.error["data"]["code"]) == (409, "CONFLICT"), path
        assert "binance recovered" in answer.error["message"]
        answer = await running.ask(path, asked | {"incidentId": "x\x00"})
        assert (answer.status, answer.error["data"]["code"]) == (404, "NOT_FOUND"), path
        assert [*answer.error["data"]["zodError"]["fieldErrors"]] == ["incidentId"]


BAD_INPUTS: list[tuple[str, Any, int, list[str]]] = [
    ("getIncidents", {"count": 0}, 400, ["count"]),
    ("getIncidents", {"count": 101, "isOpen": "yes"}, 400, ["count", "isOpen"]),
    ("getIncidents", {"cursor": "x"}, 400, ["cursor"]),
    ("getIncidents", {"cursor": "x" * 201}, 400, ["cursor"]),
    ("getIncidents", {"exchangeId": 99}, 404, ["exchangeId"]),
    ("getIncidents", {"exchangeId": 2**70}, 404, ["exchangeId"]),
    ("getIncidents", {"exchangeId": "2"}, 400, ["exchangeId"]),
    ("acknowledge", {}, 400, ["incidentId"]),
    ("acknowledge", {"incidentId": OPEN.id, "reason": "x" * 501}, 400, ["reason"]),
    ("mute", {"incidentId": OPEN.id}, 400, ["minutes"]),
    ("mute", {"incidentId": OPEN.id, "minutes": 0}, 400, ["minutes"]),
    ("mute", {"incidentId": OPEN.id, "minutes": 43_201}, 400, ["minutes"]),
    ("mute", {"incidentId": OPEN.id, "minutes": 1.5}, 400, ["minutes"]),
    ("unmute", {"incidentId": 1}, 400, ["incidentId"]),
    ("test", {"channel": ""}, 400, ["channel"]),
]


async def test_bad_input_gets_its_code_and_field_errors(running: NotifySite) -> None:
    """For ever is no time to mute for."""
    await running.record(OPEN)
    for path, asked, status, fields in BAD_INPUTS:
        answer = await running.ask(path, asked)
        assert answer.error is not None, (path, asked, answer.data)
        found = (answer.status, sorted(answer.error["data"]["zodError"]["fieldErrors"]))
        assert found == (status, fields), (path, asked, answer.error)


async def test_cookie_changes_things_from_our_own_pages_only(quick: NotifySite) -> None:
    """Another site's page must not silence an alarm in the name of who is signed in here."""
    await quick.record(OPEN)
    site = quick.site
    cookie = {"cookie": f"{COOKIE}={await site.session(site.admins['operator@example.org'])}"}
    elsewhere: list[dict[str, str]] = [
        {"origin": "http://evil.example", "sec-fetch-site": "cross-site"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "same-site"},
        {},
    ]
    for headers in elsewhere:
        for path, asked in (*ACTIONS, ("test", {"channel": "ops"})):
            answer = await quick.send(path, asked, headers=cookie | headers)
            assert (answer.status, answer.error["data"]["reason"]) == (401, "cross_site"), (path, headers)
    (found,) = (await quick.ask("getIncidents")).data["incidents"]
    assert (found["acknowledgedAt"], found["mutedUntil"]) == (None, None)
    noted = await quick.send("acknowledge", ACTIONS[0][1], headers=cookie | site.own)
    assert noted.data["acknowledgedBy"] == "operator@example.org"


async def test_mutations_are_never_called_by_get(quick: NotifySite) -> None:
    """A link in a message must not silence the alarm of who follows it."""
    await quick.record(OPEN)
    token = {"authorization": f"Bearer {quick.tokens[Role.OWNER]}"}
    for path, asked in ACTIONS:
        url = f"{quick.site.url}/trpc/notify.{path}"
        async with quick.site.http.get(url, params={"input": json.dumps(asked)}, headers=token) as response:
            assert response.status == 405, path


async def test_test_message_is_asked_for_and_its_outcome_told(quick: NotifySite, store: Store) -> None:
    """The button says what became of it, whichever server has the channel."""
    async with leading(store, channel()) as tenure:
        for outcome in (Outcome(outcome="delivered"), Outcome(outcome="failed", reason="404: Unknown Webhook")):
            asked, requested = await asyncio.gather(
                quick.ask("test", {"channel": "ops"}), answer_test(store, tenure, outcome, channel())
            )
            assert requested == "operator@example.org ops"
            assert asked.data == {"outcome": outcome.outcome, "reason": outcome.reason}
            await store.pipeline(["DEL", keys.notifier_requests()])


async def test_test_that_nobody_can_send_says_so_at_once(quick: NotifySite, store: Store) -> None:
    """Waiting ten seconds for what cannot come teaches nobody anything."""
    answer = await quick.ask("test", {"channel": "ops"})
    assert answer.data["outcome"] == "failed"
    assert "no notifier runs" in answer.data["reason"]
    async with leading(store, channel(), channel("boss")):
        answer = await quick.ask("test", {"channel": "opps"})
    assert (answer.status, [*answer.error["data"]["zodError"]["fieldErrors"]]) == (404, ["channel"])
    assert "those set are ops, boss" in answer.error["message"]
    assert await store.entries(keys.notifier_requests(), count=1) == []


async def test_test_that_takes_long_is_waiting(site_database: str, store: Store, tmp_path: Path) -> None:
    """A rate limit may hold it back; the answer does not claim that it failed."""
    clock = ManualClock()
    serving = notify_site(site_database, store, directory=tmp_path, clock=clock)
    async with leading(store, channel()), serving as site:
        answer = await site.ask("test", {"channel": "ops"})
    assert (answer.status, answer.data["outcome"]) == (200, "waiting")
    assert 9.9 < sum(clock.slept) < 10.3
