"""A message as Discord takes it: a plain headline, which is what a phone shows, and what else is needed. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from perseus.clock import iso
from perseus.notify import details, headlines
from perseus.notify.lengths import CONTENT, DESCRIPTION, FIELD_NAME, FIELD_VALUE, FIELDS, TITLE, URL, cut, joined
from perseus.notify.queue import Send, is_loud, is_over
from perseus.notify.state import Message

SUPPRESS_NOTIFICATIONS = 4096
_SIMULATED = "Simulated: "
_GREEN, _BLUE, _AMBER, _RED, _GREY, _VIOLET = 0x2DA675, 0x0064E3, 0xBF8717, 0xA7252A, 0x676B79, 0x522D67
_COLOURS = {
    "active": _GREEN,
    "recovered": _GREEN,
    "stable": _GREEN,
    "promoted": _GREEN,
    "handed_over": _GREEN,
    "starting": _BLUE,
    "warming": _BLUE,
    "stopping": _BLUE,
    "stopped": _GREY,
    "switched_off": _GREY,
    "error": _AMBER,
    "flapping": _RED,
    "offline": _RED,
    "lease_lost": _RED,
    "lease_lapsed": _RED,
}


def payload(
    send: Send, *, now_ms: int, mention_role: str, public_url: str, is_simulated: bool = False
) -> dict[str, Any]:
    """The body that creates or edits the message. `mention_role`: a role's id, mentioned in loud messages only.

    What is simulated says so, and mentions nobody.
    Of every text in the message only the mention is not escaped or ours. An edit says nothing of notifications:
    Discord does not let them be changed.
    """
    message = send.message
    mention = f" <@&{mention_role}>" if mention_role and is_loud(message) and not is_simulated else ""
    headline = (_SIMULATED if is_simulated else "") + headlines.headline(message, is_late=send.is_late)
    body: dict[str, Any] = {
        "content": cut(headline, CONTENT - len(mention)) + mention,
        "embeds": [_embed(send, now_ms=now_ms, public_url=public_url)],
        "allowed_mentions": {"parse": [], "roles": [mention_role]} if mention else {"parse": []},
    }
    if send.edits is None and not is_loud(message) and message.kind != "test":
        body["flags"] = SUPPRESS_NOTIFICATIONS
    return body


def plain(payload: dict[str, Any]) -> dict[str, Any]:
    """The same as text alone, for when Discord refuses the embed. An edit takes the embed away that was there."""
    parts = [payload["content"]]
    for embed in payload["embeds"]:
        parts += [
            embed.get("description", ""),
            *(f"{each['name']}: {each['value']}" for each in embed.get("fields", ())),
        ]
    lines = "\n".join(part for part in parts if part).split("\n")
    return {**payload, "content": joined(lines, CONTENT, between="\n", more=lambda _: "…"), "embeds": []}


def _embed(send: Send, *, now_ms: int, public_url: str) -> dict[str, Any]:
    message = send.message
    embed: dict[str, Any] = {
        "title": cut(_title(message), TITLE),
        "description": cut(details.description(send, now_ms=now_ms), DESCRIPTION),
        "color": _colour(message),
        "timestamp": iso(message.opened_ms),
        "fields": [
            {"name": cut(name, FIELD_NAME), "value": cut(value, FIELD_VALUE), "inline": is_short}
            for name, value, is_short in details.fields(message)[:FIELDS]
        ],
    }
    url = _url(message, public_url)
    if url:
        embed["url"] = url
    return {name: value for name, value in embed.items() if value not in ("", [])}


def _title(message: Message) -> str:
    if len(message.lines) == 1:
        return headlines.name(message.lines[0])
    return f"{len(message.lines)} exchanges" if message.lines else "Perseus"


def _colour(message: Message) -> int:
    """By what is worst now; of outages that have all ended: what ended them."""
    if message.kind == "test":
        return _BLUE
    phases = [line.phase for line in message.lines if line.until_ms is None] or [line.phase for line in message.lines]
    if is_over(message):
        return _GREY if all(phase in ("stopped", "switched_off") for phase in phases) else _GREEN
    order = (_RED, _AMBER, _BLUE, _GREY, _GREEN)
    return min((_COLOURS[phase] for phase in phases), key=order.index, default=_VIOLET)


def _url(message: Message, public_url: str) -> str:
    """The page to look at; none where Discord would refuse the whole message for it, as it does for bare host names."""
    if "." not in (urlsplit(public_url).hostname or ""):
        return ""
    name = quote(message.lines[0].exchange_name, safe="", errors="replace") if len(message.lines) == 1 else ""
    url = f"{public_url.rstrip('/')}/network/{name}".rstrip("/")
    return url if len(url) <= URL else ""
