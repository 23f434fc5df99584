"""Every state a card can have, as a person reads it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Response, expect

from tests.e2e.records import STATES, id_of, publish
from tests.e2e.site import Site
from tests.e2e.window import Window, card, facts, healths
from tests.support.servers import Server
from tests.support.waiting import wait_until

Windows = Callable[..., Window]
HEALTHS = {"starting": "transition", "warming": "transition", "stopping": "transition", "never started": "never"}
LASTING = {
    "binance": r"Running for 4h 23m · connected \d\d:\d\d",
    "bitfinex": r"Not connected yet · starting for \d+s",
    "bybit": r"Not connected yet · warming for \d+s",
    "kucoin": r"Running for 4h 23m · connected",
    "okx": r"Running for 4h 23m · connected",
    "kraken": r"Offline for (5m|4m) \d+s · since",
    "coinbase": r"Stopped by grace@example.org 10m( \d+s)? ago · ",
    "gemini": r"Waits for somebody to start it",
    "bitstamp": r"Nobody has served it yet",
    "htx": r"Its status cannot be read",
    "gateio": r"Nobody can tell how it is",
}
NOBODY_SERVES = {"kraken", "coinbase", "htx", "gateio"}


@pytest.fixture
def shown(site: Site, window: Windows) -> Window:
    """The page with every state."""
    opened = window(site)
    opened.open()
    return opened


def test_every_state_has_its_word(shown: Window) -> None:
    """The badge is what people read first."""
    assert healths(shown.page) == {name: HEALTHS.get(state, state) for name, state in STATES.items()}
    for name, state in STATES.items():
        found = card(shown.page, name)
        expect(found.locator(".badge")).to_have_text(state.capitalize())
        expect(found.get_by_role("heading")).to_have_text(name.capitalize())
        expect(found.locator(".badge .glyph")).to_be_visible()


def test_every_card_says_for_how_long_and_by_whom(shown: Window) -> None:
    """Connected since and running for; who stopped it and when; since when it is gone."""
    for name, pattern in LASTING.items():
        expect(card(shown.page, name).locator(".card-lasting")).to_have_text(re.compile(pattern))


def test_every_card_keeps_what_is_known(shown: Window) -> None:
    """Host, IP, admin and symbols never vanish, least of all when they are needed (UI-03)."""
    for name in STATES:
        told = facts(card(shown.page, name))
        if name == "bitstamp":
            assert told == {}
            continue
        assert told["Host"] == f"fra-{name}"
        assert told["IP"] == f"203.0.113.{id_of(name)}"
        assert told["Admin"] == "Ada Lovelace"
        assert told["Symbols"] == {"bitfinex": "loading", "bybit": "loading", "gemini": "0"}.get(name, "25")
        last_known = card(shown.page, name).locator("[data-last-known]")
        expect(last_known).to_have_count(1 if name in NOBODY_SERVES else 0)
        if name in NOBODY_SERVES:
            expect(last_known.locator(".last-known")).to_have_text("Last known")
            assert re.search(r"\d+[sm].* ago.*\d\d:\d\d", told["Last seen"]), told["Last seen"]
            assert told["State"] == ("stopped" if name == "coinbase" else "active")
        else:
            assert re.fullmatch(r"\d+m?( \d+)?s ago · offline in \d+m( \d+s)?", told["Heartbeat"]), told["Heartbeat"]


def test_card_says_what_else_is_wrong(shown: Window) -> None:
    """Last error, why something cannot be told, how far a warm-up is."""
    page = shown.page
    expect(card(page, "kraken")).to_contain_text(re.compile(r"Last error, 5m( \d+s)? agoread timed out"))
    expect(card(page, "okx")).to_contain_text("stream closed: 1006")
    expect(card(page, "htx").locator(".remark-text")).to_contain_text(re.compile("malformed|JSON|status", re.I))
    expect(card(page, "gateio")).to_contain_text("its key vanished before it could have expired")
    expect(card(page, "bitstamp")).to_contain_text("perseus run bitstamp where Perseus has an adapter")
    warmup = card(page, "bybit").locator(".warmup")
    expect(warmup).to_have_text("44 % · 11 of 25 symbols · BTC-USDT · 12s left · 1 failed")
    assert warmup.get_by_role("progressbar").get_attribute("value") == "44.4"
    expect(page.locator(".warmup")).to_have_count(1)


def test_red_is_only_what_is_gone_without_a_word(shown: Window) -> None:
    """Who sees red gets up; nothing else may take that colour."""
    red = shown.page.locator(".look-offline[data-exchange]")
    assert red.evaluate_all("cards => cards.map(card => card.dataset.exchange)") == ["kraken"]


def test_first_line_and_tab_say_whether_anything_is_wrong(shown: Window) -> None:
    """The worst first, by name; the same in the tab, whose picture shows it."""
    line = shown.page.locator(".sentence")
    expect(line).to_contain_text(re.compile(r"7 of 11 need attention · kraken offline [45]m · "))
    expect(line).to_contain_text(re.compile(r"1 active · 1 idle · 1 stopped · 1 never started · observed \d+s ago"))
    expect(shown.page).to_have_title(re.compile(r"^7 of 11 need attention · kraken offline .* · Perseus$"))
    assert "offline" in str(shown.page.locator('link[rel="icon"]').get_attribute("href"))


def test_worst_stands_first(shown: Window) -> None:
    """At three in the morning nobody scrolls."""
    order = [*healths(shown.page).values()]
    ranks = ["offline", "unknown", "unreadable", "late", "transition", "active", "idle", "stopped", "never"]
    assert [*dict.fromkeys(order)] == ranks


AGES: dict[str, tuple[float, float, str]] = {  # age, interval, colour
    "binance": (1, 15, "fresh"),
    "kraken": (15, 15, "ageing"),
    "coinbase": (40, 15, "overdue"),
    "okx": (15, 60, "fresh"),
    "bybit": (4, 1.5, "overdue"),
}


def test_heartbeat_has_the_colour_of_its_age(database: Path, data_dir: Path, window: Windows) -> None:
    """DIFF-02: green below 10 s, yellow below 30 s, then red, in proportion to the interval."""

    def fill(store: Server) -> None:
        for name, (age_s, interval_s, _) in AGES.items():
            publish(store, name, age_s=age_s, interval_s=interval_s)

    with Site(database, data_dir, fill=fill) as site:
        page = window(site).open()
        for name, (_, _, freshness) in AGES.items():
            expect(card(page, name).locator(".heartbeat")).to_have_attribute("data-freshness", freshness)
        colours = {name: _colour(card(page, name).locator(".heartbeat")) for name in AGES}
        assert colours["binance"] == colours["okx"]
        assert colours["coinbase"] == colours["bybit"]
        assert len(set(colours.values())) == 3
        expect(card(page, "binance").locator(".heartbeat")).to_have_attribute("data-freshness", "ageing")


def _colour(of: Locator) -> str:
    return str(of.evaluate("element => getComputedStyle(element).color"))


def test_heartbeat_counts_every_second(site: Site, window: Windows) -> None:
    """It ticks between two answers, down to the moment the lease is over."""
    page = window(site).open()
    answers: list[Response] = []
    page.on("response", lambda response: answers.append(response))  # noqa: PLW0108  the driver takes no built-in
    ages: dict[int, set[str]] = {}

    def has_ticked() -> bool:
        text = card(page, "binance").locator(".heartbeat").inner_text()
        found = re.match(r"(\d+m )?\d+s ago", text)
        assert found is not None, text
        ages.setdefault(len(answers), set()).add(found[0])
        return max(map(len, ages.values())) > 2  # an answer alone changes it once

    wait_until(has_ticked, description="three ages are shown between two answers")


@pytest.mark.parametrize("minutes", [-10, 10])
def test_wrong_clock_of_the_browser_changes_nothing(site: Site, window: Windows, minutes: int) -> None:
    """A phone is wrong by minutes; every age is the store's."""
    right, wrong = window(site), window(site)
    wrong.page.clock.install(time=time.time() + minutes * 60)
    pages = [right.open(), wrong.open()]
    skew = wrong.page.evaluate("Date.now()") - right.page.evaluate("Date.now()")
    assert abs(skew - minutes * 60_000) < 10_000
    seen = [_at_rest(page) for page in pages]
    assert seen[0].keys() == seen[1].keys()
    for name, told in seen[0].items():
        assert told[0] == seen[1][name][0]
        assert abs(told[1] - seen[1][name][1]) <= 10, (name, told, seen[1][name])
    expect(pages[1].locator(".bar")).to_have_count(0)


