"""The end of a process: in whatever moment it comes, the exchange is given back and nothing is left running."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from perseus.errors import ExchangeClaimed, LeaseLost
from perseus.instances import run
from perseus.instances.instance import Instance
from perseus.model import ConnectionState
from tests.support.instances import (
    EPOCH,
    LAST,
    Serving,
    entries_in,
    follow,
    last_in,
    leave_behind,
    logged,
    payload,
    renewed,
    serving,
    setup_at,
    status_in,
    take_over,
    transitions_in,
)
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

WARMING, ACTIVE, STOPPED = ConnectionState.WARMING, ConnectionState.ACTIVE, ConnectionState.STOPPED
End = Callable[[Serving], object]


def signalled(served: Serving) -> None:
    """As a signal ends it."""
    served.shutdown.set()


def cancelled(served: Serving) -> None:
    """As a program ends it that runs it in a task of its own."""
    served.task.cancel()


ENDS = pytest.mark.parametrize("end", [signalled, cancelled])


async def ended(served: Serving, *, within_s: float = run.ORDERLY_END_S - 2) -> None:
    """Wait for its end, by whichever of the two; unless said otherwise without waiting for a feed in vain."""
    await asyncio.wait({served.task}, timeout=within_s)
    assert served.task.done(), f"it still runs after {within_s:g} s"
    if not served.task.cancelled():
        served.task.result()


def assert_nothing_left() -> None:
    """No task but the test's own, and no coordination thread."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert [task.get_name() for task in tasks] == []
    assert [thread for thread in threading.enumerate() if thread.name == "coordination"] == []


# -- in every state ---------------------------------------------------------------------------------------------------


@ENDS
async def test_active_instance_gives_the_exchange_back(valkey: Server, data_dir: Path, end: End) -> None:
    """The next one may start at once, and nobody is told of a loss."""
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await served.reach(ACTIVE)
        epoch = served.me.epoch
        end(served)
        await ended(served)
        assert_nothing_left()
    assert status_in(valkey) is None
    last = last_in(valkey)
    assert last is not None
    assert (last.connection_state, last.epoch) == (STOPPED, epoch)
    assert last.released_at is not None
    assert last.desired_state is not None
    assert last.desired_state.state == "running", "a process that ends is no admin's stop"
    assert transitions_in(valkey, epoch) == ["starting", "warming", "active", "stopping", "stopped"]


@ENDS
async def test_instance_that_waits_in_idle_gives_the_exchange_back(valkey: Server, data_dir: Path, end: End) -> None:
    """It holds the lease in every state."""
    async with serving(setup_at(valkey.url, data_dir), idle=True) as served:
        status = await renewed(valkey)
        end(served)
        await ended(served)
        assert_nothing_left()
    assert status_in(valkey) is None
    assert status.epoch is not None
    assert transitions_in(valkey, status.epoch) == ["stopping", "stopped"]


@ENDS
async def test_stopped_instance_gives_the_exchange_back(valkey: Server, data_dir: Path, end: End) -> None:
    """Nothing is entered again, and what the admin wanted is kept for whoever claims next."""
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await served.reach(ACTIVE)
        epoch = served.me.epoch
        await served.me.request_stop(by="ops", why="", lasting=True)
        await served.reach(STOPPED)
        end(served)
        await ended(served)
        assert_nothing_left()
    last = last_in(valkey)
    assert last is not None
    assert last.desired_state is not None
    assert (last.desired_state.state, last.desired_state.by) == ("stopped", "ops")
    assert transitions_in(valkey, epoch)[-2:] == ["stopping", "stopped"]


@ENDS
async def test_end_while_a_stop_is_carried_out_is_both(valkey: Server, data_dir: Path, end: End) -> None:
    """Work that takes a moment to end is waited for, once, and the stop stays on record."""

    async def takes_a_moment(me: Instance) -> None:
        try:
            await follow(me)
        finally:
            await asyncio.sleep(0.3)

    async with serving(setup_at(valkey.url, data_dir), takes_a_moment) as served:
        await served.reach(ACTIVE)
        epoch = served.me.epoch
        await served.me.request_stop(by="ops", why="", lasting=True)
        end(served)
        await ended(served)
        assert_nothing_left()
    assert transitions_in(valkey, epoch)[-2:] == ["stopping", "stopped"]
    assert status_in(valkey) is None


