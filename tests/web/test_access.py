"""Who may call what: the whole table, over every transport, on a real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp
import pytest

from perseus.clock import SystemClock
from perseus.database.engine import open_database
from perseus.model import Exchange
from perseus.network.losses import LossWatch
from perseus.settings import load_settings
from perseus.store import Store
from perseus.web.access import RULES, check_rules
from perseus.web.app import Web
from perseus.web.router import ROUTER
from perseus.web.serving import listen
from tests.web.matrix import faults
from tests.web.site import RULES_HERE, Site, stand_ins


def test_every_procedure_has_a_rule_and_every_rule_a_procedure() -> None:
    """A procedure nobody thought about must never be served."""
    check_rules(ROUTER, RULES)
    with pytest.raises(RuntimeError, match=r"network\.getInstances has no rule"):
        check_rules(ROUTER, {path: role for path, role in RULES.items() if path != "network.getInstances"})
    with pytest.raises(RuntimeError, match=r"network\.gone is not served"):
        check_rules(ROUTER, {**RULES, "network.gone": RULES["network.getInstances"]})


async def test_the_whole_table_holds(site: Site) -> None:
    """Every procedure of the router x role x state of a credential x transport."""
    assert set(ROUTER) <= set(stand_ins())
    assert set(stand_ins()) == set(RULES_HERE)
    assert await faults(site) == []


async def test_the_real_server_asks_everybody_who_they_are(store: Store, site_database: str, tmp_path: Path) -> None:
    """The table is worth nothing if the server is put together without it."""
    settings = load_settings(flags={"RATE_LIMIT": "off"}, environ={}, directory=tmp_path)
    clock, stop = SystemClock(), asyncio.Event()
    async with await open_database(site_database) as database:

        def watch(exchanges: Callable[[], Sequence[Exchange]]) -> LossWatch:
            return LossWatch(
                store, clock=clock, detected_by="test", on_record=print, on_trouble=print, exchanges=exchanges
            )

        web = Web(settings, store=store, database=database, clock=clock, watch=watch)
        door = listen("127.0.0.1", 0)
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
            tasks.create_task(web.run(door, stop=stop))
            try:
                for path in ROUTER:
                    assert await _refused(http, url, path) == {"missing"}, path
            finally:
                stop.set()


async def _refused(http: aiohttp.ClientSession, url: str, path: str) -> set[str]:
    """Why a call without a credential is refused, by HTTP and by WebSocket."""
    reasons = set()
    for method in ("POST",) if ROUTER[path].kind == "mutation" else ("GET", "POST"):  # no mutation by GET, whoever asks
        json = {"content-type": "application/json"}
        async with http.request(method, f"{url}/trpc/{path}", headers=json) as response:
            text = await response.text()
            found = re.search(r'"reason":"(\w+)"', text)
            reasons.add(found[1] if found else f"{response.status} {text}")
    async with http.ws_connect(f"{url}/trpc") as socket:
        reasons.add((await socket.receive_json())["error"]["data"]["reason"])
    return reasons
