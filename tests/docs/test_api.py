"""docs/api.md: every procedure is on it, and its examples are what a server answers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from perseus import keys
from perseus.alerting import ChannelHealth, ChannelWord
from perseus.database.incidents import IncidentRecord
from perseus.model import Role
from perseus.network.cards import CardView
from perseus.network.changes import NetworkChange
from perseus.store import Store
from perseus.web.errors import CODES
from perseus.web.network import ActivityAsked
from perseus.web.notify import IncidentsAsked
from perseus.web.router import ROUTER
from tests.docs.test_cli import mismatches
from tests.network.seeing import BINANCE, publish
from tests.support.notifying import channel, leading
from tests.support.servers import Server
from tests.support.waiting import wait_until_async
from tests.web.conftest import database_template, site_database  # noqa: F401  fixtures
from tests.web.network_site import NetworkSite, network_site
from tests.web.notify_site import NotifySite, notify_site

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
MUTATIONS = re.findall(r"```http\nPOST /trpc/([\w.]+)\ncontent-type: application/json\n\n(.+?)\n```", TEXT)
EXAMPLES = re.findall(r"```http\nGET /trpc/([\w.]+)(?:\?input=(\S+))?\n```\n\n```json\n(.+?)```", TEXT, re.DOTALL)


@pytest.fixture
async def site(store: Store, valkey: Server) -> AsyncIterator[NetworkSite]:
    """A web server before a network in which binance warms up."""
    publish(valkey, connection_state="active", connected_at="2026-02-10T14:02:11.000Z", ip_address="203.0.113.7")
    stats = next(json.loads(example) for path, _, example in EXAMPLES if path == "network.getWarmupStats")["stats"]
    valkey.call("SET", keys.warmup(BINANCE.id), json.dumps(stats), "EX", 3600)
    for to_state in ("warming", "active"):
        fields = {
            "event": "state_transition",
            "exchangeId": "2",
            "instanceId": "other",
            "fromState": "",
            "toState": to_state,
        }
        await store.append(keys.log("binance"), fields, min_id=None)
    async with network_site(store) as site:
        yield site


OF_NETWORK = [each for each in EXAMPLES if each[0].startswith("network.")]
OF_NOTIFY = [each for each in EXAMPLES if each[0].startswith("notify.")]


@pytest.mark.parametrize(("path", "asked", "documented"), OF_NETWORK, ids=[path for path, *_ in OF_NETWORK])
async def test_example_has_the_shape_of_the_real_answer(
    site: NetworkSite, path: str, asked: str, documented: str
) -> None:
    """Programs are written from this page."""
    answer = await site.ask(path, json.loads(asked) if asked else None)
    assert answer.status == 200
    actual, expected = answer.data, json.loads(documented)
    if path == "network.getInstances":
        actual["instances"] = [card for card in actual["instances"] if card["exchangeName"] == "binance"]
    assert mismatches(expected, actual) == []
    assert set(expected) == set(actual)


@pytest.fixture
async def alerting(store: Store, site_database: str, tmp_path: Path) -> AsyncIterator[NotifySite]:  # noqa: F811
    """A web server, with a notifier, while the incident of the page is open."""
    example = next(json.loads(text) for path, _, text in EXAMPLES if path == "notify.getIncidents")
    told = msgspec.convert(example["incidents"][0], IncidentRecord)
    async with leading(store, channel()), notify_site(site_database, store, directory=tmp_path) as site:
        await site.record(told)
        yield site


@pytest.mark.parametrize(("path", "asked", "documented"), OF_NOTIFY, ids=[path for path, *_ in OF_NOTIFY])
async def test_example_of_alerts_has_the_shape_of_the_real_answer(
    alerting: NotifySite, path: str, asked: str, documented: str
) -> None:
    """So are programs that look at incidents."""
    answer = await alerting.ask(path.partition(".")[2], json.loads(asked) if asked else None, role=Role.VIEWER)
    expected = json.loads(documented)
    assert mismatches(expected, answer.data) == []
    assert set(expected) == set(answer.data)
    if "incidents" in expected:
        assert [*expected["incidents"][0]] == _names(IncidentRecord)
    else:
        assert [*expected["channels"][0]] == _names(ChannelHealth)


async def test_examples_of_mutations_are_accepted(alerting: NotifySite, store: Store) -> None:
    """As they stand on the page."""
    for path, body in MUTATIONS:
        asked, name = json.loads(body), path.partition(".")[2]
        if path == "notify.test":
            async with asyncio.TaskGroup() as tasks:
                answering = tasks.create_task(alerting.ask(name, asked))
                await wait_until_async(
                    lambda: store.entries(keys.notifier_requests(), count=1), description="it is asked for"
                )
                answering.cancel()  # nobody answers here, and nobody waits ten seconds for that
            continue
        answer = await alerting.ask(name, asked)
        assert (answer.status, answer.data["id"]) == (200, asked["incidentId"]), answer.error


def test_every_procedure_has_its_section_and_example() -> None:
    """What is not on the page is looked for in the source."""
    assert re.findall(r"^## `(\w+\.\w+)`", TEXT, re.MULTILINE) == [*ROUTER]
    kinds = {path: ROUTER[path].kind for path in ROUTER}
    assert {path for path, *_ in EXAMPLES} == {path for path, kind in kinds.items() if kind == "query"}
    assert [path for path, _ in MUTATIONS] == [path for path, kind in kinds.items() if kind == "mutation"]


def test_cards_inputs_changes_and_codes_are_documented_whole() -> None:
    """A new field of ours belongs on the page with the release that brings it."""
    (whole,) = [json.loads(text) for path, _, text in EXAMPLES if path == "network.getInstances"]
    assert [*whole["instances"][0]] == _names(CardView)
    inputs = TEXT.partition("## `network.getActivityLog`")[2].partition("```http")[0]
    listed = "".join(re.findall(r"^\|([^|]+)\|", inputs, re.MULTILINE))
    assert re.findall(r"`(\w+)`", listed) == _names(ActivityAsked)
    kinds = re.findall(r"^\| `(\w+)` \|", TEXT.partition("| `kind` |")[2].partition("\n\n")[0], re.MULTILINE)
    assert sorted(kinds) == sorted(each.__struct_config__.tag for each in NetworkChange.__args__)
    asked = TEXT.partition("## `notify.getIncidents`")[2].partition("```http")[0]
    assert re.findall(r"^\| `(\w+)` \|", asked, re.MULTILINE) == _names(IncidentsAsked)
    words = re.findall(
        r"^\| `(\w+)` \|", TEXT.partition("| `state` of a channel |")[2].partition("\n\n")[0], re.MULTILINE
    )
    assert words == [*get_args(ChannelWord)]
    codes = set(re.findall(r"`([A-Z_]+)`", TEXT.partition("| `data.code` |")[2].partition("\n\n")[0]))
    assert codes >= {CODES[each] for each in CODES}


async def test_event_has_the_shape_of_a_real_one(site: NetworkSite, store: Store) -> None:
    """The one example of a change."""
    (documented,) = re.findall(r"```json\n(\{\"kind\".+?)\n```", TEXT)
    expected: dict[str, Any] = json.loads(documented)
    msgspec.json.decode(documented, type=NetworkChange)
    async with aclosing(site.events()) as events:
        await anext(events)
        await store.append(keys.log("binance"), {"event": "error", "error": "HTTP 502"}, min_id=None)
        change: dict[str, Any] = {}
        while change.get("kind") != "entry":
            _, change = await anext(events)
    assert mismatches(expected, change) == []


def _names(type_: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(type_)]
