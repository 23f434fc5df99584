"""Incidents: exchanges that are not served although they should be. At most one of an exchange is open.

The notifier writes what happened (`record`), people write what they do about it (`acknowledge`, `mute`, `unmute`), and
neither touches the other's columns, so no word of either is ever lost to the other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Select, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from perseus.clock import iso, unix_ms
from perseus.database import audit, values
from perseus.database.audit import Actor
from perseus.database.exchanges import read_all as read_exchanges
from perseus.database.migration import revision
from perseus.database.tables import exchanges, incidents
from perseus.errors import BadInput, IncidentOver, NoOpenIncident, UnknownIncident

Cause = Literal["offline", "lease_lost", "lease_lapsed"]
Resolution = Literal["recovered", "stopped", "switched_off", "unknown"]

MUTE_MS = (60_000, 30 * 86_400_000)  # the shortest and the longest
LONGEST_REASON = 500
_FIRST_REVISION = "0002"
_LOCK = 0x70657273  # "pers": with an exchange's id, what two notifiers on PostgreSQL take turns by
_CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)@(.{1,96})")


class IncidentRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An exchange that was not served although it should have been; open until it is resolved.

    Since when, when that was noticed, who served it then. Flapping: it went down and came back so many times. What
    people did about it comes last; a mute may have passed. The display name is the exchange's as it is now.
    """

    id: str
    exchange_id: int
    exchange_name: str
    display_name: str = ""
    cause: Cause
    since: str
    opened_at: str
    hostname: str = ""
    ip: str = ""
    admin_email: str = ""
    last_state: str = ""
    detail: str = ""
    is_flapping: bool = False
    changes: int = 0
    resolved_at: str | None = None
    resolution: Resolution | None = None
    acknowledged_at: str | None = None
    acknowledged_by: str | None = None
    acknowledged_reason: str | None = None
    muted_until: str | None = None
    muted_by: str | None = None
    muted_reason: str | None = None


class IncidentsView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of incidents, newest first. The next one's cursor is null at the end, and only there."""

    incidents: Sequence[IncidentRecord]
    next_cursor: str | None


async def record(connection: AsyncConnection, incident: IncidentRecord, *, version: int = 0) -> None:
    """Write down what the notifier knows of an incident; as often as it likes.

    Of one exchange the newest alone is open: an older one that still is gets resolved as `unknown`. An incident that
    is over stays so, unless its end was `unknown` and nothing came after it; an older `version` of it changes nothing
    but its end: a notifier that was replaced may be late, and one whose memory was lost begins to count anew.
    What people wrote is left alone. In one transaction record incidents in the order of their exchanges' ids.
    """
    row = _notifiers_columns(incident) | {"version": version}
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.pg_advisory_xact_lock(_LOCK, incident.exchange_id)))
    is_last = False
    if incident.resolved_at is None:
        is_last, over = await _make_room(connection, incident)
        row |= over
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(incidents).values(row)
    new, was_over = statement.excluded, incidents.c.resolved_at.is_not(None)
    ends = new.resolved_at.is_not(None) & ~was_over
    may_open = ~was_over | (incidents.c.resolution == "unknown") if is_last else ~was_over
    is_newer = (incidents.c.version <= new.version) & (may_open | new.resolved_at.is_not(None))
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[incidents.c.id],
            set_={name: new[name] for name in row if name != "id"},
            where=is_newer | ends,
        )
    )


async def _make_room(connection: AsyncConnection, incident: IncidentRecord) -> tuple[bool, dict[str, str]]:
    """Resolve what else is open of its exchange, if it is older; if it is newer, this one is what is over.

    Whether nothing came after this one, and how it ended, if it did.
    """
    place = tuple_(incidents.c.opened_at, incidents.c.id)
    is_later = place > tuple_(incident.opened_at, incident.id)
    of_exchange = (incidents.c.exchange_id == incident.exchange_id, incidents.c.id != incident.id)
    open_later = select(incidents.c.opened_at).where(*of_exchange, is_later, incidents.c.resolved_at.is_(None))
    if (later_at := (await connection.execute(open_later)).scalar()) is not None:
        return False, {"resolved_at": later_at, "resolution": "unknown"}
    over = {"resolved_at": incident.opened_at, "resolution": "unknown"}
    await connection.execute(update(incidents).where(*of_exchange, incidents.c.resolved_at.is_(None)).values(over))
    later = select(incidents.c.id).where(*of_exchange, is_later).limit(1)
    return (await connection.execute(later)).first() is None, {}


async def are_kept(connection: AsyncConnection) -> bool:
    """Whether this database has incidents: for those who look at one without bringing it up to date."""
    found = await revision(connection)
    return found is not None and found >= _FIRST_REVISION


