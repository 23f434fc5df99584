"""Reading a real store: one snapshot in one round trip, one unreadable key one card, blindness said as such."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from perseus import activity, keys, lease
from perseus.clock import StoreTime, SystemClock, iso
from perseus.errors import BadUsage, StoreDenied, StoreUnavailable, UnreadableKey
from perseus.lease import Claimer
from perseus.model import ConnectionState, InstanceStatus, exchange_named
from perseus.network.cards import Card, Health
from perseus.network.feed import Wanted
from perseus.network.observe import Network
from perseus.store import Store, redacted
from perseus.timing import LeaseTiming
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

RUNS_EVERYWHERE = True

BINANCE, KRAKEN = exchange_named("binance"), exchange_named("kraken")
TIMING = LeaseTiming(interval_s=1.0, ttl_s=3)


async def cards(store: Store) -> dict[str, Card]:
    """The cards by exchange."""
    return {card.exchange.name: card for card in (await Network(store).observe()).cards}


async def serve(store: Store, *, state: ConnectionState = ConnectionState.ACTIVE) -> tuple[lease.Lease, InstanceStatus]:
    """Claim binance and publish a status with the real scripts, as an instance does."""
    clock = SystemClock()
    store_time = StoreTime(clock)
    now = iso(int(await store.time_ms()))
    status = InstanceStatus(
        exchange_id=BINANCE.id,
        exchange_name=BINANCE.name,
        connection_state=state,
        connected_at=now,
        last_heartbeat=now,
        symbol_count=3,
        admin_email="",
        admin_display_name="",
        ip_address=None,
        hostname="host-a",
        last_error=None,
        instance_id="i1",
        claim_id="c1",
        rev=0,
        heartbeat_interval_ms=1000,
        ttl_ms=3000,
    )
    claimer = Claimer(store, clock=clock, store_time=store_time, exchange=BINANCE, instance_id="i1")
    claimed = await claimer.claim(status, timing=TIMING, must_settle=False)
    renewal = InstanceStatus(**{n: getattr(status, n) for n in status.__struct_fields__} | {"rev": 1})
    assert (await lease.renew(store, claimed.lease, renewal, kind="changed")).outcome == "RENEWED"
    return claimed.lease, renewal


async def test_claimed_exchange_is_read_with_its_ttl(store: Store) -> None:
    """What an instance writes with its scripts is what the card shows."""
    await serve(store)
    card = (await cards(store))["binance"]
    assert card.health is Health.ACTIVE
    assert card.expires_in_ms is not None
    assert 0 < card.expires_in_ms <= 3000
    assert card.status is not None
    assert card.status.hostname == "host-a"


async def test_lease_that_ran_out_is_offline_and_keeps_the_card(store: Store) -> None:
    """Kill -9 leaves exactly this behind."""
    await serve(store)

    async def card() -> Card:
        return (await cards(store))["binance"]

    async def offline() -> bool:  # a moment before the key is gone, its heartbeat can be older than its TTL
        found = await card()
        return found.health is Health.OFFLINE and found.last_known is not None and found.last_known.source == "last"

    assert (await card()).online
    await wait_until_async(offline, description="the key is gone and the card offline")
    gone = await card()
    assert gone.last_known is not None
    assert (gone.last_known.hostname, gone.last_known.source) == ("host-a", "last")
    assert gone.offline_since == gone.last_known.last_heartbeat


async def test_released_lease_is_stopped(store: Store) -> None:
    """A clean end is told from a crash by the release script's snapshot."""
    held, status = await serve(store, state=ConnectionState.STOPPED)
    assert await lease.release(store, held, status, by="signal", store_ms=int(await store.time_ms()))
    card = (await cards(store))["binance"]
    assert (card.health, card.stopped_by) == (Health.STOPPED, "signal")


async def test_store_that_lost_everything_is_unknown_not_offline(store: Store, valkey: Server) -> None:
    """Restarted empty under a live instance: its next renewal will tell; until then nobody is declared dead."""
    network = Network(store)
    await serve(store)
    await network.observe()
    valkey.call("FLUSHALL")
    card = next(card for card in (await network.observe()).cards if card.exchange == BINANCE)
    assert card.health is Health.UNKNOWN
    assert card.last_known is not None
    assert card.last_known.hostname == "host-a"


@pytest.mark.foreign_keys
async def test_one_unreadable_key_affects_one_card(store: Store, valkey: Server) -> None:
    """A list where a status should be, a string where a log should be: the other exchanges are shown."""
    await serve(store)
    valkey.call("LPUSH", keys.status(KRAKEN.id), "x")
    valkey.call("SET", keys.log("coinbase"), "x")
    valkey.call("LPUSH", keys.warmup(BINANCE.id), "x")
    seen = await cards(store)
    assert seen["kraken"].health is Health.UNREADABLE
    assert "WRONGTYPE" in str(seen["kraken"].reason)
    assert seen["binance"].health is Health.ACTIVE
    assert seen["coinbase"].health is Health.NEVER


@pytest.mark.foreign_keys
async def test_key_without_ttl_of_another_program_ends_by_its_heartbeat(store: Store, valkey: Server) -> None:
    """It would never expire."""
    await serve(store)
    raw = valkey.call("GET", keys.status(BINANCE.id))
    valkey.call("SET", keys.status(BINANCE.id), raw.replace(b'"ttlMs":3000', b'"ttlMs":1'))
    card = (await cards(store))["binance"]
    assert card.health is Health.OFFLINE
    assert "no TTL" in str(card.reason)


