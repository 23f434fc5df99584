"""Two hundred exchanges."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.alerts import channel, incident, lead, write_incidents
from tests.e2e.axe import assert_accessible
from tests.e2e.records import NAMES, hold, status_of, write_everything
from tests.e2e.site import Site, make_database
from tests.e2e.window import PHONE, Window, card, facts
from tests.support.servers import Server
from tests.support.system import short_directory

Windows = Callable[..., Window]
MANY = (*NAMES, *(f"venue-{n:03}" for n in range(200 - len(NAMES))))


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A network of 200 exchanges, eleven of them in one state each."""
    database = make_database(tmp_path_factory.mktemp("crowded"), MANY)

    def fill_all(store: Server) -> None:
        write_everything(store)
        for number, name in enumerate(MANY[len(NAMES) :], start=100 + len(NAMES)):
            status = status_of("binance", age_s=1, interval_s=600, exchange_name=name, exchange_id=number)
            hold(store, status, age_s=1)

        lead(store, channel())

    with short_directory() as directory, Site(database, directory, fill=fill_all) as site:
        write_incidents(site, incident())
        yield site


def test_two_hundred_exchanges_are_rows(crowded: Site, window: Windows) -> None:
    """More than a dozen cards would be leafed through: rows have the same facts."""
    page = window(crowded).open()
    expect(page.locator("[data-exchange]")).to_have_count(200)
    expect(page.locator(".rows-head")).to_contain_text("200 exchanges, worst first")
    assert page.locator(".card[data-exchange]").count() == 0
    first = page.locator("[data-exchange]").first
    expect(first).to_have_attribute("data-exchange", "kraken")
    for word in ("Offline", "fra-kraken", "203.0.113.", "Ada Lovelace", "25", "read timed out"):
        expect(first).to_contain_text(word)
    expect(first).to_contain_text("Incident, nobody has it")
    expect(page.locator(".incident-short")).to_have_count(1)
    assert_accessible(page, "rows")


def test_rows_fit_a_small_screen(crowded: Site, window: Windows) -> None:
    """At three in the morning, on a phone, with 200 exchanges."""
    page = window(crowded, **PHONE).open()
    expect(page.locator("[data-exchange]")).to_have_count(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    expect(card(page, "kraken").locator(".badge")).to_be_in_viewport()
    expect(card(page, "kraken").get_by_text("Incident, nobody has it")).to_be_in_viewport()
    assert facts(card(page, "kraken")) == {}
