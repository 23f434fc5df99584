"""The Admin UI's files: what a browser gets, compressed and for ever, from any path, and who is sent to sign in first.

What the page then shows is for tests/e2e to look at.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import aiohttp
import pytest
from starlette.applications import Starlette

from perseus.model import Role
from perseus.web.origins import OurNames
from perseus.web.ui import BUILT, FOR_EVER, AdminUI
from tests.web.site import PASSWORD, Site, cookie_in, fetch, sign_in

ADA = "ada@example.org"
BUDGET = 300_000  # bytes of everything the first page loads, compressed
TYPED = {"sec-fetch-site": "none"}  # what a browser says of an address somebody typed
LINKED = {"sec-fetch-site": "cross-site"}


@pytest.fixture
async def cookie(site: Site) -> dict[str, str]:
    """The header of somebody who is signed in."""
    await site.admin(ADA, Role.VIEWER, password=PASSWORD)
    name, value, _ = cookie_in(await sign_in(site, email=ADA, password=PASSWORD))
    return {"cookie": f"{name}={value}"}


def addresses(page: str) -> list[str]:
    """What the page loads."""
    return re.findall(r'(?:src|href)="([^"]+)"', page)


@pytest.mark.parametrize("path", ["/network", "/network/kraken", "/network/kraken/no/such/page", "/notifications"])
async def test_page_finds_its_files_from_every_address(site: Site, cookie: dict[str, str], path: str) -> None:
    """A page that is opened deep, or loaded anew there, must not look for its script beside itself."""
    page = await fetch(site, path, headers=cookie | TYPED)
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    found = addresses(page.text)
    assert len(found) >= 3
    for address in found:
        file = await fetch(site, urljoin(path, address))
        assert file.status == 200, address
        assert file.headers["cache-control"] == FOR_EVER, address


@pytest.mark.parametrize("path", ["/perseus/", "/perseus/network", "/perseus/network/kraken"])
async def test_page_finds_its_files_under_the_path_of_a_proxy(site: Site, cookie: dict[str, str], path: str) -> None:
    """The proxy takes its path off and nobody tells us of it: an address that starts at the root would leave it."""
    page = await fetch(site, path.removeprefix("/perseus"), headers=cookie | TYPED)
    if page.status == 307:
        path = urljoin(path, page.headers["location"])
        page = await fetch(site, path.removeprefix("/perseus"), headers=cookie | TYPED)
    assert all(urljoin(path, address).startswith("/perseus/assets/") for address in addresses(page.text))


async def test_page_itself_is_never_taken_from_a_cache_unasked(site: Site, cookie: dict[str, str]) -> None:
    """It names the files of its version; after an upgrade those are gone."""
    page = await fetch(site, "/network", headers=cookie)
    assert page.headers["cache-control"] == "no-cache"


async def test_files_are_kept_for_ever_and_come_compressed(site: Site) -> None:
    """Their names tell their content."""
    for name in (each.name for each in BUILT.joinpath("assets").iterdir()):
        if not name.endswith((".js", ".css")):
            continue
        url = f"{site.url}/assets/{name}"
        sizes = {}
        for accepted, expected in {"identity": "", "gzip": "gzip", "br, gzip": "br", "br;q=0, gzip": "gzip"}.items():
            headers = {"accept-encoding": accepted}
            async with (
                aiohttp.ClientSession(auto_decompress=False) as http,
                http.get(url, headers=headers) as answer,
            ):
                assert answer.headers["cache-control"] == FOR_EVER
                assert answer.headers["vary"] == "accept-encoding"
                assert answer.headers.get("content-encoding", "") == expected
                body = await answer.read()
            sizes[expected] = len(body)
            if expected == "gzip":
                assert gzip.decompress(body) == BUILT.joinpath("assets", name).read_bytes()
        assert sizes["br"] <= sizes["gzip"] < sizes[""]


async def test_script_is_served_as_a_script(site: Site) -> None:
    """Browsers run nothing else with `nosniff`, whatever this machine's table of types says."""
    types = {}
    for each in BUILT.joinpath("assets").iterdir():
        if not each.name.endswith((".br", ".gz")):
            got = await fetch(site, f"/assets/{each.name}")
            types[Path(each.name).suffix] = got.headers["content-type"].partition(";")[0]
    assert types == {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


async def test_first_page_is_small() -> None:
    """It opens on a phone at three in the morning."""
    page = BUILT.joinpath("index.html").read_text("utf-8")
    built = Path(str(BUILT))
    sizes = {address: len((built / address).read_bytes()) for address in addresses(page)}
    sizes |= {each: len((built / f"{each}.gz").read_bytes()) for each in sizes if (built / f"{each}.gz").exists()}
    assert sum(sizes.values()) + len(page) <= BUDGET, sizes


async def test_page_has_nothing_the_policy_forbids() -> None:
    """An inline script or style would silently not run."""
    page = BUILT.joinpath("index.html").read_text("utf-8")
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|data:|https?://|<base", page) == []


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/network", "/network"),
        ("/network/kraken?event=error&text=a+b", "/network/kraken?event=error&text=a+b"),
        ("/network/a%22b%2F%2Fc", "/network/a%22b%2F%2Fc"),
    ],
)
async def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(site: Site, path: str, asked: str) -> None:
    """The address somebody was given is where they want to be afterwards."""
    await site.admin(ADA, Role.VIEWER, password=PASSWORD)
    got = await fetch(site, path, headers=TYPED)
    assert got.status == 303
    login = urlsplit(urljoin(path, got.headers["location"]))
    assert login.path == "/login"
    page = await fetch(site, f"{login.path}?{login.query}")
    (field,) = re.findall(r'name="next" value="([^"]*)"', page.text)
    back = await sign_in(site, email=ADA, password=PASSWORD, next=field.replace("&amp;", "&"))
    assert urljoin("/login", back.headers["location"]) == asked


