"""One snapshot serves every client: from memory, current or not at all, and never a death that is none."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from perseus import keys
from perseus.errors import DatabaseUnavailable, NotCurrent, UnknownExchange
from perseus.model import SEEDED_EXCHANGES, Exchange
from perseus.network import snapshot
from perseus.network.exchange_list import ExchangeList
from perseus.network.shared_pages import PageAsked
from perseus.network.snapshot import MAX_AGE_S, READ_EVERY_IDLE_S, Reading, Snapshot
from perseus.store import Store
from tests.network.seeing import BINANCE, KRAKEN, Seen, publish, seeing
from tests.support.clocks import JumpingClock
from tests.support.proxy import FaultProxy
from tests.support.rights import documented_users
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

RUNS_EVERYWHERE = True


async def test_answers_are_what_one_reading_saw(store: Store, valkey: Server) -> None:
    """Cards, one exchange and its warm-up: the shapes clients are written for, and what is ours besides."""
    publish(valkey, connection_state="warming", symbol_count=25)
    progress = {"percent": 40.0, "etaSeconds": 9.5, "currentSymbol": "BTC-USDT", "done": 10, "total": 25}
    valkey.call("SET", keys.warmup(BINANCE.id), json.dumps(progress | {"failures": ["X"]}), "EX", 3600)
    async with seeing(store) as seen:
        whole = json.loads(await seen.snapshot.instances())
        one = json.loads(await seen.snapshot.exchange_status(BINANCE.id))
        stats = await seen.snapshot.warmup_stats(BINANCE.id)
        none = await seen.snapshot.warmup_stats(KRAKEN.id)
    assert [card["exchangeId"] for card in whole["instances"]] == [1, 2, 4]  # 3 is switched off
    card = whole["instances"][1]
    assert (card["exchangeName"], card["displayName"], card["online"]) == ("binance", "Binance", True)
    assert (card["health"], card["status"]["connectionState"]) == ("transition", "warming")
    assert one == card | {"serverTime": whole["serverTime"]}
    assert whole["instances"][2]["status"] is None
    assert not whole["instances"][2]["online"]
    assert stats.stats is not None
    assert (stats.stats.percent, stats.stats.failures, none.stats) == (40.0, ("X",), None)


async def test_exchange_switched_off_is_asked_for_by_id(store: Store, valkey: Server) -> None:
    """It is no card of the network, but there it is."""
    publish(valkey, SEEDED_EXCHANGES[2])
    async with seeing(store) as seen:
        assert json.loads(await seen.snapshot.exchange_status(3))["online"]
        with pytest.raises(UnknownExchange, match=r"kraken \(4\)"):
            await seen.snapshot.exchange_status(99)


async def test_fault_of_ours_is_logged_when_it_begins(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading a second fails the same way until somebody acts: a traceback each would fill the disk by then."""
    tries = 0
    fails: type[Exception] = TypeError

    def broken(*_: object, **__: object) -> None:
        nonlocal tries
        tries += 1
        raise fails

    async with seeing(store, every_s=0.01) as seen:
        await seen.cards()
        with capture_logs() as logs, monkeypatch.context() as patch:
            patch.setattr(snapshot, "_encode", broken)
            await wait_until_async(lambda: tries > 5, description="it fails time and again")
            fails, tries = KeyError, 0
            await wait_until_async(lambda: tries > 5, description="it fails in another way")
        with pytest.raises(NotCurrent, match="KeyError"):
            await seen.cards()
        await seen.snapshot.next_turn()
        assert await seen.cards()
    assert [log["event"] for log in logs] == ["snapshot_failed", "network_not_seen", "snapshot_failed"]


