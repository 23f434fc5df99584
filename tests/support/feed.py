"""A program that serves an exchange through the public API and writes down what it believes.

`python -m tests.support.feed binance --history FILE`: claims, warms up, becomes active and writes numbered candles
through the lease check, as `perseus run` would with an adapter. Settings come from the environment as for `perseus`.
SIGUSR1 blocks its event loop for `--block` seconds, SIGUSR2 lets its boot-time clock jump ahead by `--jump` seconds, as
a suspend does. Exit codes are those of `perseus run`; with `--fence` it is ended
as that is, also as PID 1.

A line of FILE: {"kind": "claim", "at", "instance", "epoch"}, {"kind": "write", "instance", "epoch", "n", "asked",
"replied", "outcome", "lasting"}, {"kind": "phase", "at", "name"} or {"kind": "held", "at", "instance", "epoch"}; times
are boot-time seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from perseus import candles, keys
from perseus.cli import reaper
from perseus.clock import SystemClock
from perseus.errors import LeaseLost, PerseusError, StaleEpoch, StoreUnavailable
from perseus.instances.fence import tested_fence
from perseus.instances.instance import Instance
from perseus.instances.run import run_instance, setup_from
from perseus.model import Candle, Timeframe, exchange_named
from perseus.settings import load_settings
from tests.support.clocks import JumpingClock

SYMBOL = "BTC-USDT"
NOTHING_TRIMMED = 1_000_000


def main() -> int:
    """Run the feed; its exit code."""
    options = _options()
    if options.variant:
        from tests.faults.variants import break_product

        break_product(options.variant)
    if options.fence and (code := reaper.ended_under_us()) is not None:
        return code
    try:
        asyncio.run(_serve(options))
    except PerseusError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("exchange")
    parser.add_argument("--history", type=Path, required=True)
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--rate", type=float, default=20.0, help="writes a second")
    parser.add_argument("--through", choices=("candles", "value"), default="candles")
    parser.add_argument("--watch", action="store_true", help="write down every 10 ms that the lease is held")
    parser.add_argument("--block", type=float, default=0.0, help="how long SIGUSR1 blocks the event loop, s")
    parser.add_argument("--jump", type=float, default=0.0, help="by how much SIGUSR2 puts the boot-time clock ahead, s")
    parser.add_argument("--fork", action="store_true", help="leave a child behind that shares everything open")
    parser.add_argument("--fence", action="store_true", help="be ended by the kernel when the lease is over")
    parser.add_argument("--stubborn", action="store_true", help="never end the work when it is cancelled")
    parser.add_argument("--linger", default="", help="STATE=SECONDS: how long to stay in starting, warming, stopping")
    parser.add_argument("--variant", default="", help="a deliberately broken product (tests/faults/variants.py)")
    return parser.parse_args()


async def _serve(options: argparse.Namespace) -> None:
    setup = setup_from(load_settings(), exchange_named(options.exchange))
    if options.fence:
        setup = replace(setup, fence=tested_fence())
    clock = JumpingClock()
    shutdown = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, shutdown.set)
    loop.add_signal_handler(signal.SIGUSR1, time.sleep, options.block)
    feed = Feed(options)
    loop.add_signal_handler(signal.SIGUSR2, feed.jump, clock)
    feed.note("started")
    await run_instance(replace(setup, clock=clock), feed.work, idle=options.idle, shutdown=shutdown)


class Feed:
    """Emits numbered writes and records the fate of each."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._clock = SystemClock()
        self._n = 0
        self._history = options.history.open("a", buffering=1)

    async def work(self, me: Instance) -> None:
        """One tenure: warm up, then emit until the scope is cancelled."""
        self._record("claim", at=self._clock.now(), instance=me.identity.instance_id, epoch=me.epoch)
        if self._options.fork and os.fork() == 0:
            _stay()
        await self._linger("starting")
        async with me.warming(symbol_count=1) as progress:
            await progress.update(done=1, total=1)
            await self._linger("warming")
        self.note("active")
        async with me.active(), asyncio.TaskGroup() as tasks:
            if self._options.watch:
                tasks.create_task(self._watch(me), name="watch")
            try:
                while True:
                    await self._emit(me)
                    await asyncio.sleep(1 / self._options.rate)
            finally:
                await self._linger("stopping")
                while self._options.stubborn:
                    await _swallowed(1)

    def note(self, phase: str) -> None:
        """Write down that this phase begins now."""
        self._record("phase", at=self._clock.now(), name=phase)

    def jump(self, clock: JumpingClock) -> None:
        """Put the product's clock ahead; what is written down keeps the true time."""
        clock.jump(self._options.jump)
        self.note("jumped")

    async def _watch(self, me: Instance) -> None:
        while True:
            at = self._clock.now()
            epoch = me.epoch
            me.ensure_held()
            self._record("held", at=at, instance=me.identity.instance_id, epoch=epoch)
            await asyncio.sleep(0.01)

    async def _emit(self, me: Instance) -> None:
        asked = self._clock.now()
        me.ensure_held()
        me.saw_message()
        self._n += 1
        outcome = "accepted"
        try:
            await self._write(me, asked)
        except StaleEpoch:
            outcome = "refused"
            raise
        except LeaseLost:
            outcome = "unknown"  # lost while it was under way
            raise
        except StoreUnavailable:
            outcome = "unknown"
        except asyncio.CancelledError:
            outcome = "unknown"
            raise
        finally:
            self._record(
                "write",
                instance=me.identity.instance_id,
                epoch=me.status.epoch,
                n=self._n,
                asked=asked,
                replied=self._clock.now(),
                outcome=outcome,
                lasting=self._options.through == "candles",
            )

    async def _write(self, me: Instance, asked: float) -> None:
        if self._options.through == "value":
            text = json.dumps({"epoch": me.epoch, "n": self._n})
            await me.write_value(keys.warmup(me.exchange.id), text, ttl_s=keys.WARMUP_RUNNING_TTL_S)
            return
        candle = candle_of(epoch=me.epoch, n=self._n, at=asked)
        await candles.write(
            me.store,
            me.exchange.id,
            claim_id=me.claim_id,
            epoch=me.epoch,
            rows={(SYMBOL, Timeframe.M1): [candle]},
            kept=NOTHING_TRIMMED,
        )

    async def _linger(self, state: str) -> None:
        name, _, seconds = self._options.linger.partition("=")
        if name == state:
            await asyncio.sleep(float(seconds))

    def _record(self, kind: str, **facts: Any) -> None:
        self._history.write(json.dumps({"kind": kind, **facts}) + "\n")


def _stay() -> NoReturn:
    """Hold what was open at the fork until killed."""
    while True:
        signal.pause()


async def _swallowed(seconds: float) -> None:
    """Sleep; a cancellation does nothing."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(seconds)


def candle_of(*, epoch: int, n: int, at: float) -> Candle:
    """A candle that says which write it is: `open` is the epoch, `high` the number, at a time of its own."""
    return Candle(
        open_time=round(at * 1e6),
        open=Decimal(epoch),
        high=Decimal(n),
        low=Decimal(0),
        close=Decimal(0),
        volume=Decimal(0),
        is_closed=True,
    )


if __name__ == "__main__":
    sys.exit(main())
