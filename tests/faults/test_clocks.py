"""Wrong clocks and stepped clocks: nothing is trimmed, nobody claims too early, ages stay right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from perseus import keys, lease
from perseus.clock import StoreTime
from perseus.errors import ExchangeClaimed, ExchangeSettling
from perseus.lease import Claimed, Claimer
from perseus.model import InstanceStatus
from perseus.network.observe import Network
from perseus.store import Store
from perseus.timing import LeaseTiming
from tests.support.servers import server_seconds_ahead
from tests.support.trials import BINANCE, DURABLE, INTERVAL_S, Trial

Repeat = Callable[..., Awaitable[None]]
DAY_S = 86_400
OLD_ENTRIES = 450  # several of the nodes that trimming by `~` removes whole
STEPPABLE = {"steppable": True, "config": DURABLE}
WRONG_DAYS = pytest.mark.parametrize("days", [100, -100])


async def stepped(trial: Trial, seconds: float) -> None:
    """Step the server's clock to the host's plus `seconds`."""
    trial.server.step_clock(seconds)
    await trial.until(
        lambda: abs(server_seconds_ahead(trial.server) - seconds) < 1, description="the server's clock is stepped"
    )


async def heartbeat_age_s(trial: Trial) -> float:
    """What the network view says of the heartbeat's age."""
    async with trial.store() as store:
        (card,) = (await Network(store, exchanges=[BINANCE]).observe()).cards
    assert card.health == "active", card
    assert card.age_ms is not None
    return card.age_ms / 1000


def fill_log(trial: Trial) -> None:
    """Entries of long ago, by the server's clock as it is now."""
    with trial.server.client() as client, client.pipeline(transaction=False) as pipe:
        for n in range(OLD_ENTRIES):
            fields = ("event", "command", "instanceId", f"old-{n}", "epoch", "")
            pipe.execute_command("XADD", keys.log("binance"), "*", *fields)
        pipe.execute()  # at once: one by one, each waiting for the disk, they would hold up the other trials


async def wrong_by_days(trial: Trial, days: int) -> None:
    """Run an instance on a store whose clock is wrong by days, over a log that one of the clocks calls outdated."""
    if days < 0:
        await stepped(trial, days * DAY_S)
        trial.server.stop()
        trial.server.start()  # it knows nothing of another time
    fill_log(trial)
    await stepped(trial, days * DAY_S)
    feed = trial.feed("host-a")
    status = await trial.emitting(feed)
    assert trial.server.call("XLEN", keys.log("binance")) == OLD_ENTRIES + 3, "the log was trimmed by a wrong clock"
    assert -1 < await heartbeat_age_s(trial) < INTERVAL_S + 2
    assert status["connectedAt"][:10] == trial.entries()[-1]["timestamp"][:10]
    async with trial.store() as store:
        now_ms = await store.time_ms()
    assert abs(status["epoch"] / 1000 - now_ms) < 60_000, "the tenure is not of the store's time"
    await trial.terminate(feed)


@WRONG_DAYS
async def test_wrong_clock_trims_nothing_and_ages_stay_right(repeat: Repeat, days: int) -> None:
    """A host's wrong clock once erased the whole log; a store's must not do it either."""
    await repeat(partial(wrong_by_days, days=days), own_server=STEPPABLE)


async def set_back_by_days(trial: Trial) -> None:
    """The server starts with a clock far ahead, which is then corrected: by its own account it has not begun yet."""
    await stepped(trial, 100 * DAY_S)
    trial.server.stop()
    trial.server.start()
    await stepped(trial, 0)
    feed = trial.feed("host-a")
    await trial.emitting(feed)
    await trial.terminate(feed)


async def test_store_whose_clock_was_corrected_can_be_claimed(repeat: Repeat) -> None:
    """Its uptime is negative for 100 days: a claimer that waits for it must count on its own clock."""
    await repeat(set_back_by_days, own_server={"steppable": True})


async def stepped_under_a_holder(trial: Trial, seconds: int) -> None:
    """Step the server's clock in the middle of a lease."""
    feed = trial.feed("host-a")
    old = await trial.emitting(feed)
    await asyncio.sleep(trial.pause_s())
    trial.keeps_time = seconds < 0
    await stepped(trial, seconds)
    trial.fault_is_over(within_s=2)
    if seconds > 0:  # the store says that the lease is over
        await trial.until(lambda: trial.status().get("epoch", 0) > old["epoch"], description="it holds a new epoch")
    await trial.until(lambda: "clock_step" in feed.output, description="the step is warned of")
    new = await trial.emitting(feed)
    assert (new["epoch"] > old["epoch"]) == (seconds > 0)
    await asyncio.sleep(INTERVAL_S)
    assert -1 < await heartbeat_age_s(trial) < INTERVAL_S + 2
    assert trial.entries("instance_lost") == []
    await trial.terminate(feed)


