"""Frames of the bundled simulator, recorded at run time, and followed symbols that are warm when they begin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from perseus.exchanges.binance_parse import streams_of
from perseus.instances.candle_writer import CandleWriter
from perseus.instances.followed import FollowedSymbol
from perseus.instances.instance import Instance
from perseus.instances.warmup import warm_symbol
from perseus.model import Timeframe
from tests.support.venue import adapter_of, running_simulator
from tests.support.waiting import wait_until_async

SYMBOLS = 25
CANDLES_KEPT = 1500
FRAMES_A_SECOND = 40  # of the market, roughly
SPEED = 5.0  # the recorded market runs this many times as fast: a minute's end is in every recording


@dataclass(frozen=True)
class Recording:
    """Raw frames in the order of arrival, the first ones older than the symbols' history; and a writer into a store."""

    frames: tuple[str, ...]
    followed: dict[str, FollowedSymbol]
    writer: CandleWriter

    @property
    def mix(self) -> str:
        """How many of what."""
        trades = sum('@trade"' in frame for frame in self.frames)
        size = sum(map(len, self.frames)) / len(self.frames)
        updates = len(self.frames) - trades
        return f"{trades} trades and {updates} candle updates of {SYMBOLS} symbols, {size:.0f} bytes each"


@asynccontextmanager
async def recorded(me: Instance, *, market_seconds: float) -> AsyncIterator[Recording]:
    """Record this much of the market, in the mix the adapter subscribes to, while warming the symbols up."""
    frames: list[str] = []
    async with running_simulator(speed=SPEED) as simulator, adapter_of(simulator) as adapter:
        await adapter.synchronize()
        symbols = await adapter.symbols(SYMBOLS)
        async with aiohttp.ClientSession() as session:
            recorder = asyncio.create_task(_record(session, f"{simulator.ws_url}/binance", streams_of(symbols), frames))
            await wait_until_async(lambda: bool(frames), description="the first frame came")
            writer = CandleWriter(me, timeframes=Timeframe, kept=CANDLES_KEPT)
            followed = {symbol.native: FollowedSymbol(symbol, now=me.clock.now()) for symbol in symbols}
            for one in followed.values():
                await warm_symbol(one, adapter=adapter, writer=writer)
            wanted = market_seconds * FRAMES_A_SECOND
            await wait_until_async(
                lambda: len(frames) > wanted or recorder.done(), description=f"{wanted:.0f} frames", timeout=60
            )
            recorder.cancel()
    yield Recording(tuple(frames), followed, writer)


async def _record(session: aiohttp.ClientSession, url: str, streams: list[str], frames: list[str]) -> None:
    async with session.ws_connect(f"{url}/stream") as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": streams, "id": 1})
        async for message in socket:
            if message.data.startswith('{"stream"'):
                frames.append(message.data)
