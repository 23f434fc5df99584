"""Signing in and out over a real socket: passwords, one-time links, the cookie, and what must not be possible."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perseus.database import audit, passwords
from perseus.database.passwords import Verdict
from perseus.model import Role
from perseus.web.login import local_path
from tests.web.site import DAY, PASSWORD, Site, cookie_in, fetch, running_site, sign_in

ADA = "ada@example.org"
COOKIE = "perseus_session"


async def whoami(site: Site, secret: str) -> int:
    """The status of `/session` with this cookie."""
    return (await fetch(site, "/session", headers={"cookie": f"{COOKIE}={secret}"})).status


async def test_password_opens_a_session_that_is_hidden_from_scripts(site: Site) -> None:
    """The usual way in: the cookie works, and no script and no other site can use it."""
    await site.admin(ADA, Role.OPERATOR, password=PASSWORD)
    got = await sign_in(site, email="ADA@Example.org", password=PASSWORD)
    assert (got.status, got.headers["location"]) == (303, "./")
    name, secret, attributes = cookie_in(got)
    assert name == COOKIE
    assert re.fullmatch(r"HttpOnly; Max-Age=2592000; Path=/; SameSite=strict", attributes)
    who = await fetch(site, "/session", headers={"cookie": f"other=1; {COOKIE}={secret}"})
    assert (who.status, who.json["email"], who.json["role"], who.json["via"]) == (200, ADA, "operator", "session")


async def test_cookie_is_for_https_only_where_the_browser_came_by_https(site_database: str, tmp_path: Path) -> None:
    """Behind a proxy with TLS nobody may plant the cookie, and it never travels in the clear."""
    settings = {"PUBLIC_URL": "https://perseus.example", "TRUSTED_PROXIES": "127.0.0.1"}
    async with running_site(site_database, directory=tmp_path, settings=settings) as site:
        await site.admin(ADA, password=PASSWORD)
        proxied = {"host": "perseus.example", "x-forwarded-proto": "https", "origin": "https://perseus.example"}
        got = await sign_in(site, headers=proxied, email=ADA, password=PASSWORD)
        name, secret, attributes = cookie_in(got)
        assert name == f"__Host-{COOKIE}"
        assert re.fullmatch(r"HttpOnly; Max-Age=2592000; Path=/; SameSite=strict; Secure", attributes)
        assert got.headers["strict-transport-security"]
        planted = await fetch(site, "/session", headers=proxied | {"cookie": f"{COOKIE}={secret}"})
        real = await fetch(site, "/session", headers=proxied | {"cookie": f"__Host-{COOKIE}={secret}"})
        assert (planted.status, real.status) == (401, 200)


@pytest.mark.parametrize("email", [ADA, "nobody@example.org", "off@example.org", "", "a" * 300])
async def test_wrong_password_and_unknown_address_get_the_same_answer(site: Site, email: str) -> None:
    """Who has an account here is nobody's business."""
    await site.admin(ADA, password=PASSWORD)
    await site.admin("root@example.org", Role.OWNER)
    await site.admin("off@example.org", password=PASSWORD)
    await site.set_active("off@example.org", False)
    password = "wrong" if email == ADA else PASSWORD
    got = await sign_in(site, headers={"accept": "application/json"}, email=email, password=password)
    assert (got.status, got.json) == (401, {"error": "This e-mail address and password do not belong together."})
    assert "set-cookie" not in got.headers


async def test_link_is_used_by_its_button_only_and_once(site: Site) -> None:
    """Previews of chats and scanners of mail open links; they must not use them up."""
    ada = await site.admin(ADA)
    token = await site.link(ada)
    for method in ("GET", "HEAD", "GET"):
        page = await fetch(site, f"/login?token={token}", method=method)
        assert page.status == 200
        assert "set-cookie" not in page.headers
    assert f'value="{token}"' in page.text
    first = await sign_in(site, token=token)
    again = await sign_in(site, token=token)
    assert (first.status, again.status) == (303, 401)
    assert await whoami(site, cookie_in(first)[1]) == 200
    assert "set-cookie" not in again.headers


async def test_of_many_who_use_one_link_at_once_one_gets_in(site: Site) -> None:
    """Once means once, also in the same millisecond."""
    token = await site.link(await site.admin(ADA))
    got = await asyncio.gather(*(sign_in(site, token=token) for _ in range(10)))
    assert sorted(each.status for each in got) == [303] + [401] * 9


