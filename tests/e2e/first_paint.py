"""`python -m tests.e2e.first_paint`: how soon a browser that has never been here shows the network, and its smoothness.

Each load has an empty cache. Paint: first contentful paint, as the browser reports it. Cards: when the first card
stands on the page, which takes the page's files, then the answer of the API. "Slow 4G, slow phone": 1.6 Mbit/s down,
150 ms between question and answer, and a processor four times as slow, all as the browser emulates them. Busy: the
longest that a page of 200 exchanges keeps the processor in one go, while seconds tick and an answer comes.
"""

from __future__ import annotations

import statistics
from typing import NamedTuple

from playwright.sync_api import Browser, expect

from tests.e2e.chromium import running_browser
from tests.e2e.records import NAMES, write_everything
from tests.e2e.site import Site, make_database
from tests.e2e.test_many import MANY
from tests.e2e.window import Window
from tests.support.system import short_directory

LOADS = 15
NOTE_CARDS = """new MutationObserver((_, self) => {
    if (document.querySelector('[data-exchange]')) { window.cardsAt = performance.now(); self.disconnect() }
}).observe(document, { childList: true, subtree: true })"""
LONGEST_TASK = """() => new Promise(done => {
    let longest = 0;
    new PerformanceObserver(list => { longest = Math.max(longest, ...list.getEntries().map(each => each.duration)) })
        .observe({ type: 'longtask' });
    setTimeout(() => done(longest), 6000);
})"""
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
SLOW = {"offline": False, "latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 750e3 / 8}


class Load(NamedTuple):
    """One load. Units: milliseconds since the address was opened."""

    paint: float
    cards: float


def main() -> None:
    """Load the page many times, and print medians and the worst; then watch a page with many exchanges."""
    with short_directory() as directory, running_browser() as browser:
        database = make_database(directory / "database", NAMES)
        with Site(database, directory / "site", fill=write_everything) as site:
            for name, is_slow in (("this machine", False), ("slow 4G, slow phone", True)):
                loads = [load(browser, site, is_slow=is_slow) for _ in range(LOADS)]
                for what, times in (
                    ("paint", [each.paint for each in loads]),
                    ("cards", [each.cards for each in loads]),
                ):
                    print(f"{name}: first {what} {statistics.median(times):.0f} ms, at worst {max(times):.0f} ms")
        database = make_database(directory / "many", MANY)
        with Site(database, directory / "crowded", fill=write_everything) as site:
            window = Window(browser.new_context(storage_state=site.signed_in(browser)), site.url)
            page = window.open()
            expect(page.locator("[data-exchange]")).to_have_count(len(MANY))
            print(f"{len(MANY)} exchanges: busy for {page.evaluate(LONGEST_TASK):.0f} ms in one go, at worst")
            window.close()


def load(browser: Browser, site: Site, *, is_slow: bool) -> Load:
    """Open the page with an empty cache."""
    window = Window(browser.new_context(storage_state=site.signed_in(browser)), site.url)
    if is_slow:
        devtools = window.context.new_cdp_session(window.page)
        devtools.send("Network.emulateNetworkConditions", SLOW)
        devtools.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    window.page.add_init_script(NOTE_CARDS)
    page = window.open()
    expect(page.locator("[data-exchange]").first).to_be_visible()
    found = Load(paint=page.evaluate(PAINTED), cards=page.evaluate("window.cardsAt"))
    window.close()
    assert found.paint > 0
    return found


if __name__ == "__main__":
    main()
