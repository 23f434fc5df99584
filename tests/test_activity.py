"""The activity log: in order, whatever happens to the store; trimmed by no wrong clock; a loss recorded once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from perseus import activity, keys
from perseus.activity import ActivityLog, entry_fields, min_id, record_loss, status_of_entry
from perseus.clock import StoreTime, SystemClock, iso
from perseus.errors import PerseusError
from perseus.model import ConnectionState, InstanceStatus, exchange_named
from perseus.store import Store
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

RUNS_EVERYWHERE = True

BINANCE = exchange_named("binance")
LOG = keys.log(BINANCE.name)
NOW_MS = 1_795_378_000_000
RETENTION_MS = 90 * 86_400_000
HOUR_MS = 3_600_000


def status(epoch: int | None = 7, *, last_heartbeat: str = iso(NOW_MS), ttl_ms: int | None = 45_000) -> InstanceStatus:
    """A tenure to write about."""
    return InstanceStatus(
        exchange_id=2,
        exchange_name="binance",
        connection_state=ConnectionState.ACTIVE,
        connected_at=None,
        last_heartbeat=last_heartbeat,
        symbol_count=25,
        admin_email="ops@example.com",
        admin_display_name="Ops",
        ip_address=None,
        hostname="fra-2",
        last_error=None,
        instance_id="i1",
        epoch=epoch,
        ttl_ms=ttl_ms,
    )


class Writing:
    """A log that is being written, and what it complained of."""

    def __init__(self, store: Store) -> None:
        clock = SystemClock()
        self.failures: list[Exception] = []
        self.log = ActivityLog(
            store,
            clock=clock,
            store_time=StoreTime(clock),
            exchange=BINANCE,
            loop=asyncio.get_running_loop(),
            on_failure=self.failures.append,
        )


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[Writing]:
    """A log on the store at `url`, written until the block ends."""
    store = Store(url, timeout=0.3)
    writing = Writing(store)
    task = asyncio.create_task(writing.log.run())
    try:
        yield writing
    finally:
        task.cancel()
        await asyncio.wait({task})
        await store.close()


async def written(store: Store) -> list[dict[str, str]]:
    """The entries in the store, oldest first."""
    return [entry.fields for entry in reversed(await store.entries(LOG, count=2000))]


@pytest.mark.parametrize(
    ("store_ms", "host_ms", "oldest"),
    [
        (NOW_MS, NOW_MS, NOW_MS - RETENTION_MS),
        (NOW_MS + 1000, NOW_MS, NOW_MS - RETENTION_MS),
        (NOW_MS, NOW_MS + HOUR_MS, NOW_MS - RETENTION_MS),
        (NOW_MS, NOW_MS + HOUR_MS + 1, None),
        (NOW_MS + 100 * 86_400_000, NOW_MS, None),
        (NOW_MS, NOW_MS + 100 * 86_400_000, None),
        (1000, 2000, 0),
    ],
)
def test_one_wrong_clock_can_only_trim_too_little(store_ms: int, host_ms: int, oldest: int | None) -> None:
    """Trimming by one clock once erased the whole log."""
    assert min_id(store_ms=store_ms, host_ms=host_ms) == (None if oldest is None else str(oldest))


def test_fields_are_text_and_unknown_is_empty() -> None:
    """LOG-02: readers in any language need no type but text."""
    fields = entry_fields(status(), "error", at_ms=NOW_MS, error="x" * 600, count=3, reason=None)
    assert fields["ip"] == fields["reason"] == ""
    assert (fields["epoch"], fields["count"], fields["timestamp"]) == ("7", "3", iso(NOW_MS))
    assert len(fields["error"]) == 500
    assert fields["error"].endswith("…")
    assert all(isinstance(value, str) for value in fields.values())


async def test_entries_are_numbered_within_a_tenure(store: Store, valkey: Server) -> None:
    """`seq` is how a reader knows a repeated entry from a second one."""
    async with writing(valkey.url) as it:
        for epoch in (None, 7, 7, 8, 8, 8):
            it.log.put(status(epoch), "error", error=f"of {epoch}")
        await asyncio.sleep(0)
        await it.log.drained()
    assert [(each["epoch"], each["seq"]) for each in await written(store)] == [
        *(("", "1"), ("7", "1"), ("7", "2"), ("8", "1"), ("8", "2"), ("8", "3"))
    ]


async def test_entry_about_the_tenure_before_is_no_repetition(store: Store, valkey: Server) -> None:
    """A lapse is told, and a command answered, after the next tenure has begun: numbered anew, readers dropped them."""
    async with writing(valkey.url) as it:
        for epoch in (7, 8, 7, 8):
            it.log.put(status(epoch), "error", error=f"of {epoch}")
        await asyncio.sleep(0)
        await it.log.drained()
    assert [(each["epoch"], each["seq"]) for each in await written(store)] == [
        *(("7", "1"), ("8", "1"), ("7", "2"), ("8", "2"))
    ]


async def test_put_from_another_thread_is_written(store: Store, valkey: Server) -> None:
    """The heartbeat's thread writes too, and must not wait."""
    async with writing(valkey.url) as it:
        thread = threading.Thread(target=lambda: it.log.put(status(), "error", error="from there"))
        thread.start()
        await wait_until_async(lambda: written(store), description="it is written")
        thread.join()