async def test_expiry_is_noticed_at_the_moment_it_is_due(
    store: Store, valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks every second at an instant of its own would be half a second late on average."""
    monkeypatch.setattr(snapshot, "READ_EVERY_IDLE_S", 60.0)
    publish(valkey, ttl_ms=2000)
    async with seeing(store, every_s=60.0) as seen:
        first = await seen.snapshot.current()
        assert first.by_id[BINANCE.id].card.status is not None
        # whoever only watches brings about no reading: there is none but what is due
        second = await wait_until_async(lambda: _after(first, seen), description="it is read again")
    assert second is not None
    assert second.by_id[BINANCE.id].card.status is None


async def test_who_compares_sees_while_nobody_looks(store: Store) -> None:
    """Whether people are told of an outage must not depend on somebody's looking at the page at that time."""
    clock = JumpingClock()
    seeing_alone = Snapshot(store, exchanges=ExchangeList(None, clock=clock), clock=clock)
    running = asyncio.create_task(seeing_alone.run())
    try:
        reading = await wait_until_async(seeing_alone.recent, description="it was read once")
        clock.jump(READ_EVERY_IDLE_S)  # the next one is due now, and takes as long as a reading may
        assert seeing_alone.peek() == (None, None)
        assert seeing_alone.recent() is reading
        clock.jump(MAX_AGE_S)
        assert seeing_alone.recent() is None
    finally:
        running.cancel()
        await asyncio.wait({running})


def _after(first: Reading, seen: Seen) -> Reading | None:
    reading = seen.snapshot.recent()
    return None if reading is first else reading


@pytest.mark.foreign_keys
async def test_one_unreadable_key_is_one_unreadable_card(store: Store, valkey: Server) -> None:
    """The others are shown, and its warm-up answer says why there is none."""
    publish(valkey, KRAKEN)
    valkey.call("LPUSH", keys.status(BINANCE.id), "x")
    valkey.call("LPUSH", keys.warmup(BINANCE.id), "x")
    async with seeing(store) as seen:
        cards = await seen.cards()
        stats = await seen.snapshot.warmup_stats(BINANCE.id)
    assert (cards["binance"]["health"], cards["binance"]["online"], cards["binance"]["status"]) == (
        "unreadable",
        True,
        None,
    )
    assert cards["kraken"]["online"]
    assert stats.stats is None
    assert "WRONGTYPE" in (stats.reason or "")


@pytest.mark.foreign_keys
async def test_one_absurd_value_leaves_the_others_seen(store: Store, valkey: Server) -> None:
    """An entry from the end of time, and a lease no float can hold."""
    publish(valkey, KRAKEN)
    publish(valkey)
    last = valkey.call("GET", keys.last(BINANCE.id)).replace(b'"ttlMs":60000', b'"ttlMs":1' + b"0" * 400)
    valkey.call("SET", keys.last(BINANCE.id), last)
    valkey.call("DEL", keys.status(BINANCE.id))
    valkey.call("XADD", keys.log("coinbase"), "18446744073709551615-1", "event", "x")
    async with seeing(store) as seen:
        assert await seen.healths() == {"coinbase": "offline", "binance": "unknown", "kraken": "idle"}


async def test_viewers_rights_suffice(start_server: Callable[..., Server], connect: Callable[..., Store]) -> None:
    """Whoever only shows the network needs no right to change it: `docs/store.md`."""
    server = start_server(acl=documented_users()[:-1])
    publish(server)
    store = connect(server.url_for("perseus-viewer", "secret"))
    async with seeing(store) as seen:
        assert (await seen.healths())["binance"] == "idle"
        server.call("XADD", keys.log("binance"), "*", "event", "error")
        await wait_until_async(lambda: seen.snapshot.tail.n == 1, description="the entry came")
        assert len(json.loads(await seen.pages.page(PageAsked()))["entries"]) == 1


@pytest.mark.one_server
async def test_reads_do_not_grow_with_clients(store: Store, valkey: Server) -> None:
    """Two hundred dashboards ask the store what one asks."""

    async def commands_for(clients: int) -> dict[str, int]:
        valkey.call("CONFIG", "RESETSTAT")
        started = seen.snapshot.peek()[0]
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(poll()) for _ in range(clients)]
            turns = 0
            while turns < 2:
                await seen.snapshot.next_turn()
                turns += 1
            found = {
                line.split(":")[0].removeprefix("cmdstat_"): int(line.split("calls=")[1].split(",")[0])
                for line in valkey.call("INFO", "commandstats").decode().split()
                if "calls=" in line
            }
            for each in asking:
                each.cancel()
        assert started is not None
        return {name: found.get(name, 0) for name in ("get", "pttl", "time", "xrevrange", "xread", "evalsha")}

    async def poll() -> None:
        while True:
            assert json.loads(await seen.snapshot.instances())["instances"]
            await seen.snapshot.exchange_status(BINANCE.id)
            await asyncio.sleep(0.02)

    publish(valkey)
    async with seeing(store) as seen:
        await seen.cards()
        await seen.snapshot.next_turn()
        assert await commands_for(1) == await commands_for(200)


