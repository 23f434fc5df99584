"""One client's WebSocket on a simulated Binance: its subscriptions, its requests, its pings.

Source: the venue's public WebSocket documentation. Unverified: the close codes, and what happens past 1024 streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Literal

import msgspec
from aiohttp import ClientConnectionResetError, WSCloseCode, WSMessage, WSMsgType, web

from perseus.simulator.binance_feed import BinanceFeed, Frame, encode
from perseus.simulator.connections import reset_connection
from perseus.simulator.faults import FaultBoard
from perseus.simulator.limits import MessageRate

MESSAGES_PER_SECOND = 5
STREAMS_PER_CONNECTION = 1024
PONG_WITHIN_SECONDS = 60.0
LONGEST_SECONDS = 24 * 3600
BACKLOG_FRAMES = 20_000


class _Request(msgspec.Struct):
    method: Literal["SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY"]
    params: list[Any] = []
    id: int | str | None = None


class _Invalid(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class BinanceSocket:
    """A listener of the feed with an outbox, so that a slow client delays nobody else."""

    def __init__(
        self, feed: BinanceFeed, faults: FaultBoard, *, venue: str, is_combined: bool, ping_seconds: float
    ) -> None:
        self._feed = feed
        self._faults = faults
        self._venue = venue
        self._is_combined = is_combined
        self._ping_seconds = ping_seconds
        self._ws = web.WebSocketResponse(autoping=False, compress=False, timeout=2)
        self._transport: asyncio.Transport | None = None
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG_FRAMES)
        self._streams: dict[str, None] = {}
        self._rate = MessageRate(MESSAGES_PER_SECOND)
        self._opened_at = self._pong_at = time.monotonic()

    async def serve(self, request: web.Request, streams: list[str]) -> web.WebSocketResponse:
        """Talk to one client until either side ends it."""
        await self._ws.prepare(request)
        self._transport = request.transport
        self._subscribe(streams)
        try:
            async with asyncio.TaskGroup() as tasks:
                sender = tasks.create_task(self._send_all(), name="simulator-send")
                pinger = tasks.create_task(self._ping(), name="simulator-ping")
                await self._receive_all()
                sender.cancel()
                pinger.cancel()
        finally:
            self._unsubscribe(list(self._streams))
        return self._ws

    def send(self, frame: Frame) -> None:
        """Queue market data; a client too slow to read it is dropped."""
        self._queue(frame.combined if self._is_combined else frame.raw)

    def send_text(self, text: str) -> None:
        """Queue a text as it is, whatever it contains."""
        self._queue(text.encode())

    def send_event(self, payload: dict[str, Any]) -> None:
        """Queue an event that belongs to no stream."""
        self._queue(encode(payload))

    def reset(self) -> None:
        """Drop the connection at once with a TCP reset."""
        reset_connection(self._transport)

    async def close(self, code: int = WSCloseCode.GOING_AWAY, reason: str = "") -> None:
        """Close the connection with a WebSocket close frame."""
        await self._ws.close(code=code, message=reason.encode())

    def _queue(self, data: bytes) -> None:
        try:
            self._outbox.put_nowait(data)
        except asyncio.QueueFull:
            self.reset()

    async def _send_all(self) -> None:
        with contextlib.suppress(ClientConnectionResetError):  # the client left: receiving ends too
            while True:
                await self._ws.send_frame(await self._outbox.get(), WSMsgType.TEXT)

    async def _ping(self) -> None:
        with contextlib.suppress(ClientConnectionResetError):
            while True:
                await asyncio.sleep(self._ping_seconds)
                now = time.monotonic()
                if now - self._opened_at >= LONGEST_SECONDS:
                    await self.close(reason="The connection is 24 hours old.")
                elif now - self._pong_at >= PONG_WITHIN_SECONDS + self._ping_seconds:
                    await self.close(WSCloseCode.POLICY_VIOLATION, "Pong timeout")
                else:
                    await self._ws.ping(str(int(time.time() * 1000)).encode())

    async def _receive_all(self) -> None:
        with contextlib.suppress(ClientConnectionResetError):
            async for message in self._ws:
                if self._rate.is_exceeded(time.monotonic()):
                    await self.close(WSCloseCode.POLICY_VIOLATION, "Too many requests")
                elif message.type is WSMsgType.PONG:
                    self._pong_at = time.monotonic()
                elif message.type is WSMsgType.PING:
                    if self._faults.take("no_pong", venue=self._venue) is None:
                        await self._ws.pong(message.data)
                elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._queue(encode(self._answer(message)))

    def _answer(self, message: WSMessage) -> dict[str, Any]:
        try:
            request = _decode(message.data)
            return {"result": self._do(request), "id": request.id}
        except _Invalid as error:
            return {"code": error.code, "msg": str(error)}

    def _do(self, request: _Request) -> Any:
        if request.method == "LIST_SUBSCRIPTIONS":
            return list(self._streams)
        if request.method in ("SET_PROPERTY", "GET_PROPERTY"):
            return self._property(request)
        streams = [stream for stream in request.params if isinstance(stream, str)]
        if not streams or len(streams) != len(request.params):
            raise _Invalid(2, "Invalid request: `params` must be an array of stream names")
        if request.method == "UNSUBSCRIBE":
            self._unsubscribe(streams)
        elif len(self._streams.keys() | set(streams)) > STREAMS_PER_CONNECTION:
            raise _Invalid(2, f"Invalid request: more than {STREAMS_PER_CONNECTION} streams on one connection")
        else:
            self._subscribe(streams)
        return None

    def _property(self, request: _Request) -> bool | None:
        if request.params[:1] != ["combined"]:
            raise _Invalid(0, "Unknown property")
        if request.method == "GET_PROPERTY":
            return self._is_combined
        value = request.params[1] if len(request.params) == 2 else None
        if not isinstance(value, bool):
            raise _Invalid(1, "Invalid value type: expected Boolean")
        self._is_combined = value
        return None

    def _subscribe(self, streams: list[str]) -> None:
        for stream in streams:
            self._streams[stream] = None
            self._feed.subscribe(self, stream)

    def _unsubscribe(self, streams: list[str]) -> None:
        for stream in streams:
            self._streams.pop(stream, None)
            self._feed.unsubscribe(self, stream)


def _decode(data: str | bytes) -> _Request:
    try:
        return msgspec.json.decode(data, type=_Request)
    except msgspec.ValidationError as error:
        raise _Invalid(2, f"Invalid request: {error}") from error
    except msgspec.DecodeError as error:
        raise _Invalid(3, f"Invalid JSON: {error}") from error
