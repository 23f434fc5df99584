"""Under which names we are reached, and whether a request comes from our own pages.

Against DNS rebinding: a page of somebody else's name that suddenly resolves to our address still sends that name as
`Host`. Against cross-site requests: browsers say where a request comes from (`Sec-Fetch-Site`, `Origin`), and no page
can make them lie.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from perseus.settings import Settings
from perseus.web.proxies import parsed_address

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_HTTP = {"ws": "http", "wss": "https"}


class Came(Enum):
    """Where a request comes from, as far as its headers tell."""

    FROM_US = "our own page, or the person typed the address"
    FROM_ELSEWHERE = "a page of another site"
    UNSAID = "no browser said"


class OurNames:
    """The names this server answers to: those of `names`, the host of `public_url`, `localhost` and IP addresses.

    An IP address as `Host` cannot be the work of DNS.
    """

    def __init__(self, *, public_url: str = "", names: Iterable[str] = ()) -> None:
        self._public = _origin(urlsplit(public_url)) if public_url else None
        public_name = [self._public[1]] if self._public else []
        self._names = frozenset(each.lower().rstrip(".") for each in (*names, *public_name)) | {"localhost"}

    def know(self, scope: Scope) -> bool:
        """Whether the request names us. One without `Host`, or with several, does not."""
        hosts = Headers(scope=scope).getlist("host")
        place = _place(hosts[0], scope["scheme"]) if len(hosts) == 1 else None
        if place is None:
            return False
        name = place[0].rstrip(".")
        return name in self._names or name.endswith(".localhost") or parsed_address(name) is not None

    def is_https(self, scope: Scope) -> bool:
        """Whether the browser came by https: by what we or a trusted proxy see, or because PUBLIC_URL says it must."""
        if scope["scheme"] in ("https", "wss"):
            return True
        if self._public is None or self._public[0] != "https":
            return False
        return _place(Headers(scope=scope).get("host", ""), "https") == self._public[1:]

    def whence(self, scope: Scope) -> Came:
        """Where the request comes from. What is said twice is not believed.

        Browsers send `Sec-Fetch-Site` to https and localhost only, and `Origin` with every POST and WebSocket.
        """
        headers = Headers(scope=scope)
        sites, origins = headers.getlist("sec-fetch-site"), headers.getlist("origin")
        if len(sites) > 1 or len(origins) > 1:
            return Came.FROM_ELSEWHERE
        if sites:
            return Came.FROM_US if sites[0].lower() in ("same-origin", "none") else Came.FROM_ELSEWHERE
        if origins:
            return Came.FROM_US if self._is_ours(origins[0], scope) else Came.FROM_ELSEWHERE
        return Came.UNSAID

    def _is_ours(self, origin: str, scope: Scope) -> bool:
        theirs = _origin(_split(origin))
        if theirs is None:
            return False
        if self._public is not None and theirs[1] == self._public[1]:
            return theirs == self._public
        # A proxy may have taken the TLS off. The other way round, a page that came unencrypted could be anyone's.
        if theirs[0] == "http" and self.is_https(scope):
            return False
        return theirs[1:] == _place(Headers(scope=scope).get("host", ""), theirs[0])


def names_of(settings: Settings) -> OurNames:
    """The names these settings give: PUBLIC_URL's host, HOSTNAME and HOST."""
    return OurNames(public_url=settings.public_url, names=(settings.hostname, settings.host))


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _origin(parts: SplitResult) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for what is no http origin, like `null`."""
    place = _place(parts.netloc, parts.scheme)
    return (parts.scheme, *place) if place and parts.scheme in ("http", "https") else None


@lru_cache(1024)
def _place(netloc: str, scheme: str) -> tuple[str, int] | None:
    """Host and port of `perseus.example:8777`, the scheme's own port where none is given; None if malformed."""
    if not netloc or any(char in netloc for char in "@/?#\\ ,"):
        return None
    parts = _split(f"//{netloc}")
    try:
        port = parts.port
    except ValueError:
        return None
    return (parts.hostname, port or _PORTS.get(_HTTP.get(scheme, scheme), 0)) if parts.hostname else None
