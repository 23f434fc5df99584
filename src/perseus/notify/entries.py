"""What an entry of an activity log says, as values. Pure. Other programs write entries too, so nothing is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from perseus.clock import unix_ms
from perseus.notify.state import Cause, Line, LogEvent, Phase, Told

TENURES_KEPT = 8  # whose numbers and ends are remembered, of each exchange
_LONGEST_NUMBER = 18  # digits
_NAME_LENGTH, _TEXT_LENGTH = 200, 500


class Entry(NamedTuple):
    """One entry of a log. `tenure`: whose; `epoch` and `seq` are None where the writer left them out or wrote none."""

    exchange_id: int
    exchange_name: str
    display_name: str
    id: str
    at_ms: int
    event: str = ""
    tenure: str = ""
    epoch: int | None = None
    seq: int | None = None
    hostname: str = ""
    ip: str = ""
    admin_email: str = ""
    reason: str = ""
    fields: Mapping[str, str] = {}

    def text(self, name: str) -> str:
        """A field of this event; `""` if it has none."""
        return _cut(self.fields.get(name, ""), _TEXT_LENGTH)

    def number(self, name: str) -> int | None:
        """A field that is a number; None for anything else."""
        return _number(self.fields.get(name, ""))


class Loss(NamedTuple):
    """How an exchange stopped being served although nobody wanted that. `id`: the incident's, should it be new."""

    id: str
    cause: Cause
    at_ms: int
    since_ms: int
    epoch: int | None = None
    hostname: str = ""
    ip: str = ""
    admin_email: str = ""
    last_state: str = ""
    detail: str = ""


def read(event: LogEvent, *, now_ms: int) -> Entry:
    """The entry as values. One from a clock that is ahead counts as of now."""
    fields = event.fields
    instance_id, epoch = fields.get("instanceId", ""), fields.get("epoch", "")
    return Entry(
        exchange_id=event.exchange_id,
        exchange_name=event.exchange_name,
        display_name=event.display_name,
        id=event.id,
        at_ms=min(event.ms, now_ms),
        event=fields.get("event", ""),
        tenure=_cut(f"{instance_id}:{epoch}", _NAME_LENGTH) if instance_id else "",
        epoch=_number(epoch),
        seq=_number(fields.get("seq", "")),
        hostname=_cut(fields.get("hostname", ""), _NAME_LENGTH),
        ip=_cut(fields.get("ip", ""), _NAME_LENGTH),
        admin_email=_cut(fields.get("adminEmail", ""), _NAME_LENGTH),
        reason=_cut(fields.get("reason", ""), _TEXT_LENGTH),
        fields=fields,
    )


def loss_of(entry: Entry, *, cause: Cause, last_state: str, detail: str = "") -> Loss:
    """The loss that an entry tells of. It began at the last heartbeat, where that is known."""
    return Loss(
        id=f"{entry.exchange_name}-{entry.id}",
        cause=cause,
        at_ms=entry.at_ms,
        since_ms=min(_moment(entry.fields.get("lastHeartbeat", ""), default=entry.at_ms), entry.at_ms),
        epoch=entry.epoch,
        hostname=entry.hostname,
        ip=entry.ip,
        admin_email=entry.admin_email,
        last_state=last_state,
        detail=detail,
    )


def line_of_entry(entry: Entry, phase: Phase, *, detail: str, next_hostname: str = "", count: int = 0) -> Line:
    """What a message says of the exchange of an entry, and of whoever wrote it."""
    return Line(
        exchange_id=entry.exchange_id,
        exchange_name=entry.exchange_name,
        display_name=entry.display_name,
        phase=phase,
        since_ms=entry.at_ms,
        hostname=entry.hostname,
        ip=entry.ip,
        admin_email=entry.admin_email,
        next_hostname=next_hostname,
        detail=detail,
        count=count,
    )


def is_repeated(told: Told, entry: Entry) -> bool:
    """Whether this entry was taken before: by its place in the log, or by its number in its tenure (a retry)."""
    if told.last_id and _order(entry.id) <= _order(told.last_id):
        return True
    return _is_numbered_among(told, entry)


def is_known(told: Told, event: LogEvent) -> bool:
    """Whether an entry was taken before by what it says, whatever its place in the log: by its number, or as an end."""
    entry = read(event, now_ms=event.ms)
    is_end = entry.event == "instance_lost" and str(entry.epoch) in told.losses
    return is_end or _is_numbered_among(told, entry)


def _is_numbered_among(told: Told, entry: Entry) -> bool:
    return bool(entry.tenure) and entry.seq is not None and entry.seq <= told.seqs.get(entry.tenure, -1)


def noted(told: Told, entry: Entry) -> Told:
    """What is remembered of an entry whatever it tells."""
    seqs = told.seqs
    if entry.tenure and entry.seq is not None:
        others = {tenure: seq for tenure, seq in seqs.items() if tenure != entry.tenure}
        seqs = dict([*others.items(), (entry.tenure, entry.seq)][-TENURES_KEPT:])
    return replace(
        told,
        exchange_name=entry.exchange_name,
        display_name=entry.display_name,
        last_id=entry.id,
        epoch=max(told.epoch, entry.epoch or 0),
        seqs=seqs,
        disagreeing_ms=None,
    )


def ended(told: Told, epoch: int | None) -> Told | None:
    """What is remembered of the end of a tenure; None: it was taken before."""
    if epoch is None:
        return told
    if str(epoch) in told.losses:
        return None
    return replace(told, losses=(*told.losses, str(epoch))[-TENURES_KEPT:])


def is_over(told: Told, entry: Entry) -> bool:
    """Whether the tenure that tells this is over: what it did then no longer changes how things are."""
    return entry.epoch is not None and (entry.epoch < told.epoch or str(entry.epoch) in told.losses)


def _order(stream_id: str) -> tuple[int, int]:
    ms, _, seq = stream_id.partition("-")
    return int(ms), int(seq or 0)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else None


def _moment(text: str, *, default: int) -> int:
    try:
        return max(0, unix_ms(text))
    except (ValueError, OverflowError):
        return default
