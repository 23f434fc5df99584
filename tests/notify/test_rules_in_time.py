"""What time and people do to what is said: flapping, reminders, acknowledging, muting, episodes of errors."""

from __future__ import annotations

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

DUE = (30 * MINUTE_MS, 2 * HOUR_MS, 6 * HOUR_MS, 18 * HOUR_MS, 30 * HOUR_MS)

# -- flapping ---------------------------------------------------------------------------------------------------------


def flapping(changes: int, *, every_ms: int = MINUTE_MS) -> State:
    """Coinbase goes down and comes back in turns, so often."""
    state = running(Tenure(1, 1))
    for n in range(changes):
        at_ms = NOW_MS + n * every_ms
        epoch = 1 + (n + 1) // 2
        tenure = Tenure(1, epoch)
        state = taken(state, [tenure.lost(at_ms)] if n % 2 == 0 else tenure.starts(at_ms - 2_000))
    return state


def test_after_four_changes_the_message_of_the_last_outage_tells_of_all() -> None:
    """Whoever gets a message a minute all night switches them off; and nobody is woken because something came back."""
    state = flapping(12)
    assert [message.kind for message in state.messages if message.is_loud] == ["offline", "offline"]
    first, message = said(state, "offline", "flapping")
    assert line(first).until_ms is not None
    assert (line(message).phase, line(message).count, line(message).is_up) == ("flapping", 12, True)
    assert len(said(state, "recovered")) == 1  # the one before it was known to flap
    assert len(open_ones(state)) == 1
    assert line(said(flapping(13), "offline")[-1]).is_up is False


def test_stable_again_ends_the_incident_when_it_came_back() -> None:
    """Ten minutes without a change, and it is served."""
    state = flapping(6)
    up_ms = NOW_MS + 5 * MINUTE_MS
    assert rules.due_ms(state) is not None
    state = rules.tick(state, now_ms=up_ms + 10 * MINUTE_MS - 1)
    assert open_ones(state)
    state = rules.tick(state, now_ms=up_ms + 10 * MINUTE_MS)
    assert not open_ones(state)
    stable = said(state, "recovered")[-1]
    assert (line(stable).phase, line(stable).until_ms, stable.is_loud) == ("stable", up_ms, False)
    assert stable.about == said(state, "offline")[-1].key
    state = taken(state, [Tenure(1, 4).lost(up_ms + HOUR_MS)])
    assert said(state, "offline")[-1].opened_ms == up_ms + HOUR_MS  # an ordinary outage again


def test_flapping_that_stays_down_is_an_ordinary_outage() -> None:
    """Nothing comes back any more: somebody has to look now."""
    state = flapping(5)
    state = rules.tick(state, now_ms=NOW_MS + 14 * MINUTE_MS)
    (still,) = open_ones(state)
    reminder = only(state, "reminder")
    assert (still.is_flapping, reminder.is_loud, line(reminder).phase) == (False, True, "offline")
    assert line(said(state, "offline")[-1]).phase == "offline"


def test_slow_changes_are_no_flapping() -> None:
    """Four changes in more than 15 minutes are two outages."""
    assert not said(flapping(8, every_ms=5 * MINUTE_MS + 1), "flapping")


def test_stop_on_purpose_ends_flapping() -> None:
    """That is what the person who was woken did about it."""
    state = flapping(6)
    state = taken(state, Tenure(1, 4, seq=10).stops(NOW_MS + 6 * MINUTE_MS))
    assert not open_ones(state)
    assert line(said(state, "offline")[-1]).phase == "stopped"
    state = taken(state, [*Tenure(1, 5).starts(NOW_MS + 7 * MINUTE_MS), Tenure(1, 5).lost(NOW_MS + 8 * MINUTE_MS)])
    assert not open_ones(state)[0].is_flapping


# -- reminders, acknowledging, muting ---------------------------------------------------------------------------------


def test_reminders_come_ever_more_seldom() -> None:
    """Half an hour, two hours, six, then twice a day."""
    state, _ = down()
    for after_ms in DUE:
        due = NOW_MS + after_ms
        while (next_ms := rules.due_ms(state)) is not None and next_ms < due:
            state = rules.tick(state, now_ms=next_ms)
        assert rules.tick(state, now_ms=due - 1) == state
        state = rules.tick(state, now_ms=due)
    assert [message.opened_ms - NOW_MS for message in said(state, "reminder")] == list(DUE)
    assert all(message.is_loud for message in said(state, "reminder"))
    assert incident(state).reminders == len(DUE)


def test_reminder_missed_while_nobody_ran_comes_once() -> None:
    """After a night without a notifier one reminder is enough."""
    state, _ = down()
    state = rules.tick(state, now_ms=NOW_MS + 7 * HOUR_MS)
    assert len(said(state, "reminder")) == 1
    assert incident(state).remind_ms == NOW_MS + 18 * HOUR_MS


