"""The same faults on what people start: `perseus run` beside the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.support.processes import PerseusProcess
from tests.support.system import free_port
from tests.support.trials import INTERVAL_S, TTL_S, Trial

Repeat = Callable[..., Awaitable[None]]


@asynccontextmanager
async def simulator(trial: Trial) -> AsyncIterator[str]:
    """A simulated venue; its host and port."""
    port = free_port()
    process = PerseusProcess("simulate", "--port", str(port), data_dir=trial.directory / "simulator")
    with process:
        await trial.until(lambda: str(port) in process.output, description="the simulator listens")
        yield f"127.0.0.1:{port}"


def perseus_run(trial: Trial, host: str, venue: str) -> PerseusProcess:
    """Start `perseus run binance` with two symbols on a host."""
    settings = {
        "HEARTBEAT_INTERVAL": str(INTERVAL_S),
        "LEASE_TTL": str(TTL_S),
        "EXCHANGE_BINANCE_REST_URL": f"http://{venue}/binance",
        "EXCHANGE_BINANCE_WS_URL": f"ws://{venue}/binance",
    }
    process = PerseusProcess(
        *("run", "binance", "--symbols", "BTC-USDT,ETH-USDT", "--timeframes", "1m,5m"),
        data_dir=trial.directory / host,
        hostname=host,
        store_url=trial.server.url,
        settings=settings,
    )
    trial.cleanup.enter_context(process)
    return process


async def killed(trial: Trial) -> None:
    """kill -9, a refused start, a start."""
    async with simulator(trial) as venue:
        first = perseus_run(trial, "host-a", venue)
        dead = await trial.reach(first, "active")
        first.kill9()
        refused = perseus_run(trial, "host-b", venue)
        await trial.until(lambda: not refused.is_running, description="it is refused")
        assert refused.process.returncode == 3, refused.output[-2000:]
        await trial.gone()
        second = perseus_run(trial, "host-b", venue)
        await trial.reach(second, "active")
        assert [entry["epoch"] for entry in trial.entries("instance_lost")] == [str(dead["epoch"])]
        await trial.terminate(second)


async def test_killed_run_leaves_one_record(repeat: Repeat) -> None:
    """What the README's reader tries first."""
    await repeat(killed, judged=True)


async def paused(trial: Trial) -> None:
    """SIGSTOP past the TTL while another claims, then SIGCONT; the heir is ended in order."""
    async with simulator(trial) as venue:
        first = perseus_run(trial, "host-a", venue)
        await trial.reach(first, "active")
        await asyncio.sleep(trial.pause_s())
        first.sigstop()
        await trial.gone()
        second = perseus_run(trial, "host-b", venue)
        heir = await trial.reach(second, "active")
        first.sigcont()
        assert "host-b" in await trial.ended(first, 4)
        await trial.terminate(second)
        assert trial.transitions(heir["epoch"])[-2:] == ["stopping", "stopped"]
        assert trial.last()["releasedAt"]


async def test_paused_run_gives_way_and_the_heir_ends_in_order(repeat: Repeat) -> None:
    """A suspended laptop wakes up after its exchange was taken over."""
    await repeat(paused, judged=True)
