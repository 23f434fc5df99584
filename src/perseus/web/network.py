"""The procedures `network.*`: what everyone sees. Answers are encoded once, by `perseus.network`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Protocol

import msgspec

from perseus.clock import unix_ms
from perseus.errors import BadInput
from perseus.network.changes import Changes, NetworkChange
from perseus.network.feed import FeedPageView, Wanted, parse_cursor
from perseus.network.observe import InstancesView
from perseus.network.shared_pages import PageAsked, SharedPages
from perseus.network.snapshot import ExchangeStatus, Snapshot, WarmupStats
from perseus.web.trpc import Encoded, Procedure, Tracked, invalid_input, query, subscription

Text = Annotated[str, msgspec.Meta(max_length=200)]


class SeesNetwork(Protocol):
    """What these procedures need of a context."""

    @property
    def snapshot(self) -> Snapshot:
        """The cards."""
        ...

    @property
    def pages(self) -> SharedPages:
        """The activity log."""
        ...

    @property
    def changes(self) -> Changes:
        """What changes."""
        ...


class ExchangeAsked(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One exchange, by its id."""

    exchange_id: int


class ActivityAsked(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of the activity log: of one exchange or all, `count` entries going on from `cursor`.

    `events`: only these; `since`, `until`: ISO times with zone, both inclusive; `text`: in any field, in any case.
    """

    exchange_name: Text | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: Text | None = None
    events: Annotated[list[Text], msgspec.Meta(max_length=50)] | None = None
    since: Text | None = None
    until: Text | None = None
    text: Text | None = None


class ChangesAsked(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Changes from here on, or behind the last one received."""

    last_event_id: str | None = None


async def get_instances(context: SeesNetwork) -> Encoded:
    """Every active exchange with who serves it and how it is."""
    return Encoded(await context.snapshot.instances())


async def get_exchange_status(context: SeesNetwork, asked: ExchangeAsked) -> Encoded:
    """One exchange, also one that is switched off."""
    return Encoded(await context.snapshot.exchange_status(asked.exchange_id))


async def get_warmup_stats(context: SeesNetwork, asked: ExchangeAsked) -> WarmupStats:
    """The progress of a warm-up, or its report."""
    return await context.snapshot.warmup_stats(asked.exchange_id)


async def get_activity_log(context: SeesNetwork, asked: ActivityAsked | None = None) -> Encoded:
    """What happened, newest first."""
    asked = asked or ActivityAsked()
    page = PageAsked(exchange_name=asked.exchange_name, count=asked.count, cursor=asked.cursor, wanted=_wanted(asked))
    return Encoded(await context.pages.page(page))


async def on_change(context: SeesNetwork, asked: ChangesAsked | None = None) -> AsyncIterator[Tracked[Encoded]]:
    """What changes, from here on: all cards, then those that change and the entries that come."""
    async for change in context.changes.follow(asked.last_event_id if asked else None):
        yield Tracked(change.id, Encoded(change.encoded))


PROCEDURES: dict[str, Procedure] = {
    "network.getInstances": query(get_instances, output=InstancesView),
    "network.getExchangeStatus": query(get_exchange_status, output=ExchangeStatus),
    "network.getActivityLog": query(get_activity_log, output=FeedPageView),
    "network.getWarmupStats": query(get_warmup_stats),
    "network.onChange": subscription(on_change, output=Tracked[NetworkChange]),
}


def _wanted(asked: ActivityAsked) -> Wanted:
    """What to show. Raises: TRPCError naming every field that cannot be used."""
    moments, issues = dict[str, int | None](), list[dict[str, object]]()
    for field, text in (("since", asked.since), ("until", asked.until)):
        try:
            moments[field] = None if text is None else max(0, unix_ms(text))
        except (ValueError, OverflowError):
            message = f"{text!r} is no time with its zone; give one like 2026-02-10T14:00:00Z."
            issues.append({"code": "custom", "path": [field], "message": message})
    if asked.cursor is not None:
        try:
            parse_cursor(asked.cursor)
        except BadInput as error:
            issues.append({"code": "custom", "path": [error.field], "message": str(error)})
    if issues:
        raise invalid_input(issues)
    events = frozenset(asked.events or ())
    return Wanted(events=events, since_ms=moments["since"], until_ms=moments["until"], text=asked.text or "")
