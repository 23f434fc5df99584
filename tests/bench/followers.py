"""A peer following the market: `python -m tests.bench.followers SUBJECT WS_URL STREAM …`, until killed.

It prints one line when the first frame has come. What it does with a frame is `handling_of` its subject, no more:
nothing is folded, kept or written.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

PLAIN = "json.loads + Decimal"
PYTHON_BINANCE = "python-binance"


def plain(text: str) -> tuple[Decimal, ...]:
    """A frame's numbers as decimals, by the standard library: the same values ours takes."""
    event = json.loads(text)["data"]
    if event["e"] == "trade":
        return Decimal(event["p"]), Decimal(event["q"])
    return tuple(Decimal(event["k"][name]) for name in "ohlcv")


def handling_of(subject: str) -> Callable[[str], Any]:
    """What a peer makes of one frame. python-binance leaves its numbers as text."""
    if subject == PLAIN:
        return plain
    from binance.ws.reconnecting_websocket import ReconnectingWebsocket

    handle: Callable[[str], Any] = ReconnectingWebsocket(url="")._handle_message
    return handle


async def follow_plainly(url: str, streams: list[str]) -> None:
    """aiohttp and the standard library."""
    import aiohttp

    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/stream", compress=0) as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": streams, "id": 1})
        await socket.receive()
        print("{}", flush=True)
        async for message in socket:
            if message.data.startswith('{"stream"'):
                plain(message.data)


async def follow_with_python_binance(url: str, streams: list[str]) -> None:
    """python-binance's socket manager, as its documentation shows it, with another base URL."""
    from binance import AsyncClient
    from binance.ws.streams import BinanceSocketManager

    manager = BinanceSocketManager(AsyncClient())
    manager.STREAM_URL = f"{url}/"
    async with manager.multiplex_socket(streams) as socket:
        await socket.recv()
        print("{}", flush=True)
        while True:
            await socket.recv()


if __name__ == "__main__":
    follow = follow_plainly if sys.argv[1] == PLAIN else follow_with_python_binance
    asyncio.run(follow(sys.argv[2], sys.argv[3:]))
