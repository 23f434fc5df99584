"""A state while one step changes it, and how messages come about: opened, joined by others of a burst, edited. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec.structs import replace

from perseus.notify.state import Incident, Kind, Line, Message, State, Told

BURST_MS = 10_000
UNRECORDED_KEPT = 1000  # incidents that are over, while the database is away
_ONE_BURST: tuple[Kind, ...] = ("offline", "lease_lost")


class Draft:
    """A copy of a state's mappings, to be changed; the values in them are replaced. `now_ms`: when this is done."""

    def __init__(self, state: State, *, now_ms: int, of: int | None = None) -> None:
        self.now_ms = now_ms
        self.of = state.of if of is None else of
        self.told = dict(state.told)
        self.incidents = dict(state.incidents)
        self.messages = {message.key: message for message in state.messages}
        self._before = state

    def done(self) -> State:
        """The changed state; the very same if nothing was changed."""
        after = State(told=self.told, incidents=self._bounded(), messages=tuple(self.messages.values()), of=self.of)
        return self._before if after == self._before else after

    # -- incidents --------------------------------------------------------------------------------------------------

    def open_incident(self, exchange_id: int) -> Incident | None:
        """The incident of this exchange that is not over."""
        return self.incidents.get(self.told[exchange_id].incident)

    def open_incidents(self) -> list[Incident]:
        """Those that are not over, the oldest first."""
        found = [incident for incident in self.incidents.values() if incident.resolved_ms is None]
        return sorted(found, key=lambda incident: (incident.opened_ms, incident.id))

    def keep(self, incident: Incident) -> Incident:
        """Keep an incident; if it changed, under a higher version."""
        if incident == self.incidents.get(incident.id):
            return incident
        raised = replace(incident, version=incident.version + 1)
        self.incidents[incident.id] = raised
        return raised

    def _bounded(self) -> dict[str, Incident]:
        """The incidents without the oldest of those that are over and that no database has taken."""
        over = [id for id, incident in self.incidents.items() if incident.resolved_ms is not None]
        gone = set(over[: max(0, len(over) - UNRECORDED_KEPT)])
        return {id: incident for id, incident in self.incidents.items() if id not in gone}

    # -- messages ---------------------------------------------------------------------------------------------------

    def say(self, kind: Kind, line: Line, *, key: str, at_ms: int, is_loud: bool = False, about: str = "") -> str:
        """Tell of one more exchange: in the message of the burst this belongs to, else in a new one. Returns its key.

        An exchange that a message tells of already gets a new one: an edit wakes nobody.
        """
        for message in reversed(self.messages.values()):
            if _takes(message, kind, line, at_ms=at_ms, is_loud=is_loud, about=about):
                self._change(message, (*message.lines, line))
                return message.key
        self.messages[key] = Message(
            key=key,
            kind=kind,
            opened_ms=at_ms,
            changed_ms=self.now_ms,
            is_loud=is_loud,
            of=self.of,
            lines=(line,),
            about=about,
        )
        return key

    def edit(self, key: str, line: Line) -> bool:
        """Let a message say this of the line's exchange; False if it does not tell of it, or is forgotten."""
        message = self.messages.get(key)
        if message is None or all(each.exchange_id != line.exchange_id for each in message.lines):
            return False
        self._change(message, tuple(line if each.exchange_id == line.exchange_id else each for each in message.lines))
        return True

    def line(self, key: str, exchange_id: int) -> Line | None:
        """What a message says of an exchange."""
        message = self.messages.get(key)
        lines = message.lines if message is not None else ()
        return next((line for line in lines if line.exchange_id == exchange_id), None)

    def close_messages(self) -> None:
        """Close those to which nothing can be added any more."""
        ongoing = unfinished(self.told.values(), self.incidents)
        for message in self.messages.values():
            closes_ms = closing_ms(message, ongoing)
            if closes_ms is not None and closes_ms <= self.now_ms:
                self.messages[message.key] = replace(message, is_closed=True)

    def _change(self, message: Message, lines: tuple[Line, ...]) -> None:
        if lines != message.lines:
            self.messages[message.key] = replace(
                message,
                lines=lines,
                version=message.version + 1,
                changed_ms=max(message.changed_ms, self.now_ms),
                is_closed=False,
            )


def unfinished(told: Iterable[Told], incidents: Mapping[str, Incident]) -> frozenset[str]:
    """What may still change: the keys of messages of starts, stops and errors, and the ids of incidents."""
    keys = {key for each in told for key in (each.start_message, each.stop_message, each.error_message)}
    return frozenset(keys - {""} | {incident.id for incident in incidents.values() if incident.resolved_ms is None})


def closing_ms(message: Message, unfinished: Collection[str]) -> int | None:
    """When a message is to be closed: once all it tells of has ended, and its burst; None: not yet, or it is."""
    if message.is_closed or message.key in unfinished or any(line.incident_id in unfinished for line in message.lines):
        return None
    return message.opened_ms + BURST_MS


def _takes(message: Message, kind: Kind, line: Line, *, at_ms: int, is_loud: bool, about: str) -> bool:
    """Whether a message is of the burst that this line belongs to. Somebody to be woken is not woken by an edit."""
    is_same_kind = message.kind == kind or (message.kind in _ONE_BURST and kind in _ONE_BURST)
    return (
        is_same_kind
        and abs(at_ms - message.opened_ms) < BURST_MS
        and (message.is_loud, message.about, message.only) == (is_loud, about, "")
        and all(each.exchange_id != line.exchange_id for each in message.lines)
    )