def test_reminders_due_within_a_minute_are_one() -> None:
    """Outages that began together are remembered together."""
    tenures = [Tenure(id, 1) for id in (1, 2, 4)]
    lost = [tenures[0].lost(NOW_MS), tenures[1].lost(NOW_MS + 50_000), tenures[2].lost(NOW_MS + 61_000)]
    state = rules.tick(taken(running(*tenures), lost), now_ms=NOW_MS + 30 * MINUTE_MS)
    assert [each.exchange_id for each in only(state, "reminder").lines] == [1, 2]
    state = rules.tick(state, now_ms=NOW_MS + 31 * MINUTE_MS + 1_000)
    assert [each.exchange_id for each in said(state, "reminder")[-1].lines] == [4]


def test_reminder_says_when_the_outage_is_over() -> None:
    """It stands below the outage's own message, and would be the last word."""
    state, _ = down()
    state = rules.tick(state, now_ms=NOW_MS + HOUR_MS)
    state = taken(state, Tenure(1, 2).starts(NOW_MS + 2 * HOUR_MS - 9_000))
    assert line(only(state, "reminder")).until_ms is not None


def test_acknowledged_incident_is_never_reminded_of() -> None:
    """Somebody has it in hand; its recovery is still told."""
    state, found = down()
    state = rules.acknowledge(state, found.id, by="ada", reason="on it", at_ms=NOW_MS + 5_000)
    assert line(only(state, "offline")).acknowledged_by == "ada"
    assert rules.acknowledge(state, found.id, by="ada", reason="on it", at_ms=NOW_MS + 5_000) is state
    state = rules.tick(state, now_ms=NOW_MS + 48 * HOUR_MS)
    assert not said(state, "reminder")
    state = taken(state, Tenure(1, 2).starts(NOW_MS + 49 * HOUR_MS))
    assert only(state, "recovered")


def test_muted_incident_is_told_again_when_the_mute_ends() -> None:
    """Nothing new until then; what stands there is kept true."""
    state, found = down()
    until_ms = NOW_MS + 3 * HOUR_MS
    state = rules.mute(state, found.id, until_ms=until_ms, by="ada")
    assert line(only(state, "offline")).muted_until_ms == until_ms
    assert rules.mute(state, found.id, until_ms=until_ms, by="ada") is state
    assert not said(rules.tick(state, now_ms=until_ms - 1), "reminder")
    assert rules.due_ms(rules.tick(state, now_ms=NOW_MS + MINUTE_MS)) == until_ms
    state = rules.tick(state, now_ms=until_ms)
    assert only(state, "reminder").opened_ms == until_ms
    assert line(only(state, "offline")).muted_until_ms is None
    assert incident(state).remind_ms == NOW_MS + 6 * HOUR_MS


def test_muted_incident_that_ends_is_only_edited() -> None:
    """No recovery is posted of what people did not want to hear of."""
    state, found = down()
    state = rules.mute(state, found.id, until_ms=NOW_MS + HOUR_MS, by="ada")
    state = taken(state, Tenure(1, 2).starts(NOW_MS + MINUTE_MS))
    assert not said(state, "recovered")
    assert line(only(state, "offline")).until_ms == NOW_MS + MINUTE_MS + 2_000
    assert not said(rules.tick(state, now_ms=NOW_MS + 2 * HOUR_MS), "reminder")


def test_muted_incident_that_flaps_is_only_edited() -> None:
    """Until the mute ends; then it is told of, because it is still open."""
    state = flapping(3)
    (found,) = open_ones(state)
    state = rules.mute(state, found.id, until_ms=NOW_MS + 5 * MINUTE_MS, by="ada")
    state = taken(state, Tenure(1, 3).starts(NOW_MS + 4 * MINUTE_MS))
    assert not said(state, "flapping")
    assert line(said(state, "offline")[-1]).phase == "flapping"
    state = rules.tick(state, now_ms=NOW_MS + 5 * MINUTE_MS)
    assert line(only(state, "reminder")).phase == "flapping"


def test_what_happened_while_no_notifier_was_there_is_taken_in_its_time() -> None:
    """The mute was over when it recovered, and the flapping long before it went down again."""
    state, found = down()
    muted = rules.mute(state, found.id, until_ms=NOW_MS + HOUR_MS, by="ada")
    for event in Tenure(1, 2).starts(NOW_MS + 2 * HOUR_MS):
        muted = rules.take(muted, event, of=3, now_ms=NOW_MS + 3 * HOUR_MS)
    assert only(muted, "recovered").opened_ms == NOW_MS + 2 * HOUR_MS + 2_000
    flapped = rules.take(flapping(4), Tenure(1, 3).lost(NOW_MS + HOUR_MS), of=3, now_ms=NOW_MS + 2 * HOUR_MS)
    assert line(said(flapped, "recovered")[-1]).phase == "stable"
    assert not open_ones(flapped)[0].is_flapping
    assert said(flapped, "offline")[-1].is_loud


