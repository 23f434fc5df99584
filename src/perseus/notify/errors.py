"""Errors: the first of an episode is told of, later ones are counted in its message. Pure.

An episode ends when the exchange becomes active, or after 15 minutes without an error. The end of a gap ends none: a
connection that breaks every minute is one matter. While an incident is open, errors are why it is still open, and are
told in its line.
"""

from __future__ import annotations

from msgspec.structs import replace

from perseus.notify.draft import Draft
from perseus.notify.entries import Entry, line_of_entry
from perseus.notify.incidents import change
from perseus.notify.state import Told

EPISODE_MS = 15 * 60_000


def take_error(draft: Draft, entry: Entry) -> None:
    """Take one error, which may stand for several."""
    told = draft.told[entry.exchange_id]
    text, count = entry.text("error"), max(1, entry.number("count") or 1)
    if told.error_message and entry.at_ms >= episode_over_ms(told):
        told = replace(told, error_message="")
    known = draft.line(told.error_message, entry.exchange_id)
    incident = draft.open_incident(entry.exchange_id)
    if known is not None:
        draft.edit(told.error_message, replace(known, detail=text, count=known.count + count))
    elif incident is None:
        line = line_of_entry(entry, "error", detail=text, count=count)
        key = draft.say("error", line, key=f"error-{entry.exchange_name}-{entry.id}", at_ms=entry.at_ms)
        told = replace(told, error_message=key)
    if incident is not None:
        change(draft, incident, last_error=text)
    draft.told[entry.exchange_id] = replace(told, last_error=text, last_error_ms=max(told.last_error_ms, entry.at_ms))


def episode_over_ms(told: Told) -> int:
    """When the episode is over if no other error comes."""
    return told.last_error_ms + EPISODE_MS