@ENDS
async def test_end_in_any_moment_of_a_start_leaves_nothing_behind(valkey: Server, data_dir: Path, end: End) -> None:
    """Connecting, claiming, entering a state: a signal does not wait for a good moment."""
    for n in range(40):
        async with serving(setup_at(valkey.url, data_dir)) as served:
            await asyncio.sleep(n * 0.0008)
            end(served)
            await ended(served)
            assert_nothing_left()
        assert status_in(valkey) is None, f"ended after {n * 0.8:.1f} ms"


async def test_feeds_own_failure_gives_the_exchange_back_and_is_logged(valkey: Server, data_dir: Path) -> None:
    """A supervisor starts it again: it must not find its own lease in the way, and the reason must be on record."""

    async def fails(me: Instance) -> None:
        async with me.warming(symbol_count=1):
            raise ZeroDivisionError("a bug of the feed")

    async with serving(setup_at(valkey.url, data_dir), fails) as served:
        with pytest.raises(ZeroDivisionError):
            await served.task
    assert status_in(valkey) is None
    await logged(valkey, "error", error="a bug of the feed", state="warming")


async def test_feed_that_ends_by_itself_is_an_error(valkey: Server, data_dir: Path) -> None:
    """Serving nothing while holding the lease would look alive."""

    async def ends(me: Instance) -> None:
        async with me.warming(symbol_count=1):
            pass

    async with serving(setup_at(valkey.url, data_dir), ends) as served:
        with pytest.raises(Exception, match="ended by itself"):
            await served.task
    assert status_in(valkey) is None


# -- a feed that does not want to end ---------------------------------------------------------------------------------


async def deaf_once(me: Instance) -> None:
    """A feed with a library in it that swallows a cancellation and goes on."""
    async with me.warming(symbol_count=1):
        pass
    async with me.active():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()


@ENDS
async def test_feed_that_swallows_a_cancellation_ends_all_the_same(
    valkey: Server, data_dir: Path, monkeypatch: pytest.MonkeyPatch, end: End
) -> None:
    """A service manager kills what does not end in time, and a kill is a loss."""
    monkeypatch.setattr(run, "ORDERLY_END_S", 0.5)
    async with serving(setup_at(valkey.url, data_dir), deaf_once) as served:
        await served.reach(ACTIVE)
        end(served)
        await ended(served)
        assert_nothing_left()
    assert status_in(valkey) is None


# -- in the middle of a claim -----------------------------------------------------------------------------------------


@ENDS
async def test_end_while_a_claims_answer_is_under_way_gives_it_back(valkey: Server, data_dir: Path, end: End) -> None:
    """Made, but its answer never read: the key would keep everybody out for a TTL, served by nobody."""
    with FaultProxy(valkey.url) as network:
        async with serving(setup_at(network.url, data_dir)) as served:
            network.replies.delay = 0.2
            await wait_until_async(lambda: status_in(valkey), description="the claim has landed", every=0.005)
            valkey.call("CONFIG", "RESETSTAT")
            end(served)
            await ended(served)
            assert_nothing_left()
            assert status_in(valkey) is None
            assert b"expired_keys:0\r\n" in valkey.call("INFO", "stats"), "it was not given back, it ran out"
    assert last_in(valkey) is None, "it was never renewed, so it was never a tenure"
    assert entries_in(valkey) == []


@ENDS
async def test_end_while_a_claim_is_held_up_in_the_network_is_bounded(valkey: Server, data_dir: Path, end: End) -> None:
    """Whether it will land is unknown; the process must end all the same, and gives back what might be there."""
    with FaultProxy(valkey.url) as network:
        network.hold_requests(1, containing=EPOCH.encode())
        async with serving(setup_at(network.url, data_dir)) as served:
            await wait_until_async(lambda: network.held_requests, description="the claim is held up")
            end(served)
            await ended(served)
            assert_nothing_left()
        assert status_in(valkey) is None


