"""The web server's port, opened for `perseus serve` and `perseus up`: database, guard, API and watcher behind it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from perseus.cli.options import person
from perseus.clock import SystemClock
from perseus.database import admins, login_links
from perseus.database.audit import Actor
from perseus.database.engine import Database, open_database
from perseus.errors import CannotListen
from perseus.model import InstanceStatus, Role
from perseus.network.losses import LossWatch
from perseus.settings import Settings
from perseus.store import Store
from perseus.web import serving
from perseus.web.app import Web
from perseus.web.binding import check_binding

NOBODYS_EMAIL = "owner@localhost"  # of the owner, where ADMIN_EMAIL is not set


class Door(NamedTuple):
    """An open port and what is to be served there. `url`: where browsers find it."""

    web: Web
    port: socket.socket
    database: Database
    url: str


@asynccontextmanager
async def opened(
    settings: Settings,
    store: Store,
    *,
    detected_by: str,
    on_record: Callable[[InstanceStatus], None],
    on_trouble: Callable[[str], None],
) -> AsyncIterator[Door]:
    """Bring the database up to date and open the port; nothing is served before `web.run`.

    A port nobody asked for that is taken is replaced by a free one. `on_record` and `on_trouble` as for LossWatch.
    Raises: CannotListen, BadConfiguration, DatabaseUnavailable, DatabaseUnsuitable.
    """
    clock = SystemClock()
    async with await open_database(settings.database_url) as database:
        await check_binding(settings.host, database, clock=clock)
        with _listening(settings) as port:
            web = Web(
                settings,
                store=store,
                database=database,
                clock=clock,
                watch=lambda exchanges: LossWatch(
                    store,
                    clock=clock,
                    detected_by=detected_by,
                    on_record=on_record,
                    on_trouble=on_trouble,
                    exchanges=exchanges,
                ),
            )
            yield Door(web, port, database, serving.url_of(port, settings.public_url))


def _listening(settings: Settings) -> socket.socket:
    try:
        return serving.listen(settings.host, settings.port)
    except CannotListen as error:
        if not error.is_taken or settings.sources.get("PORT") != "default":
            raise
        return serving.listen(settings.host, 0)


async def login_url(door: Door, settings: Settings) -> str:
    """A link that signs an owner in once: ADMIN_EMAIL if that is one. Where there is no owner yet, they become it."""
    by, now_ms = Actor(name=person()), SystemClock().wall_ms()
    async with door.database.begin() as connection:
        owners = [each for each in await admins.read_all(connection) if each.is_active and each.role is Role.OWNER]
        ours = [each for each in owners if admins.email_key(each.email) == admins.email_key(settings.admin_email)]
        if not owners:
            email = settings.admin_email or NOBODYS_EMAIL
            owners = [await admins.add(connection, email, role=Role.OWNER, by=by, now_ms=now_ms)]
        secret = await login_links.create(connection, (ours or owners)[0], by=by, now_ms=now_ms)
    return f"{door.url}/login?token={secret}"
