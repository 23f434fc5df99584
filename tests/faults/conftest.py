"""Fault tests share servers that have been up for a while, and get time for every trial."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.outcomes import BY_SCENARIO, summary
from tests.support.pool import TRIALS, Pool
from tests.support.system import short_directory
from tests.support.trials import in_trials


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Forty trials take longer than three."""
    seconds = 90 + 25 * TRIALS
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(seconds))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """At full strength, say what the trials of each scenario came to."""
    if TRIALS > 3 and BY_SCENARIO:
        terminalreporter.section(f"{TRIALS} trials of each scenario: recovery after the fault, and what was judged")
        for line in summary():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """The servers trials borrow."""
    with short_directory() as directory:
        pool = Pool(directory)
        yield pool
        pool.close()


@pytest.fixture
def repeat(pool: Pool) -> Callable[..., Awaitable[None]]:
    """`await repeat(scenario)`: every trial of it; see `trials.in_trials`."""
    return partial(in_trials, pool=pool)
