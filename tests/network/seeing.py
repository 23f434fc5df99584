"""A snapshot that runs for a test, and instances as the store shows them, without a process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from perseus import keys, lease
from perseus.clock import Clock, SystemClock, iso
from perseus.model import Exchange, exchange_named
from perseus.network.changes import Change, Changes
from perseus.network.exchange_list import ExchangeList, Load
from perseus.network.shared_pages import SharedPages
from perseus.network.snapshot import Snapshot
from perseus.store import Store
from tests.support.instances import payload
from tests.support.servers import Server

EVERY_S = 0.2
BINANCE, KRAKEN = exchange_named("binance"), exchange_named("kraken")


class Seen:
    """What a web server serves from: `snapshot`, `pages` and `changes`, as procedures find them in their context."""

    def __init__(
        self, store: Store, *, load: Load | None = None, every_s: float = EVERY_S, clock: Clock | None = None
    ) -> None:
        clock = clock or SystemClock()
        self.snapshot = Snapshot(store, exchanges=ExchangeList(load, clock=clock), clock=clock, every_s=every_s)
        self.pages = SharedPages(store, snapshot=self.snapshot, clock=clock)
        self.changes = Changes(self.snapshot)

    async def cards(self) -> dict[str, Any]:
        """The cards by exchange, as `network.getInstances` answers them."""
        answer = json.loads(await self.snapshot.instances())
        return {card["exchangeName"]: card for card in answer["instances"]}

    async def healths(self) -> dict[str, str]:
        """What is concluded, by exchange."""
        return {name: card["health"] for name, card in (await self.cards()).items()}


@asynccontextmanager
async def seeing(
    store: Store, *, load: Load | None = None, every_s: float = EVERY_S, clock: Clock | None = None
) -> AsyncIterator[Seen]:
    """A snapshot that reads while the block runs."""
    seen = Seen(store, load=load, every_s=every_s, clock=clock)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(seen.snapshot.run())
        try:
            yield seen
        finally:
            running.cancel()


def publish(server: Server, exchange: Exchange = BINANCE, *, ttl_ms: int = 60_000, **fields: Any) -> None:
    """What an instance's renewal leaves in the store: its status and the same as its last snapshot."""
    own: dict[str, Any] = {
        "ttl_ms": ttl_ms,
        "heartbeat_interval_ms": ttl_ms // 3,
        "last_heartbeat": iso(_now_ms(server)),
    }
    status = payload(**(own | {"exchange_id": exchange.id, "exchange_name": exchange.name} | fields))
    server.call("SET", keys.status(exchange.id), lease.encode_status(status), "PX", ttl_ms)
    server.call("SET", keys.last(exchange.id), lease.encode_status(status), "EX", keys.LAST_TTL_S)


def _now_ms(server: Server) -> int:
    seconds, micros = server.call("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


class Listener:
    """A subscriber that notes what it is told."""

    def __init__(self, changes: Changes, last_event_id: str | None = None) -> None:
        self.ids: list[str] = []
        self.told: list[dict[str, Any]] = []
        self._changes = changes.follow(last_event_id)

    async def listen(self) -> None:
        """Note what comes, for ever."""
        async for change in self._changes:
            self.note(change)

    def note(self, change: Change) -> None:
        """Note one change."""
        self.ids.append(change.id)
        self.told.append(json.loads(change.encoded))

    def kinds(self) -> list[str]:
        """What kinds of changes came, in order."""
        return [each["kind"] for each in self.told]

    def entries(self) -> list[str]:
        """The `n` of the entries that came, in order."""
        return [each["entry"]["n"] for each in self.told if each["kind"] == "entry"]


@asynccontextmanager
async def listening(changes: Changes, last_event_id: str | None = None) -> AsyncIterator[Listener]:
    """A subscriber for the block."""
    listener = Listener(changes, last_event_id)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(listener.listen())
        try:
            yield listener
        finally:
            task.cancel()
