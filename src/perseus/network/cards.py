"""One card an exchange: what an observer concludes from what the store holds. Pure.

What the instance says of itself is `status.connectionState`; what is observed is `health`. A card is never blanked:
when nobody serves the exchange, `last_known` keeps the last snapshot or, where another program wrote the status, what
the newest log entry tells.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec

from perseus.activity import status_of_entry
from perseus.clock import iso, unix_ms
from perseus.errors import PerseusError, UnreadableKey
from perseus.lease import FOREIGN_TTL_MS, decode_status
from perseus.model import ConnectionState, DesiredState, Exchange, InstanceStatus, WarmupProgress
from perseus.store import Entry

_LONGEST_EPOCH = 20  # digits: of a text that another program may have written
FOREIGN_INTERVAL_MS = 15_000  # what a payload without `heartbeatIntervalMs` is held to
VANISHED = "its key vanished before it could have expired: the store lost data, failed over or was tampered with"
RAN_OUT_UNSEEN = "its key ran out while the store could not be read: its instance may be about to claim again"


class Health(StrEnum):
    """What an observer concludes about an exchange."""

    ACTIVE = "active"
    TRANSITION = "transition"  # starting, warming, stopping
    LATE = "late"  # no heartbeat for two intervals, lease still running
    OFFLINE = "offline"  # unexpectedly
    STOPPED = "stopped"  # on purpose: by whom and when is known
    IDLE = "idle"
    NEVER = "never"  # never started
    UNREADABLE = "unreadable"  # the status key holds something that is not a status
    UNKNOWN = "unknown"  # the key could not be read, or vanished before it could have expired


class Record(NamedTuple):
    """What the store holds about one exchange; an exception stands where a key could not be read.

    `ttl_ms` as PTTL says it: -1 a key without TTL, -2 no key.
    """

    exchange: Exchange
    status: bytes | PerseusError | None
    ttl_ms: int
    last: bytes | PerseusError | None
    warmup: bytes | PerseusError | None
    newest: Entry | None


class LastKnown(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What is known of the instance last seen; what is not known is absent.

    `source`: `last`, its own last snapshot; `status`, its status as this observer saw it; `log`, its newest entry,
    which tells identity, state and its own `timestamp` only.
    """

    source: str
    connection_state: str | None = None
    connected_at: str | None = None
    last_heartbeat: str | None = None
    timestamp: str | None = None
    symbol_count: int | None = None
    admin_email: str | None = None
    admin_display_name: str | None = None
    ip_address: str | None = None
    hostname: str | None = None
    last_error: str | None = None
    last_error_at: str | None = None
    last_state_change: str | None = None
    instance_id: str | None = None
    epoch: int | None = None
    ttl_ms: int | None = None
    heartbeat_interval_ms: int | None = None
    version: str | None = None
    released_at: str | None = None
    released_by: str | None = None
    desired_state: DesiredState | None = None


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange as observed at `observed_ms` (store time). Units: milliseconds; moments are ISO texts."""

    exchange: Exchange
    health: Health
    observed_ms: int
    status: InstanceStatus | None = None
    payload: bytes | None = None  # the status as published, fields of other programs included
    age_ms: int | None = None  # since the last heartbeat
    expires_in_ms: int | None = None  # until the lease runs out; None for a key without TTL
    last_known: LastKnown | None = None
    offline_since: str | None = None
    stopped_by: str | None = None
    stopped_at: str | None = None
    reason: str | None = None  # why unreadable or unknown, and other remarks a person needs
    warmup: WarmupProgress | None = None
    warmup_fault: str | None = None  # why its warm-up report cannot be read
    should_run: bool = False
    unknown_until_ms: int | None = None

    @property
    def due_in_ms(self) -> int | None:
        """After how long the conclusion may be another one although nothing is written; None: never."""
        if self.unknown_until_ms is not None:
            return max(0, self.unknown_until_ms - self.observed_ms)
        if self.status is None:
            return None
        if self.expires_in_ms is not None:
            return self.expires_in_ms
        return max(0, (self.status.ttl_ms or FOREIGN_TTL_MS) - (self.age_ms or 0) + 1)

    @property
    def online(self) -> bool:
        """False only where it is certain that nobody serves the exchange: blindness is not an outage."""
        if self.health is Health.STOPPED:
            return self.status is not None
        return self.health not in (Health.OFFLINE, Health.NEVER)

    @property
    def needs_attention(self) -> bool:
        """Whether a person should look: it should run and is not active, or it cannot be told."""
        if self.health in (Health.UNREADABLE, Health.UNKNOWN):
            return True
        return self.should_run and self.health is not Health.ACTIVE


Payload = Annotated[msgspec.Raw, msgspec.Meta(extra={"holds": InstanceStatus})]


class CardView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A card as JSON: an item of `network.getInstances` and of `perseus status --json`."""

    exchange_id: int
    exchange_name: str
    display_name: str
    online: bool
    status: Payload | None
    health: Health
    last_known: LastKnown | None
    offline_since: str | None
    stopped_by: str | None
    stopped_at: str | None
    reason: str | None
    heartbeat_age_ms: int | None
    expires_in_ms: int | None
    should_run: bool
    warmup: WarmupProgress | None


