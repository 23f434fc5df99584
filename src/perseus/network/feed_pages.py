"""Reading one page of the feed from the store: `feed.py` says what belongs on it.

Exact while entries arrive: a first page begins at the newest entry there is once its millisecond is over, so nothing
can still be appended below what it shows. (By the clocks of several primaries, as a Cluster has them, this holds as far
as those agree.) Of many logs only those that can reach the page are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from perseus import keys
from perseus.errors import PerseusError, UnreadableKey
from perseus.model import Exchange
from perseus.network.feed import (
    EVERYTHING,
    LOOK_BACK,
    Cursor,
    FeedEntry,
    FeedPage,
    Place,
    Wanted,
    merge,
    page,
    parse_cursor,
    start,
)
from perseus.store import Entry, Store
from perseus.store.connection import parse_entries

_ROUND_ENTRIES = 4000  # read at once, of all logs: so much is parsed without a pause
_PAGE_ENTRIES = (
    20_000  # and for one page: a rare filter must not hold the store for ever; the cursor goes on from there
)
_LOGS = 40  # read at once, those that reach highest
_SHARE = 20  # entries of each of many logs: most have few on any page
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
    while rest is not None and len(found) < count and reader.entries_read < _PAGE_ENTRIES:
        merged, rest = await reader.go_on(rest, oldest=oldest, share=count + 1 if wanted == EVERYTHING else None)
        found += filter(wanted.takes, merged)
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
        self.entries_read = 0

    async def begin(self, position: Cursor) -> float:
        """Look how high each log reaches below this position. Returns the store's time, Unix ms."""
        clock, *replies = await self._store.pipeline(("TIME",), *_reads(self._names, position, oldest="-", count=1))
        if isinstance(clock, Exception):
            raise clock
        tops = self._entries(self._names, replies)
        self.heights = {name: (*entries[0].order, name) for name, entries in tops.items() if entries}
        return int(clock[0]) * 1000 + int(clock[1]) / 1000

    async def go_on(self, position: Cursor, *, oldest: str, share: int | None) -> tuple[list[FeedEntry], Cursor | None]:
        """Read on below this position, `share` entries of each log (None: many), as far as that is complete."""
        ranked = sorted(self.heights, key=self.heights.__getitem__, reverse=True)
        names, unread = ranked[:_LOGS], ranked[_LOGS:]
        most = _ROUND_ENTRIES // max(1, len(names))
        if share is not None:
            most = min(most, share if len(names) * share <= _ROUND_ENTRIES // 2 else _SHARE)
        asked = LOOK_BACK + max(1, most)
        replies = await self._store.pipeline(*_reads(names, position, oldest=oldest, count=asked)) if names else []
        read = self._entries(names, replies)
        self.entries_read += sum(map(len, read.values()))
        merged, rest = merge(read, asked=asked, above={self.heights[name] for name in unread[:1]})
        for name in names:
            below = [each.order for each in read.get(name, ()) if rest is not None and (*each.order, name) < rest]
            if below:
                self.heights[name] = (*below[0], name)
            else:
                del self.heights[name]
        return merged, rest

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
