"""Discord webhooks as they are configured: their URLs read, and never shown. Vocabulary; what is sent is `notify/`'s.

A webhook's URL lets whoever has it write to the channel, so it is a secret: no fault quotes what was given, and
whatever shows a Webhook masks its token.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, urlsplit

DEFAULT_NAME = "discord"
# what may be switched off; `notify/state.py` has what the kinds mean
KINDS = ("started", "stopped", "offline", "recovered", "lease_lost", "promoted", "handed_over", "error")
_API = "/api/v10/webhooks"
_DISCORD = re.compile(r"(?:[a-z0-9-]+\.)*(?:discord|discordapp)\.com")
_PATH = re.compile(
    r"/api(?:/v\d{1,3})?/webhooks/(?P<id>\d{1,20})/(?P<token>[A-Za-z0-9_-]{1,200})(?P<rest>/.*)?", re.ASCII
)
_MASKED = re.compile(r"(/webhooks?/+[^/\s?#]+/+)[^/\s?#'\",]+", re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_ID = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Webhook:
    """One channel to tell. `url` is secret; `fingerprint` is another one for another URL and tells nothing of it."""

    name: str
    url: str = field(repr=False)
    fingerprint: str

    @property
    def host(self) -> str:
        """Who is sent the messages, and with each of them the token: Discord, or a proxy before it."""
        return urlsplit(self.url).netloc

    @property
    def is_discords(self) -> bool:
        """Whether that is Discord itself."""
        return self.host == "discord.com"

    def __str__(self) -> str:
        return f"{self.name}={without_token(self.url).replace(_API, '/api/webhooks')}"


def without_token(text: str) -> str:
    """The text with the token of every webhook URL in it masked."""
    return _MASKED.sub(r"\1***", text)


def without_webhooks(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that sends no alerts, and so need not hold their secret."""
    return {name: text for name, text in environ.items() if not name.removeprefix("PERSEUS_").startswith("DISCORD_")}


def parse_webhooks(text: str) -> tuple[Webhook, ...]:
    """Read `name=url` pairs separated by commas or spaces; a bare URL is named `discord`.

    Raises: ValueError with the rest of a sentence about the setting. It never quotes a URL, nor a part of one.
    """
    webhooks: list[Webhook] = []
    entries = [entry for entry in re.split(r"[,\s]+", text) if entry]
    for number, entry in enumerate(entries, start=1):
        webhook = _webhook(entry, label=f"entry {number}" if len(entries) > 1 else "it")
        for other in webhooks:
            if other.name == webhook.name:
                raise ValueError(f"has two webhooks named `{webhook.name}`; give each a name of its own: NAME=URL")
            if other.fingerprint == webhook.fingerprint:
                raise ValueError(
                    f"has the same webhook as `{other.name}` and as `{webhook.name}`, which would tell everything "
                    f"twice; remove one"
                )
        webhooks.append(webhook)
    return tuple(webhooks)


def parse_announced(text: str) -> tuple[str, ...]:
    """The kinds of messages that are announced: `all`, `none`, or some of KINDS. Raises: ValueError as above."""
    words = [word for word in re.split(r"[,\s]+", text.lower()) if word]
    if words in (["all"], ["none"]):
        return KINDS if words == ["all"] else ()
    unknown = [word for word in words if word not in KINDS]
    if unknown or not words:
        raise ValueError(f"must be `all`, `none`, or some of {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in words)


def parse_role(text: str) -> str:
    """A role's id; empty: none is mentioned. Raises: ValueError as above."""
    if text.strip() and not _ID.fullmatch(text.strip()):
        raise ValueError("is no role's id: digits only, as Discord's `Copy Role ID` gives them (with developer mode)")
    return text.strip()


def _webhook(entry: str, *, label: str) -> Webhook:
    before, equals, after = entry.partition("=")
    is_named = bool(equals) and not re.search(r"[:/?]", before)
    name, url = (before, after) if is_named else (DEFAULT_NAME, entry)
    if not _NAME.fullmatch(name):
        raise ValueError(f"cannot be used: the name of {label} must be 1 to 32 of a-z, 0-9, `_` and `-`")
    subject = f"the URL of `{name}`" if is_named else label
    try:
        parts = urlsplit(url)
        _ = parts.port  # a bad one raises here
    except ValueError:  # its words may quote the URL
        raise ValueError(f"cannot be used: {subject} has a malformed host or port") from None
    fault = next(_faults(parts), None)
    if fault is not None:
        raise ValueError(f"cannot be used: {subject} {fault}")
    return Webhook(name, *_normal(parts))


def _faults(parts: SplitResult) -> Iterator[str]:
    """What is wrong with a webhook's URL, worst first."""
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        yield (
            "is not an https:// URL; copy it from the channel's settings in Discord (Integrations, Webhooks) and give "
            "it as NAME=URL"
        )
    if "@" in parts.netloc:
        yield "carries a user name or password, which webhooks have not"
    if parts.scheme == "http" and not _is_loopback(host):
        yield "must begin with https://, or everyone on the way reads its token (http:// is for this host only)"
    if _DISCORD.fullmatch(host) and parts.port not in (None, 443):
        yield "names a port, and Discord has none but its usual one"
    yield from _path_faults(parts.path)
    if parts.fragment or any(key != "thread_id" for key, _ in _options(parts)):
        yield "has options other than ?thread_id=ID; leave them out"
    if any(not _ID.fullmatch(value) for _, value in _options(parts)) or len(_options(parts)) > 1:
        yield "must name one thread by its id: ?thread_id=DIGITS"


def _path_faults(path: str) -> Iterator[str]:
    found = _PATH.fullmatch(path)
    rest = (found["rest"] or "").strip("/") if found is not None else ""
    if found is None:
        yield "is not a webhook's: its path must be /api/webhooks/ID/TOKEN, with a number and Discord's whole token"
    elif rest in ("slack", "github"):
        yield f"ends in /{rest}, where Discord expects another program's format; leave /{rest} out"
    elif rest:
        yield "has something after its token; leave that out"


def _options(parts: SplitResult) -> list[tuple[str, str]]:
    """What is asked for, without what we say ourselves."""
    return [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key != "wait"]


def _normal(parts: SplitResult) -> tuple[str, str]:
    """The URL as it is called, and its fingerprint."""
    found = _PATH.fullmatch(parts.path)
    assert found is not None  # noqa: S101 - `_faults` has refused every other path
    host = "discord.com" if _DISCORD.fullmatch(parts.hostname or "") else parts.netloc.lower()
    thread = "".join(f"?thread_id={value}" for _, value in _options(parts))
    place = f"{host}{_API}/{found['id']}/{found['token']}{thread}"
    return f"{parts.scheme}://{place}", hashlib.sha256(place.encode()).hexdigest()[:16]


def _is_loopback(host: str) -> bool:
    import ipaddress  # slow to load, and seldom needed

    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
