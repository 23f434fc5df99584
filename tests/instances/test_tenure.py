"""One tenure after another: who is told of which end, what outlives it, and what a program of one's own sees of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import perseus
from perseus import keys
from perseus.clock import iso
from perseus.errors import BadConfiguration, ExchangeClaimed, LeaseLost, StaleEpoch, StopRequested, UnknownExchange
from perseus.instances.fence import Fence
from perseus.instances.heartbeat import ABANDONED, Heartbeat
from perseus.instances.instance import Instance
from perseus.instances.run import attached
from perseus.lease import Lease
from perseus.model import ConnectionState, DesiredState, InstanceStatus
from perseus.settings import Settings, load_settings
from perseus.store import Store, scripts
from perseus.timing import LeaseTiming
from tests.support.instances import (
    BINANCE,
    STATUS,
    TIMING,
    begun,
    carried_out,
    entries_in,
    follow,
    holding,
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
from tests.support.waiting import wait_until, wait_until_async

IDLE, ACTIVE, STOPPED = ConnectionState.IDLE, ConnectionState.ACTIVE, ConnectionState.STOPPED


async def lost(me: Instance) -> None:
    """Let the heartbeat find out at once what has become of the lease."""
    await me.set_symbol_count(99)
    await wait_until_async(lambda: not me.holds, description="the loss is known")


# -- who is told of which end -----------------------------------------------------------------------------------------


async def test_lapse_is_told_as_such(valkey: Server, data_dir: Path) -> None:
    """Nobody else served meanwhile: the instance lives, and its own gap is on record once."""
    async with holding(setup_at(valkey.url, data_dir)) as me:
        before = await begun(valkey, me)
        valkey.call("DEL", STATUS)
        await lost(me)
        await me.claim()
        entry = await logged(valkey, "lease_lapsed")
        assert (entry["epoch"], entry["newEpoch"]) == (str(before.epoch), str(me.epoch))
        assert entry["reason"] == "missing"
        await begun(valkey, me)
        assert len(entries_in(valkey)) == 1


async def test_lapse_that_only_the_heartbeat_knows_of_is_told(valkey: Server, data_dir: Path) -> None:
    """The work may meet the deadline before its own loop has heard why: the reason must not depend on who is first."""
    async with holding(setup_at(valkey.url, data_dir)) as me:
        await begun(valkey, me)
        valkey.call("DEL", STATUS)
        await me.set_symbol_count(99)
        wait_until(lambda: not me.holds, description="its thread knows")  # it blocks this loop, which cannot be told
        with pytest.raises(LeaseLost) as caught:
            me.ensure_held()
        await me.claim()
        assert (caught.value.reason, (await logged(valkey, "lease_lapsed"))["reason"]) == ("missing", "missing")


async def test_tenure_between_two_of_ours_is_the_one_that_is_lost(valkey: Server, data_dir: Path) -> None:
    """Whoever came in between recorded our end, and died: its end has one record, ours no second one."""
    async with holding(setup_at(valkey.url, data_dir)) as me:
        before = await begun(valkey, me)
        valkey.call("DEL", STATUS)
        await lost(me)
        leave_behind(valkey, payload(epoch=(before.epoch or 0) + 1, age_s=10))
        await me.claim()
        assert me.epoch > (before.epoch or 0) + 1
        await begun(valkey, me)
        assert [(entry["event"], entry["instanceId"]) for entry in entries_in(valkey)] == [("instance_lost", "other")]


async def test_released_tenure_between_is_no_loss(valkey: Server, data_dir: Path) -> None:
    """It ended on purpose."""
    async with holding(setup_at(valkey.url, data_dir)) as me:
        before = await begun(valkey, me)
        valkey.call("DEL", STATUS)
        await lost(me)
        leave_behind(valkey, payload(epoch=(before.epoch or 0) + 1, released_at=iso(1_795_378_173_828)))
        await me.claim()
        await begun(valkey, me)
        assert entries_in(valkey) == []


async def test_process_started_again_records_its_predecessors_end_once(valkey: Server, data_dir: Path) -> None:
    """The outage begins with the last heartbeat; every later start finds it on record."""
    leave_behind(valkey, payload(epoch=7, age_s=10))
    for _ in range(2):
        async with holding(setup_at(valkey.url, data_dir)) as me:
            (entry,) = entries_in(valkey, "instance_lost")
            assert (entry["epoch"], entry["hostname"]) == ("7", "host-b")
            await me.leave(by="tests")


async def test_claim_that_was_never_renewed_is_no_tenure(valkey: Server, data_dir: Path) -> None:
    """It was never a holder, so its end is no loss."""
    take_over(valkey, payload(rev=0), ttl_ms=1)
    await wait_until_async(lambda: status_in(valkey) is None, description="it has expired")
    async with holding(setup_at(valkey.url, data_dir)) as me:
        await begun(valkey, me)
        assert entries_in(valkey) == []


async def test_taken_exchange_is_a_lost_lease_also_when_it_is_found_at_the_claim(
    valkey: Server, data_dir: Path
) -> None:
    """After an outage the heir is only seen when claiming again: that is exit 4, not 3."""
    async with holding(setup_at(valkey.url, data_dir)) as me:
        await begun(valkey, me)
        valkey.call("DEL", STATUS)
        await lost(me)
        take_over(valkey, payload(epoch=me.status.epoch or 0))
        with pytest.raises(LeaseLost) as caught:
            await me.claim()
        assert not isinstance(caught.value, ExchangeClaimed)
        assert caught.value.reason == "taken"
        await logged(valkey, "lease_lost", reason="taken", holder="host-b")


async def test_stopped_exchange_stays_so_for_whoever_claims_next(valkey: Server, store: Store, data_dir: Path) -> None:
    """An admin's stop outlives the process it was given to, until somebody starts it again."""
    wanted = DesiredState(state="stopped", by="ops", at=iso(1_795_378_173_828))
    leave_behind(valkey, payload(age_s=10, desired_state=wanted, released_at=iso(1_795_378_173_828)))
    async with serving(setup_at(valkey.url, data_dir)) as served:
        status = await renewed(valkey)
        assert (status.connection_state, status.desired_state) == (IDLE, wanted)
        await renewed(valkey)
        assert entries_in(valkey) == []
        assert await carried_out(store, "start", target=status) == ["accepted", "running", "done"]
        await served.reach(ACTIVE)
        assert served.me.may_start