def _at_rest(page: Any) -> dict[str, tuple[str, int]]:
    """Each card's health, and for how many seconds it says its heartbeat or sight is past."""
    found = {}
    for name, health in healths(page).items():
        told = facts(card(page, name))
        text = told.get("Heartbeat") or told.get("Last seen") or "0s"
        age = re.match(r"(?:(\d+)h )?(?:(\d+)m ?)?(?:(\d+)s)?", text)
        assert age is not None
        hours, minutes, seconds = (int(part or 0) for part in age.groups())
        found[name] = (health, hours * 3600 + minutes * 60 + seconds)
    return found


def test_page_held_still_does_not_move(own_site: Site, window: Windows) -> None:
    """Paused, cards stay as they were, and a bar says how many have changed; the tab goes on."""
    publish(own_site.store, "binance")
    page = window(own_site).open()
    expect(card(page, "binance")).to_have_attribute("data-health", "active")
    page.get_by_role("button", name="Pause live updates").click()
    publish(own_site.store, "binance", connection_state="warming")
    expect(page.get_by_role("region", name="State of the live view")).to_contain_text("1 exchange has changed since.")
    expect(card(page, "binance")).to_have_attribute("data-health", "active")
    expect(page).to_have_title(re.compile("binance warming"))
    page.get_by_role("button", name="Resume live updates").click()
    expect(card(page, "binance")).to_have_attribute("data-health", "transition")


def test_new_network_says_how_to_begin(own_site: Site, window: Windows) -> None:
    """Its own address is filled in."""
    page = window(own_site).open()
    expect(page.get_by_text(f"{own_site.url}/trpc/network.getInstances")).to_be_visible()
    expect(page.get_by_text("perseus up --simulate", exact=False)).to_be_visible()


def test_exchange_has_a_page_of_its_own(site: Site, window: Windows) -> None:
    """Everything on the card, its warm-up report, its own activity; opened by its card and found by its address."""
    opened = window(site)
    page = opened.open()
    card(page, "bybit").get_by_role("link", name="Bybit").click()
    expect(page).to_have_url(f"{site.url}/network/bybit")
    expect(page.get_by_role("heading", level=1)).to_have_text("Bybit")
    expect(page.get_by_role("heading", name="Warming up")).to_be_visible()
    expect(page.locator(".report")).to_contain_text("DOGE-USDT")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Bybit")
    expect(page.locator("main")).to_contain_text("fra-bybit")
    page.go_back()
    expect(card(page, "bybit")).to_be_visible()
    opened.open("/network/nowhere")
    expect(page.locator("main")).to_contain_text("nowhere is not part of this network")
