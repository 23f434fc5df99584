"""Activity logs as instances write them, for tests of the rules: entries of tenures, in the order they come in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

import msgspec

from perseus.clock import iso
from perseus.notify import rules
from perseus.notify.state import Incident, Kind, Line, LogEvent, Message, Seen, State

NOW_MS = 1_795_378_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
NAMES = {1: "coinbase", 2: "binance", 4: "kraken", 5: "bitstamp"}
_numbers = count(1)


@dataclass
class Tenure:
    """One holder's time on an exchange; its entries are numbered."""

    exchange_id: int
    epoch: int
    hostname: str = "fra-1"
    instance_id: str = ""
    seq: int = 0

    def entry(self, at_ms: int, event: str, **fields: str) -> LogEvent:
        """An entry that this instance writes at `at_ms`."""
        self.seq += 1
        return self.record(at_ms, event, seq=str(self.seq), **fields)

    def record(self, at_ms: int, event: str, **fields: str) -> LogEvent:
        """An entry about this tenure that another writes: it has no number."""
        known = {
            "event": event,
            "timestamp": iso(at_ms),
            "exchangeId": str(self.exchange_id),
            "exchangeName": NAMES[self.exchange_id],
            "hostname": self.hostname,
            "ip": "203.0.113.7",
            "adminEmail": "ada@example.org",
            "instanceId": self.instance_id or f"instance-{self.hostname}",
            "epoch": str(self.epoch),
        }
        return event_of(self.exchange_id, at_ms, **known, **fields)

    def enters(self, at_ms: int, from_state: str, to_state: str, reason: str = "") -> LogEvent:
        """A transition."""
        return self.entry(at_ms, "state_transition", fromState=from_state, toState=to_state, reason=reason)

    def starts(self, at_ms: int) -> list[LogEvent]:
        """From idle to active within two seconds."""
        return [
            self.enters(at_ms, "idle", "starting", "process start"),
            self.enters(at_ms + 1_000, "starting", "warming"),
            self.enters(at_ms + 2_000, "warming", "active"),
        ]

    def stops(self, at_ms: int, reason: str = "ada: an upgrade") -> list[LogEvent]:
        """From active to stopped within a second."""
        return [
            self.enters(at_ms, "active", "stopping", reason),
            self.enters(at_ms + 1_000, "stopping", "stopped"),
        ]

    def lost(self, at_ms: int, *, heartbeat_ms: int | None = None, state: str = "active") -> LogEvent:
        """Somebody noticed that it ended without a word."""
        last = iso(at_ms - 45_000 if heartbeat_ms is None else heartbeat_ms)
        return self.record(at_ms, "instance_lost", state=state, lastHeartbeat=last, detectedBy="watcher")


def event_of(exchange_id: int, at_ms: int, **fields: str) -> LogEvent:
    """An entry with these fields and no others. Ids rise in the order in which entries are made."""
    name = NAMES[exchange_id]
    return LogEvent(exchange_id, name, name.title(), f"{at_ms}-{next(_numbers)}", fields)


def again(event: LogEvent, at_ms: int | None = None) -> LogEvent:
    """The same entry, appended a second time by a retry."""
    return event._replace(id=f"{event.ms if at_ms is None else at_ms}-{next(_numbers)}")


def taken(state: State, events: Iterable[LogEvent], *, of: int = 3) -> State:
    """The state after these entries, each taken when it was written, with time passing in between."""
    for event in events:
        state = rules.take(rules.tick(state, now_ms=event.ms), event, of=of, now_ms=event.ms)
    return state


def reread(state: State) -> State:
    """The state after a restart: from the JSON it was kept as."""
    return msgspec.json.decode(msgspec.json.encode(state), type=State)


def said(state: State, *kinds: Kind) -> list[Message]:
    """The messages, of these kinds if any are given."""
    return [message for message in state.messages if not kinds or message.kind in kinds]


def only(state: State, *kinds: Kind) -> Message:
    """The one message of these kinds."""
    (message,) = said(state, *kinds)
    return message


def line(message: Message, exchange_id: int = 1) -> Line:
    """What a message says of an exchange."""
    (found,) = (each for each in message.lines if each.exchange_id == exchange_id)
    return found


def card(exchange_id: int, health: str, *, epoch: int = 1, since_ms: int | None = None, wanted: bool = True) -> Seen:
    """What a card shows."""
    name = NAMES[exchange_id]
    return Seen(exchange_id, name, name.title(), health, epoch, "fra-1", since_ms, wanted)


def running(*tenures: Tenure) -> State:
    """A network in which these have been active for an hour, and nothing is left to say."""
    state = State()
    for tenure in tenures:
        state = taken(state, tenure.starts(NOW_MS - HOUR_MS))
    return rules.tick(state, now_ms=NOW_MS)


def down() -> tuple[State, Incident]:
    """Coinbase was active, and is lost at NOW_MS."""
    tenure = Tenure(1, 1)
    state = taken(running(tenure), [tenure.lost(NOW_MS)])
    return state, incident(state)


def incident(state: State) -> Incident:
    """The one incident there is."""
    (found,) = state.incidents.values()
    return found


def open_ones(state: State) -> list[Incident]:
    """The incidents that are not over."""
    return [each for each in state.incidents.values() if each.resolved_ms is None]
