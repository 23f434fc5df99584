"""Fixtures of every test: real servers, flushed for each test, and the check that only declared keys were left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from perseus.store import Store
from tests.support.keyspace import undeclared_keys
from tests.support.proxy import FaultProxy
from tests.support.servers import BINARIES, Server
from tests.support.system import short_directory


def pytest_configure(config: pytest.Config) -> None:
    """Declare our markers."""
    config.addinivalue_line("markers", "foreign_keys: the test leaves keys other programs wrote; do not judge them")


@pytest.fixture(scope="session")
def _running_servers() -> Iterator[Callable[[str], Server]]:
    """One server of each kind for the whole run, started when first asked for."""
    servers: dict[str, Server] = {}
    with ExitStack() as cleanup:
        directory = cleanup.enter_context(short_directory())

        def running(kind: str) -> Server:
            if kind not in servers:
                servers[kind] = Server(BINARIES[kind](), directory / kind).start()
                cleanup.callback(servers[kind].kill)
            return servers[kind]

        yield running


@pytest.fixture(autouse=True)
def servers_to_judge(request: pytest.FixtureRequest) -> Iterator[list[Server]]:
    """Fail any test that leaves a key `perseus.keys` does not declare, or not as declared (type, TTL).

    Every server fixture adds itself to this list and checks itself while it still runs; the rest is checked here.
    """
    servers: list[Server] = []
    yield servers
    for server in servers:
        _judge(server, request)


def _judge(server: Server, request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("foreign_keys") is None:
        faults = undeclared_keys(server)
        assert not faults, "the test left keys that perseus.keys does not declare:\n" + "\n".join(faults)


@pytest.fixture
def valkey(_running_servers: Callable[[str], Server], servers_to_judge: list[Server]) -> Server:
    """Valkey 9, empty. Shared by all tests: change no configuration here, use `start_server` for that."""
    server = _running_servers("valkey9")
    server.call("FLUSHALL")
    servers_to_judge.append(server)
    return server


@pytest.fixture(params=sorted(BINARIES))
def server(
    request: pytest.FixtureRequest, _running_servers: Callable[[str], Server], servers_to_judge: list[Server]
) -> Server:
    """Valkey 9, then Redis 7: empty and shared, like `valkey`."""
    server = _running_servers(request.param)
    server.call("FLUSHALL")
    server.call("SCRIPT", "FLUSH")
    servers_to_judge.append(server)
    return server


@pytest.fixture
def start_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., Server]]:
    """Start a server of one's own: `start_server("redis7", config={…}, steppable=True, …)`; killed at the end."""
    started: list[Server] = []
    with short_directory() as directory, ExitStack() as cleanup:

        def start(kind: str = "valkey9", **properties: Any) -> Server:
            server = Server(BINARIES[kind](), directory / str(len(started)), **properties)
            started.append(server)
            cleanup.callback(server.kill)
            return server.start()

        yield start
        for server in started:
            if server.is_answering:
                _judge(server, request)


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Store]]:
    """Open a connection of one's own: `connect(url, timeout=…)`; closed at the end, also when the test failed."""
    async with AsyncExitStack() as cleanup:

        def open_store(url: str, **options: float) -> Store:
            store = Store(url, **options)
            cleanup.push_async_callback(store.close)
            return store

        yield open_store


@pytest.fixture
def store(valkey: Server, connect: Callable[..., Store]) -> Store:
    """A connection to `valkey`."""
    return connect(valkey.url)


@pytest.fixture
def proxy(valkey: Server) -> Iterator[FaultProxy]:
    """A faulty network in front of `valkey`."""
    with FaultProxy(valkey.url) as proxy:
        yield proxy


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty data directory with a path short enough for Unix sockets."""
    with short_directory() as path:
        yield path
