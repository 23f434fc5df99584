"""A running simulator whose clock starts just before a minute ends, and a client for it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from perseus.simulator.server import Simulator, serve

SEED = 7
START_MS = 1_772_452_797_000
"""2026-03-02T11:59:57Z: three seconds before a minute, an hour and four hours end."""


def clock_from(unix_ms: int) -> Callable[[], float]:
    """Return a clock which starts at this moment now, and runs on at normal speed."""
    begun = time.monotonic()
    return lambda: unix_ms / 1000 + time.monotonic() - begun


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulator of its own for each test, which pings often."""
    running = await serve(seed=SEED, clock=clock_from(START_MS), ping_seconds=0.2)
    yield running
    await running.aclose()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP and WebSocket client."""
    async with aiohttp.ClientSession() as session:
        yield session
