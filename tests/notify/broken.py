"""The rules, deliberately broken at one place each: what the judge is there to catch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from perseus.notify import draft, incidents, people, rules, starts
from perseus.notify.draft import Draft
from perseus.notify.entries import Entry, Loss, ended
from perseus.notify.incidents import change, go_down, line_of, resolve
from perseus.notify.passing import tick
from perseus.notify.state import Incident, Line, Resolution, State, Told

done = Draft.done


class Variant(NamedTuple):
    """`promise`: as the judge numbers them; `patches`: what is put in whose place."""

    promise: str
    patches: tuple[tuple[Any, str, object], ...]


def never(*_: object) -> bool:
    """Whatever is asked."""
    return False


def nothing(*_: object, **__: object) -> None:
    """Whatever is to be done."""


def is_dead(told: Told, entry: Entry) -> bool:
    """A tenure is over only if its end is on record."""
    return entry.epoch is not None and str(entry.epoch) in told.losses


def is_old(told: Told, entry: Entry) -> bool:
    """A tenure is over only if another came after it."""
    return entry.epoch is not None and entry.epoch < told.epoch


def repeats_a_number(told: Told, entry: Entry) -> bool:
    """Entries without a number never repeat."""
    return bool(entry.tenure) and entry.seq is not None and entry.seq <= told.seqs.get(entry.tenure, -1)


def repeats_a_place(told: Told, entry: Entry) -> bool:
    """A retry appends an entry under a new id."""
    return entry.id == told.last_id


def lose_anyway(draft: Draft, exchange_id: int, loss: Loss) -> None:
    """A loss is an outage, whatever came since."""
    told = ended(draft.told[exchange_id], loss.epoch)
    if told is not None and told.state != "stopped":
        draft.told[exchange_id] = told
        go_down(draft, exchange_id, loss)


def resolve_unseen(draft: Draft, incident: Incident, resolution: Resolution, **when: int) -> None:
    """The messages of an outage stay as they are when it ends."""
    before = dict(draft.messages)
    resolve(draft, incident, resolution, **when)
    draft.messages.update(before)


def line_without_successor(incident: Incident, told: Told) -> Line:
    """Nobody is told who is coming back."""
    return replace(line_of(incident, told), next_phase="", next_hostname="")


def open_another(draft: Draft, exchange_id: int, loss: Loss) -> None:
    """Whoever was to end an outage dies: that is another one."""
    told = draft.told[exchange_id]
    if told.state in ("starting", "warming"):
        draft.told[exchange_id] = replace(told, incident="")
    go_down(draft, exchange_id, loss)


def keep_without_version(self: Draft, incident: Incident) -> Incident:
    """Incidents are kept under the id of their exchange, so that those before are lost."""
    self.incidents.pop(incident.id, None)
    return incident


def mute_for_good(state: State, incident_id: str, *, until_ms: int, by: str) -> State:
    """Nothing is due when the mute ends."""
    muted = people.mute(state, incident_id, until_ms=until_ms, by=by)
    if muted is state:
        return state
    return replace(muted, incidents=_with(muted.incidents, replace(muted.incidents[incident_id], remind_ms=None)))


def acknowledge_in_vain(state: State, incident_id: str, *, by: str, reason: str, at_ms: int) -> State:
    """The reminder that was due stays due."""
    before = state.incidents[incident_id].remind_ms
    after = people.acknowledge(state, incident_id, by=by, reason=reason, at_ms=at_ms)
    return replace(after, incidents=_with(after.incidents, replace(after.incidents[incident_id], remind_ms=before)))


def resolve_loudly(draft: Draft, incident: Incident, resolution: Resolution, **when: int) -> None:
    """A recovery is posted, muted or not."""
    resolve(draft, replace(incident, muted_until_ms=None), resolution, **when)


def flap_loudly(draft: Draft, exchange_id: int, loss: Loss) -> None:
    """Each time a flapping exchange goes down is told."""
    go_down(draft, exchange_id, loss)
    incident = draft.open_incident(exchange_id)
    if incident is not None and incident.is_flapping:
        line = line_of(incident, draft.told[exchange_id])
        draft.say("flapping", line, key=f"again-{loss.id}", at_ms=loss.at_ms, is_loud=True)


def start_beside_an_outage(draft: Draft, incident: Incident, **changes: Any) -> Incident:
    """Who was to come back has gone, and nobody says so."""
    return draft.keep(replace(incident, **changes)) if "since_ms" in changes else change(draft, incident, **changes)


class Memory:
    """What a process remembers beside its state: the states it made itself."""

    def __init__(self) -> None:
        self._made: list[State] = []

    def done(self, draft: Draft) -> State:
        """Remembers what is made."""
        after = done(draft)
        self._made = [*self._made[-100:], after]
        return after

    def tick(self, state: State, *, now_ms: int) -> State:
        """Lets time pass for nothing that another process made."""
        return tick(state, now_ms=now_ms) if any(mine is state for mine in self._made) else state


memory = Memory()


def remembered(self: Draft) -> State:
    """In place of the method of a draft."""
    return memory.done(self)


def _with(incidents: Mapping[str, Incident], incident: Incident) -> Mapping[str, Incident]:
    return {**incidents, incident.id: incident}


VARIANTS: dict[str, Variant] = {
    "late entries of old tenures count": Variant("(1)", ((starts, "is_over", is_dead),)),
    "the dead speak": Variant("(1)", ((starts, "is_over", is_old),)),
    "a late record of a loss is an outage": Variant("(1)", ((rules, "lose", lose_anyway),)),
    "an outage is not edited when it ends": Variant("(1)", ((incidents, "resolve", resolve_unseen),)),
    "nobody says who is coming back": Variant("(1)", ((incidents, "line_of", line_without_successor),)),
    "nobody says that the next one died too": Variant("(1)", ((incidents, "change", start_beside_an_outage),)),
    "what waits for a start is lost like the rest": Variant("(1)", ((incidents, "_was_meant", never),)),
    "a successor at work is forgotten": Variant("(1)", ((incidents, "_is_succeeded", never),)),
    "the message of a stop is not finished": Variant("(1)", ((starts, "_end_stop", nothing),)),
    "an incident is opened although one is open": Variant("(2)", ((incidents, "go_down", open_another),)),
    "a changed incident is lost": Variant("(2)", ((Draft, "keep", keep_without_version),)),
    "memory beside the state": Variant("(3)", ((rules, "tick", memory.tick), (Draft, "done", remembered))),
    "retries count again": Variant("(4)", ((rules, "is_repeated", repeats_a_place),)),
    "only numbers tell what repeats": Variant("(4)", ((rules, "is_repeated", repeats_a_number),)),
    "no bursts": Variant("(5)", ((draft, "BURST_MS", 0),)),
    "no flapping": Variant("(5)", ((incidents, "FLAPPING_CHANGES", 10**9),)),
    "flapping is told each time": Variant("(5)", ((incidents, "go_down", flap_loudly),)),
    "acknowledging changes nothing": Variant("(6)", ((rules, "acknowledge", acknowledge_in_vain),)),
    "a recovery is told although muted": Variant("(6)", ((incidents, "resolve", resolve_loudly),)),
    "the end of a mute is not told": Variant("(6)", ((rules, "mute", mute_for_good),)),
}
