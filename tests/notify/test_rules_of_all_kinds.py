"""What the rules make of entries that repeat or are absurd, of cards, and of a network they never saw before."""

from __future__ import annotations

import pytest

from perseus.notify import draft, rules
from perseus.notify.state import State
from tests.notify.logs import (
    HOUR_MS,
    MINUTE_MS,
    NOW_MS,
    Tenure,
    again,
    card,
    down,
    event_of,
    incident,
    line,
    only,
    open_ones,
    reread,
    running,
    said,
    taken,
)

# -- what repeats, what is absurd -------------------------------------------------------------------------------------


def test_entry_taken_twice_counts_once() -> None:
    """The notifier died between taking it and keeping that; or the instance appended it again."""
    tenure = Tenure(1, 1)
    state = running(tenure)
    error = tenure.entry(NOW_MS, "error", error="timed out", count="1")
    state = taken(state, [error])
    assert rules.take(state, error, of=3, now_ms=NOW_MS) is state
    assert rules.take(state, again(error), of=3, now_ms=NOW_MS) is state


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"event": "state_transition"},
        {"event": "state_transition", "toState": "exploding"},
        {"event": "instance_lost", "lastHeartbeat": "yesterday", "epoch": "9" * 5_000},
        {"event": "instance_lost", "lastHeartbeat": "9999-12-31T23:59:59Z", "epoch": "-1"},
        {"event": "instance_lost", "lastHeartbeat": "2026-01-01T00:00:00", "epoch": "²"},
        {"event": "error", "count": "many", "error": "x" * 100_000},
        {"event": "lease_lapsed", "newEpoch": "1e99"},
        {"event": "handoff_completed", "seq": "-", "instanceId": "i" * 10_000},
    ],
)
def test_absurd_entries_harm_nothing(fields: dict[str, str]) -> None:
    """Other programs write to the logs too; the memory stays small and readable, and the next entry counts."""
    state = rules.take(running(Tenure(1, 1)), event_of(1, NOW_MS, **fields), of=3, now_ms=NOW_MS)
    assert reread(state) == state
    assert len(str(state)) < 10_000
    state = taken(state, [Tenure(1, 2, hostname="ams-2").lost(NOW_MS + MINUTE_MS, heartbeat_ms=NOW_MS)])
    assert len(open_ones(state)) == 1


def test_entry_from_the_future_counts_as_of_now() -> None:
    """A clock that was ahead when it was written must not keep messages back, or open for ever."""
    tenure = Tenure(1, 1)
    state = rules.take(running(tenure), tenure.lost(NOW_MS + 10**12), of=3, now_ms=NOW_MS)
    assert (incident(state).opened_ms, incident(state).since_ms) == (NOW_MS, NOW_MS)


# -- cards ------------------------------------------------------------------------------------------------------------


def compared(state: State, *steps: tuple[int, str], epoch: int = 1, wanted: bool = True) -> State:
    """The state after cards of coinbase with these healths, so many seconds after NOW_MS."""
    for after_s, health in steps:
        shown = [card(1, health, epoch=epoch, wanted=wanted)] if health != "gone" else []
        state = rules.compare(state, shown, of=3, now_ms=NOW_MS + after_s * 1000)
    return state


def test_card_that_is_active_ends_an_outage_of_which_the_log_says_nothing() -> None:
    """The watcher was cut off and wrong, or the entries are lost: nobody is to be reminded of what is not so."""
    state, _ = down()
    assert open_ones(compared(state, (1, "active"), (10, "active")))
    assert open_ones(compared(state, (1, "active"), (6, "unknown"), (11, "active")))
    after = compared(state, (1, "active"), (11, "active"))
    assert not open_ones(after)
    assert only(after, "recovered")
    again_lost = taken(after, [Tenure(1, 1).lost(NOW_MS + HOUR_MS)])
    assert len(open_ones(again_lost)) == 1  # that tenure had not ended: its end is to be told


def test_card_is_believed_in_time_although_the_clock_was_stepped_back() -> None:
    """It would be disbelieved for as long as the step."""
    state = running(Tenure(1, 1))
    assert compared(state, (600, "offline"), (0, "offline"), (30, "offline")).incidents


def test_entry_between_two_cards_counts_for_more() -> None:
    """The log is exact, and may be ahead of a card read a moment ago."""
    state, _ = down()
    state = compared(state, (1, "active"))
    state = taken(state, [Tenure(1, 2).enters(NOW_MS + 5_000, "idle", "starting")])
    assert open_ones(compared(state, (11, "active")))


def test_card_that_is_offline_opens_an_outage() -> None:
    """A store that lost its log tells of no loss; the late record of it is no second incident."""
    state = running(Tenure(1, 1))
    assert not compared(state, (0, "offline"), (29, "offline")).incidents
    state = compared(state, (0, "offline"), (30, "offline"))
    assert (incident(state).cause, only(state, "offline").is_loud) == ("offline", True)
    state = taken(state, [Tenure(1, 1).lost(NOW_MS + MINUTE_MS, heartbeat_ms=NOW_MS - 9_000)])
    assert (len(state.incidents), incident(state).since_ms) == (1, NOW_MS - 9_000)


def test_exchange_that_nobody_wants_served_is_no_outage() -> None:
    """Its process was killed while it waited for a start, or while it was being stopped."""
    state = running(Tenure(1, 1))
    assert not compared(state, (0, "offline"), (60, "offline"), wanted=False).incidents
    state, _ = down()
    state = compared(state, (1, "offline"), (11, "offline"), wanted=False)
    assert (incident(state).resolution, said(state, "recovered")) == ("stopped", [])


