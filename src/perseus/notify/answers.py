"""What an answer of Discord's means, pure. Reasons are short sentences for people, without any URL or token.

Source: developers/topics/{rate-limits,opcodes-and-status-codes} and developers/resources/webhook of Discord's
documentation, API version 10.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from perseus.notify.pace import LONGEST_PAUSE_S, seconds

UNKNOWN_MESSAGE = 10008
# 4xx of a message that another message would not get: it was deleted, too explicit, another's, empty, moderated away
_OF_THE_MESSAGE = frozenset({UNKNOWN_MESSAGE, 20009, 50005, 50006, 200000})
# 4xx that are so for now only: slow mode, write limits, edits of old messages, features switched off or overloaded, and
# Cloudflare's guard before Discord
_PASSING = frozenset({20016, 20022, 20028, 20029, 30046, 40004, 40006, 40062, 40333, 130000})
_OF_THE_WEBHOOK = {
    401: "Discord does not accept this webhook's token",
    403: "Discord forbids this webhook to post",
    404: "Discord does not know this webhook any more",
}
_MESSAGE_ID = re.compile(r"[0-9]{1,20}")
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_LONGEST_TEXT = 120
_MOST_TEXTS = 3


class Delivered(msgspec.Struct, frozen=True):
    """The channel shows it. `message_id` is empty where Discord took the message and the answer did not say its id."""

    message_id: str


class Refused(msgspec.Struct, frozen=True):
    """Discord will never take this message; others it will."""

    reason: str


class Dead(msgspec.Struct, frozen=True):
    """Discord will take nothing from this webhook any more: its URL is wrong, or a person removed it."""

    reason: str


class Gone(msgspec.Struct, frozen=True):
    """The message to be edited does not exist: a person deleted it."""


class Later(msgspec.Struct, frozen=True):
    """Not now: try again after so many seconds. `is_global`: so it is for every webhook of ours."""

    after_s: float
    reason: str
    is_global: bool = False


Outcome = Delivered | Refused | Dead | Gone | Later


class Answer(NamedTuple):
    """An HTTP answer: `headers` by lower-case name; `body` is None if it broke off or was too long."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None

    @property
    def json(self) -> dict[str, Any]:
        """The JSON object in it; empty if there is none."""
        try:
            value = msgspec.json.decode(self.body or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


def is_message_id(text: object) -> bool:
    """Whether this can be the id of a message: a snowflake in decimal digits."""
    return isinstance(text, str) and _MESSAGE_ID.fullmatch(text) is not None


def read(answer: Answer, *, edits: bool) -> Outcome:
    """What the answer to a post, or with `edits` to an edit, means. A `Later` without a time has `after_s` 0."""
    status = answer.status
    if 200 <= status < 300:
        return _taken(answer)
    if status == 429:
        return _limited(answer)
    if status >= 500:
        asked = seconds(answer.headers.get("retry-after")) or 0.0  # a guess: an outage may be over long before
        return Later(min(asked, LONGEST_PAUSE_S), f"Discord answered {status}")
    if status < 400:
        return Later(0.0, f"Discord's address answered with a redirect ({status}), which is not followed")
    return _refused(answer, edits=edits)


def _taken(answer: Answer) -> Outcome:
    said = answer.json
    if is_message_id(said.get("id")):
        return Delivered(said["id"])
    kind = answer.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if answer.body != b"" and kind != "application/json":
        # a filter or sign-in page on the way: to count it as delivered would lose every alert without a word
        return Later(0.0, f"a page came instead of Discord's answer ({answer.status})")
    return Delivered("")


def _limited(answer: Answer) -> Later:
    said, headers = answer.json, answer.headers
    asked = [seconds(said.get("retry_after")), seconds(headers.get("retry-after"))]
    after_s = max((known for known in asked if known is not None), default=LONGEST_PAUSE_S)
    is_discords = "via" in headers or "x-ratelimit-scope" in headers or "x-ratelimit-bucket" in headers
    if not is_discords:
        return Later(after_s, f"Cloudflare keeps this host from Discord for {after_s:.3g} s (429)", is_global=True)
    is_global = (
        said.get("global") is True
        or headers.get("x-ratelimit-global", "").lower() == "true"
        or headers.get("x-ratelimit-scope", "").lower() == "global"
    )
    of = "nothing" if is_global else "nothing from this webhook"
    return Later(after_s, f"Discord wants {of} for {after_s:.3g} s (429)", is_global=is_global)


def _refused(answer: Answer, *, edits: bool) -> Outcome:
    status, said = answer.status, answer.json
    code, words = said.get("code"), _words(said)
    is_discords = isinstance(code, int) or isinstance(said.get("message"), str)
    if code in _PASSING or status in {407, 408, 425}:
        return Later(0.0, f"Discord answered {status}{words}")
    if code == UNKNOWN_MESSAGE and edits:
        return Gone()
    if status in {400, 413} or code in _OF_THE_MESSAGE:
        return Refused(f"Discord refused the message ({status}{words})")
    if not is_discords:
        return Later(0.0, f"something before Discord answered {status}")
    if status in _OF_THE_WEBHOOK:
        return Dead(f"{_OF_THE_WEBHOOK[status]} ({status}{words})")
    return Refused(f"Discord refused the message ({status}{words})")


def _words(said: Mapping[str, Any]) -> str:
    """`: what Discord says`, cut short: of an error tree its first texts with their paths, else its message."""
    texts: list[str] = []
    for text in _complaints(said.get("errors")):
        texts.append(text)
        if len(texts) == _MOST_TEXTS:
            break
    if not texts and isinstance(said.get("message"), str):
        texts = [_plain(said["message"])]
    return ": " + "; ".join(texts) if any(texts) else ""


def _complaints(errors: object) -> Iterator[str]:
    waiting: list[tuple[str, object]] = [("", errors)]
    while waiting:
        path, node = waiting.pop()
        if not isinstance(node, dict):
            continue
        found = node.get("_errors")
        for one in found if isinstance(found, list) else ():
            if isinstance(one, dict) and isinstance(one.get("message"), str):
                yield _plain(f"{path} {one['message']}")
        below = [(f"{path}.{key}".strip("."), value) for key, value in node.items() if key != "_errors"]
        waiting.extend(reversed(below))


def _plain(text: str) -> str:
    """One short printable line without addresses."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[:1000]).split())
    line = _ADDRESS.sub("…", line)
    return line if len(line) <= _LONGEST_TEXT else line[:_LONGEST_TEXT] + "…"
