"""`perseus log`: the activity feed, oldest first so that --follow goes on from it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import click

from perseus.cli.options import known_exchanges, reading, settings_options
from perseus.cli.output import echo_json, say
from perseus.cli.signals import run_until_signal
from perseus.clock import unix_ms
from perseus.errors import BadUsage
from perseus.model import Exchange, exchange_named
from perseus.network.feed import FeedEntry, Wanted, encode
from perseus.network.observe import Network
from perseus.settings import Settings

_AGO = re.compile(r"(?P<count>\d{1,9})(?P<unit>[smhdw])")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PAGE = 200
_EVENTS = ("state_transition", "error", "instance_lost", "lease_lost", "lease_lapsed", "command")


@click.command()
@click.argument("exchange", required=False)
@click.option("--since", metavar="WHEN", help="How far back: 90s, 30m, 2h, 7d, 4w, or an ISO time with zone.")
@click.option("--event", "events", multiple=True, metavar="EVENT", help="Only this event; may be repeated.")
@click.option(
    "--count", default=50, show_default=True, type=click.IntRange(1, 100_000), help="At most so many entries."
)
@click.option("--follow", "-f", is_flag=True, help="Go on with new entries until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line (docs/cli.md).")
@settings_options
def log(
    *,
    exchange: str | None,
    since: str | None,
    events: tuple[str, ...],
    count: int,
    follow: bool,
    as_json: bool,
    settings: Settings,
) -> int:
    """The activity of all exchanges, or of EXCHANGE: the newest entries, oldest first.

    Transitions, errors, losses and commands are kept for 90 days; heartbeats are not logged.
    """
    exchanges = known_exchanges(settings)
    if exchange is not None:
        exchanges = (exchange_named(exchange, exchanges),)
    work = _log(settings, exchanges, since=since, events=events, count=count, follow=follow, as_json=as_json)
    return run_until_signal(work) if follow else asyncio.run(work)


async def _log(
    settings: Settings,
    exchanges: Sequence[Exchange],
    *,
    since: str | None,
    events: tuple[str, ...],
    count: int,
    follow: bool,
    as_json: bool,
) -> int:
    since_ms = _moment(since) if since else None
    async with reading(settings) as store:
        network = Network(store, exchanges=exchanges)
        if since_ms is not None and since_ms <= 0:
            since_ms += int(await store.time_ms())
        wanted = Wanted(events=frozenset(events), since_ms=since_ms)
        following = await network.following(wanted=wanted) if follow else None
        page = await _newest(network, wanted, count=count)
        for entry in page:
            _show(entry, as_json=as_json)
        if not page:
            say(_nothing_found(events))
        if following is not None:
            shown = {entry.order for entry in page}  # what came between the two looks is in both
            async for entry in following:
                if entry.order not in shown:
                    _show(entry, as_json=as_json)
    return 0


async def _newest(network: Network, wanted: Wanted, *, count: int) -> list[FeedEntry]:
    found: list[FeedEntry] = []
    cursor = None
    told: set[str] = set()
    while len(found) < count:
        page = await network.feed(count=min(_PAGE, count - len(found)), cursor=cursor, wanted=wanted)
        found += page.entries
        for name, reason in page.unreadable.items():
            if name not in told:
                say(f"The log of {name} cannot be read and is missing here: {reason}")
                told.add(name)
        cursor = page.next_cursor
        if cursor is None:
            break
    return found[::-1]


def _nothing_found(events: Sequence[str]) -> str:
    """An empty answer must not look like good news where an event's name was mistyped."""
    unknown = [event for event in events if event not in _EVENTS]
    if not unknown:
        return "No entries."
    return f"No entries. Perseus writes no event {', '.join(map(repr, unknown))}; it writes {', '.join(_EVENTS)}."


def _show(entry: FeedEntry, *, as_json: bool) -> None:
    from perseus.cli.words import entry_line

    if as_json:
        echo_json(encode(entry))
    else:
        click.echo(entry_line(entry))


def _moment(text: str) -> int:
    """Unix ms of an ISO time, or the negative distance from now of `2h`. Raises: BadUsage."""
    match = _AGO.fullmatch(text)
    if match is not None:
        return -int(match["count"]) * _UNIT_MS[match["unit"]]
    try:
        return unix_ms(text)
    except ValueError as error:
        raise BadUsage(
            f"--since {text!r} is no time. Give how far back (90s, 30m, 2h, 7d, 4w) or an ISO time with its zone "
            f"(2026-02-10T14:00:00Z)."
        ) from error
