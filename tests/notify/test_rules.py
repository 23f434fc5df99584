"""What is said of starts, stops and outages, how loudly, and in how many messages."""

from __future__ import annotations

import pytest

from perseus.notify import rules
from perseus.notify.state import State
from tests.notify.logs import (
    HOUR_MS,
    MINUTE_MS,
    NOW_MS,
    Tenure,
    down,
    incident,
    line,
    only,
    open_ones,
    running,
    said,
    taken,
)

# -- starts and stops -------------------------------------------------------------------------------------------------


def test_start_is_one_message_that_follows_it() -> None:
    """Three messages for one start would teach people to look away."""
    tenure, state, shown = Tenure(1, 1), State(), []
    for event in tenure.starts(NOW_MS):
        state = taken(state, [event])
        shown.append((line(only(state)).phase, only(state).version))
    assert shown == [("starting", 1), ("warming", 2), ("active", 3)]
    assert not only(state).is_loud
    assert line(only(state)).detail == "process start"
    assert only(rules.tick(state, now_ms=NOW_MS + 12_000)).is_closed


def test_gap_being_filled_is_not_told() -> None:
    """A reconnect is no start; the data is accurate again in a moment."""
    tenure = Tenure(1, 1)
    before = running(tenure)
    state = taken(
        before, [tenure.enters(NOW_MS, "active", "warming", "a gap"), tenure.enters(NOW_MS + 9, "warming", "active")]
    )
    assert state.messages == before.messages


def test_stop_says_by_whom_and_why_to_its_end() -> None:
    """The end of a stop carries no reason of its own."""
    tenure = Tenure(1, 1)
    state = taken(running(tenure), tenure.stops(NOW_MS))
    stopped = only(state, "stopped")
    assert (line(stopped).phase, line(stopped).detail, stopped.version) == ("stopped", "ada: an upgrade", 2)
    assert not stopped.is_loud
    assert not state.incidents


def test_start_that_is_stopped_does_not_stay_starting() -> None:
    """A message that says warming for ever would be a lie."""
    tenure = Tenure(1, 1)
    starting, warming, _ = tenure.starts(NOW_MS)
    stopping = tenure.enters(NOW_MS + 3_000, "warming", "stopping", "signal")
    state = taken(State(), [starting, warming, stopping])
    assert line(only(state, "started")).phase == "stopping"
    state = taken(state, [tenure.enters(NOW_MS + 4_000, "stopping", "stopped")])
    assert line(only(state, "started")).phase == "stopped"


def test_stop_that_never_ended_is_over_when_something_starts() -> None:
    """Its process died and nobody saw it; the next start is a message of its own, below."""
    first, second = Tenure(1, 1), Tenure(1, 2, hostname="ams-2")
    state = running(first)
    state = taken(state, [first.enters(NOW_MS, "active", "stopping", "ada"), second.starts(NOW_MS + HOUR_MS)[0]])
    stop, start = only(state, "stopped"), said(state, "started")[-1]
    assert (line(stop).phase, line(stop).next_hostname, line(stop).next_phase) == ("stopped", "ams-2", "starting")
    assert (line(start).phase, start.opened_ms) == ("starting", NOW_MS + HOUR_MS)


def test_active_whose_beginning_was_dropped_is_told() -> None:
    """The log drops its oldest entries when the store is away for long; the last word would be `stopped`."""
    tenure = Tenure(1, 1)
    state = taken(running(tenure), tenure.stops(NOW_MS))
    state = taken(state, [Tenure(1, 2).enters(NOW_MS + MINUTE_MS, "warming", "active")])
    assert line(said(state, "started")[-1]).phase == "active"


def test_instance_that_ends_itself_after_an_error_is_an_outage() -> None:
    """It stops in order, but nobody wanted that, and nobody would hear of it otherwise."""
    tenure = Tenure(1, 1)
    state = running(tenure)
    error = tenure.entry(NOW_MS - 10, "error", error="401 from the venue", count="1", state="active")
    state = taken(state, [error, *tenure.stops(NOW_MS, "error")])
    assert not said(state, "stopped")
    assert only(state, "offline").is_loud
    assert line(only(state, "offline")).detail == "its work failed: 401 from the venue"
    assert len(open_ones(state)) == 1
    state = taken(state, Tenure(1, 2).starts(NOW_MS + MINUTE_MS))
    assert not open_ones(state)


