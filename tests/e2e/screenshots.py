"""`python -m tests.e2e.screenshots`: the pictures of the guide, of the real page before a real server and store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect

from tests.e2e.alerts import (
    acknowledge,
    channel,
    dead_channel,
    forget_incidents,
    incident,
    lead,
    resolved,
    write_incidents,
)
from tests.e2e.chromium import running_browser
from tests.e2e.records import NAMES, ago, leave, publish, status_of, tenure, warm, write_everything
from tests.e2e.site import Site, make_database
from tests.e2e.window import PHONE, Window, bar, card, incident_of, look_until
from tests.support.servers import Server
from tests.support.system import short_directory

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDE: dict[str, Any] = {"viewport": {"width": 1200, "height": 860}}
SMALL: dict[str, Any] = PHONE | {"viewport": {"width": 375, "height": 760}}


ACTIVE = {"binance": 312, "bitfinex": 48, "kucoin": 120, "gemini": 25, "htx": 96, "gateio": 64, "bitstamp": 18}


def write_history(store: Server) -> None:
    """What happened, and a warm-up under way."""
    write_states_and_log(store)
    tenure(store, "bybit")
    warm(store, "bybit")
    renew(store)


def write_states_and_log(store: Server) -> None:
    """Every state and some of each entry, with a notifier that tells somebody."""
    write_everything(store)
    lead(store, channel())


def renew(store: Server) -> None:
    """A network as it is on a bad night: most run, one is gone, one is late, one warms up, one was stopped."""
    lease: dict[str, Any] = {"ttl_s": 45.0}
    for age_s, (name, symbols) in enumerate(ACTIVE.items()):
        publish(store, name, age_s=1.0 + age_s, symbol_count=symbols, **lease)
    publish(store, "okx", age_s=33, last_error="stream closed: 1006", last_error_at=ago(41), **lease)
    warming: dict[str, Any] = {"connected_at": None, "last_state_change": ago(21), "connection_state": "warming"}
    publish(store, "bybit", **warming, **lease)
    leave(store, status_of("kraken", age_s=280, last_error="read timed out", last_error_at=ago(284), **lease))


def write_night(site: Site) -> None:
    """Who has what on that night: one channel works, one is gone; what was before."""
    lead(site.store, channel(), dead_channel())
    forget_incidents(site)
    lost = incident(since_s=280)
    before = resolved("okx", since_s=9000), resolved("gateio", since_s=40_000, lasted_s=2520, resolution="stopped")
    write_incidents(site, *reversed(before), lost)
    acknowledge(site, lost, reason="looking at the venue")


def main() -> None:
    """Take every picture."""
    IMAGES.mkdir(exist_ok=True)
    with short_directory() as directory, running_browser() as browser:
        database = make_database(directory / "database", NAMES)
        with Site(database, directory / "night", fill=write_history) as site:
            _take(browser, site, "network-light", color_scheme="light", **WIDE)
            _take(browser, site, "network-phone", color_scheme="dark", **SMALL)
            _take(browser, site, "exchange", "/network/bybit", color_scheme="light", **WIDE)
            tall: dict[str, Any] = {"viewport": {"width": 1200, "height": 1280}}
            _take(browser, site, "notifications", "/notifications", color_scheme="light", **tall)
            _take(browser, site, "blind", is_blind=True, color_scheme="light", **WIDE)
        with Site(database, directory / "states", fill=write_states_and_log) as site:
            high: dict[str, Any] = {"viewport": {"width": 1200, "height": 1280}}
            _take(browser, site, "states-dark", is_night=False, color_scheme="dark", **high)


def _take(
    browser: Browser,
    site: Site,
    name: str,
    path: str = "/network",
    *,
    is_night: bool = True,
    is_blind: bool = False,
    **of: Any,
) -> None:
    if is_night:
        renew(site.store)
        write_night(site)
    window = Window(browser.new_context(storage_state=site.signed_in(browser), timezone_id="UTC", **of), site.url)
    page = window.open(path)
    expect(page.locator(".entry, .resolved").first).to_be_attached()
    if is_night and path == "/network":
        heartbeat = card(page, "okx").locator(".heartbeat")
        expect(heartbeat).to_have_text(re.compile("^3[3-9]s ago"))  # what was renewed is shown
    if is_night and path != "/network/bybit":
        look_until(page, incident_of(page, "kraken").is_visible, "the incident is shown")
    if is_blind:
        window.context.set_offline(True)
        expect(bar(page)).to_be_visible()
    file = IMAGES / f"{name}.png"
    page.screenshot(path=file, animations="disabled")
    print(f"{file.name}  {file.stat().st_size / 1000:.0f} kB")
    assert window.faults() == []
    window.close()


if __name__ == "__main__":
    main()
