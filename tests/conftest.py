"""Fixtures of every test: real servers, flushed for each test, and the check that only declared keys were left."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perseus.store import Store
from tests.support.cluster import Cluster
from tests.support.keyspace import undeclared_keys
from tests.support.postgres import PostgreSQL
from tests.support.proxy import FaultProxy
from tests.support.sentinel import SentinelTrio
from tests.support.servers import BINARIES, Server, StoreServer, valkey_binary
from tests.support.system import short_directory

if TYPE_CHECKING:  # its libraries are slow to import, and most tests need none
    from perseus.database.engine import Database

TOPOLOGIES = {"cluster": Cluster, "sentinel": SentinelTrio}
EVERYWHERE = (*sorted(BINARIES), *TOPOLOGIES)


def pytest_configure(config: pytest.Config) -> None:
    """Declare our markers, and let Ctrl-C count, which the background jobs of a script ignore, as do their children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "foreign_keys: the test leaves keys other programs wrote; do not judge them")
    config.addinivalue_line("markers", "one_server: the test does to its server what a Cluster cannot be asked")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module with `RUNS_EVERYWHERE` on both servers, a Cluster and behind Sentinels, too."""
    only_one = metafunc.definition.get_closest_marker("one_server") or "proxy" in metafunc.fixturenames
    if getattr(metafunc.module, "RUNS_EVERYWHERE", False) and not only_one:
        for name in {"on_server", "valkey"} & set(metafunc.fixturenames):
            metafunc.parametrize(name, EVERYWHERE, indirect=True)
    elif "on_server" in metafunc.fixturenames:
        metafunc.parametrize("on_server", sorted(BINARIES), indirect=True)


@pytest.fixture(scope="session")
def _running_servers() -> Iterator[Callable[[str], StoreServer]]:
    """One server, Cluster or trio of each kind for the whole run, started when first asked for."""
    servers: dict[str, StoreServer] = {}
    with ExitStack() as cleanup:
        directory = cleanup.enter_context(short_directory())

        def running(kind: str) -> StoreServer:
            if kind not in servers:
                started = (
                    TOPOLOGIES[kind](valkey_binary(), directory / kind)
                    if kind in TOPOLOGIES
                    else Server(BINARIES[kind](), directory / kind)
                )
                cleanup.callback(started.kill)
                servers[kind] = started.start()
            return servers[kind]

        yield running


@pytest.fixture(autouse=True)
def servers_to_judge(request: pytest.FixtureRequest) -> Iterator[list[StoreServer]]:
    """Fail any test that leaves a key `perseus.keys` does not declare, or not as declared (type, TTL).

    Every server fixture adds itself to this list and checks itself while it still runs; the rest is checked here.
    """
    servers: list[StoreServer] = []
    yield servers
    for server in servers:
        _judge(server, request)


def _judge(server: StoreServer, request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("foreign_keys") is None:
        faults = undeclared_keys(server)
        assert not faults, "the test left keys that perseus.keys does not declare:\n" + "\n".join(faults)


@pytest.fixture
def valkey(
    request: pytest.FixtureRequest,
    _running_servers: Callable[[str], StoreServer],
    servers_to_judge: list[StoreServer],
) -> StoreServer:
    """Valkey 9, empty; in a module that runs everywhere each topology in turn.

    Shared by all tests: change no configuration here, use `start_server` for that.
    """
    server = _running_servers(getattr(request, "param", "valkey9"))
    server.call("FLUSHALL")
    servers_to_judge.append(server)
    return server


@pytest.fixture
def on_server(request: pytest.FixtureRequest) -> str:
    """The kinds `server` is, one after the other."""
    return str(request.param)


@pytest.fixture
def server(
    on_server: str,
    _running_servers: Callable[[str], StoreServer],
    servers_to_judge: list[StoreServer],
) -> StoreServer:
    """Valkey 9, then Redis 7; in a module that runs everywhere the topologies, too. Empty and shared, like `valkey`."""
    server = _running_servers(on_server)
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

        def open_store(url: str, **options: Any) -> Store:
            store = Store(url, **options)
            cleanup.push_async_callback(store.close)
            return store

        yield open_store


@pytest.fixture
def cluster(_running_servers: Callable[[str], StoreServer], servers_to_judge: list[StoreServer]) -> Iterator[Cluster]:
    """The Cluster all tests share, empty; nodes may be killed, paused and promoted: it is whole again afterwards."""
    cluster = _running_servers("cluster")
    assert isinstance(cluster, Cluster)
    cluster.call("FLUSHALL")
    servers_to_judge.append(cluster)
    yield cluster
    cluster.repair()


@pytest.fixture
def trio(_running_servers: Callable[[str], StoreServer], servers_to_judge: list[StoreServer]) -> Iterator[SentinelTrio]:
    """The same for the trio behind Sentinels."""
    trio = _running_servers("sentinel")
    assert isinstance(trio, SentinelTrio)
    trio.call("FLUSHALL")
    servers_to_judge.append(trio)
    yield trio
    trio.repair()


@pytest.fixture
def store(valkey: StoreServer, connect: Callable[..., Store]) -> Store:
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


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """PostgreSQL, shared by all tests: each takes a database of its own, `postgresql.new_database()`."""
    with short_directory() as directory:
        server = PostgreSQL(directory)
        try:
            yield server.start()
        finally:
            server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """DATABASE_URL of an empty database: a SQLite file that is not there yet, then one on a PostgreSQL server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'perseus.db'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database at the newest migration: SQLite, then PostgreSQL."""
    from perseus.database.engine import open_database

    async with await open_database(database_url) as database:
        yield database
