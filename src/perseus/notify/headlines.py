"""The one line a phone shows at 3 am: which exchanges, what is the matter with them, whether it is over. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from perseus.notify.lengths import joined
from perseus.notify.markdown import escaped
from perseus.notify.queue import OUTAGES
from perseus.notify.state import Kind, Line, Message

NAMES_LENGTH = 200  # of all names in one sentence
NAME_LENGTH = 64
_LEASE = ("lease_lost", "lease_lapsed")
_OF_OUTAGES = (*OUTAGES, "reminder", "flapping")


class _Said(NamedTuple):
    """What is said of one exchange, and of several."""

    of_one: str
    of_several: str


_SAID = {
    "starting": _Said("is starting", "are starting"),
    "warming": _Said("is warming up", "are warming up"),
    "active": _Said("is active", "are active"),
    "stopping": _Said("is stopping", "are stopping"),
    "stopped": _Said("is stopped", "are stopped"),
    "switched_off": _Said("is switched off", "are switched off"),
    "offline": _Said("is offline", "are offline"),
    "lease": _Said("has lost its lease", "have lost their leases"),
    "down": _Said("is down", "are down"),
    "still offline": _Said("is still offline", "are still offline"),
    "still lease": _Said("is still without a lease", "are still without a lease"),
    "still flapping": _Said("is still flapping", "are still flapping"),
    "still down": _Said("is still down", "are still down"),
    "was down": _Said("was down", "were down"),
    "lost": _Said("went offline while starting or stopping", "went offline while starting or stopping"),
    "back": _Said("is back", "are back"),
    "recovered": _Said("is active again", "are active again"),
    "stable": _Said("is stable again", "are stable again"),
    "error": _Said("reports errors", "report errors"),
    "flapping": _Said("is flapping", "are flapping"),
    "promoted": _Said("is served by its standby now", "are served by their standbys now"),
    "handed_over": _Said("was handed over", "were handed over"),
}


def headline(message: Message, *, is_late: bool) -> str:
    """What happened, in one sentence without a full stop."""
    if message.kind == "test":
        return "Test message: alerts from Perseus arrive here"
    if not message.lines:
        return "Nothing to tell any more"
    text = _outages(message) if message.kind in _OF_OUTAGES else "; ".join(_grouped(message))
    return f"{text}, delivered late" if is_late else text


def name(line: Line) -> str:
    """The exchange's name, for people."""
    return escaped(line.display_name or line.exchange_name, NAME_LENGTH) or "An exchange without a name"


def lasting(ms: int) -> str:
    """A duration: `45s`, `3m12s`, `4h23m`, `2d4h`."""
    seconds = max(0, ms) // 1000
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if days:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60}m"
    return f"{minutes}m{seconds % 60}s" if minutes else f"{seconds}s"


def said(line: Line, kind: Kind) -> str:
    """What a message of this kind says of one exchange, without its name."""
    text = _SAID[_subject(line, kind)].of_one
    host = escaped(line.next_hostname or line.hostname, NAME_LENGTH)
    lasted = lasting((line.until_ms or line.since_ms) - line.since_ms)
    match _subject(line, kind):
        case "was down":
            text = f"was flapping for {lasted}" if line.count else f"was down {lasted}"
            text += {"stopped": ", then stopped", "switched_off": ", then switched off"}.get(line.phase, "")
        case "recovered":
            text += f" after {lasted}"
        case "flapping":
            text += f" ({line.count} changes), {'up' if line.is_up else 'down'} now"
        case "error":
            text = f"reports {line.count} errors" if line.count > 1 else "reports an error"
        case "starting" | "warming" | "active" if host:
            text += f" on {host}"
        case "promoted" if host:
            text = f"is served by {host} now, its standby"
        case "handed_over" if host:
            text += f" to {host}"
    return text


def _subject(line: Line, kind: Kind) -> str:
    """Under what `_SAID` has it."""
    if kind in ("started", "stopped") and line.phase in ("offline", *_LEASE):
        return "lost"
    if kind in _OF_OUTAGES and line.until_ms is not None:
        return "was down"
    return "lease" if line.phase in _LEASE else line.phase


def coming(line: Line) -> str:
    """Who is bringing the exchange back, and how far they are; empty if nobody is known to."""
    if not line.next_hostname:
        return ""
    phase = _SAID.get(line.next_phase)
    return f"{escaped(line.next_hostname, NAME_LENGTH)} {phase.of_one if phase else 'takes over'}"


def _outages(message: Message) -> str:
    """Those that are down first; of those that are over only that they are, unless all are."""
    down = [line for line in message.lines if line.until_ms is None]
    over = [line for line in message.lines if line.until_ms is not None]
    if not down:
        several = len(over) > 1
        return (
            _several(over, "was down", of=message.of) if several else f"{name(over[0])} {said(over[0], message.kind)}"
        )
    if len(down) > 1:
        return "; ".join([_several(down, _common(down, message), of=message.of), *_ended(over)])
    line = down[0]
    text = f"{name(line)} {said(line, message.kind)}"
    if line.phase == "offline" and line.hostname:
        text += f", last on {escaped(line.hostname, NAME_LENGTH)}"
    if message.kind == "reminder":
        after = lasting(message.opened_ms - line.since_ms)
        text = f"{name(line)} {_SAID[_common(down, message)].of_one} after {after}"
    return "; ".join([text, *([coming(line)] if coming(line) else []), *_ended(over)])


def _common(down: Sequence[Line], message: Message) -> str:
    """What can be said of all of them together."""
    phases = {_subject(line, message.kind) for line in down}
    still = "still " if message.kind == "reminder" else ""
    common = still + (phases.pop() if len(phases) == 1 else "down")
    return common if common in _SAID else f"{still}down"


def _ended(over: Sequence[Line]) -> list[str]:
    """`Binance is back`, `Kraken, Coinbase are stopped`."""
    ends: dict[str, list[Line]] = {}
    for line in over:
        ends.setdefault(line.phase if line.phase in ("stopped", "switched_off") else "back", []).append(line)
    return [f"{_names(lines)} {_agreeing(lines, end)}" for end, lines in ends.items()]


def _grouped(message: Message) -> list[str]:
    """One clause for all that the same can be said of."""
    groups: dict[str, list[Line]] = {}
    for line in message.lines:
        groups.setdefault(_subject(line, message.kind), []).append(line)
    return [
        f"{name(lines[0])} {said(lines[0], message.kind)}" if len(lines) == 1 else _several(lines, subject, of=0)
        for subject, lines in groups.items()
    ]


def _several(lines: Sequence[Line], phase: str, *, of: int) -> str:
    """`3 of 8 exchanges are offline: Kraken, Binance, Coinbase`."""
    count = f"{len(lines)} of {of}" if len(lines) < of else f"All {of}" if len(lines) == of else str(len(lines))
    return f"{count} exchanges {_agreeing(lines, phase)}: {_names(lines)}"


def _agreeing(lines: Sequence[Line], phase: str) -> str:
    return _SAID[phase].of_one if len(lines) == 1 else _SAID[phase].of_several


def _names(lines: Sequence[Line]) -> str:
    return joined([name(line) for line in lines], NAMES_LENGTH, between=", ")