@ENDS
async def test_end_while_a_loss_is_recorded_keeps_the_snapshot_for_the_next(
    valkey: Server, data_dir: Path, end: End
) -> None:
    """Overwritten, nobody would ever learn that the tenure before was lost."""
    leave_behind(valkey, payload(epoch=5, age_s=10))
    snapshot = valkey.call("GET", LAST)
    with FaultProxy(valkey.url) as network:
        network.hold_requests(1, containing=b"instance_lost")
        async with serving(setup_at(network.url, data_dir)) as served:
            await wait_until_async(lambda: network.held_requests, description="the record is held up")
            assert status_in(valkey) is not None
            end(served)
            await ended(served)
            assert_nothing_left()
        assert status_in(valkey) is None
        assert valkey.call("GET", LAST) == snapshot
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await served.reach(ACTIVE)
    (lost,) = entries_in(valkey, "instance_lost")
    assert (lost["instanceId"], lost["epoch"]) == ("other", "5")


@ENDS
async def test_end_while_waiting_for_the_lease_before_leaves_no_trace(valkey: Server, data_dir: Path, end: End) -> None:
    """It never held anything."""
    leave_behind(valkey, payload(age_s=0, ttl_s=30))
    valkey.call("CONFIG", "RESETSTAT")
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await wait_until_async(lambda: b"cmdstat_pttl:" in valkey.call("INFO", "commandstats"), description="it waits")
        end(served)
        await ended(served)
        assert_nothing_left()
    assert valkey.all_keys() == [LAST]


# -- without a lease, without a store ---------------------------------------------------------------------------------


async def test_end_after_another_took_over_leaves_its_lease_alone(valkey: Server, data_dir: Path) -> None:
    """Releasing what is not ours would let a third one in."""
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await served.reach(ACTIVE)
        heir = payload(instance_id="heir", epoch=served.me.epoch + 1)
        take_over(valkey, heir)
        served.shutdown.set()
        await ended(served)
    assert status_in(valkey) == heir
    assert last_in(valkey) != heir


async def test_instance_whose_exchange_is_taken_ends_with_a_lost_lease(valkey: Server, data_dir: Path) -> None:
    """Claiming again and again beside the new holder would only be noise; the log says who has it."""
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await served.reach(ACTIVE)
        take_over(valkey, payload(instance_id="heir", epoch=served.me.epoch + 1))
        with pytest.raises(LeaseLost) as caught:
            await served.task
    assert caught.value.reason == "taken"
    (entry,) = entries_in(valkey, "lease_lost")
    assert (entry["reason"], entry["holder"]) == ("taken", "host-b (heir)")


async def test_second_instance_is_refused_and_disturbs_nothing(valkey: Server, data_dir: Path) -> None:
    """Its end must not touch the first one's lease, log or commands."""
    async with serving(setup_at(valkey.url, data_dir)) as first:
        await first.reach(ACTIVE)
        before = len(entries_in(valkey))
        async with serving(setup_at(valkey.url, data_dir, hostname="host-b")) as second:
            with pytest.raises(ExchangeClaimed, match="host-a"):
                await second.task
        await renewed(valkey)
        assert first.me.holds
        assert len(entries_in(valkey)) == before


async def test_end_while_the_store_is_away_is_bounded(valkey: Server, data_dir: Path) -> None:
    """Nothing can be released then; the process must end all the same, before a service manager's patience does."""
    with FaultProxy(valkey.url) as network:
        async with serving(setup_at(network.url, data_dir)) as served:
            await served.reach(ACTIVE)
            network.requests.dropping = True
            served.shutdown.set()
            await ended(served, within_s=40)  # TimeoutStopSec in docs/deploy.md
            assert_nothing_left()


async def test_key_that_is_taken_away_again_and_again_is_no_reason_to_hurry(valkey: Server, data_dir: Path) -> None:
    """Something that deletes the key as soon as it is there must not be answered by hundreds of claims a second."""
    setup = setup_at(valkey.url, data_dir)
    async with serving(setup, follow):
        await wait_until_async(lambda: logged(valkey, "state_transition"), description="it has begun to work")
        first = int(valkey.call("GET", EPOCH))
        began, seen = time.monotonic(), {first}

        def are_many() -> bool:
            valkey.call("DEL", "exchange:2:status")
            seen.add(int(valkey.call("GET", EPOCH)))
            return len(seen) > 10

        await wait_until_async(are_many, description="it has claimed ten times", every=0.002)
    assert time.monotonic() - began > (10 - 3) * setup.timing.retry_s
