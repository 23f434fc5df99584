"""Reading one page of the feed from the store: `feed.py` says what belongs on it.

Exact while entries arrive: a first page begins at the newest entry there is once its millisecond is over, so nothing
can still be appended below what it shows. (By the clocks of several primaries, as a Cluster has them, this holds as far
as those agree.) Of many logs only those that can reach the page are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from perseus import keys
from perseus.errors import PerseusError, UnreadableKey
from perseus.model import Exchange
from perseus.network.feed import (
    EVERYTHING,
    LOOK_BACK,
    Cursor,
    FeedEntry,
    FeedPage,
    Part,
    Place,
    Wanted,
    merge,
    page,
    parse_cursor,
    part,
    start,
)
from perseus.store import Entry, Store
from perseus.store.connection import parse_entries

_AT_ONCE = 500  # entries read at once: so many are parsed without a pause, some 5 ms
_LEAST = 10  # entries of each of many logs
_LOGS = 200  # read for one piece of a page, those that reach highest
_PAGE_ENTRIES = 5000  # and for one page: a rare filter must not hold the store for ever; the cursor goes on from there
_LATER_MS = 2.0  # an entry further in the future was written under another clock


async def read_page(
    store: Store, exchanges: Sequence[Exchange], *, count: int, cursor: str | None, wanted: Wanted
) -> FeedPage:
    """One page of the activity of these exchanges, newest first, going on from `cursor`.

    A page may be short although more follows: `next_cursor` is None only at the end.
    Raises: BadInput for a cursor that is none; UnreadableKey if no log at all can be read; what the store raises.
    """
    reader = _Reader(store, exchanges)
    position = parse_cursor(cursor) if cursor else start(wanted)
    now_ms = await reader.begin(position)
    oldest = wanted.oldest_id(now_ms=int(now_ms))
    reader.heights = {name: height for name, height in reader.heights.items() if height[0] >= int(oldest)}
    if not cursor and reader.heights:
        top = max(reader.heights.values())
        if 0 <= top[0] + 1 - now_ms <= _LATER_MS:
            await asyncio.sleep((top[0] + 1 - now_ms) / 1000)
        position = min(position, Cursor.above(top))
    found: list[FeedEntry] = []
    rest: Cursor | None = position
    share = count + 1 if wanted == EVERYTHING else _AT_ONCE
    while rest is not None and len(found) < count and reader.has_time:
        shown, rest = await reader.go_on(rest, oldest=oldest, share=share, wanted=wanted)
        found += shown
    return page(found, count=count, rest=rest)._replace(unreadable=reader.unreadable)


class _Reader:
    """Reads several logs at once, from the top down.

    `heights`: of each log that has more, the place of its next entry, or one above it. `unreadable`: by exchange, why
    its log cannot be read.
    """

    def __init__(self, store: Store, exchanges: Sequence[Exchange]) -> None:
        self._store = store
        self._names = [exchange.name for exchange in exchanges]
        self.heights: dict[str, Place] = {}
        self.unreadable: dict[str, str] = {}
        self._entries_read = self._last_read = 0

    @property
    def has_time(self) -> bool:
        """Whether another piece may be read for this page; the first one always may."""
        return self._entries_read + self._last_read <= _PAGE_ENTRIES

    async def begin(self, position: Cursor) -> float:
        """Look how high each log reaches below this position. Returns the store's time, Unix ms."""
        clock, *replies = await self._store.pipeline(("TIME",), *_reads(self._names, position, oldest="-", count=1))
        if isinstance(clock, Exception):
            raise clock
        tops = self._entries(self._names, replies)
        self.heights = {name: (*entries[0].order, name) for name, entries in tops.items() if entries}
        return int(clock[0]) * 1000 + int(clock[1]) / 1000

    async def go_on(
        self, position: Cursor, *, oldest: str, share: int, wanted: Wanted
    ) -> tuple[list[FeedEntry], Cursor | None]:
        """What is wanted below this position, as far as it is complete, of at most `share` entries of each log."""
        unread = sorted(self.heights, key=self.heights.__getitem__)  # the highest last
        asked = LOOK_BACK + max(_LEAST, min(share, _AT_ONCE // max(1, len(unread))))
        last = max(0, len(unread) - min(_LOGS, share))  # each of these has one entry at least above the next
        read: dict[str, list[Entry]] = {}
        parts: list[Part] = []
        floor: Place = (0, 0, "")
        while len(unread) > last and self.heights[unread[-1]] >= floor:  # further down nothing would be complete
            names = [unread.pop() for _ in range(min(len(unread) - last, max(1, _AT_ONCE // asked)))]
            replies = await self._store.pipeline(*_reads(names, position, oldest=oldest, count=asked))
            found = self._entries(names, replies)
            read |= {name: found.get(name, []) for name in names}
            parts += [part(name, entries, asked=asked, wanted=wanted) for name, entries in found.items()]
            floor = max((each.floor for each in parts if each.floor is not None), default=floor)
        self._last_read = sum(map(len, read.values()))
        self._entries_read += self._last_read
        merged, rest = merge(parts, above=[self.heights[name] for name in unread[-1:]])
        self._sink(read, rest)
        return merged, rest

    def _sink(self, read: Mapping[str, Sequence[Entry]], rest: Cursor | None) -> None:
        """Note how high the logs that were read reach now."""
        for name, entries in read.items():
            places = ((*entry.order, name) for entry in entries)
            below = next((place for place in places if rest is not None and place < rest), None)
            if below is None:
                del self.heights[name]
            else:
                self.heights[name] = below

    def _entries(self, names: Sequence[str], replies: Iterable[object]) -> dict[str, list[Entry]]:
        by_name = dict(zip(names, replies, strict=True))
        faults = {name: reply for name, reply in by_name.items() if isinstance(reply, PerseusError)}
        self.unreadable |= {name: _reason(fault) for name, fault in faults.items()}
        if faults and len(self.unreadable) == len(self._names):
            raise next(iter(faults.values()))
        return {name: parse_entries(reply) for name, reply in by_name.items() if name not in faults}


def _reads(names: Iterable[str], position: Cursor, *, oldest: str, count: int) -> list[tuple[str | int, ...]]:
    return [("XREVRANGE", keys.log(name), position.newest_for(name), oldest, "COUNT", count) for name in names]


def _reason(fault: PerseusError) -> str:
    return fault.reason if isinstance(fault, UnreadableKey) else str(fault)
