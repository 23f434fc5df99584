"""Pages read from a real store: exact while entries arrive, vanish and repeat, of one log, a few, or very many."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from itertools import count as counting

import pytest

from perseus import keys
from perseus.model import SEEDED_EXCHANGES, Exchange
from perseus.network import feed_pages
from perseus.network.feed import Cursor, FeedEntry, FeedPage, Wanted
from perseus.network.feed_pages import read_page
from perseus.store import Store
from tests.support.servers import Server

RUNS_EVERYWHERE = True

DAY_MS = 86_400_000


def exchanges(count: int) -> list[Exchange]:
    """So many exchanges; the names of some begin like others'."""
    named = [f"x{n}" for n in range(count // 2)] + [f"x{n}_us" for n in range(count - count // 2)]
    return [Exchange(id=n + 1, name=name, display_name=name) for n, name in enumerate(named)]


async def pages(
    store: Store, of: list[Exchange], *, count: int, wanted: Wanted | None = None, cursor: str | None = None
) -> list[FeedPage]:
    """Every page to the end, going on by cursor as a client does."""
    found = []
    for _ in counting():
        page = await read_page(store, of, count=count, cursor=cursor, wanted=wanted or Wanted())
        assert len(page.entries) <= count
        found.append(page)
        cursor = page.next_cursor
        if cursor is None:
            return found
    raise AssertionError


def entries(found: list[FeedPage]) -> list[FeedEntry]:
    """The entries of all pages in order."""
    return [entry for page in found for entry in page.entries]


async def fill(store: Store, of: list[Exchange], dice: random.Random, *, newest_ms: int, most: int) -> None:
    """Entries of some seconds in each log, equal ids across logs among them, some appended twice."""
    commands = []
    for exchange in of:
        count = dice.randint(0, most)
        ids = sorted({(newest_ms - dice.randint(0, 400) * 20, dice.randint(0, 1)) for _ in range(count)})
        for n, (ms, seq) in enumerate(ids):
            fields = ["event", "rare" if dice.random() < 0.05 else "common"]
            if n % 5 == 1:
                fields += ["instanceId", "i", "epoch", "1", "seq", str(n)]
            for again in range(2 if n % 5 == 1 else 1):
                commands.append(("XADD", keys.log(exchange.name), f"{ms}-{2 * seq + again}", *fields))
    await store.pipeline(*commands)


async def expected(store: Store, of: list[Exchange], wanted: Wanted) -> list[tuple[int, int, str]]:
    """What is in the logs, in the order of the feed, without repeats."""
    found = []
    for exchange in of:
        seen = set[str]()
        for entry in reversed(await store.entries(keys.log(exchange.name), count=10_000)):
            repeated = entry.fields.get("seq", entry.id) in seen
            seen.add(entry.fields.get("seq", entry.id))
            shown = FeedEntry(exchange.name, entry.id, entry.fields)
            if not repeated and wanted.takes(shown):
                found.append(shown.order)
    return sorted(found, reverse=True)


@pytest.mark.parametrize(("logs", "most"), [(1, 120), (4, 60), (40, 12)])
async def test_pages_lose_and_repeat_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, logs: int, most: int
) -> None:
    """Whatever the logs hold; with few entries read at once, so that pages end in the middle of every reading."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    of = exchanges(logs)
    newest_ms = int(await store.time_ms()) - 1000
    await fill(store, of, dice, newest_ms=newest_ms, most=most)
    monkeypatch.setattr(feed_pages, "_LOGS", 6)
    for entries_at_once in (40, 500):
        monkeypatch.setattr(feed_pages, "_AT_ONCE", entries_at_once)
        for wanted in (Wanted(), Wanted(events=frozenset({"rare"})), Wanted(until_ms=newest_ms - 3000)):
            count = dice.randint(3, 50)
            shown = [entry.order for entry in entries(await pages(store, of, count=count, wanted=wanted))]
            assert shown == await expected(store, of, wanted), (wanted, count)


async def test_pages_are_exact_while_entries_arrive(store: Store) -> None:
    """Below what a first page begins with, everything is there: nothing slips in behind the reader's back."""
    of = [*SEEDED_EXCHANGES]
    is_over = False

    async def write(name: str) -> None:
        while not is_over:
            await store.append(keys.log(name), {"event": "error"}, min_id=None)

    lists = []
    async with asyncio.TaskGroup() as tasks:
        for exchange in of:
            tasks.create_task(write(exchange.name))
        for _ in range(60):
            first = await read_page(store, of, count=20, cursor=None, wanted=Wanted())
            second = await read_page(store, of, count=20, cursor=first.next_cursor, wanted=Wanted())
            more = second.entries if first.next_cursor else []
            lists.append([entry.order for entry in (*first.entries, *more)])
        is_over = True
    there = await expected(store, of, Wanted())
    assert lists[-1]
    for shown in filter(None, lists):
        at = there.index(shown[0])
        assert shown == there[at : at + len(shown)]


async def test_entries_trimmed_or_deleted_between_two_pages_end_nothing(store: Store, valkey: Server) -> None:
    """A cursor names a place, not an entry."""
    of = [*SEEDED_EXCHANGES]
    for n in range(40):
        await store.append(keys.log(of[n % 4].name), {"event": str(n)}, min_id=None)
    first = await read_page(store, of, count=10, cursor=None, wanted=Wanted())
    last = first.entries[-1]
    there = await expected(store, of, Wanted())
    gone = [order for order in there if order < last.order][:2]
    for ms, seq, name in (*gone, last.order):
        valkey.call("XDEL", keys.log(name), f"{ms}-{seq}")
    valkey.call("XTRIM", keys.log("coinbase"), "MAXLEN", 3)
    shown = [entry.order for entry in entries(await pages(store, of, count=10, cursor=first.next_cursor))]
    assert shown == [order for order in await expected(store, of, Wanted()) if order < last.order]


async def test_rare_entry_far_below_is_found_by_going_on(
    store: Store, valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that has read enough for one answer ends early; its cursor goes on and never ends the list too soon."""
    monkeypatch.setattr(feed_pages, "_PAGE_ENTRIES", 300)
    monkeypatch.setattr(feed_pages, "_AT_ONCE", 100)
    of = [*SEEDED_EXCHANGES]
    await store.append(keys.log("kraken"), {"event": "rare"}, min_id=None)
    for n in range(600):
        await store.append(keys.log(of[n % 2].name), {"event": "error"}, min_id=None)
    found = await pages(store, of, count=5, wanted=Wanted(events=frozenset({"rare"})))
    assert len(found) > 1
    assert [entry.exchange_name for entry in entries(found)] == ["kraken"]


async def test_entry_of_a_clock_that_was_ahead_is_shown_at_once(store: Store, valkey: Server) -> None:
    """The server's clock was set back: waiting for the id's own time would hide it for an hour."""
    ahead = int(await store.time_ms()) + 3_600_000
    valkey.call("XADD", keys.log("binance"), f"{ahead}-0", "event", "error")
    async with asyncio.timeout(20):
        page = await read_page(store, SEEDED_EXCHANGES, count=5, cursor=None, wanted=Wanted())
    assert [entry.id for entry in page.entries] == [f"{ahead}-0"]


def test_position_right_above_an_entry_hides_no_name_that_goes_on() -> None:
    """`binance_us` stands above `binance` at the same id: it was handed out, `binance` was not."""
    above = Cursor.above((5, 1, "binance"))
    assert above.newest_for("binance") == "5-1"
    assert above.newest_for("binance_us") == "(5-1"
    assert above.newest_for("aaa") == "5-1"


@pytest.mark.one_server
@pytest.mark.parametrize("logs", [1, 8, 200])
async def test_search_of_a_rare_word_stops_nobody_and_ends(store: Store, logs: int) -> None:
    """A third of a second of computing for one page kept every other client waiting; each page is bounded now."""
    of = exchanges(logs)
    newest_ms, per_log = int(await store.time_ms()) - 1000, 12_000 // logs
    facts = [text for n in range(10) for text in (f"field{n}", "a value of some length")]
    for exchange in of:
        ids = (f"{newest_ms - 1000 * (per_log - n)}-0" for n in range(per_log))
        await store.pipeline(*(("XADD", keys.log(exchange.name), entry_id, *facts) for entry_id in ids))
    longest = 0.0
    is_over = False

    async def watch() -> None:
        nonlocal longest
        before = time.thread_time()
        while not is_over:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, before = max(longest, now - before), now

    gc.disable()  # what it takes depends on all the tests before
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch())
            began = time.thread_time()
            found = await pages(store, of, count=50, wanted=Wanted(text="no such word"))
            computed = time.thread_time() - began
            is_over = True
    finally:
        gc.enable()
    assert entries(found) == []
    assert 3 <= len(found) <= 12
    assert longest < computed / 5, (longest, computed)  # some 10 ms of 150; it was a third
