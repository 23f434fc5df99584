"""`perseus incidents`: what is not served although it should be, and who knows of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from perseus.cli.alerts import look
from perseus.cli.options import database_options, person
from perseus.cli.output import columns, echo_json, say
from perseus.cli.words import duration
from perseus.clock import SystemClock, iso, unix_ms
from perseus.errors import BadUsage
from perseus.settings import Settings

if TYPE_CHECKING:  # slow to import: only the commands do
    from perseus.alerting import Alerting
    from perseus.database.audit import Actor
    from perseus.database.engine import Transaction
    from perseus.database.incidents import IncidentRecord, IncidentsView

_FOR = re.compile(r"(?P<count>\d{1,5})(?P<unit>[mhd])")
_UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_NOBODY = "No notifier runs, so what is going on now may be missing here: see `perseus status`."
_BLIND = "The store cannot be read, so what is going on now may be missing here: see `perseus status`."
_GO_ON = (
    "Say that you know of one: `perseus incidents ack EXCHANGE --reason TEXT`; send nothing about one for a while: "
    "`perseus incidents mute EXCHANGE --for 2h`. What happened is in `perseus log EXCHANGE`."
)


class _Change(NamedTuple):
    """What a command of a person gets: the incident meant, and what `perseus.database.incidents` asks for."""

    connection: Transaction
    incident: IncidentRecord
    by: Actor
    now_ms: int


@click.group()
def incidents() -> None:
    """Exchanges that were not served although they should have been, and who knows of it.

    The notifier records them, in `perseus serve` and `perseus up`. One that is acknowledged is not reminded of any
    more; one that is muted is not told of at all for a while; when it ends it is resolved by itself.
    """


@incidents.command("list")
@click.option("--all", "shows_all", is_flag=True, help="Also those that are over.")
@click.option("--count", default=50, show_default=True, type=click.IntRange(1, 100_000), help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/cli.md).")
@database_options
def list_(*, shows_all: bool, count: int, as_json: bool, settings: Settings) -> int:
    """What is open, newest first. Changes nothing, not even the version of the database."""
    page, seen = asyncio.run(_read(settings, is_open=None if shows_all else True, count=count))
    now_ms = _now_ms(seen)
    if as_json:
        echo_json(msgspec.json.encode(page))
    else:
        for line in _table(page.incidents, shows_all=shows_all, now_ms=now_ms):
            click.echo(line)
        if any(_is_news(each, now_ms) for each in page.incidents):
            say(_GO_ON)
    if seen is None or seen.holder is None:
        say(_BLIND if seen is None else _NOBODY)
    if page.next_cursor is not None:
        say(f"These are the newest {count}; --count shows more.")
    return 0


@incidents.command()
@click.argument("which", metavar="ID|EXCHANGE")
@click.option("--reason", default="", metavar="TEXT", help="For those who look later.")
@database_options
def ack(*, which: str, reason: str, settings: Settings) -> int:
    """Acknowledge an open incident.

    You know of it, so nobody is reminded any more. Its end is told as ever, unless it is muted. Of several who
    acknowledge, the last one and their reason are shown; the audit log has all of them.
    """
    from perseus.database import incidents

    async def work(change: _Change) -> IncidentRecord:
        connection, incident, by, now_ms = change
        return await incidents.acknowledge(connection, incident.id, by=by, reason=reason, now_ms=now_ms)

    noted, now_ms = asyncio.run(_changed(settings, which, work))
    is_muted = noted.muted_until is not None and unix_ms(noted.muted_until) > now_ms
    end = f"muted until {_minute(noted.muted_until)} UTC, also its end" if is_muted else "its end is told as ever"
    click.echo(f"Acknowledged: {_named(noted, now_ms)}. Nobody is reminded of it any more; {end}.")
    return 0


@incidents.command()
@click.argument("which", metavar="ID|EXCHANGE")
@click.option("--for", "lasting", required=True, metavar="TIME", help="30m, 2h or 7d; at most 30d.")
@click.option("--reason", default="", metavar="TEXT", help="For those who look later.")
@database_options
def mute(*, which: str, lasting: str, reason: str, settings: Settings) -> int:
    """Send nothing new about one for a while.

    Not even its end; messages that were sent before are still brought up to date.
    """
    from perseus.database import incidents

    match = _FOR.fullmatch(lasting)
    if match is None:
        raise BadUsage(f"--for {lasting!r} is no time. Give 30m, 2h or 7d: whole minutes, hours or days, at most 30d.")
    lasting_ms = int(match["count"]) * _UNIT_MS[match["unit"]]

    async def work(change: _Change) -> IncidentRecord:
        connection, incident, by, now_ms = change
        until_ms = now_ms + lasting_ms
        return await incidents.mute(connection, incident.id, until_ms=until_ms, by=by, reason=reason, now_ms=now_ms)

    muted, now_ms = asyncio.run(_changed(settings, which, work))
    click.echo(
        f"Muted until {_minute(muted.muted_until)} UTC: {_named(muted, now_ms)}. Nothing new is sent about it until "
        f"then; if it is open then and nobody has acknowledged it, a reminder comes at once. "
        f"`perseus incidents unmute {muted.exchange_name}` ends that sooner."
    )
    return 0


@incidents.command()
@click.argument("which", metavar="ID|EXCHANGE")
@database_options
def unmute(*, which: str, settings: Settings) -> int:
    """Let an open incident be told of again."""
    from perseus.database import incidents

    async def work(change: _Change) -> IncidentRecord:
        connection, incident, by, now_ms = change
        return await incidents.unmute(connection, incident.id, by=by, now_ms=now_ms)

    told, now_ms = asyncio.run(_changed(settings, which, work))
    click.echo(f"Not muted: {_named(told, now_ms)}. It is told of again.")
    return 0


async def _read(settings: Settings, *, is_open: bool | None, count: int) -> tuple[IncidentsView, Alerting | None]:
    """What is on record, and whether anybody records; None: it is not known."""
    from perseus.database import incidents
    from perseus.database.engine import open_database
    from perseus.database.url import sqlite_file

    seen = await look(settings)
    page = incidents.IncidentsView(incidents=[], next_cursor=None)
    file = sqlite_file(settings.database_url)
    if file is None or file.exists():
        async with await open_database(settings.database_url, migrate=False) as database, database.reading() as read:
            if await incidents.are_kept(read):
                page = await incidents.page(read, is_open=is_open, count=count)
    return page, seen


async def _changed(
    settings: Settings, which: str, work: Callable[[_Change], Awaitable[IncidentRecord]]
) -> tuple[IncidentRecord, int]:
    """The incident as it is after the work, and the time: by the store's clock, as the notifier reckons."""
    from perseus.database import incidents
    from perseus.database.audit import Actor
    from perseus.database.engine import open_database

    now_ms = _now_ms(await look(settings))
    async with await open_database(settings.database_url) as database, database.begin() as connection:
        meant = await incidents.named(connection, which)
        return await work(_Change(connection, meant, Actor(name=person()), now_ms)), now_ms


