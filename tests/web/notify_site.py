"""The procedures `notify.*` behind the real guard, on a real database and store, and people who call them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from perseus.clock import Clock, SystemClock
from perseus.database import incidents
from perseus.database.engine import Database
from perseus.database.incidents import IncidentRecord
from perseus.model import Role
from perseus.store import Store
from perseus.web import notify
from perseus.web.access import RULES
from perseus.web.identity import Caller
from perseus.web.notify import Alerts
from perseus.web.trpc import Router
from tests.web.site import Served, Site, running_site

ROUTER = Router(notify.PROCEDURES)


@dataclass(frozen=True)
class Context:
    """What the procedures get."""

    caller: Caller
    store: Store
    database: Database
    clock: Clock
    alerts: Alerts


class Answer(NamedTuple):
    """An answer: its HTTP status, and its `result.data` or its `error`."""

    status: int
    data: Any
    error: Any


@dataclass
class NotifySite:
    """A running site. `tokens` are of one person of each role, `<role>@example.org`; an operator asks unless told."""

    site: Site
    tokens: Mapping[Role, str]

    async def ask(self, path: str, asked: Any = None, *, role: Role = Role.OPERATOR) -> Answer:
        """Call a procedure, as its kind wants it, with a token."""
        return await self.send(path, asked, headers={"authorization": f"Bearer {self.tokens[role]}"})

    async def send(self, path: str, asked: Any = None, *, headers: Mapping[str, str]) -> Answer:
        """Call a procedure with these headers."""
        text = None if asked is None else msgspec.json.encode(asked).decode()
        url = f"{self.site.url}/trpc/notify.{path}"
        if ROUTER[f"notify.{path}"].kind == "query":
            sent = self.site.http.get(url, params={} if text is None else {"input": text}, headers=headers)
        else:
            json = {"content-type": "application/json"}
            sent = self.site.http.post(url, data=text or "", headers={**headers, **json})
        async with sent as response:
            answer = msgspec.json.decode(await response.read())
            return Answer(response.status, answer.get("result", {}).get("data"), answer.get("error"))

    async def record(self, *told: IncidentRecord) -> None:
        """Write down incidents, as the notifier does."""
        async with self.site.database.begin() as connection:
            for each in told:
                await incidents.record(connection, each)


@asynccontextmanager
async def notify_site(
    database_url: str, store: Store, *, directory: Path, clock: Clock | None = None
) -> AsyncIterator[NotifySite]:
    """Serve until the block ends."""
    rules = {path: role for path, role in RULES.items() if path in ROUTER}

    time = clock or SystemClock()

    def contexts(database: Database) -> Callable[[Caller], Context]:
        alerts = Alerts(store, database, clock=time)
        return lambda caller: Context(caller, store, database, time, alerts)

    async with running_site(database_url, directory=directory, served=Served(ROUTER, rules, contexts)) as site:
        people = {role: await site.admin(f"{role}@example.org", role) for role in Role}
        yield NotifySite(site, {role: await site.token(person, role) for role, person in people.items()})
