"""docs/typescript.md: every program on it compiles against the types of the API as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perseus.web.router import ROUTER
from perseus.web.typescript import typescript
from tests.support.typescript import faults

TEXT = (Path(__file__).parents[2] / "docs" / "typescript.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```ts\n(.+?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the compiler says about each program; `./read` is the first one."""
    named = {"read.ts" if at == 0 else f"example{at}.ts": text for at, text in enumerate(PROGRAMS)}
    return faults(tmp_path_factory.mktemp("docs"), {"perseus.ts": typescript(ROUTER), **named})


def test_every_program_compiles(said: dict[str, list[str]]) -> None:
    """They will be copied, and an upgrade must not break what was copied unnoticed."""
    assert len(said) > 5
    assert [fault for found in said.values() for fault in found] == []


def test_every_procedure_it_names_exists() -> None:
    """Prose is not compiled."""
    named = set(re.findall(r"`(network\.\w+)`", TEXT))
    assert named
    assert named <= set(ROUTER)
