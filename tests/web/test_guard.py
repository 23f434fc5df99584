"""What every answer carries, who may reach the server under which name, and that a failure tells nothing."""

from __future__ import annotations

import asyncio
import gc
import re
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest
from starlette.types import Receive, Scope, Send

from perseus.model import Role
from perseus.web.guard import Guard
from perseus.web.headers import EVERYWHERE
from perseus.web.origins import OurNames
from perseus.web.proxies import TrustedProxies
from perseus.web.serving import listen, serve
from perseus.web.stays import Stay
from perseus.web.trpc.outgoing import ClientGone, Outgoing
from perseus.web.trpc.request import Request
from tests.web.matrix import bearer
from tests.web.site import Got, Site, fetch, running_site

REBOUND = "rebound.evil.example"


async def answers(site: Site) -> dict[str, Got]:
    """One of each kind."""
    json = {"content-type": "application/json"}
    return {
        "page": await fetch(site, "/login"),
        "style": await fetch(site, "/login.css"),
        "UI": await fetch(site, "/network"),
        "to the UI": await fetch(site, "/"),
        "no such file": await fetch(site, "/assets/none.js"),
        "redirect": await fetch(site, "/logout", method="POST", headers=site.own),
        "no session": await fetch(site, "/session"),
        "nothing there": await fetch(site, "/nothing/there"),
        "method": await fetch(site, "/login", method="DELETE"),
        "API": await fetch(site, "/trpc/test.viewer.query"),
        "no procedure": await fetch(site, "/trpc/no.such"),
        "head": await fetch(site, "/trpc/test.viewer.query", method="HEAD"),
        "media type": await fetch(site, "/trpc/test.viewer.mutation", method="POST", data=b"x"),
        "too big": await fetch(
            site, "/trpc/test.viewer.mutation", method="POST", headers=json, data=BytesIO(b"x" * 2**21)
        ),
        "events": await fetch(site, "/trpc/test.viewer.subscription", headers={"accept": "text/event-stream"}),
        "preflight": await fetch(
            site,
            "/trpc/test.viewer.query",
            method="OPTIONS",
            headers={"origin": "http://a.example", "access-control-request-method": "GET"},
        ),
        "wrong name": await fetch(site, "/", headers={"host": REBOUND}),
        "failure": await fetch(site, "/crash"),
    }


async def test_every_answer_has_the_security_headers(site: Site) -> None:
    """One page without them is the one that is attacked."""
    for name, got in (await answers(site)).items():
        missing = {header for header, value in EVERYWHERE.items() if got.headers.getall(header, []) != [value]}  # type: ignore[attr-defined]
        assert not missing, f"{name} ({got.status}) lacks {missing}"
        assert "server" not in got.headers, name
        assert "strict-transport-security" not in got.headers, name


