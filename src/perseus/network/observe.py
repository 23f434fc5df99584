"""The one reader of the network: cards and feed of every exchange. With losses.py the only I/O here."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from perseus import keys
from perseus.clock import iso
from perseus.errors import PerseusError, StoreUnavailable, UnreadableKey
from perseus.model import SEEDED_EXCHANGES, Exchange
from perseus.network.cards import Card, CardView, Record, conclude, view
from perseus.network.feed import (
    LOOK_BACK,
    Cursor,
    FeedEntry,
    FeedPage,
    Following,
    Wanted,
    merge,
    page,
    parse_cursor,
    start,
)
from perseus.store import Entry, Store
from perseus.store.connection import parse_entries

_READS = 20  # rounds for one page: a rare filter must not hold the store for ever; the cursor goes on from there
_FILTERED_COUNT = 500


class Observation(NamedTuple):
    """All cards as of one moment, `store_ms` by the store's clock."""

    cards: tuple[Card, ...]
    store_ms: int


class InstancesView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The shape of `network.getInstances` and `perseus status --json`."""

    instances: list[CardView]
    server_time: str


class Network:
    """Reads one network from its store: cards and feed.

    `async with perseus.Network(store="redis://…") as network: …`, or give a Store of your own. The exchanges are the
    seeded ones unless given. Remembers the last cards, because a key that vanishes too early is no outage.
    """

    def __init__(self, store: Store | str, *, exchanges: Sequence[Exchange] = SEEDED_EXCHANGES) -> None:
        self._store = Store(store) if isinstance(store, str) else store
        self._exchanges = tuple(exchanges)
        self._previous: dict[int, Card] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection to the store."""
        await self._store.close()

    async def observe(self) -> Observation:
        """Read every card in one round trip (on a Cluster: one a node). One unreadable key affects one card.

        Each card is judged by the clock of the server it was read from.

        Raises: StoreUnavailable, StoreDenied if the store cannot be read at all: that is blindness, not an outage.
        """
        if not self._exchanges:
            return Observation((), int(await self._store.time_ms()))
        reads = [_reads_of(exchange) for exchange in self._exchanges]
        replies = iter(await self._store.pipeline(*(command for each in reads for command in each)))
        by_exchange = [list(itertools.islice(replies, len(each))) for each in reads]
        clocks = [clock for clock, *_ in by_exchange if not isinstance(clock, Exception)]
        if not clocks:
            raise by_exchange[0][0]
        records = [_record(each, found) for each, (_, *found) in zip(self._exchanges, by_exchange, strict=True)]
        times_ms = [_ms(clocks[0] if isinstance(clock, Exception) else clock) for clock, *_ in by_exchange]
        cards = tuple(
            conclude(record, now_ms=now_ms, previous=self._previous.get(record.exchange.id))
            for record, now_ms in zip(records, times_ms, strict=True)
        )
        self._previous = {card.exchange.id: card for card in cards}
        return Observation(cards, times_ms[0])

    async def feed(self, *, count: int = 50, cursor: str | None = None, wanted: Wanted | None = None) -> FeedPage:
        """One page of the activity of these exchanges, newest first, going on from `cursor`.

        A page may be short although more follows: `next_cursor` is None only at the end.
        Raises: BadUsage for a cursor that is none; UnreadableKey if no log at all can be read.
        """
        wanted = wanted or Wanted()
        position = parse_cursor(cursor) if cursor else start(wanted)
        asked = LOOK_BACK + (count + 1 if wanted == Wanted() else max(count + 1, _FILTERED_COUNT))
        oldest = wanted.oldest_id(now_ms=int(await self._store.time_ms()))
        found: list[FeedEntry] = []
        rest: Cursor | None = position
        unreadable: dict[str, str] = {}
        for _ in range(_READS):
            read = await self._read_logs(position, oldest=oldest, count=asked, unreadable=unreadable)
            merged, rest = merge(read, asked=asked)
            found += filter(wanted.takes, merged)
            if rest is None or len(found) >= count:
                break
            position = rest
        return page(found, count=count, rest=rest)._replace(unreadable=unreadable)

    async def following(self, *, wanted: Wanted | None = None, block_s: float = 5.0) -> AsyncIterator[FeedEntry]:
        """Entries appended after this call, oldest first, for ever: what a page read afterwards does not hold back.

        Iterating raises what the store raises.
        """
        after = {keys.log(e.name): await self._store.newest_id(keys.log(e.name)) for e in self._exchanges}
        return self._follow(after, wanted=wanted or Wanted(), block_s=block_s)

    async def _follow(self, after: dict[str, str], *, wanted: Wanted, block_s: float) -> AsyncIterator[FeedEntry]:
        seen = Following()
        name_by_key = {keys.log(exchange.name): exchange.name for exchange in self._exchanges}
        while True:
            arrived = await self._store.wait_entries(after, block=block_s)
            entries = []
            for key, new in arrived.items():
                after[key] = new[-1].id
                entries += [FeedEntry(name_by_key[key], entry.id, entry.fields) for entry in new]
            for entry in seen.fresh(sorted(entries, key=lambda entry: entry.order)):
                if wanted.takes(entry):
                    yield entry

    async def _read_logs(
        self, position: Cursor, *, oldest: str, count: int, unreadable: dict[str, str]
    ) -> dict[str, list[Entry]]:
        names = [exchange.name for exchange in self._exchanges]
        commands: list[tuple[str | int, ...]] = [
            ("XREVRANGE", keys.log(name), position.newest_for(name), oldest, "COUNT", count) for name in names
        ]
        replies = dict(zip(names, await self._store.pipeline(*commands), strict=True))
        faults = {name: reply for name, reply in replies.items() if isinstance(reply, PerseusError)}
        if faults and len(faults) == len(names):
            raise next(iter(faults.values()))
        unreadable |= {name: _reason(fault) for name, fault in faults.items()}
        return {name: parse_entries(reply) for name, reply in replies.items() if name not in faults}


def encode_instances(observation: Observation) -> bytes:
    """The observation as JSON in the shape of `InstancesView`."""
    views = [view(card) for card in observation.cards]
    return msgspec.json.encode(InstancesView(instances=views, server_time=iso(observation.store_ms)))


def _reads_of(exchange: Exchange) -> tuple[tuple[str | int, ...], ...]:
    status = keys.status(exchange.id)
    return (
        ("TIME",),
        ("GET", status),
        ("PTTL", status),
        ("GET", keys.last(exchange.id)),
        ("GET", keys.warmup(exchange.id)),
        ("XREVRANGE", keys.log(exchange.name), "+", "-", "COUNT", 1),
    )


def _ms(clock: list[bytes]) -> int:
    return int(clock[0]) * 1000 + int(clock[1]) // 1000


def _record(exchange: Exchange, replies: list[object]) -> Record:
    status, pttl, last, warmup, newest = replies
    entries = [] if isinstance(newest, Exception) else parse_entries(newest)
    return Record(
        exchange=exchange,
        status=_value(status),
        ttl_ms=pttl if isinstance(pttl, int) else -2,
        last=_value(last),
        warmup=_value(warmup),
        newest=entries[0] if entries else None,
    )


def _value(reply: object) -> bytes | PerseusError | None:
    if reply is None or isinstance(reply, bytes | PerseusError):
        return reply
    return StoreUnavailable(f"The store answered something unexpected: {reply!r}.")


def _reason(fault: PerseusError) -> str:
    return fault.reason if isinstance(fault, UnreadableKey) else str(fault)
