"""What time alone brings: mutes end, flapping exchanges are stable, people are reminded, episodes end. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from perseus.notify.draft import Draft, closing_ms, unfinished
from perseus.notify.errors import episode_over_ms
from perseus.notify.incidents import change, line_of, settle, stable_ms
from perseus.notify.reminders import TOGETHER_MS, next_reminder_ms
from perseus.notify.state import Incident, Message, State


def tick(state: State, *, now_ms: int) -> State:
    """The state at this time; the very same before `due_ms`."""
    due = due_ms(state)
    if due is None or now_ms < due:
        return state
    draft = Draft(state, now_ms=now_ms)
    for incident in draft.open_incidents():
        pass_until(draft, incident, at_ms=now_ms)
    _remind(draft)
    for exchange_id, told in draft.told.items():
        if told.error_message and episode_over_ms(told) <= now_ms:
            draft.told[exchange_id] = replace(told, error_message="")
    draft.close_messages()
    return draft.done()


def pass_until(draft: Draft, incident: Incident, *, at_ms: int) -> None:
    """Let an open incident get as old as that: its mute may be over, its flapping too.

    What happened to it later is taken only then, so that it makes no difference whether a notifier was there meanwhile.
    """
    if incident.muted_until_ms is not None and incident.muted_until_ms <= at_ms:
        incident = change(draft, incident, muted_until_ms=None, muted_by="")
    if incident.is_flapping and stable_ms(incident, draft.told[incident.exchange_id]) <= at_ms:
        settle(draft, incident, at_ms=at_ms)


def due_ms(state: State) -> int | None:
    """When `tick` has something to do next; None: never."""
    moments = [episode_over_ms(told) for told in state.told.values() if told.error_message]
    for incident in state.incidents.values():
        if incident.resolved_ms is not None:
            continue
        if incident.muted_until_ms is not None:
            moments.append(incident.muted_until_ms)
        elif incident.remind_ms is not None:
            moments.append(incident.remind_ms)
        if incident.is_flapping:
            moments.append(stable_ms(incident, state.told[incident.exchange_id]))
    ongoing = unfinished(state.told.values(), state.incidents)
    closings = (closing_ms(message, ongoing) for message in state.messages)
    return min([*moments, *(moment for moment in closings if moment is not None)], default=None)


def _remind(draft: Draft) -> None:
    """One loud message for every incident of which a reminder is due, or within a minute."""
    waiting = [incident for incident in draft.open_incidents() if _is_due(incident, draft.now_ms + TOGETHER_MS)]
    if not any(_is_due(incident, draft.now_ms) for incident in waiting):
        return
    key = f"reminder-{waiting[0].id}-{waiting[0].reminders + 1}"
    reminded = [draft.keep(_reminded(incident, now_ms=draft.now_ms)) for incident in waiting]
    draft.messages[key] = Message(
        key=key,
        kind="reminder",
        opened_ms=draft.now_ms,
        changed_ms=draft.now_ms,
        is_loud=True,
        of=draft.of,
        lines=tuple(line_of(incident, draft.told[incident.exchange_id]) for incident in reminded),
    )


def _is_due(incident: Incident, at_ms: int) -> bool:
    return incident.muted_until_ms is None and incident.remind_ms is not None and incident.remind_ms <= at_ms


def _reminded(incident: Incident, *, now_ms: int) -> Incident:
    after_ms = max(now_ms, incident.remind_ms or 0)
    remind_ms = None if incident.is_flapping else next_reminder_ms(incident.opened_ms, after_ms=after_ms)
    return replace(incident, reminders=incident.reminders + 1, remind_ms=remind_ms)