def view(card: Card) -> CardView:
    """The card in the shape programs read."""
    return CardView(
        exchange_id=card.exchange.id,
        exchange_name=card.exchange.name,
        display_name=card.exchange.display_name,
        online=card.online,
        status=None if card.payload is None else msgspec.Raw(card.payload),
        health=card.health,
        last_known=card.last_known,
        offline_since=card.offline_since,
        stopped_by=card.stopped_by,
        stopped_at=card.stopped_at,
        reason=card.reason,
        heartbeat_age_ms=card.age_ms,
        expires_in_ms=card.expires_in_ms,
        should_run=card.should_run,
        warmup=card.warmup,
    )


def conclude(record: Record, *, now_ms: int, previous: Card | None = None, was_blind: bool = False) -> Card:
    """The card of one exchange at store time `now_ms`.

    `previous` is the card concluded before, if this observer has one: it remembers a key that vanished early.
    `was_blind`: the store could not be read since; perhaps its holder could not renew either, and is coming back.
    """
    last, last_fault = _snapshot(record.last)
    known = _newest_known(_last_known(record.newest, last), _remembered(previous))
    warmup, warmup_fault = _progress(record.warmup)
    card = Card(
        exchange=record.exchange,
        health=Health.UNKNOWN,
        observed_ms=now_ms,
        last_known=known,
        reason=last_fault,
        warmup=warmup,
        warmup_fault=warmup_fault,
        should_run=known is not None and _wanted(known.desired_state, known.connection_state),
    )
    if isinstance(record.status, UnreadableKey):
        return msgspec.structs.replace(card, health=Health.UNREADABLE, reason=record.status.reason)
    if isinstance(record.status, PerseusError):
        return msgspec.structs.replace(card, reason=str(record.status))
    if record.status is None:
        return _absent(card, previous, was_blind=was_blind)
    status, fault = _status(record)
    if status is None:
        return msgspec.structs.replace(card, health=Health.UNREADABLE, reason=fault)
    return _present(card, record, status)


def _present(card: Card, record: Record, status: InstanceStatus) -> Card:
    ttl_ms = status.ttl_ms or FOREIGN_TTL_MS
    since_heartbeat = max(0, card.observed_ms - unix_ms(status.last_heartbeat))
    plausible = status.ttl_ms is not None and 0 < record.ttl_ms <= status.ttl_ms
    card = msgspec.structs.replace(
        card,
        age_ms=ttl_ms - record.ttl_ms if plausible else since_heartbeat,
        expires_in_ms=None if record.ttl_ms < 0 else record.ttl_ms,
        should_run=_wanted(status.desired_state, status.connection_state),
    )
    if since_heartbeat > ttl_ms:
        return _outlived(card, record, status)
    is_late = (card.age_ms or 0) >= 2 * (status.heartbeat_interval_ms or FOREIGN_INTERVAL_MS)
    health = _health_of_state(status.connection_state, is_late=is_late)
    by, at = _stop_of(_from_status(status, "status")) if health is Health.STOPPED else (None, None)
    payload = _on_one_line(record.status) if isinstance(record.status, bytes) else None
    return msgspec.structs.replace(card, health=health, status=status, payload=payload, stopped_by=by, stopped_at=at)