def test_failure_while_being_stopped_is_a_stop() -> None:
    """Whoever stopped it wanted that."""
    tenure = Tenure(1, 1)
    state = running(tenure)
    events = [
        tenure.enters(NOW_MS, "active", "stopping", "ada"),
        tenure.enters(NOW_MS + 9, "stopping", "stopped", "error"),
    ]
    state = taken(state, events)
    assert line(only(state, "stopped")).phase == "stopped"
    assert not state.incidents


# -- outages ----------------------------------------------------------------------------------------------------------


def test_loss_is_told_loudly_with_all_there_is_to_know() -> None:
    """At night one message must be enough."""
    tenure = Tenure(1, 1)
    state = taken(running(tenure), [tenure.lost(NOW_MS, heartbeat_ms=NOW_MS - 44_000)])
    message, told = only(state, "offline"), line(only(state, "offline"))
    assert (message.is_loud, message.of, message.opened_ms) == (True, 3, NOW_MS)
    assert (told.phase, told.since_ms, told.until_ms) == ("offline", NOW_MS - 44_000, None)
    assert (told.hostname, told.ip, told.admin_email) == ("fra-1", "203.0.113.7", "ada@example.org")
    assert told.last_state == "active"
    found = incident(state)
    assert (found.id, found.message, told.incident_id) == (f"coinbase-{state.told[1].last_id}", message.key, found.id)


def test_recovery_edits_the_outage_and_is_told_quietly() -> None:
    """How long it lasted belongs to the message that woke people; nobody is woken for the end."""
    state, before = down()
    state = taken(state, Tenure(1, 2, hostname="ams-2").starts(NOW_MS + MINUTE_MS))
    up_ms = NOW_MS + MINUTE_MS + 2_000
    outage, recovered = only(state, "offline"), only(state, "recovered")
    assert (line(outage).until_ms, line(outage).phase) == (up_ms, "offline")
    assert (line(recovered).since_ms, line(recovered).until_ms) == (before.since_ms, up_ms)
    assert (recovered.is_loud, recovered.about) == (False, outage.key)
    assert (line(recovered).hostname, line(recovered).next_hostname) == ("fra-1", "ams-2")
    assert (incident(state).resolved_ms, incident(state).resolution) == (up_ms, "recovered")
    assert [message.kind for message in state.messages] == ["started", "offline", "recovered"]


def test_who_is_coming_back_is_part_of_the_outage() -> None:
    """A message of a start beside an open outage would be one more to read."""
    state, _ = down()
    starting, warming, _ = Tenure(1, 2, hostname="ams-2").starts(NOW_MS + MINUTE_MS)
    seen = []
    for event in (starting, warming):
        state = taken(state, [event])
        told = line(only(state, "offline"))
        seen.append((told.next_hostname, told.next_phase))
    assert seen == [("ams-2", "starting"), ("ams-2", "warming")]
    assert len(said(state, "started")) == 1  # the first one, an hour ago
    lost = Tenure(1, 2).lost(NOW_MS + 2 * MINUTE_MS, state="warming")
    state = taken(state, [lost])
    assert line(only(state, "offline")).next_phase == ""
    assert len(state.incidents) == 1


def test_start_that_dies_says_so() -> None:
    """The message of the start must not go on saying warming."""
    tenure = Tenure(1, 1)
    state = taken(State(), [*tenure.starts(NOW_MS)[:2], tenure.lost(NOW_MS + MINUTE_MS, state="warming")])
    assert line(only(state, "started")).phase == "offline"
    assert only(state, "offline").is_loud


