"""What Discord's documentation says a webhook's message may be: every limit of it that we could break.

Source: developers/resources/{message,webhook} of Discord's documentation, API version 10.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

CONTENT, EMBEDS, ALL_EMBEDS, FIELDS = 2000, 10, 6000, 25
USERNAME = 80
EMBED_TEXTS: Mapping[tuple[str, ...], int] = {
    ("title",): 256,
    ("description",): 4096,
    ("footer", "text"): 2048,
    ("author", "name"): 256,
}
FIELD_TEXTS: Mapping[str, int] = {"name": 256, "value": 1024}
FIELD_KEYS = {"name", "value", "inline"}
SUPPRESS_EMBEDS, SUPPRESS_NOTIFICATIONS, COMPONENTS_V2 = 1 << 2, 1 << 12, 1 << 15
KEYS = {"content", "embeds", "allowed_mentions", "flags", "components", "attachments", "poll"}
POST_KEYS = KEYS | {"username", "avatar_url", "tts", "thread_name", "applied_tags"}
EMBED_KEYS = {"title", "type", "description", "url", "timestamp", "color", "footer", "image", "thumbnail"} | {
    "author",
    "fields",
}
_ID = re.compile(r"\d{1,20}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_LINK = re.compile(r"(https?|attachment)://\S+")


class Breach(NamedTuple):
    """One thing Discord would refuse: where, its code, its words."""

    path: tuple[str, ...]
    code: str
    message: str


def breaches(payload: object, *, edits: bool = False) -> list[Breach]:
    """Everything wrong with the payload of a post, or of an edit; empty if Discord takes it.

    Lengths are code points of what is left after trimming, as Discord counts them.
    """
    if not isinstance(payload, dict):
        return [Breach((), "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType.")]
    return [
        *_unknown(payload, KEYS if edits else POST_KEYS, ()),
        *_content(payload),
        *_emptiness(payload, edits=edits),
        *_flags(payload, edits=edits),
        *_embeds(payload),
        *_mentions(payload),
    ]


def error_tree(found: list[Breach]) -> dict[str, Any]:
    """The breaches as Discord answers them: nested by path, each under `_errors`."""
    tree: dict[str, Any] = {}
    for path, code, message in found:
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node.setdefault("_errors", []).append({"code": code, "message": message})
    return tree


def embed_length(embed: Mapping[str, Any]) -> int:
    """What an embed counts towards `ALL_EMBEDS`."""
    texts = [_at(embed, path) for path in EMBED_TEXTS]
    fields = embed.get("fields") or ()
    texts += [field.get(key) for field in fields if isinstance(field, dict) for key in FIELD_TEXTS]
    return sum(len(text.strip()) for text in texts if isinstance(text, str))


def _unknown(value: Mapping[str, Any], known: set[str], path: tuple[str, ...]) -> Iterator[Breach]:
    """Discord ignores them; nothing of ours should be ignored."""
    for key in sorted(set(value) - known):
        yield Breach((*path, key), "UNKNOWN_KEY", "This field does not exist here.")


def _content(payload: Mapping[str, Any]) -> Iterator[Breach]:
    yield from _text(payload.get("content"), CONTENT, ("content",))
    yield from _text(payload.get("username"), USERNAME, ("username",))
    name = payload.get("username")
    if isinstance(name, str) and re.search("discord|clyde", name, re.IGNORECASE):
        yield Breach(("username",), "USERNAME_INVALID_CONTAINS", "Username cannot contain this.")


def _emptiness(payload: Mapping[str, Any], *, edits: bool) -> Iterator[Breach]:
    has_content = bool(str(payload.get("content") or "").strip())
    if not edits and not has_content and not payload.get("embeds"):
        yield Breach((), "EMPTY_MESSAGE", "Cannot send an empty message")


def _flags(payload: Mapping[str, Any], *, edits: bool) -> Iterator[Breach]:
    flags = payload.get("flags", 0)
    allowed = SUPPRESS_EMBEDS | COMPONENTS_V2 | (0 if edits else SUPPRESS_NOTIFICATIONS)
    if not isinstance(flags, int) or isinstance(flags, bool) or flags & ~allowed:
        yield Breach(("flags",), "FLAGS_INVALID", "Only some flags can be set.")
    elif flags & COMPONENTS_V2 and (payload.get("content") or payload.get("embeds")):
        yield Breach(("flags",), "COMPONENTS_V2_ONLY", "With this flag only components can be used.")


def _embeds(payload: Mapping[str, Any]) -> Iterator[Breach]:
    embeds = payload.get("embeds")
    if embeds is None:
        return
    if not isinstance(embeds, list):
        yield Breach(("embeds",), "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
        return
    if len(embeds) > EMBEDS:
        yield Breach(("embeds",), "BASE_TYPE_MAX_LENGTH", f"Must be {EMBEDS} or fewer in length.")
    for at, embed in enumerate(embeds):
        yield from _embed(embed, ("embeds", str(at)))
    if sum(embed_length(embed) for embed in embeds if isinstance(embed, dict)) > ALL_EMBEDS:
        yield Breach(("embeds",), "MAX_EMBED_SIZE_EXCEEDED", f"Embed size exceeds maximum size of {ALL_EMBEDS}")


def _embed(embed: object, path: tuple[str, ...]) -> Iterator[Breach]:
    if not isinstance(embed, dict):
        yield Breach(path, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType.")
        return
    yield from _unknown(embed, EMBED_KEYS, path)
    for where, most in EMBED_TEXTS.items():
        yield from _text(_at(embed, where), most, (*path, *where))
    if not any(embed.get(key) for key in ("title", "description", "fields", "footer", "author", "image", "thumbnail")):
        yield Breach(path, "EMBED_EMPTY", "This embed says nothing.")
    color = embed.get("color", 0)
    if not isinstance(color, int) or isinstance(color, bool) or not 0 <= color <= 0xFFFFFF:
        yield Breach((*path, "color"), "NUMBER_TYPE_MAX", "int value should be less than or equal to 16777215.")
    if "timestamp" in embed and not _MOMENT.fullmatch(str(embed["timestamp"])):
        yield Breach((*path, "timestamp"), "DATE_TIME_TYPE_PARSE", "Could not parse it. Should be ISO8601.")
    if "url" in embed and not _LINK.fullmatch(str(embed["url"])):
        yield Breach((*path, "url"), "URL_TYPE_INVALID_URL", "Not a well formed URL.")
    yield from _embed_fields(embed.get("fields") or [], path)


def _embed_fields(fields: object, path: tuple[str, ...]) -> Iterator[Breach]:
    if not isinstance(fields, list):
        yield Breach((*path, "fields"), "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
        return
    if len(fields) > FIELDS:
        yield Breach((*path, "fields"), "BASE_TYPE_MAX_LENGTH", f"Must be {FIELDS} or fewer in length.")
    for at, one in enumerate(fields):
        here = (*path, "fields", str(at))
        yield from _unknown(one, FIELD_KEYS, here)
        for key, most in FIELD_TEXTS.items():
            if not str(one.get(key) or "").strip():
                yield Breach((*here, key), "BASE_TYPE_REQUIRED", "This field is required")
            yield from _text(one.get(key), most, (*here, key))


def _mentions(payload: Mapping[str, Any]) -> Iterator[Breach]:
    allowed = payload.get("allowed_mentions")
    if allowed is None:
        return
    path = ("allowed_mentions",)
    parse = allowed.get("parse", [])
    for kind in parse:
        if kind not in ("roles", "users", "everyone"):
            yield Breach((*path, "parse"), "BASE_TYPE_CHOICES", "Value must be one of {'users', 'roles', 'everyone'}.")
    for kind in ("roles", "users"):
        named = allowed.get(kind, [])
        if len(named) > 100:
            yield Breach((*path, kind), "BASE_TYPE_MAX_LENGTH", "Must be 100 or fewer in length.")
        if any(not isinstance(one, str) or not _ID.fullmatch(one) for one in named):
            yield Breach((*path, kind), "NUMBER_TYPE_COERCE", "A value is not snowflake.")
        if named and kind in parse:
            yield Breach(path, "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", f"parse:['{kind}'] and {kind}: exclusive.")


def _text(text: object, most: int, path: tuple[str, ...]) -> Iterator[Breach]:
    if text is None:
        return
    if not isinstance(text, str):
        yield Breach(path, "STRING_TYPE_CONVERT", "Could not interpret as string.")
    elif len(text.strip()) > most:
        yield Breach(path, "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value
