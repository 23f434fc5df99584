"""A notifier's side of the store, without its loop: for those who look at whether people are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from perseus import alerting, keys
from perseus.alerting import ChannelHealth, Health, Tenure
from perseus.clock import SystemClock, iso
from perseus.store import Store
from tests.support.waiting import wait_until_async

ANNOUNCED = ("offline", "recovered")


def channel(name: str = "ops", state: alerting.ChannelWord = "ok", **fields: Any) -> ChannelHealth:
    """A channel that works, or not."""
    known = {"last_success_at": None, "queued": 0, "oldest_unsent_at": None, "reason": None}
    return ChannelHealth(name=name, state=state, **(known | fields))


@asynccontextmanager
async def leading(store: Store, *channels: ChannelHealth) -> AsyncIterator[Tenure]:
    """Hold the notifier's lease while the block runs, and say how these channels are."""
    tenure = await alerting.claim(
        store, clock=SystemClock(), instance_id="n-1", hostname="fra-2", version="0.5.0", channels=len(channels)
    )
    assert tenure is not None

    async def renew() -> None:
        while await tenure.renew():
            await asyncio.sleep(alerting.RENEW_EVERY_S)

    async with asyncio.TaskGroup() as tasks:
        renewing = tasks.create_task(renew())
        await say(tenure, channels)
        try:
            yield tenure
        finally:
            renewing.cancel()
            await tenure.give_back()


async def say(
    tenure: Tenure,
    channels: Sequence[ChannelHealth],
    *,
    tests: Mapping[str, alerting.TestOutcome] | None = None,
    trouble: str | None = None,
) -> None:
    """What the notifier says of itself from now on."""
    health = Health(
        saved_at=iso(SystemClock().wall_ms()),
        channels=channels,
        announced=ANNOUNCED,
        trouble=trouble,
        tests=dict(tests or {}),
    )
    assert await tenure.remember({"health": msgspec.json.encode(health)})


async def answer_test(store: Store, tenure: Tenure, outcome: alerting.TestOutcome, *channels: ChannelHealth) -> str:
    """Wait for a request for a test, say what became of it, and return who asked, for which channel."""
    requests = await wait_until_async(
        lambda: store.entries(keys.notifier_requests(), count=1), description="a test is asked for"
    )
    await say(tenure, channels, tests={requests[0].id: outcome})
    fields = requests[0].fields
    return f"{fields['by']} {fields['channel']}"
