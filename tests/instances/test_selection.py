"""Which symbols are served: what the exchange trades now, and what has its history."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from perseus import candles, keys
from perseus.exchanges.binance import Binance
from perseus.instances import care, upkeep
from perseus.model import Candle, ConnectionState, Symbol, Timeframe
from perseus.simulator.market import Market
from perseus.simulator.server import Simulator
from perseus.store import Store
from tests.support.follower import FAST, MIDNIGHT, MINUTE, QUIETLY, following, report
from tests.support.servers import Server
from tests.support.venue import BINANCE, running_simulator, strike
from tests.support.waiting import wait_until_async


def halt(simulator: Simulator, *natives: str) -> Callable[[], None]:
    """Let the venue trade these symbols no more, or none at all if none is named; call the result to undo it."""
    market: Market = simulator.venues["binance"].market
    before = market.instruments
    market.instruments = {
        native: one._replace(status="BREAK") if native in natives or not natives else one
        for native, one in before.items()
    }
    return lambda: setattr(market, "instruments", before)


async def test_an_exchange_that_trades_nothing_is_asked_until_it_does(
    valkey: Server, store: Store, data_dir: Path
) -> None:
    """During its maintenance it lists every symbol as suspended: being active with none would never end."""
    async with running_simulator(start_ms=QUIETLY) as simulator:
        resume = halt(simulator)
        async with following(simulator, store, valkey, data_dir, symbols=2) as follower:
            await wait_until_async(partial(follower.failed, "trades none of the symbols"), description="it is told")
            resume()
            await follower.reach(ConnectionState.ACTIVE)
            assert follower.symbol_count == 2


async def test_a_symbol_that_ceased_to_trade_does_not_end_an_instance_that_claims_again(
    valkey: Server, store: Store, data_dir: Path
) -> None:
    """At the first start a wrong name is a slip; after a lapse at night it is the exchange's doing."""
    symbols = ("BTC-USDT", "ETH-USDT")
    async with (
        running_simulator(start_ms=QUIETLY) as simulator,
        following(simulator, store, valkey, data_dir, symbols=symbols) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        assert follower.me is not None
        first = follower.me.epoch
        halt(simulator, "ETHUSDT")
        valkey.call("DEL", keys.status(BINANCE))
        await wait_until_async(
            lambda: follower.me is not None and follower.me.holds and follower.me.epoch > first,
            description="a new tenure has begun",
        )
        await follower.reach(ConnectionState.ACTIVE)
        assert follower.symbol_count == 1
        assert await follower.failed("does not trade ETH-USDT any more")


async def test_it_is_active_only_when_few_symbols_lack_their_history_and_says_which(
    valkey: Server, store: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called active with half of its symbols, nobody would look."""
    monkeypatch.setattr(care, "RETRY_MOST_S", 1.0)
    monkeypatch.setattr(upkeep, "PAUSE_MOST_S", 0.5)
    async with running_simulator(start_ms=QUIETLY) as simulator:
        await strike(simulator, "holes", symbol="ETHUSDT", every=1)
        await strike(simulator, "holes", symbol="ICPUSDT", every=1)
        async with following(simulator, store, valkey, data_dir) as follower:
            await wait_until_async(lambda: follower.symbol_count == 2, description="two are given up", timeout=60)
            await follower.stays(ConnectionState.WARMING, for_s=2)
            simulator.faults.clear()
            await strike(simulator, "holes", symbol="ETHUSDT", every=1)
            await follower.reach(ConnectionState.ACTIVE, timeout=60)
            await wait_until_async(partial(follower.failed, "No candles yet of ETH-USDT"), description="it is said")
            assert "ETH-USDT" in follower.last_error
            assert follower.symbol_count == 3
            assert (await report(store)).done == 3
            simulator.faults.clear()
            await wait_until_async(lambda: follower.symbol_count == 4, description="it has come", timeout=70)
            await follower.stays(ConnectionState.ACTIVE, for_s=0.5)


async def test_a_symbol_that_is_suspended_is_left_out_until_it_trades_again(
    valkey: Server, store: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it gets flat candles of our own for ever, and is counted as served."""
    monkeypatch.setattr(upkeep, "LISTING_S", 2.0)
    async with (
        running_simulator(start_ms=MIDNIGHT - 2 * MINUTE, speed=FAST) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        await strike(simulator, "silent", symbol="ETHUSDT")
        resume = halt(simulator, "ETHUSDT")
        await wait_until_async(lambda: follower.symbol_count == 3, description="it is left out")
        assert await follower.failed("does not trade ETH-USDT any more")
        before = await candles.read(store, BINANCE, "ETH-USDT", Timeframe.M1, last=1)
        await follower.pass_minutes(3)
        assert await candles.read(store, BINANCE, "ETH-USDT", Timeframe.M1, last=1) == before
        assert follower.state is ConnectionState.ACTIVE
        simulator.faults.clear()
        resume()
        await wait_until_async(lambda: follower.symbol_count == 4, description="it is taken back")
        await follower.catch_up()
        assert await follower.untruths() == []


async def test_a_symbol_without_candles_is_looked_up_before_long(
    valkey: Server, store: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few flat minutes in a row are the hint: the listing is not awaited for a quarter of an hour."""
    cut, history = [float("inf")], Binance.history

    async def ended(self: Binance, symbol: Symbol, timeframe: Timeframe, *, start: int, end: int) -> list[Candle]:
        rows = await history(self, symbol, timeframe, start=start, end=end)
        return [row for row in rows if symbol.native != "ETHUSDT" or row.open_time < cut[0]]

    monkeypatch.setattr(Binance, "history", ended)
    async with (
        running_simulator(start_ms=MIDNIGHT - 2 * MINUTE, speed=FAST) as simulator,
        following(simulator, store, valkey, data_dir) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        await strike(simulator, "silent", symbol="ETHUSDT")
        cut[0] = follower.now_ms
        halt(simulator, "ETHUSDT")
        await wait_until_async(lambda: follower.symbol_count == 3, description="it is left out", timeout=40)
        rows = await candles.read(store, BINANCE, "ETH-USDT", Timeframe.M1, last=60)
        assert 1 <= sum(row.is_synthetic and row.is_closed for row in rows) <= 9


async def test_an_exchange_that_suspends_everything_is_not_called_active(
    valkey: Server, store: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the instance lives through it: nothing is left out, because all of it comes back."""
    monkeypatch.setattr(upkeep, "LISTING_S", 1.0)
    monkeypatch.setattr(upkeep, "LISTING_HALTED_S", 1.0)
    async with (
        running_simulator(start_ms=QUIETLY) as simulator,
        following(simulator, store, valkey, data_dir, symbols=2) as follower,
    ):
        await follower.reach(ConnectionState.ACTIVE)
        resume = halt(simulator)
        await follower.reach(ConnectionState.WARMING)
        assert await follower.failed("trades none of the 2 symbols now")
        assert follower.symbol_count == 2
        resume()
        await follower.reach(ConnectionState.ACTIVE)
        assert follower.symbol_count == 2
