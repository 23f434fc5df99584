"""One snapshot a process serves every client: what the store holds, read once a second however many look.

Answers come from memory, encoded once. What is too old is never passed off as current: whoever asks is told when the
network was last seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import structlog

from perseus import keys
from perseus.clock import Clock, iso
from perseus.errors import NotCurrent, PerseusError, UnreadableKey
from perseus.model import WarmupProgress
from perseus.network.cards import Card, CardView, view
from perseus.network.exchange_list import ExchangeList
from perseus.network.feed import FeedEntry
from perseus.network.observe import Network, Observation
from perseus.network.tail import KEPT, PER_LOG, Tail
from perseus.store import Store
from perseus.store.connection import parse_entries

READ_EVERY_S = 1.0
READ_EVERY_IDLE_S = 5.0  # while nobody looks
LOOKING_S = 12.0  # who asked within so long is looking: pages poll every 5 s
MAX_AGE_S = 3.0  # older than this, a reading says nothing about now
RECENT_S = READ_EVERY_IDLE_S + MAX_AGE_S  # older than this, the next one is late, whether anybody looks or not
WAIT_S = 3.0  # for the first reading, or one after nobody looked: a little more than the store is given to answer
_AT_DUE_S = 0.002  # a lease that is due now is gone so much later
_LATEST_DUE_MS = 86_400_000  # another program may have written a lease that no float holds
_LEAST_PAUSE_S = 0.01
_ENTRIES_AT_ONCE = 1000

log = structlog.get_logger()


class ExchangeStatus(CardView, frozen=True, kw_only=True, rename="camel"):
    """The answer of `network.getExchangeStatus`: the card, and the store's time it was read at."""

    server_time: str