@pytest.mark.parametrize(
    ("event", "fields", "cause", "detail"),
    [
        ("lease_lost", {"reason": "taken", "holder": "ams-2 (abc)"}, "lease_lost", "taken by ams-2 (abc)"),
        (
            "lease_lapsed",
            {"reason": "missing", "newEpoch": "2"},
            "lease_lapsed",
            "its key was gone from the store",
        ),
    ],
)
def test_lost_lease_is_an_incident(event: str, fields: dict[str, str], cause: str, detail: str) -> None:
    """The instance lives, but the exchange is not served."""
    tenure = Tenure(1, 1)
    state = taken(running(tenure), [tenure.entry(NOW_MS, event, **fields)])
    assert only(state, "lease_lost").is_loud
    assert (line(only(state, "lease_lost")).phase, line(only(state, "lease_lost")).detail) == (cause, detail)
    state = taken(state, Tenure(1, 2).starts(NOW_MS + 1_000))
    assert not open_ones(state)
    assert only(state, "recovered")


def test_lapse_of_a_stopped_exchange_is_no_outage() -> None:
    """The process that waits for a start lost its lease and has it again: nothing was served, nothing should be."""
    tenure = Tenure(1, 1)
    state = taken(running(tenure), tenure.stops(NOW_MS))
    lapsed = tenure.entry(NOW_MS + MINUTE_MS, "lease_lapsed", reason="expired", newEpoch="2")
    lost = Tenure(1, 2).lost(NOW_MS + HOUR_MS, state="idle")
    after = taken(state, [lapsed, lost])
    assert not after.incidents
    assert [message.key for message in after.messages] == [message.key for message in state.messages]


def test_end_of_one_tenure_is_told_once() -> None:
    """The watcher records it, and the instance itself tells of it when it comes to again."""
    state, _ = down()
    tenure = Tenure(1, 1)
    state = taken(state, [tenure.entry(NOW_MS + 1_000, "lease_lost", reason="taken", holder="ams-2")])
    assert len(state.incidents) == 1
    state = taken(state, Tenure(1, 2).starts(NOW_MS + MINUTE_MS))
    state = taken(state, [tenure.entry(NOW_MS + HOUR_MS, "lease_lost", reason="taken", holder="ams-2")])
    assert len(state.incidents) == 1
    assert len(said(state, "offline", "lease_lost")) == 1


def test_outage_known_only_when_it_is_over_is_told_quietly() -> None:
    """It was down and is not any more: worth knowing, not worth waking anybody."""
    first, second = Tenure(1, 1), Tenure(1, 2)
    state = taken(running(first), second.starts(NOW_MS))
    state = taken(state, [first.lost(NOW_MS + MINUTE_MS, heartbeat_ms=NOW_MS - 40_000)])
    message, told = only(state, "offline"), line(only(state, "offline"))
    assert not message.is_loud
    assert (told.since_ms, told.until_ms) == (NOW_MS - 40_000, NOW_MS + 2_000)
    assert incident(state).resolution == "recovered"
    assert not said(state, "recovered")


def test_late_record_of_a_loss_does_not_hide_who_is_coming_back() -> None:
    """The record could not be written before the next instance began; that one is warming up all the same."""
    first, second = Tenure(1, 1), Tenure(1, 2, hostname="ams-2")
    state = taken(running(first), [*second.starts(NOW_MS)[:2], first.lost(NOW_MS + 5_000)])
    assert (line(only(state, "offline")).next_hostname, line(only(state, "offline")).next_phase) == ("ams-2", "warming")
    assert line(said(state, "started")[-1]).phase == "warming"
    state = taken(state, [Tenure(1, 2, seq=9).enters(NOW_MS + MINUTE_MS, "warming", "active")])
    assert line(said(state, "started")[-1]).phase == "active"
    assert not open_ones(state)


def test_late_word_of_an_old_tenure_changes_nothing() -> None:
    """Its entries waited for the store; what it did then is not how things are."""
    first, second = Tenure(1, 1), Tenure(1, 2)
    state = taken(running(first), [first.lost(NOW_MS), *second.starts(NOW_MS + 1_000)])
    after = taken(state, [*first.stops(NOW_MS + MINUTE_MS), first.enters(NOW_MS + MINUTE_MS, "stopped", "starting")])
    assert after.messages == rules.tick(state, now_ms=NOW_MS + MINUTE_MS).messages
    assert after.told[1].state == "active"


