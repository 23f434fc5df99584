"""Networks that live through anything, and know themselves what is true: what the rules are judged by.

A `Venue` is a small model of one exchange. Each of its actions writes the entries that instances, claimers and watchers
write then, in the order they come in, and sets `truth`: what somebody who has read the log so far should believe. It
shares no code with the rules and never reads an entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from perseus.notify.state import LogEvent
from tests.notify.logs import Tenure, again

SERVED, DOWN, STOPPED, STOPPING = "active", "down", "stopped", "stopping"


@dataclass
class Venue:
    """One exchange: its newest tenure, those that are over, and what is true of it by what is on record."""

    exchange_id: int
    truth: str = ""
    tenure: Tenure | None = None
    state: str = "gone"  # of the process: a lifecycle state, or gone
    over: list[Tenure] = field(default_factory=list)
    unrecorded: list[tuple[Tenure, str]] = field(default_factory=list)
    settled: int = 0  # the newest epoch that was active, or stopped on purpose
    written: list[LogEvent] = field(default_factory=list)
    epoch: int = 0

    def act(self, action: int, at_ms: int) -> list[LogEvent]:
        """Do one of the things that can happen now; the entries that it writes."""
        able = self._able()
        events = able[action % len(able)](at_ms)
        self.written += events
        return events

    def _able(self) -> list[Callable[[int], list[LogEvent]]]:
        can: list[Callable[[int], list[LogEvent]]] = [self.repeat, self.say_late, self.record_late]
        match self.state:
            case "gone":
                can += [self.begin, self.begin, self.begin]
            case "idle":
                can += [self.begin, self.lapse, self.die, self.err]
            case "starting" | "warming":
                can += [self.go_on, self.go_on, self.stop, self.fail, self.die, self.die_unseen, self.lapse, self.err]
            case "active":
                can += [self.fill_gap, self.stop, self.fail, self.die, self.die, self.die_unseen, self.lapse, self.err]
                can += [self.give_over, self.be_taken, self.bounce, self.bounce, self.bounce]
            case "stopping":
                can += [self.go_on, self.go_on, self.die, self.die_unseen]
            case "stopped":
                can += [self.begin, self.lapse, self.leave, self.err]
        return can

    # -- lives --------------------------------------------------------------------------------------------------------

    def begin(self, at_ms: int) -> list[LogEvent]:
        """A start: of a new process, of one that waited, or again after a stop (which claims anew)."""
        before = "stopped" if self.state == "stopped" else "idle"
        if self.state != "idle":
            self._claim()
        events = [self.now.entry(at_ms, "command", command="start", outcome="accepted")] if before == "stopped" else []
        return [*events, self._enter(at_ms, before, "starting", truth="starting")]

    def go_on(self, at_ms: int) -> list[LogEvent]:
        """The next step of a start or a stop."""
        step = {"starting": "warming", "warming": "active", "stopping": "stopped"}[self.state]
        event = self._enter(at_ms, self.state, step, truth=step)
        if step in ("active", "stopped"):
            self.settled = self.now.epoch
        return [event]

    def fill_gap(self, at_ms: int) -> list[LogEvent]:
        """A reconnect, with its error; the exchange counts as served."""
        return [
            self.now.entry(at_ms, "error", error="the venue closed the connection", count="1"),
            self.now.enters(at_ms, "active", "warming", "a gap"),
            self.now.enters(at_ms, "warming", "active", "a gap: filled"),
        ]

    def stop(self, at_ms: int) -> list[LogEvent]:
        """Somebody stops it."""
        return [self._enter(at_ms, self.state, "stopping", truth=STOPPING, reason="ada: an upgrade")]

    def leave(self, at_ms: int) -> list[LogEvent]:
        """A stopped process ends."""
        self.state = "gone"
        return []

    def fail(self, at_ms: int) -> list[LogEvent]:
        """Its work fails, and it ends itself in order."""
        events = [
            self.now.entry(at_ms, "error", error="401 from the venue", count="1"),
            self._enter(at_ms, self.state, "stopping", truth=DOWN, reason="error"),
            self._enter(at_ms, "stopping", "stopped", truth=DOWN, reason="error"),
        ]
        self.state = "gone"
        return events

    def err(self, at_ms: int) -> list[LogEvent]:
        """An error that ends nothing."""
        return [self.now.entry(at_ms, "error", error="timed out", count="2")]

    # -- deaths -------------------------------------------------------------------------------------------------------

    def die(self, at_ms: int) -> list[LogEvent]:
        """It dies, and that is on record at once. One that waited after a stop on purpose takes nothing with it."""
        if not (self.state == "idle" and self.truth == STOPPED):
            self.truth = DOWN
        state, self.state = self.state, "gone"
        self.over.append(self.now)
        return [self.now.lost(at_ms, state=state)]

    def bounce(self, at_ms: int) -> list[LogEvent]:
        """It dies, and is back in no time."""
        return [*self.die(at_ms), *self.begin(at_ms), *self.go_on(at_ms), *self.go_on(at_ms)]

    def die_unseen(self, at_ms: int) -> list[LogEvent]:
        """It dies, and nobody could write that down yet."""
        self.unrecorded.append((self.now, self.state))
        self.state = "gone"
        return []

    def record_late(self, at_ms: int) -> list[LogEvent]:
        """The record of such a death: an outage, unless another tenure has served or been stopped since."""
        if not self.unrecorded:
            return []
        dead, state = self.unrecorded.pop(0)
        is_at_work = self.now is not dead and self.truth in ("starting", "warming", STOPPING)  # as far as is on record
        if dead.epoch >= self.settled and not is_at_work:
            self.truth = DOWN
        return [dead.lost(at_ms, state=state)]

    def lapse(self, at_ms: int) -> list[LogEvent]:
        """It loses its lease, and claims again at once; whatever it did has to begin anew."""
        old, was_stopped = self.now, self.truth == STOPPED
        self._claim()
        self.state = "stopped" if self.state == "stopped" else "idle"
        if not was_stopped:
            self.truth = DOWN
        return [old.entry(at_ms, "lease_lapsed", reason="expired", newEpoch=str(self.now.epoch))]

    def be_taken(self, at_ms: int) -> list[LogEvent]:
        """Another instance has it: it says so, and the other begins."""
        old = self.now
        lost = old.entry(at_ms, "lease_lost", reason="taken", holder="another")
        self._claim()
        self.truth = DOWN
        return [lost, self._enter(at_ms, "idle", "starting", truth="starting")]

    def give_over(self, at_ms: int) -> list[LogEvent]:
        """A planned transfer: the old holder stops after the new one has begun."""
        old = self.now
        handed = old.entry(at_ms, "handoff_completed", toInstance="another", reason="an upgrade")
        self._claim()
        begun = [self._enter(at_ms, "idle", "starting", truth="starting"), *self.go_on(at_ms), *self.go_on(at_ms)]
        return [handed, *begun, *self._stops(old, at_ms)]

    # -- what changes nothing -----------------------------------------------------------------------------------------

    def repeat(self, at_ms: int) -> list[LogEvent]:
        """A retry appends again what an instance wrote not long ago."""
        numbered = [event for event in self.written[-8:] if "seq" in event.fields]
        return [again(numbered[-1], at_ms)] if numbered else []

    def say_late(self, at_ms: int) -> list[LogEvent]:
        """An instance whose time is over, as is on record, writes what waited for the store."""
        if not self.over:
            return []
        old = self.over[-1]
        events = [old.enters(at_ms, "active", "warming"), old.enters(at_ms, "warming", "active")]
        return [*events, *self._stops(old, at_ms)]

    # -- inside -------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> Tenure:
        """The newest tenure."""
        assert self.tenure is not None
        return self.tenure

    def _stops(self, old: Tenure, at_ms: int) -> list[LogEvent]:
        return [old.enters(at_ms, "active", "stopping", "over"), old.enters(at_ms, "stopping", "stopped")]

    def _claim(self) -> None:
        if self.tenure is not None:
            self.over.append(self.tenure)
        self.epoch += 1
        self.tenure, self.state = Tenure(self.exchange_id, self.epoch, hostname=f"host-{self.epoch}"), "idle"

    def _enter(self, at_ms: int, from_state: str, to_state: str, *, truth: str, reason: str = "") -> LogEvent:
        self.state, self.truth = to_state, truth
        return self.now.enters(at_ms, from_state, to_state, reason)
