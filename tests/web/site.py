"""A guarded site on a real socket, with a real database, and people with every kind of credential.

The procedures stand in for the product's: those of the real router under their real paths and rules, and one of each
kind for each role. What is in front of them is the real guard, composed as `web/app.py` does.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.routing import Router as Routes

from perseus.database import admins, login_links, passwords, sessions, tokens
from perseus.database.admins import Admin
from perseus.database.audit import Actor
from perseus.database.engine import Database, open_database
from perseus.model import Role
from perseus.settings import load_settings
from perseus.web.access import RULES, Access, check_rules, counted
from perseus.web.app import api_first
from perseus.web.errors import described
from perseus.web.guard import Guard
from perseus.web.identity import Caller, Identities
from perseus.web.limits import Rate, RateLimit
from perseus.web.login import Login
from perseus.web.origins import names_of
from perseus.web.proxies import TrustedProxies, client_key
from perseus.web.router import ROUTER
from perseus.web.serving import listen, serve
from perseus.web.trpc import ConnectionInfo, Procedure, Router, Server, mutation, query, subscription
from perseus.web.ui import AdminUI
from perseus.web.uses import Uses
from tests.support.clocks import TravellingClock

PASSWORD = "correct horse battery staple"
BY = Actor(name="test@here")
DAY = 86_400.0


@dataclass
class Context:
    """What the procedures of the tests get."""

    caller: Caller


async def answer(context: Context) -> str:
    """Whoever may call it learns their own address."""
    return context.caller.identity.email


async def follow(context: Context) -> AsyncIterator[str]:
    """The same, and then nothing more until it is ended."""
    yield context.caller.identity.email
    await asyncio.Event().wait()


_KINDS = {"query": query(answer), "mutation": mutation(answer), "subscription": subscription(follow)}
RULES_HERE: Mapping[str, Role] = {
    **RULES,
    **{f"test.{role}.{kind}": role for role in Role for kind in _KINDS},
}


def stand_ins() -> Router:
    """One for each procedure of the product, of its kind, and one for each role and kind."""
    procedures: dict[str, Procedure] = {path: _KINDS[ROUTER[path].kind] for path in ROUTER}
    return Router(procedures | {f"test.{role}.{kind}": _KINDS[kind] for role in Role for kind in _KINDS})


@dataclass
class Site:
    """A running site. `http` has no cookie jar: what is sent is what the test says."""

    url: str
    database: Database
    identities: Identities
    login: Login
    clock: TravellingClock
    server: Server
    http: aiohttp.ClientSession
    admins: dict[str, Admin] = field(default_factory=dict)

    @property
    def own(self) -> dict[str, str]:
        """What a browser adds to a request from the site's own page."""
        return {"origin": self.url, "sec-fetch-site": "same-origin"}

    async def admin(self, email: str, role: Role = Role.VIEWER, *, password: str | None = None) -> Admin:
        """Add an admin."""
        kept = await passwords.hashed(password) if password else None
        async with self.database.begin() as connection:
            added = await admins.add(
                connection, email, role=role, password_hash=kept, by=BY, now_ms=self.clock.wall_ms()
            )
        self.admins[email] = added
        return added

    async def token(self, admin: Admin, role: Role, *, expires_in_s: float | None = None, name: str = "test") -> str:
        """A token of this admin; one that expired if the time is in the past."""
        now_ms = self.clock.wall_ms()
        made_ms = now_ms if expires_in_s is None or expires_in_s > 0 else now_ms - 10**8
        expires_ms = None if expires_in_s is None else now_ms + round(expires_in_s * 1000)
        async with self.database.begin() as connection:
            secret, _ = await tokens.create(
                connection, admin, name=name, role=role, expires_ms=expires_ms, by=BY, now_ms=made_ms
            )
        return secret

    async def revoke(self, secret: str) -> None:
        """Revoke a token, as another process would."""
        now_ms = self.clock.wall_ms()
        async with self.database.begin() as connection:
            found = await tokens.find(connection, secret, now_ms=now_ms)
            assert found is not None
            await tokens.revoke(connection, found.token.id, by=BY, now_ms=now_ms)

    async def session(self, admin: Admin, *, expires_in_s: float = 7 * DAY) -> str:
        """A session of this admin."""
        now_ms = self.clock.wall_ms()
        async with self.database.begin() as connection:
            return await sessions.open_session(
                connection,
                admin,
                how="test",
                user_agent="test",
                expires_ms=now_ms + round(expires_in_s * 1000),
                address="127.0.0.1",
                now_ms=now_ms,
            )

    async def link(self, admin: Admin) -> str:
        """The secret of a one-time link."""
        async with self.database.begin() as connection:
            return await login_links.create(connection, admin, by=BY, now_ms=self.clock.wall_ms())

    async def set_active(self, email: str, is_active: bool) -> None:
        """Disable or enable an admin, as another process would."""
        async with self.database.begin() as connection:
            await admins.set_active(connection, email, is_active, by=BY, now_ms=self.clock.wall_ms())


