"""One tenure at work: entries are taken as they come, time is taken every second, and everything is kept and told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import msgspec
import structlog

from perseus import alerting
from perseus.alerting import Health, Tenure, TestOutcome
from perseus.clock import Clock, iso
from perseus.database.engine import Database
from perseus.errors import PerseusError
from perseus.model import Exchange
from perseus.notify import queue, rules
from perseus.notify.delivery import Announcing, Delivery
from perseus.notify.discord import Discord, user_agent
from perseus.notify.keeping import Keeping, Kept, TenureOver
from perseus.notify.lasting import Lasting
from perseus.notify.ledger import Ledger
from perseus.notify.logs import REQUESTS, Came, Logs, moved
from perseus.notify.state import LogEvent, Memory, Seen, State
from perseus.store import Entry, Store

BLOCK_S = 2.0
TICK_EVERY_S = 1.0
COMPARE_EVERY_S = LOOK_EVERY_S = 5.0
IN_PEACE = ("", "idle", "stopped")  # states in which nobody misses an exchange that is not switched on
RETRY_S = 0.5
AT_ONCE = 50  # entries taken before others get their turn
CATCH_UP_BLOCK_S = 0.01
CATCH_UP_WITHIN_S = 10.0  # after that people are told what is known
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
        self.keeping = Keeping(tenure, self._with_our_channels(kept), health=self._tell)
        self._told: Health | None = None
        self._ledger = Ledger(around.database, keeping=self.keeping, tenure=tenure)
        self._logs = Logs(around.store, exchanges=around.exchanges)
        self._lasting = Lasting()
        self._caught_up = asyncio.Event()  # until then what the logs told last may be over

    async def run(self) -> None:
        """Work until the lease is lost. Raises: an ExceptionGroup with TenureOver in it."""
        agent = user_agent(self._around.version)
        async with Discord(clock=self._around.clock, user_agent=agent) as discord, asyncio.TaskGroup() as tasks:

            def last(part: str, work: Callable[[], Awaitable[None]]) -> None:
                tasks.create_task(self._lasting.last(part, work), name=f"notifier: {part}")

            last("lease", self._renew)
            last("memory", self.keeping.run)
            last("logs", self._follow)
            last("clock", self._watch_the_clock)
            last("cards", self._watch_the_cards)
            last("incidents", self._ledger.run)
            for webhook in self._announcing.webhooks:
                delivery = Delivery(
                    webhook, announcing=self._announcing, keeping=self.keeping, tenure=self._tenure, discord=discord
                )
                last(f"channel {webhook.name}", partial(self._deliver, delivery))

    async def _deliver(self, delivery: Delivery) -> None:
        await self._until_caught_up()
        await delivery.run()

    async def _until_caught_up(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_WITHIN_S):
                await self._caught_up.wait()

    # -- the lease ----------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        is_failing = is_forgotten = False
        while True:
            await asyncio.sleep(alerting.RENEW_EVERY_S if self._tenure.is_held else RETRY_S)
            try:
                if not await self._tenure.renew():
                    raise TenureOver
            except PerseusError as error:
                if not is_failing:
                    log.warning("notifier_not_renewed", error=str(error))
                is_failing = True
                continue
            if not self._tenure.is_memory_kept:
                if not is_forgotten:
                    log.warning("alerts_forgotten_by_the_store", effect="they are kept there again")
                self.keeping.keep_again()
            is_failing, is_forgotten = False, not self._tenure.is_memory_kept
            self._mind_the_clock()

    def _mind_the_clock(self) -> None:
        """Go on by the store's clock as it is: the renewal just now may have found it stepped back."""
        memory, now_ms = self.keeping.memory, self._tenure.store_time.now_ms()
        channels = queue.by_the_clock(memory.state, memory.channels, now_ms=now_ms)
        if channels is not memory.channels:
            self.keeping.change(msgspec.structs.replace(memory, channels=channels))

    # -- the logs -----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        clock, is_failing, looked_at = self._around.clock, False, float("-inf")
        until = clock.now() + CATCH_UP_WITHIN_S
        while True:
            try:
                if clock.now() - looked_at >= LOOK_EVERY_S:
                    await self._look()
                    looked_at = clock.now()
                came = await self._logs.came(
                    self.keeping.memory.positions, block_s=BLOCK_S if self._caught_up.is_set() else CATCH_UP_BLOCK_S
                )
                await self._take_what_came(came)
            except PerseusError as error:
                if not is_failing:
                    log.warning("logs_not_followed", error=str(error))
                is_failing, looked_at = True, float("-inf")
                self._caught_up.set()
                await asyncio.sleep(RETRY_S)
            else:
                is_failing = False
                if not came.events or clock.now() > until:
                    self._caught_up.set()

    async def _look(self) -> None:
        """Learn which logs can be read, and read on in those that were written anew."""
        trouble = self._logs.trouble
        memory = self.keeping.memory
        where = await self._logs.resumed(await self._logs.look(memory.positions), memory.state.told)
        if where:
            log.warning("logs_written_anew", read_on_after=where)
            self.keeping.change(moved(self.keeping.memory, where, self._around.exchanges()))
        elif self._logs.trouble != trouble:
            self.keeping.keep_again()  # so that everyone is told

    async def _take_what_came(self, came: Came) -> None:
        """Take entries in the order in which they were written."""
        of = self._of()
        for first in range(0, len(came.events), AT_ONCE):
            self._take(came.events[first : first + AT_ONCE], of=of)
            await asyncio.sleep(0)  # thousands at once must not keep the lease, the pages and Discord waiting
        self._take_requests(came.requests)

    def _take(self, events: Sequence[LogEvent], *, of: int) -> None:
        memory, now_ms = self.keeping.memory, self._tenure.store_time.now_ms()
        state = memory.state
        for event in events:
            state = _taken(state, event, of=of, now_ms=now_ms)
        positions = {**memory.positions, **{event.exchange_name: event.id for event in events}}
        self.keeping.change(msgspec.structs.replace(memory, state=state, positions=positions))

    def _take_requests(self, requests: Sequence[Entry]) -> None:
        if not requests:
            return
        memory, now_ms = self.keeping.memory, self._tenure.store_time.now_ms()
        state = memory.state
        for entry in requests:
            state = self._asked(state, entry, now_ms=now_ms)
        positions = {**memory.positions, REQUESTS: requests[-1].id}
        self.keeping.change(msgspec.structs.replace(memory, state=state, positions=positions))

    def _asked(self, state: State, entry: Entry, *, now_ms: int) -> State:
        request = alerting.request_of(entry.id, entry.fields, now_ms=now_ms)
        if request is None or request.channel not in {webhook.name for webhook in self._announcing.webhooks}:
            return state
        try:
            return rules.request_test(state, request.id, channel=request.channel, by=request.by, now_ms=now_ms)
        except Exception:  # as with entries
            log.exception("test_not_told", channel=request.channel)
            return state

    # -- time ---------------------------------------------------------------------------------------------------------

    async def _watch_the_clock(self) -> None:
        """Let time pass for the rules, for ever."""
        await self._until_caught_up()
        while True:
            await asyncio.sleep(TICK_EVERY_S)
            now_ms = self._tenure.store_time.now_ms()
            self.keeping.change_state(rules.tick(self.keeping.memory.state, now_ms=now_ms))

    async def _watch_the_cards(self) -> None:
        """Compare what was said with what the cards show, and what everyone is told of us with how we are, for ever."""
        await self._until_caught_up()
        while True:
            await asyncio.sleep(COMPARE_EVERY_S)
            now_ms = self._tenure.store_time.now_ms()
            self._compare(now_ms)
            self._forget(now_ms)
            told = self._told
            if told is not None and self._health(self.keeping.memory, now_ms, saved_at=told.saved_at) != told:
                self.keeping.keep_again()

    def _compare(self, now_ms: int) -> None:
        seen = self._around.cards()
        if seen is not None:
            state = rules.compare(self.keeping.memory.state, seen, of=self._of(), now_ms=now_ms)
            self.keeping.change_state(state)

    def _of(self) -> int:
        """How many exchanges are to be served: those switched on, and those somebody serves all the same."""
        told, exchanges = self.keeping.memory.state.told, self._around.exchanges()
        return sum(each.is_active or (each.id in told and told[each.id].state not in IN_PEACE) for each in exchanges)

    def _forget(self, now_ms: int) -> None:
        memory = self.keeping.memory
        state, channels = queue.prune(memory.state, memory.channels, now_ms=now_ms, announced=self._announcing.kinds)
        if state is not memory.state or channels is not memory.channels:
            self.keeping.change(msgspec.structs.replace(memory, state=state, channels=channels))

    # -- channels -----------------------------------------------------------------------------------------------------

    def _with_our_channels(self, kept: Kept) -> Kept:
        """The memory with the channels as they are set here."""
        memory, now_ms = kept.memory, self._tenure.store_time.now_ms()
        channels = queue.with_webhooks(memory.state, memory.channels, self._announcing.webhooks, now_ms=now_ms)
        return Kept(saved_ms=kept.saved_ms, memory=msgspec.structs.replace(memory, channels=channels))

    def _tell(self, memory: Memory, now_ms: int) -> Health:
        self._told = self._health(memory, now_ms, saved_at=iso(now_ms))
        return self._told

    def _health(self, memory: Memory, now_ms: int, *, saved_at: str) -> Health:
        troubles = (self._lasting.trouble, self._logs.trouble, self._ledger.trouble)
        return Health(
            saved_at=saved_at,
            channels=[
                queue.health(memory.state, memory.channels[each.name], now_ms=now_ms, announced=self._announcing.kinds)
                for each in self._announcing.webhooks
            ],
            announced=self._announcing.kinds,
            trouble=". ".join(trouble for trouble in troubles if trouble) or None,
            tests=_test_outcomes(memory),
        )


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