# -- nothing passes after a loss --------------------------------------------------------------------------------------


async def test_loss_is_final_although_a_renewal_is_answered_later(valkey: Server, data_dir: Path) -> None:
    """A refused write ends the tenure; an answer still on its way must not let the next write pass."""
    with FaultProxy(valkey.url) as network:
        async with holding(setup_at(network.url, data_dir)) as me:
            await begun(valkey, me)
            network.replies.holding = True
            await renewed(valkey)  # sent and done, its answer held up
            with pytest.raises(StaleEpoch):
                async with me.working():
                    raise me.refused(b"")
            network.release()
            for _ in range(20):
                assert not me.holds
                await asyncio.sleep(0.01)
            with pytest.raises(LeaseLost):
                me.ensure_held()
            with pytest.raises(LeaseLost):
                await me.write_value(keys.warmup(BINANCE.id), "{}", ttl_s=60)
    assert valkey.call("EXISTS", keys.warmup(BINANCE.id)) == 0


class Bystander:
    """A witness that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def lease_ended(self, ended: Lease, lost: LeaseLost) -> None:
        """Note the end."""
        self.told.append(lost)

    def renewal_failed(self, error: Exception) -> None:
        """Note the failure."""
        self.told.append(error)

    def renewal_recovered(self) -> None:
        """Note that it works again."""
        self.told.append("recovered")

    def loop_blocked(self, for_s: float) -> None:
        """Note the block."""
        self.told.append("blocked")


async def test_abandoned_deadline_is_never_moved_again(
    valkey: Server, data_dir: Path, connect: Callable[..., Store]
) -> None:
    """Two threads look at it: what the feed has given up, a renewal answered after that must not bring back."""
    bystander, timing = Bystander(), LeaseTiming(6.0, 18)
    with FaultProxy(valkey.url) as network:
        store = connect(network.url)
        async with attached(setup_at(valkey.url, data_dir)) as me:
            status = payload(instance_id=me.identity.instance_id, rev=0)
            take_over(valkey, status)
            heartbeat = Heartbeat(
                store=store,
                clock=me.clock,
                store_time=me.store_time,
                lease=Lease(BINANCE, me.identity.instance_id, status.claim_id or "", 1, me.clock.now(), timing),
                snapshot=lambda: status,
                last_tick=me.clock.now,
                loop=asyncio.get_running_loop(),
                witness=bystander,
                fence=Fence(),
            )
            await store.time_ms()
            valkey.call("SCRIPT", "LOAD", scripts.RENEW.text)  # that it is unknown would be an answer held up, too
            network.replies.holding = True
            published = asyncio.wrap_future(heartbeat.publish())
            running = asyncio.create_task(heartbeat.run())
            await renewed(valkey)  # done, its answer held up
            heartbeat.abandon()
            network.release()
            await published  # so the answer has come
            assert heartbeat.soft_deadline == ABANDONED
            await running
            assert [type(each) for each in bystander.told] == [LeaseLost]


async def test_phase_after_a_loss_is_not_entered(valkey: Server, data_dir: Path) -> None:
    """A feed that swallowed its cancellation goes on into the next phase: nobody may read that it did."""

    async def deaf(me: Instance) -> None:
        async with me.active():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                async with me.filling_gap(reason="reconnected"):
                    pytest.fail("it was entered")

    async with holding(setup_at(valkey.url, data_dir)) as me:
        async with me.warming(symbol_count=1):
            pass
        task = asyncio.create_task(deaf(me))
        await wait_until_async(lambda: me.state is ACTIVE, description="it is active")
        valkey.call("DEL", STATUS)
        await lost(me)
        with pytest.raises(LeaseLost):
            await task
        await me.report_error("the last entry")
        await logged(valkey, "error", error="the last entry")
        assert transitions_in(valkey, me.epoch) == ["starting", "warming", "active"]


async def test_deadline_passes_without_an_answer(valkey: Server, data_dir: Path) -> None:
    """Silence is no permission: a margin before the lease can end, nothing may be emitted any more."""
    with FaultProxy(valkey.url) as network:
        async with holding(setup_at(network.url, data_dir)) as me:
            await begun(valkey, me)
            network.requests.dropping = True
            silent_since = me.clock.now()
            with pytest.raises(LeaseLost) as caught:
                async with me.working():
                    await asyncio.Event().wait()
            assert caught.value.reason == "expired"
            assert me.clock.now() - silent_since < TIMING.ttl_s - TIMING.margin_s + 0.3
            assert status_in(valkey) is not None, "the lease itself still runs: that is the margin"


async def test_late_write_of_a_tenure_that_ended_is_refused(valkey: Server, data_dir: Path) -> None:
    """The last fence: the store itself looks who holds the exchange."""
    async with holding(setup_at(valkey.url, data_dir)) as me:
        await begun(valkey, me)
        valkey.call("DEL", STATUS)
        with pytest.raises(StaleEpoch) as caught:
            await me.write_value(keys.warmup(BINANCE.id), "{}", ttl_s=60)
        assert (caught.value.reason, caught.value.epoch) == ("missing", me.epoch)


# -- the program's own view -------------------------------------------------------------------------------------------


@pytest.fixture
def settings(valkey: Server, data_dir: Path) -> Settings:
    """What a program's environment would say."""
    environ = {
        "PERSEUS_STORE_URL": valkey.url,
        "PERSEUS_DATA_DIR": str(data_dir),
        "PERSEUS_HEARTBEAT_INTERVAL": "1",
        "PERSEUS_LEASE_TTL": "3",
        "PERSEUS_HOSTNAME": "host-a",
        "PERSEUS_ADMIN_EMAIL": "ada@example.com",
        "PERSEUS_PUBLIC_IP_URLS": "off",
    }
    return load_settings(environ=environ, directory=data_dir)


