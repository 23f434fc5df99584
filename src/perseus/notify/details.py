"""What stands below the headline: of one exchange its fields, of several a line for each. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from perseus.notify import headlines
from perseus.notify.lengths import DESCRIPTION, joined, units
from perseus.notify.markdown import ago, escaped, moment
from perseus.notify.queue import Send
from perseus.notify.state import Kind, Line, Message

_REASON_LENGTH = 500
_SHORT_REASON_LENGTH = 120
_HOST_LENGTH = 100
_OF_INSTANCES = {"signal": "its process was told to end", "process start": "its process was started"}
_MOST_LINES = 25  # more are not read


class Field(NamedTuple):
    """A fact with its name. `is_short`: others may stand beside it."""

    name: str
    value: str
    is_short: bool = True


def description(send: Send, *, now_ms: int) -> str:
    """What a person needs to know beyond the headline, as text."""
    message = send.message
    remarks = []
    if message.kind == "test":
        remarks.append(
            f"Asked for by {escaped(message.asked_by) or 'somebody'}. Nothing is wrong, nothing is to be done."
        )
    elif len(message.lines) == 1:
        remarks += [_explanation(message.lines[0]), _what_to_do(message.lines[0])]
    if send.is_late:
        remarks.append(f"Delivered {headlines.lasting(now_ms - message.opened_ms)} late.")
    rest = "\n".join(remark for remark in remarks if remark)
    if len(message.lines) < 2:
        return rest
    return "\n".join(part for part in (_lines(message, DESCRIPTION - units(rest) - 1), rest) if part)


def fields(message: Message) -> list[Field]:
    """The facts of a message about one exchange; those that are not known are left out."""
    return [field for line in message.lines for field in _facts(line) if field.value] if len(message.lines) == 1 else []


def _facts(line: Line) -> Iterator[Field]:
    yield Field("Host", escaped(line.hostname, _HOST_LENGTH))
    yield Field("IP", escaped(line.ip, _HOST_LENGTH))
    yield Field("Admin", escaped(line.admin_email, _HOST_LENGTH))
    yield Field("State before", escaped(line.last_state, _HOST_LENGTH))
    yield Field(*_successor(line))
    yield Field("Muted until", moment(line.muted_until_ms) if line.muted_until_ms is not None else "")
    yield Field("Acknowledged by", _in_hand(line), is_short=not line.acknowledged_reason)
    yield Field(
        "Last error" if line.phase == "error" else "Reason", escaped(_plain(line), _REASON_LENGTH), is_short=False
    )


def _plain(line: Line) -> str:
    """Why, in words for people: instances give reasons of their own in one or two."""
    return _OF_INSTANCES.get(line.detail, line.detail)


def _in_hand(line: Line) -> str:
    """Who has it, and what they said of it."""
    why = f": {escaped(line.acknowledged_reason, _SHORT_REASON_LENGTH)}" if line.acknowledged_reason else ""
    return escaped(line.acknowledged_by, _HOST_LENGTH) + why


def _successor(line: Line) -> tuple[str, str]:
    """Who is bringing the exchange back, or has it now."""
    if line.until_ms is None and line.phase not in ("promoted", "handed_over"):
        return "Coming back", headlines.coming(line)
    return "Served by", escaped(line.next_hostname, _HOST_LENGTH)


def _explanation(line: Line) -> str:
    """When it was, and what it means for somebody who does not know the words."""
    if line.until_ms is not None:
        lasted = headlines.lasting(line.until_ms - line.since_ms)
        return f"From <t:{line.since_ms // 1000}:f> to <t:{line.until_ms // 1000}:f>, {lasted}."
    match line.phase:
        case "offline":
            return f"Last heartbeat {moment(line.since_ms)}. No instance serves it."
        case "lease_lost":
            return f"Since {moment(line.since_ms)}. The instance that served it is not allowed to any more."
        case "lease_lapsed":
            return f"Since {moment(line.since_ms)}. The store has lost the lease; the same instance asks for it again."
        case "flapping":
            return f"Since {moment(line.since_ms)}. You hear of it again when it is stable, or when it stays down."
        case _:
            return f"Since {moment(line.since_ms)}."


def _what_to_do(line: Line) -> str:
    """The first thing to do about an open outage that nobody has yet."""
    if not line.incident_id or line.until_ms is not None or line.acknowledged_by:
        return ""
    return f"Tell the others that you look into it: `perseus incidents ack {line.exchange_name}`"


def _lines(message: Message, limit: int) -> str:
    """A line for each exchange, those that are down first; shorter ones if there are many, and the rest counted."""
    lines = sorted(message.lines, key=lambda line: line.until_ms is not None)
    if len(lines) <= _MOST_LINES:
        full = "\n".join(_line(line, message.kind) for line in lines)
        if units(full) <= limit:
            return full
    short = [_line(line, message.kind, is_short=True) for line in lines[:_MOST_LINES]]
    only_counted = [""] * (len(lines) - len(short))
    return joined([*short, *only_counted], limit, between="\n", at_most=_MOST_LINES)


def _line(line: Line, kind: Kind, *, is_short: bool = False) -> str:
    """`**Kraken** is offline, last heartbeat 3 minutes ago · fra-1 (203.0.113.7) · was active · …`."""
    state = headlines.said(line, kind)
    if line.until_ms is None:
        state += f", {'last heartbeat' if line.phase == 'offline' else 'since'} {ago(line.since_ms)}"
    host = escaped(line.hostname, _HOST_LENGTH)
    parts = [f"**{headlines.name(line)}** {state}", *([host] if host not in state else [])]
    if not is_short:
        parts += [escaped(line.ip, _HOST_LENGTH), *_remarks(line)]
    return " · ".join(part for part in parts if part)


def _remarks(line: Line) -> Iterator[str]:
    yield escaped(line.admin_email, _HOST_LENGTH)
    yield f"was {escaped(line.last_state, _HOST_LENGTH)}" if line.last_state else ""
    yield escaped(_plain(line), _SHORT_REASON_LENGTH)
    if line.until_ms is None:
        yield headlines.coming(line)
    yield f"acknowledged by {_in_hand(line)}" if line.acknowledged_by else ""
    yield f"muted until <t:{line.muted_until_ms // 1000}:f>" if line.muted_until_ms is not None else ""
