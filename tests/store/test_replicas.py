"""`run_replicated`: what replicas have acknowledged counts for the connection that wrote, and for no other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perseus import keys
from perseus.errors import StoreDenied
from perseus.store import Store, scripts
from tests.store.calls import ID, STATUS, claimed_epoch
from tests.support.cluster import Cluster
from tests.support.sentinel import SentinelTrio
from tests.support.servers import Server
from tests.support.waiting import wait_until

Connect = Callable[..., Store]
WITHIN_S = 0.3


class Replicated:
    """A server with replicas, by whatever it is reached."""

    def __init__(self, url: str, primary: Server, replicas: list[Server]) -> None:
        self.url = url
        self.primary = primary
        self.replicas = replicas


@pytest.fixture(params=["server", "cluster", "sentinel"])
def replicated(request: pytest.FixtureRequest) -> Iterator[Replicated]:
    """A server and its replica, the primary of a Cluster's shard, and the one behind Sentinels."""
    if request.param == "cluster":
        cluster: Cluster = request.getfixturevalue("cluster")
        yield Replicated(cluster.url, cluster.primary_of(STATUS), [cluster.replica_of(STATUS)])
    elif request.param == "sentinel":
        trio: SentinelTrio = request.getfixturevalue("trio")
        primary = trio.primary()
        yield Replicated(trio.url, primary, [server for server in trio.servers if server is not primary])
    else:
        start: Callable[..., Server] = request.getfixturevalue("start_server")
        config = {"repl-diskless-sync-delay": "0"}
        primary, replica = start(config=config), start()
        replica.call("REPLICAOF", "127.0.0.1", primary.port)
        wait_until(lambda: replica.call("ROLE")[3] == b"connected", description="the replica is in sync")
        yield Replicated(primary.url, primary, [replica])


async def write(store: Store) -> tuple[list[Any], int]:
    """One guarded write, waiting for a replica."""
    names = [STATUS, keys.warmup(ID)]
    return await store.run_replicated(
        scripts.WRITE_VALUE, keys=names, args=["c1", "v", 60], replicas=1, within_s=WITHIN_S
    )


async def test_living_replica_acknowledges(replicated: Replicated, connect: Connect) -> None:
    """Also when the server has forgotten the script, and it must be sent again."""
    store = connect(replicated.url)
    await claimed_epoch(store)
    for _ in range(2):
        reply, acknowledged = await write(store)
        assert reply == [b"OK"]
        assert acknowledged >= 1


async def test_frozen_replicas_acknowledge_nothing(replicated: Replicated, connect: Connect) -> None:
    """A failover now would lose the write: whoever asked must not count on it."""
    store = connect(replicated.url)
    await claimed_epoch(store)
    await write(store)
    for replica in replicated.replicas:
        replica.pause()
    began = time.monotonic()
    assert await write(store) == ([b"OK"], 0)
    assert time.monotonic() - began > WITHIN_S * 0.9
    # The wrong way, by which this test would say so: another connection has written nothing that could be missing
    elsewhere = await asyncio.to_thread(replicated.primary.call, "WAIT", 1, 100)
    assert elsewhere >= 1
    for replica in replicated.replicas:
        replica.resume()


async def test_wait_lies_inside_the_bound_of_its_call(valkey: Server, connect: Connect) -> None:
    """Else a late acknowledgement would look like no answer at all, always."""
    store = connect(valkey.url, timeout=0.2)
    with pytest.raises(ValueError, match="inside the call's bound"):
        await write(store)


async def test_missing_right_to_wait_is_denied(start_server: Callable[..., Server], connect: Connect) -> None:
    """A person must act: it will not pass."""
    server = start_server(acl=["narrow on >secret ~* &* +@all -wait"])
    store = connect(server.url_for("narrow", "secret"))
    await claimed_epoch(store)
    with pytest.raises(StoreDenied, match="wait"):
        await write(store)
