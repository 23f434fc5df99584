"""Plays histories to the rules as a notifier does, and judges after every step what people were told."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from perseus.notify import rules
from perseus.notify.state import Incident, Line, LogEvent, Message, Seen, State
from tests.notify.histories import DOWN, SERVED, STOPPED, STOPPING, Venue
from tests.notify.logs import HOUR_MS, MINUTE_MS, NOW_MS, again, card, reread

PAUSES_MS = (0, 1, 1_000, 4_000, 9_999, 10_000, 30_000, MINUTE_MS, 4 * MINUTE_MS, 11 * MINUTE_MS, HOUR_MS, 13 * HOUR_MS)
VENUES = (1, 2, 4)
OUTAGES = ("offline", "lease_lost")
BURST_MS, WINDOW_MS = 10_000, 15 * MINUTE_MS
LOUD_IN_WINDOW = 2  # two outages, the second of which is then flapping


class Step(NamedTuple):
    """One step: after `pause`, something happens to a venue, or somebody or something else acts. All are indices."""

    pause: int
    venue: int
    what: int
    action: int
    ticks: bool


def steps(seed: int, *, count: int) -> list[Step]:
    """A history from a seed: calm times, and hectic ones in which much happens to one venue."""
    dice = random.Random(seed)
    found: list[Step] = []
    venue, is_hectic = 0, False
    for _ in range(count):
        is_hectic = dice.random() < (0.95 if is_hectic else 0.15)
        venue = venue if is_hectic else dice.randrange(3)
        pause = dice.randrange(8 if is_hectic else len(PAUSES_MS))
        what = dice.choice((0, 1, 2, 3, 4, *[5] * (30 if is_hectic else 7)))
        found.append(Step(pause, venue, what, dice.randrange(10_000), ticks=dice.random() < 0.9))
    return found


class Judge:
    """The rules' state beside the truth. Raises AssertionError with the number of the promise that was broken."""

    def __init__(self) -> None:
        self.state = self._unread = State()
        self.venues = {id: Venue(id) for id in VENUES}
        self.now_ms = NOW_MS
        self.taken: list[LogEvent] = []
        self.claims: dict[int, str] = {}
        self.louds: set[str] = set()
        self.woken: dict[int, list[int]] = {id: [] for id in VENUES}

    def play(self, history: Sequence[Step]) -> State:
        """Live through it."""
        for step in history:
            self._wait(PAUSES_MS[step.pause % len(PAUSES_MS)], ticks=step.ticks)
            self._do(step)
            if step.ticks:
                self._tick()
        return self.state

    def take(self, event: LogEvent) -> None:
        """Take an entry of which nobody knows whether it is true."""
        self._take(event)

    def show(self, cards: list[Seen]) -> None:
        """Compare with cards, true or not."""
        self._compare_with(cards)

    def wait(self, pause_ms: int) -> None:
        """Let time pass, with a notifier that ticks."""
        self._wait(pause_ms, ticks=True)

    # -- acting -------------------------------------------------------------------------------------------------------

    def _wait(self, pause_ms: int, *, ticks: bool) -> None:
        """Let time pass, with a notifier that ticks when something is due, or with none."""
        end_ms = self.now_ms + pause_ms
        while ticks and (due_ms := rules.due_ms(self.state)) is not None and due_ms <= end_ms:
            now_ms = max(self.now_ms, due_ms)
            is_ahead = due_ms > self.now_ms
            assert not is_ahead or rules.tick(self.state, now_ms=due_ms - 1) == self.state, "(due) done too early"
            self.now_ms = now_ms
            self._tick()
            next_ms = rules.due_ms(self.state)
            assert next_ms is None or next_ms > now_ms, "(due) not done"
        self.now_ms = end_ms

    def _do(self, step: Step) -> None:
        venue = self.venues[VENUES[step.venue % 3]]
        incident = self._open(venue.exchange_id)
        match step.what:
            case 0 if incident is not None:
                self._change(
                    lambda state: rules.acknowledge(state, incident.id, by="ada", reason="on it", at_ms=self.now_ms)
                )
            case 1 if incident is not None:
                until_ms = self.now_ms + PAUSES_MS[3 + step.action % 8]
                self._change(lambda state: rules.mute(state, incident.id, until_ms=until_ms, by="ada"))
            case 2 if incident is not None:
                self._change(lambda state: rules.unmute(state, incident.id))
            case 3:
                self._compare()
            case 4:
                versions = {incident.id: incident.version for incident in self.state.incidents.values()}
                self._change(lambda state: rules.recorded(state, versions))
            case _:
                for event in venue.act(step.action, self.now_ms):
                    self._take(event)
                self._judge_truth()

    def _take(self, event: LogEvent) -> None:
        self._change(lambda state: rules.take(state, event, of=len(VENUES), now_ms=self.now_ms))
        self.taken.append(event)
        is_numbered = event.fields.get("seq", "").isdigit() and bool(event.fields.get("instanceId"))
        for earlier in [*self.taken[-6:], *([again(event, self.now_ms)] if is_numbered else [])]:
            twice = rules.take(self.state, earlier, of=len(VENUES), now_ms=self.now_ms)
            assert twice == self.state, f"(4) taken twice: {earlier}"

    def _compare(self) -> None:
        """The cards show what is on record, for a minute."""
        health = {SERVED: "active", DOWN: "offline", STOPPED: "stopped", "": "never"}
        for _ in range(7):
            self._wait(10_000, ticks=True)
            shown = [
                card(id, health.get(venue.truth, "transition"), epoch=venue.epoch) for id, venue in self.venues.items()
            ]
            self._compare_with(shown)
        self._judge_truth()

    def _compare_with(self, shown: list[Seen]) -> None:
        self._change(lambda state: rules.compare(state, shown, of=len(VENUES), now_ms=self.now_ms))

    def _tick(self) -> None:
        self._change(lambda state: rules.tick(state, now_ms=self.now_ms), ticked=True)

    # -- judging ------------------------------------------------------------------------------------------------------

    def _change(self, change: Callable[[State], State], *, ticked: bool = False) -> None:
        """Let the rules do something: to a state read anew as after a restart, and to one that never was."""
        before = self.state
        self.state, self._unread = reread(change(before)), change(self._unread)
        assert self.state == self._unread, "(3) a restart changed something"
        state = self.state
        self._judge_incidents()
        created = state.messages[len(before.messages) :]
        known = {message.key: message for message in before.messages}
        self._hear(known)
        self._judge_loudness(before, created)
        self._judge_people(before, created, ticked=ticked)

    def _hear(self, known: dict[str, Message]) -> None:
        """What was said last of each exchange: messages that are new, or changed."""
        assert known.keys() <= {message.key for message in self.state.messages}, "(2) a message vanished"
        for message in self.state.messages:
            old = known.get(message.key)
            if old is not None and old.lines == message.lines:
                assert old.version == message.version, "(1) a version was raised for nothing"
                continue
            assert old is None or message.version > old.version, "(1) a message changed under the same version"
            for line in message.lines:
                claim = claim_of(message, line)
                if claim and (old is None or line not in old.lines):
                    self.claims[line.exchange_id] = claim

    def _judge_truth(self) -> None:
        for id, venue in self.venues.items():
            allowed = {STOPPING: (STOPPING, DOWN)}.get(venue.truth, (venue.truth,))
            claim = self.claims.get(id, "")
            assert claim in allowed, f"(1) {id}: said {claim or 'nothing'!r}, true is {venue.truth!r}"
            for message in self.state.messages:
                for line in message.lines:
                    incident = self.state.incidents.get(line.incident_id)
                    is_over = incident is None or incident.resolved_ms is None or line.until_ms is not None
                    assert is_over, f"(1) {message.key} says that {line.incident_id} goes on"
                    if line.exchange_id == id and not message.is_closed and is_of_now(self.state, message, line):
                        said = claim_of(message, line)
                        assert said in allowed, f"(1) {id}: {message.key} says {said!r}, true is {venue.truth!r}"

    def _judge_incidents(self) -> None:
        found = [incident for incident in self.state.incidents.values() if incident.resolved_ms is None]
        assert len({incident.exchange_id for incident in found}) == len(found), "(2) two open incidents"
        told = {told.incident for told in self.state.told.values() if told.incident}
        assert told == {incident.id for incident in found}, "(2) an incident nobody knows"
        messages = {message.key: message for message in self.state.messages}
        for incident in self.state.incidents.values():
            lines = messages[incident.message].lines if incident.message in messages else ()
            assert any(line.incident_id == incident.id for line in lines), "(2) no message tells of an incident"

    def _judge_loudness(self, before: State, created: Sequence[Message]) -> None:
        """Reminders have times of their own; anything else loud is the first word of an outage, or of flapping."""
        for id in VENUES:
            if id in self.state.told and not self.state.told[id].changes:
                self.woken[id].clear()  # it was stable, or stopped on purpose
        for message in created:
            if not message.is_loud or message.kind == "reminder":
                continue
            for other in (each for each in self.state.messages if each.key in self.louds):
                is_burst = message.kind in OUTAGES and other.kind in OUTAGES
                is_burst = is_burst and message.opened_ms - other.opened_ms < BURST_MS
                assert not is_burst or exchanges(message) & exchanges(other), "(5) a burst was told loudly twice"
            self.louds.add(message.key)
            for id in exchanges(message):
                told = before.told.get(id)
                incident = before.incidents.get(told.incident) if told else None
                assert incident is None or not incident.is_flapping, "(5) flapping was told loudly again"
                woken = [ms for ms in self.woken[id] if ms > message.opened_ms - WINDOW_MS]
                self.woken[id] = [*woken, message.opened_ms]
                assert len(self.woken[id]) <= LOUD_IN_WINDOW, "(5) one exchange woke people all the time"

    def _judge_people(self, before: State, created: Sequence[Message], *, ticked: bool) -> None:
        for message in created:
            for line in message.lines:
                incident = before.incidents.get(line.incident_id)
                if incident is None:
                    continue
                if message.kind == "reminder":
                    assert incident.acknowledged_ms is None, "(6) an acknowledged incident was reminded of"
                is_muted = incident.muted_until_ms is not None and self.now_ms < incident.muted_until_ms
                if message.kind in ("reminder", "recovered", "flapping"):
                    assert not is_muted, "(6) a muted incident was told anew"
        for incident in before.incidents.values() if ticked else ():
            until_ms, after = incident.muted_until_ms, self.state.incidents.get(incident.id)
            is_over = until_ms is not None and until_ms <= self.now_ms and incident.acknowledged_ms is None
            if is_over and incident.resolved_ms is None and after is not None and after.resolved_ms is None:
                told = [line.incident_id for message in created if message.is_loud for line in message.lines]
                assert incident.id in told, "(6) the end of a mute was not told"

    def _open(self, exchange_id: int) -> Incident | None:
        found = (each for each in self.state.incidents.values() if each.exchange_id == exchange_id)
        return next((incident for incident in found if incident.resolved_ms is None), None)


def claim_of(message: Message, line: Line) -> str:
    """What a person who reads this line believes of its exchange now; `""`: it says nothing of that."""
    match message.kind:
        case "started" | "stopped":
            return DOWN if line.phase in ("offline", "lease_lost", "lease_lapsed") else line.next_phase or line.phase
        case "recovered":
            return SERVED
        case "offline" | "lease_lost" | "flapping" | "reminder":
            if message.kind in ("offline", "lease_lost") and not message.is_loud:
                return ""  # of the past
            if line.until_ms is not None:
                return SERVED if line.phase != "stopped" else STOPPED
            return SERVED if line.is_up else line.next_phase or DOWN
    return ""


def exchanges(message: Message) -> set[int]:
    """Which exchanges a message tells of."""
    return {line.exchange_id for line in message.lines}


def is_of_now(state: State, message: Message, line: Line) -> bool:
    """Whether a line tells of what still goes on, so that it must be true however old the message is."""
    told = state.told[line.exchange_id]
    return message.key in (told.start_message, told.stop_message) or (
        bool(told.incident) and line.incident_id == told.incident
    )
