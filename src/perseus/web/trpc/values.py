"""What procedures give back beside plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A whole value that is JSON already, so that one encoding serves every client; within others use `msgspec.Raw`.

    Does not promise: to check it.
    """

    json: bytes


class Tracked(msgspec.Struct, Generic[T], frozen=True):
    """A value of a subscription with the id from which a client that lost its connection goes on.

    The id is not empty and has no NUL, CR or LF.
    """

    id: str
    value: T


@dataclass(frozen=True, slots=True)
class Deferred:
    """An object of a query some of whose values are awaitables or async iterators, sent as they come.

    Only a JSONL batch can carry it; other calls answer UNSUPPORTED_MEDIA_TYPE.
    """

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Returned(Generic[T]):
    """The last thing an async iterator of a query yields: what a JavaScript generator would `return`."""

    value: T
