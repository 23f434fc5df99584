"""Starts and stops: one message each, edited as they get on; and what they mean for an open incident. Pure."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from perseus.notify.draft import Draft
from perseus.notify.entries import Entry, is_over, line_of_entry, loss_of
from perseus.notify.incidents import come_up, go_down, resolve, retell
from perseus.notify.state import Line, Phase, Told

FAILED = "error"  # the reason of an instance that ends itself because its work failed
_BECAUSE_MS = 60_000  # an error this shortly before is why


def take_transition(draft: Draft, entry: Entry) -> None:
    """An instance entered a state. Of a tenure that is over, and of states that are none, nothing is told."""
    told = draft.told[entry.exchange_id]
    if is_over(told, entry):
        return
    match entry.fields.get("fromState", ""), entry.fields.get("toState", ""):
        case "active", "warming":  # a gap is being filled; and if we missed it, it was active before
            become_active(draft, entry)
        case _, ("starting" | "warming") as state:
            _start(draft, entry, state)
        case _, "active":
            become_active(draft, entry)
        case last_state, "stopping":
            _stop(draft, entry, last_state=last_state)
        case _, "stopped" if told.state == "failing" or (entry.reason == FAILED and told.state != "stopping"):
            _fail(draft, entry, last_state=told.state)
            _enter(draft, entry, "failed")
        case _, "stopped" if told.state != "stopped":
            become_stopped(draft, entry)


def _start(draft: Draft, entry: Entry, state: Literal["starting", "warming"]) -> None:
    _end_stop(draft, entry, state)
    told = _enter(draft, entry, state)
    incident = draft.open_incident(entry.exchange_id)
    if incident is not None:
        retell(draft, incident)
    if incident is None or told.start_message:
        _tell_of_start(draft, entry, state)


def become_active(draft: Draft, entry: Entry) -> None:
    """The exchange is served: the end of its start, of its incident, of an episode of errors."""
    told = draft.told[entry.exchange_id]
    was_active = told.state == "active"
    _settle(draft, entry)
    _enter(draft, entry, "active")
    if was_active:
        return
    _end_stop(draft, entry, "active")
    if draft.open_incident(entry.exchange_id) is None or told.start_message:
        _tell_of_start(draft, entry, "active")
    come_up(draft, entry.exchange_id, at_ms=entry.at_ms)
    ended = replace(draft.told[entry.exchange_id], start_message="", error_message="", last_error="")
    draft.told[entry.exchange_id] = ended


def _stop(draft: Draft, entry: Entry, *, last_state: str) -> None:
    if entry.reason == FAILED:
        _fail(draft, entry, last_state=last_state)
        _enter(draft, entry, "failing")
        return
    told = _enter(draft, entry, "stopping")
    line = draft.line(told.start_message, entry.exchange_id)
    if line is not None:
        draft.edit(told.start_message, replace(line, phase="stopping", since_ms=entry.at_ms))
    key = _tell(draft, told.stop_message, "stopped", line_of_entry(entry, "stopping", detail=entry.reason), entry)
    draft.told[entry.exchange_id] = replace(told, stop_message=key)
    incident = draft.open_incident(entry.exchange_id)
    if incident is not None:
        retell(draft, incident)


def become_stopped(draft: Draft, entry: Entry) -> None:
    """The exchange is not served, on purpose. That is also the end of its incident."""
    _settle(draft, entry)
    told = _enter(draft, entry, "stopped")
    start = draft.line(told.start_message, entry.exchange_id)
    if start is not None:
        draft.edit(told.start_message, replace(start, phase="stopped", since_ms=entry.at_ms))
    stop = draft.line(told.stop_message, entry.exchange_id)
    detail = entry.reason or (stop.detail if stop is not None else "")
    incident = draft.open_incident(entry.exchange_id)
    if incident is not None:
        resolve(draft, incident, "stopped", at_ms=entry.at_ms)
    _tell(draft, told.stop_message, "stopped", line_of_entry(entry, "stopped", detail=detail), entry)
    told = draft.told[entry.exchange_id]
    draft.told[entry.exchange_id] = replace(told, start_message="", stop_message="", changes=())


def _fail(draft: Draft, entry: Entry, *, last_state: str) -> None:
    """An instance ends itself after an error: in order, but nobody wanted that."""
    told = draft.told[entry.exchange_id]
    if told.state in ("failing", "failed"):
        return
    is_why = bool(told.last_error) and entry.at_ms - told.last_error_ms <= _BECAUSE_MS
    detail = f"its work failed: {told.last_error}" if is_why else "its work failed"
    go_down(draft, entry.exchange_id, loss_of(entry, cause="offline", last_state=last_state, detail=detail))


def come_back(draft: Draft, entry: Entry, hostname: str) -> None:
    """Somebody takes over: part of the incident's line, if one is open."""
    incident = draft.open_incident(entry.exchange_id)
    if incident is not None and draft.told[entry.exchange_id].state != "active":
        _enter(draft, entry._replace(hostname=hostname), "starting")
        retell(draft, incident)


def _enter(draft: Draft, entry: Entry, state: str) -> Told:
    told = draft.told[entry.exchange_id]
    told = replace(told, state=state, state_epoch=_epoch(told, entry), hostname=entry.hostname)
    draft.told[entry.exchange_id] = told
    return told


def _epoch(told: Told, entry: Entry) -> int:
    return told.epoch if entry.epoch is None else entry.epoch


def _settle(draft: Draft, entry: Entry) -> None:
    told = draft.told[entry.exchange_id]
    epoch = _epoch(told, entry)
    if epoch > told.settled_epoch:
        draft.told[entry.exchange_id] = replace(told, settled_epoch=epoch, settled_ms=entry.at_ms)


def _tell_of_start(draft: Draft, entry: Entry, phase: Phase) -> None:
    told = draft.told[entry.exchange_id]
    start = draft.line(told.start_message, entry.exchange_id)
    detail = entry.reason or (start.detail if start is not None else "")
    key = _tell(draft, told.start_message, "started", line_of_entry(entry, phase, detail=detail), entry)
    draft.told[entry.exchange_id] = replace(told, start_message=key)


def _end_stop(draft: Draft, entry: Entry, state: Literal["starting", "warming", "active"]) -> None:
    """A stop of which the end was not told is over when something starts; so is the start that it stopped."""
    told = draft.told[entry.exchange_id]
    if not told.stop_message:
        return
    for key in (told.start_message, told.stop_message):
        line = draft.line(key, entry.exchange_id)
        if line is not None:
            draft.edit(key, replace(line, phase="stopped", next_hostname=entry.hostname, next_phase=state))
    draft.told[entry.exchange_id] = replace(told, start_message="", stop_message="")


def _tell(draft: Draft, key: str, kind: Literal["started", "stopped"], line: Line, entry: Entry) -> str:
    """Edit the message of this start or stop, or begin one; its key."""
    if draft.edit(key, line):
        return key
    return draft.say(kind, line, key=f"{kind}-{entry.exchange_name}-{entry.id}", at_ms=entry.at_ms)
