"""The README's first command and its kill, as a new user would do them: real processes from start to end."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from perseus import keys
from perseus.model import Timeframe
from perseus.simulator.market import Market
from perseus.store import Store
from perseus.store.embedded import url
from tests.support.processes import PerseusProcess, run_perseus
from tests.support.waiting import wait_until, wait_until_async
from tests.walkthrough.truth import BINANCE_ID, faults_of

SYMBOLS = 25
CANDLES = 60
WITHIN_S = 60.0  # what the README promises, from the program's start
SOAK_MINUTES = float(os.environ.get("PERSEUS_TEST_SOAK_MINUTES", "1.5"))


def card(data_dir: Path) -> dict[str, Any]:
    """What `perseus status binance --json` says, started as a user would beside the running network."""
    answer = run_perseus("status", "binance", "--json", data_dir=data_dir)
    cards = json.loads(answer.stdout)["instances"] if answer.stdout else [{}]
    return dict(cards[0])


async def symbols_of(store: Store) -> list[str]:
    """The symbols followed, read from the keys: the test's own server, so looking through all is fine."""
    found = await store.pipeline(["KEYS", keys.candles(BINANCE_ID, "*", Timeframe.M1.value)])
    return sorted(key.decode().split(":")[-2] for key in found[0])


@pytest.mark.timeout(SOAK_MINUTES * 60 + 240)
async def test_first_command_shows_a_network_whose_candles_are_true(data_dir: Path) -> None:
    """Data accuracy is the core value: every kept candle equals the market's, also after minutes live and a kill."""
    began = time.monotonic()
    with PerseusProcess("up", "--simulate", data_dir=data_dir) as up:
        wait_until(lambda: card(data_dir).get("health") == "active", description="binance is active", timeout=WITHIN_S)
        live = card(data_dir)
        assert time.monotonic() - began < WITHIN_S
        assert live["status"]["symbolCount"] == SYMBOLS
        store, market = Store(url(data_dir / "simulated")), Market()
        try:
            names = await symbols_of(store)
            assert len(names) == SYMBOLS
            await check(store, names, market=market)
            began_minute = int(await store.time_ms()) // 60_000
            end = time.monotonic() + SOAK_MINUTES * 60
            await wait_until_async(
                lambda: time.monotonic() > end, description="the soak is over", timeout=SOAK_MINUTES * 60 + 5, every=1
            )
            assert int(await store.time_ms()) // 60_000 > began_minute, "no minute ended while we looked"
            assert card(data_dir)["health"] == "active"
            await check(store, names, market=market)
            await kill_and_run_again(live["status"]["pid"], data_dir, store=store)
        finally:
            await store.close()
        assert up.stop_signal(signal.SIGTERM) == 0
    assert not up.descendants()


async def check(store: Store, names: list[str], *, market: Market) -> None:
    """No symbol may have a fault; a minute that ended just now may still be on its way."""

    async def faults() -> list[str]:
        now_ms = int(await store.time_ms())
        found = [await faults_of(store, name, market=market, least_closed=CANDLES, now_ms=now_ms) for name in names]
        return [fault for of_symbol in found for fault in of_symbol]

    async def is_true() -> bool:
        return not await faults()

    try:
        await wait_until_async(is_true, description="every kept candle is the market's", timeout=10, every=1)
    except AssertionError as error:
        raise AssertionError("\n".join((await faults())[:20])) from error


async def kill_and_run_again(pid: int, data_dir: Path, *, store: Store) -> None:
    """`kill -9`, then `perseus run binance` until it is let in: exactly one loss on record."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: card(data_dir).get("health") == "offline", description="the death is seen", timeout=60, every=1)
    with PerseusProcess("run", "binance", data_dir=data_dir) as again:
        wait_until(lambda: card(data_dir).get("health") == "active", description="active again", timeout=60, every=0.5)
        events = [entry.fields["event"] for entry in await store.entries(keys.log("binance"), count=1000)]
        assert events.count("instance_lost") == 1
        assert again.stop_signal(signal.SIGTERM) == 0
