"""One browser for all tests of a run, one window for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from perseus import keys
from tests.e2e.alerts import channel, forget_incidents, lead
from tests.e2e.chromium import running_browser
from tests.e2e.records import NAMES, write_everything
from tests.e2e.site import Site, make_database
from tests.e2e.window import Window
from tests.support.servers import Server
from tests.support.system import short_directory


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="package")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a network with an exchange for each state a card can have. To copy."""
    return make_database(tmp_path_factory.mktemp("database"), NAMES)


@pytest.fixture(scope="module")
def site(database: Path) -> Iterator[Site]:
    """A site with everything there is to see: every state, every kind of entry. Shared: change nothing.

    A new one for each file, for what it shows becomes older.
    """

    def fill(store: Server) -> None:
        write_everything(store)
        lead(store, channel())  # nothing comes between: no incidents, and no word that nobody is told of any

    with short_directory() as directory, Site(database, directory, fill=fill) as site:
        yield site


@pytest.fixture(scope="package")
def _led_site(database: Path) -> Iterator[Site]:
    def fill(store: Server) -> None:
        write_everything(store)
        lead(store, channel())

    with short_directory() as directory, Site(database, directory, fill=fill) as site:
        yield site


@pytest.fixture
def alerted(_led_site: Site) -> Site:
    """A site whose notifier is the test, with one channel that works and no incident on record."""
    _led_site.store.call("DEL", keys.notifier_requests())
    lead(_led_site.store, channel())
    forget_incidents(_led_site)
    return _led_site


@pytest.fixture
def own_site(database: Path, data_dir: Path) -> Iterator[Site]:
    """A site of one's own, with an empty store."""
    with Site(database, data_dir) as site:
        yield site


@pytest.fixture
def window(browser: Browser) -> Iterator[Callable[..., Window]]:
    """Open a window, signed in at a site: `window(site, **options of the browser's context)`; closed at the end.

    A test fails if a page of it had an error, broke its own security policy or asked anybody else for anything.
    """
    with ExitStack() as cleanup:
        opened: list[Window] = []

        def open_window(site: Site, **options: Any) -> Window:
            given: dict[str, Any] = {
                "storage_state": site.signed_in(browser),
                "viewport": {"width": 1280, "height": 900},
            }
            window = Window(browser.new_context(**(given | options)), site.url)
            cleanup.callback(window.close)
            opened.append(window)
            return window

        yield open_window
        for each in opened:
            assert each.faults() == []
