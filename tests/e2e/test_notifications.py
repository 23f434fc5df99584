"""Whether anybody is told, by which channels, and what the page says while nobody is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, expect

from perseus import alerting, keys
from perseus.alerting import ChannelHealth
from tests.e2e.alerts import (
    DEAD,
    FAILING,
    answer_tests,
    asked_tests,
    channel,
    dead_channel,
    failing_channel,
    incident,
    lead,
    nobody_leads,
    resolved,
    unreadable_alerts,
    write_incidents,
)
from tests.e2e.records import ago
from tests.e2e.site import VIEWER, Site
from tests.e2e.window import PHONE, Window, alerts_bar, bar, facts, incident_of, look_until, of_channel
from tests.support.waiting import wait_until

Windows = Callable[..., Window]
STATUS = "**/trpc/*notify.getStatus*"
SETTING = "PERSEUS_DISCORD_WEBHOOK_URLS=ops=https://"


class Silence(NamedTuple):
    """Why nobody is told: the channels (None: no notifier), what the line says, and what the page tells to do."""

    channels: Callable[[], Sequence[ChannelHealth]] | None
    says: str
    reason: str
    to_do: str


SILENCES: dict[str, Silence] = {
    "no notifier": Silence(None, "No alerts are being sent: no notifier runs", "No notifier runs.", "perseus serve"),
    "no channel": Silence(
        tuple,
        "No alerts are being sent: no Discord webhook is set on fra-alerts",
        "No Discord webhook is set on fra-alerts. Set PERSEUS_DISCORD_WEBHOOK_URLS",
        SETTING,
    ),
    "all dead": Silence(
        lambda: [dead_channel()],
        f"No alerts are being sent: every channel is dead (old: {DEAD})",
        f"Every channel is dead (old: {DEAD}). Make a new webhook",
        SETTING,
    ),
    "failing": Silence(
        lambda: [failing_channel()],
        f"Alerts cannot be delivered at the moment: night: {FAILING}",
        "Messages for night are kept",
        "late",
    ),
}


@pytest.mark.parametrize("reason", SILENCES)
def test_page_warns_while_nobody_would_be_told(alerted: Site, window: Windows, reason: str) -> None:
    """Who relies on alerts that do not come learns it from the page they look at; with why and what to do."""
    channels, says, why, to_do = SILENCES[reason]
    page = window(alerted).open()
    with nobody_leads(alerted.store) if channels is None else nullcontext():
        if channels is not None:
            lead(alerted.store, *channels())
        look_until(page, alerts_bar(page).get_by_text(says).is_visible, "the page warns")
        alerts_bar(page).get_by_role("link", name="Notifications").click()
        expect(page).to_have_url(f"{alerted.url}/notifications")
        expect(alerts_bar(page)).to_have_count(0)
        verdict = "Alerts do not get through" if reason == "failing" else "No alerts are being sent"
        expect(page.locator(".sentence-verdict")).to_have_text(verdict)
        expect(page.locator(".silence")).to_contain_text(why)
        expect(page.locator(".silence")).to_contain_text(to_do)
    lead(alerted.store, channel())
    look_until(page, page.locator(".silence").is_hidden, "all is well")
    expect(page.locator(".sentence-verdict")).to_have_text("Alerts are being sent")


def test_what_keeps_every_server_from_telling_is_said(alerted: Site, window: Windows) -> None:
    """Whoever was told to set a webhook then would set it in vain."""
    alerted.store.call("SET", keys.notifier_cursor(), "not ours", "EX", 60)
    page = window(alerted).open("/notifications")
    silence = page.locator(".silence")
    look_until(page, silence.is_visible, "nobody is told")
    expect(silence).to_contain_text("holds something that is not the notifier's")
    expect(silence).to_contain_text(f"redis-cli DEL {keys.notifier_cursor()}")
    expect(silence).not_to_contain_text("PERSEUS_DISCORD_WEBHOOK_URLS")
    alerted.store.call("DEL", keys.notifier_cursor())


def test_warning_comes_and_goes_by_itself(alerted: Site, window: Windows) -> None:
    """Nobody reloads a page that hangs on a wall."""
    page = window(alerted).open("/network/kraken")
    expect(page.get_by_role("heading", level=1)).to_have_text("Kraken")
    expect(alerts_bar(page)).to_have_count(0)
    lead(alerted.store)
    expect(alerts_bar(page)).to_be_visible()
    expect(page.locator("output.unseen").first).to_contain_text("No alerts are being sent")
    lead(alerted.store, channel())
    expect(alerts_bar(page)).to_have_count(0)


def test_one_dead_channel_of_two_is_said_and_is_no_silence(alerted: Site, window: Windows) -> None:
    """Somebody is told, somebody else is not: amber, never green, and a line on every page that is looked at."""
    lead(alerted.store, channel(), dead_channel())
    opened = window(alerted)
    page = opened.open("/notifications")
    told = page.get_by_text("Alerts are sent to 1 of 2 channels")
    look_until(page, told.is_visible, "one works")
    expect(page.locator(".alerts-line .sentence")).to_have_attribute("data-look", "late")
    expect(page.locator(".silence")).to_have_count(0)
    opened.open()
    expect(page.locator("[data-health=active]").first).to_be_visible()
    expect(alerts_bar(page)).to_contain_text("old")
    lead(alerted.store, channel())
    look_until(page, alerts_bar(page).is_hidden, "all are told")


def test_unknown_is_neither_silence_nor_well(own_site: Site, window: Windows) -> None:
    """While the store is away nobody knows who is told: the bar of the lost view says so, and nothing else does."""
    lead(own_site.store)
    opened = window(own_site)
    page = opened.open()
    expect(alerts_bar(page)).to_be_visible()
    own_site.store.stop()
    expect(bar(page)).to_be_visible()
    expect(alerts_bar(page)).to_have_count(0)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Notifications").click()
    expect(page.locator(".sentence")).to_contain_text("Nobody can tell right now whether alerts are sent")
    expect(page.locator(".sentence")).to_contain_text("when last seen: No alerts are being sent")
    expect(page.locator(".silence")).to_have_count(0)


def test_status_that_cannot_be_had_is_said_to_be_unknown(alerted: Site, window: Windows) -> None:
    """The cards may be known while this is not: then the line across the page says that."""
    lead(alerted.store, channel(), channel("night"))
    opened = window(alerted)
    page = opened.open("/notifications")
    expect(of_channel(page, "ops")).to_have_attribute("data-state", "ok")
    with unreadable_alerts(alerted.store):
        unknown = page.locator('[data-channel="ops"][data-state=unknown]')
        look_until(page, unknown.is_visible, "nobody can tell")
        expect(page.locator(".sentence-verdict")).to_have_text("Nobody can tell right now whether alerts are sent")
        expect(of_channel(page, "ops")).to_contain_text("When last seen: Works")
        opened.open()
        expect(alerts_bar(page)).to_contain_text("Whether alerts are being sent is not known")
        expect(page.locator("[data-health=active]").first).to_be_visible()


def test_every_channel_says_how_it_is(alerted: Site, window: Windows) -> None:
    """A word, when it last worked, what waits, what was given up, why, and what to do."""
    slow = channel("slow", "waiting", queued=1, oldest_unsent_at=ago(3))
    lead(alerted.store, channel(), channel("new", "unused"), slow, failing_channel(), dead_channel())
    page = window(alerted).open("/notifications")
    look_until(page, of_channel(page, "old").is_visible, "there are five")
    words = {"ops": "Works", "new": "Not used yet", "slow": "Sending", "night": "Failing", "old": "Dead"}
    for name, word in words.items():
        expect(of_channel(page, name).locator(".badge")).to_have_text(word)
        expect(of_channel(page, name).locator(".badge .glyph")).to_be_visible()
    told = {name: facts(of_channel(page, name)) for name in words}
    assert re.fullmatch(r"4m( \d+s)? ago · \d\d:\d\d:\d\d", told["ops"]["Last success"]), told
    assert told["new"] == {"Last success": "never", "Queued": "0"}
    assert re.fullmatch(r"1, the oldest for \d+s", told["slow"]["Queued"])
    assert re.fullmatch(r"3, the oldest for 4m( \d+s)?", told["night"]["Queued"])
    assert told["old"]["Dropped"].startswith("5 messages were given up")
    expect(of_channel(page, "night")).to_contain_text(FAILING)
    expect(of_channel(page, "night")).to_contain_text("If Discord cannot be reached from fra-alerts at all")
    expect(of_channel(page, "old")).to_contain_text(DEAD)
    expect(of_channel(page, "old")).to_contain_text("Make a new webhook in Discord, put its address behind old=")
    expect(page.locator(".look-offline")).to_have_count(0)


def test_page_says_who_tells_and_of_what(alerted: Site, window: Windows) -> None:
    """Which server, since when; what is announced and what somebody switched off."""
    lead(alerted.store, channel(), announced=("offline", "recovered"), trouble="The database cannot be written.")
    page = window(alerted).open("/notifications")
    trouble = page.locator(".alerts-line").get_by_text("The database cannot be written.")
    look_until(page, trouble.is_visible, "trouble is told")
    found = facts(page.locator(".report"))
    assert found["Notifier"] == "fra-alerts"
    assert re.match(r"4h 1m ago · ", found["Since"])
    assert found["Version"] == "0.5.0"
    assert found["Announced"] == "outages, recoveries"
    assert found["Not announced"].startswith("starts, stops, lost leases, promotions, handoffs, errors;")


def test_page_begins_with_what_somebody_must_act_on(alerted: Site, window: Windows) -> None:
    """On a phone at night: first whether anybody is told, then what is open, then the channels that take nothing."""
    lead(alerted.store, channel(), channel("new", "unused"), dead_channel(), failing_channel())
    write_incidents(alerted, incident())
    page = window(alerted, **PHONE).open("/notifications")
    look_until(page, incident_of(page, "kraken").is_visible, "the incident is shown")
    headings = page.locator("main h2").all_inner_texts()
    assert headings == ["Open incidents (1)", "Channels", "Who tells, and of what", "Resolved"]
    shown = page.locator("[data-channel]").evaluate_all("cards => cards.map(card => card.dataset.channel)")
    assert shown == ["old", "night", "ops", "new"]
    expect(page.get_by_text(DEAD)).to_have_count(1)  # said once


OUTCOMES = {
    "delivered": (alerting.TestOutcome(outcome="delivered"), r"Delivered at \d\d:\d\d:\d\d"),
    "waiting": (
        alerting.TestOutcome(outcome="waiting", reason="Discord limits us for 40 s."),
        r"Not delivered yet at .*: Discord",
    ),
    "failed": (alerting.TestOutcome(outcome="failed", reason=DEAD), r"Not delivered at .*: Discord does not know"),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_test_message_says_what_became_of_it(alerted: Site, window: Windows, outcome: str) -> None:
    """Where the button was pressed; under way until then, and never delivered before somebody said so."""
    told, pattern = OUTCOMES[outcome]
    lead(alerted.store, channel(), channel("night"))
    page = window(alerted).open("/notifications")
    found = of_channel(page, "ops")
    found.get_by_role("button", name="Send a test message to ops").click()
    expect(found.locator(".test-outcome")).to_contain_text("Under way")
    expect(found.get_by_role("button", name="Sending a test message")).to_be_disabled()
    wait_until(lambda: asked_tests(alerted.store), description="the test is asked for")
    answer_tests(alerted.store, told, channel(), channel("night"))
    expect(found.locator(".test-outcome")).to_have_text(re.compile(pattern))
    expect(of_channel(page, "night").locator(".test-outcome")).to_be_empty()
    expect(found.get_by_role("button", name="Send a test message to ops")).to_be_enabled()


def test_test_message_nobody_answers_for_is_not_called_delivered(alerted: Site, window: Windows) -> None:
    """The notifier may die right then; and the connection may."""
    page = window(alerted).open("/notifications")
    found = of_channel(page, "ops")
    page.route("**/trpc/notify.test*", lambda route: route.abort())
    found.get_by_role("button", name="Send a test message").click()
    expect(found.locator(".test-outcome")).to_contain_text("nobody can tell whether this was done")
    page.unroute("**/trpc/notify.test*")
    lead(alerted.store, channel("other"))
    page.route(STATUS, lambda route: route.abort())  # the page does not know yet that this channel is gone
    found.get_by_role("button", name="Send a test message").click()
    expect(found.locator(".test-outcome")).to_contain_text(re.compile("This was not done.*There is no channel 'ops'"))
    page.unroute(STATUS)


def test_who_may_only_look_sends_no_test(alerted: Site, browser: Browser, window: Windows) -> None:
    """The button is there, cannot be pressed, and says why."""
    page = window(alerted, storage_state=alerted.signed_in(browser, VIEWER)).open("/notifications")
    button = of_channel(page, "ops").get_by_role("button", name="Send a test message")
    expect(button).to_be_disabled()
    expect(button).to_have_accessible_description("Needs the role operator; yours is viewer.")


def test_what_was_resolved_is_there_as_far_back_as_one_asks(alerted: Site, window: Windows) -> None:
    """How long, how it ended, who had it; older ones when asked for."""
    old = [resolved("okx", since_s=90_000 + n * 1000) for n in range(40)]
    newest = resolved("kraken", since_s=7200, lasted_s=192)
    ended = resolved("coinbase", since_s=8000, lasted_s=3661, resolution="stopped")
    write_incidents(alerted, *reversed(old), ended, newest)
    page = window(alerted).open("/notifications")
    rows = page.locator("[data-resolved]")
    expect(rows).to_have_count(30)
    expect(rows.first).to_contain_text(re.compile(r"Kraken.*offline for 3m 12s, recovered at \d\d:\d\d"))
    expect(rows.nth(1)).to_contain_text(re.compile(r"Coinbase.*offline for 1h 1m, stopped at "))
    page.get_by_role("button", name="Show older").click()
    expect(rows).to_have_count(42)
    expect(page.get_by_role("button", name="Show older")).to_have_count(0)
    write_incidents(alerted, resolved("htx", since_s=300, lasted_s=100))
    look_until(page, lambda: rows.count() == 43, "one more was resolved")
    expect(rows.first).to_contain_text("Htx")
