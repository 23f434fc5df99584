"""The one reader of the network: cards and feed of every exchange. With losses.py the only I/O here."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from perseus import keys
from perseus.clock import iso
from perseus.errors import PerseusError, StoreUnavailable
from perseus.model import SEEDED_EXCHANGES, Exchange
from perseus.network.cards import Card, CardView, Record, conclude, view
from perseus.network.feed import FeedEntry, FeedPage, Following, Wanted
from perseus.network.feed_pages import read_page
from perseus.store import Store
from perseus.store.connection import parse_entries


class Observation(NamedTuple):
    """All cards as of one moment, `store_ms` by the store's clock. `newest_ids`: of each log that has an entry."""

    cards: tuple[Card, ...]
    store_ms: int
    newest_ids: Mapping[str, tuple[int, int]] = {}


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
        self.exchanges = tuple(exchanges)  # another tuple counts from the next reading on
        self._previous: dict[int, Card] = {}
        self._was_blind = False

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
        exchanges = self.exchanges
        if not exchanges:
            return Observation((), int(await self._store.time_ms()))
        try:
            clocks, records = await self._read(exchanges)
        except PerseusError:
            self._was_blind = True
            raise
        cards = tuple(
            conclude(record, now_ms=now_ms, previous=self._previous.get(record.exchange.id), was_blind=self._was_blind)
            for record, now_ms in zip(records, clocks, strict=True)
        )
        self._previous, self._was_blind = {card.exchange.id: card for card in cards}, False
        newest = {record.exchange.name: record.newest.order for record in records if record.newest is not None}
        return Observation(cards, clocks[0], newest)

    async def _read(self, exchanges: Sequence[Exchange]) -> tuple[list[int], list[Record]]:
        """The time of the server each exchange is on, and its record."""
        reads = [_reads_of(exchange) for exchange in exchanges]
        replies = iter(await self._store.pipeline(*(command for each in reads for command in each)))
        by_exchange = [list(itertools.islice(replies, len(each))) for each in reads]
        clocks = [clock for clock, *_ in by_exchange if not isinstance(clock, Exception)]
        if not clocks:
            raise by_exchange[0][0]
        records = [_record(each, found) for each, (_, *found) in zip(exchanges, by_exchange, strict=True)]
        return [_ms(clocks[0] if isinstance(clock, Exception) else clock) for clock, *_ in by_exchange], records

    async def feed(self, *, count: int = 50, cursor: str | None = None, wanted: Wanted | None = None) -> FeedPage:
        """One page of the activity of these exchanges, newest first, going on from `cursor`.

        A page may be short although more follows: `next_cursor` is None only at the end.
        Raises: BadInput for a cursor that is none; UnreadableKey if no log at all can be read.
        """
        return await read_page(self._store, self.exchanges, count=count, cursor=cursor, wanted=wanted or Wanted())

    async def following(self, *, wanted: Wanted | None = None, block_s: float = 5.0) -> AsyncIterator[FeedEntry]:
        """Entries appended after this call, oldest first, for ever: what a page read afterwards does not hold back.

        Iterating raises what the store raises.
        """
        after = {keys.log(e.name): await self._store.newest_id(keys.log(e.name)) for e in self.exchanges}
        return self._follow(after, wanted=wanted or Wanted(), block_s=block_s)

    async def _follow(self, after: dict[str, str], *, wanted: Wanted, block_s: float) -> AsyncIterator[FeedEntry]:
        seen = Following()
        name_by_key = {keys.log(exchange.name): exchange.name for exchange in self.exchanges}
        while True:
            arrived = await self._store.wait_entries(after, block=block_s)
            entries = []
            for key, new in arrived.items():
                after[key] = new[-1].id
                entries += [FeedEntry(name_by_key[key], entry.id, entry.fields) for entry in new]
            for entry in seen.fresh(sorted(entries, key=lambda entry: entry.order)):
                if wanted.takes(entry):
                    yield entry


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
