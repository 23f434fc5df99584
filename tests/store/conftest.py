"""Here `store` and `proxy` stand before both servers, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from perseus.store import Store
from tests.support.cluster import Cluster
from tests.support.proxy import FaultProxy
from tests.support.sentinel import SentinelTrio
from tests.support.servers import Server, StoreServer


@pytest.fixture
def store(server: Server, connect: Callable[..., Store]) -> Store:
    """A connection to `server`."""
    return connect(server.url)


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    """A faulty network in front of `server`."""
    with FaultProxy(server.url) as proxy:
        yield proxy


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
