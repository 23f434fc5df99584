"""What changes, told to any number of subscribers from one reading: cards as they are now, log entries one by one.

Nothing is queued for anyone: a subscriber remembers how far it is, so a slow one misses intermediate states of a card,
and is told to start anew when the entries it has not had yet are remembered no more.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import NamedTuple

import msgspec

from perseus.network.cards import CardView
from perseus.network.feed import LogEntry
from perseus.network.snapshot import Reading, Snapshot
from perseus.network.tail import Position

_TURNS_FOR_OTHERS = 3  # another process may be so much ahead of us


class InstancesChange(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="instances"):
    """All cards: at first, after the network could not be seen, and when exchanges were added or switched off."""

    instances: list[CardView]
    server_time: str


class CardsChange(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="cards"):
    """The cards that changed."""

    cards: list[CardView]
    server_time: str


class EntryChange(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="entry"):
    """One entry that came to a log."""

    entry: LogEntry


class ResyncChange(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="resync"):
    """Entries were missed: read the activity log anew. What comes from here on is complete again."""


class UnavailableChange(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="unavailable"):
    """The network cannot be seen: what was told is of `observed_at` and says nothing about now."""

    observed_at: str | None
    message: str


NetworkChange = InstancesChange | CardsChange | EntryChange | ResyncChange | UnavailableChange


class Change(NamedTuple):
    """A change as JSON (a `NetworkChange`), and the id to resume from behind it."""

    id: str
    encoded: bytes


class Changes:
    """Tells every subscriber what the snapshot sees. Reads nothing itself."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.version = 0
        self._reading: Reading | None = None
        self._changed_in: dict[int, int] = {}  # by exchange, the version in which its card changed last
        self._set_in = 0  # the version in which the exchanges themselves changed last
        self._encoded: dict[int, bytes] = {}  # the cards changed since a version

    async def follow(self, last_event_id: str | None = None) -> AsyncGenerator[Change, None]:
        """What changes from here on, or behind `last_event_id`: all cards first, then changes as they come, for ever.

        Raises: BadInput for an id that is none of ours.
        """
        subscriber = _Subscriber(self, resume=Position.parse(last_event_id) if last_event_id else None)
        leave = self.snapshot.watch()
        try:
            while True:
                for change in subscriber.due():
                    yield change
                await self.snapshot.next_turn()
        finally:
            leave()

    def take(self, reading: Reading) -> None:
        """Compare a reading with the one before, once for all subscribers."""
        if reading is self._reading:
            return
        before = {} if self._reading is None else self._reading.active()
        active = reading.active()
        self.version += 1
        self._reading, self._encoded = reading, {}
        for exchange_id, seen in active.items():
            if exchange_id not in before or before[exchange_id].gist != seen.gist:
                self._changed_in[exchange_id] = self.version
        if active.keys() != before.keys():
            self._set_in = self.version

    def cards(self, reading: Reading, *, since: int | None) -> bytes | None:
        """The cards changed after the version `since` (None: all) as JSON; None if none did."""
        if since is None or since < self._set_in:
            return b'{"kind":"instances",' + reading.instances[1:]
        if since not in self._encoded:
            active = reading.active()
            changed = [seen.encoded for each, seen in active.items() if self._changed_in[each] > since]
            end = b'],"serverTime":' + msgspec.json.encode(reading.server_time) + b"}"
            self._encoded[since] = b'{"kind":"cards","cards":[' + b",".join(changed) + end if changed else b""
        return self._encoded[since] or None


class _Subscriber:
    """How far one subscriber is."""

    def __init__(self, changes: Changes, *, resume: Position | None) -> None:
        self._changes = changes
        self._snapshot = changes.snapshot
        self._resume = resume
        self._turns = 0
        self._n: int | None = None
        self._version: int | None = None  # None: it has not seen all cards since the network was seen last
        self._is_told_blind = False
        self._id = str(resume) if resume else str(self._snapshot.tail.position())
        if self._snapshot.tail.names:
            self._n = self._snapshot.tail.n

    def due(self) -> Iterator[Change]:
        """What this subscriber has not been told."""
        reading, fault = self._snapshot.peek()
        if fault is not None:
            if not self._is_told_blind:
                told = UnavailableChange(observed_at=fault.observed_at, message=str(fault))
                yield Change(self._id, msgspec.json.encode(told))
            self._is_told_blind, self._version = True, None
        elif reading is not None:
            self._is_told_blind = False
            self._changes.take(reading)
            cards = self._changes.cards(reading, since=self._version)
            self._version = self._changes.version
            if self._n is None:  # the first reading of all: entries count from here
                self._n, self._id = self._snapshot.tail.n, self._id if self._resume else self._position()
            entries = self._entries(self._n)
            if cards is not None:
                yield Change(self._id, cards)
            yield from entries

    def _entries(self, n: int) -> Iterator[Change]:
        tail = self._snapshot.tail
        if self._resume is None:
            arrived = tail.since(n)
        elif tail.is_behind(self._resume):
            self._turns += 1
            if self._turns <= _TURNS_FOR_OTHERS:
                return
            arrived = None
        else:
            arrived = tail.missed(self._resume)
        self._resume, self._n = None, tail.n
        if arrived is None:
            self._id = self._position()
            yield Change(self._id, _RESYNC)
        for each in arrived or ():
            self._id = each.position
            yield Change(self._id, b'{"kind":"entry","entry":' + each.encoded + b"}")

    def _position(self) -> str:
        return str(self._snapshot.tail.position())


_RESYNC = msgspec.json.encode(ResyncChange())
