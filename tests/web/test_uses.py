"""When a credential was last used is written behind the requests: whoever holds the database up holds nobody up."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from perseus.clock import SystemClock, unix_ms
from perseus.database import sessions, tokens
from perseus.database.engine import ANSWER_TIMEOUT_S, open_database
from perseus.model import Role
from perseus.web import uses
from perseus.web.credentials import Credential
from perseus.web.identity import ABSOLUTE_MS, FRESH_S, IDLE_MS
from perseus.web.uses import Uses
from tests.support.sqlite import written_elsewhere
from tests.support.waiting import wait_until_async
from tests.web.asking import OK, by_get
from tests.web.matrix import COOKIE, bearer
from tests.web.site import DAY, Site

PATH = "test.viewer.query"


async def ask(site: Site, headers: dict[str, str]) -> str:
    """What a query with these headers comes to."""
    return await by_get(site, PATH, headers, None)


def cookie(site: Site, session: str) -> dict[str, str]:
    """What a browser with this session sends."""
    return site.own | {"cookie": f"{COOKIE}={session}"}


async def last_used(site: Site, secret: str) -> str | None:
    """When the database says that this token or session was last used."""
    async with site.database.reading() as connection:
        token = await tokens.find(connection, secret, now_ms=0)
        session = await sessions.find(connection, secret, now_ms=0)
    return token.token.last_used_at if token else session.session.last_used_at if session else None


async def test_nobody_waits_for_the_database_to_be_written(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup, or another host's migration, may hold the one right to write for minutes."""
    monkeypatch.setattr(uses, "PATIENCE_S", 60.0)
    token = await site.token(await site.admin("ada@example.org"), Role.VIEWER)
    with written_elsewhere(tmp_path / "perseus.db"):
        async with asyncio.timeout(20):  # whoever waited to write would take three times as long
            assert set(await asyncio.gather(*(ask(site, bearer(token)) for _ in range(20)))) == {OK}
            site.clock.travel(FRESH_S)
            assert await ask(site, bearer(token)) == OK
        assert await last_used(site, token) is None


async def test_use_that_could_not_be_written_is_written_later(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of when it was, not of when it could be."""
    monkeypatch.setattr(uses, "RETRY_S", 0.1)
    token = await site.token(await site.admin("ada@example.org"), Role.VIEWER)
    with written_elsewhere(tmp_path / "perseus.db"):
        began_ms = site.clock.wall_ms()
        assert await ask(site, bearer(token)) == OK
        ended_ms = site.clock.wall_ms()
        site.clock.travel(DAY)
    written = await wait_until_async(lambda: last_used(site, token), description="the use is written")
    assert began_ms <= unix_ms(written or "") <= ended_ms


async def test_session_in_use_lives_on_while_its_use_waits(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed out in the middle of work, because a backup ran: that must not be. Nor may it live longer than allowed."""
    monkeypatch.setattr(uses, "RETRY_S", 0.1)
    session = await site.session(await site.admin("ada@example.org"))
    with written_elsewhere(tmp_path / "perseus.db"):
        site.clock.travel(IDLE_MS / 1000 - 60)
        for _ in range(2):  # its expiry passes in between
            assert await ask(site, cookie(site, session)) == OK
            site.clock.travel(120)
        site.clock.travel(IDLE_MS / 1000)
        assert await ask(site, cookie(site, session)) == "UNAUTHORIZED expired"
        site.clock.travel(-180)
    used_ms = site.clock.wall_ms() - IDLE_MS + 60_000
    written = await wait_until_async(lambda: _renewed(site, session), description="the newest use is written")
    assert abs(written - (used_ms + IDLE_MS)) < 5_000


async def _renewed(site: Site, secret: str) -> int:
    async with site.database.reading() as connection:
        found = await sessions.find(connection, secret, now_ms=site.clock.wall_ms())
    return unix_ms(found.session.expires_at) if found else 0


async def test_session_whose_use_waits_ends_when_it_must(site: Site, tmp_path: Path) -> None:
    """Thirty days after it began, and at once when it is ended, whatever waits to be written of it."""
    session = await site.session(await site.admin("ada@example.org"), expires_in_s=ABSOLUTE_MS / 1000 - 1)
    site.clock.travel(ABSOLUTE_MS / 1000 - 60)
    with written_elsewhere(tmp_path / "perseus.db"):
        assert await ask(site, cookie(site, session)) == OK
        site.clock.travel(61)
        assert await ask(site, cookie(site, session)) == "UNAUTHORIZED expired"


@pytest.mark.parametrize("is_busy", [False, True])
async def test_end_writes_what_waits_if_it_can_at_once(site_database: str, tmp_path: Path, is_busy: bool) -> None:
    """A restart is no reason to forget who was here, and a busy database none to stay."""
    file, told = tmp_path / "perseus.db", asyncio.Event()
    async with await open_database(site_database) as database:
        waiting = Uses(database, clock=SystemClock())
        with ExitStack() as busy, capture_logs() as logs:
            busy.enter_context(written_elsewhere(file))
            waiting.note(Credential("token", "a"), partial(_told, told))
            running = asyncio.create_task(waiting.run())
            await wait_until_async(lambda: logs, description="it was tried in vain")
            if not is_busy:
                busy.close()
            running.cancel()
            await asyncio.wait({running}, timeout=ANSWER_TIMEOUT_S - 2)  # for so long others wait who write
            assert running.done()
        assert told.is_set() is not is_busy


async def _told(told: asyncio.Event, _: object) -> None:
    told.set()


async def test_uses_that_wait_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is read-only for a week must not fill the memory."""
    monkeypatch.setattr(uses, "_MOST", 5)
    waiting = Uses(site.database, clock=site.clock)
    for number in range(12):
        waiting.note(Credential("token", str(number)), partial(_told, asyncio.Event()), until_ms=number)
    assert [waiting.until_ms(Credential("token", str(number))) for number in range(12)] == [0] * 7 + [7, 8, 9, 10, 11]
