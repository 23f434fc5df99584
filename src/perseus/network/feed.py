"""The activity feed: pages of stream entries, one exchange or all of them, without loss or repeats. Pure.

Order is newest first by stream id *as numbers*, then by exchange name: a total order, so a cursor (the last position
handed out) names one place in all streams at once. An entry appended twice, because its first reply was lost, is shown
once: the older of the two.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from perseus.errors import BadInput
from perseus.keys import LOG_RETENTION_MS
from perseus.store import Entry

LOOK_BACK = 20  # a retried append lands this close behind its original: the tenure's next entry waits for it
_ID_MAX = 2**64 - 1
_OF_EVERY_ENTRY = dict.fromkeys(
    ("id", "event", "timestamp", "exchangeId", "exchangeName", "hostname", "ip", "adminEmail"), ""
)
_CURSOR = re.compile(r"(?P<ms>\d{1,20})-(?P<seq>\d{1,20})(@(?P<name>[a-z0-9][a-z0-9_-]{0,31}!?))?")


Place = tuple[int, int, str]  # in the feed: a stream id as numbers, and the exchange's name


class FeedEntry(NamedTuple):
    """One entry of one exchange's log: its stream id and its fields, all text."""

    exchange_name: str
    id: str
    fields: Mapping[str, str]

    @property
    def order(self) -> Place:
        """Its place in the feed; the highest is the newest."""
        ms, _, seq = self.id.partition("-")
        return int(ms), int(seq or 0), self.exchange_name


class FeedPage(NamedTuple):
    """Entries newest first, and where to go on; None when there is nothing older.

    `unreadable`: by exchange, why its log could not be read; its entries are missing from this page.
    """

    entries: list[FeedEntry]
    next_cursor: str | None
    unreadable: Mapping[str, str] = {}


class Cursor(NamedTuple):
    """A position in the feed: everything handed out so far is at or above it."""

    ms: int
    seq: int
    name: str

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}@{self.name}"

    @classmethod
    def above(cls, order: Place) -> Cursor:
        """The position right above this place: what is there has not been handed out."""
        return cls(order[0], order[1], order[2] + "!")  # before every name that goes on, as binance_us does

    def newest_for(self, name: str) -> str:
        """The XREVRANGE bound of one stream that continues below this position."""
        entry_id = f"{self.ms}-{self.seq}"
        return entry_id if name < self.name else f"({entry_id}"


class Wanted(NamedTuple):
    """What to show. `events` empty: all; `since_ms`, `until_ms`: store time, both inclusive; `text`: in any field."""

    events: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    text: str = ""

    def takes(self, entry: FeedEntry) -> bool:
        """Whether the entry is to be shown."""
        if self.events and entry.fields.get("event") not in self.events:
            return False
        if self.since_ms is not None and entry.order[0] < self.since_ms:
            return False
        if self.until_ms is not None and entry.order[0] > self.until_ms:
            return False
        needle = self.text.casefold()
        return not needle or any(needle in value.casefold() for value in entry.fields.values())

    def oldest_id(self, *, now_ms: int) -> str:
        """The XREVRANGE bound below which nothing is shown: 90 days, or `since`."""
        return str(max(0, now_ms - LOG_RETENTION_MS, self.since_ms or 0))


Optional = str | msgspec.UnsetType


class LogEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An entry as programs read it: all values are text. Which of the later fields it has depends on `event`."""

    id: str
    event: str
    timestamp: str
    exchange_id: str
    exchange_name: str
    hostname: str
    ip: str
    admin_email: str
    instance_id: Optional = msgspec.UNSET
    epoch: Optional = msgspec.UNSET
    seq: Optional = msgspec.UNSET
    from_state: Optional = msgspec.UNSET
    to_state: Optional = msgspec.UNSET
    reason: Optional = msgspec.UNSET
    error: Optional = msgspec.UNSET
    state: Optional = msgspec.UNSET
    count: Optional = msgspec.UNSET
    last_heartbeat: Optional = msgspec.UNSET
    detected_by: Optional = msgspec.UNSET
    holder: Optional = msgspec.UNSET
    new_epoch: Optional = msgspec.UNSET
    to_instance: Optional = msgspec.UNSET
    gap_ms: Optional = msgspec.UNSET
    command_id: Optional = msgspec.UNSET
    command: Optional = msgspec.UNSET
    issued_by: Optional = msgspec.UNSET
    outcome: Optional = msgspec.UNSET
    dropped: Optional = msgspec.UNSET


class FeedPageView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer of `network.getActivityLog`. `unreadable`: by exchange, why its entries are missing."""

    entries: list[LogEntry]
    next_cursor: str | None
    unreadable: dict[str, str]


EVERYTHING = Wanted()


