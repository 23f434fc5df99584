"""From the page to Discord and back, with the server's own notifier and a stand-in for Discord."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import expect

from tests.e2e.records import log, write_states
from tests.e2e.site import ADMIN, Site
from tests.e2e.window import Window, alerts_bar, card, incident_of, look_until, of_channel
from tests.support.discord_control import StandInProcess
from tests.support.servers import Server
from tests.support.system import short_directory
from tests.support.waiting import wait_until

Windows = Callable[..., Window]


class Told(NamedTuple):
    """A site whose server tells two channels of the stand-in."""

    site: Site
    discord: StandInProcess


@pytest.fixture(scope="module")
def told(database: Path) -> Iterator[Told]:
    """Every state of a card; Kraken was lost."""

    def fill(store: Server) -> None:
        write_states(store)
        log(store, "kraken", event="instance_lost", state="active")

    with StandInProcess() as discord, short_directory() as directory:
        settings = {"DISCORD_WEBHOOK_URLS": discord.setting("ops", "spare")}
        with Site(database, directory, fill=fill, settings=settings) as site:
            yield Told(site, discord)


def texts(discord: StandInProcess, channel: str) -> str:
    """All that people see in a channel, without the escapes."""
    return "\n".join(each.text for each in discord.messages(channel)).replace("\\", "")


def test_what_is_pressed_on_the_page_is_seen_in_discord(told: Told, window: Windows) -> None:
    """The incident of a loss stands on the card; who acknowledges it stands in the message that told of it."""
    site, discord = told
    page = window(site).open()
    found = incident_of(page, "kraken")
    look_until(page, found.is_visible, "the incident is shown")
    expect(alerts_bar(page)).to_have_count(0)
    wait_until(lambda: "Kraken is offline" in texts(discord, "ops"), description="the loss was told")
    found.get_by_role("button", name="Acknowledge").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("looking at the venue")
    page.get_by_role("dialog").get_by_role("button", name="Acknowledge").click()
    expect(found).to_contain_text(f"Acknowledged by {ADMIN}: looking at the venue")
    wait_until(lambda: ADMIN in texts(discord, "spare"), description="the message says who has it")
    assert texts(discord, "ops").count("Kraken is offline") == 1
    expect(card(page, "kraken")).to_have_attribute("data-health", "offline")


def test_test_button_tells_what_discord_answers(told: Told, window: Windows) -> None:
    """Delivered, not delivered yet while nothing answers, and never once the webhook was removed."""
    site, discord = told
    page = window(site).open("/notifications")
    ops, spare = of_channel(page, "ops"), of_channel(page, "spare")
    look_until(page, lambda: ops.get_attribute("data-state") == "ok", "it works")
    ops.get_by_role("button", name="Send a test message").click()
    expect(ops.locator(".test-outcome")).to_have_text(re.compile(r"Delivered at \d\d:\d\d:\d\d"))
    assert f"Asked for by {ADMIN}" in texts(discord, "ops")
    assert "Asked for by" not in texts(discord, "spare")
    discord.refuse()
    ops.get_by_role("button", name="Send a test message").click()
    expect(ops.locator(".test-outcome")).to_have_text(re.compile(r"Not delivered( yet)? at .*: .+"), timeout=20_000)
    discord.listen()
    discord.remove("spare")
    spare.get_by_role("button", name="Send a test message").click()
    expect(spare.locator(".test-outcome")).to_have_text(re.compile(r"Not delivered at .*Unknown Webhook"))
    look_until(page, lambda: spare.get_attribute("data-state") == "dead", "it is dead")
    expect(spare).to_contain_text("Make a new webhook in Discord")
    look_until(page, lambda: ops.get_attribute("data-state") == "ok", "the other one works on")
    expect(page.locator(".sentence")).to_contain_text("Alerts are sent to 1 of 2 channels")
