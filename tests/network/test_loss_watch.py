"""The watcher on a real store: what it records, what it tells, and that one bad key stops no other."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from perseus import keys, lease
from perseus.model import ConnectionState, Exchange
from perseus.network.cards import Health
from perseus.network.losses import LossWatch
from perseus.network.observe import Network
from perseus.store import Store
from tests.network.records import BINANCE
from tests.support.clocks import ManualClock
from tests.support.instances import LAST, LOG, STATUS, entries_in, leave_behind, payload, take_over
from tests.support.proxy import FaultProxy
from tests.support.servers import Server


class Notes:
    """What a watcher told."""

    def __init__(self) -> None:
        self.records: list[str | None] = []
        self.troubles: list[str] = []


def watcher(store: Store, *, name: str = "w1", clock: ManualClock | None = None) -> tuple[LossWatch, Notes]:
    """A watcher that has all the time it wants, and what it tells."""
    notes = Notes()
    watch = LossWatch(
        store,
        clock=clock or ManualClock(),
        detected_by=name,
        on_record=lambda dead: notes.records.append(dead.instance_id),
        on_trouble=notes.troubles.append,
    )
    return watch, notes


async def looks(watch: LossWatch, clock: ManualClock, *, seconds: int = 30) -> None:
    """Look once a second."""
    for _ in range(seconds):
        await watch.look()
        clock.advance(1)


async def test_one_of_many_watchers_records_a_loss(connect: Callable[..., Store], server: Server) -> None:
    """Every web server and `perseus up` notices the same death; the record names who died and since when."""
    dead = payload(instance_id="i1", epoch=7, age_s=60)
    leave_behind(server, dead)
    clocks = [ManualClock() for _ in range(4)]
    watchers = [watcher(connect(server.url), name=f"w{n}", clock=clock) for n, clock in enumerate(clocks)]
    for (watch, _), clock in zip(watchers, clocks, strict=True):
        await looks(watch, clock)
    (lost,) = entries_in(server, "instance_lost")
    assert (lost["instanceId"], lost["epoch"], lost["detectedBy"]) == ("i1", "7", "w0")
    assert (lost["lastHeartbeat"], lost["state"], lost["hostname"]) == (dead.last_heartbeat, "idle", "host-b")
    assert [notes.records for _, notes in watchers] == [["i1"], [], [], []]
    assert [notes.troubles for _, notes in watchers] == [[], [], [], []]


async def test_card_and_record_agree(store: Store, valkey: Server) -> None:
    """A card that says offline beside a log that says nothing would leave a person guessing."""
    leave_behind(valkey, payload(instance_id="i1", epoch=7, age_s=60))
    clock = ManualClock()
    watch, notes = watcher(store, clock=clock)
    await looks(watch, clock)
    (card,) = (card for card in (await Network(store).observe()).cards if card.exchange == BINANCE)
    assert (card.health, notes.records) == (Health.OFFLINE, ["i1"])


async def test_instance_stopped_by_command_and_then_killed_is_no_loss(store: Store, valkey: Server) -> None:
    """Its last transition says `stopped`: nothing was being served."""
    leave_behind(valkey, payload(instance_id="i1", epoch=7, age_s=60, connection_state=ConnectionState.STOPPED))
    fields = {"event": "state_transition", "toState": "stopped", "instanceId": "i1", "epoch": "7"}
    await store.append(LOG, fields, min_id=None)
    clock = ManualClock()
    watch, notes = watcher(store, clock=clock)
    await looks(watch, clock)
    assert (entries_in(valkey, "instance_lost"), notes.records, notes.troubles) == ([], [], [])


async def test_live_instance_elsewhere_is_left_alone(store: Store, valkey: Server) -> None:
    """Nothing is written about it, whatever else is lost."""
    alive = payload(instance_id="i1", epoch=7, age_s=1)
    take_over(valkey, alive)
    leave_behind(valkey, alive)
    clock = ManualClock()
    watch, notes = watcher(store, clock=clock)
    await looks(watch, clock)
    assert (entries_in(valkey), notes.records) == ([], [])


@pytest.mark.foreign_keys
@pytest.mark.parametrize("kind", ["list", "text", "another exchange's"])
async def test_unreadable_last_is_told_once(store: Store, valkey: Server, kind: str) -> None:
    """A person must know that this exchange is not watched; the others are."""
    if kind == "list":
        valkey.call("LPUSH", LAST, "x")
    else:
        other = payload(exchange_name="kraken", age_s=60)
        valkey.call("SET", LAST, "x" if kind == "text" else lease.encode_status(other))
    dead = payload(instance_id="k1", epoch=5, age_s=60, exchange_id=4, exchange_name="kraken")
    valkey.call("SET", keys.last(4), lease.encode_status(dead))
    clock = ManualClock()
    watch, notes = watcher(store, clock=clock)
    await looks(watch, clock)
    (told,) = notes.troubles
    assert told.startswith("binance: a loss could not be noticed: Key {exchange:2:status}:last")
    assert notes.records == ["k1"]


@pytest.mark.foreign_keys
@pytest.mark.parametrize("command", [("LPUSH", STATUS, "x"), ("SET", STATUS, "")], ids=["list", "empty text"])
async def test_unreadable_status_on_the_server_is_no_loss(
    store: Store, valkey: Server, command: tuple[str, ...]
) -> None:
    """What is there may be somebody's."""
    valkey.call(*command)
    leave_behind(valkey, payload(instance_id="i1", epoch=7, age_s=60))
    clock = ManualClock()
    watch, notes = watcher(store, clock=clock)
    await looks(watch, clock)
    assert (notes.records, notes.troubles) == ([], [])


