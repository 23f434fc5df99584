"""The guard around everything the web server serves. Read `Guard.__call__` first: a request passes it top to bottom.

    guard = Guard(app, names=…, proxies=…, door=…)        # what uvicorn is given, with proxy_headers=False

Who is asking and whether they may is not decided here but where something is asked for: `identity.py`, `access.py`.
"""

from __future__ import annotations

import secrets

import msgspec
import structlog
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perseus.errors import TooOften
from perseus.web.headers import add_headers
from perseus.web.limits import RateLimit
from perseus.web.origins import OurNames
from perseus.web.proxies import TrustedProxies, client_key
from perseus.web.stays import Stay
from perseus.web.trpc import TRPCError
from perseus.web.trpc.errors import error_shape

CLIENT = "perseus.client"
API = "/trpc"
# Load balancers call these by whatever name or address they know; the answers tell nothing.
_BY_ANY_NAME = ("/healthz", "/readyz")
_POLICY_VIOLATION = 1008
_log = structlog.get_logger()


class Guard:
    """An ASGI app in front of another: true client and scheme, rate limit, our names only, headers, no stack traces.

    In the scope it leaves what counts as one client (`CLIENT`), and a `Stay`, by which `identity.py` ends a request
    when the identity behind it is revoked.
    """

    def __init__(self, app: ASGIApp, *, names: OurNames, proxies: TrustedProxies, door: RateLimit | None) -> None:
        self._app = app
        self._names, self._proxies, self._door = names, proxies, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        scope = self._proxies.seen_through(scope)
        scope[CLIENT] = client_key(scope)
        answer = _Answer(send, is_https=self._names.is_https(scope), is_socket=scope["type"] != "http")
        app = self._refusal(scope) or self._app
        stay = Stay()
        try:
            await stay.serving(app, scope, receive, answer.send)
        except Exception:  # noqa: BLE001  the edge: nobody outside may see what failed, the log must
            await answer.end(_ended(scope) if stay.was_ended else _failed(scope))

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a client who asks too often, or who knows us by a name that is not ours."""
        try:
            if self._door is not None:
                self._door.take(scope[CLIENT])
        except TooOften as error:
            return _refused(scope, TRPCError("TOO_MANY_REQUESTS", str(error)), retry_after_s=error.retry_after_s)
        if scope["path"] not in _BY_ANY_NAME and not self._names.know(scope):
            return _refused(
                scope,
                TRPCError(
                    "FORBIDDEN",
                    "This server does not go by the name in the Host header. Use its IP address or localhost, or set "
                    "PERSEUS_PUBLIC_URL to the address people use.",
                ),
            )
        return None


class _Answer:
    """What has been sent of an answer, so that it can be ended properly from anywhere.

    `transport`: uvicorn's, where those look for it who must cut off a client that takes nothing.
    """

    def __init__(self, send: Send, *, is_https: bool, is_socket: bool) -> None:
        self.transport = getattr(getattr(send, "__self__", None), "transport", None)
        self._send, self._is_https, self._is_socket = send, is_https, is_socket
        self._has_begun = self._is_complete = False

    async def send(self, message: Message) -> None:
        """Pass the message on, with our headers where an answer begins."""
        match message["type"]:
            case "websocket.close":
                self._is_complete = True
            case "http.response.body" | "websocket.http.response.body":
                self._is_complete = not message.get("more_body", False)
            case _:
                self._has_begun = True
                add_headers(message, is_https=self._is_https)
        await self._send(message)

    async def end(self, instead: Response) -> None:
        """Answer with `instead`, or where an answer has begun, end it."""
        if self._is_complete:
            return
        if self._has_begun:
            await self._send(
                {"type": "websocket.close", "code": _POLICY_VIOLATION}
                if self._is_socket
                else {"type": "http.response.body", "body": b"", "more_body": False}
            )
            return
        await instead({"type": "websocket" if self._is_socket else "http"}, _nothing, self.send)


async def _nothing() -> Message:
    raise RuntimeError("a fixed answer reads no request")


def _ended(scope: Scope) -> Response:
    says = "Who asked may not be here any more: the token was revoked, the session ended, or the role changed."
    return _refused(scope, TRPCError("UNAUTHORIZED", says))


def _failed(scope: Scope) -> Response:
    """Log the exception being handled under a reference, and tell only that."""
    reference = secrets.token_hex(4)
    _log.exception("request_failed", reference=reference, method=scope.get("method"), path=scope["path"])
    says = f"Perseus failed to answer. Its log has the cause under reference {reference}."
    return _refused(scope, TRPCError("INTERNAL_SERVER_ERROR", says))


def _refused(scope: Scope, error: TRPCError, *, retry_after_s: int | None = None) -> Response:
    """The error as tRPC clients read it under `/trpc`, as plain text elsewhere."""
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    if not scope["path"].startswith(API):
        return PlainTextResponse(f"{error.message}\n", error.status, headers)
    body = msgspec.json.encode({"error": error_shape(error)})
    headers["access-control-allow-origin"] = "*"  # else a page elsewhere would not even learn why
    return Response(body, error.status, headers, media_type="application/json")