@pytest.mark.parametrize("fault", ["refused", "silent"])
async def test_store_that_is_away_is_never_an_outage(
    proxy: FaultProxy, valkey: Server, connect: Callable[..., Store], fault: str
) -> None:
    """Whoever asks is told when the network was last seen; and sees it again by itself."""
    publish(valkey)
    store = connect(proxy.url, timeout=0.5)
    async with seeing(store) as seen:
        first = json.loads(await seen.snapshot.instances())
        if fault == "refused":
            proxy.refuse()
            proxy.reset()
        else:
            proxy.requests.dropping = True
        told = await wait_until_async(lambda: _not_current(seen), description="it is told", timeout=MAX_AGE_S + 1)
        assert told is not None
        assert first["serverTime"] <= str(told.observed_at)
        assert "The network cannot be seen: The store at" in str(told)
        for answer in (seen.snapshot.exchange_status(BINANCE.id), seen.snapshot.warmup_stats(BINANCE.id)):
            with pytest.raises(NotCurrent):
                await answer
        proxy.requests.dropping = False
        if fault == "refused":
            proxy.accept()
        proxy.reset()
        await wait_until_async(lambda: _healthy(seen), description="it sees again")


async def _not_current(seen: Seen) -> NotCurrent | None:
    try:
        assert (await seen.healths())["binance"] in ("idle", "active", "unknown")
    except NotCurrent as error:
        return error
    return None


async def _healthy(seen: Seen) -> bool:
    return await _not_current(seen) is None


