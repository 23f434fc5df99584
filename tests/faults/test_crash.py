"""A process that dies without a word: nobody serves before its lease is over, and exactly one record tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.support.trials import Trial

Repeat = Callable[..., Awaitable[None]]


async def killed_and_claimed_elsewhere(trial: Trial) -> None:
    """kill -9 while it writes; another host is refused while the lease lasts, and serves after it."""
    first = trial.feed("host-a")
    dead = await trial.emitting(first)
    await asyncio.sleep(trial.pause_s())
    first.kill9()
    told = await trial.ended(trial.feed("host-b"), 3)
    assert "host-a (IP unknown)" in told
    assert f"connected since {dead['connectedAt']}" in told
    await trial.gone()
    trial.fault_is_over(within_s=2)
    second = trial.feed("host-b")
    heir = await trial.emitting(second)
    assert heir["epoch"] > dead["epoch"], "no new epoch"
    (lost,) = trial.entries("instance_lost")
    assert (lost["instanceId"], lost["epoch"]) == (dead["instanceId"], str(dead["epoch"]))
    assert (lost["hostname"], lost["state"], lost["detectedBy"]) == ("host-a", "active", heir["instanceId"])
    assert lost["lastHeartbeat"] >= dead["lastHeartbeat"]
    await trial.terminate(second)


async def test_killed_instance_leaves_one_record_and_its_exchange_to_another_host(repeat: Repeat) -> None:
    """The commonest failure there is: the heir must know who died, once, and nobody may serve beside the dead."""
    await repeat(killed_and_claimed_elsewhere)