class Got(NamedTuple):
    """An answer, read."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body."""
        return msgspec.json.decode(self.text)


async def fetch(
    site: Site, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, **more: Any
) -> Got:
    """Ask the site; redirects are not followed."""
    async with site.http.request(
        method, f"{site.url}{path}", headers=headers or {}, allow_redirects=False, **more
    ) as response:
        return Got(response.status, response.headers, await response.text())


async def sign_in(site: Site, *, headers: Mapping[str, str] | None = None, **fields: str) -> Got:
    """Send the form of the login page, as the page does."""
    return await fetch(site, "/login", method="POST", headers=site.own | dict(headers or {}), data=fields)


def cookie_in(got: Got) -> tuple[str, str, str]:
    """Name, value and attributes of the cookie that is set."""
    pair, _, attributes = got.headers["set-cookie"].partition("; ")
    name, _, value = pair.partition("=")
    return name, value, attributes


async def _crash(_: Request) -> Response:
    raise RuntimeError("this text, with perseus_secretsecretsecret, is nobody's business")


class Served(NamedTuple):
    """What a site serves: procedures, who may call them, and on a database what they get for a caller."""

    router: Router
    rules: Mapping[str, Role]
    contexts: Callable[[Database], Callable[[Caller], Any]]


def _stand_ins_served() -> Served:
    return Served(stand_ins(), RULES_HERE, lambda _: Context)


@asynccontextmanager
async def running_site(
    database_url: str,
    *,
    directory: Path,
    settings: Mapping[str, str] | None = None,
    fresh_s: float = 3.0,
    served: Served | None = None,
) -> AsyncIterator[Site]:
    """Serve until the block ends: the stand-ins, unless told otherwise. `settings` are given as flags."""
    router, rules, contexts = served or _stand_ins_served()
    clock = TravellingClock()
    settings_read = load_settings(flags={"RATE_LIMIT": "off", **(settings or {})}, environ={}, directory=directory)
    names = names_of(settings_read)
    async with await open_database(database_url) as database:
        uses = Uses(database, clock=clock)
        identities = Identities(database, uses, names=names, clock=clock, fresh_s=fresh_s)
        login = Login(database, identities, names=names, clock=clock)
        check_rules(router, rules)
        rate = settings_read.rate_limit
        access = Access(identities, rules=rules)

        context_of = contexts(database)

        async def context(connection: ConnectionInfo) -> Any:
            return context_of(await identities.identify(connection.scope, connection.connection_params))

        server = Server(
            router,
            context=context,
            authorize=access.authorize,
            describe_error=described,
            count=counted(_limit(rate, clock)),
            client_of=client_key,
            allow_origin=("*",),
        )
        pages = [*login.routes(), *AdminUI(identities, names=names).routes(), Route("/crash", _crash)]
        routes = api_first(server, Routes(pages))
        door = listen("127.0.0.1", 0)
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        stop = asyncio.Event()
        proxies = TrustedProxies(settings_read.trusted_proxies)
        app = Guard(routes, names=names, proxies=proxies, door=_limit(rate, clock))
        async with asyncio.TaskGroup() as tasks, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            serving = tasks.create_task(serve(app, door, stop=stop, close=server.close))
            background = [tasks.create_task(identities.watch()), tasks.create_task(uses.run())]
            try:
                yield Site(url, database, identities, login, clock, server, http)
            finally:
                stop.set()
                await serving
                for task in background:
                    task.cancel()


def _limit(rate: int, clock: TravellingClock) -> RateLimit | None:
    return RateLimit(Rate(rate, rate), clock=clock) if rate else None


def copied_database(template: Path, directory: Path) -> str:
    """The URL of a database of one's own, made from one that is up to date."""
    path = directory / "perseus.db"
    shutil.copy(template, path)
    return f"sqlite:///{path}"
