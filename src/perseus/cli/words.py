"""Cards and entries in words: what `status`, `up` and `log` print. Pure but for colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from perseus.cli.output import glyph, painted
from perseus.clock import iso, unix_ms
from perseus.model import ConnectionState, InstanceStatus, WarmupProgress
from perseus.network.cards import Card, Health, LastKnown
from perseus.network.feed import FeedEntry


class _Look(NamedTuple):
    symbol: str
    plain: str
    colour: str | None
    word: str


_LOOKS = {
    Health.ACTIVE: _Look("●", "+", "green", "active"),
    Health.TRANSITION: _Look("◐", "~", "blue", "changing"),
    Health.LATE: _Look("▲", "!", "yellow", "late"),
    Health.OFFLINE: _Look("✖", "X", "red", "offline"),
    Health.STOPPED: _Look("■", "=", "bright_black", "stopped"),
    Health.IDLE: _Look("■", "=", "bright_black", "idle"),
    Health.NEVER: _Look("○", "o", "bright_black", "never started"),
    Health.UNREADABLE: _Look("?", "?", "magenta", "unreadable"),
    Health.UNKNOWN: _Look("?", "?", "magenta", "unknown"),
}
_LOADING = "loading symbols"


def duration(ms: float) -> str:
    """`12s`, `4m 10s`, `4h 23m`, `3d 4h`: the two largest units."""
    seconds = max(0, int(ms // 1000))
    units = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))
    parts: list[str] = []
    for size, letter in units:
        count, seconds = divmod(seconds, size)
        if count or parts or letter == "s":
            parts.append(f"{count}{letter}")
    return " ".join(part for part in parts[:2] if not part.startswith("0") or len(parts) == 1)


def since(moment: str | None, *, now_ms: int) -> str | None:
    """How long ago an ISO moment was; None if it is none."""
    try:
        return duration(now_ms - unix_ms(moment)) if moment else None
    except ValueError:
        return None


def word(card: Card) -> str:
    """The card's one word: a transition is called by its state."""
    if card.health is Health.TRANSITION and card.status is not None:
        return card.status.connection_state.value
    return _LOOKS[card.health].word


def counted(cards: Sequence[Card]) -> Sequence[Card]:
    """Those that count, as on the pages: not what is switched off, unless nothing else was asked for."""
    return [card for card in cards if card.exchange.is_active] or cards


def headline(cards: Sequence[Card], *, observed_ms: int, is_simulated: bool = False) -> str:
    """Is anything wrong? `1 of 3 need attention · kraken offline 4m · 1 active · observed 03:12:05Z`.

    Of a simulated network it begins with that word, as in Discord and in the tab of a browser.
    """
    cards = counted(cards)
    wrong = [card for card in cards if card.needs_attention]
    in_order = sorted(cards, key=lambda card: list(Health).index(card.health))
    fine = [word(card) for card in in_order if not card.needs_attention]
    if wrong:
        parts = [f"{len(wrong)} of {len(cards)} {'needs' if len(wrong) == 1 else 'need'} attention"]
    else:
        parts = ["All is well" if "active" in fine else "Nothing is running"]
    for card in wrong:
        lasting = since(card.offline_since or card.stopped_at, now_ms=observed_ms)
        parts.append(f"{card.exchange.name} {word(card)}{f' {lasting}' if lasting else ''}")
    parts += [f"{fine.count(each)} {each}" for each in dict.fromkeys(fine)]
    says = " · ".join([*parts, f"observed {iso(observed_ms)[11:19]}Z"])
    return f"Simulated: {says}" if is_simulated else says


def block(card: Card, *, now_ms: int) -> list[str]:
    """The card in a few lines: name, state and since when; who; how much and how fresh; what is wrong. Never blank."""
    look = _LOOKS[card.health]
    mark = painted(glyph(look.symbol, look.plain), look.colour, bold=True)
    first = (
        f"{mark} {painted(f'{card.exchange.display_name:<12}', bold=True)} {word(card):<14} {_lasting(card, now_ms)}"
    )
    shown = card.status or card.last_known
    lines = [first.rstrip()]
    if shown is not None:
        stale = "" if card.status else "last known: "
        lines.append(f"  {painted(stale + _who(shown), dim=bool(stale))}")
        lines.append(f"  {painted(_how_fresh(card, now_ms), dim=bool(stale))}")
    return lines + [f"  {remark}" for remark in _remarks(card, now_ms)]


def _lasting(card: Card, now_ms: int) -> str:
    """Since when the card's word is true."""
    if card.health is Health.OFFLINE:
        lasting = since(card.offline_since, now_ms=now_ms)
        return f"for {lasting}" if lasting else ""
    if card.health is Health.STOPPED:
        at = since(card.stopped_at, now_ms=now_ms)
        return " ".join([f"by {card.stopped_by}"] * bool(card.stopped_by) + [f"{at} ago"] * bool(at))
    running = since(card.status.connected_at, now_ms=now_ms) if card.status else None
    return f"running for {running}" if running and card.health is not Health.IDLE else ""