def parse_cursor(text: str) -> Cursor:
    """The position a `next_cursor` names; a bare stream id counts as after every exchange's entry of that id.

    Raises: BadInput for anything else.
    """
    match = _CURSOR.fullmatch(text)
    numbers = (int(match["ms"]), int(match["seq"])) if match else (0, 0)
    if match is None or numbers == (0, 0) or max(numbers) > _ID_MAX:
        raise BadInput(
            f"Cursor {text[:80]!r} is none of ours. Give a `nextCursor` as it was answered, or none at all.",
            field="cursor",
        )
    return Cursor(*numbers, match["name"] or "")


def start(wanted: Wanted) -> Cursor:
    """The position above every entry that is wanted."""
    if wanted.until_ms is None:
        return Cursor(_ID_MAX, _ID_MAX, "~")
    return Cursor(wanted.until_ms, _ID_MAX, "~")


class Part(NamedTuple):
    """What is to be shown of one log's reading, and down to where that is complete; None: to the end of the log."""

    entries: list[FeedEntry]
    floor: Cursor | None


def part(name: str, read: Sequence[Entry], *, asked: int, wanted: Wanted) -> Part:
    """What is to be shown of what was read of a log, newest first, with COUNT `asked`. Repeated appends are left out.

    `asked` must be more than LOOK_BACK: the oldest entries of a full reading only show what repeats.
    """
    found = [FeedEntry(name, entry.id, entry.fields) for entry in read]
    floor = Cursor(*found[-LOOK_BACK - 1].order) if len(found) >= asked else None
    shown = _without_repeats(found)
    return Part(shown if wanted == EVERYTHING else list(filter(wanted.takes, shown)), floor)


def merge(parts: Iterable[Part], *, above: Iterable[Place] = ()) -> tuple[list[FeedEntry], Cursor | None]:
    """Merge what was read of each log below one position into the piece of the feed that is complete.

    `above`: how high logs reach that were not read; only what is above that is complete.
    Returns it newest first and the position to read on from, None when every log is exhausted.
    """
    parts = list(parts)
    floors = [part.floor for part in parts if part.floor is not None] + [Cursor.above(place) for place in above]
    lowest = max(floors, default=None)
    merged = sorted((entry for part in parts for entry in part.entries), key=_order, reverse=True)
    if lowest is not None:
        merged = [entry for entry in merged if entry.order >= lowest]
    return merged, lowest


def page(entries: Sequence[FeedEntry], *, count: int, rest: Cursor | None) -> FeedPage:
    """The first `count` of these entries; the cursor is the last one's place if any are left, else `rest`."""
    if len(entries) > count:
        return FeedPage(list(entries[:count]), str(Cursor(*entries[count - 1].order)))
    return FeedPage(list(entries), None if rest is None else str(rest))


def _order(entry: FeedEntry) -> Place:
    return entry.order


def _without_repeats(newest_first: Sequence[FeedEntry]) -> list[FeedEntry]:
    """Leave out an entry whose original stands close below it."""
    kept = []
    nearest: dict[tuple[str, str, str], int] = {}  # below, by identity
    for i in range(len(newest_first) - 1, -1, -1):
        identity = _identity(newest_first[i].fields)
        if identity is None or identity not in nearest or nearest[identity] - i > LOOK_BACK:
            kept.append(newest_first[i])
        if identity is not None:
            nearest[identity] = i
    kept.reverse()
    return kept


def _identity(fields: Mapping[str, str]) -> tuple[str, str, str] | None:
    """What makes an entry the same as another: tenure and `seq`; None where another program left them out."""
    identity = fields.get("instanceId", ""), fields.get("epoch", ""), fields.get("seq", "")
    return identity if all(identity) else None


class Following:
    """Remembers what a live tail has shown, so that a repeated append is shown once."""

    def __init__(self, *, memory: int = 1000) -> None:
        self._memory = memory
        self._seen: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def fresh(self, entries: Iterable[FeedEntry]) -> list[FeedEntry]:
        """Those not seen before, in the order given (oldest first)."""
        fresh = []
        for entry in entries:
            identity = _identity(entry.fields)
            if identity is None or identity not in self._seen:
                fresh.append(entry)
            if identity is not None:
                self._seen[identity] = None
                if len(self._seen) > self._memory:
                    self._seen.popitem(last=False)
        return fresh


def view(entry: FeedEntry) -> dict[str, str]:
    """The entry in the shape programs read: an item of `network.getActivityLog`, a line of `perseus log --json`.

    What another program left out and every entry has is `""`, like all that is unknown.
    """
    exchange_name = entry.fields.get("exchangeName") or entry.exchange_name
    return {**_OF_EVERY_ENTRY, **entry.fields, "id": entry.id, "exchangeName": exchange_name}


def encode(entry: FeedEntry) -> bytes:
    """The entry as one line of JSON."""
    return msgspec.json.encode(view(entry))


def encode_page(answer: FeedPage) -> bytes:
    """The page as JSON in the shape of `FeedPageView`."""
    shown = {
        "entries": [view(entry) for entry in answer.entries],
        "nextCursor": answer.next_cursor,
        "unreadable": answer.unreadable,
    }
    return msgspec.json.encode(shown)
