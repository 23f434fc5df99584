"""What people do about incidents, and what they ask for: acknowledging, muting, tests of a channel. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from perseus.notify.draft import Draft
from perseus.notify.incidents import change
from perseus.notify.state import Incident, Message, State


def acknowledge(state: State, incident_id: str, *, by: str, reason: str, at_ms: int) -> State:
    """Somebody has an open incident in hand: nobody is reminded of it any more."""
    incident = _open(state, incident_id)
    if incident is None or incident.acknowledged_ms == at_ms:
        return state
    draft = Draft(state, now_ms=at_ms)
    change(
        draft,
        incident,
        acknowledged_by=by,
        acknowledged_reason=reason,
        acknowledged_ms=at_ms,
        remind_ms=None,
    )
    return draft.done()


def mute(state: State, incident_id: str, *, until_ms: int, by: str) -> State:
    """Say nothing new of an open incident until then; unless it is over or in hand by then, it is told of at once."""
    incident = _open(state, incident_id)
    if incident is None or incident.muted_until_ms == until_ms:
        return state
    draft = Draft(state, now_ms=0)
    remind_ms = until_ms if incident.acknowledged_ms is None else None
    change(draft, incident, muted_until_ms=until_ms, muted_by=by, remind_ms=remind_ms)
    return draft.done()


def unmute(state: State, incident_id: str) -> State:
    """End a mute before its time: the next tick tells of the incident, unless somebody has it in hand."""
    incident = _open(state, incident_id)
    if incident is None or incident.muted_until_ms is None:
        return state
    draft = Draft(state, now_ms=0)
    remind_ms = incident.opened_ms if incident.acknowledged_ms is None else None
    change(draft, incident, muted_until_ms=None, muted_by="", remind_ms=remind_ms)
    return draft.done()


def request_test(state: State, request_id: str, *, channel: str, by: str, now_ms: int) -> State:
    """A message for one channel, which somebody asked for to see whether it arrives."""
    key = f"test-{request_id}"
    if any(message.key == key for message in state.messages):
        return state
    test = Message(
        key=key,
        kind="test",
        opened_ms=now_ms,
        changed_ms=now_ms,
        is_closed=True,
        only=channel,
        asked_by=by,
        of=state.of,
    )
    return replace(state, messages=(*state.messages, test))


def _open(state: State, incident_id: str) -> Incident | None:
    incident = state.incidents.get(incident_id)
    return incident if incident is not None and incident.resolved_ms is None else None
