"""The clients this network has: TypeScript programs that poll two queries in one batch, with no code for signing in."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.node import HERE, NODE
from tests.support.processes import PerseusProcess, run_perseus
from tests.support.servers import Server
from tests.support.trials import FeedProcess
from tests.support.waiting import wait_until

# By default a quick look; PERSEUS_TEST_POLLS=12 PERSEUS_TEST_POLL_MS=5000 is a minute as the clients poll.
QUICK = {"HEARTBEAT_INTERVAL": "1", "LEASE_TTL": "4"}
POLLS, EVERY_MS = os.environ.get("PERSEUS_TEST_POLLS", "4"), os.environ.get("PERSEUS_TEST_POLL_MS", "500")


@pytest.fixture
def network(valkey: Server, data_dir: Path) -> Iterator[PerseusProcess]:
    """`perseus serve`, and an instance that is active."""
    with (
        PerseusProcess("serve", "--port", "0", data_dir=data_dir / "web", store_url=valkey.url) as serve,
        FeedProcess("binance", data_dir=data_dir / "host-a", store_url=valkey.url, settings=QUICK) as feed,
    ):
        wait_until(lambda: "url=" in serve.output, description="the server listens")
        feed.wait_for_state("active")
        yield serve


def url_of(serve: PerseusProcess) -> str:
    """Where it listens."""
    found = re.search(r"url=(http://\S+)", serve.output)
    assert found, serve.output
    return found[1]


def admins(serve: PerseusProcess, *args: str) -> str:
    """Run `perseus admins …` on the server's database; what it prints."""
    done = run_perseus("admins", *args, data_dir=serve.data_dir)
    assert done.returncode == 0, done.stderr
    return done.stdout


def polled(url: str, headers: dict[str, str]) -> dict[str, Any]:
    """What the client got."""
    run = subprocess.run(
        [NODE, "polling.mjs", f"{url}/trpc", EVERY_MS, POLLS, json.dumps(headers)],
        cwd=HERE, capture_output=True, text=True, check=True,
    )  # fmt: skip
    got: dict[str, Any] = json.loads(run.stdout)
    return got


def judge(got: dict[str, Any]) -> None:
    """Every poll was one batched GET, and complete."""
    assert got["polls"] == int(POLLS) == len(got["requests"])
    assert all(
        re.match(r"GET \S+/network\.getInstances,network\.getActivityLog\?batch=1&", each) for each in got["requests"]
    )
    cards = {card["exchangeName"]: card for card in got["last"]["instances"]["instances"]}
    assert list(cards) == ["coinbase", "binance", "kraken"]
    assert (cards["binance"]["online"], cards["binance"]["status"]["connectionState"]) == (True, "active")
    states = [entry["toState"] for entry in got["last"]["log"]["entries"] if entry["event"] == "state_transition"]
    assert states[::-1] == ["starting", "warming", "active"]


async def signed_in(url: str, link: str) -> str:
    """The session cookie of whoever follows this link, as the header a browser sends."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as browser:
        form = {"token": link.partition("token=")[2].split()[0]}
        async with browser.post(f"{url}/login", data=form, headers={"origin": url}, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["location"]) == (303, "./")
            return "; ".join(f"{name}={cookie.value}" for name, cookie in answer.cookies.items())


async def test_page_of_our_own_polls_after_login_with_no_code_for_it(network: PerseusProcess) -> None:
    """The session cookie is the browser's business: a client served from our origin needs to know nothing of it."""
    url = url_of(network)
    admins(network, "add", "ada@example.com")
    cookie = await signed_in(url, admins(network, "link", "ada@example.com"))
    judge(polled(url, {"cookie": cookie, "sec-fetch-site": "same-origin"}))


def test_program_elsewhere_needs_a_bearer_header_only(network: PerseusProcess) -> None:
    """A page of another origin, or a program, shows a token and nothing else."""
    admins(network, "add", "ada@example.com")
    token = re.search(r"perseus_\S+", admins(network, "token", "ada@example.com", "--name", "poller"))
    assert token
    headers = {
        "authorization": f"Bearer {token[0]}",
        "origin": "https://elsewhere.example",
        "sec-fetch-site": "cross-site",
    }
    judge(polled(url_of(network), headers))
