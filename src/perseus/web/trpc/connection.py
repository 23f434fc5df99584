"""Who calls and how: what a context is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from functools import cached_property
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec

from perseus.web.trpc.errors import TRPCError

Scope = MutableMapping[str, Any]
Transport = Literal["http", "websocket"]


class ConnectionInfo:
    """One HTTP request or one WebSocket, read lazily: a context that needs no cookies does not pay for them.

    On a WebSocket there is one context for the whole connection. A browser sends cookies to it from any page:
    compare `headers["origin"]` before a cookie is trusted.
    """

    def __init__(self, scope: Scope, connection_params: Mapping[str, str] | None = None) -> None:
        self.scope = scope
        self.connection_params = connection_params

    @property
    def transport(self) -> Transport:
        """How the client talks; server-sent events are "http"."""
        return "websocket" if self.scope["type"] == "websocket" else "http"

    @property
    def method(self) -> str:
        """The HTTP method; GET for a WebSocket."""
        return str(self.scope.get("method", "GET"))

    @property
    def client(self) -> str | None:
        """The address the connection comes from, which is the nearest proxy's if there is one."""
        return client_address(self.scope)

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name; values of a repeated one joined by commas (cookies: semicolons)."""
        headers: dict[str, str] = {}
        pairs: Iterable[tuple[bytes, bytes]] = self.scope["headers"]
        for raw_name, raw_value in pairs:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            joint = "; " if name == "cookie" else ", "
            headers[name] = f"{headers[name]}{joint}{value}" if name in headers else value
        return headers

    @cached_property
    def cookies(self) -> Mapping[str, str]:
        """By name; none if the header cannot be read."""
        try:
            return {name: morsel.value for name, morsel in SimpleCookie(self.headers.get("cookie", "")).items()}
        except CookieError:
            return {}

    @cached_property
    def query(self) -> Mapping[str, str]:
        """Parameters of the URL; the first of a repeated one, as JavaScript's URLSearchParams has it."""
        text = self.scope["query_string"].decode("latin-1")
        return dict(reversed(parse_qsl(text, keep_blank_values=True, errors="replace")))


def client_address(scope: Scope) -> str | None:
    """The address a connection comes from; None for a Unix socket."""
    client = scope.get("client")
    return str(client[0]) if client else None


def read_connection_params(raw: bytes | msgspec.Raw, *, unreadable: str) -> Mapping[str, str] | None:
    """connectionParams from their JSON: null, or an object of strings.

    Raises: TRPCError PARSE_ERROR, with the text `unreadable` if it is no JSON at all.
    """
    try:
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        raise TRPCError("PARSE_ERROR", unreadable) from error
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise TRPCError("PARSE_ERROR", "Invalid connection params shape")
    return value