@pytest.mark.parametrize("seconds", [60, -60])
async def test_holder_survives_a_step_of_the_stores_clock(repeat: Repeat, seconds: int) -> None:
    """NTP corrects a server: the exchange must be served again by itself, and no loss be reported."""
    await repeat(partial(stepped_under_a_holder, seconds=seconds), own_server=STEPPABLE)


LONG = LeaseTiming(3, 9)


class Other:
    """A claimer in this process, on another host as far as the store can tell."""

    def __init__(self, trial: Trial, store: Store) -> None:
        self._store = store
        self._claimer = Claimer(
            store, clock=trial.clock, store_time=StoreTime(trial.clock), exchange=BINANCE, instance_id="other"
        )
        status: dict[str, Any] = trial.status() | {
            "instanceId": "other",
            "claimId": "other",
            "hostname": "host-b",
            "lockFile": None,
        }
        self._status = msgspec.structs.replace(msgspec.convert(status, InstanceStatus), rev=0)

    async def claim(self) -> Claimed:
        """Claim, as `perseus run` would."""
        return await self._claimer.claim(self._status, timing=LONG, must_settle=False)

    async def renew(self, claimed: Claimed) -> None:
        """Show that it lives: an unrenewed claim may be given back."""
        status = msgspec.structs.replace(self._status, rev=1, epoch=claimed.lease.epoch)
        renewal = await lease.renew(self._store, claimed.lease, status, kind="heartbeat")
        assert renewal.outcome == "RENEWED"


async def stepped_before_a_claimer_that_saw(trial: Trial) -> None:
    """A claimer sees a lease of a holder that then pauses; the server's clock jumps past the lease's end."""
    feed = trial.feed("host-a", interval_s=LONG.interval_s, ttl_s=LONG.ttl_s)
    await trial.emitting(feed)
    async with trial.store() as store:
        other = Other(trial, store)
        feed.sigstop()
        with pytest.raises(ExchangeClaimed) as seen:
            await other.claim()
        assert seen.value.ttl_ms is not None
        ends_at = trial.clock.now() + seen.value.ttl_ms / 1000
        trial.keeps_time = False
        await stepped(trial, 60)
        await trial.gone()
        while True:
            try:
                claimed = await other.claim()
            except ExchangeSettling as settling:
                await asyncio.sleep(min(0.05, settling.wait_ms / 1000))
            else:
                break
        early_s = ends_at - trial.clock.now()
        assert early_s < 0.05, f"it claimed {early_s:.2f} s before the lease it had seen could end"
        await other.renew(claimed)
        feed.sigcont()
        assert "host-b" in await trial.ended(feed, 4)


async def test_claimer_that_saw_a_lease_waits_for_its_end_on_its_own_clock(repeat: Repeat) -> None:
    """Expiry in the store is wall time: the key's absence proves nothing after a step."""
    await repeat(stepped_before_a_claimer_that_saw, own_server=STEPPABLE)


async def stepped_before_a_newcomer(trial: Trial) -> None:
    """The clock jumps past the lease's end, and a newcomer claims while the holder goes on writing."""
    feed = trial.feed("host-a", "--rate", "0.7", interval_s=LONG.interval_s, ttl_s=LONG.ttl_s)
    old = await trial.emitting(feed, writes=1)
    trial.keeps_time = False
    async with trial.store() as store:
        other = Other(trial, store)
        rev = trial.status()["rev"]
        await trial.until(lambda: trial.status()["rev"] > rev, description="a renewal has just landed")
        accepted = len(trial.accepted(feed))
        await trial.until(lambda: len(trial.accepted(feed)) > accepted, description="a write was just accepted")
        await stepped(trial, 60)
        claimed = await other.claim()
    assert claimed.lease.epoch > old["epoch"]
    assert "Traceback" not in await trial.ended(feed, 4)
    refused = [write for write in feed.recorded("write") if write["outcome"] == "refused"]
    assert len(refused) == 1, "the old holder's next write is refused, and it stops"


async def test_old_holder_is_refused_once_another_holds(repeat: Repeat) -> None:
    """A step can give the exchange to two believers; the store accepts writes of one only."""
    await repeat(stepped_before_a_newcomer, own_server=STEPPABLE)
