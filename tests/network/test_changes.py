"""Subscribers are told what changes from one shared reading: cards first, each entry once, also over a reconnect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing

import pytest

from perseus import keys
from perseus.errors import BadInput
from perseus.model import SEEDED_EXCHANGES, Exchange
from perseus.network.tail import KEPT
from perseus.store import Store
from tests.network.seeing import BINANCE, KRAKEN, Listener, listening, publish, seeing
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

RUNS_EVERYWHERE = True


async def append(store: Store, n: int, name: str = "binance") -> None:
    """One entry, numbered."""
    await store.append(keys.log(name), {"event": "error", "n": str(n)}, min_id=None)


async def test_cards_come_first_and_then_what_changes(store: Store, valkey: Server) -> None:
    """A page shows the network at once, and then every change, whole cards."""
    publish(valkey)
    async with seeing(store) as seen, listening(seen.changes) as listener:
        await wait_until_async(lambda: listener.told, description="the cards came")
        first = listener.told[0]
        assert (first["kind"], [card["exchangeName"] for card in first["instances"]]) == (
            "instances",
            ["coinbase", "binance", "kraken"],
        )
        publish(valkey, KRAKEN, symbol_count=7)
        await append(store, 1, "kraken")
        await wait_until_async(lambda: len(listener.told) >= 3, description="the changes came")
        await seen.snapshot.next_turn()
        await seen.snapshot.next_turn()
    kinds = listener.kinds()
    assert kinds.count("entry") == 1
    assert kinds.count("cards") == 1  # time alone changes nothing that is worth a message
    (card,) = listener.told[kinds.index("cards")]["cards"]
    assert (card["exchangeName"], card["status"]["symbolCount"]) == ("kraken", 7)
    shown = listener.told[kinds.index("entry")]["entry"]
    assert (shown["exchangeName"], shown["event"], shown["n"]) == ("kraken", "error", "1")


async def test_entries_are_neither_lost_nor_repeated_over_reconnects(store: Store) -> None:
    """A client that loses its connection now and then, while entries come to several logs, and changes the server."""
    names = ("binance", "kraken", "coinbase", "binance_us")
    total = 300

    async def write() -> None:
        for n in range(total):
            await append(store, n, names[n % 4])

    entries, last_id = list[str](), None
    async with seeing(store) as seen, seeing(store) as other, asyncio.TaskGroup() as tasks:
        await seen.cards()
        await other.cards()
        last_id = str(seen.snapshot.tail.position())
        writing = tasks.create_task(write())
        while len(entries) < total:
            server = other if len(entries) % 2 else seen
            listener = Listener(server.changes, last_id)
            async with asyncio.timeout(20), aclosing(server.changes.follow(last_id)) as changes:
                wanted = 1 + len(entries) % 37
                async for change in changes:
                    listener.note(change)
                    last_id = change.id
                    if len(listener.entries()) >= min(wanted, total - len(entries)):
                        break
            assert "resync" not in listener.kinds()
            entries += listener.entries()
        await writing
    assert sorted(map(int, entries)) == list(range(total))


async def test_entries_wait_for_nobody_and_a_slow_one_starts_anew(
    store: Store, valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is queued for a reader that does not read: it is told to, and then goes on."""
    monkeypatch.setattr("perseus.network.tail.KEPT", 10)
    assert KEPT > 10
    async with seeing(store) as seen, AsyncExitStack() as stack:
        await seen.cards()
        changes = await stack.enter_async_context(aclosing(seen.changes.follow()))
        assert json.loads((await anext(changes)).encoded)["kind"] == "instances"
        for n in range(20):
            await append(store, n)
        await wait_until_async(lambda: seen.snapshot.tail.n == 20, description="all have come")
        told = json.loads((await anext(changes)).encoded)
        assert told["kind"] == "resync"
        await append(store, 20)
        while told["kind"] != "entry":
            told = json.loads((await anext(changes)).encoded)
        assert told["entry"]["n"] == "20"


async def test_blindness_is_told_and_ends_with_all_cards(
    proxy: FaultProxy, valkey: Server, connect: Callable[..., Store]
) -> None:
    """A page that hears nothing takes what it has for true."""
    publish(valkey)
    async with seeing(connect(proxy.url, timeout=0.5)) as seen, listening(seen.changes) as listener:
        await wait_until_async(lambda: listener.told, description="the cards came")
        proxy.refuse()
        proxy.reset()
        await wait_until_async(lambda: "unavailable" in listener.kinds(), description="it is told")
        await append(connect(valkey.url), 1)
        publish(valkey, BINANCE, symbol_count=9)
        proxy.accept()
        await wait_until_async(lambda: "entry" in listener.kinds(), description="it sees again")
    assert listener.kinds() == ["instances", "unavailable", "instances", "entry"]
    assert listener.told[1]["observedAt"] >= listener.told[0]["serverTime"]
    assert listener.told[2]["instances"][1]["status"]["symbolCount"] == 9


async def test_exchange_switched_off_changes_the_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card must not stay on the page when its exchange is not one of the network any more."""
    monkeypatch.setattr("perseus.network.exchange_list.LOAD_EVERY_S", 0.1)
    exchanges = [*SEEDED_EXCHANGES]

    async def load() -> list[Exchange]:
        return exchanges

    async with seeing(store, load=load) as seen, listening(seen.changes) as listener:
        await wait_until_async(lambda: listener.told, description="the cards came")
        exchanges = exchanges[:2]
        await wait_until_async(lambda: len(listener.told) == 2, description="the new list came")
    assert [card["exchangeName"] for card in listener.told[1]["instances"]] == ["coinbase", "binance"]


@pytest.mark.one_server
async def test_subscribers_leave_the_stores_reads_unchanged(store: Store, valkey: Server) -> None:
    """A thousand dashboards, one reader."""
    publish(valkey)

    async def commands_in_two_turns() -> int:
        await seen.snapshot.next_turn()
        before = int(_stat(valkey, "total_commands_processed"))
        for _ in range(2):
            await seen.snapshot.next_turn()
        return int(_stat(valkey, "total_commands_processed")) - before

    async with seeing(store) as seen, AsyncExitStack() as stack:
        listeners = [await stack.enter_async_context(listening(seen.changes))]
        await wait_until_async(lambda: listeners[0].told, description="the first has its cards")
        alone = await commands_in_two_turns()
        for _ in range(999):
            listeners.append(await stack.enter_async_context(listening(seen.changes)))
        await wait_until_async(lambda: all(each.told for each in listeners), description="all have their cards")
        assert await commands_in_two_turns() == alone
        await append(store, 1)
        await wait_until_async(lambda: all(each.entries() for each in listeners), description="all were told")


def _stat(server: Server, name: str) -> str:
    text: str = server.call("INFO", "stats").decode()
    return text.partition(f"{name}:")[2].split()[0]


async def test_id_of_nobody_is_refused(store: Store) -> None:
    """As a cursor is."""
    async with seeing(store) as seen, aclosing(seen.changes.follow("x")) as changes:
        with pytest.raises(BadInput):
            await anext(changes)
