"""A Discord of our own: real HTTP, every documented limit enforced, and every way it can fail, on demand.

In a test: `async with StandIn() as discord`, `discord.setting("ops", "dev")` is DISCORD_WEBHOOK_URLS, and
`discord.messages("ops")` is what people see there. As a process: `discord_control.StandInProcess`, or
`python -m tests.support.discord --port 9000`.

Source: developers/resources/webhook, developers/topics/rate-limits, developers/reference of Discord's documentation.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from aiohttp import web

from perseus.accepting import take_no_more
from tests.support.discord_faults import AFTER, LIMITS, VIA, Fault, afterwards, instead, limit, said, unknown
from tests.support.discord_limits import SUPPRESS_NOTIFICATIONS, breaches, error_tree
from tests.support.system import free_port

EPOCH_MS = 1_420_070_400_000
_AGENT = re.compile(r"DiscordBot \(https?://[^\s,]+, [^\s,)]+\).*")
_VERSION = "v10"


class Version(NamedTuple):
    """What a message said from `at` (Unix seconds) on."""

    at: float
    payload: dict[str, Any]


@dataclass
class Posted:
    """One message: `versions` from the posted one to the one shown now. `pinged`: whom it notified by name."""

    id: str
    channel: str
    thread_id: str
    versions: list[Version]
    pinged: tuple[str, ...] = ()
    is_deleted: bool = False

    @property
    def at(self) -> float:
        """When it was posted, Unix seconds."""
        return self.versions[0].at

    @property
    def payload(self) -> dict[str, Any]:
        """What it says now."""
        return self.versions[-1].payload

    @property
    def is_silent(self) -> bool:
        """Whether it was posted without a sound."""
        return bool(self.versions[0].payload.get("flags", 0) & SUPPRESS_NOTIFICATIONS)

    @property
    def text(self) -> str:
        """Everything it says now, in one text."""
        return json.dumps(self.payload, ensure_ascii=False)


class Asked(NamedTuple):
    """One request: `at` monotonic seconds, `form` of the fault played, "" if none, `status` 0: none was sent yet."""

    at: float
    channel: str
    method: str
    form: str
    status: int


@dataclass
class _Channel:
    name: str
    id: str
    token: str
    used: int = 0
    window_from: float = float("-inf")
    is_removed: bool = False
    limited_until: float = float("-inf")
    limited_form: str = ""
    limited_method: str = ""


@dataclass
class StandIn:
    """Channels with a webhook each, by name; they exist once they are asked for.

    `provoked`: requests beyond the rate limit the headers told. `premature`: requests before a 429's time was over.
    """

    port: int = 0
    burst: int = 5
    window_s: float = 2.0
    posted: list[Posted] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    provoked: int = 0
    premature: int = 0
    _channels: dict[str, _Channel] = field(default_factory=dict)
    _faults: list[Fault] = field(default_factory=list)
    _everywhere: _Channel = field(default_factory=lambda: _Channel("", "", ""))
    _runner: web.AppRunner | None = None
    _listener: asyncio.Server | None = None
    _count: int = 0

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=25 << 20)
        app.router.add_route("*", "/{anything:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        self.port = self.port or free_port()
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self.refuse()
        await self._runner.cleanup()

    async def listen(self) -> None:
        """Take connections, on the same port as before."""
        assert self._runner is not None
        assert self._runner.server is not None
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(self._runner.server, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Take no connections any more, and end those that are."""
        assert self._runner is not None
        if self._listener is not None:
            listener, self._listener = self._listener, None
            await take_no_more([listener])
            await asyncio.sleep(0)  # who was accepted last is a connection then
        for connection in self._runner.server.connections if self._runner.server else ():
            if connection.transport is not None:
                connection.transport.abort()

    def url(self, name: str, *, thread_id: str = "") -> str:
        """A channel's webhook, as a person would copy it."""
        if name not in self._channels:
            self._channels[name] = _Channel(name, self._snowflake(), secrets.token_urlsafe(51))
        channel = self._channels[name]
        thread = f"?thread_id={thread_id}" if thread_id else ""
        return f"http://127.0.0.1:{self.port}/api/webhooks/{channel.id}/{channel.token}{thread}"

    def setting(self, *names: str) -> str:
        """DISCORD_WEBHOOK_URLS for these channels."""
        return ",".join(f"{name}={self.url(name)}" for name in names)

    def messages(self, name: str) -> list[Posted]:
        """What people see in a channel, oldest first."""
        return [one for one in self.posted if one.channel == name and not one.is_deleted]

    def play(self, form: str, *, on: str = "", times: int = 1, **options: Any) -> Fault:
        """Let this happen to the next requests, see `discord_faults`; in the order they were asked for."""
        fault = Fault(form, on=on, times=times, **options)
        self._faults.append(fault)
        return fault

    def stop_playing(self) -> None:
        """No more faults; what a 429 has forbidden stays forbidden."""
        self._faults.clear()

    def delete(self, message_id: str) -> None:
        """A person deletes a message."""
        next(one for one in self.posted if one.id == message_id).is_deleted = True

    def remove(self, name: str) -> None:
        """A person removes a webhook."""
        self._channels[name].is_removed = True

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if len(parts) < 4 or parts[0] != "api" or "webhooks" not in parts:
            return said(404, {"message": "404: Not Found", "code": 0})
        version, channel_id, token, *rest = parts[1], *parts[parts.index("webhooks") + 1 :], ""
        channel = next((one for one in self._channels.values() if one.id == channel_id), None)
        if channel is None or channel.is_removed:
            return unknown("Webhook", 10015)
        if not secrets.compare_digest(token, channel.token):
            return said(401, {"message": "Invalid Webhook Token", "code": 50027})
        at = len(self.asked)
        self.asked.append(Asked(time.monotonic(), channel.name, request.method, "", 0))
        fault = next((one for one in self._faults if one.concerns(channel.name, request.method)), None)
        answer = self._limited(channel, request.method)
        if answer is None and fault is not None:
            fault.played += 1
            self.asked[at] = self.asked[at]._replace(form=fault.form)
        if answer is None:
            message_id = rest[1] if len(rest) > 1 and rest[0] == "messages" else ""
            answer = await self._answered(request, channel, version=version, message_id=message_id, fault=fault)
        self.asked[at] = self.asked[at]._replace(status=answer.status)
        return answer

    def _limited(self, channel: _Channel, method: str) -> web.StreamResponse | None:
        """429 once more, if one before has not run out."""
        for scope in (self._everywhere, channel):
            left = scope.limited_until - time.monotonic()
            if left > 0 and scope.limited_method in ("", method):
                self.premature += 1
                return limit(scope.limited_form, left)
        return None

    async def _answered(
        self, request: web.Request, channel: _Channel, *, version: str, message_id: str, fault: Fault | None
    ) -> web.StreamResponse:
        headers = self._counted(channel)
        if headers is None:
            self.provoked += 1
            return limit("limited", channel.window_from + self.window_s - time.monotonic())
        if fault is not None and fault.form in LIMITS:
            scope = self._everywhere if fault.form in ("limited_global", "cloudflare", "cloudflare_bar") else channel
            scope.limited_until, scope.limited_form = time.monotonic() + fault.retry_after, fault.form
            scope.limited_method = fault.method
            return limit(fault.form, fault.retry_after)
        if fault is not None and fault.form not in AFTER:
            return await instead(fault, request)
        answer = await self._taken(request, channel, version=version, message_id=message_id)
        answer.headers.update(headers)
        if fault is not None and answer.status < 300:
            return await afterwards(fault, request, answer)
        return answer

    def _counted(self, channel: _Channel) -> dict[str, str] | None:
        """Count a request in its channel's bucket: what the headers say then; None if it was one too many."""
        now = time.monotonic()
        if now >= channel.window_from + self.window_s:
            channel.window_from, channel.used = now, 0
        if channel.used >= self.burst:
            return None
        channel.used += 1
        after_s = channel.window_from + self.window_s - now
        return {
            "X-RateLimit-Limit": str(self.burst),
            "X-RateLimit-Remaining": str(self.burst - channel.used),
            "X-RateLimit-Reset": f"{time.time() + after_s:.3f}",
            "X-RateLimit-Reset-After": f"{after_s:.3f}",
            "X-RateLimit-Bucket": "b0ed7ed7",
        }

    async def _taken(self, request: web.Request, channel: _Channel, *, version: str, message_id: str) -> web.Response:
        """Do what Discord does with a request it can serve."""
        if (unfit := _unfit(request, version=version)) is not None:
            return unfit
        try:
            payload = await request.json()
        except ValueError:
            return said(400, {"message": "The request body contains invalid JSON.", "code": 50109})
        if request.method == "POST" and not message_id:
            return self._create(request, channel, payload)
        if request.method == "PATCH" and message_id:
            return self._change(request, channel, payload, message_id=message_id)
        return said(405, {"message": "405: Method Not Allowed", "code": 0})

    def _create(self, request: web.Request, channel: _Channel, payload: Any) -> web.Response:
        is_waited_for = request.query.get("wait", "").lower() in ("true", "1")
        found = breaches(payload)
        if not found:
            thread_id = request.query.get("thread_id", "")
            versions = [Version(time.time(), payload)]
            self.posted.append(Posted(self._snowflake(), channel.name, thread_id, versions, pinged=pinged(payload)))
        if not is_waited_for:
            return web.Response(status=204, headers=VIA)  # refused or not
        return _invalid(found) if found else _shown(self.posted[-1])

    def _change(self, request: web.Request, channel: _Channel, payload: Any, *, message_id: str) -> web.Response:
        if found := breaches(payload, edits=True):
            return _invalid(found)
        thread_id = request.query.get("thread_id", "")
        for one in self.messages(channel.name):
            if one.id == message_id and one.thread_id == thread_id:
                one.versions.append(Version(time.time(), one.payload | payload))
                return _shown(one)
        return unknown("Message", 10008)

    def _snowflake(self) -> str:
        self._count += 1
        return str((time.time_ns() // 1_000_000 - EPOCH_MS << 22) + (self._count & 0xFFF))


def pinged(payload: dict[str, Any]) -> tuple[str, ...]:
    """Whom a new message notifies: `everyone`, and ids of roles and users. Without `allowed_mentions`: all it names."""
    text, allowed = payload.get("content") or "", payload.get("allowed_mentions")
    parse = {"everyone", "roles", "users"} if allowed is None else set(allowed.get("parse", ()))
    named = {kind: set((allowed or {}).get(kind, ())) for kind in ("roles", "users")}
    found = {"everyone"} if re.search("@everyone|@here", text) and "everyone" in parse else set()
    for kind, pattern in (("roles", r"<@&(\d+)>"), ("users", r"<@!?(\d+)>")):
        found |= {one for one in re.findall(pattern, text) if kind in parse or one in named[kind]}
    return tuple(sorted(found))


def _unfit(request: web.Request, *, version: str) -> web.Response | None:
    if not _AGENT.fullmatch(request.headers.get("User-Agent", "")):
        return said(403, {"message": "Cloudflare is blocking your request.", "code": 40333})
    if "Authorization" in request.headers:  # a webhook needs none, and a wrong one is refused
        return said(401, {"message": "401: Unauthorized", "code": 0})
    if version != _VERSION:
        return said(400, {"message": "Invalid API version provided", "code": 50041})
    if request.content_type != "application/json":
        return said(400, {"message": "Invalid Form Body", "code": 50035})
    return None


def _invalid(found: list[Any]) -> web.Response:
    if any(one.code == "EMPTY_MESSAGE" for one in found):
        return said(400, {"message": "Cannot send an empty message", "code": 50006})
    return said(400, {"code": 50035, "message": "Invalid Form Body", "errors": error_tree(found)})


def _shown(one: Posted) -> web.Response:
    return said(200, one.payload | {"id": one.id, "channel_id": "1", "type": 0, "timestamp": str(one.at)})


if __name__ == "__main__":
    from tests.support.discord_control import main

    main()
