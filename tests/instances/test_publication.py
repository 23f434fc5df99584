"""What an instance says of itself: readable whatever it was told, true in every phase, and there within a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from perseus.clock import unix_ms
from perseus.errors import IllegalTransition, StopRequested
from perseus.instances.instance import Instance
from perseus.instances.lifecycle import check
from perseus.instances.run import attached
from perseus.model import ConnectionState, InstanceStatus
from perseus.timing import LeaseTiming
from tests.support.instances import (
    DURABLE,
    entries_in,
    holding,
    last_in,
    logged,
    renewed,
    setup_at,
    status_in,
    transitions_in,
)
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

StartServer = Callable[..., Server]
STATES = list(ConnectionState)
SLOW = LeaseTiming(60.0, 180)


@pytest.fixture
async def me(valkey: Server, data_dir: Path) -> AsyncIterator[Instance]:
    """An instance that has claimed and does nothing yet."""
    async with holding(setup_at(valkey.url, data_dir)) as me:
        yield me


async def published(server: Server, **fields: Any) -> InstanceStatus:
    """Wait until the status in the store has these fields; it."""

    def found() -> InstanceStatus | None:
        status = status_in(server)
        return status if status and all(getattr(status, name) == value for name, value in fields.items()) else None

    status = await wait_until_async(found, description=f"the status says {fields}", every=0.005)
    assert status is not None
    return status


# -- whatever it is told ----------------------------------------------------------------------------------------------

ABSURD = {
    "a lone surrogate": "bad frame \ud800 here",
    "nothing": "",
    "only blanks": " \n\t ",
    "several lines": "first\r\nsecond",
    "a hundred thousand characters": "x" * 100_000,
    "control characters": "\x00\x1b[31m\x7f",
    "quotes and braces": '"}{\\" "epoch": 1',
    "other scripts": "\u2028\U0001f4a5 отказ 失敗",
}


@pytest.mark.parametrize("text", ABSURD.values(), ids=ABSURD)
async def test_absurd_error_ends_neither_heartbeat_nor_log(valkey: Server, me: Instance, text: str) -> None:
    """Remote text comes as it is: one message that cannot be encoded must not cost the lease."""
    await me.report_error(ValueError(text))
    shown = me.status.last_error
    assert shown
    assert len(shown) <= 300
    assert "\n" not in shown
    await published(valkey, last_error=shown)
    await logged(valkey, "error", error=shown)
    await me.report_error("the next one")
    await published(valkey, last_error="the next one")
    await logged(valkey, "error", error="the next one")


@pytest.mark.parametrize("hostname", ["host-\ud800", "", "h" * 5_000, "häst\n\x00"])
async def test_absurd_hostname_ends_neither_heartbeat_nor_log(valkey: Server, data_dir: Path, hostname: str) -> None:
    """It comes from the environment, which may hold bytes that are no text."""
    async with holding(setup_at(valkey.url, data_dir, hostname=hostname)) as me:
        status = await renewed(valkey)
        assert status.hostname == hostname.replace("\ud800", "?")
        await me.report_error("an error")
        entry = await logged(valkey, "error")
        assert entry["hostname"][:499] == status.hostname[:499]
        async with me.warming(symbol_count=1):
            await published(valkey, connection_state=ConnectionState.WARMING)


async def test_repeated_error_is_logged_once_and_stays_the_last_error(valkey: Server, me: Instance) -> None:
    """A broken feed fails a hundred times a second: the log must stay readable."""
    for _ in range(50):
        await me.report_error("the same")
    await me.report_error("another")
    await logged(valkey, "error", error="another")
    assert [entry["error"] for entry in entries_in(valkey, "error")] == ["the same", "another"]
    await published(valkey, last_error="another")


async def test_error_before_the_claim_goes_to_the_log_and_the_first_status(valkey: Server, data_dir: Path) -> None:
    """An error needs no status to exist (FIX-02)."""
    async with attached(setup_at(valkey.url, data_dir)) as me:
        await me.report_error("too early")
        entry = await logged(valkey, "error", error="too early")
        assert (entry["epoch"], entry["state"]) == ("", "idle")
        assert status_in(valkey) is None
        await me.claim()
        await published(valkey, last_error="too early")


# -- the phases -------------------------------------------------------------------------------------------------------


async def test_last_error_is_cleared_by_the_next_active_and_not_before(valkey: Server, me: Instance) -> None:
    """Until data flows again it explains why it does not; after that it would only alarm."""
    await me.report_error("socket closed")
    async with me.warming(symbol_count=1):
        status = await published(valkey, connection_state=ConnectionState.WARMING)
        assert status.last_error == "socket closed"
        assert status.last_error_at is not None
    async with me.active():
        status = await published(valkey, connection_state=ConnectionState.ACTIVE)
        assert (status.last_error, status.last_error_at) == (None, None)
        await me.report_error("again")
        await published(valkey, last_error="again", connection_state=ConnectionState.ACTIVE)
        async with me.filling_gap(reason="reconnected"):
            assert me.status.last_error == "again"
        assert me.status.last_error is None


async def test_connected_at_is_kept_while_a_gap_is_filled(valkey: Server, me: Instance) -> None:
    """It says since when this exchange is served: a hole being mended is not a new connection."""
    assert (await renewed(valkey)).connected_at is None
    async with me.warming(symbol_count=1):
        assert me.status.connected_at is None
    async with me.active():
        connected_at = (await published(valkey, connection_state=ConnectionState.ACTIVE)).connected_at
        assert connected_at is not None
        async with me.filling_gap(reason="reconnected"):
            status = await published(valkey, connection_state=ConnectionState.WARMING)
            assert status.connected_at == connected_at
        status = await published(valkey, connection_state=ConnectionState.ACTIVE)
        assert status.connected_at == connected_at
    steps = [(entry["toState"], entry["reason"]) for entry in entries_in(valkey, "state_transition")]
    assert steps[-2:] == [("warming", "reconnected"), ("active", "reconnected: filled")]


async def test_new_tenure_is_connected_anew(valkey: Server, me: Instance) -> None:
    """After a stop and a start nothing of the old connection may be told."""

    async def stopped_when_active() -> None:
        async with me.warming(symbol_count=7):
            pass
        async with me.active():
            await me.request_stop(by="ops", why="", lasting=True)
            async with me.filling_gap(reason="never entered"):
                pytest.fail("it was entered")

    with pytest.raises(StopRequested):
        await stopped_when_active()
    await me.finish_stop()
    await me.claim()
    status = await published(valkey, connection_state=ConnectionState.STOPPED, symbol_count=0)
    assert status.connected_at is None


async def test_message_time_is_that_of_the_message(valkey: Server, me: Instance) -> None:
    """Stamped when it is sent, an idle market would look alive by its own heartbeat."""
    me.saw_message()
    await me.set_symbol_count(1)
    one = (await published(valkey, symbol_count=1)).last_message_at
    other = (await renewed(valkey)).last_message_at
    assert one is not None
    assert other is not None
    assert abs(unix_ms(other) - unix_ms(one)) < 500, "the same message, told by a heartbeat a second later"


ALLOWED = {
    ConnectionState.IDLE: {"starting", "stopping"},
    ConnectionState.STARTING: {"warming", "stopping"},
    ConnectionState.WARMING: {"active", "stopping"},
    ConnectionState.ACTIVE: {"warming", "stopping"},
    ConnectionState.STOPPING: {"stopped"},
    ConnectionState.STOPPED: {"starting"},
}


@pytest.mark.parametrize("from_state", STATES)
def test_only_the_documented_transitions_are_legal(from_state: ConnectionState) -> None:
    """Whoever reads the log relies on them: an uptime is counted from state to state."""
    for to_state in STATES:
        if to_state.value in ALLOWED[from_state]:
            check(from_state, to_state)
        else:
            with pytest.raises(IllegalTransition, match=f"from {from_state} to {to_state}"):
                check(from_state, to_state)


async def test_illegal_phase_changes_nothing(valkey: Server, me: Instance) -> None:
    """`active` without a warm-up would promise candles that nobody fetched."""
    with pytest.raises(IllegalTransition):
        async with me.active():
            pytest.fail("it was entered")
    assert me.state is ConnectionState.IDLE
    await me.begin()
    with pytest.raises(IllegalTransition):
        await me.begin()
    assert transitions_in(valkey, me.epoch) == ["starting"]
    me.ensure_held()


# -- at once ----------------------------------------------------------------------------------------------------------


async def test_changes_are_readable_within_a_second_of_a_slow_heartbeat(
    start_server: StartServer, data_dir: Path
) -> None:
    """With a heartbeat a minute, whoever watches must not wait for the next one."""
    server = start_server(config=DURABLE)
    async with holding(setup_at(server.url, data_dir, timing=SLOW)) as me:
        await wait_until_async(lambda: last_in(server), description="the first heartbeat has landed")
        async with asyncio.timeout(SLOW.interval_s / 2):
            await me.set_symbol_count(312)
            await published(server, symbol_count=312)
            await me.report_error("socket closed")
            await published(server, last_error="socket closed")
            await me.set_public_ip("203.0.113.7")
            status = await published(server, ip_address="203.0.113.7", symbol_count=312, last_error="socket closed")
        assert status.ttl_ms == 180_000


async def test_unchanged_symbol_count_is_not_published_again(start_server: StartServer, data_dir: Path) -> None:
    """A feed may say it with every message: each would be a round trip."""
    server = start_server(config=DURABLE)
    async with holding(setup_at(server.url, data_dir, timing=SLOW)) as me:
        await me.set_symbol_count(5)
        status = await published(server, symbol_count=5)
        for _ in range(100):
            await me.set_symbol_count(5)
        await me.set_symbol_count(6)
        later = await published(server, symbol_count=6)
        assert status.rev is not None
        assert later.rev is not None
        assert later.rev - status.rev <= 2, "one for the change, one more if a heartbeat came in between"
