"""One tenure at work: entries are taken as they come, time is taken every second, and everything is kept and told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import structlog

from perseus import alerting, keys
from perseus.alerting import Health, Tenure, TestOutcome
from perseus.clock import Clock, iso
from perseus.database.engine import Database
from perseus.errors import PerseusError
from perseus.model import Exchange
from perseus.notify import queue, rules
from perseus.notify.delivery import Announcing, Delivery
from perseus.notify.discord import Discord, user_agent
from perseus.notify.keeping import Keeping, Kept, TenureOver
from perseus.notify.ledger import Ledger
from perseus.notify.state import ChannelState, LogEvent, Memory, Seen, State
from perseus.store import Entry, Store
from perseus.store.connection import parse_entries

BLOCK_S = 2.0
TICK_EVERY_S = 1.0
COMPARE_EVERY_S = 5.0
RETRY_S = 0.5
HISTORY = 50  # entries of each log from which a first notifier learns how things are
REQUESTS = ""  # its place among the positions, which are by exchange name
log = structlog.get_logger()


class Surroundings(NamedTuple):
    """What a notifier works with. `exchanges`: those there are; `cards`: how they are, None while nobody knows."""

    store: Store
    database: Database
    clock: Clock
    version: str
    exchanges: Callable[[], Sequence[Exchange]]
    cards: Callable[[], Sequence[Seen] | None]


class Turn:
    """What the notifier does while the lease is its own."""

    def __init__(self, tenure: Tenure, kept: Kept, *, around: Surroundings, announcing: Announcing) -> None:
        self._tenure, self._around, self._announcing = tenure, around, announcing
        self.keeping = Keeping(tenure, self._with_our_channels(kept), health=self._health)
        self._ledger = Ledger(around.database, keeping=self.keeping, tenure=tenure)

    async def run(self) -> None:
        """Work until the lease is lost. Raises: an ExceptionGroup with TenureOver in it."""
        agent = user_agent(self._around.version)
        async with Discord(clock=self._around.clock, user_agent=agent) as discord, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew(), name="notifier lease")
            tasks.create_task(self.keeping.run(), name="notifier memory")
            tasks.create_task(self._follow(), name="notifier logs")
            tasks.create_task(self._watch_the_clock(), name="notifier clock")
            tasks.create_task(self._ledger.run(), name="incidents")
            for webhook in self._announcing.webhooks:
                delivery = Delivery(
                    webhook, announcing=self._announcing, keeping=self.keeping, tenure=self._tenure, discord=discord
                )
                tasks.create_task(delivery.run(), name=f"channel {webhook.name}")

    # -- the lease ----------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(alerting.RENEW_EVERY_S if self._tenure.is_held else RETRY_S)
            try:
                if not await self._tenure.renew():
                    raise TenureOver
            except PerseusError as error:
                log.warning("notifier_not_renewed", error=str(error))

    # -- the logs -----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        is_failing = False
        while True:
            try:
                await self._take_what_came()
            except PerseusError as error:
                if not is_failing:
                    log.warning("logs_not_followed", error=str(error))
                is_failing = True
                await asyncio.sleep(RETRY_S)
            else:
                is_failing = False

    async def _take_what_came(self) -> None:
        """Wait for entries after the positions, and take them in the order in which they were written."""
        by_key = {keys.log(exchange.name): exchange for exchange in self._around.exchanges()}
        after = {key: self._position(exchange.name) for key, exchange in by_key.items()}
        arrived = await self._around.store.wait_entries(
            after | {keys.notifier_requests(): self._position(REQUESTS)}, block=BLOCK_S
        )
        requests = arrived.pop(keys.notifier_requests(), [])
        events = [(entry.order, _event(by_key[key], entry)) for key, entries in arrived.items() for entry in entries]
        memory, now_ms = self.keeping.memory, self._tenure.store_time.now_ms()
        state, of = memory.state, sum(exchange.is_active for exchange in by_key.values())
        for _, event in sorted(events, key=lambda each: (each[0], each[1].exchange_name)):
            state = _taken(state, event, of=of, now_ms=now_ms)
        for entry in requests:
            state = self._asked(state, entry, now_ms=now_ms)
        newest = {by_key[key].name: entries[-1].id for key, entries in arrived.items()}
        if requests:
            newest[REQUESTS] = requests[-1].id
        if newest:
            positions = {**memory.positions, **newest}
            self.keeping.change(msgspec.structs.replace(memory, state=state, positions=positions))

    def _position(self, name: str) -> str:
        """Where to read on; of a log that is new to us from its beginning, and that is when the exchange was added."""
        return self.keeping.memory.positions.get(name, "0-0")

    def _asked(self, state: State, entry: Entry, *, now_ms: int) -> State:
        request = alerting.request_of(entry.id, entry.fields, now_ms=now_ms)
        if request is None or request.channel not in self.keeping.memory.channels:
            return state
        return rules.request_test(state, request.id, channel=request.channel, by=request.by, now_ms=now_ms)

    # -- time ---------------------------------------------------------------------------------------------------------

    async def _watch_the_clock(self) -> None:
        """Let time pass for the rules, and compare what was said with what the cards show, for ever."""
        turns = 0
        while True:
            await asyncio.sleep(TICK_EVERY_S)
            now_ms = self._tenure.store_time.now_ms()
            self.keeping.change_state(rules.tick(self.keeping.memory.state, now_ms=now_ms))
            turns += 1
            if turns % COMPARE_EVERY_S == 0:
                self._compare(now_ms)
                self._forget(now_ms)

    def _compare(self, now_ms: int) -> None:
        seen = self._around.cards()
        if seen is not None:
            of = sum(exchange.is_active for exchange in self._around.exchanges())
            self.keeping.change_state(rules.compare(self.keeping.memory.state, seen, of=of, now_ms=now_ms))

    def _forget(self, now_ms: int) -> None:
        memory = self.keeping.memory
        state, channels = queue.prune(memory.state, memory.channels, now_ms=now_ms, announced=self._announcing.kinds)
        if state is not memory.state or channels is not memory.channels:
            self.keeping.change(msgspec.structs.replace(memory, state=state, channels=channels))

    # -- channels -----------------------------------------------------------------------------------------------------

    def _with_our_channels(self, kept: Kept) -> Kept:
        """The memory with the channels set here: another URL is another channel, told of what comes from now on."""
        now_ms = self._tenure.store_time.now_ms()
        channels = {}
        for webhook in self._announcing.webhooks:
            known = kept.memory.channels.get(webhook.name)
            if known is None or known.fingerprint != webhook.fingerprint:
                known = ChannelState(name=webhook.name, fingerprint=webhook.fingerprint, since_ms=now_ms)
            channels[webhook.name] = msgspec.structs.replace(known, dead_reason="")
        return Kept(saved_ms=kept.saved_ms, memory=msgspec.structs.replace(kept.memory, channels=channels))

    def _health(self, memory: Memory, now_ms: int) -> Health:
        return Health(
            saved_at=iso(now_ms),
            channels=[
                queue.health(memory.state, channel, now_ms=now_ms, announced=self._announcing.kinds)
                for channel in memory.channels.values()
            ],
            announced=self._announcing.kinds,
            trouble=self._ledger.trouble,
            tests=_test_outcomes(memory),
        )


async def begun(tenure: Tenure, around: Surroundings) -> Kept:
    """A memory for a network of which nobody was told yet: from here on, and what is the matter right now.

    Raises: what every call to the store raises.
    """
    exchanges = around.exchanges()
    reads = [("XREVRANGE", keys.log(each.name), "+", "-", "COUNT", HISTORY) for each in exchanges]
    positions: dict[str, str] = {}
    events: list[LogEvent] = []
    for exchange, reply in zip(exchanges, await around.store.pipeline(*reads), strict=True):
        if isinstance(reply, Exception):
            raise reply
        entries = parse_entries(reply)
        positions[exchange.name] = entries[0].id if entries else "0-0"
        events += [_event(exchange, entry) for entry in reversed(entries)]
    now_ms = tenure.store_time.now_ms()
    of = sum(exchange.is_active for exchange in exchanges)
    state = rules.begin(sorted(events, key=lambda event: event.ms), of=of, now_ms=now_ms)
    return Kept(saved_ms=now_ms, memory=Memory(positions=positions, state=state))


def _taken(state: State, event: LogEvent, *, of: int, now_ms: int) -> State:
    try:
        return rules.take(state, event, of=of, now_ms=now_ms)
    except Exception:  # a defect of ours over one entry must not silence everything that follows it
        log.exception("entry_not_told", exchange=event.exchange_name, id=event.id, told=event.fields.get("event"))
        return state


def _test_outcomes(memory: Memory) -> dict[str, TestOutcome]:
    """What became of the test messages that are remembered, by the id of their request."""
    outcomes = {}
    for message in memory.state.messages:
        channel = memory.channels.get(message.only)
        if message.kind != "test" or channel is None:
            continue
        shown = channel.shown.get(message.key)
        reason = channel.dead_reason or channel.failing_reason or None
        if shown is None:
            outcome = TestOutcome(outcome="waiting", reason=reason)
        elif shown.message_id:
            outcome = TestOutcome(outcome="delivered")
        else:
            outcome = TestOutcome(outcome="failed", reason=reason or "it was deleted in Discord")
        outcomes[message.key.removeprefix("test-")] = outcome
    return outcomes


def _event(exchange: Exchange, entry: Entry) -> LogEvent:
    return LogEvent(exchange.id, exchange.name, exchange.display_name, entry.id, entry.fields)