def test_dead_tenure_does_not_end_its_own_outage() -> None:
    """An entry it wrote before it died may arrive after the record of its death."""
    state, _ = down()
    state = taken(state, [Tenure(1, 1, seq=10).enters(NOW_MS + 10, "warming", "active")])
    assert len(open_ones(state)) == 1


def test_stop_ends_an_outage() -> None:
    """Somebody gave up bringing it back, on purpose: no more reminders."""
    state, _ = down()
    second = Tenure(1, 2)
    events = [
        second.enters(NOW_MS + 1_000, "idle", "starting"),
        second.enters(NOW_MS + 2_000, "starting", "stopping", "ada: not today"),
        second.enters(NOW_MS + 3_000, "stopping", "stopped"),
    ]
    state = taken(state, events)
    assert (incident(state).resolution, line(only(state, "offline")).phase) == ("stopped", "stopped")
    assert not said(state, "recovered")
    assert rules.tick(state, now_ms=NOW_MS + HOUR_MS).messages[-1].kind != "reminder"


# -- bursts -----------------------------------------------------------------------------------------------------------


def test_outages_of_ten_seconds_are_one_message() -> None:
    """A host that dies takes three exchanges along: one message, which wakes once, naming each."""
    tenures = [Tenure(id, 1) for id in (1, 2, 4)]
    state = running(*tenures)
    events = [
        tenures[0].lost(NOW_MS),
        tenures[1].entry(NOW_MS + 4_000, "lease_lost", reason="taken", holder="x"),
        tenures[2].lost(NOW_MS + 9_999),
    ]
    state = taken(state, events)
    message = only(state, "offline", "lease_lost")
    assert [(each.exchange_id, each.phase) for each in message.lines] == [
        (1, "offline"),
        (2, "lease_lost"),
        (4, "offline"),
    ]
    assert (message.version, len(open_ones(state))) == (3, 3)


def test_outage_after_the_burst_wakes_again() -> None:
    """An edit wakes nobody."""
    tenures = [Tenure(id, 1) for id in (1, 2)]
    state = taken(running(*tenures), [tenures[0].lost(NOW_MS), tenures[1].lost(NOW_MS + 10_000)])
    assert [len(message.lines) for message in said(state, "offline")] == [1, 1]


def test_outage_of_the_same_exchange_again_wakes_again() -> None:
    """The message of its first outage says that it is over: nobody would look there."""
    first, second = Tenure(1, 1), Tenure(1, 2)
    events = [first.lost(NOW_MS), *second.starts(NOW_MS + 100), second.lost(NOW_MS + 5_000)]
    state = taken(running(first), events)
    assert [line(message).until_ms for message in said(state, "offline")] == [NOW_MS + 2_100, None]


def test_loud_outage_does_not_hide_in_a_quiet_message() -> None:
    """A message about the past was sent silently a moment ago."""
    first, second, other = Tenure(1, 1), Tenure(1, 2), Tenure(2, 1)
    state = taken(running(first, other), second.starts(NOW_MS))
    state = taken(state, [first.lost(NOW_MS + MINUTE_MS), other.lost(NOW_MS + MINUTE_MS + 1)])
    assert [message.is_loud for message in said(state, "offline")] == [False, True]


def test_recoveries_of_one_outage_are_one_message() -> None:
    """And those of another outage another: each says whose end it tells."""
    tenures = [Tenure(id, 1) for id in (1, 2, 4)]
    state = running(*tenures)
    state = taken(state, [tenures[0].lost(NOW_MS), tenures[1].lost(NOW_MS + 1), tenures[2].lost(NOW_MS + 20_000)])
    back = [event for id in (1, 2, 4) for event in Tenure(id, 2).starts(NOW_MS + MINUTE_MS)]
    state = taken(state, sorted(back, key=lambda event: event.ms))
    assert [len(message.lines) for message in said(state, "recovered")] == [2, 1]
    assert [message.about for message in said(state, "recovered")] == [
        message.key for message in said(state, "offline")
    ]
