"""What the cards show and the log did not tell: its entries may be lost, late, or never written. Pure.

A card is believed once it has shown the same, against what was said, for a while in which the log told nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from perseus.notify.draft import Draft
from perseus.notify.entries import Entry, Loss
from perseus.notify.incidents import go_down, resolve
from perseus.notify.starts import become_active, become_stopped
from perseus.notify.state import Incident, Seen, State, Told

SERVED_AFTER_MS = 10_000
OFFLINE_AFTER_MS = 30_000
Verdict = Literal["active", "stopped", "unwanted", "offline", "switched_off"]


def compare(state: State, seen: Sequence[Seen], *, of: int, now_ms: int) -> State:
    """Take the cards of every exchange there is; `of`: how many are to be served."""
    draft = Draft(state, now_ms=now_ms, of=of)
    shown = {each.exchange_id: each for each in seen}
    for exchange_id, card in shown.items():
        if not card.is_active:
            continue
        told = draft.told.get(exchange_id)
        told = told or Told(exchange_name=card.exchange_name, display_name=card.display_name)
        draft.told[exchange_id] = replace(told, was_active=True)
    for exchange_id, told in list(draft.told.items()):
        card_or_none = shown.get(exchange_id)
        verdict = _verdict(told, draft.open_incident(exchange_id), card_or_none)
        if verdict is None:
            draft.told[exchange_id] = replace(told, disagreeing_ms=None)
        elif told.disagreeing_ms is None or told.disagreeing_ms > now_ms:  # or the clock was stepped back since
            draft.told[exchange_id] = replace(told, disagreeing_ms=now_ms)
        elif now_ms - told.disagreeing_ms >= (OFFLINE_AFTER_MS if verdict == "offline" else SERVED_AFTER_MS):
            draft.told[exchange_id] = replace(told, disagreeing_ms=None)
            _believe(draft, exchange_id, card_or_none, verdict)
    return draft.done()


def _verdict(told: Told, incident: Incident | None, card: Seen | None) -> Verdict | None:
    """What the card says that was not told; None: nothing."""
    if card is None or not card.is_active:
        return _verdict_of_one_off(told, incident, card)
    match card.health:
        case "active":
            return "active" if told.state != "active" else None
        case "stopped":
            return "stopped" if told.state not in ("", "stopped", "failing", "failed") else None
        case "offline" | "idle" if incident is not None and not card.should_run:
            return "unwanted"
        case "offline" if card.should_run and (incident is None or told.state == "active"):
            return "offline"
    return None


def _verdict_of_one_off(told: Told, incident: Incident | None, card: Seen | None) -> Verdict | None:
    """The same of an exchange that is not active in the database: if it never was, nobody has switched it off."""
    if told.was_active:
        return "switched_off" if incident is not None or told.state else None
    return "active" if card is not None and card.health == "active" and told.state != "active" else None


def _believe(draft: Draft, exchange_id: int, card: Seen | None, verdict: Verdict) -> None:
    told, incident = draft.told[exchange_id], draft.open_incident(exchange_id)
    if card is None or verdict in ("unwanted", "switched_off"):
        is_off = verdict != "unwanted"
        draft.told[exchange_id] = replace(told, state="" if is_off else "stopped", was_active=not is_off)
        if incident is not None:
            resolve(draft, incident, "stopped" if verdict == "unwanted" else "switched_off", at_ms=draft.now_ms)
        _end_start_and_stop(draft, exchange_id)
        return
    if verdict == "offline":
        go_down(draft, exchange_id, _loss(card, now_ms=draft.now_ms))
        return
    draft.told[exchange_id] = _acquitted(told, card.epoch)
    if verdict == "stopped":
        become_stopped(draft, _as_entry(card, now_ms=draft.now_ms))
    elif told.state or incident is not None:
        become_active(draft, _as_entry(card, now_ms=draft.now_ms))
    else:  # of which nothing was ever said: nothing has changed
        draft.told[exchange_id] = replace(draft.told[exchange_id], state="active")


def _end_start_and_stop(draft: Draft, exchange_id: int) -> None:
    told = draft.told[exchange_id]
    for key in (told.start_message, told.stop_message):
        line = draft.line(key, exchange_id)
        if line is not None:
            draft.edit(key, replace(line, phase="switched_off", since_ms=draft.now_ms))
    draft.told[exchange_id] = replace(told, start_message="", stop_message="", error_message="")


def _acquitted(told: Told, epoch: int | None) -> Told:
    """A tenure that a card shows is the newest there is, and has not ended, whatever the log told of it."""
    if epoch is None:
        return told
    return replace(told, epoch=epoch, losses=tuple(each for each in told.losses if each != str(epoch)))


def _as_entry(card: Seen, *, now_ms: int) -> Entry:
    return Entry(
        exchange_id=card.exchange_id,
        exchange_name=card.exchange_name,
        display_name=card.display_name,
        id=str(now_ms),
        at_ms=now_ms,
        epoch=card.epoch,
        hostname=card.hostname,
    )


def _loss(card: Seen, *, now_ms: int) -> Loss:
    return Loss(
        id=f"{card.exchange_name}-{now_ms}",
        cause="offline",
        at_ms=now_ms,
        since_ms=min(now_ms, now_ms if card.since_ms is None else card.since_ms),
        epoch=card.epoch,
        hostname=card.hostname,
    )