async def test_expired_link_and_link_of_a_disabled_admin_let_nobody_in(site: Site) -> None:
    """A link in an old mail is no key."""
    await site.admin("root@example.org", Role.OWNER)
    ada = await site.admin(ADA)
    late, disabled = await site.link(ada), await site.link(ada)
    await site.set_active(ADA, False)
    assert (await sign_in(site, token=disabled)).status == 401
    await site.set_active(ADA, True)
    site.clock.travel(15 * 60 + 1)
    assert (await sign_in(site, token=late)).status == 401


async def test_session_is_a_new_one_at_each_login(site: Site) -> None:
    """Session fixation: a secret somebody planted before the login is worth nothing after it."""
    ada = await site.admin(ADA, password=PASSWORD)
    mallory = await site.admin("mallory@example.org", password=PASSWORD)
    planted = await site.session(mallory)
    got = await sign_in(site, headers={"cookie": f"{COOKIE}={planted}"}, email=ADA, password=PASSWORD)
    _, secret, _ = cookie_in(got)
    assert secret != planted
    assert (await whoami(site, planted), await whoami(site, secret)) == (401, 200)
    assert ada.email in (await fetch(site, "/session", headers={"cookie": f"{COOKIE}={secret}"})).text


async def test_logout_ends_the_session_at_the_server(site: Site) -> None:
    """A cookie somebody copied is worthless from then on, at once, also where it was just believed."""
    secret = await site.session(await site.admin(ADA))
    assert await whoami(site, secret) == 200
    got = await fetch(site, "/logout", method="POST", headers=site.own | {"cookie": f"{COOKIE}={secret}"})
    assert (got.status, got.headers["location"]) == (303, "login")
    assert cookie_in(got)[1].strip('"') == ""
    assert await whoami(site, secret) == 401


async def test_logout_of_nobody_changes_nothing_for_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not signed in could otherwise have everyone looked up at every request, and hold the writers' turn."""
    token = await site.token(await site.admin(ADA), Role.VIEWER)
    bearer = {"authorization": f"Bearer {token}"}
    assert (await fetch(site, "/session", headers=bearer)).status == 200
    asked = list[str]()
    for way in ("begin", "reading"):
        monkeypatch.setattr(site.database, way, _noted(way, getattr(site.database, way), asked))
    for cookie in ({}, {"cookie": f"{COOKIE}={'x' * 43}"}):
        got = await fetch(site, "/logout", method="POST", headers=site.own | cookie)
        assert (got.status, cookie_in(got)[1].strip('"')) == (303, "")
    assert (await fetch(site, "/session", headers=bearer)).status == 200
    assert asked == ["reading"]  # for the cookie that is no session's


def _noted(way: str, open_: Callable[[], Any], asked: list[str]) -> Callable[[], Any]:
    def opening() -> Any:
        asked.append(way)
        return open_()

    return opening


async def test_session_ends_after_a_week_unused_and_after_thirty_days_used(site: Site) -> None:
    """A forgotten browser does not stay signed in; a used one does, up to a month."""
    ada = await site.admin(ADA)
    forgotten, used = await site.session(ada), await site.session(ada)
    for _ in range(4):
        site.clock.travel(6.9 * DAY)
        assert await whoami(site, used) == 200
    assert await whoami(site, forgotten) == 401
    site.clock.travel(2.5 * DAY)
    assert await whoami(site, used) == 401


@pytest.mark.parametrize(
    "path",
    [
        *("//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example"),
        *("javascript:alert(1)", "evil.example", "", " /", "/ünicode", "/a\r\nset-cookie: x=1", "/x\\..\\y", "///x"),
    ],
)
async def test_login_leads_to_our_own_pages_only(site: Site, path: str) -> None:
    """A link to our login page must not be a way to somebody else's."""
    assert local_path(path) == "/"
    await site.admin(ADA, password=PASSWORD)
    got = await sign_in(site, email=ADA, password=PASSWORD, next=path)
    assert got.headers["location"] == "./"


@pytest.mark.parametrize("path", ["/network?exchange=kraken&event=error#top", "/", "/a//b", "/%2F%2Fevil"])
async def test_login_leads_on_to_where_somebody_wanted_to_go(site: Site, path: str) -> None:
    """Filters are in the URL; signing in must not lose them."""
    page = await fetch(site, "/login", params={"next": path})
    assert f'name="next" value="{path.replace("&", "&amp;")}"' in page.text
    await site.admin(ADA, password=PASSWORD)
    assert (await sign_in(site, email=ADA, password=PASSWORD, next=path)).headers["location"] == f".{path}"


