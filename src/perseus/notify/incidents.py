"""Incidents: an exchange goes down, comes back, keeps doing so, or is meant to be down after all. Pure.

Flapping is an exchange that went down or came back four times in 15 minutes: it stays one incident, told of by one
message, that of its last outage, until nothing has changed for ten minutes.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from perseus.notify.draft import Draft
from perseus.notify.entries import Loss, ended
from perseus.notify.reminders import next_reminder_ms
from perseus.notify.state import Incident, Kind, Line, Phase, Resolution, Told

FLAPPING_CHANGES = 4
FLAPPING_WITHIN_MS = 15 * 60_000
STABLE_AFTER_MS = 10 * 60_000
_COMING_BACK = ("starting", "warming")
_PHASE_AT_END: dict[Resolution, Phase] = {"stopped": "stopped", "switched_off": "switched_off"}


def line_of(incident: Incident, told: Told) -> Line:
    """What messages say of an incident as it is."""
    is_open = incident.resolved_ms is None
    is_flapping = is_open and incident.is_flapping
    next_phase = told.state if is_open and told.state in _COMING_BACK else ""
    has_next = bool(next_phase) or incident.resolution == "recovered"
    phase: Phase = "flapping" if is_flapping else incident.cause
    return Line(
        exchange_id=incident.exchange_id,
        exchange_name=incident.exchange_name,
        display_name=incident.display_name,
        phase=_PHASE_AT_END.get(incident.resolution, phase) if incident.resolution is not None else phase,
        since_ms=incident.since_ms,
        until_ms=incident.resolved_ms,
        hostname=incident.hostname,
        ip=incident.ip,
        admin_email=incident.admin_email,
        next_hostname=told.hostname if has_next else "",
        next_phase=next_phase,
        last_state=incident.last_state,
        detail=incident.last_error or incident.detail,
        count=incident.changes if incident.is_flapping else 0,
        is_up=is_flapping and told.state == "active",
        incident_id=incident.id,
        acknowledged_by=incident.acknowledged_by,
        acknowledged_reason=incident.acknowledged_reason,
        muted_until_ms=incident.muted_until_ms,
    )


def retell(draft: Draft, incident: Incident) -> None:
    """Let every message that tells of this incident say how it is now; those of its end are as they are."""
    line = line_of(incident, draft.told[incident.exchange_id])
    for message in list(draft.messages.values()):
        if message.kind != "recovered" and any(each.incident_id == incident.id for each in message.lines):
            draft.edit(message.key, line)


def change(draft: Draft, incident: Incident, **changes: Any) -> Incident:
    """Change an incident and what is said of it."""
    changed = draft.keep(replace(incident, **changes))
    retell(draft, changed)
    return changed


def lose(draft: Draft, exchange_id: int, loss: Loss) -> None:
    """Take the end of a tenure that nobody wanted to end: an incident, unless it is on record, over, or no matter."""
    told = ended(draft.told[exchange_id], loss.epoch)
    if told is None:
        return
    draft.told[exchange_id] = told
    if loss.epoch is not None and loss.epoch < told.settled_epoch:
        if not told.incident:
            _tell_of_the_past(draft, exchange_id, loss)
    elif not _was_meant(told, loss):
        go_down(draft, exchange_id, loss)


def _was_meant(told: Told, loss: Loss) -> bool:
    """Whether an exchange was stopped before on purpose: a process that only waits for a start has gone."""
    if told.state != "stopped":
        return False
    is_settled = loss.epoch is not None and loss.epoch <= told.settled_epoch
    return is_settled or loss.cause != "offline" or loss.last_state in ("", "idle", "stopped")


def go_down(draft: Draft, exchange_id: int, loss: Loss) -> None:
    """The exchange is not served and should be: open its incident, or go on with the one there is."""
    told = draft.told[exchange_id]
    was_up = told.state == "active"
    if not _is_succeeded(told, loss):
        for key in (told.start_message, told.stop_message):
            line = draft.line(key, exchange_id)
            if line is not None:
                draft.edit(key, replace(line, phase=loss.cause, since_ms=loss.since_ms))
        draft.told[exchange_id] = replace(told, state="offline", start_message="", stop_message="")
    incident = draft.open_incident(exchange_id)
    if incident is None:
        _open(draft, exchange_id, loss)
    elif incident.is_flapping and was_up:
        _count_change(draft, exchange_id, loss.at_ms)
        change(draft, incident, changes=incident.changes + 1)
    else:  # whoever was to come back has gone too; or this is about the time before
        change(draft, incident, since_ms=min(incident.since_ms, loss.since_ms))


def _is_succeeded(told: Told, loss: Loss) -> bool:
    """Whether a newer tenure is at work already, or at its end, although it has not served yet."""
    return loss.epoch is not None and loss.epoch < told.state_epoch and told.state != "active"


def come_up(draft: Draft, exchange_id: int, *, at_ms: int) -> None:
    """The exchange is served again: the end of its incident, unless that is flapping. `told.state` is `active`."""
    incident = draft.open_incident(exchange_id)
    if incident is None:
        return
    changes = _count_change(draft, exchange_id, at_ms)
    if incident.is_flapping:
        change(draft, incident, changes=incident.changes + 1)
    elif changes < FLAPPING_CHANGES:
        resolve(draft, incident, "recovered", at_ms=at_ms)
    else:
        remind_ms = incident.remind_ms if incident.muted_until_ms is not None else None
        change(draft, incident, is_flapping=True, changes=changes, remind_ms=remind_ms)


def resolve(
    draft: Draft, incident: Incident, resolution: Resolution, *, at_ms: int, over_ms: int | None = None
) -> None:
    """End an incident. One that recovered is told of by a message of its own, unless it is muted.

    `over_ms`: since when the exchange is served, if that was before `at_ms`.
    """
    told = draft.told[incident.exchange_id]
    # an outage that was meant in the end, or a long calm, begins a new count
    changes = told.changes if resolution == "recovered" and not incident.is_flapping else ()
    draft.told[incident.exchange_id] = told = replace(told, incident="", changes=changes)
    end_ms = max(at_ms if over_ms is None else over_ms, incident.since_ms)
    over = change(draft, incident, resolved_ms=end_ms, resolution=resolution, remind_ms=None)
    if resolution == "recovered" and over.muted_until_ms is None:
        line = replace(line_of(over, told), phase="stable" if over.is_flapping else "recovered")
        draft.say("recovered", line, key=f"recovered-{over.id}", at_ms=at_ms, about=over.message)


def settle(draft: Draft, incident: Incident, *, at_ms: int) -> None:
    """End the flapping of an exchange that has not changed for long: it is up, or down like any other."""
    told = draft.told[incident.exchange_id]
    if told.state == "active":
        resolve(draft, incident, "recovered", at_ms=at_ms, over_ms=_last_change_ms(incident, told))
        return
    draft.told[incident.exchange_id] = replace(told, changes=())
    is_quiet = incident.muted_until_ms is not None or incident.acknowledged_ms is not None
    change(draft, incident, is_flapping=False, remind_ms=incident.remind_ms if is_quiet else at_ms)


def stable_ms(incident: Incident, told: Told) -> int:
    """When a flapping exchange counts as stable if nothing changes until then."""
    return _last_change_ms(incident, told) + STABLE_AFTER_MS


def _last_change_ms(incident: Incident, told: Told) -> int:
    return told.changes[-1] if told.changes else incident.opened_ms


def _count_change(draft: Draft, exchange_id: int, at_ms: int) -> int:
    """Remember that the exchange changed; how often it did so lately."""
    told = draft.told[exchange_id]
    before = [each for each in told.changes if each > at_ms - FLAPPING_WITHIN_MS]
    recent = (*before[1 - FLAPPING_CHANGES :], at_ms)
    draft.told[exchange_id] = replace(told, changes=recent)
    return len(recent)


def _open(draft: Draft, exchange_id: int, loss: Loss) -> None:
    changes = _count_change(draft, exchange_id, loss.at_ms)
    told = draft.told[exchange_id]
    incident = _incident(exchange_id, told, loss)
    if changes >= FLAPPING_CHANGES:
        incident = replace(incident, is_flapping=True, changes=changes)
    else:
        incident = replace(incident, remind_ms=next_reminder_ms(loss.at_ms, after_ms=loss.at_ms))
    draft.told[exchange_id] = told = replace(told, incident=incident.id)
    announce(draft, incident, at_ms=loss.at_ms)


def announce(draft: Draft, incident: Incident, *, at_ms: int) -> None:
    """Tell loudly of an open incident, and keep it."""
    kind: Kind = "flapping" if incident.is_flapping else _kind_of(incident)
    line = line_of(incident, draft.told[incident.exchange_id])
    key = draft.say(kind, line, key=f"{kind}-{incident.id}", at_ms=at_ms, is_loud=True)
    draft.incidents[incident.id] = replace(incident, message=key)


def _tell_of_the_past(draft: Draft, exchange_id: int, loss: Loss) -> None:
    """Tell quietly of an outage that only now becomes known, and is over."""
    told = draft.told[exchange_id]
    resolution: Resolution = "stopped" if told.state == "stopped" else "recovered"
    over = replace(
        _incident(exchange_id, told, loss),
        since_ms=min(loss.since_ms, told.settled_ms),
        resolved_ms=told.settled_ms,
        resolution=resolution,
    )
    kind = _kind_of(over)
    key = draft.say(kind, line_of(over, told), key=f"{kind}-{over.id}", at_ms=loss.at_ms)
    draft.incidents[over.id] = replace(over, message=key)


def _kind_of(incident: Incident) -> Kind:
    return "offline" if incident.cause == "offline" else "lease_lost"


def _incident(exchange_id: int, told: Told, loss: Loss) -> Incident:
    return Incident(
        id=loss.id,
        exchange_id=exchange_id,
        exchange_name=told.exchange_name,
        display_name=told.display_name,
        cause=loss.cause,
        since_ms=loss.since_ms,
        opened_ms=loss.at_ms,
        hostname=loss.hostname,
        ip=loss.ip,
        admin_email=loss.admin_email,
        last_state=loss.last_state,
        detail=loss.detail,
        epoch=loss.epoch or 0,
    )