@pytest.mark.foreign_keys
async def test_log_that_cannot_be_written_is_told_once_and_tried_again(store: Store, valkey: Server) -> None:
    """On a Cluster the log's slot may be down while the status can be read; and one bad log must not stop others."""
    valkey.call("SET", LOG, "x")
    leave_behind(valkey, payload(instance_id="i1", epoch=7, age_s=60))
    dead = payload(instance_id="k1", epoch=5, age_s=60, exchange_id=4, exchange_name="kraken")
    valkey.call("SET", keys.last(4), lease.encode_status(dead))
    clock = ManualClock()
    watch, notes = watcher(store, clock=clock)
    await looks(watch, clock)
    (told,) = notes.troubles
    assert "binance: the loss of host-b is not on record yet" in told
    assert notes.records == ["k1"]
    valkey.call("DEL", LOG)
    await watch.look()
    assert [entry["instanceId"] for entry in entries_in(valkey, "instance_lost")] == ["i1"]
    assert notes.records == ["k1", "i1"]


async def test_store_that_is_away_is_no_trouble_and_no_loss(proxy: FaultProxy, connect: Callable[..., Store]) -> None:
    """Blindness is not an outage; the view says that the store is away."""
    proxy.refuse()
    clock = ManualClock()
    watch, notes = watcher(connect(proxy.url), clock=clock)
    await looks(watch, clock, seconds=3)
    assert (notes.records, notes.troubles) == ([], [])


async def test_store_that_is_back_is_given_time(
    proxy: FaultProxy, valkey: Server, connect: Callable[..., Store]
) -> None:
    """One look that failed is enough to doubt the next ones."""
    clock = ManualClock()
    watch, notes = watcher(connect(proxy.url), clock=clock)
    await looks(watch, clock)
    proxy.refuse()
    proxy.reset()
    await watch.look()
    proxy.accept()
    leave_behind(valkey, payload(instance_id="i1", epoch=7, age_s=60))
    await looks(watch, clock, seconds=12)  # TTL 3 s + interval 1 s + RETURN_S
    assert notes.records == []
    await watch.look()
    assert notes.records == ["i1"]


async def test_missing_rights_are_told_once(start_server: Callable[..., Server], connect: Callable[..., Store]) -> None:
    """A viewer's rights do not suffice to record anything: silence would look like a network without crashes."""
    server = start_server(acl=["viewer on >secret ~* &* +@read +@connection"])
    clock = ManualClock()
    watch, notes = watcher(connect(server.url_for("viewer", "secret")), clock=clock)
    await looks(watch, clock, seconds=3)
    (told,) = notes.troubles
    assert told.startswith("Losses cannot be noticed: The store at")


