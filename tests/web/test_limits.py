"""How often somebody may ask or guess, by a clock that does as it is told, and over a real socket."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from perseus.errors import TooOften
from perseus.model import Role
from perseus.web.limits import SLOTS, Backoff, LoginLimit, Rate, RateLimit
from perseus.web.proxies import TrustedProxies, client_key
from perseus.web.trpc import Limits
from tests.support.clocks import ManualClock
from tests.web.matrix import bearer
from tests.web.site import PASSWORD, Site, fetch, running_site, sign_in


def refusals(limit: RateLimit, who: str, times: int) -> int:
    """How many of so many requests at once are refused."""
    count = 0
    for _ in range(times):
        try:
            limit.take(who)
        except TooOften:
            count += 1
    return count


def test_a_client_gets_its_burst_then_its_rate() -> None:
    """A page load is many requests at once; a flood is many for long."""
    clock = ManualClock()
    limit = RateLimit(Rate(per_second=10, burst=50), clock=clock)
    assert refusals(limit, "a", 60) == 10
    clock.advance(1)
    assert refusals(limit, "a", 60) == 50
    assert refusals(limit, "b", 50) == 0
    with pytest.raises(TooOften, match=r"Try again in 1 s\.") as error:
        limit.take("a")
    assert error.value.retry_after_s == 1


def test_memory_does_not_grow_with_clients_or_accounts() -> None:
    """Whoever has a network of addresses, or a list of names, must not fill ours."""
    clock = ManualClock()
    limit, login = RateLimit(Rate(1, 1), clock=clock), LoginLimit(clock=clock)
    before = sys.getsizeof(limit._empty_at), sys.getsizeof(login._accounts._counts)
    for number in range(3 * SLOTS):
        refusals(limit, f"client {number}", 1)
        login._accounts.count(f"account {number}")
    assert (sys.getsizeof(limit._empty_at), sys.getsizeof(login._accounts._counts)) == before
    assert len(limit._empty_at) == SLOTS


def test_guesses_at_one_account_wait_twice_as_long_each_time() -> None:
    """From however many addresses they come, and never for ever."""
    clock = ManualClock()
    limit = LoginLimit(clock=clock)
    waits = []
    for number in range(20):
        try:
            limit.begin(address=f"10.0.0.{number}", account="ada")
        except TooOften as error:
            waits.append(error.retry_after_s)
            clock.advance(error.retry_after_s)
            limit.begin(address=f"10.0.1.{number}", account="ada")
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, *[300] * 6]
    limit.begin(address="10.0.2.1", account="someone else")


def test_address_that_fails_often_waits_whatever_accounts_it_names() -> None:
    """One guess at each of a thousand accounts is a thousand guesses."""
    limit = LoginLimit(clock=ManualClock())
    for number in range(20):
        limit.begin(address="10.0.0.1", account=f"account {number}")
    with pytest.raises(TooOften):
        limit.begin(address="10.0.0.1", account="another")
    with pytest.raises(TooOften):
        limit.begin(address="10.0.0.1")  # a one-time link
    limit.begin(address="10.0.0.2", account="account 1")


def test_success_clears_the_account_but_not_the_address() -> None:
    """Else somebody with an account of their own signs in between guesses, and guesses for ever."""
    limit = LoginLimit(clock=ManualClock(), by_address=Backoff(free=20, first_s=1, longest_s=900))
    for number in range(20):
        limit.begin(address="10.0.0.1", account="mallory")
        limit.succeeded(address="10.0.0.1", account="mallory")
        limit.begin(address="10.0.0.1", account=f"victim {number}")
    with pytest.raises(TooOften):
        limit.begin(address="10.0.0.1", account="mallory")
    for _ in range(50):
        limit.begin(address="10.9.9.9", account="ada")
        limit.succeeded(address="10.9.9.9", account="ada")


def test_failures_are_forgotten_after_a_quiet_hour() -> None:
    """A bad morning must not spoil the evening."""
    clock = ManualClock()
    limit = LoginLimit(clock=clock)
    for _ in range(5):
        limit.begin(address="a", account="ada")
    clock.advance(3601)
    for _ in range(5):
        limit.begin(address="a", account="ada")


def scope(client: str | None, *headers: tuple[str, str]) -> dict[str, object]:
    """A request as the web server hands it on."""
    return {
        "type": "http",
        "scheme": "http",
        "client": client and (client, 4711),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    }


FORWARDED = "X-Forwarded-For"


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", ["1.2.3.4"], "203.0.113.7"),  # nobody we trust
        ("127.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("127.0.0.1", ["9.9.9.9, 1.2.3.4"], "1.2.3.4"),  # the client wrote 9.9.9.9 itself
        ("127.0.0.1", ["9.9.9.9", "1.2.3.4"], "1.2.3.4"),
        ("127.0.0.1", ["9.9.9.9, 1.2.3.4, 10.0.0.5"], "1.2.3.4"),  # two proxies of ours
        ("127.0.0.1", ["10.0.0.5"], "10.0.0.5"),
        ("127.0.0.1", ["1.2.3.4:5555"], "1.2.3.4"),
        ("127.0.0.1", ["[2001:db8::1]:5555"], "2001:db8::/64"),
        ("127.0.0.1", ["9.9.9.9, unknown"], "127.0.0.1"),
        ("127.0.0.1", ["9.9.9.9, unknown, 10.0.0.5"], "10.0.0.5"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("::ffff:127.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("2001:db8::aaaa:1", ["1.2.3.4"], "2001:db8::/64"),
        (None, ["1.2.3.4"], "local"),
    ],
)
def test_client_is_the_first_address_nobody_of_ours_vouches_for(
    peer: str | None, forwarded: list[str], client: str
) -> None:
    """Anyone can send the header; counted from the right, past our own proxies, it says who wrote it."""
    proxies = TrustedProxies(["127.0.0.1", "10.0.0.0/8"])
    seen = proxies.seen_through(scope(peer, *((FORWARDED, each) for each in forwarded)))
    assert client_key(seen) == client


async def test_rate_limit_holds_over_the_wire(site_database: str, tmp_path: Path) -> None:
    """Whatever header is added, however it is written: one address is one client."""
    async with running_site(site_database, directory=tmp_path, settings={"RATE_LIMIT": "10"}) as site:
        tricks = [{FORWARDED: f"1.2.3.{n}", "X-Real-IP": f"1.2.3.{n}", "Forwarded": f"for=1.2.3.{n}"} for n in range(8)]
        got = [await fetch(site, "/login", headers=trick) for trick in [*tricks, *tricks]]
        assert [each.status for each in got] == [200] * 10 + [429] * 6
        assert got[-1].headers["retry-after"] == "1"
        api = await fetch(site, "/trpc/test.viewer.query", headers={"origin": "http://a.example"})
        assert (api.status, api.json["error"]["data"]["code"]) == (429, "TOO_MANY_REQUESTS")
        assert api.headers["access-control-allow-origin"] == "*"
        site.clock.travel(10)
        assert (await fetch(site, "/login")).status == 200


async def test_each_call_of_a_batch_counts(site_database: str, tmp_path: Path) -> None:
    """Twenty calls in one request are twenty."""
    async with running_site(site_database, directory=tmp_path, settings={"RATE_LIMIT": "12"}) as site:
        token = await site.token(await site.admin("ada@example.org"), Role.VIEWER)
        batch = ",".join(["test.viewer.query"] * 20)
        got = (await fetch(site, f"/trpc/{batch}?batch=1", headers=bearer(token))).json
        said = ["ok" if "result" in each else each["error"]["data"]["code"] for each in got]
        assert said == ["ok"] * 12 + ["TOO_MANY_REQUESTS"] * 8
        assert got[-1]["error"]["data"]["retryAfter"] == 1


async def test_each_call_of_a_socket_counts(site_database: str, tmp_path: Path) -> None:
    """One handshake is no licence to ask without end."""
    async with running_site(site_database, directory=tmp_path, settings={"RATE_LIMIT": "30"}) as site:
        token = await site.token(await site.admin("ada@example.org"), Role.VIEWER)
        async with site.http.ws_connect(f"{site.url}/trpc", headers=bearer(token)) as socket:
            calls = [{"id": n, "method": "query", "params": {"path": "test.viewer.query"}} for n in range(40)]
            await socket.send_json(calls)
            said = [await socket.receive_json() for _ in range(40)]
        assert sum("error" in each for each in said) == 10


async def test_what_is_refused_counts_too(site_database: str, tmp_path: Path) -> None:
    """Also of nobody: paths that do not exist, and frames that cannot be read, were free."""
    async with running_site(site_database, directory=tmp_path, settings={"RATE_LIMIT": "12"}) as site:
        got = (await fetch(site, f"/trpc/{','.join(['no.such'] * 20)}?batch=1")).json
        codes = [each["error"]["data"]["code"] for each in got]
        assert codes == ["NOT_FOUND"] * 12 + ["TOO_MANY_REQUESTS"] * 8
        token = await site.token(await site.admin("ada@example.org"), Role.VIEWER)
        async with site.http.ws_connect(f"{site.url}/trpc", headers=bearer(token)) as socket:
            for _ in range(30):
                await socket.send_str("garbage")
            said = {(await socket.receive_json())["error"]["data"]["code"] for _ in range(30)}
        assert said == {"PARSE_ERROR", "TOO_MANY_REQUESTS"}


async def test_guessing_a_password_is_slowed_down(site: Site) -> None:
    """From one address through a proxy or many: the account counts. The right password waits its turn, then works."""
    await site.admin("ada@example.org", password=PASSWORD)
    json = {"accept": "application/json"}
    spellings = ["ada@example.org", "ADA@example.org", " ada@example.org", "Ada@Example.Org", "ada@EXAMPLE.org"]
    for email in spellings:
        assert (await sign_in(site, headers=json, email=email, password="wrong")).status == 401
    slowed = await sign_in(site, headers=json, email="ada@example.org", password=PASSWORD)
    assert (slowed.status, slowed.headers.get("retry-after")) == (429, "1")
    assert slowed.json == {"error": "Too many failed attempts to log in. Try again in 1 s."}
    site.clock.travel(1)
    assert (await sign_in(site, email="ada@example.org", password=PASSWORD)).status == 303


async def test_guesses_at_once_are_as_many_guesses(site: Site) -> None:
    """An attempt counts when it begins, not when its hash has been computed."""
    await site.admin("ada@example.org", password=PASSWORD)
    got = await asyncio.gather(
        *(sign_in(site, email="ada@example.org", password=f"wrong {number}") for number in range(12))
    )
    assert sorted(each.status for each in got) == [401] * 5 + [429] * 7


async def test_behind_a_trusted_proxy_clients_are_told_apart(site_database: str, tmp_path: Path) -> None:
    """Else one who guesses locks everybody out."""
    settings = {"TRUSTED_PROXIES": "127.0.0.1", "RATE_LIMIT": "10"}
    async with running_site(site_database, directory=tmp_path, settings=settings) as site:
        statuses = [
            (await fetch(site, "/login", headers={FORWARDED: f"6.6.6.6, 1.2.3.{number % 2}"})).status
            for number in range(24)
        ]
        assert statuses == [200] * 20 + [429] * 4


async def test_waiting_sockets_of_one_client_keep_nobody_else_out(site_database: str, tmp_path: Path) -> None:
    """Two thousand that never say who they are were all the server keeps: one client closed it for everybody."""
    settings = {"TRUSTED_PROXIES": "127.0.0.1"}
    most = Limits().client_sockets_waiting
    async with running_site(site_database, directory=tmp_path, settings=settings) as site, AsyncExitStack() as stack:

        async def wait_as(address: str) -> None:
            url = f"{site.url}/trpc?connectionParams=1"
            await stack.enter_async_context(site.http.ws_connect(url, headers={FORWARDED: address}))

        for number in range(most):
            await wait_as(f"2001:db8::{number:x}")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await wait_as("2001:db8::ffff")  # the same /64
        assert refused.value.status == 429
        await wait_as("2001:db8:1::1")
