"""Who has which incident: acknowledged and muted from wherever it is seen, and never shown otherwise than it is."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from perseus.database.incidents import IncidentRecord
from tests.e2e.alerts import acknowledge, forget_incidents, incident, mute, nobody_leads, write_incidents
from tests.e2e.records import ago
from tests.e2e.site import ADMIN, VIEWER, Site
from tests.e2e.window import Window, bar, card, incident_of, look_until

Windows = Callable[..., Window]
PLACES = ("/network", "/network/kraken", "/notifications")
INCIDENTS = "**/trpc/notify.getIncidents*"
LOOKING = "looking at the upstream <b>provider</b>"


def shown(window: Window, record: IncidentRecord, path: str = "/network") -> Locator:
    """An incident on a page that was just opened; what was answered a second ago may be an earlier one."""
    page = window.open(path)
    found = page.locator(f'[data-incident="{record.id}"]')
    look_until(page, found.is_visible, f"{record.id} is shown")
    return found


def dialog(page: Page) -> Locator:
    """What asks a person something."""
    return page.get_by_role("dialog")


def button(within: Locator, name: str) -> Locator:
    """A button by the beginning of its name, of which the rest says whose it is."""
    return within.get_by_role("button", name=name)


def ask_and_show(page: Page) -> None:
    """Let the page ask once more, and draw what was answered."""
    with page.expect_response(INCIDENTS) as answered:
        page.evaluate("window.dispatchEvent(new Event('online'))")
    answered.value.finished()
    page.evaluate(
        "new Promise(drawn => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(drawn)), 50))"
    )


def second_of_day(text: str) -> int:
    """The time of day in a text."""
    found = re.search(r"(\d\d):(\d\d):(\d\d)", text)
    assert found is not None, text
    return sum(int(part) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True))


@pytest.mark.parametrize("path", PLACES)
def test_incident_is_acknowledged_where_it_is_seen(alerted: Site, window: Windows, path: str) -> None:
    """Everybody sees who has it, why and when; by keyboard, too, and the focus stays where one was."""
    kraken = incident()
    write_incidents(alerted, kraken)
    opened, other = window(alerted), window(alerted)
    found, elsewhere = shown(opened, kraken, path), shown(other, kraken)
    page = opened.page
    expect(found).to_contain_text("Nobody has it yet")
    button(found, "Acknowledge").focus()
    page.keyboard.press("Enter")
    expect(dialog(page)).to_have_accessible_name("Acknowledge Kraken")
    expect(dialog(page).get_by_label("Reason")).to_be_focused()
    page.keyboard.type(LOOKING)
    page.keyboard.press("Enter")
    expect(dialog(page)).to_have_count(0)
    words = re.compile(f"Acknowledged by {ADMIN}: {re.escape(LOOKING)} · \\d+s ago, \\d\\d:\\d\\d:\\d\\d")
    expect(found).to_contain_text(words)
    expect(button(found, "Acknowledge anew")).to_be_focused()
    expect(page.locator("output.unseen").filter(has_text="Kraken acknowledged")).to_have_count(1)
    look_until(other.page, elsewhere.get_by_text(LOOKING).is_visible, "somebody else sees it")
    page.reload()
    expect(found).to_contain_text(words)


@pytest.mark.parametrize("path", PLACES)
def test_incident_is_muted_for_a_while_and_unmuted(alerted: Site, window: Windows, path: str) -> None:
    """It says until when beforehand, and afterwards to everybody; nothing is muted for ever."""
    kraken = incident()
    write_incidents(alerted, kraken)
    opened = window(alerted, timezone_id="UTC")
    found, page = shown(opened, kraken, path), opened.page
    button(found, "Mute").click()
    asked = dialog(page)
    expect(asked.get_by_role("radio")).to_have_count(5)
    asked.get_by_text("8 h", exact=True).click()
    announced = second_of_day(asked.locator("strong").inner_text())
    asked.get_by_label("Reason").fill("maintenance")
    button(asked, "Mute").click()
    expect(asked).to_have_count(0)
    expect(found).to_contain_text(re.compile(f"Muted until .*\\d\\d:\\d\\d:\\d\\d by {ADMIN}: maintenance"))
    until = second_of_day(found.inner_text().partition("Muted until")[2])
    assert (until - announced) % 86_400 <= 15  # it counts from when it was done
    expect(found).to_contain_text("Nobody has it yet")
    button(found, "Unmute").click()
    expect(button(found, "Unmute")).to_have_count(0)
    expect(found).to_be_focused()
    expect(found).not_to_contain_text("Muted")
    page.reload()
    expect(found).to_be_visible()
    expect(found).not_to_contain_text("Muted")


def test_incident_says_what_others_did(alerted: Site, window: Windows) -> None:
    """Acknowledged, muted and flapping, on the card, on both pages; a mute that is over is over."""
    okx = incident("okx", since_s=1000, is_flapping=True, changes=5, cause="lease_lapsed")
    write_incidents(alerted, okx, incident())
    acknowledge(alerted, okx, reason="looking")
    mute(alerted, okx, reason="maintenance", minutes=7 * 1440)
    opened = window(alerted)
    for path in ("/network", "/network/okx", "/notifications"):
        found = shown(opened, okx, path)
        expect(found).to_contain_text("Flapping: went down or came back 5 times")
        expect(found).to_contain_text(re.compile(r"Acknowledged by grace@example.org: looking · 1m( \d+s)? ago"))
        expect(found).to_contain_text(re.compile(r"Muted until \w+ \d+ \w+ \d{4} .* by grace@example.org: maintenance"))
        expect(button(found, "Acknowledge instead")).to_be_visible()
        expect(button(found, "Mute longer")).to_be_visible()
        expect(found).to_contain_text(re.compile(r"[Ff]or 16m \d+s"))
    page = opened.open()
    expect(card(page, "okx").locator(".incident")).to_contain_text("let its lease lapse")
    expect(page.locator(".incident")).to_have_count(2)
    opened.open("/notifications")
    expect(page.get_by_role("heading", name="Open incidents (2)")).to_be_visible()
    assert [each.split("-")[0] for each in ids(page)] == ["kraken", "okx"]
    expect(incident_of(page, "okx").locator(".badge")).to_have_text("Flapping")
    expect(incident_of(page, "kraken").locator(".badge")).to_have_text("Offline")
    expect(incident_of(page, "kraken")).to_contain_text("fra-kraken · 203.0.113.4 · ada@example.org")


def test_first_line_and_tab_name_who_is_up_with_an_open_incident(alerted: Site, window: Windows) -> None:
    """All is well over a card that flaps would be the one line people read, and wrong; also while it is held still."""
    opened = window(alerted)
    page = opened.open()
    expect(page.locator(".sentence")).to_contain_text("7 of 11 need attention")
    page.get_by_role("button", name="Pause live updates").click()
    write_incidents(alerted, incident("binance", is_flapping=True, changes=5))
    look_until(page, lambda: page.title().startswith("8 of 11 need attention"), "the tab counts it")
    expect(page.locator(".sentence")).to_contain_text("7 of 11 need attention")
    page.get_by_role("button", name="Resume live updates").click()
    expect(page.locator(".sentence")).to_contain_text("8 of 11 need attention")
    expect(page.locator(".sentence")).not_to_contain_text("1 active")


def test_acknowledging_what_is_muted_promises_nothing_it_does_not_do(alerted: Site, window: Windows) -> None:
    """That it is over is not told while it is muted, also if somebody mutes it under the open dialog."""
    kraken = incident()
    write_incidents(alerted, kraken)
    opened = window(alerted)
    found, page = shown(opened, kraken), opened.page
    button(found, "Acknowledge").click()
    expect(dialog(page)).to_contain_text("that it is over is still told")
    mute(alerted, kraken)
    look_until(page, dialog(page).get_by_text("is told only if it ends later").is_visible, "the dialog says so")
    expect(dialog(page)).not_to_contain_text("still told")


def ids(page: Page) -> list[str]:
    """The incidents on a page, in its order."""
    found: list[str] = page.locator("[data-incident]").evaluate_all("all => all.map(each => each.dataset.incident)")
    return found


def test_nothing_is_shown_as_done_before_it_is(alerted: Site, window: Windows) -> None:
    """Who believes to have it, and has not, lets everybody sleep. What failed is said where it was pressed."""
    kraken = incident()
    write_incidents(alerted, kraken)
    opened = window(alerted)
    found, page = shown(opened, kraken), opened.page
    waiting: list[Route] = []
    page.route("**/trpc/notify.acknowledge*", lambda route: waiting.insert(0, route))
    button(found, "Acknowledge").click()
    button(dialog(page), "Acknowledge").click()
    expect(button(dialog(page), "One moment…")).to_be_disabled()
    assert "Nobody has it yet" in found.inner_text()
    waiting[0].abort()
    expect(dialog(page).get_by_role("alert")).to_contain_text(
        "No answer came, so nobody can tell whether this was done"
    )
    expect(found).to_contain_text("Nobody has it yet")
    page.unroute("**/trpc/notify.acknowledge*")
    button(dialog(page), "Acknowledge").click()
    expect(found).to_contain_text(f"Acknowledged by {ADMIN}")
    page.route("**/trpc/notify.mute*", lambda route: route.abort())
    button(found, "Mute").click()
    page.keyboard.press("Escape")
    expect(dialog(page)).to_have_count(0)
    expect(button(found, "Mute")).to_be_focused()
    expect(found).not_to_contain_text("Muted")


def test_answer_of_before_does_not_undo_what_was_done(alerted: Site, window: Windows) -> None:
    """Servers share an answer for a second, and the next question may reach another one."""
    kraken = incident()
    write_incidents(alerted, kraken)
    opened = window(alerted)
    found, page = shown(opened, kraken), opened.page
    with page.expect_response(INCIDENTS) as before:
        look_until(page, found.is_visible, "it asks again")
    stale = before.value.text()
    page.route(INCIDENTS, lambda route: route.fulfill(body=stale, content_type="application/json"))
    button(found, "Acknowledge").click()
    button(dialog(page), "Acknowledge").click()
    expect(found).to_contain_text(f"Acknowledged by {ADMIN}")
    ask_and_show(page)
    assert "Nobody has it" not in found.inner_text()


def test_failed_unmute_is_said_where_it_was_pressed(alerted: Site, window: Windows) -> None:
    """And it stays muted."""
    kraken = incident()
    write_incidents(alerted, kraken)
    mute(alerted, kraken)
    opened = window(alerted)
    found, page = shown(opened, kraken), opened.page
    page.route("**/trpc/notify.unmute*", lambda route: route.abort())
    button(found, "Unmute").click()
    expect(found.get_by_role("alert")).to_contain_text("nobody can tell whether this was done")
    expect(found).to_contain_text("Muted until")


def test_incident_that_ends_under_the_dialog_is_not_acknowledged(alerted: Site, window: Windows) -> None:
    """It says so as soon as it is known; the server refuses it before that."""
    kraken = incident()
    write_incidents(alerted, kraken)
    opened = window(alerted)
    found, page = shown(opened, kraken), opened.page
    button(found, "Acknowledge").click()
    page.route(INCIDENTS, lambda route: route.abort())  # the page does not know yet
    write_incidents(alerted, msgspec.structs.replace(kraken, resolved_at=ago(0), resolution="recovered"))
    button(dialog(page), "Acknowledge").click()
    expect(dialog(page).get_by_role("alert")).to_contain_text("This was not done. The incident kraken-")
    expect(dialog(page).get_by_role("alert")).to_contain_text("Nothing was changed.")
    page.unroute(INCIDENTS)
    look_until(page, dialog(page).get_by_text("not open any more").is_visible, "it learns that it is over")
    expect(button(dialog(page), "Acknowledge")).to_be_disabled()
    button(dialog(page), "Cancel").click()
    expect(found).to_have_count(0)
    expect(card(page, "kraken")).to_be_visible()


def test_who_may_only_look_sees_why(alerted: Site, browser: Browser, window: Windows) -> None:
    """The buttons are there, cannot be pressed, and say why; the page never tries."""
    kraken = incident()
    write_incidents(alerted, kraken)
    mute(alerted, kraken)
    opened = window(alerted, storage_state=alerted.signed_in(browser, VIEWER))
    for path in PLACES:
        found = shown(opened, kraken, path)
        for name in ("Acknowledge", "Mute longer", "Unmute"):
            expect(button(found, name)).to_be_disabled()
            expect(button(found, name)).to_have_accessible_description("Needs the role operator; yours is viewer.")
        expect(found).to_contain_text("Needs the role operator; yours is viewer.")


def test_page_held_still_cannot_be_acted_on(alerted: Site, window: Windows) -> None:
    """What is shown may be otherwise by now; it says so, and shows it when it is resumed."""
    kraken = incident()
    write_incidents(alerted, kraken)
    opened, other = window(alerted), window(alerted)
    found, elsewhere, page = shown(opened, kraken), shown(other, kraken), opened.page
    page.get_by_role("button", name="Pause live updates").click()
    expect(button(found, "Acknowledge")).to_be_disabled()
    expect(found).to_contain_text("Paused. Resume to act on what is so now.")
    before = found.inner_text()
    forget_incidents(alerted)
    look_until(other.page, elsewhere.is_hidden, "who did not pause sees it go")
    ask_and_show(page)
    assert found.inner_text() == before
    page.get_by_role("button", name="Resume live updates").click()
    look_until(page, found.is_hidden, "the incident is gone")


def test_incidents_that_cannot_be_read_are_not_none(alerted: Site, window: Windows) -> None:
    """A failed question is no answer: what was known stays, with its time; the cards go on."""
    kraken = incident()
    write_incidents(alerted, kraken)
    opened = window(alerted)
    found, page = shown(opened, kraken), opened.page
    page.route(INCIDENTS, lambda route: route.abort())
    look_until(page, page.get_by_text("they cannot be read right now").is_visible, "the page says so")
    expect(page.locator(".incidents-fault")).to_contain_text(
        re.compile(r"The incidents shown are as of \d\d:\d\d:\d\d")
    )
    expect(found).to_be_visible()
    expect(bar(page)).to_have_count(0)
    for path in ("/network", "/network/okx"):
        opened.open(path)
        expect(page.locator(".incidents-fault")).to_contain_text("Which incidents are open, and who has them, is not")
        expect(page.locator("[data-health]").first).not_to_have_attribute("data-health", "unknown")
    opened.open("/notifications")
    expect(page.locator("main")).to_contain_text("Which incidents are open, and who has them, is not known.")
    expect(page.locator("main")).to_contain_text("Which incidents are over is not known.")
    expect(page.locator("main")).not_to_contain_text("None")
    page.unroute(INCIDENTS)
    look_until(page, found.is_visible, "it comes back by itself")
    expect(page.locator(".incidents-fault")).to_have_count(0)


def test_slow_database_does_not_hold_up_the_cards(alerted: Site, window: Windows) -> None:
    """Who holds an exchange comes from the store, and is shown however long the other question takes."""
    opened = window(alerted)
    opened.page.route(INCIDENTS, lambda _: None)
    page = opened.open()
    expect(card(page, "binance")).to_have_attribute("data-health", "active")
    expect(page.locator(".incidents-fault")).to_contain_text("is not known")
    expect(card(page, "binance")).to_have_attribute("data-health", "active")
    expect(bar(page)).to_have_count(0)


def test_no_incident_is_said_only_if_somebody_writes_them_down(alerted: Site, window: Windows) -> None:
    """Without a notifier an empty list says nothing about the network."""
    page = window(alerted).open("/notifications")
    listed = page.get_by_role("region", name="Open incidents")
    look_until(page, listed.get_by_text("None. Every exchange that should run is served").is_visible, "none is open")
    silent = listed.get_by_text("Nobody writes them down while no notifier runs")
    with nobody_leads(alerted.store):
        look_until(page, silent.is_visible, "it says that nobody writes")
