"""A notifier in this process, with a real store, a real database and a Discord of our own; and logs written for it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perseus import activity, keys
from perseus.alerting import Alerting
from perseus.clock import SystemClock, iso
from perseus.database.engine import Database, open_database
from perseus.model import SEEDED_EXCHANGES, Exchange, exchange_named
from perseus.notify.delivery import Announcing
from perseus.notify.notifier import Notifier
from perseus.notify.state import Seen
from perseus.notify.turn import Surroundings
from perseus.store import Store
from perseus.webhooks import parse_webhooks
from tests.support.discord import Posted, StandIn
from tests.support.instances import payload
from tests.support.waiting import wait_until_async

BINANCE, KRAKEN, COINBASE = (exchange_named(name) for name in ("binance", "kraken", "coinbase"))


@dataclass
class Log:
    """Writes what instances and watchers write, with rising epochs."""

    store: Store
    epochs: dict[str, int] = field(default_factory=dict)
    seqs: dict[tuple[str, int], int] = field(default_factory=dict)

    async def add(self, exchange: Exchange, event: str, *, host: str = "fra-1", **details: object) -> str:
        """Append one entry; its id."""
        epoch = self.epochs.setdefault(exchange.name, 1)
        if event not in ("instance_lost",):
            seq = self.seqs[exchange.name, epoch] = self.seqs.get((exchange.name, epoch), 0) + 1
            details = {"seq": seq, **details}
        status = payload(instance_id=f"{host}-{epoch}", epoch=epoch, hostname=host)
        status = type(status)(
            **{name: getattr(status, name) for name in status.__struct_fields__}
            | {"exchange_id": exchange.id, "exchange_name": exchange.name}
        )
        fields = activity.entry_fields(status, event, at_ms=now_ms(), **details)
        return await self.store.append(keys.log(exchange.name), fields, min_id=None)

    async def go(self, exchange: Exchange, *states: str, host: str = "fra-1", reason: str = "") -> None:
        """Let an instance say that it enters these states, one after the other."""
        for before, after in itertools.pairwise(states):
            await self.add(exchange, "state_transition", host=host, fromState=before, toState=after, reason=reason)

    async def start(self, exchange: Exchange, *, host: str = "fra-1") -> None:
        """Let a new tenure come up."""
        self.epochs[exchange.name] = self.epochs.get(exchange.name, 0) + 1
        await self.go(exchange, "idle", "starting", "warming", "active", host=host)

    async def die(self, exchange: Exchange, *, host: str = "fra-1", ago_s: float = 3.0) -> None:
        """Let a watcher record that its instance died."""
        last = iso(now_ms() - round(ago_s * 1000))
        await self.add(exchange, "instance_lost", host=host, state="active", lastHeartbeat=last, detectedBy="test")


@dataclass
class Teller:
    """One notifier after another, and what they tell."""

    store: Store
    database: Database
    discord: StandIn
    log: Log
    exchanges: Sequence[Exchange] = SEEDED_EXCHANGES
    cards: Sequence[Seen] | None = None
    running: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, *channels: str, host: str = "web-1", store: Store | None = None, **how: Any) -> asyncio.Task[None]:
        """Start a notifier that tells these channels."""
        webhooks = parse_webhooks(self.discord.setting(*channels))
        around = Surroundings(
            store=store or self.store,
            database=self.database,
            clock=SystemClock(),
            version="1",
            exchanges=lambda: self.exchanges,
            cards=lambda: self.cards,
        )
        notifier = Notifier(around, announcing=Announcing(webhooks=webhooks, **how), hostname=host)
        task = asyncio.create_task(notifier.run())
        self.running.append(task)
        return task

    async def started(self, *channels: str, **how: Any) -> asyncio.Task[None]:
        """Start a notifier and wait until it is the one that tells."""
        task = self.start(*channels, **how)
        host = how.get("host", "web-1")
        await wait_until_async(lambda: self._is_held_by(host), description=f"{host} is the notifier")
        return task

    async def _is_held_by(self, host: str) -> bool:
        from perseus import alerting

        found: Alerting = await alerting.read(self.store)
        return found.holder is not None and found.holder.hostname == host and found.health is not None

    async def stop(self, task: asyncio.Task[None]) -> None:
        """Stop one in an orderly way."""
        task.cancel()
        await asyncio.wait({task})
        self.running.remove(task)

    async def close(self) -> None:
        """Stop all."""
        for task in list(self.running):
            await self.stop(task)

    async def told(self, channel: str, text: str, *, count: int = 1, timeout: float = 10.0) -> list[Posted]:
        """Wait until so many messages in a channel say this."""

        def found() -> list[Posted]:
            return [message for message in self.discord.messages(channel) if text in message.text]

        await wait_until_async(
            lambda: len(found()) >= count, description=f"{channel} is told {text!r} {count} times", timeout=timeout
        )
        return found()


@asynccontextmanager
async def teller(store: Store, directory: Path) -> AsyncIterator[Teller]:
    """Everything a notifier needs, with a new SQLite database."""
    async with await open_database(f"sqlite:///{directory / 'perseus.db'}") as database, StandIn() as discord:
        one = Teller(store, database, discord, Log(store))
        try:
            yield one
        finally:
            await one.close()


def now_ms() -> int:
    """This host's clock, which is the store's."""
    return time.time_ns() // 1_000_000
