"""Every page and state, light and dark, by the rules of WCAG 2.2 AA as far as a program can tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.alerts import (
    acknowledge,
    channel,
    dead_channel,
    failing_channel,
    incident,
    lead,
    mute,
    resolved,
    write_incidents,
)
from tests.e2e.axe import assert_accessible
from tests.e2e.site import VIEWER, Site
from tests.e2e.window import Window, alerts_bar, bar, incident_of, look_until

Windows = Callable[..., Window]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_and_state_is_accessible(site: Site, window: Windows, scheme: str) -> None:
    """WCAG 2.2 AA, as far as a program can tell."""
    opened = window(site, color_scheme=scheme)
    page = opened.open()
    expect(page.locator(".entry").first).to_be_visible()
    assert_accessible(page, "network")
    page.get_by_label("Account and view").click()
    assert_accessible(page, "account menu")
    page.keyboard.press("Escape")
    page.get_by_text("All events", exact=True).click()
    assert_accessible(page, "menu of events")
    page.keyboard.press("Escape")
    page.get_by_label("Time range").select_option("custom")
    page.get_by_role("button", name="Pause live updates").click()
    assert_accessible(page, "paused, with a range of one's own")
    for name in page.locator("[data-exchange]").evaluate_all("cards => cards.map(card => card.dataset.exchange)"):
        opened.open(f"/network/{name}")
        assert_accessible(page, f"page of {name}")
    for path in ("/network/nobody", "/network/a/b", "/network?text=matches-nothing", "/network?since=bad"):
        page.goto(f"{site.url}{path}")
        expect(page.locator("main .panel, main .card").first).to_be_visible()
        assert_accessible(page, path)
    page = opened.open()
    opened.context.set_offline(True)
    expect(bar(page)).to_be_visible()
    assert_accessible(page, "blind")
    opened.context.set_offline(False)
    expect(bar(page)).to_have_count(0)
    opened.context.clear_cookies()
    expect(bar(page)).to_be_visible()
    assert_accessible(page, "session ended")
    page.get_by_role("link", name="Sign in again").click()
    expect(page.get_by_label("Password")).to_be_visible()
    assert_accessible(page, "login")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_incidents_and_alerts_are_accessible(alerted: Site, browser: Browser, window: Windows, scheme: str) -> None:
    """Every state of a channel, every reason why nobody is told, the dialogs, and who may only look."""
    okx = incident("okx", is_flapping=True, changes=5)
    write_incidents(alerted, incident(), okx, resolved("htx"))
    acknowledge(alerted, okx, reason="looking")
    mute(alerted, okx, reason="maintenance")
    channels = (channel(), channel("new", "unused"), channel("slow", "waiting"), failing_channel(), dead_channel())
    lead(alerted.store, *channels)
    opened = window(alerted, color_scheme=scheme)
    page = opened.open("/notifications")
    look_until(page, lambda: page.locator("[data-incident], [data-channel]").count() == 7, "everything is there")
    assert_accessible(page, "notifications")
    opened.open()
    expect(incident_of(page, "kraken")).to_be_visible()
    assert_accessible(page, "network")
    for name in ("Acknowledge Kraken", "Mute Kraken"):
        page.get_by_role("button", name=name).click()
        assert_accessible(page, name)
        page.keyboard.press("Escape")
    for silent in ((), (dead_channel(),), (failing_channel(),)):
        lead(alerted.store, *silent)
        opened.open()
        look_until(page, alerts_bar(page).is_visible, "the page warns")
        assert_accessible(page, f"warning: {silent}")
        opened.open("/notifications")
        expect(page.locator(".silence")).to_be_visible()
        assert_accessible(page, f"silence: {silent}")
    viewer = window(alerted, color_scheme=scheme, storage_state=alerted.signed_in(browser, VIEWER))
    expect(incident_of(viewer.open("/notifications"), "kraken")).to_be_visible()
    assert_accessible(viewer.page, "viewer")
    opened.context.set_offline(True)
    expect(bar(page)).to_be_visible()
    assert_accessible(page, "blind")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_beginning_and_blindness_are_accessible(database: Path, data_dir: Path, window: Windows, scheme: str) -> None:
    """An empty network, an answer that is still to come, and none at all."""
    with Site(database, data_dir) as site:
        opened = window(site, color_scheme=scheme)
        assert_accessible(opened.open(), "empty")
        opened.page.route("**/trpc/**", lambda _: None)
        opened.page.goto(f"{site.url}/network")
        expect(opened.page.locator(".loading")).to_be_visible()
        assert_accessible(opened.page, "loading")
        opened.page.unroute("**/trpc/**")
        opened.page.route("**/trpc/**", lambda route: route.abort())
        opened.page.goto(f"{site.url}/network")
        expect(opened.page.get_by_text("Nothing is known yet")).to_be_visible()
        assert_accessible(opened.page, "nothing known")
