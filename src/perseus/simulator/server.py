"""The simulator as a running HTTP server: every venue under its own prefix, faults under `/control`."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from perseus.accepting import take_no_more
from perseus.simulator.binance import RULES_BY_VENUE, BinanceVenue
from perseus.simulator.connections import Handler, reset_connection
from perseus.simulator.faults import AT_ONCE, Fault, FaultBoard
from perseus.simulator.replay import Replay, read_recording


class Simulator:
    """A running simulator. `port` and `tls_port` are the real ones, also when 0 was asked for."""

    def __init__(
        self, runner: web.AppRunner, venues: dict[str, BinanceVenue], faults: FaultBoard, *, host: str
    ) -> None:
        self._runner = runner
        self._listeners: list[asyncio.Server] = []
        self.venues = venues
        self.faults = faults
        self.host = host
        self.port = 0
        self.tls_port: int | None = None
        self.feeds = asyncio.create_task(self._run_feeds(), name="simulator-feeds")

    async def _run_feeds(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for venue in self.venues.values():
                tasks.create_task(venue.feed.run(), name=f"simulator-feed-{venue.name}")

    @property
    def url(self) -> str:
        """The base URL; a venue's REST is below `/<venue>`."""
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """The base URL for WebSockets."""
        return f"ws://{self.host}:{self.port}"

    async def aclose(self) -> None:
        """Drop every client and stop listening. Raises: whatever ended the feeds before."""
        self.feeds.cancel()
        for venue in self.venues.values():
            venue.drop_all()
        await take_no_more(self._listeners)
        await self._runner.cleanup()
        try:
            await self.feeds
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise

    async def listen(self, port: int, *, context: ssl.SSLContext | None = None) -> int:
        """Listen on one more port, with TLS if there is a context; 0 is one the system chooses. Raises: OSError."""
        if (connected := self._runner.server) is None:
            raise RuntimeError("the simulator listens before it was set up")
        listener = await asyncio.get_running_loop().create_server(connected, self.host, port, ssl=context)
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])


async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 0,
    replay: Path | None = None,
    speed: float = 1.0,
    tls_port: int | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    clock: Callable[[], float] = time.time,
    ping_seconds: float | None = None,
) -> Simulator:
    """Start every simulated venue and return once it can be reached.

    `port` 0 takes a free one. With `replay` every WebSocket gets the recorded frames instead of generated ones.
    `clock` gives the venues' time in Unix seconds; `ping_seconds` overrides how often they ping.
    Raises: OSError if a port or a file cannot be used, ValueError if the recording cannot be played.
    """
    context = _tls_context(tls_cert, tls_key) if tls_port is not None else None
    player = Replay(read_recording(replay), speed=speed) if replay is not None else None
    faults = FaultBoard()
    venues = {
        name: BinanceVenue(name, faults, seed=seed, clock=clock, ping_seconds=ping_seconds) for name in RULES_BY_VENUE
    }
    runner = web.AppRunner(_application(venues, faults, player), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    simulator = Simulator(runner, venues, faults, host=host)
    try:
        simulator.port = await simulator.listen(port)
        if tls_port is not None:
            simulator.tls_port = await simulator.listen(tls_port, context=context)
    except OSError:
        await simulator.aclose()
        raise
    return simulator


def _tls_context(cert: Path | None, key: Path | None) -> ssl.SSLContext:
    if cert is None or key is None:
        raise ValueError("TLS needs a certificate and its key: none is made here.")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return context


def _application(venues: dict[str, BinanceVenue], faults: FaultBoard, player: Replay | None) -> web.Application:
    control = _Control(venues, faults)
    application = web.Application(middlewares=[_refuse(venues, faults)])
    application.add_routes(
        [
            web.get("/", control.index),
            web.get("/control", control.list),
            web.post("/control", control.post),
            web.delete("/control", control.clear),
            web.delete("/control/{id:[0-9]+}", control.clear),
        ]
    )
    for venue in venues.values():
        routes = venue.routes()
        if player is not None:
            routes = [route for route in routes if "/api/" in route.path]
        application.add_routes(routes)
    if player is not None:
        application.add_routes([web.get("/{path:.*}", player.handle)])
    return application


def _refuse(venues: dict[str, BinanceVenue], faults: FaultBoard) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        venue = request.path.split("/")[1]
        if venue in venues and faults.take("refuse", venue=venue):
            reset_connection(request.transport)
        return await handler(request)

    return middleware


class _Control:
    """The `/control` door: see `faults`."""

    def __init__(self, venues: dict[str, BinanceVenue], faults: FaultBoard) -> None:
        self._venues = venues
        self._faults = faults

    async def index(self, request: web.Request) -> web.Response:
        """List the venues' prefixes."""
        return _json({"venues": [f"/{name}" for name in self._venues], "faults": "/control"})

    async def list(self, request: web.Request) -> web.Response:
        """List the active faults."""
        return _json(self._faults.active())

    async def post(self, request: web.Request) -> web.Response:
        """Begin a fault."""
        try:
            fault = self._faults.post(msgspec.json.decode(await request.read(), type=Fault))
        except (msgspec.DecodeError, ValueError) as error:
            return _json({"error": str(error)}, status=400)
        if fault.venue is not None and fault.venue not in self._venues:
            self._faults.clear(fault.id)
            return _json(
                {"error": f'There is no venue "{fault.venue}". Known are: {", ".join(self._venues)}.'}, status=400
            )
        if fault.fault in AT_ONCE:
            struck = [venue for name, venue in self._venues.items() if fault.venue in (None, name)]
            await asyncio.gather(*(venue.strike(fault) for venue in struck))
        return _json(fault)

    async def clear(self, request: web.Request) -> web.Response:
        """End one fault, or all."""
        fault_id = request.match_info.get("id")
        return _json({"ended": self._faults.clear(None if fault_id is None else int(fault_id))})


def _json(body: object, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
