"""A simulated Binance: binance.com and binance.us differ in what they list and in their limits.

Below the venue's prefix (`/binance`, `/binance_us`) are the real paths: `/api/v3/…`, `/ws`, `/ws/<streams>`,
`/stream?streams=<a>/<b>`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from aiohttp import web

from perseus.simulator.binance_feed import BinanceFeed, encode
from perseus.simulator.binance_rest import ANSWERS, Answer, Moment, Refused, Weight
from perseus.simulator.binance_socket import STREAMS_PER_CONNECTION, BinanceSocket
from perseus.simulator.connections import Handler
from perseus.simulator.faults import Fault, FaultBoard
from perseus.simulator.limits import WeightLimit
from perseus.simulator.market import Market


class Rules(NamedTuple):
    """How one of the two differs from the other. Source: their public documentation."""

    weight_limit: int
    ping_seconds: float


RULES_BY_VENUE = {"binance": Rules(6000, 20), "binance_us": Rules(1200, 180)}

CODES = {
    418: (-1003, "Way too much request weight used; IP banned until {until}. Please use WebSocket Streams."),
    429: (-1003, "Too much request weight used; current limit is {limit} request weight per 1 MINUTE."),
    451: (0, "Service unavailable from a restricted location according to 'b. Eligibility' in the Terms of Use."),
    500: (-1000, "An unknown error occurred while processing the request."),
    503: (-1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
}


class BinanceVenue:
    """One simulated venue: its market, its limits, its sockets, its feed."""

    def __init__(
        self,
        name: str,
        faults: FaultBoard,
        *,
        seed: int,
        clock: Callable[[], float] = time.time,
        ping_seconds: float | None = None,
    ) -> None:
        self.name = name
        self.market = Market(seed, name)
        self._clock = clock
        self._faults = faults
        self._rules = RULES_BY_VENUE[name]
        self._ping_seconds = self._rules.ping_seconds if ping_seconds is None else ping_seconds
        self._limit = WeightLimit(self._rules.weight_limit)
        self._sockets: set[BinanceSocket] = set()
        self.feed = BinanceFeed(self.market, faults, now_ms=self.now_ms)

    def now_ms(self) -> int:
        """Read the venue's clock: the host's, plus what the `skew` fault adds."""
        skew = self._faults.find("skew", venue=self.name)
        return int(self._clock() * 1000) + (skew.ms if skew else 0)

    def routes(self) -> list[web.RouteDef]:
        """List the venue's paths, to be added to an application."""
        prefix = f"/{self.name}"
        return [
            *(web.get(f"{prefix}/api/v3/{path}", self._rest(*answer)) for path, answer in ANSWERS.items()),
            web.get(f"{prefix}/ws", self._raw_socket),
            web.get(f"{prefix}/ws/{{streams:.*}}", self._raw_socket),
            web.get(f"{prefix}/stream", self._combined_socket),
        ]

    async def strike(self, fault: Fault) -> None:
        """Do what a fault does at once."""
        sockets = list(self._sockets)
        if fault.fault == "reset":
            for one in sockets:
                one.reset()
        elif fault.fault == "text":
            for one in sockets:
                one.send_text(fault.text)
        elif fault.fault == "close_24h":
            await asyncio.gather(*(one.close(reason="The connection is 24 hours old.") for one in sockets))
        elif fault.fault == "shutdown":
            for one in sockets:
                one.send_event({"e": "serverShutdown", "E": self.now_ms()})
            await asyncio.sleep(fault.ms / 1000)
            await asyncio.gather(*(one.close(reason="The server shuts down.") for one in sockets))

    def drop_all(self) -> None:
        """Drop every WebSocket without ceremony: the simulator ends."""
        for one in list(self._sockets):
            one.reset()

    def _rest(self, answer: Answer, weight: Weight) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            slow = self._faults.take("slow", venue=self.name, path=request.path)
            if slow is not None:
                await asyncio.sleep(slow.ms / 1000)
            fault = self._faults.take("http", venue=self.name, path=request.path)
            if fault is not None:
                return self._refusal(fault.status, retry_after=fault.retry_after)
            now_ms = self.now_ms()
            verdict = self._limit.use(request.remote or "", weight(request.query), now_ms=now_ms)
            headers = {"X-MBX-USED-WEIGHT": str(verdict.used), "X-MBX-USED-WEIGHT-1M": str(verdict.used)}
            if verdict.status != 200:
                return self._refusal(verdict.status, retry_after=verdict.retry_after, headers=headers)
            try:
                body = answer(Moment(self.market, now_ms, self._limit.per_minute), request.query)
            except Refused as refused:
                body = {"code": refused.code, "msg": refused.message}
                return _json(body, status=refused.status, headers=headers)
            holes = self._faults.take("holes", venue=self.name, symbol=request.query.get("symbol"))
            if holes is not None and request.path.endswith("/klines"):
                body = [row for row in body if row[0] // 60_000 % holes.every]
            return _json(body, headers=headers)

        return handle

    def _refusal(self, status: int, *, retry_after: int | None, headers: dict[str, str] | None = None) -> web.Response:
        code, text = CODES.get(status, CODES[500])
        until = self.now_ms() + 1000 * (retry_after or 0)
        message = text.format(limit=self._limit.per_minute, until=until)
        extra = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return _json({"code": code, "msg": message}, status=status, headers={**(headers or {}), **extra})

    async def _raw_socket(self, request: web.Request) -> web.StreamResponse:
        streams = request.match_info.get("streams", "")
        return await self._socket(request, streams.split("/"), is_combined=False)

    async def _combined_socket(self, request: web.Request) -> web.StreamResponse:
        return await self._socket(request, request.query.get("streams", "").split("/"), is_combined=True)

    async def _socket(self, request: web.Request, streams: list[str], *, is_combined: bool) -> web.StreamResponse:
        named = [stream for stream in streams if stream]
        if len(named) > STREAMS_PER_CONNECTION:
            return web.Response(status=400, text=f"More than {STREAMS_PER_CONNECTION} streams on one connection.")
        one = BinanceSocket(
            self.feed, self._faults, venue=self.name, is_combined=is_combined, ping_seconds=self._ping_seconds
        )
        self._sockets.add(one)
        try:
            return await one.serve(request, named)
        finally:
            self._sockets.discard(one)


def _json(body: object, *, status: int = 200, headers: dict[str, str]) -> web.Response:
    return web.Response(body=encode(body), status=status, content_type="application/json", headers=headers)
