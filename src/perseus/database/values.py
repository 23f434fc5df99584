"""What goes into the database and comes out of it: texts any database can hold, secrets as their digests."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Row

from perseus.errors import BadUsage
from perseus.model import valid_text

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_Record = TypeVar("_Record", bound=msgspec.Struct)


def record(row: Row[Any], kind: type[_Record]) -> _Record:
    """The row as this struct, whose fields are named like the columns."""
    return msgspec.convert(row, kind, from_attributes=True)


def random_secret(prefix: str = "") -> str:
    """256 random bits, safe in URLs and headers, after the prefix."""
    return prefix + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is kept of a random secret: its SHA-256, in hex. Too fast for passwords."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def printable(text: str, *, longest: int) -> str:
    """Text of strangers as it is kept: one line without control characters or lone surrogates, cut off."""
    return _CONTROL.sub(" ", valid_text(text)).strip()[:longest]


def printable_json(value: Any) -> Any:
    """The same for every text in a JSON value."""
    if isinstance(value, str):
        return printable(value, longest=2000)
    if isinstance(value, Mapping):
        return {printable(str(name), longest=200): printable_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [printable_json(each) for each in value]
    return value


def given_name(text: str, what: str, *, longest: int = 64) -> str:
    """A name a person gave. Raises: BadUsage if it is empty, too long or holds control characters."""
    name = text.strip()
    if not name or len(name) > longest or name != printable(name, longest=longest):
        raise BadUsage(f"{what} {text!r} must have 1 to {longest} characters, no control characters among them.")
    return name
