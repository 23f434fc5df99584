"""Who is asking, over time: revocation takes effect, memory is used, and a database that is away lets nobody in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import event

from perseus.database import admins, tokens
from perseus.model import Role
from perseus.web.credentials import Credential
from perseus.web.identity import FRESH_S
from perseus.web.stays import Stay
from tests.support.waiting import wait_until_async
from tests.web.asking import OK, by_events, by_get, by_socket
from tests.web.matrix import COOKIE, bearer
from tests.web.site import BY, Site, fetch, running_site

PATH = "test.viewer.query"
FOLLOWED = "test.viewer.subscription"


async def get(site: Site, token: str) -> str:
    """What a query with this token comes to."""
    return await by_get(site, PATH, bearer(token), None)


async def test_revoked_token_is_refused_within_the_promised_time(site: Site) -> None:
    """The bound docs/security.md states, for a revocation by another process."""
    assert FRESH_S <= 5
    token = await site.token(await site.admin("ada@example.org"), Role.VIEWER)
    assert await get(site, token) == OK
    await site.revoke(token)
    site.clock.travel(FRESH_S)
    assert await get(site, token) == "UNAUTHORIZED revoked"


async def test_in_the_same_process_it_is_refused_at_once(site: Site) -> None:
    """Who clicks revoke and sees it done must be able to rely on it."""
    token = await site.token(await site.admin("ada@example.org"), Role.VIEWER)
    assert await get(site, token) == OK
    await site.revoke(token)
    site.identities.forget()
    assert await get(site, token) == "UNAUTHORIZED revoked"


async def test_disabled_admin_loses_every_token_and_session(site: Site) -> None:
    """One switch, whatever they hold."""
    await site.admin("root@example.org", Role.OWNER)
    ada = await site.admin("ada@example.org", Role.OWNER)
    token, session = await site.token(ada, Role.VIEWER), await site.session(ada)
    cookie = site.own | {"cookie": f"{COOKIE}={session}"}
    assert [await get(site, token), await by_get(site, PATH, cookie, None)] == [OK, OK]
    await site.set_active("ada@example.org", False)
    site.clock.travel(FRESH_S)
    disabled = "UNAUTHORIZED disabled"
    assert [await get(site, token), await by_get(site, PATH, cookie, None)] == [disabled, disabled]


async def test_changed_role_counts_at_the_next_look(site: Site) -> None:
    """A demotion is as urgent as a revocation."""
    await site.admin("root@example.org", Role.OWNER)
    token = await site.token(await site.admin("ada@example.org", Role.OWNER), Role.OWNER)
    assert await by_get(site, "test.owner.query", bearer(token), None) == OK
    async with site.database.begin() as connection:
        await admins.set_role(connection, "ada@example.org", Role.VIEWER, by=BY, now_ms=site.clock.wall_ms())
    site.clock.travel(FRESH_S)
    assert await by_get(site, "test.owner.query", bearer(token), None) == "FORBIDDEN"


async def test_a_client_that_asks_often_costs_one_look_up_in_three_seconds(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database must not be on the path of every request; a hundred at once are one question."""
    token = await site.token(await site.admin("ada@example.org"), Role.VIEWER)
    looked: list[object] = []
    real = tokens.find_all

    async def counted(connection: Any, secrets: Mapping[str, object], *, now_ms: int) -> object:
        looked.extend(secrets)
        return await real(connection, secrets, now_ms=now_ms)

    monkeypatch.setattr(tokens, "find_all", counted)
    assert set(await asyncio.gather(*(get(site, token) for _ in range(50)))) == {OK}
    assert len(looked) == 1
    site.clock.travel(FRESH_S)
    assert await get(site, token) == OK
    assert len(looked) == 2


async def test_what_is_remembered_is_bounded(site: Site) -> None:
    """Whoever has many tokens, or guesses at them, must not fill the memory."""
    ada = await site.admin("ada@example.org")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("perseus.web.identity._KEPT", 5)
        for secret in [await site.token(ada, Role.VIEWER) for _ in range(12)]:
            assert await get(site, secret) == OK
    for number in range(12):
        assert await get(site, f"perseus_unknown_unknown_{number}") == "UNAUTHORIZED unknown"
    assert len(site.identities._known) == 5
    assert len(site.identities._looking) == 0
    assert len(site.identities._stays) == 0


