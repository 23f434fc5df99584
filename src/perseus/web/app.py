"""The web server, composed: START HERE. What a request passes, from the outside in:

guard (true client, our names, rate limit, headers) → login, health, pages, or `/trpc`: who asks → may they → procedure
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import NamedTuple

from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from perseus.clock import Clock, unix_ms
from perseus.database import exchanges
from perseus.database.engine import Database
from perseus.model import Exchange
from perseus.network.cards import Card
from perseus.network.changes import Changes
from perseus.network.exchange_list import ExchangeList
from perseus.network.losses import LossWatch
from perseus.network.shared_pages import SharedPages
from perseus.network.snapshot import Snapshot
from perseus.notify.delivery import Announcing
from perseus.notify.notifier import Notifier
from perseus.notify.state import Seen
from perseus.notify.turn import Surroundings
from perseus.settings import Settings
from perseus.store import Store
from perseus.web import health, serving
from perseus.web.access import Access, check_rules, counted
from perseus.web.errors import described
from perseus.web.guard import API, Guard
from perseus.web.identity import Caller, Identities
from perseus.web.limits import Rate, RateLimit
from perseus.web.login import Login
from perseus.web.notify import Alerts
from perseus.web.origins import names_of
from perseus.web.proxies import TrustedProxies, client_key
from perseus.web.router import ROUTER
from perseus.web.trpc import ConnectionInfo, Server
from perseus.web.ui import AdminUI
from perseus.web.uses import Uses

BURST_S = 5  # after a quiet time a client may ask as much at once as RATE_LIMIT allows in so many seconds


class Context(NamedTuple):
    """What a procedure gets: who calls, and what is known."""

    caller: Caller
    snapshot: Snapshot
    pages: SharedPages
    changes: Changes
    store: Store
    database: Database
    clock: Clock
    alerts: Alerts


class Web:
    """The web server of one process: what it knows of the network, its guard, its API.

    `watch` is told, with the exchanges there are, to make what records a death.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        database: Database,
        clock: Clock,
        watch: Callable[[Callable[[], Sequence[Exchange]]], LossWatch],
    ) -> None:
        check_rules(ROUTER)
        self._store, self._database, self._clock = store, database, clock
        known = ExchangeList(partial(_read_exchanges, database), clock=clock)
        self._snapshot = Snapshot(store, exchanges=known, clock=clock)
        self._pages = SharedPages(store, snapshot=self._snapshot, clock=clock)
        self._changes = Changes(self._snapshot)
        self._alerts = Alerts(store, database, clock=clock)
        self._losses = watch(known)
        self._notifier = _notifier(
            settings, Surroundings(store, database, clock, version("perseus"), known, partial(_seen, self._snapshot))
        )
        names = names_of(settings)
        self._uses = Uses(database, clock=clock)
        self._identities = Identities(database, self._uses, names=names, clock=clock)
        self._trpc = Server(
            ROUTER,
            context=self._context,
            authorize=Access(self._identities).authorize,
            describe_error=described,
            count=counted(_rate_limit(settings, clock)),
            client_of=client_key,
            allow_origin="*",  # with a token: a cookie counts from our own pages only
        )
        login = Login(database, self._identities, names=names, clock=clock, is_simulated=settings.is_simulated)
        pages = AdminUI(self._identities, names=names, is_simulated=settings.is_simulated)
        self.app: ASGIApp = Guard(
            api_first(
                self._trpc,
                Router(
                    [
                        *login.routes(),
                        *health.routes(store, database, clock=clock),
                        *pages.routes(),
                    ]
                ),
            ),
            names=names,
            proxies=TrustedProxies(settings.trusted_proxies),
            door=_rate_limit(settings, clock),
        )

    @property
    def exchanges(self) -> Sequence[Exchange]:
        """The exchanges of the database as last read; empty before the first time."""
        return self._snapshot.exchanges()

    async def run(self, door: socket.socket, *, stop: asyncio.Event) -> None:
        """Serve on an open port until `stop` is set; watch the network, and the rights of those who look, meanwhile."""
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(self._snapshot.run(), name="snapshot"),
                tasks.create_task(self._identities.watch(), name="identities"),
                tasks.create_task(self._uses.run(), name="uses"),
                tasks.create_task(self._losses.run(), name="losses"),
                tasks.create_task(self._notifier.run(), name="notifier"),
            ]
            await serving.serve(self.app, door, stop=stop, close=self._close)
            for task in background:
                task.cancel()

    async def _context(self, connection: ConnectionInfo) -> Context:
        caller = await self._identities.identify(connection.scope, connection.connection_params)
        known = (self._snapshot, self._pages, self._changes)
        return Context(caller, *known, self._store, self._database, self._clock, self._alerts)

    async def _close(self, within_s: float) -> None:
        """End what lasts: clients are told to connect again, to whoever serves them then."""
        self._trpc.reconnect_all()
        await self._trpc.close(within_s)


def api_first(api: ASGIApp, others: ASGIApp) -> ASGIApp:
    """An app that gives what is asked of API to `api`, mounted there, and the rest to `others`.

    As one of the router's routes it would be found last, by every request: they are tried one after the other.
    """

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == API or scope["path"].startswith(f"{API}/"):
            scope["root_path"] += API
            await api(scope, receive, send)
        else:
            await others(scope, receive, send)

    return served


async def _read_exchanges(database: Database) -> Sequence[Exchange]:
    async with database.reading() as connection:
        return await exchanges.read_all(connection)


def _notifier(settings: Settings, around: Surroundings) -> Notifier:
    announcing = Announcing(
        webhooks=settings.discord_webhooks,
        kinds=settings.discord_announce,
        mention_role=settings.discord_mention_role,
        public_url=settings.public_url,
        is_simulated=settings.is_simulated,
    )
    return Notifier(around, announcing=announcing, hostname=settings.hostname)


def _seen(snapshot: Snapshot) -> list[Seen] | None:
    """What the cards show, for the notifier; None while nobody knows."""
    reading = snapshot.recent()
    if reading is None:
        return None
    return [_seen_card(seen.card) for seen in reading.by_id.values()]


def _seen_card(card: Card) -> Seen:
    who = card.status or card.last_known
    try:
        since_ms = unix_ms(card.offline_since) if card.offline_since else None
    except ValueError:  # another program's; the notifier then counts from when it noticed
        since_ms = None
    return Seen(
        exchange_id=card.exchange.id,
        exchange_name=card.exchange.name,
        display_name=card.exchange.display_name,
        health=card.health,
        epoch=who.epoch if who else None,
        hostname=(who.hostname or "") if who else "",
        since_ms=since_ms,
        should_run=card.should_run,
        is_active=card.exchange.is_active,
    )


def _rate_limit(settings: Settings, clock: Clock) -> RateLimit | None:
    """RATE_LIMIT requests a second for ever, or as many at once as in so many seconds of quiet; None: switched off."""
    per_second = settings.rate_limit
    return RateLimit(Rate(per_second, per_second * BURST_S), clock=clock) if per_second else None