async def test_policy_allows_nothing_inline_and_no_frame() -> None:
    """The two that matter most, in words."""
    policy = EVERYWHERE["content-security-policy"]
    assert {"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy.split("; "))
    assert "unsafe" not in policy


async def test_nobody_keeps_a_copy_of_what_the_api_says(site: Site) -> None:
    """A proxy or a shared browser must not show one person's answer to another."""
    for name, got in (await answers(site)).items():
        kept = got.headers["cache-control"]
        files = {"style": "public, max-age=3600", "UI": "no-cache"}
        assert kept == {**files, "events": "no-cache, no-transform"}.get(name, "no-store"), name


async def test_failure_tells_a_reference_and_nothing_else(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """What failed is for the log; whoever asked finds it there by the reference."""
    got = await fetch(site, "/crash")
    assert got.status == 500
    found = re.fullmatch(
        r"Perseus failed to answer\. Its log has the cause under reference ([0-9a-f]{8})\.\n", got.text
    )
    assert found is not None
    logged = capsys.readouterr()
    assert found[1] in logged.out + logged.err


@pytest.mark.parametrize(
    "host",
    [
        *(REBOUND, f"{REBOUND}:80", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example"),
        *("evil.example/localhost", "", "localhost:bad", "localhost, evil.example", "[evil]", "1", "::ffff"),
    ],
)
async def test_page_of_a_rebound_name_reaches_nothing(site: Site, host: str) -> None:
    """DNS rebinding: the name is the attacker's, the address ours, and to the browser it is the same site."""
    for path in ("/login", "/session", "/trpc/test.viewer.query"):
        got = await fetch(site, path, headers={"host": host, "sec-fetch-site": "same-origin"})
        assert got.status in (400, 403)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await site.http.ws_connect(f"{site.url}/trpc", headers={"host": host})
    assert refused.value.status in (400, 403)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.:8777", "ui.localhost", "127.0.0.1:1", "[::1]:8777", "10.1.2.3"]
)
async def test_local_names_and_addresses_are_ours(site: Site, host: str) -> None:
    """No DNS answer can make a page of another site have one of these as its host."""
    assert (await fetch(site, "/login", headers={"host": host})).status == 200


async def test_two_host_headers_are_refused(site: Site) -> None:
    """Whichever is believed here, a proxy in front may have believed the other."""
    port = int(site.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /login HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    status = (await reader.readline()).split()[1]
    writer.close()
    assert status in (b"400", b"403")


async def test_configured_names_are_ours(site_database: str, tmp_path: Path) -> None:
    """PUBLIC_URL and HOSTNAME are how people reach us."""
    settings = {"PUBLIC_URL": "https://perseus.example", "HOSTNAME": "fra-2"}
    async with running_site(site_database, directory=tmp_path, settings=settings) as site:
        statuses = [
            (await fetch(site, "/login", headers={"host": host})).status
            for host in ("perseus.example", "fra-2:8777", REBOUND)
        ]
        assert statuses == [200, 200, 403]


async def test_pages_elsewhere_may_ask_with_a_token_but_never_with_cookies(site: Site) -> None:
    """CORS: without `allow-credentials` a browser shows a page nothing it fetched with our cookies."""
    elsewhere = {"origin": "http://dashboard.example"}
    asked = await fetch(
        site,
        "/trpc/test.viewer.query",
        method="OPTIONS",
        headers=elsewhere
        | {"access-control-request-method": "GET", "access-control-request-headers": "authorization,trpc-accept"},
    )
    got = await fetch(site, "/trpc/test.viewer.query", headers=elsewhere)
    for each in (asked, got):
        assert each.headers["access-control-allow-origin"] in ("*", elsewhere["origin"])
        assert "access-control-allow-credentials" not in each.headers
    assert asked.status == 204
    assert "authorization" in asked.headers["access-control-allow-headers"]
    for path in ("/login", "/session", "/login.css"):
        assert "access-control-allow-origin" not in (await fetch(site, path, headers=elsewhere)).headers


async def test_browser_is_told_to_stay_with_https_only_where_it_came_by_it(site_database: str, tmp_path: Path) -> None:
    """Said over http it would mean nothing; said of localhost it would break the next program there."""
    settings = {"PUBLIC_URL": "https://perseus.example"}
    async with running_site(site_database, directory=tmp_path, settings=settings) as site:
        by_name = await fetch(site, "/login", headers={"host": "perseus.example"})
        directly = await fetch(site, "/login")
        claimed = await fetch(site, "/login", headers={"x-forwarded-proto": "https"})
    assert [("strict-transport-security" in each.headers) for each in (by_name, directly, claimed)] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://127.0.0.1"},
        {"sec-fetch-site": "cross-site", "origin": "SELF"},
    ],
)
async def test_forms_of_other_sites_sign_nobody_in_or_out(site: Site, path: str, headers: dict[str, str]) -> None:
    """Login CSRF: somebody signed in as the attacker would type their secrets into the attacker's account."""
    sent = {name: site.url if value == "SELF" else value for name, value in headers.items()}
    got = await fetch(site, path, method="POST", headers=sent, data={"email": "a@b", "password": "x"})
    assert got.status == 403
    assert "set-cookie" not in got.headers


async def test_request_leaves_nothing_to_the_garbage_collector(site: Site) -> None:
    """What refers to itself is freed by collections only: memory grows until one stops everybody."""
    token = bearer(await site.token(await site.admin("ada@example.org"), Role.VIEWER))
    gc.disable()
    try:
        for _ in range(20):
            assert (await fetch(site, "/trpc/test.viewer.query", headers=token)).status == 200
        left = [each for each in gc.get_objects() if isinstance(each, Stay | Request)]
        assert len(left) <= 2, left  # the connection's last one
    finally:
        gc.enable()


async def test_client_that_takes_nothing_is_cut_off() -> None:
    """Closed politely, the connection would wait for ever for its reader, with all that was not read yet."""
    is_over = asyncio.Event()

    async def endless(_scope: Scope, _receive: Receive, send: Send) -> None:
        out = Outgoing(send, stall_s=0.2)
        await out.write({"type": "http.response.start", "status": 200, "headers": []})
        with suppress(ClientGone):
            while True:
                await out.part(b"x" * 2**20)
        is_over.set()

    async def at_once(_within_s: float) -> None:
        pass

    door, stop = listen("127.0.0.1", 0), asyncio.Event()
    app = Guard(endless, names=OurNames(), proxies=TrustedProxies(), door=None)
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(10):
        tasks.create_task(serve(app, door, stop=stop, close=at_once))
        reader, writer = await asyncio.open_connection(*door.getsockname(), limit=2**10)
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await is_over.wait()
        received = await reader.read()
        writer.close()
        stop.set()
    assert received.endswith(b"x")  # in the middle of a piece
