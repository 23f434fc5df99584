"""Recorded frames played to every WebSocket that connects, instead of generated ones.

A recording has one JSON object a line: `{"kind": "connect|send|recv", "ts": <seconds or null>, "url": …, "data": <raw
text>}`. Received frames are played verbatim, at the pace of their `ts` (at once where it is null); the other lines
only say what happened. The client's requests are acknowledged in Binance's manner and otherwise ignored. After the
last frame the socket stays open and answers pings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from aiohttp import ClientConnectionResetError, WSMsgType, web


class _Line(msgspec.Struct):
    kind: str
    ts: float | None = None
    data: str = ""


class RecordedFrame(NamedTuple):
    """One frame, `wait` seconds after the one before it."""

    wait: float
    data: str


def read_recording(path: Path) -> list[RecordedFrame]:
    """Read the received frames of a recording.

    Raises: OSError if it cannot be read; ValueError, naming the line, if a line is not of the documented form, or if
        there is nothing to play.
    """
    frames = list(_frames(path))
    if not frames:
        raise ValueError(f"{path} holds no received frame: nothing can be played.")
    return frames


def _frames(path: Path) -> Iterator[RecordedFrame]:
    decoder = msgspec.json.Decoder(_Line)
    last_ts: float | None = None
    with path.open(encoding="utf-8") as lines:
        for number, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            try:
                line = decoder.decode(text)
            except msgspec.DecodeError as error:
                raise ValueError(f"{path}, line {number}, is not a recorded frame: {error}.") from error
            if line.kind != "recv":
                continue
            wait = 0.0 if line.ts is None or last_ts is None else max(0.0, line.ts - last_ts)
            last_ts = last_ts if line.ts is None else line.ts
            yield RecordedFrame(wait, line.data)


class Replay:
    """Plays one recording, from its beginning, to each client. `speed` 2.0 is twice as fast as recorded."""

    def __init__(self, frames: list[RecordedFrame], *, speed: float = 1.0) -> None:
        self._frames = frames
        self._speed = speed

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one WebSocket, whatever its path."""
        ws = web.WebSocketResponse(compress=False, timeout=2)
        if not ws.can_prepare(request):
            raise web.HTTPNotFound
        await ws.prepare(request)
        async with asyncio.TaskGroup() as tasks:
            player = tasks.create_task(self._play(ws), name="simulator-replay")
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    await ws.send_str(_acknowledgement(message.data))
            player.cancel()
        return ws

    async def _play(self, ws: web.WebSocketResponse) -> None:
        try:
            for frame in self._frames:
                await asyncio.sleep(frame.wait / self._speed)
                await ws.send_str(frame.data)
        except ClientConnectionResetError:
            return  # the client left: receiving ends too


def _acknowledgement(request: str) -> str:
    try:
        decoded = msgspec.json.decode(request)
    except msgspec.DecodeError as error:
        return msgspec.json.encode({"code": 3, "msg": f"Invalid JSON: {error}"}).decode()
    request_id = decoded.get("id") if isinstance(decoded, dict) else None
    return msgspec.json.encode({"result": None, "id": request_id}).decode()