async def test_page_escapes_whatever_it_is_given(site: Site) -> None:
    """What is typed or linked must stay text."""
    nasty = '"><script>alert(1)</script>'
    pages = [
        await fetch(site, "/login", params={"token": nasty, "next": nasty}),
        await sign_in(site, email=nasty, password="x", next=nasty),
    ]
    for page in pages:
        assert "<script" not in page.text
        assert page.headers["content-type"].startswith("text/html")


async def test_login_page_needs_nothing_but_its_style_sheet(site: Site) -> None:
    """The content security policy would block anything else."""
    page, style = await fetch(site, "/login"), await fetch(site, "/login.css")
    assert re.findall(r'(?:src|href)="([^"]+)"', page.text) == ["./login.css"]
    assert "style=" not in page.text
    assert (style.status, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "url(" not in style.text
    assert re.search(r"<label for=\"(\w+)\">.*\n<input id=\"\1\"", page.text)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "application/json", 415),
        (b"x=" + b"y" * 9000, "application/x-www-form-urlencoded", 413),
        (b"a=1&" * 11, "application/x-www-form-urlencoded", 400),
        (b"email=\xff", "application/x-www-form-urlencoded", 400),
        (b"email=%ff&password=%ff", "application/x-www-form-urlencoded", 400),
        (b"", "application/x-www-form-urlencoded", 401),
        (b"email=a%00b%40c&password=%00", "application/x-www-form-urlencoded", 401),
    ],
)
async def test_form_that_no_page_of_ours_sends_is_refused(
    site: Site, body: bytes, content_type: str, status: int
) -> None:
    """Never a 500, never more memory than a form needs."""
    headers = site.own | {"content-type": content_type, "accept": "application/json"}
    got = await fetch(site, "/login", method="POST", headers=headers, data=body)
    assert (got.status, list(got.json)) == (status, ["error"])


async def test_logins_are_on_record(site: Site) -> None:
    """Who came in, how and from where; and when they left."""
    ada = await site.admin(ADA, password=PASSWORD)
    got = await sign_in(site, email=ADA, password=PASSWORD)
    await sign_in(site, token=await site.link(ada))
    cookie = {"cookie": f"{COOKIE}={cookie_in(got)[1]}"}
    await fetch(site, "/logout", method="POST", headers=site.own | cookie)
    async with site.database.reading() as connection:
        entries = await audit.entries(connection)
    kept = [(each.action, each.actor, each.address) for each in reversed(entries)][1:]
    here = "127.0.0.1"
    assert kept == [
        ("login", ADA, here),
        ("login_link.create", "test@here", None),
        ("login_link.use", ADA, here),
        ("login", ADA, here),
        ("logout", ADA, here),
    ]


async def test_failed_logins_do_not_fill_the_database(site: Site) -> None:
    """The audit log cannot be shortened, so nobody may lengthen it without being let in."""
    await site.admin(ADA, password=PASSWORD)
    for _ in range(4):
        await sign_in(site, email=ADA, password="wrong")
        await sign_in(site, token="wrong")
    async with site.database.reading() as connection:
        assert [each.action for each in await audit.entries(connection)] == ["admin.add"]


async def test_unknown_address_takes_the_way_a_wrong_password_takes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick answer would tell who has no account: a hash is computed for each."""
    await site.admin(ADA, password=PASSWORD)
    looked_at, real = [], passwords.verify

    async def counted(password: str, kept: str | None) -> Verdict:
        looked_at.append(kept is not None)
        return await real(password, kept)

    monkeypatch.setattr(passwords, "verify", counted)
    for email in (ADA, "nobody@example.org"):
        assert (await sign_in(site, email=email, password="wrong")).status == 401
    assert looked_at == [True, False]


async def test_no_key_is_ever_logged(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    """Logs are copied, shipped and pasted; URLs with links in them must not be in them."""
    link = await site.link(await site.admin(ADA, password=PASSWORD))
    await fetch(site, f"/login?token={link}")
    _, secret, _ = cookie_in(await sign_in(site, token=link))
    await sign_in(site, token=link)
    await sign_in(site, email=ADA, password="hunter2-hunter2")
    await fetch(site, "/session", headers={"authorization": f"Bearer {link}"})
    logged = "".join(capfd.readouterr())
    assert "login_refused" in logged
    for key in (link, secret, "hunter2"):
        assert key not in logged