def test_unmuted_incident_is_told_at_once() -> None:
    """As if the mute had ended by itself."""
    state, found = down()
    state = rules.mute(state, found.id, until_ms=NOW_MS + HOUR_MS, by="ada")
    state = rules.unmute(state, found.id)
    assert rules.unmute(state, found.id) is state
    state = rules.tick(state, now_ms=NOW_MS + MINUTE_MS)
    assert only(state, "reminder")
    assert incident(state).remind_ms == NOW_MS + 30 * MINUTE_MS


def test_what_is_over_can_be_neither_acknowledged_nor_muted() -> None:
    """The database knew it as open a moment longer."""
    state, found = down()
    state = taken(state, Tenure(1, 2).starts(NOW_MS + MINUTE_MS))
    assert rules.acknowledge(state, found.id, by="ada", reason="", at_ms=NOW_MS) is state
    assert rules.mute(state, found.id, until_ms=NOW_MS + HOUR_MS, by="ada") is state
    assert rules.unmute(state, "coinbase-0-0") is state


# -- errors, promotions, handoffs -------------------------------------------------------------------------------------


def test_errors_of_an_episode_are_one_quiet_message() -> None:
    """The first is told, the others are counted."""
    tenure = Tenure(1, 1)
    state = running(tenure)
    errors = [
        tenure.entry(NOW_MS, "error", error="timed out", count="1", state="active"),
        tenure.entry(NOW_MS + MINUTE_MS, "error", error="timed out again", count="7", state="active"),
    ]
    state = taken(state, errors)
    message = only(state, "error")
    assert (message.is_loud, line(message).count, line(message).detail) == (False, 8, "timed out again")
    assert line(message).since_ms == NOW_MS


def test_episode_ends_after_a_quarter_of_an_hour_or_with_active() -> None:
    """The next error is news again; one after a mere gap is not."""
    tenure, later = Tenure(1, 1), Tenure(1, 2)
    state = running(tenure)
    state = taken(state, [tenure.entry(NOW_MS, "error", error="timed out", count="1")])
    gap = [tenure.enters(NOW_MS + 1, "active", "warming"), tenure.enters(NOW_MS + 2, "warming", "active")]
    state = taken(state, [*gap, tenure.entry(NOW_MS + 3, "error", error="timed out", count="1")])
    assert len(said(state, "error")) == 1
    state = rules.tick(state, now_ms=NOW_MS + 3 + 15 * MINUTE_MS)
    assert only(state, "error").is_closed
    state = taken(state, [tenure.entry(NOW_MS + 16 * MINUTE_MS, "error", error="timed out", count="1")])
    assert len(said(state, "error")) == 2
    state = taken(state, [*tenure.stops(NOW_MS + 17 * MINUTE_MS), *later.starts(NOW_MS + 18 * MINUTE_MS)])
    state = taken(state, [later.entry(NOW_MS + 19 * MINUTE_MS, "error", error="timed out", count="1")])
    assert len(said(state, "error")) == 3


def test_error_of_whoever_comes_back_is_part_of_the_outage() -> None:
    """It is why the exchange is still not served."""
    state, _ = down()
    second = Tenure(1, 2)
    events = [second.starts(NOW_MS + 1_000)[0], second.entry(NOW_MS + 2_000, "error", error="no symbols", count="1")]
    state = taken(state, events)
    assert line(only(state, "offline")).detail == "no symbols"
    assert not said(state, "error")


def test_promotion_is_told_and_part_of_the_outage() -> None:
    """Who took over is what people want to know."""
    state, _ = down()
    state = taken(state, [Tenure(1, 2, hostname="ams-2").entry(NOW_MS + 10, "promoted", reason="the holder died")])
    message = only(state, "promoted")
    assert (message.is_loud, line(message).hostname, line(message).detail) == (False, "ams-2", "the holder died")
    assert line(only(state, "offline")).next_hostname == "ams-2"


def test_handoff_is_told_and_the_old_holders_end_is_not() -> None:
    """It stops after the exchange has gone to another: that is no stop of the exchange."""
    first, second = Tenure(1, 1), Tenure(1, 2, hostname="ams-2")
    state = running(first)
    handed = first.entry(NOW_MS, "handoff_completed", toInstance="ams-2", reason="an upgrade", gapMs="12")
    state = taken(state, [handed, *first.stops(NOW_MS + 10), *second.starts(NOW_MS + 2_000)])
    assert (line(only(state, "handed_over")).next_hostname, state.incidents) == ("ams-2", {})
    assert not said(state, "stopped")
    assert state.told[1].state == "active"
