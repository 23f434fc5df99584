"""A simulated venue whose clock we choose, also faster than real time, and what its market truly was."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

from perseus import candles
from perseus.clock import SystemClock
from perseus.exchanges import open_adapter
from perseus.exchanges.adapter import Adapter
from perseus.exchanges.binance import Binance
from perseus.model import Candle, Timeframe
from perseus.simulator.faults import AT_ONCE, Fault
from perseus.simulator.market import CandleText, Market
from perseus.simulator.server import Simulator, serve
from perseus.store import Store

BINANCE = 2
SEED = 11


def clock_from(unix_ms: int, *, speed: float = 1.0) -> Callable[[], float]:
    """A clock that shows `unix_ms` now and runs `speed` times as fast as ours."""
    begun = time.monotonic()
    return lambda: unix_ms / 1000 + (time.monotonic() - begun) * speed


@asynccontextmanager
async def running_simulator(*, start_ms: int | None = None, speed: float = 1.0) -> AsyncIterator[Simulator]:
    """A simulator for the block; its clock shows `start_ms` (default: the host's time) when it starts."""
    now_ms = start_ms if start_ms is not None else time.time_ns() // 1_000_000
    simulator = await serve(seed=SEED, clock=clock_from(now_ms, speed=speed))
    try:
        yield simulator
    finally:
        await simulator.aclose()


@asynccontextmanager
async def adapter_of(simulator: Simulator, name: str = "binance") -> AsyncIterator[Adapter]:
    """The open adapter of one of the simulator's venues."""
    urls = {"rest_url": f"{simulator.url}/{name}", "ws_url": f"{simulator.ws_url}/{name}"}
    async with open_adapter(name, clock=SystemClock(), **urls) as adapter:
        yield adapter


def move_socket(adapter: Adapter, *, to: str) -> None:
    """Let the venue's WebSocket be elsewhere from now on; its history stays where it is."""
    assert isinstance(adapter, Binance)
    adapter._venue = adapter._venue._replace(ws_url=to)


async def strike(simulator: Simulator, fault: str, **more: object) -> None:
    """Begin a fault of the simulator's; see `perseus.simulator.faults` for their names and parameters."""
    begun = simulator.faults.post(Fault(fault=fault, venue="binance", **more))  # type: ignore[arg-type]  # by name
    if fault in AT_ONCE:
        await simulator.venues["binance"].strike(begun)


async def untruths(store: Store, market: Market, symbols: Sequence[str], *, now_ms: int, kept: int = 1500) -> list[str]:
    """What is wrong with the stored candles of these symbols (`BTC-USDT`), a sentence each.

    Every closed candle must equal the market's, there must be no gap, and only the newest may be forming.
    """
    faults: list[str] = []
    for name in symbols:
        for timeframe in Timeframe:
            rows = await candles.read(store, BINANCE, name, timeframe, last=2 * kept)
            where = f"{name} {timeframe}"
            if not rows:
                faults.append(f"{where}: nothing is stored")
                continue
            truth = {
                candle.open_time: candle
                for candle in market.candles(
                    name.replace("-", ""), timeframe, rows[0].open_time, rows[-1].open_time, now_ms
                )
            }
            opens = [row.open_time for row in rows]
            if opens != list(range(opens[0], opens[-1] + 1, timeframe.ms)):
                faults.append(f"{where}: there is a gap")
            if len(rows) > kept:
                faults.append(f"{where}: {len(rows)} candles are kept")
            if any(not row.is_closed for row in rows[:-1]):
                faults.append(f"{where}: one before the newest is still forming")
            faults += [f"{where}: {row} is not {truth.get(row.open_time)}" for row in rows if not _is_true(row, truth)]
    return faults


def _is_true(row: Candle, truth: dict[int, CandleText]) -> bool:
    there = truth.get(row.open_time)
    if there is None or not row.is_closed:
        return there is not None
    expected = tuple(map(Decimal, (there.open, there.high, there.low, there.close, there.volume)))
    return expected == (row.open, row.high, row.low, row.close, row.volume)