async def test_newest_log_entry_is_the_last_resort(store: Store) -> None:
    """Another program that died left a log and nothing else."""
    await store.append(
        keys.log("kraken"), {"event": "state_transition", "toState": "active", "hostname": "ams"}, min_id=None
    )
    card = (await cards(store))["kraken"]
    assert card.health is Health.OFFLINE
    assert card.last_known is not None
    assert (card.last_known.source, card.last_known.hostname) == ("log", "ams")


@pytest.mark.one_server
async def test_snapshot_is_one_round_trip(store: Store, valkey: Server) -> None:
    """Cards are read every second by every viewer."""
    network = Network(store)
    await network.observe()
    with valkey.client() as client:
        client.execute_command("CONFIG", "RESETSTAT")
        await network.observe()
        stats = client.execute_command("INFO", "stats").decode()
    assert int(stats.partition("total_reads_processed:")[2].split()[0]) <= 2  # the whole snapshot, and this question


async def test_store_that_is_away_raises_instead_of_offline_cards(proxy: FaultProxy) -> None:
    """Blindness is not an outage."""
    proxy.refuse()
    async with Network(proxy.url) as network:
        with pytest.raises(StoreUnavailable):
            await network.observe()
        with pytest.raises(StoreUnavailable):
            await network.feed()


async def test_wrong_password_raises(start_server: Callable[..., Server]) -> None:
    """Every reply is an error then; none of them is about an exchange."""
    server = start_server(password="right")
    async with Network(server.url_for("", "wrong")) as network:
        with pytest.raises(StoreDenied) as caught:
            await network.observe()
    assert "wrong" not in str(caught.value).replace("WRONGPASS", "").replace("wrong number", "")
    assert "wrong" not in redacted(server.url_for("", "wrong"))


async def test_store_whose_time_may_not_be_read_raises(start_server: Callable[..., Server]) -> None:
    """Without it no age is true: every instance would look dead, or none."""
    server = start_server(acl=["viewer on >secret ~* &* +@read +@connection -time"])
    async with Network(server.url_for("viewer", "secret")) as network:
        with pytest.raises(StoreDenied):
            await network.observe()


async def test_feed_pages_over_all_exchanges(store: Store) -> None:
    """Newest first by stream id, across streams, nothing lost or repeated."""
    ids = []
    for n in range(60):
        name = ("binance", "kraken", "coinbase")[n % 3]
        ids.append(await store.append(keys.log(name), {"event": "error", "n": str(n)}, min_id=None))
    network = Network(store)
    shown: list[str] = []
    cursor: str | None = None
    while True:
        page = await network.feed(count=7, cursor=cursor)
        assert len(page.entries) <= 7
        shown += [entry.fields["n"] for entry in page.entries]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(map(int, shown)) == list(range(60))
    assert len(set(ids)) <= 60


async def test_feed_of_one_exchange_filters_on_the_server_side(store: Store) -> None:
    """A rare event is found behind many others."""
    await store.append(keys.log("binance"), {"event": "instance_lost"}, min_id=None)
    for _ in range(300):
        await store.append(keys.log("binance"), {"event": "error"}, min_id=None)
    page = await Network(store, exchanges=[BINANCE]).feed(count=5, wanted=Wanted(events=frozenset({"instance_lost"})))
    assert [entry.fields["event"] for entry in page.entries] == ["instance_lost"]
    assert page.next_cursor is None


async def test_entries_older_than_ninety_days_are_dropped(store: Store, valkey: Server) -> None:
    """Trimming is approximate; the reader is exact."""
    now = int(await store.time_ms())
    valkey.call("XADD", keys.log("binance"), f"{now - 91 * 86_400_000}-0", "event", "old")
    valkey.call("XADD", keys.log("binance"), f"{now - 89 * 86_400_000}-0", "event", "kept")
    page = await Network(store).feed()
    assert [entry.fields["event"] for entry in page.entries] == ["kept"]


@pytest.mark.foreign_keys
async def test_unreadable_log_is_named_and_the_others_are_shown(store: Store, valkey: Server) -> None:
    """An empty answer would say that nothing happened."""
    valkey.call("SET", keys.log("kraken"), "x")
    await store.append(keys.log("binance"), {"event": "error"}, min_id=None)
    page = await Network(store).feed()
    assert len(page.entries) == 1
    assert "WRONGTYPE" in page.unreadable["kraken"]
    with pytest.raises(UnreadableKey):
        await Network(store, exchanges=[KRAKEN]).feed()


async def test_bad_cursor_is_the_callers_mistake(store: Store) -> None:
    """It must not be answered with the first page."""
    with pytest.raises(BadUsage):
        await Network(store).feed(cursor="x")


async def test_following_sees_what_comes_after_the_call(store: Store) -> None:
    """What is appended between the call and the first look must not be lost."""
    await store.append(keys.log("binance"), {"event": "before"}, min_id=None)
    network = Network(store)
    following = await network.following(block_s=0.5)
    await store.append(keys.log("kraken"), {"event": "after"}, min_id=None)
    entry = await anext(following)
    assert (entry.exchange_name, entry.fields["event"]) == ("kraken", "after")


async def test_loss_recorded_by_the_next_claimer_is_in_the_feed(store: Store) -> None:
    """The record a crash leaves is what the feed shows, once."""
    _, status = await serve(store)
    now = int(await store.time_ms())
    dead = InstanceStatus(**{n: getattr(status, n) for n in status.__struct_fields__} | {"epoch": 7})
    for _ in range(2):
        await activity.record_loss(store, dead=dead, detected_by="i2", store_ms=now, host_ms=now)
    page = await Network(store, exchanges=[BINANCE]).feed()
    assert [entry.fields["event"] for entry in page.entries] == ["instance_lost"]
