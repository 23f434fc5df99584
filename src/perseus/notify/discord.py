"""One webhook over HTTP: post a message, edit it, at the pace Discord allows; every failure is an outcome.

A webhook's URL lets anybody post: it, its token and its host never occur in reasons, logs or exceptions.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from yarl import URL

from perseus.clock import Clock
from perseus.notify.answers import Answer, Dead, Delivered, Gone, Later, Outcome, Refused, is_message_id, read
from perseus.notify.pace import Pace, Route
from perseus.resolver import Resolver
from perseus.webhooks import Webhook

__all__ = ["Dead", "Delivered", "Discord", "Gone", "Later", "Outcome", "Refused", "user_agent"]

TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0
LONGEST_WAIT_S = 5.0  # for our turn; beyond it the caller is told
LEAST_SLEEP_S = 0.001  # a rest too small for the clock to show would be waited for without end
# The answer repeats the message: at most 8000 characters, each of up to twelve bytes of JSON, and what is around them.
LONGEST_BODY = 1 << 18
SHORTEST_TOKEN = 16  # Discord's have 68 characters; what is as short as a word occurs everywhere
_METHODS: Mapping[Route, str] = {"post": "POST", "edit": "PATCH"}
_SUPPRESS_EMBEDS = 1 << 2  # the only flag of ours that an edit may set
_REASONS: Mapping[type[Exception], str] = {  # the first that fits
    aiohttp.ClientProxyConnectionError: "no connection to the proxy",
    aiohttp.ClientConnectorDNSError: "the host name in the webhook's URL could not be resolved",
    aiohttp.ClientConnectorCertificateError: "the TLS certificate is not valid",
    aiohttp.ClientSSLError: "no TLS connection could be made",
    aiohttp.ClientResponseError: "the answer is not HTTP",
    aiohttp.ServerDisconnectedError: "the connection was closed without an answer",
}


def user_agent(version: str) -> str:
    """Who we are, in the form Discord asks for; others may be blocked."""
    return f"DiscordBot (https://perseus.example, {version}) Perseus"


def _always() -> bool:
    return True


class Discord:
    """Webhooks of Discord, used one request at a time each, side by side. An async context manager.

    Does not promise: that a message is posted once. Where no answer came (`Later`) Discord may have taken it.
    """

    def __init__(self, *, clock: Clock, user_agent: str, timeout_s: float = TIMEOUT_S) -> None:
        self._clock = clock
        self._user_agent = user_agent
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._paces: dict[str, Pace] = {}  # by the URL's path: webhooks that differ in their thread share it
        self._paused_until = float("-inf")  # boot-time seconds
        self._paused_why = ""

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=min(CONNECT_TIMEOUT_S, self._timeout_s))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=Resolver()),
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._user_agent, "Content-Type": "application/json"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(
        self, webhook: Webhook, payload: Mapping[str, Any], *, may_send: Callable[[], bool] = _always
    ) -> Outcome:
        """Post a message and learn its id. Waits its turn, at most `LONGEST_WAIT_S`, and then for the answer.

        `may_send` is asked when its turn has come: what was right before the wait may be wrong after it.
        """
        url = URL(webhook.url)
        return await self._send("post", url, url.update_query(wait="true"), payload, may_send=may_send)

    async def edit(
        self, webhook: Webhook, message_id: str, payload: Mapping[str, Any], *, may_send: Callable[[], bool] = _always
    ) -> Outcome:
        """Let a message say exactly what the payload says, as if it had been posted like that; else like `post`."""
        if not is_message_id(message_id):
            return Gone()
        url = URL(webhook.url)
        target = (url / "messages" / message_id).with_query(url.query)
        outcome = await self._send("edit", url, target, _edited(payload), may_send=may_send)
        return Delivered(message_id) if isinstance(outcome, Delivered) else outcome

    async def _send(
        self,
        route: Route,
        webhook_url: URL,
        url: URL,
        payload: Mapping[str, Any],
        *,
        may_send: Callable[[], bool],
    ) -> Outcome:
        body = msgspec.json.encode(payload)
        pace = self._paces.setdefault(webhook_url.path, Pace(self._clock))
        async with pace.turn:
            if (later := await self._held_up(pace, route)) is not None:
                return later
            if not may_send():
                return Later(0.0, "it was not ours to send any more")
            pace.spend(route)
            answer = await self._request(_METHODS[route], url, body, token=webhook_url.name)
            outcome = read(answer, edits=route == "edit") if isinstance(answer, Answer) else answer
            if isinstance(answer, Answer):
                pace.observe(route, answer.headers)
            return self._kept_in_mind(outcome, pace=pace, route=route, is_asked=_is_limit(answer))

    async def _held_up(self, pace: Pace, route: Route) -> Later | None:
        """Wait until a request may be sent, or say when if that is too long."""
        latest = self._clock.now() + LONGEST_WAIT_S
        while True:
            pause_s, wait_s = self._paused_until - self._clock.now(), pace.wait_s(route)
            if max(pause_s, wait_s) <= 0:
                return None
            if self._clock.now() + max(pause_s, wait_s) > latest:
                if pause_s >= wait_s:
                    return Later(pause_s, self._paused_why, is_global=True)
                return Later(wait_s, f"Discord wants nothing from this webhook for {wait_s:.3g} s")
            await self._clock.sleep(max(pause_s, wait_s, LEAST_SLEEP_S))

    def _kept_in_mind(self, outcome: Outcome, *, pace: Pace, route: Route, is_asked: bool) -> Outcome:
        """Remember what the outcome means for the next requests, and give a `Later` its time."""
        if not isinstance(outcome, Later):
            pace.succeeded()
            return outcome
        if not is_asked:
            return Later(max(outcome.after_s, pace.failed()), outcome.reason)
        if outcome.is_global:
            self._paused_until = max(self._paused_until, self._clock.now() + outcome.after_s)
            self._paused_why = outcome.reason
        else:
            pace.block(route, outcome.after_s)
        return outcome

    async def _request(self, method: str, url: URL, body: bytes, *, token: str) -> Answer | Dead | Later:
        if self._session is None:
            raise RuntimeError("Discord is used outside of its `async with` block")
        proxy = _proxy_for(url)
        try:
            async with self._session.request(method, url, data=body, proxy=proxy, allow_redirects=False) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, headers, _without(token, await _body(response)))
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            if proxy is not None:
                return Later(0.0, "the address of the proxy, from this host's environment, cannot be used")
            return Dead("the webhook's URL cannot be used")
        except (aiohttp.ClientError, OSError) as error:  # OSError: TimeoutError is one
            return Later(0.0, _why(error, timeout_s=self._timeout_s))


def _edited(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What of a payload an edit takes. What is left out of an edit stays as it was, so nothing is left out."""
    flags = payload.get("flags", 0) & _SUPPRESS_EMBEDS
    wanted = {"content": payload.get("content", ""), "embeds": payload.get("embeds", []), "flags": flags}
    if "allowed_mentions" in payload:
        wanted["allowed_mentions"] = payload["allowed_mentions"]
    return wanted