async def resolve_forgotten(
    connection: AsyncConnection, *, known: Collection[str], opened_before_ms: int, now_ms: int
) -> int:
    """Resolve, as `unknown`, what is open but not among the incidents the notifier knows; how many there were.

    A notifier whose memory was lost with the store knows of no incident, and nobody else would ever end them.
    `opened_before_ms` leaves it time to read on where the one before it had got to.
    """
    forgotten = (
        incidents.c.resolved_at.is_(None),
        incidents.c.id.not_in(known),
        incidents.c.opened_at < iso(opened_before_ms),
    )
    over = {"resolved_at": iso(now_ms), "resolution": "unknown"}
    return (await connection.execute(update(incidents).where(*forgotten).values(over))).rowcount


async def open_incidents(connection: AsyncConnection) -> list[IncidentRecord]:
    """Every open incident, newest first."""
    wanted = _newest_first(_selected().where(incidents.c.resolved_at.is_(None)))
    return [values.record(row, IncidentRecord) for row in await connection.execute(wanted)]


async def page(
    connection: AsyncConnection,
    *,
    exchange_id: int | None = None,
    is_open: bool | None = None,
    count: int = 50,
    cursor: str | None = None,
) -> IncidentsView:
    """`count` incidents from `cursor` on, newest first: of one exchange or all, open or resolved ones or both.

    Nothing is left out or repeated between pages while incidents are opened. Raises: BadInput for a bad cursor.
    """
    wanted = _newest_first(_selected()).limit(count + 1)
    if exchange_id is not None:
        wanted = wanted.where(incidents.c.exchange_id == exchange_id)
    if is_open is not None:
        wanted = wanted.where(incidents.c.resolved_at.is_(None) == is_open)
    if cursor is not None:
        wanted = wanted.where(tuple_(incidents.c.opened_at, incidents.c.id) < tuple_(*_parsed(cursor)))
    found = [values.record(row, IncidentRecord) for row in await connection.execute(wanted)]
    last = found[count - 1] if len(found) > count else None
    return IncidentsView(incidents=found[:count], next_cursor=f"{last.opened_at}@{last.id}" if last else None)


async def by_id(connection: AsyncConnection, incident_id: str) -> IncidentRecord:
    """The incident of this id. Raises: UnknownIncident."""
    row = (await connection.execute(_selected().where(incidents.c.id == _key(incident_id)))).one_or_none()
    if row is None:
        raise UnknownIncident(
            f"There is no incident {_key(incident_id)!r}. `perseus incidents list --all` shows every one."
        )
    return values.record(row, IncidentRecord)


async def named(connection: AsyncConnection, text: str) -> IncidentRecord:
    """The incident of this id, or the open one of the exchange of this name.

    Raises: NoOpenIncident for an exchange that has none; UnknownIncident for another text.
    """
    wanted = _selected().where(incidents.c.exchange_name == _key(text), incidents.c.resolved_at.is_(None))
    row = (await connection.execute(_newest_first(wanted).limit(1))).first()
    if row is not None:
        return values.record(row, IncidentRecord)
    try:
        return await by_id(connection, text)
    except UnknownIncident as unknown:
        known = [exchange.name for exchange in await read_exchanges(connection)]
        if text in known:
            raise NoOpenIncident(
                f"{text} has no open incident, so nothing was changed. `perseus incidents list --all` shows those that "
                f"are over."
            ) from unknown
        raise UnknownIncident(
            f"{_key(text)!r} is neither an incident nor an exchange ({', '.join(known)}). `perseus incidents list` "
            f"shows what is open."
        ) from unknown


async def acknowledge(
    connection: AsyncConnection, incident_id: str, *, by: Actor, reason: str = "", now_ms: int
) -> IncidentRecord:
    """Note that somebody knows of an open incident: no more reminders. Who did so last, and why, is shown.

    Without a reason the one they gave before goes on to be shown; another's does not.
    Raises: UnknownIncident; IncidentOver.
    """
    if not reason:
        found = await by_id(connection, incident_id)
        reason = found.acknowledged_reason or "" if found.acknowledged_by == _name(by) else ""
    written = {"acknowledged_at": iso(now_ms), "acknowledged_by": _name(by), "acknowledged_reason": _reason(reason)}
    return await _written(connection, incident_id, "acknowledge", written, by=by, now_ms=now_ms)


