"""The same faults on what people start: `perseus run` beside the simulator."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.support.processes import PerseusProcess
from tests.support.system import free_port
from tests.support.trials import DURABLE, INTERVAL_S, TTL_S, Trial

Repeat = Callable[..., Awaitable[None]]


@asynccontextmanager
async def simulator(trial: Trial) -> AsyncIterator[tuple[str, PerseusProcess]]:
    """A simulated venue: its host and port, its process."""
    port = free_port()
    process = PerseusProcess("simulate", "--port", str(port), data_dir=trial.directory / "simulator")
    with process:
        await trial.until(lambda: str(port) in process.output, description="the simulator listens")
        yield f"127.0.0.1:{port}", process


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
    async with simulator(trial) as (venue, _):
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


async def everything_killed(trial: Trial) -> None:
    """kill -9 everything that `perseus up` started, and start it again with most of the lease to go."""
    async with simulator(trial) as (venue, _):
        settings = {
            "EXCHANGE_BINANCE_REST_URL": f"http://{venue}/binance",
            "EXCHANGE_BINANCE_WS_URL": f"ws://{venue}/binance",
        }
        network = PerseusProcess(
            *("up", "binance", "--symbols", "2"),
            data_dir=trial.directory / "host-a",
            store_url=trial.server.url,
            settings=settings,
        )
        trial.cleanup.enter_context(network)
        dead = await trial.until(lambda: is_active(trial), description="it is active")
        for process in network.descendants():
            process.kill()
        network.end()
        network.start()
        trial.fault_is_over(within_s=10, state="active")  # two programs start, and history is fetched
        heir = await trial.until(lambda: is_active(trial, above=dead["epoch"]), description="it is active again")
        assert heir["instanceId"] != dead["instanceId"]
        assert "has not run out" not in network.output
        assert [entry["epoch"] for entry in trial.entries("instance_lost")] == [str(dead["epoch"])]
        assert network.stop_signal() == 0


def is_active(trial: Trial, *, above: int = 0) -> dict[str, Any] | None:
    """The status, if it is active in a tenure after this one."""
    status = trial.status()
    return status if status.get("connectionState") == "active" and status["epoch"] > above else None


async def test_network_killed_on_this_host_is_back_at_once(repeat: Repeat) -> None:
    """A power cut, an out-of-memory kill: the same command again, and no 45 s of waiting for the dead."""
    await repeat(everything_killed, own_server={"config": DURABLE})


async def paused(trial: Trial) -> None:
    """SIGSTOP past the TTL, then a start elsewhere; the heir is ended in order."""
    async with simulator(trial) as (venue, _):
        first = perseus_run(trial, "host-a", venue)
        await trial.reach(first, "active")
        await asyncio.sleep(trial.pause_s())
        first.sigstop()
        await trial.gone()
        await trial.ended(first, -signal.SIGKILL, timeout=1)
        second = perseus_run(trial, "host-b", venue)
        heir = await trial.reach(second, "active")
        await trial.terminate(second)
        assert trial.transitions(heir["epoch"])[-2:] == ["stopping", "stopped"]
        assert trial.last()["releasedAt"]


async def test_paused_run_is_over_and_the_heir_ends_in_order(repeat: Repeat) -> None:
    """A process that somebody paused must not wake up after its exchange was taken over."""
    await repeat(paused, judged=True)


async def cut_off(trial: Trial) -> None:
    """Freeze the store and the venue, as when this host loses its network: no connection closes."""
    async with simulator(trial) as (venue, exchange):
        run = perseus_run(trial, "host-a", venue)
        old = await trial.reach(run, "active")
        await asyncio.sleep(trial.pause_s())
        trial.server.pause()
        exchange.sigstop()
        await asyncio.sleep(TTL_S + 1 + trial.pause_s())
        assert run.is_running, f"it was ended with {run.process.returncode} although its work could stop in time"
        trial.server.resume()
        exchange.sigcont()
        trial.fault_is_over(within_s=5, state="active")
        await trial.until(lambda: trial.status().get("epoch", 0) > old["epoch"], description="it holds a new epoch")
        await trial.reach(run, "active")
        await trial.terminate(run)


async def test_run_without_a_network_stops_in_time_and_comes_back(repeat: Repeat) -> None:
    """Its clean-up waits for answers that never come; if that took past the hard deadline, every outage would kill."""
    await repeat(cut_off, own_server={}, judged=True)
