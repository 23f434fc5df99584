"""The procedures `notify.*`: whether people are told, what is wrong now, and who knows of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Protocol

import msgspec

from perseus import alerting
from perseus.alerting import StatusView, TestOutcome
from perseus.clock import Clock
from perseus.database import exchanges, incidents
from perseus.database.audit import Actor
from perseus.database.engine import Database, Transaction
from perseus.database.incidents import IncidentRecord, IncidentsView
from perseus.errors import StoreDenied, StoreUnavailable, UnknownChannel, UnknownExchange
from perseus.store import Store
from perseus.web.identity import Caller
from perseus.web.shared import Shared
from perseus.web.trpc import Encoded, Procedure, mutation, query

TEST_WITHIN_S = 10.0  # how long a test waits for its outcome
LOOK_EVERY_S = 0.2

Id = Annotated[str, msgspec.Meta(max_length=100)]
Reason = Annotated[str, msgspec.Meta(max_length=incidents.LONGEST_REASON)]


class SeesAlerts(Protocol):
    """What these procedures need of a context."""

    @property
    def caller(self) -> Caller:
        """Who calls."""
        ...

    @property
    def store(self) -> Store:
        """Where the notifier says how it is."""
        ...

    @property
    def database(self) -> Database:
        """Where incidents are kept."""
        ...

    @property
    def clock(self) -> Clock:
        """This host's clocks."""
        ...

    @property
    def alerts(self) -> Alerts:
        """What many ask for at once."""
        ...


class IncidentsAsked(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of incidents: of one exchange or all, only open or only resolved ones, going on from `cursor`."""

    exchange_id: int | None = None
    is_open: bool | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class AcknowledgeAsked(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An incident somebody knows of, and why nobody need be reminded."""

    incident_id: Id
    reason: Reason = ""


class MuteAsked(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An incident nothing new is to be sent about for so many minutes, and why."""

    incident_id: Id
    minutes: Annotated[int, msgspec.Meta(ge=1, le=43_200)]
    reason: Reason = ""


class UnmuteAsked(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An incident to be told of again."""

    incident_id: Id


class TestAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A channel to send a test message to, by its name."""

    channel: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class Alerts:
    """What every page asks for every few seconds, read once for all of them."""

    def __init__(self, store: Store, database: Database, *, clock: Clock) -> None:
        async def status(_: None) -> bytes:
            return msgspec.json.encode((await alerting.read(store)).view())

        async def page(asked: IncidentsAsked) -> bytes:
            return msgspec.json.encode(await _page(database, asked))

        self.status = Shared(status, clock=clock)
        self.incidents = Shared(page, clock=clock)


async def get_status(context: SeesAlerts) -> Encoded:
    """Whether alerts are sent, by which server, and how each channel is. Every server answers the same."""
    return Encoded(await context.alerts.status.get(None))


async def get_incidents(context: SeesAlerts, asked: IncidentsAsked | None = None) -> Encoded:
    """What is wrong, and what was, newest first."""
    return Encoded(await context.alerts.incidents.get(asked or IncidentsAsked()))


async def acknowledge(context: SeesAlerts, asked: AcknowledgeAsked) -> IncidentRecord:
    """Say that somebody knows of an open incident; nobody is reminded of it any more."""
    async with _changing(context) as (connection, by, now_ms):
        return await incidents.acknowledge(connection, asked.incident_id, by=by, reason=asked.reason, now_ms=now_ms)


async def mute(context: SeesAlerts, asked: MuteAsked) -> IncidentRecord:
    """Send nothing new about an open incident for a while."""
    async with _changing(context) as (connection, by, now_ms):
        until_ms = now_ms + asked.minutes * 60_000
        return await incidents.mute(
            connection, asked.incident_id, until_ms=until_ms, by=by, reason=asked.reason, now_ms=now_ms
        )


async def unmute(context: SeesAlerts, asked: UnmuteAsked) -> IncidentRecord:
    """Let an open incident be told of again."""
    async with _changing(context) as (connection, by, now_ms):
        return await incidents.unmute(connection, asked.incident_id, by=by, now_ms=now_ms)


async def test(context: SeesAlerts, asked: TestAsked) -> TestOutcome:
    """Have a test message sent to a channel, and say what became of it; "waiting": it is not known yet."""
    seen = await alerting.read(context.store)
    if seen.holder is None or seen.obstacle is not None:
        return TestOutcome(outcome="failed", reason=seen.why)
    channels = tuple(channel.name for channel in seen.health.channels) if seen.health else ()
    if asked.channel not in channels:
        raise UnknownChannel(
            f"There is no channel {asked.channel!r}; {_listed(channels)} PERSEUS_DISCORD_WEBHOOK_URLS on "
            f"{seen.holder.hostname} names them. Nothing was sent.",
            channels=channels,
        )
    request_id = await alerting.request_test(context.store, channel=asked.channel, by=context.caller.identity.email)
    return await _outcome(context, request_id)


PROCEDURES: dict[str, Procedure] = {
    "notify.getStatus": query(get_status, output=StatusView),
    "notify.getIncidents": query(get_incidents, output=IncidentsView),
    "notify.acknowledge": mutation(acknowledge),
    "notify.mute": mutation(mute),
    "notify.unmute": mutation(unmute),
    "notify.test": mutation(test),
}


async def _outcome(context: SeesAlerts, request_id: str) -> TestOutcome:
    """What the notifier says became of the test, as soon as that is known."""
    until = context.clock.now() + TEST_WITHIN_S
    outcome = TestOutcome(outcome="waiting", reason=f"The notifier did not say within {TEST_WITHIN_S:g} s.")
    while context.clock.now() < until:
        await context.clock.sleep(LOOK_EVERY_S)
        health = (await alerting.read(context.store)).health
        if health is not None and request_id in health.tests:
            outcome = health.tests[request_id]
        if outcome.outcome != "waiting":
            break
    return outcome


async def _now_ms(context: SeesAlerts) -> int:
    """Now by the store's clock, which the notifier reckons with; by this host's while the store cannot be read."""
    try:
        return round(await context.store.time_ms())
    except (StoreUnavailable, StoreDenied):
        return context.clock.wall_ms()


@asynccontextmanager
async def _changing(context: SeesAlerts) -> AsyncIterator[tuple[Transaction, Actor, int]]:
    """A transaction of who calls, now; who reads incidents afterwards sees what it did."""
    identity, now_ms = context.caller.identity, await _now_ms(context)
    by = Actor(name=identity.email, admin_id=identity.admin_id, address=context.caller.address)
    async with context.database.begin() as connection:
        yield connection, by, now_ms
    context.alerts.incidents.forget()


async def _page(database: Database, asked: IncidentsAsked) -> IncidentsView:
    async with database.reading() as connection:
        if asked.exchange_id is not None and await exchanges.by_id(connection, asked.exchange_id) is None:
            raise UnknownExchange(f"There is no exchange with the id {asked.exchange_id}.", field="exchangeId")
        return await incidents.page(
            connection, exchange_id=asked.exchange_id, is_open=asked.is_open, count=asked.count, cursor=asked.cursor
        )


def _listed(channels: Sequence[str]) -> str:
    return f"those set are {', '.join(channels)}." if channels else "none is set."