def _on_one_line(payload: bytes) -> bytes:
    """The payload without line breaks: other programs may indent it, and streams of answers end at one."""
    return msgspec.json.format(payload, indent=-1) if b"\n" in payload or b"\r" in payload else payload


def _outlived(card: Card, record: Record, status: InstanceStatus) -> Card:
    """The key is still there although its lease is over: another program wrote it without a TTL, or extended it."""
    reason = "its key has no TTL and stays until somebody deletes it" if record.ttl_ms == -1 else card.reason
    return msgspec.structs.replace(
        card,
        health=Health.OFFLINE,
        offline_since=status.last_heartbeat,
        last_known=_from_status(status, "status"),
        reason=reason,
    )


def _health_of_state(state: ConnectionState, *, is_late: bool) -> Health:
    if state is ConnectionState.STOPPED:
        return Health.STOPPED
    if state is ConnectionState.IDLE:
        return Health.IDLE
    if is_late:
        return Health.LATE
    return Health.ACTIVE if state is ConnectionState.ACTIVE else Health.TRANSITION


def _absent(card: Card, previous: Card | None, *, was_blind: bool) -> Card:
    """No status key: never started, given back, lost, or gone too early to tell."""
    known = card.last_known
    if known is None:
        health = Health.UNKNOWN if card.reason else Health.NEVER  # an unreadable `last` is no proof of anything
        return msgspec.structs.replace(card, health=health)
    if known.released_at is not None or known.connection_state == ConnectionState.STOPPED:
        by, at = _stop_of(known)
        return msgspec.structs.replace(card, health=Health.STOPPED, stopped_by=by, stopped_at=at)
    until, reason = _unknown_until(card, known, previous, was_blind=was_blind)
    if card.observed_ms < until:
        return msgspec.structs.replace(card, reason=reason, unknown_until_ms=until)
    return msgspec.structs.replace(card, health=Health.OFFLINE, offline_since=known.last_heartbeat)


def _unknown_until(card: Card, known: LastKnown, previous: Card | None, *, was_blind: bool) -> tuple[int, str | None]:
    """Until when a missing key proves nothing, and why: an interval past the expiry observed, if it vanished before.

    One that vanished while nobody could read the store proves nothing for an interval either.
    """
    if previous is not None and previous.unknown_until_ms is not None:
        return previous.unknown_until_ms, previous.reason
    interval_ms = known.heartbeat_interval_ms or FOREIGN_INTERVAL_MS
    expiry = 0
    if known.last_heartbeat is not None:
        expiry = unix_ms(known.last_heartbeat) + (known.ttl_ms or FOREIGN_TTL_MS)
    if previous is not None and previous.expires_in_ms is not None:
        expiry = max(expiry, previous.observed_ms + previous.expires_in_ms)
    if card.observed_ms < expiry:
        return expiry + interval_ms, VANISHED
    was_unread = previous is not None and previous.health is Health.UNKNOWN
    if previous is not None and previous.online and (was_blind or was_unread):
        return card.observed_ms + interval_ms, RAN_OUT_UNSEEN
    return 0, None


def _wanted(desired: DesiredState | None, state: str | None) -> bool:
    """Whether the exchange should run: as last asked for; where nobody said, as its state suggests."""
    if desired is not None:
        return desired.state == "running"
    return state not in (None, ConnectionState.IDLE, ConnectionState.STOPPED)


def _stop_of(known: LastKnown) -> tuple[str | None, str | None]:
    """By whom and when the exchange was stopped: the stop command's, else who released the lease."""
    desired = known.desired_state
    if desired is not None and desired.state == "stopped":
        return desired.by or None, desired.at or known.last_state_change
    return known.released_by, known.released_at or known.last_state_change or known.timestamp