def test_documented_name_works_more_than_once() -> None:
    """Importing what is behind it must not put something else in its place."""
    code = "import perseus; assert all(callable(perseus.instance) for _ in range(2)); perseus.instance('binance')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


async def test_block_is_one_tenure(valkey: Server, settings: Settings) -> None:
    """Claimed before its first line, given back after its last, and in between the states it went through."""
    async with perseus.instance("binance", settings=settings) as me:
        epoch = me.epoch
        status = await begun(valkey, me)
        assert (status.epoch, status.hostname, status.admin_email) == (epoch, "host-a", "ada@example.com")
        async with me.warming(symbol_count=25) as progress:
            await progress.update(done=25, total=25)
        async with me.active():
            me.saw_message()
            await me.write_value(keys.warmup(BINANCE.id), "{}", ttl_s=60)
    assert status_in(valkey) is None
    assert transitions_in(valkey, epoch) == ["starting", "warming", "active", "stopping", "stopped"]
    final = last_in(valkey)
    assert final is not None
    assert (final.connection_state, final.released_by) == (STOPPED, "the program")
    async with perseus.instance("binance", settings=settings) as me:
        assert me.epoch > epoch


async def test_program_cancelled_before_the_block_gives_the_exchange_back(
    valkey: Server, proxy: FaultProxy, settings: Settings
) -> None:
    """It holds the lease while the loss before it is written down; left behind, nobody could claim for a TTL."""
    leave_behind(valkey, payload(age_s=100))

    async def serve() -> None:
        async with perseus.instance("binance", store=proxy.url, settings=settings):
            raise AssertionError("the log did not hold it up")

    valkey.call("SCRIPT", "LOAD", scripts.RECORD_LOSS.text)  # that it is unknown would be a lost reply, too
    proxy.lose_replies(1000, to=b"instance_lost")
    serving = asyncio.create_task(serve())
    lost = partial(entries_in, valkey, "instance_lost")
    await wait_until_async(lost, description="it records the loss, and hears nothing", timeout=30, every=0.005)
    assert status_in(valkey) is not None
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert status_in(valkey) is None


