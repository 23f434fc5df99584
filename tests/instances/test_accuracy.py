"""Active means accurate: what must keep an instance from saying so, and what must not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from perseus.exchanges import venue_time
from perseus.exchanges.binance import Binance
from perseus.instances import care, ingest, links, upkeep
from perseus.model import Candle, ConnectionState, Symbol, Timeframe
from perseus.store import Store
from tests.support.follower import MIDNIGHT, MINUTE, QUIETLY, following
from tests.support.servers import Server
from tests.support.system import free_port
from tests.support.venue import move_socket, running_simulator, strike
from tests.support.waiting import wait_until_async


async def test_symbols_that_cannot_be_warmed_up_again_are_behind(valkey: Server, store: Store, data_dir: Path) -> None:
    """After an hour without minutes their history is asked for anew; while that fails nothing of them is current."""
    async with (
        running_simulator(start_ms=QUIETLY) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        await strike(simulator, "http", status=500, path="klines", seconds=6)
        await strike(simulator, "skew", ms=2 * Timeframe.H1.ms)  # as if two hours had passed so
        await follower.reach(ConnectionState.WARMING)
        await follower.stays(ConnectionState.WARMING, for_s=4)
        await follower.reach(ConnectionState.ACTIVE, timeout=60)
        assert await follower.untruths() == []


async def test_the_exchanges_time_is_asked_for_when_the_stream_contradicts_it(
    valkey: Server, store: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock was set back, or the stream lags: the stream alone cannot tell."""
    monkeypatch.setattr(venue_time, "WINDOW_MS", 1000.0)
    async with (
        running_simulator(start_ms=QUIETLY) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        adapter = follower.adapter
        assert adapter is not None
        await strike(simulator, "skew", ms=-20_000)
        await wait_until_async(
            lambda: abs(adapter.now_ms() - follower.now_ms) < 1000, description="it knows the time again", timeout=20
        )
        assert not adapter.doubts_time


async def test_it_is_not_active_while_the_connection_is_down(
    valkey: Server, store: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when everything else of the warm-up is done."""
    monkeypatch.setattr(ingest, "SUBSCRIBE_PATIENCE_S", 1.0)
    monkeypatch.setattr(links, "LONGEST_PAUSE_S", 0.5)
    async with running_simulator(start_ms=QUIETLY) as simulator:
        await strike(simulator, "slow", ms=1000, path="klines", count=8)
        async with following(simulator, store, valkey, data_dir) as follower:
            await wait_until_async(lambda: bool(simulator.venues["binance"].feed.symbols), description="subscribed")
            await wait_until_async(
                lambda: follower.me is not None and follower.me.status.last_message_at is not None,
                description="the first message has come",
            )
            assert follower.adapter is not None
            move_socket(follower.adapter, to=f"ws://127.0.0.1:{free_port()}")
            await strike(simulator, "reset")
            await wait_until_async(
                lambda: sum(key.endswith(":1m") for key in valkey.all_keys()) == 4,
                description="history is complete",
                timeout=20,
            )
            await follower.stays(ConnectionState.WARMING, for_s=3)
            assert not await follower.was_active()
            move_socket(follower.adapter, to=f"{simulator.ws_url}/binance")
            await follower.reach(ConnectionState.ACTIVE)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Silence is noticed after seconds."""
    monkeypatch.setattr(care, "SILENCE_LEAST_S", 1.0)
    monkeypatch.setattr(care, "SILENCE_MOST_S", 2.0)
    monkeypatch.setattr(care, "FIRST_WORD_S", 1.5)
    return iter(())


@pytest.mark.usefixtures("impatient")
async def test_a_quiet_market_is_active_and_its_connection_is_left_alone(
    valkey: Server, store: Store, data_dir: Path
) -> None:
    """Most minutes pass without a trade: the exchange itself confirms that there was nothing to hear."""
    async with (
        running_simulator(start_ms=QUIETLY + 5 * MINUTE) as simulator,  # its next trade is minutes away
        following(simulator, store, valkey, data_dir, symbols=("ZRX-USDT",)) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        await follower.stays(ConnectionState.ACTIVE, for_s=8)
        assert not await follower.events("error")
        assert follower.me is not None
        assert follower.me.status.last_message_at is None, "there was a message: the test's own market is off"


@pytest.mark.usefixtures("impatient")
async def test_a_connection_that_brings_nothing_of_what_is_traded_is_not_active(
    valkey: Server, store: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledged, alive, and silent from the beginning."""
    monkeypatch.setattr(upkeep, "SILENCE_LEAST_S", 1.0)
    async with running_simulator(start_ms=QUIETLY) as simulator:
        await strike(simulator, "silent")
        async with following(simulator, store, valkey, data_dir, symbols=("BTC-USDT",)) as follower:
            await wait_until_async(partial(follower.failed, "sent no data"), description="it was given up", timeout=20)
            assert not await follower.was_active()
            simulator.faults.clear()
            await follower.reach(ConnectionState.ACTIVE)


async def test_unreadable_frames_do_not_flood_the_log_and_are_no_market_data(
    valkey: Server, store: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them differs, and a venue that changed its format sends nothing else."""
    monkeypatch.setattr(upkeep, "SILENCE_LEAST_S", 2.0)
    async with (
        running_simulator(start_ms=QUIETLY) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        await strike(simulator, "silent")
        async with asyncio.TaskGroup() as tasks:
            talking = tasks.create_task(_talk_nonsense(simulator))
            await follower.reach(ConnectionState.WARMING)
            await follower.stays(ConnectionState.WARMING, for_s=1)
            talking.cancel()
        simulator.faults.clear()
        await follower.reach(ConnectionState.ACTIVE)
        unreadable = [e for e in await follower.events("error") if "not of its protocol" in e["error"]]
        assert len(unreadable) == 1
        reasons = [e["reason"] for e in await follower.events("state_transition")]
        assert "binance sends nothing that can be read" in reasons


async def _talk_nonsense(simulator: Any) -> None:
    for number in range(10_000):
        await strike(simulator, "text", text=f'{{"stream":"btcusdt@trade","data":{{"e":"trade","t":{number}}}}}')
        await asyncio.sleep(0.02)  # a pace, not a synchronisation


async def test_history_that_lags_is_not_asked_for_in_a_storm(
    valkey: Server, store: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer leaves the minute unclosed; four requests a second for each symbol lead to a ban."""
    asked: list[str] = []
    history, synchronize = Binance.history, Binance.synchronize

    async def lagging(self: Binance, symbol: Symbol, timeframe: Timeframe, *, start: int, end: int) -> list[Candle]:
        asked.append(symbol.native)
        rows = await history(self, symbol, timeframe, start=start, end=end)
        return [row for row in rows if row.open_time + MINUTE + 20_000 <= self.now_ms()]

    async def counted(self: Binance) -> None:
        asked.append("time")
        await synchronize(self)

    async with (
        running_simulator(start_ms=MIDNIGHT + 9 * MINUTE + 55_000) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        monkeypatch.setattr(Binance, "history", lagging)
        monkeypatch.setattr(Binance, "synchronize", counted)
        await strike(simulator, "no_close")
        await wait_until_async(
            lambda: follower.now_ms > MIDNIGHT + 10 * MINUTE + 10_000, description="it is time", timeout=30
        )
        assert 4 <= len([one for one in asked if one != "time"]) <= 4 * 4
        assert 1 <= asked.count("time") <= 3
