"""The README's Python example runs as it stands, and its first command comes early."""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from perseus import keys
from perseus.instances.progress import Progress
from tests.support.processes import run_perseus
from tests.support.servers import Server

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_first_command_comes_before_line_30() -> None:
    """Whoever opens the page wants to see it work, not read about it."""
    before, _, _ = README.partition("```console")
    assert before.count("\n") < 30


def test_pages_it_points_to_exist() -> None:
    """A dead link on the first page is the first impression."""
    root = Path(__file__).parents[2]
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if "://" not in link and not (root / link).exists()] == []
    modules = re.findall(r"`([a-z_]+/[a-z_]+\.py|[a-z]+\.py)`", README)
    assert modules
    assert [name for name in modules if not (root / "src/perseus" / name).exists()] == []


async def test_python_example_claims_warms_up_and_gives_back(
    valkey: Server, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example is copied into real programs: it must claim, publish under its epoch, and leave nothing behind."""
    code = re.search(r"```python\n(.+?)```", README, re.DOTALL)
    assert code is not None
    for name, value in {
        "STORE_URL": valkey.url,
        "DATA_DIR": str(data_dir),
        "PUBLIC_IP_URLS": "off",
        "HEARTBEAT_INTERVAL": "1",
        "LEASE_TTL": "3",
    }.items():
        monkeypatch.setenv(f"PERSEUS_{name}", value)
    monkeypatch.chdir(data_dir)
    published: list[tuple[str, int]] = []

    async def load_history(progress: Progress) -> None:
        await progress.update(done=312, total=312)

    async def feed() -> AsyncIterator[str]:
        for message in ("first", "second"):
            yield message

    async def publish(message: str, *, epoch: int) -> None:
        published.append((message, epoch))

    names: dict[str, Any] = {"load_history": load_history, "feed": feed, "publish": publish}
    exec("async def example():\n" + textwrap.indent(code[1], "    "), names)
    await asyncio.wait_for(names["example"](), 20)
    assert [message for message, _ in published] == ["first", "second"]
    assert {epoch for _, epoch in published} == {int(valkey.call("GET", keys.epoch(4)))}
    assert valkey.call("EXISTS", keys.status(4)) == 0
    shown = run_perseus("status", "kraken", data_dir=data_dir, store_url=valkey.url)
    assert "stopped" in shown.stdout