async def test_failing_block_raises_its_error_and_gives_the_exchange_back(valkey: Server, settings: Settings) -> None:
    """A bug of the program's must be seen as what it is."""
    with pytest.raises(ZeroDivisionError):
        async with perseus.instance("binance", settings=settings):
            raise ZeroDivisionError
    assert status_in(valkey) is None


async def test_stop_command_ends_the_block_quietly(valkey: Server, store: Store, settings: Settings) -> None:
    """An admin's stop is no failure of the program."""
    went_on = False
    sending: asyncio.Task[list[str]] | None = None
    async with perseus.instance("binance", settings=settings) as me:
        sending = asyncio.create_task(_stop_when_active(valkey, store, me))
        await follow(me)
        went_on = True
    assert not went_on
    assert sending is not None
    assert (await sending)[:2] == ["accepted", "running"]
    assert status_in(valkey) is None
    final = last_in(valkey)
    assert final is not None
    assert final.desired_state is not None
    assert (final.connection_state, final.desired_state.state) == (STOPPED, "stopped")


async def _stop_when_active(server: Server, store: Store, me: Instance) -> list[str]:
    await wait_until_async(lambda: me.state is ACTIVE, description="it is active")
    return await carried_out(store, "stop", target=me.status)


async def test_lost_lease_ends_the_block_with_its_reason(valkey: Server, settings: Settings) -> None:
    """The program has to know that somebody else emits now."""

    async def taken_from_us() -> None:
        async with perseus.instance("binance", settings=settings) as me:
            await begun(valkey, me)
            take_over(valkey, payload(epoch=me.epoch + 1))
            await follow(me)

    with pytest.raises(LeaseLost) as caught:
        await taken_from_us()
    assert caught.value.reason == "taken"
    status = status_in(valkey)
    assert status is not None
    assert status.instance_id == "other", "its lease was left alone"


