"""Processes the command line is tried on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import PerseusProcess
from tests.support.servers import Server
from tests.support.system import free_port
from tests.support.trials import FeedProcess
from tests.support.waiting import wait_until

QUICK = {"HEARTBEAT_INTERVAL": "1", "LEASE_TTL": "4"}


@pytest.fixture
def feed(valkey: Server, data_dir: Path) -> Iterator[Callable[..., FeedProcess]]:
    """Start an instance of binance with a feed of its own: `feed("--idle", **settings)`; killed at the end."""
    with ExitStack() as cleanup:

        def start(*args: str, **settings: str) -> FeedProcess:
            process = FeedProcess(
                "binance", *args, data_dir=data_dir / "host-a", store_url=valkey.url, settings=QUICK | settings
            )
            return cleanup.enter_context(process)

        yield start


@pytest.fixture
def perseus(valkey: Server, data_dir: Path) -> Iterator[Callable[..., PerseusProcess]]:
    """Start `perseus ARGS` on the shared server: `perseus("run", "binance", "--idle", **settings)`.

    `inside`: a command that runs it.
    """
    with ExitStack() as cleanup:

        def start(*args: str, inside: Sequence[str] = (), **settings: str) -> PerseusProcess:
            process = PerseusProcess(
                *args, data_dir=data_dir / "host-a", store_url=valkey.url, settings=QUICK | settings
            )
            process.command = (*inside, *process.command)
            return cleanup.enter_context(process)

        yield start


@pytest.fixture
def simulator(data_dir: Path) -> Iterator[str]:
    """The simulator's address."""
    port = free_port()
    with PerseusProcess("simulate", "--port", str(port), data_dir=data_dir / "simulator") as process:
        wait_until(lambda: "faults:" in process.output, description="the simulator listens")
        yield f"127.0.0.1:{port}"


def venue(simulator: str) -> dict[str, str]:
    """The settings that lead to it."""
    return {
        "EXCHANGE_BINANCE_REST_URL": f"http://{simulator}/binance",
        "EXCHANGE_BINANCE_WS_URL": f"ws://{simulator}/binance",
    }