def _who(shown: InstanceStatus | LastKnown) -> str:
    name, email = shown.admin_display_name, shown.admin_email
    admin = f"{name} <{email}>" if name and email else name or email
    host = f"host {shown.hostname}" if shown.hostname else "host unknown"
    ip = f"IP {shown.ip_address}" if shown.ip_address else "IP unknown"
    return f"{host} · {ip} · {f'admin {admin}' if admin else 'admin not set'}"


def _how_fresh(card: Card, now_ms: int) -> str:
    """`25 symbols · heartbeat 12s ago · offline in 33s`, or when the instance was last seen and in which state."""
    shown = card.status or card.last_known
    parts = [_how_many(shown)] if shown else []
    if card.status is not None:
        parts.append(f"heartbeat {duration(card.age_ms or 0)} ago")
        parts.append("no expiry" if card.expires_in_ms is None else f"offline in {duration(card.expires_in_ms)}")
    elif card.last_known is not None:
        seen = since(card.last_known.last_heartbeat or card.last_known.timestamp, now_ms=now_ms)
        parts.append(f"was {card.last_known.connection_state or 'in an unknown state'}")
        parts.append(f"seen {seen} ago" if seen else "")
    return " · ".join(part for part in parts if part)


def _how_many(shown: InstanceStatus | LastKnown) -> str:
    """`25 symbols`; before they are chosen no number: 0 would be none, and those asked for are not there yet."""
    if shown.symbol_count == 0 and shown.connection_state in (ConnectionState.STARTING, ConnectionState.WARMING):
        return _LOADING if isinstance(shown, InstanceStatus) else ""
    return "" if shown.symbol_count is None else symbols(shown.symbol_count)


def _host(hostname: str | None, ip: str | None) -> str:
    return f"{hostname} ({ip})" if hostname and ip else hostname or ip or ""


def _remarks(card: Card, now_ms: int) -> list[str]:
    remarks = [] if card.exchange.is_active else ["switched off in the database, so not counted"]
    shown: InstanceStatus | LastKnown | None = card.status or card.last_known
    warmup = under_way(card)
    if warmup is not None:
        remarks.append(f"warm-up {progress(warmup)}")
    if shown is not None and shown.last_error:
        when = since(shown.last_error_at, now_ms=now_ms)
        remarks.append(f"last error{f' {when} ago' if when else ''}: {shown.last_error}")
    if card.reason:
        remarks.append(card.reason)
    return remarks


def symbols(count: int) -> str:
    """`1 symbol`, `25 symbols`."""
    return f"{count} symbol{'' if count == 1 else 's'}"


def under_way(card: Card) -> WarmupProgress | None:
    """The warm-up that is under way, as far as it tells; what is left of the one before is none."""
    is_now = card.status is not None and word(card) == ConnectionState.WARMING
    return card.warmup if is_now and card.warmup and card.warmup.finished_at is None else None


def progress(warmup: WarmupProgress) -> str:
    """`44 % · 11 of 25 symbols · BTC-USDT · 12s left · 1 failed`; `loading symbols` until it is known how many."""
    if not warmup.total and warmup.finished_at is None:
        return _LOADING
    parts = [f"{warmup.percent:.0f} %", f"{warmup.done} of {symbols(warmup.total)}", warmup.current_symbol or ""]
    if warmup.eta_seconds is not None and warmup.finished_at is None:
        parts.append(f"{duration(warmup.eta_seconds * 1000)} left")
    if warmup.failures:
        parts.append(f"{len(warmup.failures)} failed")
    return " · ".join(part for part in parts if part)


def entry_line(entry: FeedEntry) -> str:
    """One line of the feed: when, which exchange, what happened, where."""
    fields = entry.fields
    at = (fields.get("timestamp") or iso(entry.order[0])).replace("T", " ")[:19]
    return f"{painted(at + 'Z', dim=True)}  {entry.exchange_name:<10}  {_happened(fields)}{_where(fields)}"


def _happened(fields: Mapping[str, str]) -> str:
    event = fields.get("event") or "?"
    reason = f" ({fields['reason']})" if fields.get("reason") else ""
    match event:
        case "state_transition":
            return f"{fields.get('fromState') or '?'} → {fields.get('toState') or '?'}{reason}"
        case "error":
            count = f" ({fields['count']} times)" if fields.get("count", "1") not in ("", "1") else ""
            return painted("error", "red") + f" {fields.get('error', '')}{count}"
        case "instance_lost":
            lost = painted("instance lost", "red")
            return (
                f"{lost} while {fields.get('state') or '?'}, last heartbeat {fields.get('lastHeartbeat') or 'unknown'}"
            )
        case "command":
            by = f" by {fields['issuedBy']}" if fields.get("issuedBy") else ""
            return f"command {fields.get('command', '?')}{by}: {fields.get('outcome', '?')}{reason}"
        case _:
            more = [
                f"{name} {fields[name]}" for name in ("holder", "newEpoch", "toInstance", "gapMs") if fields.get(name)
            ]
            return f"{event.replace('_', ' ')}{' · ' if more else ''}{' · '.join(more)}{reason}"


def _where(fields: Mapping[str, str]) -> str:
    host = _host(fields.get("hostname"), fields.get("ip"))
    return painted(f"  {host}", dim=True) if host else ""