async def test_who_follows_a_link_from_elsewhere_is_not_taken_for_signed_out(site: Site) -> None:
    """The browser withholds the cookie then (SameSite=Strict); a login page would greet everybody who is signed in."""
    for headers in (LINKED, {}):
        assert (await fetch(site, "/network/kraken", headers=headers)).status == 200


async def test_start_page_is_the_network(site: Site) -> None:
    """`/` and a slash too many lead there, relatively."""
    for path in ("/", "/network/"):
        got = await fetch(site, path, headers=TYPED)
        assert (got.status, urljoin(f"/perseus{path}", got.headers["location"])) == (307, "/perseus/network")


@pytest.mark.parametrize("headers", [TYPED, LINKED])
async def test_address_comes_back_in_small_answers_only(site: Site, headers: dict[str, str]) -> None:
    """Each slash adds to every address in the page: 60 kB asked for became half a megabyte, for anybody."""
    page = await fetch(site, "/network", headers=LINKED)
    for path in ("/network" + "/" * 60_000, "/network/" + "a" * 60_000, "/network?" + "%22" * 20_000):
        got = await fetch(site, path, headers=headers)
        assert (got.status, len(got.text) < 200) == (414, True)
    for path in ("/network" + "/" * 2000, "/login?next=/" + "%26" * 20_000):
        got = await fetch(site, path, headers=headers)
        assert len(got.text) < len(page.text) + 2000
        assert sum(map(len, got.headers.values())) < 4000


async def test_file_of_another_version_is_not_found(site: Site) -> None:
    """Not the page: a browser would take HTML for a script and keep it for ever."""
    for name in ("index-00000000.js", "..%2Findex.html", "index-00000000.js.br"):
        got = await fetch(site, f"/assets/{name}")
        assert got.status == 404
        assert got.headers["cache-control"] == "no-store"


async def test_real_network_is_not_called_simulated(site: Site, cookie: dict[str, str]) -> None:
    """The reverse of tests/e2e/test_outages.py: an outage nobody takes seriously."""
    for path in ("/network", "/login", "/login?token=x"):
        assert "simulated" not in (await fetch(site, path, headers=cookie | TYPED)).text.lower()


@pytest.fixture
async def unbuilt(site: Site, tmp_path: Path) -> Starlette:
    """The routes of an installation without the UI."""
    return Starlette(routes=AdminUI(site.identities, names=OurNames(), built=tmp_path / "nothing").routes())


async def test_installation_without_the_ui_says_so(unbuilt: Starlette) -> None:
    """The API still works, and a person should learn what is missing."""
    sent = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/network", "headers": [], "query_string": b""}
    scope |= {"raw_path": b"/network", "root_path": ""}
    await unbuilt(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 503
    assert b"make run" in sent[1]["body"]  # type: ignore[operator]
