"""For everybody: who cannot see it, has no mouse, wants no motion, or holds a phone."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.e2e.alerts import acknowledge, channel, dead_channel, incident, lead, mute, resolved, write_incidents
from tests.e2e.records import STATES, ago, publish, write_states
from tests.e2e.site import Site
from tests.e2e.window import PHONE, Window, bar, card, healths, incident_of, look_until

Windows = Callable[..., Window]
# What a person sees of the focus: an outline or a shadow, of it or of the label behind it
SEEN = """e => [e, e.nextElementSibling ?? e].map(each => getComputedStyle(each))
    .some(style => style.outlineStyle !== 'none' || style.boxShadow !== 'none')"""
MOVING = "document.getAnimations().filter(each => each.effect.getComputedTiming().activeDuration > 50).length"
MAY_MOVE = """[...document.querySelectorAll('*')].map(e => getComputedStyle(e)).filter(style =>
    parseFloat(style.transitionDuration) > 0.05 ||
    (style.animationName !== 'none' && parseFloat(style.animationDuration) > 0.05)).length"""
SMALL = """each => each.filter(e => e.checkVisibility()).map(e => [e.innerText, e.getBoundingClientRect()])
    .filter(([, box]) => box.width < 24 || box.height < 24).map(([text]) => text)"""
WIDTH = "document.documentElement.scrollWidth"


def reach(page: Page, wanted: Locator, *, within: int = 60) -> None:
    """Press Tab until the focus is there, and see that it shows."""
    for _ in range(within):
        page.keyboard.press("Tab")
        focus = page.locator(":focus")
        assert focus.evaluate(SEEN), f"the focus is not seen on {focus.evaluate('e => e.outerHTML')[:200]}"
        if wanted.evaluate("e => e === document.activeElement"):
            return
    raise AssertionError(f"{wanted} is not reached by {within} times Tab")


def test_everything_is_reached_and_opened_by_keyboard(site: Site, window: Windows) -> None:
    """In the order it is read, with a focus one can see."""
    page = window(site).open()
    skip = page.get_by_text("Skip to content")
    reach(page, skip, within=1)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "page"
    page.reload()
    expect(card(page, "kraken")).to_be_visible()
    pause = page.get_by_role("button", name="Pause live updates")
    reach(page, pause)
    page.keyboard.press("Enter")
    resume = page.get_by_role("button", name="Resume live updates")
    expect(resume).to_be_focused()
    page.keyboard.press("Enter")
    account = page.get_by_label("Account and view: ")
    reach(page, account)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Sign out")).to_be_visible()
    reach(page, page.get_by_role("radio", name="System"))
    page.keyboard.press("ArrowRight")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.keyboard.press("Escape")
    expect(page.get_by_text("Sign out")).to_be_hidden()
    expect(account).to_be_focused()
    reach(page, card(page, "kraken").get_by_role("link", name="Kraken"))
    events = page.locator(".filters summary")
    reach(page, events)
    page.keyboard.press("Enter")
    reach(page, page.get_by_role("checkbox", name="Losses"))
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    expect(events).to_be_focused()
    expect(page.locator(".entry")).to_have_count(1)
    export = page.locator(".export summary")
    reach(page, export)
    page.keyboard.press("Enter")
    reach(page, page.get_by_role("button", name="JSON, as the API answers"))
    with page.expect_download():
        page.keyboard.press("Enter")
    reach(page, page.locator(".entry a"))
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/network/kraken")
    expect(page.locator("main")).to_be_focused()


def test_nothing_moves_under_the_finger(own_site: Site, window: Windows) -> None:
    """What is pointed at stays where it is, whatever gets worse meanwhile."""
    write_states(own_site.store)
    page = window(own_site).open()
    expect(card(page, "okx")).to_have_attribute("data-health", "late")
    before = [*healths(page)]
    card(page, "kraken").get_by_role("link", name="Kraken").focus()
    publish(own_site.store, "binance", age_s=900, connected_at=None)
    expect(card(page, "binance")).to_have_attribute("data-health", "late")
    assert [*healths(page)] == before
    page.get_by_role("button", name="Pause live updates").focus()
    expect(page.locator("[data-health=late]").first).to_have_attribute("data-exchange", "binance")


def test_reader_of_the_page_is_told_when_the_answer_changes(site: Site, window: Windows) -> None:
    """A screen reader says it once, without seconds."""
    opened = window(site)
    said = opened.open().locator("output.unseen").first
    wrong = "7 of 11 need attention, kraken offline, gateio unknown, htx unreadable, 4 more"
    expect(said).to_have_text(f"{wrong}, 1 active, 1 idle, 1 stopped, 1 never started")
    opened.context.set_offline(True)
    expect(said).to_have_text("Live view lost")


def test_who_wants_no_motion_gets_none(site: Site, window: Windows) -> None:
    """prefers-reduced-motion."""
    page = window(site, reduced_motion="reduce").open()
    assert (page.evaluate(MOVING), page.evaluate(MAY_MOVE)) == (0, 0)


def test_small_screen_needs_no_sideways_scrolling(site: Site, window: Windows) -> None:
    """WCAG 1.4.10: 320 pixels, every page, every state; and fingers hit what they aim at."""
    opened = window(site, **PHONE)
    page = opened.page
    for path in ("/network", *(f"/network/{name}" for name in STATES), "/network?range=custom", "/network/a/b"):
        page.goto(f"{site.url}{path}")
        expect(page.locator("main .panel, main .card, main h1").first).to_be_attached()
        expect(page.locator(".loading")).to_have_count(0)
        assert page.evaluate(WIDTH) <= 320, path
    page = opened.open()
    for menu in page.locator("summary").all():
        menu.click()
        sheet = page.locator("details[open] > .menu-sheet")
        box = sheet.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320, sheet.inner_text()
        assert page.evaluate(WIDTH) <= 320
        menu.click()
    assert page.locator("button, summary, select, input:not(.unseen)").evaluate_all(SMALL) == []
    opened.context.set_offline(True)
    expect(bar(page)).to_be_visible()
    assert page.evaluate(WIDTH) <= 320


def test_incidents_and_alerts_fit_a_small_screen(alerted: Site, window: Windows) -> None:
    """At three in the morning: what, since when, who has it, and one safe action, within reach of a thumb."""
    kraken = incident()
    write_incidents(alerted, kraken, incident("okx", is_flapping=True, changes=5), resolved("htx"))
    acknowledge(alerted, kraken, reason="a" * 200)
    mute(alerted, kraken, reason="maintenance", minutes=7 * 1440)
    reason = f"Discord says {'x' * 200}"
    lead(alerted.store, dead_channel(), channel("n" * 32, "dead", reason=reason, queued=3, oldest_unsent_at=ago(90)))
    opened = window(alerted, **PHONE)
    page = opened.page
    for path in ("/notifications", "/network", "/network/kraken"):
        opened.open(path)
        look_until(page, incident_of(page, "kraken").is_visible, "the incident is there")
        look_until(page, page.locator(".bar-alerts, .silence").is_visible, "nobody is told")
        assert page.evaluate(WIDTH) <= 320, path
        assert page.locator("button, summary, select, input:not(.unseen)").evaluate_all(SMALL) == []
        for name in ("Acknowledge instead Kraken", "Mute longer Kraken"):
            page.get_by_role("button", name=name).click()
            box = page.get_by_role("dialog").bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 320
            assert page.get_by_role("dialog").evaluate("e => e.scrollWidth <= e.clientWidth")
            assert page.locator("dialog button, dialog .choice-one, dialog input.field").evaluate_all(SMALL) == []
            page.get_by_role("button", name="Cancel").click()
