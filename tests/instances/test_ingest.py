"""From a venue to the store through a real instance: after warm-up and after every fault the store has the truth.

The venue's clock starts where a test needs it and may run faster than ours, so that minutes, hours and days close while
a test runs. Truth is the simulator's own market, compared decimal for decimal.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from perseus import candles, keys
from perseus.errors import InvalidSymbols, PerseusError, VenueRefused
from perseus.model import ConnectionState, Timeframe, WarmupProgress
from perseus.simulator.instruments import LISTED_MS
from perseus.store import Store
from tests.support.follower import DAY, FAST, MIDNIGHT, MINUTE, QUIETLY, following, report
from tests.support.servers import Server
from tests.support.venue import BINANCE, running_simulator, strike
from tests.support.waiting import wait_until_async


async def test_after_the_warm_up_every_candle_is_the_exchanges(valkey: Server, store: Store, data_dir: Path) -> None:
    """Sixty closed candles in six timeframes of each symbol, no gap, and an open minute: what active promises."""
    async with (
        running_simulator(start_ms=QUIETLY) as simulator,
        following(simulator, store, valkey, data_dir, symbols=5) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        assert follower.me is not None
        assert follower.me.status.symbol_count == 5
        names = [f"{name}-USDT" for name in ("BTC", "ETH", "SOL", "XRP", "USDC")]
        assert await follower.untruths(*names) == []
        for name in names:
            for timeframe in Timeframe:
                rows = await candles.read(store, BINANCE, name, timeframe, last=1500)
                assert sum(row.is_closed for row in rows) >= 60
                assert follower.now_ms - rows[-1].open_time < timeframe.ms + 30_000
        done = await report(store)
        assert (done.done, done.total, done.percent, done.failures) == (5, 5, 100.0, ())
        assert done.candles_fetched >= 5 * 2200


async def test_symbols_are_counted_when_they_are_chosen(valkey: Server, store: Store, data_dir: Path) -> None:
    """How many were asked for is a guess: nobody may read it on a card. Nor what is left of a warm-up that died."""
    left = WarmupProgress(percent=44.0, eta_seconds=1.0, current_symbol="A-B", done=11, total=25, started_at="before")
    valkey.call("SET", keys.warmup(BINANCE), msgspec.json.encode(left), "EX", keys.WARMUP_RUNNING_TTL_S)
    async with running_simulator(start_ms=QUIETLY) as simulator:
        await strike(simulator, "http", status=500)
        async with following(simulator, store, valkey, data_dir, symbols=500) as follower:
            await follower.reach(ConnectionState.WARMING)
            await wait_until_async(lambda: follower.failed("500"), description="the exchange says nothing yet")
            progress = await report(store)
            assert (follower.symbol_count, progress.total, progress.done, progress.percent) == (0, 0, 0, 0.0)
            simulator.faults.clear()
            await wait_until_async(lambda: follower.symbol_count, description="the symbols are chosen")
            assert follower.symbol_count < 500
            await wait_until_async(partial(_reports, store, follower.symbol_count), description="the report has them")


async def _reports(store: Store, count: int) -> bool:
    return (await report(store)).total == count


async def test_minutes_hours_and_days_close_as_the_exchange_closes_them(
    valkey: Server, store: Store, data_dir: Path
) -> None:
    """Across midnight every timeframe is folded live, quiet markets included, without a gap."""
    async with (
        running_simulator(start_ms=MIDNIGHT + DAY - 3 * MINUTE, speed=FAST) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        await wait_until_async(
            lambda: follower.now_ms > MIDNIGHT + DAY + 3 * MINUTE, description="it is past midnight", timeout=40
        )
        await follower.catch_up()
        assert await follower.untruths() == []
        days = await candles.read(store, BINANCE, "ZRX-USDT", Timeframe.D1, last=2)
        assert [(day.open_time, day.is_closed) for day in days] == [(MIDNIGHT, True), (MIDNIGHT + DAY, False)]


async def test_a_second_warm_up_fetches_only_what_is_missing(valkey: Server, store: Store, data_dir: Path) -> None:
    """A restart must not cost the venue's whole limit; a hole in the store is found and closed."""
    async with running_simulator(start_ms=QUIETLY) as simulator:
        async with following(simulator, store, valkey, data_dir) as follower:
            await follower.reach(ConnectionState.ACTIVE)
        first = await report(store)
        for timeframe, count in (("1m", 7), ("15m", 2), ("1d", 1)):
            key = keys.candles(BINANCE, "ETH-USDT", timeframe)
            assert valkey.call("ZREMRANGEBYRANK", key, 20, 19 + count) == count
        async with following(simulator, store, valkey, data_dir) as follower:
            await follower.reach(ConnectionState.ACTIVE)
            assert await follower.untruths() == []
        second = await report(store)
        assert second.candles_fetched < first.candles_fetched / 50
        assert second.candles_kept > first.candles_fetched * 0.95


