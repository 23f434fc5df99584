"""A whole instance that follows a simulated market, whose clock may start anywhere and run faster than ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from perseus import candles, keys
from perseus.clock import SystemClock
from perseus.exchanges import open_adapter
from perseus.exchanges.adapter import Adapter
from perseus.instances.identity import Identity
from perseus.instances.ingest import follow_market
from perseus.instances.instance import Instance
from perseus.instances.run import Setup, run_instance
from perseus.model import ConnectionState, Timeframe, WarmupProgress, exchange_named
from perseus.simulator.server import Simulator
from perseus.store import Store
from perseus.timing import LeaseTiming
from tests.support.servers import Server
from tests.support.venue import BINANCE, untruths
from tests.support.waiting import wait_until_async

MIDNIGHT = 1_772_409_600_000  # 2026-03-02T00:00Z
# Between two minutes: right after one ends, the exchange may not have said yet how it closed.
QUIETLY = MIDNIGHT + 9 * Timeframe.M1.ms + 20_000
MINUTE, DAY = Timeframe.M1.ms, Timeframe.D1.ms
SYMBOLS = ("BTC-USDT", "ETH-USDT", "ICP-USDT", "ZRX-USDT")  # two lively, two quiet
FAST = 30.0
# Longer than any grace the product gives the exchange on a busy machine, far shorter than `RECONCILE_S`, after which
# whatever is wrong is put right without having been noticed
SETTLES_S = 10.0


class Follower:
    """A running instance that follows a simulated market."""

    def __init__(self, simulator: Simulator, store: Store) -> None:
        self.simulator = simulator
        self.store = store
        self.me: Instance | None = None
        self.adapter: Adapter | None = None

    @property
    def state(self) -> ConnectionState | None:
        """What the instance says of itself."""
        return self.me.state if self.me else None

    @property
    def now_ms(self) -> int:
        """The venue's time."""
        return self.simulator.venues["binance"].now_ms()

    async def reach(self, state: ConnectionState, *, timeout: float = 30.0) -> None:
        """Wait for a state."""
        await wait_until_async(lambda: self.state is state, description=f"it is {state}", timeout=timeout)

    async def stays(self, state: ConnectionState, *, for_s: float) -> None:
        """See that it does not leave a state for a while."""
        began, seen = time.monotonic(), set()

        def has_passed() -> bool:
            seen.add(self.state)
            return time.monotonic() - began > for_s

        await wait_until_async(has_passed, description=f"{for_s} s have passed", timeout=for_s + 10)
        assert seen == {state}

    async def untruths(self, *symbols: str) -> list[str]:
        """What is wrong with the store and stays so: a minute just over may be about to close."""
        market, began = self.simulator.venues["binance"].market, time.monotonic()
        found: list[str] = []

        async def is_over() -> bool:
            nonlocal found
            found = await untruths(self.store, market, symbols or SYMBOLS, now_ms=self.now_ms)
            return not found or time.monotonic() - began > SETTLES_S

        await wait_until_async(is_over, description="the store was compared", timeout=SETTLES_S + 20)
        return found

    async def catch_up(self) -> None:
        """Wait until the newest minute that is over is closed for every symbol, and the instance is active again."""
        await self.reach(ConnectionState.ACTIVE)
        over = Timeframe.M1.open_of(self.now_ms) - MINUTE
        for symbol in SYMBOLS:
            await wait_until_async(
                partial(self._is_closed, symbol, over),
                description=f"the minute {over} of {symbol} is closed",
                timeout=30,
            )

    async def pass_minutes(self, count: float) -> None:
        """Let the venue's clock run on by so many minutes."""
        end = self.now_ms + count * MINUTE
        await wait_until_async(lambda: self.now_ms >= end, description=f"{count} minutes have passed", timeout=60)

    async def be_early_in_a_minute(self) -> None:
        """Wait for a moment after which no minute ends for half of one, by the instance's idea of the venue's time.

        Once the venue is silent that goes on as fast as ours, however fast the venue's own time runs.
        """

        def is_early() -> bool:
            return self.adapter is not None and 5_000 < self.adapter.now_ms() % MINUTE < MINUTE / 2

        await wait_until_async(is_early, description="a minute has begun", timeout=60, every=0.005)

    async def events(self, event: str = "") -> list[dict[str, str]]:
        """The activity log, oldest first."""
        entries = await self.store.entries(keys.log("binance"), count=500)
        return [entry.fields for entry in reversed(entries) if event in ("", entry.fields["event"])]

    @property
    def symbol_count(self) -> int:
        """How many symbols it says it serves."""
        return self.me.status.symbol_count if self.me else 0

    @property
    def last_error(self) -> str:
        """What it says went wrong last."""
        return (self.me.status.last_error or "") if self.me else ""

    async def failed(self, text: str) -> bool:
        """Whether an error with this text was logged."""
        return any(text in event["error"] for event in await self.events("error"))

    async def was_active(self) -> bool:
        """Whether it ever said so, however briefly."""
        return any(event["toState"] == "active" for event in await self.events("state_transition"))

    async def _is_closed(self, symbol: str, open_time: int) -> bool:
        rows = await candles.read(self.store, BINANCE, symbol, Timeframe.M1, last=5)
        return any(row.open_time >= open_time and row.is_closed for row in rows)


@asynccontextmanager
async def following(
    simulator: Simulator,
    store: Store,
    server: Server,
    data_dir: Path,
    *,
    symbols: int | tuple[str, ...] = SYMBOLS,
    timeframes: tuple[Timeframe, ...] = tuple(Timeframe),
) -> AsyncIterator[Follower]:
    """A whole instance for the block, ended as by a signal; an error of its own is raised out of the block."""
    follower = Follower(simulator, store)
    shutdown = asyncio.Event()

    async def work(me: Instance) -> None:
        follower.me = me
        urls = {"rest_url": f"{simulator.url}/binance", "ws_url": f"{simulator.ws_url}/binance"}
        async with open_adapter("binance", clock=SystemClock(), **urls) as adapter:
            follower.adapter = adapter
            await follow_market(me, adapter, symbols=symbols, timeframes=timeframes, candles_kept=1500)

    setup = Setup(
        exchange=exchange_named("binance"),
        identity=Identity(hostname="host-a"),
        timing=LeaseTiming(1.0, 3),
        store_url=server.url,
        data_dir=data_dir,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run_instance(setup, work, idle=False, shutdown=shutdown))
        try:
            yield follower
        finally:
            shutdown.set()
            await asyncio.wait({running})


async def report(store: Store) -> WarmupProgress:
    """The warm-up's report."""
    raw = await store.get(keys.warmup(BINANCE))
    assert raw is not None
    return msgspec.json.decode(raw, type=WarmupProgress)
