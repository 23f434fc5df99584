"""Subscriptions as server-sent events: always an event stream, also for a refusal."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import msgspec

from perseus.web.trpc.calls import Calls, iterator_of, runnable, uncancelled
from perseus.web.trpc.encoding import encode, encode_shape
from perseus.web.trpc.errors import TRPCError
from perseus.web.trpc.limits import Limits
from perseus.web.trpc.outgoing import ClientGone, Outgoing, Send, Stream
from perseus.web.trpc.plans import last_event_id
from perseus.web.trpc.request import Request
from perseus.web.trpc.subscriptions import checked_id, is_fit_id, pump
from perseus.web.trpc.values import Tracked

_HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
# The empty data lines are needed: an EventSource does not dispatch an event without one.
_PING: Final = b"event: ping\ndata: \n\n"
_RETURN: Final = b"event: return\ndata: \n\n"


class EventStreams:
    """Answers subscriptions over HTTP, and knows which are open."""

    def __init__(self, calls: Calls, limits: Limits) -> None:
        self._calls = calls
        self._limits = limits
        self._connected = b"event: connected\ndata: " + _client_options(limits) + b"\n\n"
        self.open: set[Stream] = set()
        self.closing = False

    async def __call__(self, request: Request, context: Any, refusal: TRPCError | None, send: Send) -> None:
        """Answer one request with events until the procedure ends, the client leaves, or the server ends it."""
        stream, out = Stream(), Outgoing(send, stall_s=self._limits.stall_timeout_s)
        refusal = refusal or self._refusal()
        self.open.add(stream)
        try:
            headers = [*_HEADERS, *request.response_headers]
            await out.write({"type": "http.response.start", "status": 200, "headers": headers})
            with suppress(ClientGone):
                await self._send_all(request, context, refusal, stream, out)
        finally:
            self.open.discard(stream)

    def _refusal(self) -> TRPCError | None:
        # Retryable: clients wait and come back.
        if self.closing:
            return TRPCError("SERVICE_UNAVAILABLE", "The server is shutting down")
        if len(self.open) >= self._limits.event_streams:
            return TRPCError("SERVICE_UNAVAILABLE", f"{len(self.open)} event streams are open, which is the limit")
        return None

    async def _send_all(
        self, request: Request, context: Any, refusal: TRPCError | None, stream: Stream, out: Outgoing
    ) -> None:
        beat = asyncio.create_task(stream.beat(out, _PING, every_s=self._limits.events_ping_s), name="ping")
        try:
            last = await self._events(request, context, refusal, out)
        except asyncio.CancelledError:
            if not stream.ended or stream.task.uncancel() > 0:
                raise
            last = b""
        finally:
            beat.cancel()
        await out.write({"type": "http.response.body", "body": last})

    async def _events(self, request: Request, context: Any, refusal: TRPCError | None, out: Outgoing) -> bytes:
        """Send `connected` and every value. The last event is left to the caller: it ends the response."""
        events = _Events(out, self._connected, resumed=last_event_id(request.headers, request.plan))
        path = request.plan.paths[0]
        try:
            iterator = await iterator_of(await self._start(request, context, refusal), path)
            await pump(iterator, opened=events.connect, emit=events.emit)
        except ClientGone:
            raise
        except asyncio.CancelledError as error:
            failure: BaseException = uncancelled(error)
        except Exception as error:  # noqa: BLE001 - the client is told of each
            failure = error
        else:
            return _RETURN
        await events.connect()
        return b"event: serialized-error\ndata: " + encode_shape(self._calls.describe(failure, path), path) + b"\n\n"

    async def _start(self, request: Request, context: Any, refusal: TRPCError | None) -> Any:
        call = runnable(request.calls[0])
        return await self._calls.value(runnable(refusal or call), context)


class _Events:
    """One stream's values as events, with the id that an EventSource would give to those that have none."""

    def __init__(self, out: Outgoing, connected: bytes, *, resumed: str | None) -> None:
        self._out = out
        self._connected = connected
        self._is_connected = False
        self._last = resumed.encode() if resumed is not None and is_fit_id(resumed) else None

    async def connect(self) -> None:
        """Send `connected`, once."""
        if not self._is_connected:
            self._is_connected = True
            await self._out.part(self._connected)

    async def emit(self, value: Any) -> None:
        """Send one value."""
        if isinstance(value, Tracked):
            self._last = checked_id(value).encode()
            await self._out.part(b"data: " + _data(value.value) + b"\nid: " + self._last + b"\n\n")
        elif self._last is None:
            await self._out.part(b"data: " + _data(value) + b"\n\n")
        else:
            # Without an id of its own it would get the last one, and be taken for a tracked value.
            restored = b"event: restore-id\ndata: \nid: " + self._last + b"\n\n"
            await self._out.part(b"data: " + _data(value) + b"\nid: \n\n" + restored)


def _data(value: Any) -> bytes:
    return encode(value) or b"null"


def _client_options(limits: Limits) -> bytes:
    if limits.events_reconnect_s is None:
        return b"{}"
    return msgspec.json.encode({"reconnectAfterInactivityMs": round(limits.events_reconnect_s * 1000)})
