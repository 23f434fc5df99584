"""The activity feed: nothing is lost or told twice however it is read, and the address says what it shows."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.records import log, publish
from tests.e2e.site import Site
from tests.e2e.window import Window
from tests.support.servers import Server
from tests.support.system import short_directory
from tests.support.waiting import wait_until

Windows = Callable[..., Window]
OLD = 230


def fill(store: Server) -> None:
    """A history of several pages in two exchanges, with one loss far down."""
    publish(store, "binance")
    log(store, "kraken", event="instance_lost", hostname="ams-9", state="active")
    for n in range(OLD):
        log(store, ("binance", "kraken")[n % 2], error=f"old {n}")


@pytest.fixture(scope="module")
def shared(database: Path) -> Iterator[Site]:
    """A site with a history. Shared: each test adds to it."""
    with short_directory() as directory, Site(database, directory, fill=fill) as site:
        yield site


@pytest.fixture
def opened(shared: Site, window: Windows) -> Window:
    """A window on it."""
    return window(shared)


def rows(page: Page) -> Locator:
    """What the feed shows."""
    return page.locator(".entry")


def errors(page: Page, like: str) -> list[str]:
    """The texts of the errors shown that begin so, from the top; all rows at one moment."""
    told: list[str] = rows(page).locator(".entry-details").all_inner_texts()
    return [text for text in told if text.startswith(like)]


def assert_in_order(page: Page) -> None:
    """Every entry stands once, below what is newer; of one moment, by the names of the exchanges."""
    keys: list[str] = rows(page).evaluate_all("rows => rows.map(row => row.dataset.id)")
    places = [(*map(int, entry_id.split("-")), name) for entry_id, _, name in (key.partition("@") for key in keys)]
    assert places == sorted(set(places), reverse=True)


def scroll_to_end(page: Page, meanwhile: Callable[[int], None] = lambda _: None) -> None:
    """Scroll as a person does until the feed says that there is no more."""
    end = page.get_by_text("That is all")
    for turn in range(100):
        if end.count():
            return
        before = rows(page).count()
        page.mouse.wheel(0, 20_000)
        meanwhile(turn)
        wait_until(lambda n=before: rows(page).count() > n or end.count(), description="more is shown")  # type: ignore[misc]
    raise AssertionError("the feed has no end")


def test_reading_down_while_entries_arrive_loses_and_repeats_none(opened: Window, shared: Site) -> None:
    """Pages are cut by cursor: what is written on top must not push an entry over a page's edge."""
    page = opened.open()
    expect(rows(page).nth(40)).to_be_visible()
    written = []

    def write(turn: int) -> None:
        for n in range(7):
            text = f"meanwhile {turn}.{n}"
            written.append(text)
            log(shared.store, ("binance", "kraken")[n % 2], error=text)

    scroll_to_end(page, write)
    old = sorted(f"old {n}" for n in range(OLD))
    assert sorted(errors(page, "old")) == old
    assert_in_order(page)
    waiting = page.get_by_role("button", name="new, click to show")
    expect(waiting).to_have_text(f"{len(written)} new, click to show")
    assert errors(page, "meanwhile") == []
    waiting.click()
    expect(waiting).to_have_count(0)
    assert sorted(errors(page, "meanwhile")) == sorted(written)
    for text in ("later 1", "later 2"):  # each in an answer of its own
        log(shared.store, "binance", error=text)
        expect(rows(page).first).to_contain_text(text)
    assert errors(page, "later") == ["later 2", "later 1"]
    expect(page.locator(".entry-repeats")).to_have_count(0)  # one told twice would be folded into one row
    assert sorted(errors(page, "old")) == old
    assert_in_order(page)


def test_what_arrives_is_shown_at_once_to_who_is_at_the_top(opened: Window, shared: Site) -> None:
    """And held back from who has paused."""
    page = opened.open()
    expect(rows(page).first).to_be_visible()
    log(shared.store, "binance", error="live one")
    expect(rows(page).first).to_contain_text("live one")
    page.get_by_role("button", name="Pause live updates").click()
    log(shared.store, "binance", error="live two")
    waiting = page.get_by_role("button", name="1 new, click to show")
    expect(waiting).to_be_visible()
    expect(rows(page).first).to_contain_text("live one")
    waiting.click()
    expect(rows(page).first).to_contain_text("live two")


def test_repeats_are_one_row_that_unfolds(opened: Window, shared: Site) -> None:
    """A loop of errors must not hide what happened before it."""
    for _ in range(5):
        log(shared.store, "kraken", error="again and again")
    page = opened.open("/network?text=again")
    expect(rows(page)).to_have_count(1)
    unfold = rows(page).get_by_role("button", name=re.compile(r"5 since \d\d:\d\d:\d\d"))
    unfold.click()
    expect(unfold).to_have_attribute("aria-expanded", "true")
    expect(page.locator(".entry-folded li")).to_have_count(4)


