"""Which other origins' pages may read our answers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

Headers = list[tuple[bytes, bytes]]

_VARY: Final = b"trpc-accept, accept"
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"content-type, authorization, trpc-accept, last-event-id"),
    (b"access-control-max-age", b"600"),
)


class Origins:
    """Origins that are let in, "*" for all. Never with credentials: cookies of other origins stay unread."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._any = "*" in allowed
        self._allowed = frozenset(origin.encode() for origin in allowed)

    def headers(self, origin: bytes | None) -> Headers:
        """`vary` of every answer, and what a page of this origin needs to read it."""
        if not self._allowed:
            return [(b"vary", _VARY)]
        vary = (b"vary", _VARY + b", origin")
        if origin is not None and (self._any or origin in self._allowed):
            return [vary, (b"access-control-allow-origin", origin)]
        return [vary]

    def preflight(self, headers: dict[bytes, bytes]) -> Headers | None:
        """The answer to a browser that asks before it calls, or None if the request is no such question."""
        origin = headers.get(b"origin")
        if origin is None or b"access-control-request-method" not in headers:
            return None
        allowed = self.headers(origin)
        return [*allowed, *_PREFLIGHT] if len(allowed) > 1 else allowed
