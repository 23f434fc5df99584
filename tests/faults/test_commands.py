"""A stop command outlives the process it was given to; a start brings the exchange back with a higher epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from tests.support.trials import Trial

Repeat = Callable[..., Awaitable[None]]


async def stopped_and_restarted(trial: Trial, how: str) -> None:
    """Stop the work by command, end the process, start it again, and then start the work by command."""
    first = trial.feed("host-a")
    old = await trial.emitting(first)
    await asyncio.sleep(trial.pause_s())
    assert await trial.command("stop") == ["accepted", "running", "done"]
    assert trial.transitions(old["epoch"])[-2:] == ["stopping", "stopped"]
    quiet = len(first.recorded("write"))
    assert first.is_running
    assert (await trial.reach(first, "stopped"))["desiredState"]["by"] == "tests"
    if how == "ended":
        await trial.terminate(first)
    else:
        first.kill9()
        await trial.gone()
    second = trial.feed("host-b")
    idle = await trial.reach(second, "idle")
    assert idle["epoch"] > old["epoch"]
    await trial.until(
        lambda: (trial.status().get("desiredState") or {}).get("state") == "stopped", description="it says so"
    )
    assert len(first.recorded("write")) == quiet
    assert await trial.command("start") == ["accepted", "running", "done"]
    await trial.emitting(second)
    await trial.terminate(second)
    assert trial.entries("instance_lost") == [], "it was stopped on purpose"


@pytest.mark.parametrize("how", ["ended", "killed"])
async def test_stopped_exchange_stays_stopped_over_a_restart(repeat: Repeat, how: str) -> None:
    """An admin took it out of service: no supervisor's restart may put it back, and no alarm may follow."""
    await repeat(partial(stopped_and_restarted, how=how))


async def stopped_and_started(trial: Trial) -> None:
    """Stop and start the work of one process, three times."""
    feed = trial.feed("host-a")
    epochs = [(await trial.emitting(feed))["epoch"]]
    for _ in range(3):
        await trial.command("stop")
        await asyncio.sleep(trial.pause_s(0.3))
        assert await trial.command("start") == ["accepted", "running", "done"]
        await trial.until(lambda: trial.status().get("epoch", 0) > epochs[-1], description="a new tenure")
        status = await trial.emitting(feed)
        assert trial.transitions(status["epoch"]) == ["starting", "warming", "active"]
        epochs.append(status["epoch"])
    assert epochs == sorted(set(epochs)), "each start is a tenure of its own"
    await trial.terminate(feed)


async def test_each_start_raises_the_epoch(repeat: Repeat) -> None:
    """A write delayed from before the stop must not be accepted after the start."""
    await repeat(stopped_and_started)


async def stopped_while_warming(trial: Trial) -> None:
    """Start the work by command and stop it again while it is still fetching history."""
    feed = trial.feed("host-a", "--idle", "--linger", "warming=60")
    await trial.reach(feed, "idle")
    await trial.command("start", until="running")
    await trial.reach(feed, "warming")
    assert await trial.command("stop") == ["accepted", "running", "done"]
    await trial.reach(feed, "stopped")
    await trial.terminate(feed)


async def test_stop_reaches_an_instance_that_is_still_starting(repeat: Repeat) -> None:
    """A warm-up takes minutes: the start command before must not hold up the stop until its own end."""
    await repeat(stopped_while_warming)