def _status(record: Record) -> tuple[InstanceStatus | None, str | None]:
    """The payload, or why it cannot be read."""
    if not isinstance(record.status, bytes):
        return None, "nothing was read"
    try:
        status = decode_status(record.status, "")
        record.status.decode()  # fields unknown to us are handed on, so they must be text as well
    except UnreadableKey as error:
        return None, error.reason
    except UnicodeDecodeError as error:
        return None, str(error)
    if status.exchange_name != record.exchange.name:
        return None, f'it names exchange "{status.exchange_name}": two databases gave id {record.exchange.id} to two'
    fault = _not_a_moment(status.last_heartbeat)
    return (None, fault) if fault else (status, None)


def _snapshot(last: bytes | PerseusError | None) -> tuple[InstanceStatus | None, str | None]:
    """The `last` snapshot, or why it cannot be read."""
    if last is None:
        return None, None
    if isinstance(last, PerseusError):
        return None, f"its last snapshot cannot be read: {last}"
    try:
        status = decode_status(last, "")
    except UnreadableKey as error:
        return None, f"its last snapshot cannot be read: {error.reason}"
    fault = _not_a_moment(status.last_heartbeat)
    return (None, f"its last snapshot cannot be read: {fault}") if fault else (status, None)


def _not_a_moment(text: str) -> str | None:
    try:
        unix_ms(text)
    except ValueError:
        return f"lastHeartbeat {text[:40]!r} is not a timestamp with zone"
    return None


def _last_known(newest: Entry | None, last: InstanceStatus | None) -> LastKnown | None:
    """The last snapshot; where there is none, or a tenure without one came later, the newest log entry (UI-03)."""
    if newest is not None and (last is None or _is_of_a_later_tenure(newest, last)):
        return _from_entry(newest)
    return None if last is None else _from_status(last, "last")


def _remembered(previous: Card | None) -> LastKnown | None:
    """What this observer saw before: the store may have lost everything it knew."""
    if previous is None:
        return None
    return _from_status(previous.status, "status") if previous.status is not None else previous.last_known


def _newest_known(told: LastKnown | None, remembered: LastKnown | None) -> LastKnown | None:
    """What the store tells, unless it came back with old data and tells of a tenure before the one we saw."""
    if told is None or remembered is None:
        return told or remembered
    went_back = told.epoch is not None and told.epoch < (remembered.epoch or 0)
    return remembered if went_back else told


def _is_of_a_later_tenure(entry: Entry, last: InstanceStatus) -> bool:
    return (
        entry.fields.get("event") == "state_transition"
        and entry.fields.get("instanceId", "") != (last.instance_id or "")
        and entry.order[0] > unix_ms(last.last_heartbeat)
    )


def _from_status(status: InstanceStatus, source: str) -> LastKnown:
    facts = {name: getattr(status, name) for name in LastKnown.__struct_fields__ if hasattr(status, name)}
    return LastKnown(source=source, **facts)


def _from_entry(entry: Entry) -> LastKnown:
    facts = status_of_entry(entry.fields)
    heartbeat = entry.fields.get("lastHeartbeat") or None
    epoch = facts["epoch"]
    return LastKnown(
        source="log",
        connection_state=facts["state"] or None,
        last_heartbeat=None if heartbeat is None or _not_a_moment(heartbeat) else heartbeat,
        timestamp=facts["timestamp"] or _moment_of(entry),
        hostname=facts["hostname"] or None,
        ip_address=facts["ip"] or None,
        admin_email=facts["adminEmail"] or None,
        instance_id=facts["instanceId"] or None,
        epoch=int(epoch) if epoch.isdecimal() and len(epoch) <= _LONGEST_EPOCH else None,
        last_error=entry.fields.get("error") or None,
    )


def _moment_of(entry: Entry) -> str | None:
    """When it was appended; None for an id of another program's making that is no moment."""
    try:
        return iso(entry.order[0])
    except OverflowError:
        return None


def _progress(warmup: bytes | PerseusError | None) -> tuple[WarmupProgress | None, str | None]:
    """The warm-up report, or why it cannot be read: only its own answer says so, a card does without."""
    if warmup is None:
        return None, None
    if isinstance(warmup, PerseusError):
        return None, str(warmup)
    try:
        return msgspec.json.decode(warmup, type=WarmupProgress), None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return None, str(error)