async def test_reading_that_takes_too_long_is_not_waited_out(
    proxy: FaultProxy, valkey: Server, connect: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow store has not failed yet, but what was read before says nothing about now."""
    monkeypatch.setattr("perseus.network.snapshot.MAX_AGE_S", 0.5)
    monkeypatch.setattr("perseus.network.snapshot.WAIT_S", 0.3)
    publish(valkey)
    async with seeing(connect(proxy.url, timeout=20)) as seen:
        first = json.loads(await seen.snapshot.instances())
        proxy.replies.holding = True
        told = await wait_until_async(lambda: _not_current(seen), description="it is told")
        assert told is not None
        assert "did not answer within 0.3 s" in str(told)
        assert str(told.observed_at) >= first["serverTime"]
        proxy.replies.holding = False
        proxy.release()
        await wait_until_async(lambda: _healthy(seen), description="it sees again")


async def test_store_that_never_answered_is_told_as_such(proxy: FaultProxy, connect: Callable[..., Store]) -> None:
    """There is no last good read to name."""
    proxy.refuse()
    async with seeing(connect(proxy.url)) as seen:
        with pytest.raises(NotCurrent) as caught:
            await seen.snapshot.instances()
    assert caught.value.observed_at is None


async def test_first_answer_waits_for_the_first_reading(
    proxy: FaultProxy, valkey: Server, connect: Callable[..., Store]
) -> None:
    """A page loaded while the server starts is not told that all is lost."""
    publish(valkey)
    proxy.replies.delay = 0.3
    async with seeing(connect(proxy.url)) as seen:
        assert (await seen.cards())["binance"]["online"]


async def test_frozen_store_is_told_within_seconds_and_nobody_is_dead_afterwards(
    start_server: Callable[..., Server], connect: Callable[..., Store]
) -> None:
    """SIGSTOP: connections stay open and nothing is answered, longer than the lease; then everyone comes back."""
    server = start_server()
    publish(server, ttl_ms=1500)
    async with seeing(connect(server.url, timeout=0.5)) as seen:
        assert (await seen.healths())["binance"] == "idle"
        server.pause()
        paused = time.monotonic()

        async def is_told() -> bool:
            asked = time.monotonic()
            told = await _not_current(seen)
            assert told or asked - paused < MAX_AGE_S, "what was read before it froze is older than that"
            return told is not None

        await wait_until_async(is_told, description="it is told")
        await wait_until_async(lambda: time.monotonic() - paused > 1.6, description="the lease is over")
        server.resume()
        await wait_until_async(lambda: _healthy(seen), description="it answers again")
        card = (await seen.cards())["binance"]
        assert (card["health"], card["online"]) == ("unknown", True)
        assert "ran out while the store could not be read" in card["reason"]
        publish(server, epoch=2)  # its instance was frozen out, not dead: it claims again
        await wait_until_async(lambda: _is(seen, "idle"), description="it is back")


async def _is(seen: Seen, health: str) -> bool:
    return (await seen.healths())["binance"] == health


@pytest.mark.parametrize("empty", [True, False])
async def test_restarted_store_makes_nobody_dead(
    start_server: Callable[..., Server], connect: Callable[..., Store], empty: bool
) -> None:
    """It comes back with nothing, or with what it held when it last wrote to disk; the instances live."""
    server = start_server()
    publish(server, released_at="2026-01-01T00:00:00.000Z", epoch=1, ttl_ms=100)  # a tenure given back long ago
    server.call("SAVE")
    publish(server, epoch=2, ttl_ms=60_000)
    healths = set()
    async with seeing(connect(server.url)) as seen:
        assert (await seen.healths())["binance"] == "idle"
        if empty:
            server.restart(empty=True)
        else:
            server.kill()
            server.start()
        await seen.snapshot.next_turn()
        for _ in range(3):
            await wait_until_async(lambda: _healthy(seen), description="it sees again")
            healths.add((await seen.healths())["binance"])
            await seen.snapshot.next_turn()
        assert healths == {"unknown"}
        publish(server, epoch=3)
        await wait_until_async(lambda: _is(seen, "idle"), description="it is back")


async def test_exchange_added_or_switched_off_shows_without_a_restart(
    store: Store, valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database decides which exchanges there are; while it is away the list stays as it was."""
    monkeypatch.setattr("perseus.network.exchange_list.LOAD_EVERY_S", 0.1)
    exchanges = [*SEEDED_EXCHANGES]
    is_away = False

    async def load() -> list[Exchange]:
        if is_away:
            raise DatabaseUnavailable("It is away.")
        return exchanges

    async with seeing(store, load=load) as seen:
        assert [*await seen.cards()] == ["coinbase", "binance", "kraken"]
        exchanges = [SEEDED_EXCHANGES[1], Exchange(id=9, name="okx", display_name="OKX")]
        publish(valkey, exchanges[1])
        await wait_until_async(lambda: _has(seen, ["binance", "okx"]), description="the new list is shown")
        is_away = True
        await seen.snapshot.exchanges.refresh()
        await seen.snapshot.next_turn()
        assert [*await seen.cards()] == ["binance", "okx"]
        assert (await seen.cards())["okx"]["online"]


async def _has(seen: Seen, names: list[str]) -> bool:
    return [*await seen.cards()] == names


async def test_database_that_never_answered_is_told(store: Store) -> None:
    """Nobody knows which exchanges there are: an empty network would be a lie."""

    async def load() -> list[Exchange]:
        raise DatabaseUnavailable("The database at /x is away.")

    async with seeing(store, load=load) as seen:
        with pytest.raises(NotCurrent, match="which exchanges there are"):
            await seen.snapshot.instances()
