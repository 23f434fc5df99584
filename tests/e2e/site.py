"""A real `perseus serve` on a store of its own, with exchanges, admins, and a browser that is signed in."""

from __future__ import annotations

import asyncio
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import redis
from playwright.sync_api import Browser, BrowserContext, StorageState

from perseus import keys
from perseus.alerting import RENEW_EVERY_S, TTL_S
from perseus.database import admins, exchanges, passwords
from perseus.database.audit import Actor
from perseus.database.engine import open_database
from perseus.model import Exchange, Role
from tests.support.processes import PerseusProcess
from tests.support.servers import Server, valkey_binary
from tests.support.system import free_port
from tests.support.waiting import wait_until

ADMIN = "ada@example.org"
VIEWER = "vera@example.org"
PASSWORD = "correct horse battery staple"
STAND_IN = "stand-in"  # the claim of a test that is the notifier
_RENEW = f"""
local raw = redis.call('GET', KEYS[1])
if raw and string.find(raw, '"claimId":"{STAND_IN}"', 1, true) then redis.call('EXPIRE', KEYS[1], {TTL_S}) end
"""
_BY = Actor(name="test@here")
T = TypeVar("T")


def make_database(directory: Path, names: Sequence[str]) -> Path:
    """A database with the exchanges of these names, an owner, and one who may only look."""

    async def make() -> None:
        async with await open_database(f"sqlite:///{directory / 'perseus.db'}") as database:
            kept = await passwords.hashed(PASSWORD)
            async with database.begin() as connection:
                known = {each.name: each for each in await exchanges.read_all(connection)}
                for each in known.keys() - set(names):
                    await exchanges.disable(connection, each, by=_BY, now_ms=1)
                for number, name in enumerate(names, start=100):
                    if name not in known:
                        new = Exchange(id=number, name=name, display_name=name.capitalize())
                        await exchanges.add(connection, new, by=_BY, now_ms=1)
                for email, role in ((ADMIN, Role.OWNER), (VIEWER, Role.VIEWER)):
                    await admins.add(connection, email, role=role, password_hash=kept, by=_BY, now_ms=1)

    directory.mkdir(parents=True, exist_ok=True)
    run_elsewhere(make)
    return directory / "perseus.db"


def run_elsewhere(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end: the browser's driver has a loop of its own in this thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(make())).result()


class Site:
    """A store and the server in front of it. A context manager that leaves nothing running."""

    def __init__(
        self,
        database: Path,
        directory: Path,
        *,
        fill: Callable[[Server], None] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`fill` writes into the store before the server first looks; `settings` are the server's besides ours."""
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(database, directory / "perseus.db")
        self.store = Server(valkey_binary(), directory / "store")
        self.home = directory
        self._fill = fill
        self._port = free_port()
        self._process = PerseusProcess(
            "serve",
            "--port",
            str(self._port),
            data_dir=directory,
            store_url=self.store.url,
            settings={"RATE_LIMIT": "off", **(settings or {})},
        )
        self._signed_in: dict[str, StorageState] = {}
        self._is_over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="notifier's lease", daemon=True)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> Self:
        """Start the server, again after `stop`; it answers then."""
        self._process.start()
        wait_until(self._is_ready, description=f"{self.url} is ready", timeout=30)
        return self

    def stop(self) -> None:
        """End the server as a person would."""
        self._process.stop_signal()

    @property
    def database_url(self) -> str:
        """The database, for who writes there what a server would."""
        return f"sqlite:///{self.home / 'perseus.db'}"

    def signed_in(self, browser: Browser, email: str = ADMIN) -> StorageState:
        """The cookies of who is signed in."""
        if email not in self._signed_in:
            context = browser.new_context()
            sign_in(context, self.url, email=email)
            self._signed_in[email] = context.storage_state()
            context.close()
        return self._signed_in[email]

    def __enter__(self) -> Self:
        self.store.start()
        self._renewing.start()
        try:
            if self._fill:
                self._fill(self.store)
            return self.start()
        except BaseException:  # nobody leaves what was not entered: both would go on running
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._renewing.join()
        self._process.end()
        self.store.kill()

    def _renew(self) -> None:
        """Keep the notifier's lease while a test holds it, as whoever holds it does."""
        while not self._is_over.wait(RENEW_EVERY_S / 2):
            with suppress(redis.RedisError):  # a test has the store away, or forbids it
                self.store.call("EVAL", _RENEW, 1, keys.notifier())

    def _is_ready(self) -> bool:
        assert self._process.is_running, self._process.output
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


def sign_in(context: BrowserContext, url: str, *, email: str = ADMIN) -> None:
    """Give a browser the cookie of who signs in with a password."""
    headers = {"origin": url, "sec-fetch-site": "same-origin"}
    answer = context.request.post(
        f"{url}/login", form={"email": email, "password": PASSWORD, "next": "/network"}, headers=headers
    )
    assert answer.ok, answer.text()
