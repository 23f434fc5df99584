"""What is to be said: log entries, cards, time and what people do, each taken into account by one function. Pure.

Every function takes a State and returns another; nothing is changed in place, no clock is read. `starts.py`: starts and
stops; `incidents.py`: outages and flapping; `people.py`: what people do; `passing.py`: what time alone brings;
`comparing.py`: what the cards show and the log did not tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec.structs import replace

from perseus.notify.comparing import compare
from perseus.notify.draft import Draft
from perseus.notify.entries import Entry, ended, is_over, is_repeated, line_of_entry, loss_of, noted, read
from perseus.notify.errors import take_error
from perseus.notify.incidents import announce, lose
from perseus.notify.passing import due_ms, pass_until, tick
from perseus.notify.people import acknowledge, mute, request_test, unmute
from perseus.notify.reminders import next_reminder_ms
from perseus.notify.starts import come_back, take_transition
from perseus.notify.state import LogEvent, State, Told

__all__ = [
    "acknowledge",
    "begin",
    "compare",
    "due_ms",
    "mute",
    "recorded",
    "request_test",
    "take",
    "tick",
    "unmute",
]


def take(state: State, event: LogEvent, *, of: int, now_ms: int) -> State:
    """Take one entry of an activity log. `of`: how many exchanges are active.

    The entries of one log are given in its order. One given again, or appended again by a retry, changes nothing.
    """
    entry = read(event, now_ms=now_ms)
    told = state.told.get(event.exchange_id, Told(exchange_name=event.exchange_name, display_name=event.display_name))
    if is_repeated(told, entry):
        return state
    draft = Draft(state, now_ms=now_ms, of=of)
    draft.told[event.exchange_id] = told = noted(told, entry)
    incident = draft.open_incident(event.exchange_id)
    if incident is not None:
        pass_until(draft, incident, at_ms=entry.at_ms)
    match entry.event:
        case "state_transition":
            take_transition(draft, entry)
        case "instance_lost":
            lose(draft, entry.exchange_id, loss_of(entry, cause="offline", last_state=entry.text("state")))
        case "lease_lost":
            detail = f"taken by {entry.text('holder')}" if entry.text("holder") else entry.reason
            lose(draft, entry.exchange_id, loss_of(entry, cause="lease_lost", last_state=told.state, detail=detail))
        case "lease_lapsed":
            _take_lapse(draft, entry)
        case "error":
            take_error(draft, entry)
        case "promoted" if not is_over(told, entry):
            _say(draft, entry, "promoted")
            come_back(draft, entry, entry.hostname)
        case "handoff_completed":
            _take_handoff(draft, entry)
        case _:  # commands, standbys, and what other versions tell
            pass
    return draft.done()


def begin(events: Iterable[LogEvent], *, of: int, now_ms: int) -> State:
    """What is known when nobody was told anything yet: history is taken quietly, and only what is open now is told."""
    by_exchange: dict[int, list[LogEvent]] = {}
    for event in events:
        by_exchange.setdefault(event.exchange_id, []).append(event)
    alone = [_remembered(each, of=of, now_ms=now_ms) for each in by_exchange.values()]
    state = State(
        told={id: told for each in alone for id, told in each.told.items()},
        incidents={id: incident for each in alone for id, incident in each.incidents.items()},
        of=of,
    )
    draft = Draft(state, now_ms=now_ms)
    for exchange_id, told in state.told.items():
        draft.told[exchange_id] = replace(told, start_message="", stop_message="", error_message="")
    for incident in draft.open_incidents():
        remind_ms = None if incident.is_flapping else next_reminder_ms(incident.opened_ms, after_ms=now_ms)
        announce(draft, replace(incident, remind_ms=remind_ms, reminders=0), at_ms=now_ms)
    return draft.done()


def _remembered(events: Iterable[LogEvent], *, of: int, now_ms: int) -> State:
    """One exchange's history, taken quietly. By itself: a state of all exchanges would be copied for each entry."""
    state = State(of=of)
    for event in events:
        at_ms = min(event.ms, now_ms)
        state = _quiet(take(tick(state, now_ms=at_ms), event, of=of, now_ms=at_ms))
    return _quiet(tick(state, now_ms=now_ms))


def recorded(state: State, versions: Mapping[str, int]) -> State:
    """The database holds these incidents in these versions. Those that are over and on record are forgotten."""
    incidents = {}
    for incident in state.incidents.values():
        version = max(versions.get(incident.id, 0), incident.recorded_version)
        if incident.resolved_ms is None or version < incident.version:
            incidents[incident.id] = replace(incident, recorded_version=version)
    return state if incidents == state.incidents else replace(state, incidents=incidents)


def _quiet(state: State) -> State:
    """The state as if nothing of it had been told or recorded."""
    incidents = {id: incident for id, incident in state.incidents.items() if incident.resolved_ms is None}
    return replace(state, incidents=incidents, messages=())


def _say(draft: Draft, entry: Entry, kind: Literal["promoted", "handed_over"], *, next_hostname: str = "") -> None:
    """Tell quietly of an entry that needs no more words."""
    line = line_of_entry(entry, kind, detail=entry.reason, next_hostname=next_hostname)
    draft.say(kind, line, key=f"{kind}-{entry.exchange_name}-{entry.id}", at_ms=entry.at_ms)


def _take_lapse(draft: Draft, entry: Entry) -> None:
    """An instance found its lease gone, and has claimed again by now."""
    told = draft.told[entry.exchange_id]
    reasons = {"missing": "its key was gone from the store", "expired": "no renewal was confirmed in time"}
    detail = reasons.get(entry.reason, entry.reason)
    lose(draft, entry.exchange_id, loss_of(entry, cause="lease_lapsed", last_state=told.state, detail=detail))
    told = draft.told[entry.exchange_id]
    draft.told[entry.exchange_id] = replace(told, epoch=max(told.epoch, entry.number("newEpoch") or 0))


def _take_handoff(draft: Draft, entry: Entry) -> None:
    """A tenure was handed over: what its instance says from here on is about its own end."""
    told = ended(draft.told[entry.exchange_id], entry.epoch)
    if told is None:
        return
    draft.told[entry.exchange_id] = told
    target = entry.text("toHostname") or entry.text("toInstance")
    _say(draft, entry, "handed_over", next_hostname=target)
    come_back(draft, entry, target)
