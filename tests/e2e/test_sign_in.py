"""Who gets in and who is out: by password, by link, out by choice or by the server, at the root and under a path."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.site import ADMIN, PASSWORD, Site
from tests.e2e.window import Window, bar, card
from tests.support.processes import run_perseus
from tests.support.servers import missing
from tests.support.system import die_with_parent, free_port
from tests.support.waiting import wait_until

Windows = Callable[..., Window]

PROXY = """
daemon off; error_log stderr; pid {directory}/pid; worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/1; proxy_temp_path {directory}/2; fastcgi_temp_path {directory}/3;
  uwsgi_temp_path {directory}/4; scgi_temp_path {directory}/5;
  server {{
    listen 127.0.0.1:{port};
    location /tools/perseus/ {{
      proxy_pass {site}/;
      proxy_set_header Host $http_host;
    }}
  }}
}}
"""


class Door(NamedTuple):
    """An address at which a site is reached."""

    url: str
    site: Site


@pytest.fixture(params=["at the root", "under a path"])
def door(request: pytest.FixtureRequest, site: Site, data_dir: Path) -> Iterator[Door]:
    """The site itself; then behind nginx, which takes a path off."""
    if request.param == "at the root":
        yield Door(site.url, site)
        return
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        missing("nginx", "apt-get install nginx")
    port = free_port()
    config = data_dir / "nginx.conf"
    config.write_text(PROXY.format(directory=data_dir, port=port, site=site.url))
    with ExitStack() as cleanup, (data_dir / "log").open("wb") as log:
        proxy = subprocess.Popen([program, "-c", config], stderr=log, preexec_fn=die_with_parent())  # noqa: PLW1509  one thread
        cleanup.callback(proxy.wait, 10)
        cleanup.callback(proxy.terminate)
        wait_until((data_dir / "pid").exists, description="nginx listens")
        yield Door(f"http://127.0.0.1:{port}/tools/perseus", site)


@pytest.fixture
def stranger(browser: Browser) -> Iterator[Page]:
    """A browser that nobody signed in."""
    with browser.new_context() as context:
        yield context.new_page()


def link_of(site: Site) -> str:
    """A one-time link, as a path."""
    made = run_perseus("admins", "link", ADMIN, "--data-dir", str(site.home), data_dir=site.home)
    assert made.returncode == 0, made.stderr
    found = re.search(r"/login\?\S+", made.stdout)
    assert found is not None, made.stdout
    return found[0]


def test_password_leads_to_the_page_that_was_asked_for(door: Door, stranger: Page) -> None:
    """Also after a wrong attempt; then out again."""
    stranger.goto(f"{door.url}/network/kraken?event=error")
    expect(stranger).to_have_url(re.compile(rf"^{re.escape(door.url)}/login\?"))
    for password in ("wrong", PASSWORD):
        stranger.get_by_label("E-mail address").fill(ADMIN)
        stranger.get_by_label("Password").fill(password)
        stranger.get_by_role("button", name="Sign in").click()
        if password == "wrong":
            expect(stranger.get_by_role("alert")).to_be_visible()
    expect(stranger).to_have_url(f"{door.url}/network/kraken?event=error")
    expect(stranger.get_by_role("heading", level=1)).to_have_text("Kraken")
    stranger.get_by_role("link", name="Network", exact=True).first.click()
    expect(stranger).to_have_url(f"{door.url}/network")
    expect(card(stranger, "kraken")).to_have_attribute("data-health", "offline")
    stranger.get_by_label(f"Account and view: {ADMIN}").click()
    stranger.get_by_role("button", name="Sign out").click()
    expect(stranger.get_by_label("Password")).to_be_visible()
    stranger.goto(f"{door.url}/network")
    expect(stranger.get_by_label("Password")).to_be_visible()


def test_link_lets_in_once(door: Door, stranger: Page, browser: Browser) -> None:
    """A second use, perhaps by somebody who read it over a shoulder, is refused."""
    link = link_of(door.site)
    stranger.goto(f"{door.url}{link}")
    stranger.get_by_role("button", name="Sign in").click()
    expect(card(stranger, "binance")).to_be_visible()
    assert stranger.url == f"{door.url}/network"
    with browser.new_context() as context:
        second = context.new_page()
        second.goto(f"{door.url}{link}")
        second.get_by_role("button", name="Sign in").click()
        expect(second.get_by_label("Password")).to_be_visible()
        expect(second.get_by_role("alert")).to_be_visible()


def test_session_that_ends_keeps_what_is_shown_and_offers_to_sign_in(site: Site, window: Windows) -> None:
    """Nobody loses the picture of an outage to a login page; back in, they are where they were."""
    opened = window(site)
    page = opened.open("/network?exchange=kraken")
    opened.context.clear_cookies()
    expect(bar(page)).to_contain_text("your session ended")
    expect(card(page, "kraken")).to_have_attribute("data-health", "unknown")
    expect(card(page, "kraken")).to_contain_text("fra-kraken")
    page.get_by_role("link", name="Sign in again").click()
    page.get_by_label("E-mail address").fill(ADMIN)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{site.url}/network?exchange=kraken")
    expect(card(page, "kraken")).to_have_attribute("data-health", "offline")


def test_page_works_under_a_path(door: Door, stranger: Page) -> None:
    """Deep addresses load anew, links and history stay below the path, and nothing is asked outside of it."""
    asked: list[str] = []
    stranger.on("request", lambda request: asked.append(request.url))
    stranger.goto(f"{door.url}{link_of(door.site)}")
    stranger.get_by_role("button", name="Sign in").click()
    card(stranger, "kraken").get_by_role("link", name="Kraken").click()
    expect(stranger).to_have_url(f"{door.url}/network/kraken")
    stranger.reload()
    expect(stranger.get_by_role("heading", level=1)).to_have_text("Kraken")
    stranger.go_back()
    expect(stranger).to_have_url(f"{door.url}/network")
    expect(card(stranger, "kraken")).to_be_visible()
    assert [each for each in asked if not each.startswith((f"{door.url}/", "data:", "blob:"))] == []
