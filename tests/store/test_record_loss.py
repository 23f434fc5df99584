"""Recording a loss: exactly one record for a tenure that ended without saying so, however many notice it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perseus.store import Store
from tests.store.calls import DAY_MS, LOG, record_loss
from tests.support.servers import Server

RUNS_EVERYWHERE = True


def entry(server: Server, event: str, *, instance_id: str = "i1", epoch: int = 7, **more: Any) -> str:
    """Append one entry of a tenure to the log; its id."""
    fields = {"event": event, "instanceId": instance_id, "epoch": epoch, **more}
    entry_id: bytes = server.call("XADD", LOG, "*", *(part for pair in fields.items() for part in pair))
    return entry_id.decode()


def lost_entries(server: Server) -> int:
    """How many records of a loss the log holds."""
    entries = server.call("XRANGE", LOG, "-", "+")
    return sum(fields[fields.index(b"event") + 1] == b"instance_lost" for _, fields in entries)


async def test_loss_is_recorded_with_the_fields_given(store: Store) -> None:
    """A crash must leave a record, even in a log that is empty."""
    outcome, entry_id = await record_loss(store)
    assert outcome == "RECORDED"
    (found,) = await store.entries(LOG, count=10)
    assert found.id == entry_id
    assert found.fields == {"event": "instance_lost", "instanceId": "i1", "epoch": "7"}


async def test_eight_watchers_leave_one_record(store: Store, server: Server) -> None:
    """Every web server, standby and claimer notices the same death."""
    entry(server, "state_transition", toState="active")
    replies = await asyncio.gather(*(record_loss(store) for _ in range(8)))
    assert sorted(outcome for outcome, _ in replies) == ["ALREADY"] * 7 + ["RECORDED"]
    assert len({entry_id for _, entry_id in replies}) == 1
    assert lost_entries(server) == 1


@pytest.mark.parametrize("event", ["instance_lost", "lease_lost", "lease_lapsed", "handoff_completed"])
async def test_tenure_that_already_ended_is_not_lost_again(store: Store, server: Server, event: str) -> None:
    """Its end was told; a second record would count an outage twice."""
    ended = entry(server, event)
    entry(server, "error", error="afterwards")
    assert await record_loss(store) == ("ALREADY", ended)


async def test_stopped_tenure_is_not_lost(store: Store, server: Server) -> None:
    """A stop on purpose is no loss."""
    stopped = entry(server, "state_transition", toState="stopped")
    assert await record_loss(store) == ("ALREADY", stopped)


async def test_tenure_started_again_after_its_stop_is_lost(store: Store, server: Server) -> None:
    """It was stopped, then started, then it died: the earlier stop explains nothing."""
    entry(server, "state_transition", toState="stopped")
    entry(server, "state_transition", toState="starting")
    entry(server, "state_transition", toState="warming")
    assert (await record_loss(store))[0] == "RECORDED"


async def test_late_copy_of_a_start_does_not_undo_the_stop_after_it(store: Store, server: Server) -> None:
    """An entry whose answer was lost is sent again, and the first copy may arrive after everything."""
    entry(server, "state_transition", toState="starting", seq=1)
    stopped = entry(server, "state_transition", toState="stopped", seq=2)
    entry(server, "state_transition", toState="starting", seq=1)
    assert await record_loss(store) == ("ALREADY", stopped)


async def test_tenure_stopped_after_its_restart_is_not_lost(store: Store, server: Server) -> None:
    """Only what came last counts."""
    for state in ("starting", "active", "stopped", "starting", "active"):
        entry(server, "state_transition", toState=state)
    stopped = entry(server, "state_transition", toState="stopped")
    assert await record_loss(store) == ("ALREADY", stopped)


@pytest.mark.parametrize("other", [{"instance_id": "i2"}, {"epoch": 8}, {"epoch": 77}])
async def test_end_of_another_tenure_does_not_count(store: Store, server: Server, other: dict[str, Any]) -> None:
    """A tenure is instance and epoch together."""
    entry(server, "instance_lost", **other)
    entry(server, "state_transition", toState="stopped", **other)
    assert (await record_loss(store))[0] == "RECORDED"


@pytest.mark.parametrize("between", [99, 100, 101, 350])
async def test_end_is_found_behind_pages_of_other_entries(store: Store, server: Server, between: int) -> None:
    """A chatty successor must not hide it: an error every second fills many pages."""
    ended = entry(server, "lease_lost")
    for _ in range(between):
        entry(server, "error", instance_id="i2", epoch=8)
    assert await record_loss(store) == ("ALREADY", ended)


async def test_scan_ends_where_no_end_of_the_tenure_can_lie(store: Store, server: Server) -> None:
    """An unbounded scan of a full log held a server up for 0.6 s."""
    now_ms = round(await store.time_ms())
    server.call("XADD", LOG, f"{now_ms - DAY_MS}-0", "event", "lease_lost", "instanceId", "i1", "epoch", "7")
    assert (await record_loss(store, oldest=str(now_ms - 90_000)))[0] == "RECORDED"


@pytest.mark.one_server
async def test_scan_of_an_endless_log_stays_short(store: Store, server: Server) -> None:
    """Whatever the log holds, the server must answer renewals meanwhile; better a second record than none."""
    with server.client() as client, client.pipeline(transaction=False) as pipe:
        for _ in range(12_000):
            pipe.execute_command("XADD", LOG, "*", "event", "error", "instanceId", "i2", "epoch", "8")
        pipe.execute()
    server.call("CONFIG", "RESETSTAT")
    assert (await record_loss(store))[0] == "RECORDED"
    assert "calls=50," in (await store.info("commandstats"))["cmdstat_xrevrange"]


async def test_recording_trims_what_is_older_than_asked(store: Store, server: Server) -> None:
    """LOG-04: each append trims; `~` trims whole nodes, so the log must be longer than one."""
    for _ in range(300):
        entry(server, "error", instance_id="i2")
    newest = (await store.entries(LOG, count=1))[0].id
    await record_loss(store, min_id=newest)
    assert server.call("XLEN", LOG) < 150
