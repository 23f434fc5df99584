"""A browser's window on a site, and what the tests read from its page."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect

from tests.support.waiting import wait_until

EXPECTED = re.compile(r"Failed to load resource|net::ERR_")  # of a server or a store that is away on purpose
PHONE = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}
expect.set_options(timeout=15_000)


class Window:
    """One page in a context of its own."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.page: Page = context.new_page()
        self._faults: list[str] = []
        self.page.on("pageerror", lambda error: self._faults.append(str(error)))
        self.page.on("console", self._note)
        self.page.on("request", self._check)

    def open(self, path: str = "/network") -> Page:
        """Go to a page and wait for its cards."""
        self.page.goto(f"{self.url}{path}")
        expect(self.page.locator("main h1, main .panel").first).to_be_attached()
        expect(self.page.locator(".loading")).to_have_count(0)
        return self.page

    def faults(self) -> list[str]:
        """What went wrong in the page so far."""
        return self._faults

    def close(self) -> None:
        """Close it."""
        self.context.close()

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not EXPECTED.search(message.text):
            self._faults.append(message.text)

    def _check(self, request: Request) -> None:
        if not request.url.startswith((self.url, "blob:", "data:")):
            self._faults.append(f"asked {request.url}")


def card(page: Page, name: str) -> Locator:
    """The card or row of an exchange."""
    return page.locator(f'[data-exchange="{name}"]')


def facts(of: Locator) -> dict[str, str]:
    """The facts a card tells, by name."""
    found: dict[str, Any] = of.evaluate(
        """card => Object.fromEntries([...card.querySelectorAll('.fact')]
            .map(fact => [fact.querySelector('dt').textContent, fact.querySelector('dd').textContent]))"""
    )
    return found


def bar(page: Page) -> Locator:
    """The bar that says what is wrong with the view itself."""
    return page.get_by_role("region", name="State of the live view")


def alerts_bar(page: Page) -> Locator:
    """The line that says that nobody would be told."""
    return page.get_by_role("region", name="State of alerts")


def of_channel(page: Page, name: str) -> Locator:
    """The card of a channel."""
    return page.locator(f'[data-channel="{name}"]')


def incident_of(page: Page, name: str) -> Locator:
    """The open incident of an exchange, on whichever page."""
    return page.locator(f'[data-incident^="{name}-"]')


def look_until(page: Page, fact: Callable[[], bool], description: str) -> None:
    """Let the page ask again and again until it shows a fact, as if the network was just back: not every 5 s only.

    An answer that does not come is given up by the page after 8 s, and it asks no second time before.
    """

    def looked() -> bool:
        page.evaluate("window.dispatchEvent(new Event('online'))")
        return fact()

    wait_until(looked, description=description, timeout=30, every=0.2)


def healths(page: Page) -> dict[str, str]:
    """What every card says of its exchange."""
    found: dict[str, str] = page.locator("[data-exchange]").evaluate_all(
        "cards => Object.fromEntries(cards.map(card => [card.dataset.exchange, card.dataset.health]))"
    )
    return found