async def _body(response: aiohttp.ClientResponse) -> bytes | None:
    """All of the body; None if it is too long, breaks off or does not end in time: its status has been said already."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > LONGEST_BODY:
                return None
    except (aiohttp.ClientError, OSError):
        return None
    return bytes(body)


def _without(token: str, body: bytes | None) -> bytes | None:
    """The body without the secret, which a page may repeat, before any of it is cut and told."""
    return body if body is None or len(token) < SHORTEST_TOKEN else body.replace(token.encode(), b"***")


def _is_limit(answer: Answer | Dead | Later) -> bool:
    return isinstance(answer, Answer) and answer.status == 429


def _proxy_for(url: URL) -> str | None:
    """The HTTP proxy the environment names for it. (aiohttp's own reading would send what `.netrc` says along.)"""
    if url.host is None or proxy_bypass(url.host):
        return None
    proxy = getproxies().get(url.scheme)
    return proxy if proxy and proxy.startswith(("http://", "https://")) else None


def _why(error: Exception, *, timeout_s: float) -> str:
    """The failure in our own words: the library's contain addresses."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection within {min(CONNECT_TIMEOUT_S, timeout_s):g} s"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return reason
    return _os_reason(error) if isinstance(error, OSError) else f"the request failed ({type(error).__name__})"


def _os_reason(error: OSError) -> str:
    if error.errno in (errno.ECONNRESET, errno.EPIPE) or isinstance(error, ConnectionResetError):
        return "the connection was reset"
    return os.strerror(error.errno).lower() if error.errno else f"the connection failed ({type(error).__name__})"
