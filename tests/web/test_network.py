"""`network.*` over HTTP: the promised shapes, the code and field errors of every bad input, and no wrong calm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from perseus import keys
from perseus.model import SEEDED_EXCHANGES
from perseus.network.cards import CardView
from perseus.network.changes import NetworkChange
from perseus.network.feed import FeedPageView
from perseus.network.observe import InstancesView
from perseus.network.snapshot import ExchangeStatus
from perseus.store import Store
from tests.network.records import REQUIRED
from tests.network.seeing import BINANCE, KRAKEN, publish
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async
from tests.web.network_site import NetworkSite, network_site

CARD = {"exchangeId", "exchangeName", "displayName", "online", "status", "health", "lastKnown", "offlineSince"}


async def append(store: Store, name: str, count: int = 1, **fields: str) -> list[str]:
    """Entries in a log; their ids."""
    written = [{"event": "error", "exchangeId": "2", "n": str(n)} | fields for n in range(count)]
    return [await store.append(keys.log(name), each, min_id=None) for each in written]


@pytest.mark.foreign_keys
async def test_get_instances_has_the_shape_clients_are_written_for(store: Store, valkey: Server) -> None:
    """Also where another program wrote the status: indented, with the required fields only and one of its own."""
    publish(valkey)
    ours = json.loads(valkey.call("GET", keys.status(BINANCE.id)))
    theirs = {name: ours[name] for name in REQUIRED} | {"exchangeId": 4, "exchangeName": "kraken", "region": "eu"}
    valkey.call("SET", keys.status(KRAKEN.id), json.dumps(theirs, indent=2), "EX", 60)
    async with network_site(store) as site:
        answer = await site.ask("network.getInstances")
        status = await site.ask("network.getExchangeStatus", {"exchangeId": 4})
    assert answer.status == 200
    cards = {card["exchangeName"]: card for card in answer.data["instances"]}
    assert [card["exchangeId"] for card in answer.data["instances"]] == [1, 2, 4]
    assert all(card.keys() >= CARD for card in cards.values())
    assert cards["binance"]["status"] == ours
    assert (cards["kraken"]["status"], cards["kraken"]["online"], cards["kraken"]["health"]) == (theirs, True, "idle")
    assert (cards["coinbase"]["status"], cards["coinbase"]["online"], cards["coinbase"]["health"]) == (
        None,
        False,
        "never",
    )
    assert answer.data["serverTime"].endswith("Z")
    assert {"online", "status", "health", "lastKnown"} <= status.data.keys()
    assert status.data["status"] == theirs
    assert answer.data.keys() == _fields(InstancesView)  # the TypeScript types are made from these
    assert {*cards["kraken"]} == _fields(CardView)
    assert status.data.keys() == _fields(ExchangeStatus)


def _fields(type_: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(type_)}


async def test_activity_pages_through_one_exchange_and_all(store: Store) -> None:
    """Newest first, values as text, exact by cursor."""
    ids = {name: await append(store, name, 60) for name in ("binance", "kraken")}
    async with network_site(store) as site:
        for asked, expected in (
            ({"exchangeName": "binance"}, [*reversed(ids["binance"])]),
            ({}, sorted((*ids["binance"], *ids["kraken"]), key=_as_numbers, reverse=True)),
        ):
            shown, cursor = list[str](), None
            while cursor or not shown:
                answer = await site.ask(
                    "network.getActivityLog", asked | {"count": 7} | ({"cursor": cursor} if cursor else {})
                )
                assert answer.data["unreadable"] == {}
                msgspec.json.decode(msgspec.json.encode(answer.data), type=FeedPageView)
                shown += [entry["id"] for entry in answer.data["entries"]]
                cursor = answer.data["nextCursor"]
            assert shown == expected
        answer = await site.ask("network.getActivityLog")
        assert len(answer.data["entries"]) == 50
        assert {type(value) for entry in answer.data["entries"] for value in entry.values()} == {str}
        assert answer.data["entries"][0]["exchangeId"] == "2"


def _as_numbers(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))


async def test_activity_is_filtered_by_the_server(store: Store) -> None:
    """By event, by text in any field, by time."""
    await append(store, "binance", 30)
    (lost,) = await append(store, "kraken", event="instance_lost", hostname="FRA-2")
    async with network_site(store) as site:
        for asked in ({"events": ["instance_lost"]}, {"text": "fra-2"}, {"exchangeName": "kraken"}):
            answer = await site.ask("network.getActivityLog", asked)
            assert [entry["id"] for entry in answer.data["entries"]] == [lost], asked
        for asked in ({"since": "2100-01-01T00:00:00Z"}, {"until": "2000-01-01T00:00:00+01:00"}):
            assert (await site.ask("network.getActivityLog", asked)).data == {
                "entries": [],
                "nextCursor": None,
                "unreadable": {},
            }


BAD_INPUTS: list[tuple[str, Any, int, str, list[str]]] = [
    ("network.getActivityLog", {"count": 0}, 400, "BAD_REQUEST", ["count"]),
    ("network.getActivityLog", {"count": 201}, 400, "BAD_REQUEST", ["count"]),
    ("network.getActivityLog", {"count": "50"}, 400, "BAD_REQUEST", ["count"]),
    ("network.getActivityLog", {"count": True, "text": 1}, 400, "BAD_REQUEST", ["count", "text"]),
    ("network.getActivityLog", {"cursor": "x"}, 400, "BAD_REQUEST", ["cursor"]),
    ("network.getActivityLog", {"cursor": ""}, 400, "BAD_REQUEST", ["cursor"]),
    ("network.getActivityLog", {"cursor": 5}, 400, "BAD_REQUEST", ["cursor"]),
    ("network.getActivityLog", {"since": "yesterday", "until": "2026-01-01", "cursor": "0-0"}, 400, "BAD_REQUEST",
     ["cursor", "since", "until"]),
    ("network.getActivityLog", {"events": "error"}, 400, "BAD_REQUEST", ["events"]),
    ("network.getActivityLog", {"text": "x" * 201}, 400, "BAD_REQUEST", ["text"]),
    ("network.getActivityLog", {"exchangeName": "nope"}, 404, "NOT_FOUND", ["exchangeName"]),
    ("network.getExchangeStatus", {"exchangeId": 99}, 404, "NOT_FOUND", ["exchangeId"]),
    ("network.getExchangeStatus", {"exchangeId": "1"}, 400, "BAD_REQUEST", ["exchangeId"]),
    ("network.getExchangeStatus", {"exchangeId": 1.5}, 400, "BAD_REQUEST", ["exchangeId"]),
    ("network.getExchangeStatus", {}, 400, "BAD_REQUEST", ["exchangeId"]),
    ("network.getWarmupStats", {"exchangeId": -1}, 404, "NOT_FOUND", ["exchangeId"]),
    ("network.getWarmupStats", {"exchangeId": 2**70}, 404, "NOT_FOUND", ["exchangeId"]),
]  # fmt: skip


async def test_bad_input_gets_its_code_and_field_errors(store: Store) -> None:
    """Existing clients show `fieldErrors` beside the field, every wrong one at once."""
    async with network_site(store) as site:
        for path, asked, status, code, fields in BAD_INPUTS:
            answer = await site.ask(path, asked)
            assert answer.error is not None, (path, asked, answer.data)
            found = (
                answer.status,
                answer.error["data"]["code"],
                sorted(answer.error["data"]["zodError"]["fieldErrors"]),
            )
            assert found == (status, code, fields), (path, asked, answer.error)
            issues = json.loads(answer.error["message"])
            assert {issue["path"][0] for issue in issues} == set(fields)
        nothing = await site.ask("network.getExchangeStatus")
        assert nothing.error["data"]["zodError"]["formErrors"]


async def test_infinite_queries_add_a_direction(store: Store) -> None:
    """The TanStack adapter sends a field of its own with each page; null stands for a field left out."""
    async with network_site(store) as site:
        answer = await site.ask("network.getActivityLog", {"count": 5, "direction": "forward", "cursor": None})
    assert answer.data["entries"] == []


async def test_store_that_is_away_is_said_with_the_last_good_read(
    proxy: FaultProxy, valkey: Server, connect: Callable[..., Store]
) -> None:
    """Neither "everything offline" nor an empty log: SERVICE_UNAVAILABLE, with when the network was last seen."""
    publish(valkey)
    async with network_site(connect(proxy.url, timeout=0.5)) as site:
        seen_at = (await site.ask("network.getInstances")).data["serverTime"]
        proxy.refuse()
        proxy.reset()
        answer = await site.ask("network.getActivityLog")  # before any reading failed
        assert (answer.status, answer.error["data"]["code"]) == (503, "SERVICE_UNAVAILABLE")

        async def is_told() -> bool:
            return (await site.ask("network.getInstances")).status == 503

        await wait_until_async(is_told, description="it is told")
        for path, asked in (
            ("network.getInstances", None),
            ("network.getExchangeStatus", {"exchangeId": 2}),
            ("network.getWarmupStats", {"exchangeId": 2}),
            ("network.getActivityLog", None),
        ):
            answer = await site.ask(path, asked)
            assert (answer.status, answer.error["data"]["code"]) == (503, "SERVICE_UNAVAILABLE"), path
            assert answer.error["data"]["observedAt"] >= seen_at


@pytest.mark.foreign_keys
async def test_unreadable_log_is_named_among_others_and_an_error_alone(store: Store, valkey: Server) -> None:
    """Left out in silence, its exchange would seem to have had a quiet time."""
    valkey.call("SET", keys.log("kraken"), "x")
    await append(store, "binance")
    async with network_site(store) as site:
        answer = await site.ask("network.getActivityLog")
        assert len(answer.data["entries"]) == 1
        assert "WRONGTYPE" in answer.data["unreadable"]["kraken"]
        answer = await site.ask("network.getActivityLog", {"exchangeName": "kraken"})
        assert (answer.status, answer.error["data"]["code"]) == (422, "UNPROCESSABLE_CONTENT")


async def test_changes_are_streamed_and_resumed(store: Store, valkey: Server) -> None:
    """Cards, then entries; after a reconnect only what was missed."""
    publish(valkey)
    async with network_site(store) as site:
        async with aclosing(site.events()) as events:
            _, first = await anext(events)
            assert first["kind"] == "instances"
            await append(store, "binance", 3)
            numbers = [await _next_entry(events) for _ in range(3)]
            assert [n for _, n in numbers] == ["0", "1", "2"]
        await append(store, "kraken", 2)
        for resumed in (site.events(last_event_id=numbers[1][0]), site.events({"lastEventId": numbers[1][0]})):
            async with aclosing(resumed) as events:
                assert (await anext(events))[1]["kind"] == "instances"
                assert [(await _next_entry(events))[1] for _ in range(3)] == ["2", "0", "1"]
        async with aclosing(site.events({"lastEventId": "x"})) as events:
            _, error = await anext(events)
            assert (error["data"]["code"], [*error["data"]["zodError"]["fieldErrors"]]) == (
                "BAD_REQUEST",
                ["lastEventId"],
            )


async def _next_entry(events: Any) -> tuple[str, str]:
    while True:
        event_id, change = await anext(events)
        msgspec.json.decode(msgspec.json.encode(change), type=NetworkChange)
        if change["kind"] == "entry":
            return event_id, change["entry"]["n"]


async def times_read(site: NetworkSite, valkey: Server, clients: int) -> int:
    """How many times so many clients who ask for the same page at once cause the logs to be read."""
    valkey.call("CONFIG", "RESETSTAT")
    answers = await asyncio.gather(*(site.ask("network.getActivityLog", {"count": clients}) for _ in range(clients)))
    assert {answer.status for answer in answers} == {200}
    stats = valkey.call("INFO", "commandstats").decode().split()
    calls = [line.split("calls=")[1].split(",")[0] for line in stats if line.startswith("cmdstat_xrevrange:")]
    return sum(map(int, calls)) // len(SEEDED_EXCHANGES)


async def test_clients_who_ask_for_the_same_share_one_reading(store: Store, valkey: Server) -> None:
    """A hundred pages open at once read the log as one does; on top come the snapshot's own reads."""
    await append(store, "binance", 30)
    async with network_site(store) as site:
        await site.ask("network.getInstances")
        assert await times_read(site, valkey, 100) <= 8  # two for the page, the snapshot five times a second