async def test_entries_wait_in_order_while_the_store_is_away(store: Store, valkey: Server, proxy: FaultProxy) -> None:
    """An outage must cost neither an entry nor its time."""
    async with writing(proxy.url) as it:
        await asyncio.wrap_future(it.log.put(status(), "error", error="0"))
        proxy.refuse()
        proxy.reset()
        futures = [it.log.put(status(), "error", error=str(n)) for n in range(1, 6)]
        await wait_until_async(lambda: it.log.is_behind, description="the log is behind")
        stamped = iso(SystemClock().wall_ms())
        proxy.accept()
        await asyncio.wait([asyncio.wrap_future(each) for each in futures], timeout=5)
        assert len(it.failures) == 1, "one complaint an outage"
        assert not it.log.is_behind
    entries = await written(store)
    assert [each["error"] for each in entries] == ["0", "1", "2", "3", "4", "5"]
    assert all(each["timestamp"] <= stamped for each in entries)


async def test_lost_answer_repeats_an_entry_with_its_number(store: Store, valkey: Server, proxy: FaultProxy) -> None:
    """It may be in the store already; losing it would be worse than having it twice."""
    proxy.lose_replies(1, to=b"XADD")
    async with writing(proxy.url) as it:
        await asyncio.wrap_future(it.log.put(status(), "error", error="1"))
        await asyncio.wrap_future(it.log.put(status(), "error", error="2"))
    assert [(each["error"], each["seq"]) for each in await written(store)] == [("1", "1"), ("1", "1"), ("2", "2")]


async def test_full_log_drops_the_oldest_and_says_how_many(
    store: Store, valkey: Server, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded; what is missing must be known to be missing."""
    monkeypatch.setattr(activity, "QUEUE_LENGTH", 4)
    async with writing(proxy.url) as it:
        proxy.refuse()
        futures = [it.log.put(status(), "error", error=str(n)) for n in range(10)]
        await wait_until_async(lambda: it.log.is_behind, description="the log is behind")
        proxy.accept()
        await asyncio.wait([asyncio.wrap_future(each) for each in futures], timeout=5)
        dropped = [each for each in futures if isinstance(each.exception(), PerseusError)]
    entries = await written(store)
    assert [each["error"] for each in entries] == ["0", "7", "8", "9"]
    assert sum(int(each.get("dropped", "0")) for each in entries) == len(dropped) == 6


async def test_loss_is_recorded_once_with_who_and_since_when(store: Store) -> None:
    """Whoever notices first writes it, and nobody again."""
    calls = [
        record_loss(store, dead=status(), detected_by=f"watcher-{n}", store_ms=NOW_MS + 60_000, host_ms=NOW_MS)
        for n in range(5)
    ]
    assert sorted(await asyncio.gather(*calls)) == [False] * 4 + [True]
    (lost,) = await written(store)
    assert (lost["event"], lost["instanceId"], lost["epoch"]) == ("instance_lost", "i1", "7")
    assert (lost["state"], lost["lastHeartbeat"], lost["hostname"]) == ("active", iso(NOW_MS), "fra-2")
    assert lost["timestamp"] == iso(NOW_MS + 60_000)


async def test_tenure_whose_end_is_told_is_not_lost(store: Store, valkey: Server) -> None:
    """A lapse or a handover is no crash."""
    now_ms = SystemClock().wall_ms()
    dead = status(last_heartbeat=iso(now_ms))
    async with writing(valkey.url) as it:
        await asyncio.wrap_future(it.log.put(dead, "lease_lapsed", reason="expired", newEpoch=8))
    assert not await record_loss(store, dead=dead, detected_by="w", store_ms=now_ms, host_ms=now_ms)


@pytest.mark.parametrize("heartbeat", ["", "yesterday", "2026-02-10"])
async def test_loss_with_an_unreadable_time_is_recorded_all_the_same(store: Store, heartbeat: str) -> None:
    """Another program wrote it; its death is a death."""
    dead = status(epoch=None, last_heartbeat=heartbeat, ttl_ms=None)
    assert await record_loss(store, dead=dead, detected_by="w", store_ms=NOW_MS, host_ms=NOW_MS)


async def test_loss_is_recorded_once_by_a_clock_that_was_set_back(store: Store) -> None:
    """Whoever died before the step did so in the future: ids of the log are older than its last heartbeat."""
    now_ms = round(await store.time_ms())
    dead = status(last_heartbeat=iso(now_ms + HOUR_MS))
    recorded = [await record_loss(store, dead=dead, detected_by="w", store_ms=now_ms, host_ms=now_ms) for _ in range(2)]
    assert recorded == [True, False]


def test_card_without_a_snapshot_takes_identity_from_the_newest_entry() -> None:
    """UI-03: a card is never blanked."""
    fields = entry_fields(status(), "state_transition", at_ms=NOW_MS, fromState="idle", toState="starting")
    known = status_of_entry(fields)
    assert (known["hostname"], known["state"], known["adminEmail"]) == ("fra-2", "starting", "ops@example.com")
    assert status_of_entry({})["state"] == ""