async def test_a_candle_that_was_wrong_when_the_instance_ended_is_put_right_by_the_next(
    valkey: Server, store: Store, data_dir: Path
) -> None:
    """Written from a copy of history that lagged, with nobody left to reconcile it, it would stay wrong for ever."""
    async with running_simulator(start_ms=QUIETLY) as simulator:
        async with following(simulator, store, valkey, data_dir) as follower:
            await follower.reach(ConnectionState.ACTIVE)
        key = keys.candles(BINANCE, "BTC-USDT", "1m")
        wrong = valkey.call("ZRANGE", key, -10, -10)[0]
        fields = msgspec.json.decode(wrong)
        valkey.call("ZREM", key, wrong)
        valkey.call("ZADD", key, fields[0], msgspec.json.encode([*fields[:5], "0.00001", *fields[6:]]))
        async with following(simulator, store, valkey, data_dir) as follower:
            await follower.reach(ConnectionState.ACTIVE)
            assert await follower.untruths("BTC-USDT") == []


async def test_a_long_absence_leaves_no_gap_behind_it(valkey: Server, store: Store, data_dir: Path) -> None:
    """Old candles followed by new ones with a hole between would look like an unbroken history."""
    async with (
        running_simulator(start_ms=QUIETLY) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
    async with (
        running_simulator(start_ms=QUIETLY + 3 * DAY) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        assert await follower.untruths() == []


async def test_a_young_symbol_has_as_many_candles_as_exist_and_the_report_says_so(
    valkey: Server, store: Store, data_dir: Path
) -> None:
    """A listing of this morning has no sixty days; it must neither hold up the others nor pass for complete."""
    async with (
        running_simulator(start_ms=LISTED_MS + 5 * Timeframe.H1.ms + 7 * MINUTE + 20_000) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        assert await follower.untruths() == []
        for timeframe, count in ((Timeframe.M1, 308), (Timeframe.H4, 2), (Timeframe.D1, 1)):
            rows = await candles.read(store, BINANCE, "BTC-USDT", timeframe, last=1500)
            assert (rows[0].open_time, len(rows)) == (LISTED_MS, count)
        done = await report(store)
        assert "BTC-USDT: too young, 1 of 60 closed 4h candles exist" in done.failures


async def test_only_the_timeframes_asked_for_are_kept(valkey: Server, store: Store, data_dir: Path) -> None:
    """What nobody reads need not be stored; what is folded from it still must be right."""
    async with (
        running_simulator(start_ms=MIDNIGHT - 2 * MINUTE, speed=FAST) as simulator,
        following(simulator, store, valkey, data_dir, timeframes=(Timeframe.M5,)) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        await follower.pass_minutes(2.5)
        kept = {key.rpartition(":")[2] for key in valkey.all_keys() if ":candles:" in key}
        assert kept == {"5m"}
        rows = await candles.read(store, BINANCE, "BTC-USDT", Timeframe.M5, last=2)
        assert [(row.open_time, row.is_closed) for row in rows] == [(MIDNIGHT - 5 * MINUTE, True), (MIDNIGHT, False)]


NOISE: list[tuple[str, dict[str, object]]] = [
    ("duplicate", {}),
    ("reorder", {}),
    ("revise", {}),
    ("text", {}),
    ("skip_trades", {}),
]


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(NOISE, id="duplicates, swaps, corrections, noise, lost trades"),
        pytest.param([("no_close", {})], id="nobody says that minutes close"),
        pytest.param([("late_close", {"ms": 20_000})], id="minutes close late"),
        pytest.param([("http", {"status": 500}), ("no_close", {})], id="no history while minutes close in silence"),
        pytest.param([("slow", {"ms": 400}), ("no_close", {})], id="slow history"),
    ],
)
async def test_after_a_fault_the_store_has_the_truth(
    valkey: Server, store: Store, data_dir: Path, faults: list[tuple[str, dict[str, object]]]
) -> None:
    """Whatever the stream left out, garbled or said twice."""
    async with (
        running_simulator(start_ms=MIDNIGHT - 2 * MINUTE, speed=FAST) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        for name, parameters in faults:
            await strike(simulator, name, **parameters)
        await follower.pass_minutes(2.5)
        simulator.faults.clear()
        await follower.pass_minutes(0.5)
        await follower.catch_up()
        assert await follower.untruths() == []


@pytest.mark.parametrize("fault", ["reset", "close_24h", "shutdown"])
async def test_a_gap_is_filled_before_it_is_active_again(
    valkey: Server, store: Store, data_dir: Path, fault: str
) -> None:
    """Active says that the data is accurate: after a lost connection it is not, until history has closed the gap."""
    async with (
        running_simulator(start_ms=MIDNIGHT - 2 * MINUTE, speed=FAST) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        await strike(simulator, "refuse", seconds=3)
        await strike(simulator, fault)
        await follower.reach(ConnectionState.WARMING)
        await follower.reach(ConnectionState.ACTIVE, timeout=40)
        await follower.catch_up()
        assert await follower.untruths() == []
        steps = [(e["fromState"], e["toState"]) for e in await follower.events("state_transition")]
        assert ("active", "warming") in steps
        assert steps.count(("warming", "active")) >= 2
        assert await follower.events("error")


async def test_it_is_not_active_again_before_history_has_closed_the_gap(
    valkey: Server, store: Store, data_dir: Path
) -> None:
    """Messages that flow again say nothing about those that were missed."""
    async with (
        running_simulator(start_ms=QUIETLY) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        assert follower.me is not None
        await strike(simulator, "http", status=500, path="klines")
        await strike(simulator, "reset")
        await follower.reach(ConnectionState.WARMING)
        before = follower.me.status.last_message_at
        await wait_until_async(
            lambda: follower.me is not None and follower.me.status.last_message_at != before,
            description="messages flow again",
        )
        assert follower.state is ConnectionState.WARMING
        await wait_until_async(partial(follower.failed, "HTTP 500"), description="history was asked for in vain")
        assert follower.state is ConnectionState.WARMING
        simulator.faults.clear()
        await follower.reach(ConnectionState.ACTIVE)


@pytest.mark.parametrize("history_fails", [False, True])
async def test_a_silent_connection_is_given_up_although_it_answers_pings(
    valkey: Server, store: Store, data_dir: Path, history_fails: bool
) -> None:
    """Pings hide dead subscriptions: only the age of the data tells, also when nobody else can be asked."""
    async with (
        running_simulator(start_ms=MIDNIGHT - 2 * MINUTE, speed=FAST) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        await follower.pass_minutes(1)
        await follower.be_early_in_a_minute()  # else it is asked for its end first, and subscribed again
        if history_fails:
            await strike(simulator, "http", status=500)
        await strike(simulator, "silent")
        await wait_until_async(
            partial(follower.failed, "sent no data"), description="the connection was given up", timeout=40
        )
        await follower.reach(ConnectionState.WARMING)
        simulator.faults.clear()
        await follower.reach(ConnectionState.ACTIVE)
        await follower.catch_up()
        assert await follower.untruths() == []


async def test_a_dead_subscription_on_a_living_connection_is_found_and_renewed(
    valkey: Server, store: Store, data_dir: Path
) -> None:
    """The others' messages hide it; asking keeps its candles true, and quiet symbols beside it are no suspects."""
    async with (
        running_simulator(start_ms=MIDNIGHT - 2 * MINUTE, speed=FAST) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        await follower.pass_minutes(1)
        await strike(simulator, "silent", symbol="ETHUSDT")
        await wait_until_async(
            partial(follower.failed, "traded ETH-USDT without telling us"), description="it was found", timeout=40
        )
        await follower.catch_up()
        simulator.faults.clear()
        assert await follower.untruths() == []
        assert not await follower.failed("sent no data")
        assert not await follower.failed("ZRX-USDT")


async def test_a_store_that_was_away_gets_what_it_missed(start_server: Callable[..., Server], data_dir: Path) -> None:
    """Past the lease's end: a new tenure warms up by itself, from what the store already has."""
    server = start_server()
    store = Store(server.url)
    async with (
        running_simulator(start_ms=MIDNIGHT - 2 * MINUTE, speed=FAST) as simulator,
        following(simulator, store, server, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        assert follower.me is not None
        first = follower.me.epoch
        server.pause()
        await follower.pass_minutes(2.5)
        server.resume()
        await wait_until_async(
            lambda: follower.me is not None and follower.me.holds and follower.me.epoch > first,
            description="a new tenure has begun",
            timeout=20,
        )
        await follower.catch_up()
        assert await follower.untruths() == []
    await store.close()


async def test_foreign_data_in_one_key_does_not_hold_up_the_others(
    valkey: Server, store: Store, data_dir: Path
) -> None:
    """It is reported and left alone; everything else is kept current."""
    key = keys.candles(BINANCE, "BTC-USDT", "5m")
    valkey.call("ZADD", key, 1, "what is this")
    async with (
        running_simulator(start_ms=QUIETLY) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        assert await follower.untruths("ETH-USDT", "ZRX-USDT") == []
        assert len(await candles.read(store, BINANCE, "BTC-USDT", Timeframe.M15, last=1500)) >= 60
        assert await follower.failed("what is this")
        assert valkey.call("ZRANGE", key, 0, -1) == [b"what is this"]


@pytest.mark.parametrize("expected", [InvalidSymbols, VenueRefused])
async def test_what_cannot_work_ends_the_instance_with_the_reason(
    valkey: Server, store: Store, data_dir: Path, expected: type[PerseusError]
) -> None:
    """A wrong symbol or a refused location stays wrong however often it is tried; nothing stays half started."""
    async with running_simulator() as simulator:
        symbols = ("BTC-USTD",) if expected is InvalidSymbols else 3
        if expected is VenueRefused:
            await strike(simulator, "http", status=451)
        with pytest.raises(BaseExceptionGroup) as ended:
            async with following(simulator, store, valkey, data_dir, symbols=symbols):
                await wait_until_async(lambda: False, description="it has ended by itself", timeout=20)
        assert ended.group_contains(expected)
        assert await store.get(keys.status(BINANCE)) is None
        assert not [key for key in valkey.all_keys() if ":candles:" in key]
