"""A program that serves an exchange through the public API and writes down what it believes.

`python -m tests.support.feed binance --history FILE`: claims, warms up, becomes active and writes numbered candles
through the lease check, as `perseus run` would with an adapter. Settings come from the environment as for `perseus`.
SIGUSR1 blocks its event loop for `--block` seconds. Exit codes are those of `perseus run`.

A line of FILE: {"kind": "claim", "at", "instance", "epoch"}, {"kind": "write", "instance", "epoch", "n", "asked",
"replied", "outcome", "lasting"}, {"kind": "phase", "at", "name"} or {"kind": "held", "at"}; times are boot-time
seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from perseus import candles, keys
from perseus.clock import SystemClock
from perseus.errors import LeaseLost, PerseusError, StaleEpoch, StoreUnavailable
from perseus.instances.instance import Instance
from perseus.instances.run import run_instance, setup_from
from perseus.model import Candle, Timeframe, exchange_named
from perseus.settings import load_settings

SYMBOL = "BTC-USDT"
NOTHING_TRIMMED = 1_000_000


def main() -> int:
    """Run the feed; its exit code."""
    options = _options()
    if options.variant:
        from tests.faults.variants import break_product

        break_product(options.variant)
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
    parser.add_argument("--linger", default="", help="STATE=SECONDS: how long to stay in starting, warming, stopping")
    parser.add_argument("--variant", default="", help="a deliberately broken product (tests/faults/variants.py)")
    return parser.parse_args()


async def _serve(options: argparse.Namespace) -> None:
    shutdown = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, shutdown.set)
    loop.add_signal_handler(signal.SIGUSR1, time.sleep, options.block)
    feed = Feed(options)
    await run_instance(
        setup_from(load_settings(), exchange_named(options.exchange)), feed.work, idle=options.idle, shutdown=shutdown
    )


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
        await self._linger("starting")
        async with me.warming(symbol_count=1) as progress:
            await progress.update(done=1, total=1)
            await self._linger("warming")
        self._record("phase", at=self._clock.now(), name="active")
        async with me.active(), asyncio.TaskGroup() as tasks:
            if self._options.watch:
                tasks.create_task(self._watch(me), name="watch")
            try:
                while True:
                    await self._emit(me)
                    await asyncio.sleep(1 / self._options.rate)
            finally:
                await self._linger("stopping")

    async def _watch(self, me: Instance) -> None:
        while True:
            at = self._clock.now()
            me.ensure_held()
            self._record("held", at=at)
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
