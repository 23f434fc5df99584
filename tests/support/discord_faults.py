"""What Discord, and what lies before it, can do to a request instead of answering as it should."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from aiohttp import web

VIA = {"Via": "1.1 google"}  # what comes from Discord itself carries it; what Cloudflare says by itself does not
LIMITS = ("limited", "limited_shared", "limited_global", "cloudflare", "cloudflare_bar")
# the message is not taken
BEFORE = (
    *LIMITS,
    "unauthorized",
    "forbidden",
    "unknown_webhook",
    "blocked",
    "invalid",
    "too_large",
    "busy",
    "error",
    "page",
    "redirect",
    "echo",
    "hang",
    "reset",
    "closed",
    "garbage",
)
# the message is taken, and the answer comes late (after `retry_after`), does not say so, or not well
AFTER = ("slow", "hang_after", "reset_after", "half", "trickle", "empty", "no_id", "not_json", "huge")
INVALID = {
    "code": 50035,
    "message": "Invalid Form Body",
    "errors": {
        "embeds": {"0": {"title": {"_errors": [{"code": "BASE_TYPE_MAX_LENGTH", "message": "Must be shorter."}]}}}
    },
}
_PAGE = "<!doctype html><html><head><title>{0}</title></head><body><h1>{0}</h1><p>cloudflare</p></body></html>"


@dataclass
class Fault:
    """What happens to the next `times` requests (0: until it is stopped) for a channel, with a method, or all."""

    form: str
    on: str = ""
    method: str = ""
    times: int = 1
    retry_after: float = 0.5
    status: int = 503
    played: int = 0

    def __post_init__(self) -> None:
        if self.form not in BEFORE + AFTER:
            raise ValueError(f"no such fault: {self.form}; there are {', '.join(BEFORE + AFTER)}")

    def concerns(self, channel: str, method: str) -> bool:
        """Whether it is still to happen to such a request."""
        return (
            self.on in ("", channel) and self.method in ("", method) and (self.times == 0 or self.played < self.times)
        )


def page(status: int, *, title: str = "", **headers: str) -> web.Response:
    """An HTML page, as Cloudflare or a proxy would send it."""
    return web.Response(status=status, text=_PAGE.format(title or status), content_type="text/html", headers=headers)


def said(status: int, body: dict[str, Any], **headers: str) -> web.Response:
    """Discord's own JSON."""
    return web.json_response(body, status=status, headers=VIA | headers)


def unknown(what: str, code: int) -> web.Response:
    """404 for a webhook (10015) or a message (10008)."""
    return said(404, {"message": f"Unknown {what}", "code": code})


def limit(form: str, after_s: float) -> web.Response:
    """429 in one of its forms; the header is in whole seconds, rounded up, except of what Cloudflare remembers."""
    whole = {"Retry-After": f"{int(after_s) + 1}"} if after_s >= 1 else {"Retry-After": f"{after_s:.3f}"}
    if form == "cloudflare":
        return page(429, title="Error 1015: you are being rate limited", **whole)
    if form == "cloudflare_bar":
        return web.json_response({"code": 0, "message": "You are being blocked from accessing our API"}, status=429)
    scope = {"limited": "user", "limited_shared": "shared", "limited_global": "global"}[form]
    words = "The resource is being rate limited." if scope == "shared" else "You are being rate limited."
    headers = whole | {"X-RateLimit-Scope": scope}
    if scope == "global":
        headers["X-RateLimit-Global"] = "true"
    else:
        headers |= {"X-RateLimit-Limit": "5", "X-RateLimit-Bucket": "played"}
        headers["X-RateLimit-Remaining"] = "9" if scope == "shared" else "0"
        headers["X-RateLimit-Reset-After"] = f"{after_s:.3f}"
    return said(429, {"message": words, "retry_after": round(after_s, 3), "global": scope == "global"}, **headers)


_PLAIN: Mapping[str, Callable[[], web.Response]] = {
    "unauthorized": lambda: said(401, {"message": "Invalid Webhook Token", "code": 50027}),
    "forbidden": lambda: said(403, {"message": "Missing Access", "code": 50001}),
    "unknown_webhook": lambda: unknown("Webhook", 10015),
    "blocked": lambda: page(403, title="Access denied"),
    "invalid": lambda: said(400, INVALID),
    "too_large": lambda: said(413, {"message": "Request entity too large", "code": 40005}),
    "busy": lambda: said(400, {"message": "API resource is currently overloaded. Try again later", "code": 130000}),
    "page": lambda: page(200, title="Please sign in"),
}


async def instead(fault: Fault, request: web.Request) -> web.StreamResponse:
    """Do what the fault is, without having taken the message."""
    match fault.form:
        case "error":
            return page(fault.status, title=f"{fault.status}: server error")
        case "redirect":
            return web.Response(status=302, headers={"Location": f"{request.url.origin()}/elsewhere"})
        case "echo":
            return said(400, {"message": f"Cannot {request.method} {request.url} ({request.path})", "code": 0})
        case "hang":
            await _for_ever()
        case "garbage":
            assert request.transport is not None
            request.transport.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            return _cut(request, hard=False)
        case "reset" | "closed":
            return _cut(request, hard=fault.form == "reset")
    return _PLAIN[fault.form]()


async def afterwards(fault: Fault, request: web.Request, answer: web.Response) -> web.StreamResponse:
    """Spoil the answer to a message that was taken."""
    body = bytes(answer.body) if isinstance(answer.body, bytes) else b""
    match fault.form:
        case "slow":
            await asyncio.sleep(fault.retry_after)
            return answer
        case "hang_after":
            await _for_ever()
        case "reset_after":
            return _cut(request, hard=True)
        case "half":
            return await _slowly(request, body, most=len(body) // 2, every=0.0)
        case "trickle":
            return await _slowly(request, body, most=len(body), every=0.1)
    return _spoilt(fault.form, body)


def _spoilt(form: str, body: bytes) -> web.Response:
    match form:
        case "empty":
            return web.Response(status=204, headers=VIA)
        case "no_id":
            return said(200, {"content": "there"})
        case "not_json":
            return web.Response(body=b'{"id": "1', content_type="application/json", headers=VIA)
    padding = b'{"padding": "' + b"x" * 1_000_000 + b'", ' + body[1:]
    return web.Response(body=padding, content_type="application/json", headers=VIA)


async def _slowly(request: web.Request, body: bytes, *, most: int, every: float) -> web.StreamResponse:
    """Say how long the body is, and send so much of it, byte by byte where there is a pause."""
    response = web.StreamResponse(headers=VIA | {"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    for at in range(most) if every else ():
        await response.write(body[at : at + 1])
        await asyncio.sleep(every)
    if not every:
        await response.write(body[:most])
    return _cut(request, hard=False, response=response)


def _cut(request: web.Request, *, hard: bool, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """End the connection now; `hard`: with a reset."""
    transport = request.transport
    assert transport is not None
    if hard:
        raw: socket.socket = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    return response or web.Response()


async def _for_ever() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")