@asynccontextmanager
async def _followed(site: Site, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
    async with site.http.get(
        f"{site.url}/trpc/{FOLLOWED}", headers=headers | {"accept": "text/event-stream"}
    ) as response:
        while not (await response.content.readline()).startswith(b'data: "ada@'):
            pass
        yield response


async def test_event_stream_ends_when_its_token_is_revoked(site_database: str, tmp_path: Path) -> None:
    """An open stream outlives every look at its token; it must not outlive the token."""
    async with running_site(site_database, directory=tmp_path, fresh_s=0.1) as site:
        ada = await site.admin("ada@example.org")
        token, other = await site.token(ada, Role.VIEWER), await site.token(ada, Role.VIEWER)
        async with _followed(site, bearer(token)) as stream, _followed(site, bearer(other)) as goes_on:
            await site.revoke(token)
            async with asyncio.timeout(5):
                rest = await stream.content.read()  # to its end
            assert b"event: return" not in rest
            assert not goes_on.content.at_eof()
            assert await by_events(site, FOLLOWED, bearer(token), None) == "UNAUTHORIZED revoked"
            assert len(site.identities._stays) == 1
        await wait_until_async(lambda: not site.identities._stays, description="the other stream is over, too")


class _Open(Stay):
    """A stream nobody really serves."""

    def end(self) -> None:
        """It is over."""


async def test_many_open_streams_are_looked_at_in_a_few_queries(site: Site) -> None:
    """One query for each of a thousand took so long that a revoked one was heard of too late."""
    ada = await site.admin("ada@example.org")
    now_ms = site.clock.wall_ms()
    async with site.database.begin() as connection:
        made = [
            await tokens.create(connection, ada, name="x", role=Role.VIEWER, by=BY, now_ms=now_ms) for _ in range(600)
        ]
        for _, token in made:
            await tokens.note_use(connection, token.id, now_ms=now_ms)
    secrets = [secret for secret, _ in made]
    was = (await site.identities._look_up_all([Credential("token", secrets[0])])).popitem()[1]
    site.identities._stays |= {_Open(): (Credential("token", secret), was) for secret in secrets}
    await site.revoke(secrets[7])
    asked: list[str] = []
    event.listen(site.database._engine.sync_engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    await site.identities._end_those_out()
    assert set(secrets) - {shown.secret for shown, _ in site.identities._stays.values()} == {secrets[7]}
    assert len([sql for sql in asked if sql.startswith("SELECT")]) <= 6
    site.identities._stays.clear()


async def test_socket_is_closed_when_its_session_ends(site_database: str, tmp_path: Path) -> None:
    """Signing out in one tab ends what another tab still follows."""
    async with running_site(site_database, directory=tmp_path, fresh_s=60) as site:
        cookie = site.own | {"cookie": f"{COOKIE}={await site.session(await site.admin('ada@example.org'))}"}
        async with site.http.ws_connect(f"{site.url}/trpc", headers=cookie) as socket:
            await socket.send_json({"id": 1, "method": "subscription", "params": {"path": FOLLOWED}})
            assert (await socket.receive_json())["result"] == {"type": "started"}
            assert (await socket.receive_json())["result"]["data"] == "ada@example.org"
            await fetch(site, "/logout", method="POST", headers=cookie)
            async with asyncio.timeout(5):
                assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 1008


async def test_call_on_an_open_socket_is_judged_by_what_its_token_is_worth_now(site: Site) -> None:
    """A WebSocket is opened once and may live for days."""
    token = await site.token(await site.admin("ada@example.org"), Role.VIEWER)
    async with site.http.ws_connect(f"{site.url}/trpc", headers=bearer(token)) as socket:
        call = {"id": 1, "method": "query", "params": {"path": PATH}}
        await socket.send_json(call)
        assert (await socket.receive_json())["result"]["data"] == "ada@example.org"
        await site.revoke(token)
        site.clock.travel(FRESH_S)
        await socket.send_json(call)
        said = await socket.receive_json()
        assert said.get("error", {}).get("data", {}).get("reason") == "revoked"


async def test_database_that_is_away_lets_nobody_in_and_tells_nothing(site: Site, tmp_path: Path) -> None:
    """Nobody can be identified then; that is neither 401 nor a way in, and its address is nobody's business."""
    token = await site.token(await site.admin("ada@example.org"), Role.VIEWER)
    (tmp_path / "perseus.db").rename(tmp_path / "away.db")
    (tmp_path / "perseus.db").mkdir()
    await site.database.close()
    said = await fetch(site, f"/trpc/{PATH}", headers=bearer(token))
    assert (said.status, said.json["error"]["data"]["code"]) == (503, "SERVICE_UNAVAILABLE")
    for told in (said.text, (await fetch(site, "/session", headers=bearer(token))).text):
        assert "sqlite" not in told
        assert str(tmp_path) not in told
    assert await by_get(site, PATH, {}, None) == "UNAUTHORIZED missing"


async def test_messages_never_repeat_what_was_shown(site: Site) -> None:
    """An error is logged, pasted and photographed."""
    secret = "perseus_very-secret-very-secret-very-secret"
    for headers in (bearer(secret), {"authorization": f"{secret}!"}, {"cookie": f"{COOKIE}={secret}"}):
        for path in (f"/trpc/{PATH}", "/session"):
            assert secret not in (await fetch(site, path, headers=headers)).text
    assert secret not in repr(Credential("token", secret))


async def test_socket_of_a_foreign_page_cannot_use_the_cookie(site: Site) -> None:
    """Browsers send cookies with a WebSocket from any page, and no CORS holds it back."""
    session = await site.session(await site.admin("ada@example.org"))
    cookie = {"cookie": f"{COOKIE}={session}"}
    assert await by_socket(site, PATH, cookie | {"origin": "http://evil.example"}, None) == "UNAUTHORIZED cross_site"
    assert await by_socket(site, PATH, cookie | {"origin": site.url}, None) == OK
