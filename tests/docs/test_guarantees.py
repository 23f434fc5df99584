"""docs/guarantees.md names tests that exist, so that no promise stands there unproven."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    line
    for line in (ROOT / "docs/guarantees.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| Promise", "| ---"))
]
EXISTING = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_promise_names_tests_that_exist(row: str) -> None:
    """A test renamed or deleted must not leave its promise behind."""
    named = set(re.findall(r"`(test_\w+)`", row.rsplit("|", 2)[1]))
    assert named, "no test is named"
    assert not named - EXISTING


def test_every_topology_has_its_promises() -> None:
    """An empty table would pass the test above."""
    assert len(ROWS) > 30
