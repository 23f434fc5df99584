"""The headers every answer gets: what a browser may do with it, and that nobody keeps a copy."""

from __future__ import annotations

from starlette.types import Message

_POLICY = "; ".join(
    (
        "default-src 'self'",  # scripts, styles, fonts, sockets: our own files only, nothing inline
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    )
)
_UNUSED_FEATURES = ("camera", "geolocation", "microphone", "payment", "usb")

EVERYWHERE = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": ", ".join(f"{feature}=()" for feature in _UNUSED_FEATURES),
    # not `no-referrer`: with that a browser sends our own forms with `Origin: null`
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
HSTS = "max-age=31536000"
_STARTS = ("http.response.start", "websocket.http.response.start")
_RAW = [(name.encode(), value.encode()) for name, value in EVERYWHERE.items()]
_RAW_WITH_HSTS = [*_RAW, (b"strict-transport-security", HSTS.encode())]
_OURS = frozenset(name for name, _ in _RAW_WITH_HSTS)
_NO_STORE = (b"cache-control", b"no-store")


def add_headers(message: Message, *, is_https: bool) -> None:
    """Add the headers to an answer that begins; other messages stay as they are.

    `cache-control` becomes `no-store` unless the answer says something itself, as files named by their content and
    event streams do.
    """
    if message["type"] not in _STARTS:
        return
    theirs = ((name.lower(), value) for name, value in message.get("headers", ()))
    headers = [header for header in theirs if header[0] not in _OURS]
    if b"cache-control" not in dict(headers):
        headers.append(_NO_STORE)
    message["headers"] = headers + (_RAW_WITH_HSTS if is_https else _RAW)