async def test_server_that_hides_its_uptime_is_watched_all_the_same(
    start_server: Callable[..., Server], connect: Callable[..., Store]
) -> None:
    """Managed servers deny INFO: the watcher counts from its own first look."""
    server = start_server(acl=["mine on >secret ~* &* +@all -info"])
    leave_behind(server, payload(instance_id="i1", epoch=7, age_s=60))
    clock = ManualClock()
    watch, notes = watcher(connect(server.url_for("mine", "secret")), clock=clock)
    await looks(watch, clock, seconds=12)  # TTL 3 s + interval 1 s + RETURN_S
    assert notes.records == []
    await watch.look()
    assert notes.records == ["i1"]


async def test_next_look_is_when_the_lease_ends(store: Store, valkey: Server) -> None:
    """A death is on record at the moment it is due, not up to a second later."""
    alive = payload(instance_id="i1", epoch=7)
    clock = ManualClock()
    watch, notes = watcher(store, clock=clock)
    leave_behind(valkey, alive)
    take_over(valkey, alive, ttl_ms=60_000)
    await looks(watch, clock, seconds=20)
    assert watch.pause_s() == 1.0
    take_over(valkey, alive, ttl_ms=400)
    await watch.look()
    assert 0.2 < watch.pause_s() <= 0.41
    clock.advance(watch.pause_s())
    valkey.call("DEL", STATUS)  # as it expires
    await watch.look()
    assert notes.records == ["i1"]


async def test_exchange_added_later_is_watched_and_one_kept_is_not_forgotten(store: Store, valkey: Server) -> None:
    """The database may change at any time; what is known of the others must not begin anew."""
    exchanges: list[Exchange] = [BINANCE]
    clock, records = ManualClock(), list[str | None]()
    watch = LossWatch(
        store,
        clock=clock,
        detected_by="w1",
        on_record=lambda dead: records.append(dead.exchange_name),
        on_trouble=records.append,
        exchanges=lambda: exchanges,
    )
    alive = payload(instance_id="i1", epoch=7)
    leave_behind(valkey, alive)
    take_over(valkey, alive)
    await looks(watch, clock)
    okx = Exchange(id=9, name="okx", display_name="OKX")
    dead = payload(age_s=60, exchange_id=9, exchange_name="okx")
    valkey.call("SET", keys.last(9), lease.encode_status(dead), "EX", 60)
    exchanges = [msgspec.structs.replace(BINANCE, display_name="Binance!"), okx]
    await looks(watch, clock)
    assert records == ["okx"]
    take_over(valkey, alive, ttl_ms=400)
    await watch.look()
    clock.advance(0.41)
    valkey.call("DEL", STATUS)
    await watch.look()
    assert records == ["okx", "binance"]  # at once: it was seen alive


async def test_very_many_exchanges_are_looked_at_in_turn_and_on_time(store: Store, valkey: Server) -> None:
    """A thousand looks a second would cost a fifth of a processor; a death is recorded when it is due all the same."""
    exchanges = [Exchange(id=n, name=f"x{n}", display_name="X") for n in range(1, 301)]
    clock, records = ManualClock(), list[str | None]()
    watch = LossWatch(
        store,
        clock=clock,
        detected_by="w1",
        on_record=lambda dead: records.append(dead.exchange_name),
        on_trouble=records.append,
        exchanges=lambda: exchanges,
    )
    alive = payload(instance_id="i1", epoch=7, exchange_id=7, exchange_name="x7")
    valkey.call("SET", keys.last(7), lease.encode_status(alive), "EX", 60)
    valkey.call("SET", keys.status(7), lease.encode_status(alive), "PX", 60_000)
    await looks(watch, clock, seconds=20)
    for _ in range(5):
        valkey.call("SET", keys.status(7), lease.encode_status(alive), "PX", 900)
        await watch.look()
        clock.advance(watch.pause_s())
        if watch.pause_s() < 0.5:  # it has seen that the lease ends now
            break
    valkey.call("DEL", keys.status(7))
    await watch.look()
    assert records == ["x7"]