class WarmupStats(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer of `network.getWarmupStats`: progress, or the report; `reason`: why it cannot be read."""

    stats: WarmupProgress | None
    reason: str | None = None


class Seen(NamedTuple):
    """One card of a reading, encoded. `gist`: the card without what time alone changes."""

    card: Card
    encoded: bytes
    gist: bytes


class Reading(NamedTuple):
    """What was read at once. `sent_at`: boot-time seconds when it was asked for; `server_time`: ISO, the store's."""

    sent_at: float
    server_time: str
    by_id: Mapping[int, Seen]
    instances: bytes

    def active(self) -> dict[int, Seen]:
        """The cards of exchanges that are not switched off, by id."""
        return {each: seen for each, seen in self.by_id.items() if seen.card.exchange.is_active}


class Snapshot:
    """Reads the network in `run`, and answers from what was read last. Not shared between event loops.

    Answers raise NotCurrent as soon as the last reading failed or is older than MAX_AGE_S; the first one, and one after
    a time in which nobody asked, wait for a reading.
    """

    def __init__(self, store: Store, *, exchanges: ExchangeList, clock: Clock, every_s: float = READ_EVERY_S) -> None:
        """`every_s`: how often it is read while anyone looks; READ_EVERY_IDLE_S otherwise."""
        self.exchanges = exchanges
        self.tail = Tail()
        self._store = store
        self._network = Network(store, exchanges=())
        self._clock = clock
        self._looked_at_every_s = every_s
        self._reading: Reading | None = None
        self._fault: PerseusError | None = None
        self._asked_at = float("-inf")
        self._watching = 0
        self._hurry = asyncio.Event()
        self._turn: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Read for ever: once a second while anyone looks, and at the moment the next lease is due to expire."""
        await self.exchanges.refresh()  # else the first reading would fail, and whoever asks at the start be refused
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.exchanges.run(), name="exchanges")
            tasks.create_task(self._read_for_ever(), name="readings")

    async def instances(self) -> bytes:
        """The answer of `network.getInstances`. Raises: NotCurrent."""
        return (await self.current()).instances

    async def exchange_status(self, exchange_id: int) -> bytes:
        """The answer of `network.getExchangeStatus`. Raises: UnknownExchange, NotCurrent."""
        reading, seen = await self._one(exchange_id)
        return seen.encoded[:-1] + b',"serverTime":' + msgspec.json.encode(reading.server_time) + b"}"

    async def warmup_stats(self, exchange_id: int) -> WarmupStats:
        """The answer of `network.getWarmupStats`. Raises: UnknownExchange, NotCurrent."""
        _, seen = await self._one(exchange_id)
        return WarmupStats(stats=seen.card.warmup, reason=seen.card.warmup_fault)

    async def current(self) -> Reading:
        """The last reading, or the next one if there is none that is current.

        Raises: NotCurrent if it cannot be read.
        """
        self._asked_at = self._clock.now()
        if (reading := self._usable()) is not None:
            return reading
        try:
            async with asyncio.timeout(WAIT_S):
                while (reading := self._usable()) is None:
                    self._hurry.set()
                    await self.next_turn()
        except TimeoutError as error:
            raise self._not_current(f"the store did not answer within {WAIT_S:g} s") from error
        return reading

    def require_readable(self) -> None:
        """Raises: NotCurrent if the last reading failed; what else would be asked now would only wait in vain."""
        if self._fault is not None:
            raise self._not_current(str(self._fault)) from self._fault

    def not_current(self, error: PerseusError) -> NotCurrent:
        """What to raise for a read beside ours that failed: when the network was last seen is ours to tell."""
        return self._not_current(str(error))

    def peek(self) -> tuple[Reading | None, NotCurrent | None]:
        """The last reading, and why it is not current."""
        try:
            return self._usable(), None
        except NotCurrent as error:
            return self._reading, error

    def recent(self) -> Reading | None:
        """The last reading, for who compares over tens of seconds; None if the last attempt failed or is late.

        It asks for nothing: while nobody looks, most of the time there is no current one.
        """
        if self._fault is not None or self._reading is None:
            return None
        return self._reading if self._clock.now() - self._reading.sent_at <= RECENT_S else None

    async def next_turn(self) -> None:
        """Wait until something was read, or could not be."""
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._turn)

    def watch(self) -> Callable[[], None]:
        """Count as somebody who looks until the function returned is called."""
        self._watching += 1

        def leave() -> None:
            self._watching -= 1

        self._hurry.set()
        return leave

    async def _one(self, exchange_id: int) -> tuple[Reading, Seen]:
        reading = await self.current()
        seen = reading.by_id.get(exchange_id)
        if seen is None:
            self.exchanges.with_id(exchange_id)  # raises, unless it is so new that no reading has it
            raise self._not_current("it has just been added and was not read yet")
        return reading, seen

    def _usable(self) -> Reading | None:
        """The last reading if it is current; None if one may come. Raises: NotCurrent if the last attempt failed."""
        self.require_readable()
        if self._reading is not None and self._clock.now() - self._reading.sent_at <= MAX_AGE_S:
            return self._reading
        return None

    def _not_current(self, why: str) -> NotCurrent:
        observed_at = self._reading.server_time if self._reading is not None else None
        seen = f"It was last seen at {observed_at}." if observed_at else "It has not been seen yet."
        return NotCurrent(f"The network cannot be seen: {why.rstrip('.')}. {seen}", observed_at=observed_at)

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _read_for_ever(self) -> None:
        while True:
            self._hurry.clear()
            due_at = await self._read()
            turn, self._turn = self._turn, None
            if turn is not None:
                turn.set_result(None)
            await self._pause(due_at)

    async def _pause(self, due_at: float) -> None:
        """Wait until the next reading: shorter than usual when a lease is due, or somebody waits for one."""
        started = self._clock.now()
        due_at = max(due_at, started + _LEAST_PAUSE_S)
        while (left := min(due_at, started + self._every_s()) - self._clock.now()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._hurry.wait()
            except TimeoutError:
                continue
            self._hurry.clear()
            if self._reading is None or self._clock.now() - self._reading.sent_at > MAX_AGE_S:
                return

    def _every_s(self) -> float:
        looking = self._watching or self._clock.now() - self._asked_at < LOOKING_S
        is_settled = self._fault is None and self._reading is not None
        return READ_EVERY_IDLE_S if is_settled and not looking else self._looked_at_every_s

    async def _read(self) -> float:
        """Read everything once; when the next reading is due, boot-time seconds."""
        sent_at = self._clock.now()
        due_at = float("inf")
        fault: PerseusError | None = None
        try:
            self.exchanges.require_known()
            self._network.exchanges = self.exchanges()
            observation = await self._network.observe()
            await self._follow(observation)
            reading = _encode(observation, sent_at=sent_at)
        except PerseusError as error:
            fault = error
        except Exception as error:
            # a fault of ours: say that we see nothing, and look again
            fault = PerseusError(f"reading it failed with {type(error).__name__}")
            if str(fault) != str(self._fault):  # once: a second later it fails the same way
                log.exception("snapshot_failed")
        else:
            self._reading = reading
            due = [card.due_in_ms for card in observation.cards if card.due_in_ms is not None]
            due_at = sent_at + min(*due, _LATEST_DUE_MS) / 1000 + _AT_DUE_S if due else due_at
        self._tell(fault)
        return due_at

    def _tell(self, fault: PerseusError | None) -> None:
        if fault is not None and self._fault is None:
            log.warning("network_not_seen", error=str(fault))
        elif fault is None and self._fault is not None:
            log.info("network_seen_again")
        self._fault = fault

    async def _follow(self, observation: Observation) -> None:
        """Take what came to the logs since the last reading."""
        names = {card.exchange.name for card in observation.cards}
        self.tail.forget(self.tail.names - names)
        fresh = [name for name in names if self.tail.newest(name) is None]
        if fresh:
            await self._begin(fresh)
        newest = observation.newest_ids
        behind = [name for name in newest if newest[name] > (self.tail.newest(name) or newest[name])]
        is_whole = True
        while behind:
            arrived, faults, behind = await self._arrived(behind)
            self.tail.take(arrived)
            is_whole = is_whole and all(isinstance(fault, UnreadableKey) for fault in faults)
        if is_whole:
            self.tail.known_until(observation.store_ms)

    async def _arrived(self, names: Sequence[str]) -> tuple[list[FeedEntry], list[PerseusError], list[str]]:
        """What came to these logs, why some could not be read, and those of which there is more."""
        replies = dict(zip(names, await self._store.pipeline(*map(self._after, names)), strict=True))
        faults = [reply for reply in replies.values() if isinstance(reply, PerseusError)]
        found = {
            name: parse_entries(reply[0][1])
            for name, reply in replies.items()
            if reply and not isinstance(reply, PerseusError)
        }
        arrived = [FeedEntry(name, entry.id, entry.fields) for name, entries in found.items() for entry in entries]
        return arrived, faults, [name for name, entries in found.items() if len(entries) >= _ENTRIES_AT_ONCE]

    def _after(self, name: str) -> tuple[str | int, ...]:
        ms, seq = self.tail.newest(name) or (0, 0)
        return ("XREAD", "COUNT", _ENTRIES_AT_ONCE, "STREAMS", keys.log(name), f"{ms}-{seq}")

    async def _begin(self, names: Sequence[str]) -> None:
        asked = max(1, min(PER_LOG, KEPT // len(names)))
        reads = [("XREVRANGE", keys.log(name), "+", "-", "COUNT", asked) for name in names]
        replies = await self._store.pipeline(*reads)
        read = {}
        for name, reply in zip(names, replies, strict=True):
            if isinstance(reply, PerseusError) and not isinstance(reply, UnreadableKey):
                continue  # its node is away: it is new to us until that answers
            entries = [] if isinstance(reply, PerseusError) else parse_entries(reply)
            read[name] = [FeedEntry(name, entry.id, entry.fields) for entry in reversed(entries)]
        self.tail.begin(read, asked=asked)


def _encode(observation: Observation, *, sent_at: float) -> Reading:
    by_id = {}
    for card in observation.cards:
        shown = view(card)
        timeless = msgspec.structs.replace(shown, heartbeat_age_ms=None, expires_in_ms=None)
        by_id[card.exchange.id] = Seen(card, msgspec.json.encode(shown), msgspec.json.encode(timeless))
    server_time = iso(observation.store_ms)
    active = b",".join(seen.encoded for seen in by_id.values() if seen.card.exchange.is_active)
    instances = b'{"instances":[' + active + b'],"serverTime":' + msgspec.json.encode(server_time) + b"}"
    return Reading(sent_at, server_time, by_id, instances)
