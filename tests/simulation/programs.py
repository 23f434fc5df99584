"""What the simulated processes run: the product's own service with a numbered feed, a patient program, a watcher."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from perseus import candles, keys
from perseus.errors import ExchangeClaimed, LeaseLost, StaleEpoch, StopRequested, StoreUnavailable
from perseus.instances.instance import Instance
from perseus.instances.run import in_background, serve
from perseus.model import Candle, Timeframe
from perseus.network.losses import LOOK_EVERY_S, LossWatch
from perseus.store import Store
from tests.invariants import Claim, Write
from tests.simulation.network import Link
from tests.simulation.world import BINANCE, URL, Process

SYMBOL = "BTC-USDT"
NOTHING_TRIMMED = 1_000_000


@dataclass
class Believed:
    """What the emitters believed and what became of their writes; times are true virtual seconds."""

    claims: list[Claim] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)


class Feed:
    """Emits numbered writes through the lease check and records the fate of each."""

    def __init__(self, process: Process, believed: Believed) -> None:
        self._process = process
        self._believed = believed
        self._random = Random(f"{process.name}/{process.world.random.random()}")
        self._n = 0

    async def work(self, me: Instance) -> None:
        """One tenure: warm up, then emit until the scope is cancelled."""
        loop = self._process.world.loop
        self._believed.claims.append(Claim(loop.now, self._process.name, me.epoch))
        async with me.warming(symbol_count=1) as progress:
            await progress.update(done=1, total=1)
            await me.clock.sleep(self._random.choice((0.0, 0.5, 2.0)))
        async with me.active():
            while True:
                await self._emit(me)
                await me.clock.sleep(self._random.uniform(0.1, 1.5))
                if self._random.random() < 0.03:
                    await me.report_error(f"simulated {self._random.randrange(3)}")

    async def _emit(self, me: Instance) -> None:
        loop = self._process.world.loop
        asked = loop.now
        me.ensure_held()
        self._process.believes(me.claim_id)
        me.saw_message()
        self._n += 1
        through_value = self._random.random() < 0.5
        outcome = "unknown"
        try:
            if through_value:
                await me.write_value(
                    keys.warmup(me.exchange.id),
                    f'{{"epoch":{me.epoch},"n":{self._n}}}',
                    ttl_s=keys.WARMUP_RUNNING_TTL_S,
                )
            else:
                await candles.write(
                    me.store,
                    me.exchange.id,
                    claim_id=me.claim_id,
                    epoch=me.epoch,
                    rows={(SYMBOL, Timeframe.M1): [_candle(epoch=me.epoch, n=self._n, at=asked)]},
                    kept=NOTHING_TRIMMED,
                )
            outcome = "accepted"
        except StaleEpoch:
            outcome = "refused"
            raise
        except StoreUnavailable:
            pass
        finally:
            if not self._process.is_ghost:
                self._believed.writes.append(
                    Write(
                        self._process.name,
                        me.status.epoch or 0,
                        self._n,
                        asked,
                        loop.now,
                        outcome,
                        lasting=not through_value,
                    )
                )


def _candle(*, epoch: int, n: int, at: float) -> Candle:
    zero = Decimal(0)
    return Candle(
        open_time=round(at * 1e6),
        open=Decimal(epoch),
        high=Decimal(n),
        low=zero,
        close=zero,
        volume=zero,
        is_closed=True,
    )


async def served(process: Process, believed: Believed, *, idle: bool) -> None:
    """As `perseus run`."""
    me = await process.attach()
    async with in_background(me):
        await serve(me, Feed(process, believed).work, idle=idle, shutdown=process.shutdown)


async def patient(process: Process, believed: Believed) -> None:
    """A program of its own, through the public interface, that waits for its turn and ends when its tenure does."""
    me = await process.attach()
    async with in_background(me):
        while True:
            try:
                await me.claim()
                break
            except (ExchangeClaimed, StoreUnavailable):
                await me.clock.sleep(0.3)
        try:
            async with me.working():
                if not me.may_start:
                    await me.wait_for_start()
                await me.begin()
                await Feed(process, believed).work(me)
        except (StopRequested, LeaseLost):
            pass
        finally:
            await me.leave(by="the program")


async def watcher(process: Process) -> None:
    """Whoever notices a death records it: at the moment it is due, or once a second as a release before did."""
    watch = LossWatch(
        Store(URL, topology=Link(process.world.network, process)),
        clock=process.host,
        detected_by=process.name,
        on_record=lambda dead: process.world.note(f"{process.name} records the loss of {dead.instance_id}"),
        on_trouble=lambda trouble: process.world.note(f"{process.name}: {trouble}"),
        exchanges=lambda: [BINANCE],
    )
    ending = asyncio.ensure_future(process.shutdown.wait())
    looking = watch.run() if process.world.seed % 2 else _once_a_second(watch, process)
    watching = asyncio.ensure_future(looking)
    await asyncio.wait({ending, watching}, return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()


async def _once_a_second(watch: LossWatch, process: Process) -> None:
    while True:
        await watch.look()
        await process.host.sleep(LOOK_EVERY_S)
