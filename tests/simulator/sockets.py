"""A Binance WebSocket client for tests: collects frames until it has seen what it waits for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import aiohttp


class Wire:
    """One raw connection; frames are kept in the order they came."""

    def __init__(self, client: aiohttp.ClientSession, url: str) -> None:
        self._client = client
        self._url = url
        self.frames: list[dict[str, Any]] = []
        self.pings = 0

    async def __aenter__(self) -> Self:
        self.ws = await self._client.ws_connect(self._url, autoping=False, autoclose=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.ws.close()

    async def request(self, method: str, *params: Any, id: int = 1) -> dict[str, Any]:
        """Send a request and return its answer; frames before it are kept."""
        await self.ws.send_str(json.dumps({"method": method, "params": params, "id": id}))
        return await self.until(lambda frame: "result" in frame or "code" in frame)

    async def receive(self) -> aiohttp.WSMessage:
        """Return the next message that is not a ping, answering pings."""
        while True:
            message = await self.ws.receive()
            if message.type is not aiohttp.WSMsgType.PING:
                return message
            self.pings += 1
            await self.ws.pong(message.data)

    async def until(self, wanted: Callable[[dict[str, Any]], bool], *, timeout: float = 15.0) -> dict[str, Any]:
        """Read on until a frame is the wanted one, and return it. Raises: TimeoutError, ConnectionError at the end."""
        async with asyncio.timeout(timeout):
            while True:
                message = await self.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise ConnectionError(f"The connection ended with {message.type.name}: {message.data}")
                frame: dict[str, Any] = json.loads(message.data)
                self.frames.append(frame)
                if wanted(frame):
                    return frame

    async def until_pings(self, count: int) -> None:
        """Read on until the server has pinged so often."""
        async with asyncio.timeout(15):
            while self.pings < count:
                message = await self.ws.receive()
                if message.type is aiohttp.WSMsgType.PING:
                    self.pings += 1
                    await self.ws.pong(message.data)
                else:
                    self.frames.append(json.loads(message.data))

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of one type seen so far."""
        return [frame for frame in self.frames if frame.get("e") == kind]


def is_closed_kline(frame: dict[str, Any]) -> bool:
    """True for the frame that says a candle closed."""
    return frame.get("e") == "kline" and frame["k"]["x"] is True


def is_trade(frame: dict[str, Any]) -> bool:
    """True for a trade."""
    return frame.get("e") == "trade"
