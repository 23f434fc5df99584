"""docs/api.md: every procedure is on it, and its examples are what a server answers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perseus import keys
from perseus.network.cards import CardView
from perseus.network.changes import NetworkChange
from perseus.store import Store
from perseus.web.errors import CODES
from perseus.web.network import PROCEDURES, ActivityAsked
from tests.docs.test_cli import mismatches
from tests.network.seeing import BINANCE, publish
from tests.support.servers import Server
from tests.web.network_site import NetworkSite, network_site

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
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


@pytest.mark.parametrize(("path", "asked", "documented"), EXAMPLES, ids=[path for path, *_ in EXAMPLES])
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


def test_every_procedure_has_its_section_and_example() -> None:
    """What is not on the page is looked for in the source."""
    assert re.findall(r"^## `(network\.\w+)`", TEXT, re.MULTILINE) == [*PROCEDURES]
    assert {path for path, *_ in EXAMPLES} == {path for path, each in PROCEDURES.items() if each.kind == "query"}


def test_cards_inputs_changes_and_codes_are_documented_whole() -> None:
    """A new field of ours belongs on the page with the release that brings it."""
    (whole,) = [json.loads(text) for path, _, text in EXAMPLES if path == "network.getInstances"]
    assert [*whole["instances"][0]] == _names(CardView)
    inputs = TEXT.partition("## `network.getActivityLog`")[2].partition("```http")[0]
    listed = "".join(re.findall(r"^\|([^|]+)\|", inputs, re.MULTILINE))
    assert re.findall(r"`(\w+)`", listed) == _names(ActivityAsked)
    kinds = re.findall(r"^\| `(\w+)` \|", TEXT.partition("| `kind` |")[2], re.MULTILINE)
    assert sorted(kinds) == sorted(each.__struct_config__.tag for each in NetworkChange.__args__)
    codes = set(re.findall(r"`([A-Z_]+)`", TEXT.partition("| `data.code` |")[2].partition("\n\n")[0]))
    assert codes >= {CODES[each] for each in CODES} - {"CONFLICT"}  # no procedure here makes anything


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
