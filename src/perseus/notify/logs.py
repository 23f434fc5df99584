"""The logs of all exchanges, read on from where they were left: none of them can keep the others from being read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import structlog
from msgspec.structs import replace

from perseus import keys
from perseus.alerting import Tenure
from perseus.errors import StoreDenied, UnreadableKey
from perseus.model import Exchange
from perseus.notify import rules
from perseus.notify.entries import is_known
from perseus.notify.keeping import Kept
from perseus.notify.state import LogEvent, Memory, State, Told
from perseus.store import Entry, Store
from perseus.store.connection import parse_entries

HISTORY = 50  # entries of each log from which a first notifier learns how things are
AT_ONCE = 1000  # entries read with one question, of all logs: a reply is parsed in one go, and others wait for that
OF_EACH = 20  # of each log at least, however many there are
REQUESTS = ""  # its place among the positions, which are by exchange name
BEGINNING = "0-0"
log = structlog.get_logger()


class Came(NamedTuple):
    """What was written since: entries in the order in which they were written, and requests.

    Does not promise that order from one reading to the next: a log that has more goes on later. Each log's own is kept.
    """

    events: Sequence[LogEvent] = ()
    requests: Sequence[Entry] = ()


class Logs:
    """Every exchange's log, and the requests. `trouble`: which of them cannot be read, a sentence."""

    def __init__(self, store: Store, *, exchanges: Callable[[], Sequence[Exchange]]) -> None:
        self._store, self._exchanges = store, exchanges
        self._unreadable: set[str] = set()
        self._away: set[str] = set()  # of nodes that do not answer, which are asked for them all the same

    @property
    def trouble(self) -> str | None:
        """Of which exchanges people are told by their cards alone."""
        if not self._unreadable and not self._away:
            return None
        named = ", ".join(sorted(self._unreadable | self._away))
        return f"Not readable in the store, so told of late or not at all: {named}"

    async def came(self, positions: Mapping[str, str], *, block_s: float) -> Came:
        """Entries after the positions, by exchange name, waiting so long for some. Raises: what the store raises."""
        by_key = {keys.log(exchange.name): exchange for exchange in self._exchanges()}
        after = {key: positions.get(exchange.name, BEGINNING) for key, exchange in by_key.items()}
        after[keys.notifier_requests()] = positions.get(REQUESTS, BEGINNING)
        after = {key: position for key, position in after.items() if key not in self._unreadable}
        if not after:
            await asyncio.sleep(block_s)
            return Came()
        count = max(OF_EACH, AT_ONCE // len(after))
        arrived = await self._store.wait_entries(after, block=block_s, count=count)
        requests = arrived.pop(keys.notifier_requests(), [])
        events = [(entry.order, event_of(by_key[key], entry)) for key, entries in arrived.items() for entry in entries]
        events.sort(key=lambda each: (each[0], each[1].exchange_name))
        return Came([event for _, event in events], requests)

    async def look(self, positions: Mapping[str, str]) -> dict[str, str]:
        """Learn which logs can be read; returns where to read on in those that end before their position.

        Those were deleted, and are written anew by a clock that is behind: nothing would come of them for long. One
        whose node is away is taken as it was. Raises: what the store raises if nothing answers.
        """
        named = {keys.log(exchange.name): exchange.name for exchange in self._exchanges()}
        named[keys.notifier_requests()] = REQUESTS
        reads = [("XREVRANGE", key, "+", "-", "COUNT", 1) for key in named]
        moved: dict[str, str] = {}
        away: set[str] = set()
        for (key, name), reply in zip(named.items(), await self._store.pipeline(*reads), strict=True):
            if isinstance(reply, UnreadableKey | StoreDenied):
                if key not in self._unreadable:
                    log.error("log_not_readable", key=key, error=str(reply))
                self._unreadable.add(key)
            elif isinstance(reply, Exception):
                away.add(key)
            else:
                self._unreadable.discard(key)
                entries = parse_entries(reply)
                newest = entries[0].id if entries else BEGINNING
                if _order(positions.get(name, BEGINNING)) > _order(newest):
                    moved[name] = newest
        self._unreadable &= named.keys()
        self._away = away
        return moved

    async def resumed(self, moved: Mapping[str, str], told: Mapping[int, Told]) -> dict[str, str]:
        """Where to read on in logs that end before their position, here by exchange name: after what was taken last.

        After a failover that lost what was read, a clock that is behind writes what was not. Where nothing is known
        of the newest entries, these are not taken: they may be of long ago. Raises: what the store raises.
        """
        known = {each.name: each for each in self._exchanges() if each.id in told}
        names = [name for name, newest in moved.items() if newest != BEGINNING and name in known]
        reads = [("XREVRANGE", keys.log(name), moved[name], "-", "COUNT", HISTORY) for name in names]
        where = dict(moved)
        for name, reply in zip(names, await self._store.pipeline(*reads) if reads else (), strict=True):
            if isinstance(reply, Exception):
                del where[name]  # the next look will tell
                continue
            of_this = told[known[name].id]
            taken = (each.id for each in parse_entries(reply) if is_known(of_this, event_of(known[name], each)))
            where[name] = next(taken, moved[name])
        return where


async def begun(tenure: Tenure, store: Store, exchanges: Sequence[Exchange]) -> Kept:
    """A memory for a network of which nobody was told yet: from here on, and what is the matter right now.

    What cannot be read is told of from now on. Raises: what every call to the store raises, if nothing answers.
    """
    reads = [("XREVRANGE", keys.log(each.name), "+", "-", "COUNT", HISTORY) for each in exchanges]
    now_ms = tenure.store_time.now_ms()
    positions: dict[str, str] = {}
    events: list[LogEvent] = []
    for exchange, reply in zip(exchanges, await store.pipeline(*reads), strict=True):
        if isinstance(reply, Exception):
            log.warning("history_not_read", exchange=exchange.name, error=str(reply))
            positions[exchange.name] = f"{now_ms}-0"
            continue
        entries = parse_entries(reply)
        positions[exchange.name] = entries[0].id if entries else BEGINNING
        events += [event_of(exchange, entry) for entry in reversed(entries)]
    of = sum(exchange.is_active for exchange in exchanges)
    events.sort(key=lambda event: event.ms)
    try:
        state = await asyncio.to_thread(
            rules.begin, events, of=of, now_ms=now_ms
        )  # of a thousand logs: a second's work
    except Exception:  # a defect of ours over what was must not silence what comes; what is, the cards say
        log.exception("history_not_taken")
        state = State(of=of)
    return Kept(saved_ms=now_ms, memory=Memory(positions=positions, state=state))


def moved(memory: Memory, where: Mapping[str, str], exchanges: Sequence[Exchange]) -> Memory:
    """The memory that reads on here, in logs that were written anew."""
    told = dict(memory.state.told)
    for exchange in exchanges:
        if exchange.name in where and exchange.id in told:
            last_id = "" if where[exchange.name] == BEGINNING else where[exchange.name]
            told[exchange.id] = replace(told[exchange.id], last_id=last_id)
    return replace(memory, positions={**memory.positions, **where}, state=replace(memory.state, told=told))


def event_of(exchange: Exchange, entry: Entry) -> LogEvent:
    """The entry as the rules take it."""
    return LogEvent(exchange.id, exchange.name, exchange.display_name, entry.id, entry.fields)


def _order(entry_id: str) -> tuple[float, float]:
    """An id as numbers; one that is none comes after all others, so that it is replaced."""
    ms, _, seq = entry_id.partition("-")
    if not (ms.isascii() and ms.isdigit() and seq.isascii() and seq.isdigit()):
        return float("inf"), 0
    return int(ms), int(seq)