async def mute(
    connection: AsyncConnection, incident_id: str, *, until_ms: int, by: Actor, reason: str = "", now_ms: int
) -> IncidentRecord:
    """Send nothing new about an open incident until a moment, at least a minute and at most 30 days away.

    Without a reason that of a mute that still lasts goes on to be shown.
    Raises: UnknownIncident; IncidentOver; BadInput for another time.
    """
    shortest, longest = MUTE_MS
    if not shortest <= until_ms - now_ms <= longest:
        raise BadInput(
            "An incident is muted for a minute at least and 30 days at most. Nothing was changed.", field="minutes"
        )
    if not reason:
        found = await by_id(connection, incident_id)
        is_muted = found.muted_until is not None and unix_ms(found.muted_until) > now_ms
        reason = found.muted_reason or "" if is_muted else ""
    written = {"muted_until": iso(until_ms), "muted_by": _name(by), "muted_reason": _reason(reason)}
    return await _written(connection, incident_id, "mute", written, by=by, now_ms=now_ms)


async def unmute(connection: AsyncConnection, incident_id: str, *, by: Actor, now_ms: int) -> IncidentRecord:
    """Let an open incident be told of again; one that is not muted stays as it is.

    Raises: UnknownIncident; IncidentOver.
    """
    found = await by_id(connection, incident_id)
    if found.resolved_at is None and found.muted_until is None:
        return found
    written = {"muted_until": None, "muted_by": None, "muted_reason": None}
    return await _written(connection, incident_id, "unmute", written, by=by, now_ms=now_ms)


async def _written(
    connection: AsyncConnection,
    incident_id: str,
    action: str,
    written: Mapping[str, str | None],
    *,
    by: Actor,
    now_ms: int,
) -> IncidentRecord:
    """Write people's columns of an open incident, and tell the audit log."""
    is_open = (incidents.c.id == _key(incident_id), incidents.c.resolved_at.is_(None))
    changed = (await connection.execute(update(incidents).where(*is_open).values(written))).rowcount
    found = await by_id(connection, incident_id)
    if not changed:
        raise _over(found)
    told = {"muted_until": "until", "acknowledged_reason": "reason", "muted_reason": "reason"}
    details = {"exchange": found.exchange_name}
    details |= {told[name]: value for name, value in written.items() if name in told and value}
    await audit.append(connection, f"incident.{action}", subject=found.id, by=by, now_ms=now_ms, details=details)
    return found


def _over(incident: IncidentRecord) -> IncidentOver:
    how = {
        "recovered": f"{incident.exchange_name} recovered",
        "stopped": f"{incident.exchange_name} was stopped",
        "switched_off": f"{incident.exchange_name} was switched off",
    }.get(incident.resolution or "", "how it ended is not known")
    return IncidentOver(
        f"The incident {incident.id} has been over since {incident.resolved_at} ({how}), so there is nothing to "
        f"acknowledge or mute. Nothing was changed.",
        resolved_at=incident.resolved_at,
        resolution=incident.resolution,
    )


def _selected() -> Select[Any]:
    """What makes an IncidentRecord."""
    names = [column for column in incidents.c if column.name != "version"]
    shown = func.coalesce(exchanges.c.display_name, incidents.c.exchange_name).label("display_name")
    return select(*names, shown).outerjoin(exchanges, exchanges.c.id == incidents.c.exchange_id)


def _newest_first(wanted: Select[Any]) -> Select[Any]:
    return wanted.order_by(incidents.c.opened_at.desc(), incidents.c.id.desc())


def _notifiers_columns(incident: IncidentRecord) -> dict[str, Any]:
    """What the notifier writes. Texts came from logs that any program of the network may write."""
    return {
        "id": incident.id,
        "exchange_id": incident.exchange_id,
        "exchange_name": incident.exchange_name,
        "cause": incident.cause,
        "since": incident.since,
        "opened_at": incident.opened_at,
        "hostname": values.printable(incident.hostname, longest=255),
        "ip": values.printable(incident.ip, longest=64),
        "admin_email": values.printable(incident.admin_email, longest=254),
        "last_state": values.printable(incident.last_state, longest=32),
        "detail": values.printable(incident.detail, longest=500),
        "is_flapping": incident.is_flapping,
        "changes": incident.changes,
        "resolved_at": incident.resolved_at,
        "resolution": incident.resolution,
    }


def _parsed(cursor: str) -> tuple[str, str]:
    match = _CURSOR.fullmatch(cursor)
    try:
        if match is not None and iso(unix_ms(match[1])) == match[1] and values.printable(cursor, longest=200) == cursor:
            return match[1], match[2]
    except (ValueError, OverflowError):
        pass
    raise BadInput(f"{cursor!r} is no cursor of a page; give `nextCursor` of the page before.", field="cursor")


def _key(incident_id: str) -> str:
    """What a stranger says an id is, as any database can be asked for it."""
    return values.printable(incident_id, longest=96)


def _name(by: Actor) -> str:
    return values.printable(by.name, longest=254)


def _reason(text: str) -> str | None:
    return values.printable(text, longest=LONGEST_REASON) or None
