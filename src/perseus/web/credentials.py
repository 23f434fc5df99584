"""What a request shows to say who is asking: a bearer token, or the session cookie if it comes from our own pages.

Pure: headers in, credential out. Whether it is worth anything is `identity.py`'s to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from starlette.datastructures import Headers
from starlette.types import Scope

from perseus.errors import NotSignedIn
from perseus.web.origins import Came, OurNames

_SESSION = "perseus_session"
# With this prefix a browser takes the cookie over https only, from us only, and for no other host or path.
_SECURE_SESSION = f"__Host-{_SESSION}"
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]{16,256})", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}")
_HOW = "Send `authorization: Bearer TOKEN` with a token from `perseus admins token EMAIL`, or sign in at /login"


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret and what kind it is. Its `repr` does not show the secret."""

    kind: Literal["token", "session"]
    secret: str = field(repr=False)


def credential_of(scope: Scope, names: OurNames, connection_params: Mapping[str, str] | None = None) -> Credential:
    """What the request or the WebSocket handshake shows. A token counts before a cookie, also if it is no good.

    Raises: NotSignedIn if nothing is shown, if it cannot be a token, or if a cookie comes from another site's page.
    """
    token = _token(Headers(scope=scope), connection_params or {})
    return Credential("token", token) if token is not None else _session(scope, names)


def cookie_name(*, is_https: bool) -> str:
    """The name of the session cookie."""
    return _SECURE_SESSION if is_https else _SESSION


def cookie_of(scope: Scope, names: OurNames) -> str | None:
    """The secret in the session cookie, wherever the request comes from.

    Over https only the cookie a stranger cannot have planted counts; two of one name are none.
    """
    wanted = cookie_name(is_https=names.is_https(scope))
    pairs = [
        pair.strip().partition("=") for header in Headers(scope=scope).getlist("cookie") for pair in header.split(";")
    ]
    found = [value for name, _, value in pairs if name == wanted]
    return found[0] if len(found) == 1 and _TOKEN.fullmatch(found[0]) else None


def counts_as_ours(scope: Scope, names: OurNames) -> bool:
    """Whether a cookie may speak for this request: from our own page, or a plain GET of which no browser said whence.

    Everything that changes something, and every WebSocket, must be said to come from us.
    """
    came = names.whence(scope)
    only_reads = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
    return came is Came.FROM_US or (came is Came.UNSAID and only_reads)


def _token(headers: Headers, connection_params: Mapping[str, str]) -> str | None:
    """The token shown; None if there is none, which `Basic` credentials (a proxy's in front of us) are too."""
    shown = headers.getlist("authorization")
    if shown and not shown[0].lower().startswith("basic "):
        found = _BEARER.fullmatch(shown[0].strip()) if len(shown) == 1 else None
        return _checked(found and found[1], "The authorization header is not `Bearer TOKEN`")
    if "authorization" in connection_params:
        found = _BEARER.fullmatch(connection_params["authorization"].strip())
        return _checked(found and found[1], "`authorization` in connectionParams is not `Bearer TOKEN`")
    if "token" in connection_params:
        token = connection_params["token"]
        return _checked(_TOKEN.fullmatch(token) and token, "`token` in connectionParams cannot be a token")
    return None


def _checked(token: str | None, fault: str) -> str:
    if token is None:
        raise NotSignedIn(f"{fault} of Perseus: see that it was copied completely, once.", reason="malformed")
    return token


def _session(scope: Scope, names: OurNames) -> Credential:
    secret = cookie_of(scope, names)
    if secret is None:
        raise NotSignedIn(f"Nobody said who is asking. {_HOW}.", reason="missing")
    if not counts_as_ours(scope, names):
        raise NotSignedIn(
            "A session cookie counts for requests from Perseus' own pages only (Sec-Fetch-Site or Origin must say so). "
            "Elsewhere use a token: `authorization: Bearer TOKEN`. Behind a proxy, set PERSEUS_PUBLIC_URL.",
            reason="cross_site",
        )
    return Credential("session", secret)
