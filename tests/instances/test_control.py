"""Commands: whatever arrives is obeyed, refused or ignored with a trace, and never silences what comes after it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perseus.clock import iso
from perseus.instances.instance import Instance
from perseus.model import ConnectionState, InstanceStatus
from perseus.store import Store
from tests.support.instances import (
    Serving,
    answers,
    carried_out,
    entries_in,
    follow,
    holding,
    last_in,
    logged,
    payload,
    renewed,
    send,
    serving,
    setup_at,
    status_in,
    take_over,
    transitions_in,
    undecodable_command,
)
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

WARMING, ACTIVE, STOPPED = ConnectionState.WARMING, ConnectionState.ACTIVE, ConnectionState.STOPPED
OBEYED = ["accepted", "running", "done"]


def target_in(server: Server) -> InstanceStatus:
    """The tenure a command is meant for: the one in the status key."""
    status = status_in(server)
    assert status is not None, "nobody holds the exchange"
    return status


async def follow_slowly(me: Instance) -> None:
    """A feed whose warm-up takes minutes."""
    async with me.warming(symbol_count=1):
        await asyncio.sleep(300)


# -- start and stop ---------------------------------------------------------------------------------------------------


async def test_stop_and_start_are_answered_in_every_step(valkey: Server, store: Store, data_dir: Path) -> None:
    """The person who sent them has to see that they were received, that they are under way, and what came of them."""
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await served.reach(ACTIVE)
        first = target_in(valkey)
        stop = await send(store, "stop", target=first)
        assert [(reply.state, reply.reason) for reply in await answers(store, stop)][-1] == ("done", "stopped")
        await served.reach(STOPPED)
        assert first.epoch is not None
        assert transitions_in(valkey, first.epoch) == ["starting", "warming", "active", "stopping", "stopped"]
        desired = target_in(valkey).desired_state
        assert desired is not None
        assert (desired.state, desired.by) == ("stopped", "ops@example.com")
        assert await carried_out(store, "start", target=target_in(valkey)) == OBEYED
        await served.reach(ACTIVE)
        second = target_in(valkey)
        assert second.epoch is not None
        assert second.epoch > first.epoch, "a start begins a new tenure"
        assert transitions_in(valkey, second.epoch) == ["starting", "warming", "active"]


async def test_stop_while_a_start_still_warms_is_obeyed(valkey: Server, store: Store, data_dir: Path) -> None:
    """A warm-up takes minutes: a start under way must not hold up the stop, and must not be called done."""
    async with serving(setup_at(valkey.url, data_dir), follow_slowly, idle=True) as served:
        await wait_until_async(lambda: status_in(valkey), description="it has claimed")
        start = await send(store, "start", target=target_in(valkey))
        await served.reach(WARMING)
        assert await carried_out(store, "stop", target=target_in(valkey)) == OBEYED
        assert served.me.state is STOPPED
        assert [reply.state for reply in await answers(store, start)] == ["accepted", "running", "failed"]


async def test_stop_of_what_is_stopped_is_done_at_once(valkey: Server, store: Store, data_dir: Path) -> None:
    """Sent twice by two people, both have what they wanted; nothing is entered again."""
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await served.reach(ACTIVE)
        await carried_out(store, "stop", target=target_in(valkey))
        before = len(entries_in(valkey, "state_transition"))
        again = await answers(store, await send(store, "stop", target=target_in(valkey)))
        assert [(reply.state, reply.reason) for reply in again[1:]] == [("done", "it was stopped already")]
        assert len(entries_in(valkey, "state_transition")) == before


async def test_stop_in_idle_keeps_it_from_starting(valkey: Server, store: Store, data_dir: Path) -> None:
    """An instance that waits can be taken out of service as well, over the end of its process."""
    async with serving(setup_at(valkey.url, data_dir), idle=True):
        await wait_until_async(lambda: status_in(valkey), description="it has claimed")
        assert await carried_out(store, "stop", target=target_in(valkey)) == OBEYED
    last = last_in(valkey)
    assert last is not None
    assert last.desired_state is not None
    assert last.desired_state.state == "stopped"


async def test_start_of_what_is_active_is_refused(valkey: Server, store: Store, data_dir: Path) -> None:
    """Carried out, it would end a feed that works."""
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await served.reach(ACTIVE)
        replies = await answers(store, await send(store, "start", target=target_in(valkey)))
        assert [reply.state for reply in replies] == ["accepted", "refused"]
        assert replies[-1].reason == "it is active already"
        assert served.me.state is ACTIVE


async def test_second_start_is_refused_while_the_first_is_under_way(
    valkey: Server, store: Store, data_dir: Path
) -> None:
    """Both accepted, the second would be left over and undo the next stop."""
    with FaultProxy(valkey.url) as network:
        async with serving(setup_at(network.url, data_dir), follow_slowly, idle=True) as served:
            await wait_until_async(lambda: status_in(valkey), description="it has claimed")
            network.hold_requests(1, containing=b"state_transition")  # the entry before the state is entered
            starts = [await send(store, "start", target=target_in(valkey)) for _ in range(2)]
            assert [reply.state for reply in await answers(store, starts[1])] == ["accepted", "refused"]
            network.release()
            await served.reach(WARMING)
            await carried_out(store, "stop", target=target_in(valkey))
            replies = [reply.state for reply in await answers(store, starts[0])]
            assert replies == ["accepted", "running", "failed"]
            await renewed(valkey)
            assert served.me.state is STOPPED


# -- handlers of the program's own ------------------------------------------------------------------------------------


async def follow_with_handlers(me: Instance) -> None:
    """A feed that knows `reload` (which echoes what it was given), `break` and `stall`."""

    @me.on_command("reload")
    async def reload(given: dict[str, Any]) -> None:
        await me.report_error(f"reload was given {given}")

    @me.on_command("break")
    async def break_down(given: dict[str, Any]) -> None:
        raise KeyError(given["symbol"])

    @me.on_command("stall")
    async def stall(given: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    await follow(me)


async def test_failing_handler_is_answered_and_later_commands_work(
    valkey: Server, store: Store, data_dir: Path
) -> None:
    """A bug in one handler must not leave the exchange without a stop."""
    async with serving(setup_at(valkey.url, data_dir), follow_with_handlers) as served:
        await served.reach(ACTIVE)
        broken = await send(store, "break", target=target_in(valkey), payload={"symbol": "BTC-USDT"})
        replies = await answers(store, broken)
        assert [reply.state for reply in replies] == ["accepted", "running", "failed"]
        assert "BTC-USDT" in replies[-1].reason
        await logged(valkey, "command", commandId=broken.id, outcome="failed")
        reload = await send(store, "reload", target=target_in(valkey), payload={"symbols": ["ETH-USDT"]})
        assert [reply.state for reply in await answers(store, reload)] == OBEYED
        await logged(valkey, "error", error="reload was given {'symbols': ['ETH-USDT']}")
        assert await carried_out(store, "stop", target=target_in(valkey)) == OBEYED


async def test_handler_that_never_ends_holds_up_nothing(valkey: Server, store: Store, data_dir: Path) -> None:
    """Neither the commands after it nor the end of the process."""
    async with serving(setup_at(valkey.url, data_dir), follow_with_handlers) as served:
        await served.reach(ACTIVE)
        stalled = await send(store, "stall", target=target_in(valkey))
        assert (await answers(store, stalled, until="running"))[-1].state == "running"
        assert await carried_out(store, "stop", target=target_in(valkey)) == OBEYED
        async with asyncio.timeout(5):
            await served.end()


async def test_unknown_command_is_refused_by_name(valkey: Server, store: Store, data_dir: Path) -> None:
    """A newer control plane may know more commands than this instance."""
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await served.reach(ACTIVE)
        replies = await answers(store, await send(store, "defragment", target=target_in(valkey)))
        assert (replies[-1].state, replies[-1].reason) == ("refused", "this instance has no command 'defragment'")


# -- what must not be obeyed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"target_epoch": 7}, "it was meant for another tenure (epoch 7)"),
        ({"target_instance": "other"}, "it was meant for another tenure"),
        ({"expires_at": iso(1_000_000_000_000)}, "it expired at 2001-09-09T01:46:40.000Z"),
        ({"expires_at": "tomorrow"}, "its expiry 'tomorrow' cannot be read"),
    ],
)
async def test_command_that_must_not_be_obeyed_is_refused_and_logged(
    valkey: Server, store: Store, data_dir: Path, changed: dict[str, Any], why: str
) -> None:
    """Old, or meant for somebody else: the sender and the log both learn why nothing happened."""
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await served.reach(ACTIVE)
        stop = await send(store, "stop", target=target_in(valkey), **changed)
        replies = await answers(store, stop)
        assert [reply.state for reply in replies] == ["refused"]
        assert replies[0].reason.startswith(why)
        entry = await logged(valkey, "command", commandId=stop.id)
        assert (entry["outcome"], entry["command"], entry["issuedBy"]) == ("refused", "stop", "ops@example.com")
        assert entry["reason"].startswith(why)
        assert served.me.state is ACTIVE


async def test_command_sent_twice_is_obeyed_once(valkey: Server, store: Store, data_dir: Path) -> None:
    """Whoever can copy an entry of the stream could otherwise stop the exchange again after it was started."""
    async with serving(setup_at(valkey.url, data_dir), follow_with_handlers) as served:
        await served.reach(ACTIVE)
        reload = await send(store, "reload", target=target_in(valkey))
        assert (await answers(store, reload))[-1].state == "done"
        copy = await send(store, "reload", target=target_in(valkey), nonce=reload.nonce)
        replies = await answers(store, copy)
        assert [reply.state for reply in replies] == ["refused"]
        assert "carried out already" in replies[0].reason


@pytest.mark.parametrize("text", ["not JSON", "{}", '{"id": 5}', "[]", ""])
async def test_undecodable_command_is_ignored_with_an_error(
    valkey: Server, store: Store, data_dir: Path, text: str
) -> None:
    """Another release's or another program's: the log tells, and the next command is obeyed."""
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await served.reach(ACTIVE)
        await undecodable_command(store, text)
        assert await carried_out(store, "stop", target=target_in(valkey)) == OBEYED
        errors = [entry["error"] for entry in entries_in(valkey, "error")]
        assert any(error.startswith("A command could not be read and was ignored") for error in errors)
        await served.reach(STOPPED)


async def test_commands_of_the_tenure_before_are_not_read_again(valkey: Server, store: Store, data_dir: Path) -> None:
    """The stream keeps a thousand of them: a new tenure begins with what comes after its claim."""
    old = payload(epoch=5)
    for _ in range(3):
        await send(store, "stop", target=old)
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await served.reach(ACTIVE)
        assert await carried_out(store, "stop", target=target_in(valkey)) == OBEYED
        await logged(valkey, "command", outcome="done")
        assert len(entries_in(valkey, "command")) == 2, "accepted and done"


async def test_former_holder_leaves_the_new_holders_commands_alone(
    valkey: Server, store: Store, data_dir: Path
) -> None:
    """Its refusal would be final for the sender, while the new holder carries the command out."""
    async with holding(setup_at(valkey.url, data_dir)) as me:
        mine = await renewed(valkey)
        new = payload(instance_id="heir", epoch=(mine.epoch or 0) + 1)
        take_over(valkey, new)
        await wait_until_async(lambda: not me.holds, description="the loss is known")
        for_the_heir = await send(store, "defragment", target=new)
        for_us = await send(store, "defragment", target=mine)  # read after it, and answered
        assert (await answers(store, for_us))[-1].instance_id == me.identity.instance_id
        assert await answers(store, for_the_heir, wait_s=0.2) == []


# -- in every moment --------------------------------------------------------------------------------------------------


async def restless(me: Instance) -> None:
    """A feed that changes its phase all the time."""
    async with me.warming(symbol_count=1) as progress:
        await progress.update(done=1, total=1)
    async with me.active():
        while True:
            await asyncio.sleep(0.001)
            async with me.filling_gap(reason="a hole"):
                await asyncio.sleep(0.001)


async def stopped_soon(served: Serving) -> None:
    """It must be stopped within a moment, its process alive."""
    await served.reach(STOPPED, timeout=5)
    assert not served.me.is_start_pending


async def test_stop_in_any_moment_ends_in_stopped_and_a_start_works(valkey: Server, data_dir: Path) -> None:
    """Between two phases, in the middle of entering one: a stop that is lost, or kills the process, is no stop."""
    async with serving(setup_at(valkey.url, data_dir), restless) as served:
        await served.reach(ACTIVE)
        for n in range(100):
            await served.me.request_stop(by="tests", why=str(n), lasting=True)
            await stopped_soon(served)
            served.me.request_start(by="tests", reason=str(n))
            await wait_until_async(
                lambda: served.task.done() or served.me.state is not STOPPED, description="it starts", every=0
            )
            await asyncio.sleep(n * 0.0003)  # the moment of the next stop, up to 30 ms after the start
        await served.reach(ACTIVE)
    for entry in entries_in(valkey, "state_transition"):
        assert entry["toState"] != "stopped" or entry["fromState"] == "stopping"


async def test_stop_while_a_phase_is_being_entered_ends_in_stopped(valkey: Server, data_dir: Path) -> None:
    """On a slow network entering takes a while: the stop comes in between, and the phase is not entered after it."""
    proceed = asyncio.Event()

    async def steps(me: Instance) -> None:
        async with me.warming(symbol_count=1):
            pass
        await proceed.wait()
        async with me.active():
            await asyncio.Event().wait()

    with FaultProxy(valkey.url) as network:
        async with serving(setup_at(network.url, data_dir), steps) as served:
            await served.reach(WARMING)
            for stop_first in (True, False):
                network.replies.delay = 0.05
                if stop_first:
                    stopping = asyncio.create_task(served.me.request_stop(by="tests", why="", lasting=True))
                    await asyncio.sleep(0)
                    proceed.set()
                else:
                    proceed.set()
                    await asyncio.sleep(0.01)
                    stopping = asyncio.create_task(served.me.request_stop(by="tests", why="", lasting=True))
                await stopping
                await stopped_soon(served)
                network.replies.delay = 0.0
                proceed.clear()
                served.me.request_start(by="tests", reason="")
                await served.reach(WARMING)
            proceed.set()
            await served.reach(ACTIVE)


@pytest.mark.parametrize("delay_ms", [0, 1, 2, 5, 20])
async def test_stop_right_after_a_start_wins(valkey: Server, data_dir: Path, delay_ms: int) -> None:
    """The newest word counts: a start that is consumed late must not undo the stop after it."""
    async with serving(setup_at(valkey.url, data_dir)) as served:
        await served.reach(ACTIVE)
        await served.me.request_stop(by="tests", why="", lasting=True)
        await stopped_soon(served)
        served.me.request_start(by="tests", reason="")
        await asyncio.sleep(delay_ms / 1000)
        await served.me.request_stop(by="tests", why="", lasting=True)
        await stopped_soon(served)
        await renewed(valkey)
        assert served.me.state is STOPPED
        assert not served.me.may_start


async def test_start_accepted_while_it_is_starting_does_not_undo_the_next_stop(
    valkey: Server, store: Store, data_dir: Path
) -> None:
    """In idle a start is accepted although the process is about to start by itself: nothing of it may be left over."""
    with FaultProxy(valkey.url) as network:
        network.hold_requests(1, containing=b"state_transition")  # the entry before the state is entered
        async with serving(setup_at(network.url, data_dir)) as served:
            await wait_until_async(lambda: network.held_requests, description="it is about to start")
            start = await send(store, "start", target=target_in(valkey))
            await answers(store, start, until="running")
            network.release()
            await served.reach(ACTIVE)
            await served.me.request_stop(by="tests", why="", lasting=True)
            await stopped_soon(served)
            await renewed(valkey)
            assert served.me.state is STOPPED