@pytest.mark.parametrize(("health", "phase"), [("active", "active"), ("stopped", "stopped")])
def test_card_finishes_what_the_log_left_open(health: str, phase: str) -> None:
    """The entries that end a start may be lost; the message must not say warming for ever."""
    tenure = Tenure(1, 1)
    state = taken(State(), tenure.starts(NOW_MS - 5_000)[:2])
    state = compared(state, (1, health), (11, health))
    assert line(only(state, "started")).phase == phase


def test_instance_that_failed_is_not_stopped_on_purpose() -> None:
    """Its card says stopped, because it gave its lease back in order."""
    tenure = Tenure(1, 1)
    state = taken(running(tenure), tenure.stops(NOW_MS, "error"))
    assert open_ones(compared(state, (1, "stopped"), (60, "stopped")))


def test_exchange_of_which_nothing_was_told_is_taken_as_it_is() -> None:
    """A program that writes no log is served all the same; when it goes, that is told."""
    state = compared(State(), (1, "active"), (11, "active"))
    assert not state.messages
    state = compared(state, (20, "offline"), (50, "offline"))
    assert only(state, "offline")
    assert not open_ones(compared(state, (60, "active"), (70, "active")))


def test_exchange_switched_off_in_the_database_is_no_outage() -> None:
    """Nobody watches it any more."""
    state, _ = down()
    state = compared(state, (0, "offline"), (1, "gone"), (11, "gone"))
    assert (incident(state).resolution, line(only(state, "offline")).phase) == ("switched_off", "switched_off")
    assert compared(state, (21, "gone"), (31, "gone")) == compared(state, (21, "gone"))


def test_exchange_that_was_never_switched_on_is_not_switched_off() -> None:
    """Whoever serves it wants it served, whatever the database says: its death stays told until it is back."""
    state, _ = down()
    off = card(1, "offline")._replace(is_active=False)
    for after_s in (1, 11, 31):
        state = rules.compare(state, [off], of=3, now_ms=NOW_MS + after_s * 1000)
    assert len(open_ones(state)) == 1
    back = off._replace(health="active")
    for after_s in (41, 51):
        state = rules.compare(state, [back], of=3, now_ms=NOW_MS + after_s * 1000)
    assert not open_ones(state)


# -- beginning, recording, tests --------------------------------------------------------------------------------------


def test_first_start_tells_only_what_is_the_matter_now() -> None:
    """A new channel is not to be flooded with history; an outage that lasts is told, once."""
    one, two, three = Tenure(1, 1), Tenure(2, 1), Tenure(4, 1)
    at_ms = NOW_MS - 10 * HOUR_MS
    events = [*one.starts(at_ms), *two.starts(at_ms), *three.starts(at_ms)]
    events += [one.lost(at_ms + HOUR_MS), *Tenure(1, 2).starts(at_ms + 2 * HOUR_MS)]
    events += [two.lost(at_ms + HOUR_MS), three.lost(at_ms + 5 * HOUR_MS)]
    state = rules.begin(sorted(events, key=lambda event: event.ms), of=3, now_ms=NOW_MS)
    message = only(state)
    assert (message.kind, message.is_loud, message.opened_ms, message.of) == ("offline", True, NOW_MS, 3)
    assert [each.exchange_id for each in message.lines] == [2, 4]
    assert {each.exchange_id: each.message for each in state.incidents.values()} == {2: message.key, 4: message.key}
    assert all((each.remind_ms or 0) > NOW_MS for each in state.incidents.values())
    state = taken(state, [Tenure(2, 2).enters(NOW_MS + 9, "warming", "active")])
    assert only(state, "recovered").about == message.key


def test_first_start_of_a_healthy_network_says_nothing() -> None:
    """All is well."""
    events = [event for id in (1, 2) for event in Tenure(id, 1).starts(NOW_MS - HOUR_MS)]
    assert not rules.begin(events, of=2, now_ms=NOW_MS).messages
    assert not rules.begin([], of=2, now_ms=NOW_MS).told


def test_incident_is_forgotten_once_it_is_over_and_on_record() -> None:
    """Until then it is kept, however long the database is away."""
    state, found = down()
    state = rules.recorded(state, {found.id: found.version})
    assert incident(state).recorded_version == found.version
    state = taken(state, Tenure(1, 2).starts(NOW_MS + MINUTE_MS))
    assert rules.recorded(state, {found.id: found.version}) is state  # the database has it as still open
    assert not rules.recorded(state, {found.id: incident(state).version}).incidents


def test_incidents_no_database_takes_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be away for a month; what is open is never dropped."""
    monkeypatch.setattr(draft, "UNRECORDED_KEPT", 2)
    state, _ = down()
    for epoch in range(2, 7):
        at_ms = NOW_MS + epoch * HOUR_MS
        tenure = Tenure(1, epoch)
        state = taken(state, [*tenure.starts(at_ms), tenure.lost(at_ms + MINUTE_MS)])
    assert [each.epoch for each in state.incidents.values()] == [4, 5, 6]
    assert len(open_ones(state)) == 1


def test_test_message_is_for_one_channel_and_asked_for_once() -> None:
    """A person wants to see whether this channel works; the request may be read twice."""
    state = rules.request_test(State(), "17-0", channel="ops", by="ada", now_ms=NOW_MS)
    message = only(state, "test")
    assert (message.key, message.only, message.asked_by, message.is_loud) == ("test-17-0", "ops", "ada", False)
    assert rules.request_test(state, "17-0", channel="ops", by="ada", now_ms=NOW_MS + 1) is state