async def test_served_exchange_is_refused_with_who_and_since_when(valkey: Server, settings: Settings) -> None:
    """The person at the keyboard needs to know whom to ask, and what to do."""
    registered_at = "2026-11-22T10:00:00.000Z"
    holder = payload(ip_address="203.0.113.7", admin_email="grace@example.com", registered_at=registered_at)
    take_over(valkey, holder, ttl_ms=31_000)
    with pytest.raises(ExchangeClaimed) as caught:
        async with perseus.instance("binance", settings=settings):
            pytest.fail("it was entered")
    for fact in ("host-b (203.0.113.7)", "grace@example.com", registered_at, "expires in 31 s", "perseus stop binance"):
        assert fact in str(caught.value)
    assert caught.value.status == holder
    assert status_in(valkey) == holder
    assert entries_in(valkey) == []


@pytest.mark.foreign_keys
async def test_key_without_ttl_is_reported_with_the_command_that_clears_it(valkey: Server, settings: Settings) -> None:
    """Another program wrote it, and it would shut everybody out for ever."""
    take_over(valkey, payload())
    valkey.call("PERSIST", STATUS)
    with pytest.raises(ExchangeClaimed, match=f"redis-cli DEL {STATUS}"):
        async with perseus.instance("binance", settings=settings):
            pytest.fail("it was entered")


async def test_unknown_exchange_and_store_are_refused_before_anything_starts(settings: Settings) -> None:
    """One clear sentence each."""
    with pytest.raises(UnknownExchange, match="binance"):
        async with perseus.instance("binanse", settings=settings):
            pytest.fail("it was entered")
    with pytest.raises(BadConfiguration, match="STORE_URL"):
        async with perseus.instance("binance", store="http://localhost", settings=settings):
            pytest.fail("it was entered")


async def test_store_argument_overrides_the_settings(valkey: Server, settings: Settings) -> None:
    """As documented: a program may name its store in its code."""
    with FaultProxy(valkey.url) as network:
        async with perseus.instance("binance", store=network.url, settings=settings):
            assert network.connections > 0


async def test_nothing_is_held_before_the_claim(valkey: Server, data_dir: Path) -> None:
    """Emitting without a lease is what all of this prevents."""
    async with attached(setup_at(valkey.url, data_dir)) as me:
        assert not me.holds
        with pytest.raises(LeaseLost):
            me.ensure_held()
        with pytest.raises(LeaseLost):
            _ = me.epoch
        with pytest.raises(LeaseLost):
            _ = me.claim_id
        with pytest.raises(LeaseLost):
            await me.write_value(keys.warmup(BINANCE.id), "{}", ttl_s=60)
        with pytest.raises(LeaseLost):
            await follow(me)
        await me.leave(by="tests")
    assert valkey.all_keys() == []


async def test_stop_before_the_first_phase_keeps_it_from_being_entered(valkey: Server, settings: Settings) -> None:
    """The program may still be loading when the stop comes."""
    entered = False
    async with perseus.instance("binance", settings=settings) as me:
        epoch = me.epoch
        await me.request_stop(by="ops", why="", lasting=True)
        async with me.warming(symbol_count=1):
            entered = True
    assert not entered
    assert transitions_in(valkey, epoch) == ["stopping", "stopped"]


async def test_stop_of_a_signal_lets_the_next_process_start(valkey: Server, settings: Settings) -> None:
    """Only an admin's stop lasts."""
    async with perseus.instance("binance", settings=settings) as me:
        await me.request_stop(by="signal", why="", lasting=False)
        with pytest.raises(StopRequested):
            await me.wait_for_start()
    final: InstanceStatus | None = last_in(valkey)
    assert final is not None
    assert final.desired_state is None
    async with perseus.instance("binance", settings=settings) as me:
        assert me.may_start