def _now_ms(seen: Alerting | None) -> int:
    """Now by the store's clock, or by this host's while the store cannot be read."""
    return SystemClock().wall_ms() if seen is None else seen.store_ms


def _table(found: Sequence[IncidentRecord], *, shows_all: bool, now_ms: int) -> list[str]:
    """A headline, and under it each incident in a row, with what people did about it below."""
    if not found:
        return ["There was no incident yet." if shows_all else "No incident is open."]
    rows = [["exchange", "what", "for", "since (UTC)", "host", "admin", "id"]]
    rows += [_row(each, now_ms) for each in found]
    lines = columns(rows, dim=lambda row: row[1].endswith(")"))
    still = sum(each.resolved_at is None for each in found)
    head = f"{still or 'No'} incident{'s are' if still > 1 else ' is'} open."
    told = [head, "", lines[0]]
    for incident, line in zip(found, lines[1:], strict=True):
        told += [line, *(f"  {each}" for each in _done_about(incident, now_ms))]
    return told


def _row(incident: IncidentRecord, now_ms: int) -> list[str]:
    what = incident.cause.replace("_", " ")
    if incident.is_flapping:
        what += f", flapping: {incident.changes} changes"
    if incident.resolution is not None:
        what += " (its end was missed)" if incident.resolution == "unknown" else f" ({_ended(incident)})"
    since = incident.since[:19].replace("T", " ")
    who = (incident.hostname or "?", incident.admin_email or "not set")
    return [incident.exchange_name, what, _lasting(incident, now_ms), since, *who, incident.id]


def _done_about(incident: IncidentRecord, now_ms: int) -> list[str]:
    """Who knows of it, and whether it is told of."""
    done = []
    if incident.acknowledged_at is not None:
        ago = duration(now_ms - unix_ms(incident.acknowledged_at))
        done.append(f"acknowledged {ago} ago by {incident.acknowledged_by}{_because(incident.acknowledged_reason)}")
    if incident.resolved_at is None and incident.muted_until is not None:
        left_ms = unix_ms(incident.muted_until) - now_ms
        if left_ms > 0:
            done.append(f"muted for {duration(left_ms)} more by {incident.muted_by}{_because(incident.muted_reason)}")
    return done


def _is_news(incident: IncidentRecord, now_ms: int) -> bool:
    """Whether nobody has said anything about it yet."""
    return incident.resolved_at is None and not _done_about(incident, now_ms)


def _named(incident: IncidentRecord, now_ms: int) -> str:
    what = incident.cause.replace("_", " ")
    return f"{incident.exchange_name}, {what} for {_lasting(incident, now_ms)} ({incident.id})"


def _lasting(incident: IncidentRecord, now_ms: int) -> str:
    end_ms = now_ms if incident.resolved_at is None else unix_ms(incident.resolved_at)
    return duration(end_ms - unix_ms(incident.since))


def _ended(incident: IncidentRecord) -> str:
    return (incident.resolution or "").replace("_", " ")


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def _minute(moment: str | None) -> str:
    return (moment or iso(0))[:16].replace("T", " ")