def test_filters_are_the_servers_and_survive_a_reload(opened: Window, shared: Site) -> None:
    """A link shows somebody else the same; an entry far below every page that was read is found."""
    page = opened.open()
    page.get_by_text("All events", exact=True).click()
    page.get_by_role("checkbox", name="Losses").check()
    page.keyboard.press("Escape")
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("ams-9")
    page.get_by_label("Exchange", exact=True).select_option("kraken")
    page.get_by_label("Time range").select_option("24h")
    page.get_by_role("searchbox").fill("AMS-9")
    page.wait_for_url(re.compile("text=AMS-9"))
    asked = parse_qs(urlsplit(page.url).query)
    assert asked == {"event": ["instance_lost"], "exchange": ["kraken"], "range": ["24h"], "text": ["AMS-9"]}
    expect(rows(page)).to_have_count(1)
    page.reload()
    expect(rows(page)).to_have_count(1)
    expect(page.get_by_label("Exchange", exact=True)).to_have_value("kraken")
    expect(page.get_by_label("Time range")).to_have_value("24h")
    expect(page.get_by_role("searchbox")).to_have_value("AMS-9")
    expect(page.locator(".filters summary")).to_have_text("Losses")
    assert parse_qs(urlsplit(page.url).query) == asked
    page.get_by_label("Exchange", exact=True).select_option("binance")
    expect(page.get_by_text("Nothing matches these filters.")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(rows(page).nth(40)).to_be_visible()
    assert urlsplit(page.url).query == ""


def exported(page: Page, form: str) -> str:
    """The text of the file that Export hands out."""
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile(f"^{form}")).click()
    name = download.value.suggested_filename
    assert re.fullmatch(rf"perseus-activity-\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.{form.lower()}", name), name
    return Path(download.value.path()).read_text("utf-8")


def test_export_is_what_the_filters_select(opened: Window, shared: Site) -> None:
    """All of it, not the page that happens to be shown; and no cell is a formula."""
    log(shared.store, "kraken", error='=SUM(1,1) of "old" things\nin two lines')
    page = opened.open("/network?exchange=kraken&text=old")
    expect(rows(page).nth(40)).to_be_visible()
    entries: list[dict[str, Any]] = json.loads(exported(page, "JSON"))
    told = [each["error"] for each in entries]
    assert told == ['=SUM(1,1) of "old" things\nin two lines', *(f"old {n}" for n in reversed(range(1, OLD, 2)))]
    assert {each["exchangeName"] for each in entries} == {"kraken"}
    table = list(csv.DictReader(io.StringIO(exported(page, "CSV"), newline="")))
    assert [each["id"] for each in table] == [each["id"] for each in entries]
    assert table[0]["error"] == "'" + told[0]
    assert [each["error"] for each in table[1:]] == told[1:]
    assert table[1]["hostname"] == "fra-kraken"


def test_times_are_local_or_utc(shared: Site, window: Windows) -> None:
    """Two people on the telephone mean the same moment; the choice is remembered."""
    page = window(shared, timezone_id="Asia/Kolkata").open("/network?text=ams-9")
    shown = rows(page).locator("time")
    local, moment = shown.inner_text(), str(shown.get_attribute("datetime"))
    assert local[:5] != moment[11:16]
    page.get_by_label(re.compile("^Account and view")).click()
    page.get_by_text("UTC", exact=True).click()
    expect(shown).to_contain_text(moment[11:19])
    page.reload()
    expect(shown).to_contain_text(moment[11:19])


def test_log_that_cannot_be_read_is_named(own_site: Site, window: Windows) -> None:
    """Left out in silence, its exchange would seem to have had a quiet time."""
    log(own_site.store, "binance", error="seen")
    own_site.store.call("SET", "logs:network:kraken", "x")
    page = window(own_site).open()
    expect(page.get_by_text(re.compile("The log of kraken cannot be read"))).to_be_visible()
    expect(rows(page)).to_have_count(1)


def test_page_with_bad_filters_says_which(opened: Window) -> None:
    """Somebody edited the address."""
    page = opened.open("/network?since=yesterday")
    expect(page.get_by_text(re.compile("This cannot be shown. since"))).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(rows(page).nth(40)).to_be_visible()


def test_reader_is_not_moved_by_what_arrives(opened: Window, shared: Site) -> None:
    """The line under one's eyes stays where it is."""
    page = opened.open()
    expect(rows(page).nth(40)).to_be_visible()
    page.mouse.wheel(0, 2500)
    wait_until(lambda: page.evaluate("scrollY") > 500, description="the page is scrolled")
    eyed = rows(page).nth(30)
    key = eyed.get_attribute("data-id")
    top = page.locator(f'[data-id="{key}"]')
    box = top.bounding_box()
    log(shared.store, "binance", error="somewhere above")
    expect(page.get_by_role("button", name="1 new, click to show")).to_be_visible()
    wait_until(lambda: top.bounding_box() == box, description="it is where it was")
