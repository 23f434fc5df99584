"""Finding the nodes: any adviser that answers is enough, and a failure says who was asked for what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from perseus import keys
from perseus.clock import SystemClock
from perseus.errors import StoreDenied, StoreRefused, StoreUnavailable
from perseus.store import Store
from perseus.store.check import check_store
from perseus.store.findings import Severity
from perseus.timing import LeaseTiming
from tests.store.calls import STATUS
from tests.support.cluster import Cluster
from tests.support.sentinel import SERVICE, SentinelTrio
from tests.support.servers import Server
from tests.support.system import free_port

Connect = Callable[..., Store]
StartServer = Callable[..., Server]
LOGS = [keys.log(name) for name in ("coinbase", "binance", "binance_us", "kraken")]


async def test_first_address_may_be_dead(cluster: Cluster, trio: SentinelTrio, connect: Connect) -> None:
    """A URL lives longer than the machines it names."""
    for url in (cluster.url, trio.url):
        store = connect(url.replace("://", f"://127.0.0.1:{free_port()},"), timeout=1)
        assert await store.time_ms() > 0


async def test_frozen_adviser_does_not_hold_up_a_call(cluster: Cluster, trio: SentinelTrio, connect: Connect) -> None:
    """It accepts connections and says nothing: the others are asked meanwhile, not after a timeout."""
    key = next(key for key in map(keys.status, range(99)) if cluster.primary_of(key) is not cluster.nodes[0])
    cluster.nodes[0].pause()
    trio.sentinels[0].pause()
    for url, asked in ((cluster.url, key), (trio.url, STATUS)):
        async with asyncio.timeout(10):
            await connect(url, timeout=30).get(asked)


async def test_sentinel_that_names_another_primary_is_outvoted(
    trio: SentinelTrio, start_server: StartServer, connect: Connect
) -> None:
    """One that was cut off during a failover still names the old primary, which may even take writes."""
    stale, old = start_server(as_sentinel=True), start_server()
    stale.call("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", old.port, 2)
    for _ in range(10):
        store = connect(trio.url.replace("://", f"://127.0.0.1:{stale.port},"), timeout=1)
        (primary,) = await store.nodes()
        assert primary.name == f"127.0.0.1:{trio.primary().port}"


async def test_nobody_to_ask_is_unavailable_and_named(connect: Connect) -> None:
    """The person reading it must see which Sentinels, and which service."""
    port = free_port()
    for url in (f"redis+sentinel://:secret@127.0.0.1:{port}/mymaster", f"redis+cluster://:secret@127.0.0.1:{port}"):
        with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{port}: Error 111") as caught:
            await connect(url, timeout=1).time_ms()
        assert "secret" not in str(caught.value)
        assert ("mymaster" in str(caught.value)) == ("sentinel" in url)


async def test_service_the_sentinels_do_not_know_is_named(trio: SentinelTrio, connect: Connect) -> None:
    """A slip of the pen in the URL."""
    store = connect(trio.url.replace(f"/{SERVICE}", "/persues"), timeout=1)
    with pytest.raises(StoreUnavailable, match=r"no Sentinel named a primary of 'persues'.*knows no service"):
        await store.time_ms()


async def test_dead_primary_without_a_quorum_is_unavailable(trio: SentinelTrio, connect: Connect) -> None:
    """Nobody can be promoted; the only Sentinel left names the dead one."""
    store = connect(trio.url, timeout=1)
    await store.time_ms()
    dead = trio.primary()
    for server in (trio.sentinels[0], trio.sentinels[1], dead):
        server.kill()
    with pytest.raises(StoreUnavailable):  # the connection is found closed
        await store.time_ms()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=rf"{SERVICE} cannot be reached: .*127\.0\.0\.1', {dead.port}"):
            await store.time_ms()


async def test_one_server_named_as_a_cluster_is_told(valkey: Server, cluster: Cluster, connect: Connect) -> None:
    """And the other way round: each would otherwise fail in words of the protocol."""
    with pytest.raises(StoreRefused, match="cluster support disabled"):
        await connect(valkey.url.replace("redis://", "redis+cluster://")).time_ms()
    away = next(node for node in cluster.primaries() if node is not cluster.primary_of(STATUS))
    with pytest.raises(StoreRefused, match=r"redis\+cluster://"):
        await connect(away.url).get(STATUS)


async def test_waiting_on_several_slots_brings_the_first_and_loses_none(cluster: Cluster, connect: Connect) -> None:
    """The logs of the exchanges are on three nodes; following them must not wait for the quiet ones."""
    store = connect(cluster.url, timeout=1)
    after = dict.fromkeys(LOGS, "0-0")
    waiting = asyncio.create_task(store.wait_entries(after, block=10))
    for n in range(20):
        await store.append(LOGS[n % 4], {"n": str(n)}, min_id=None)
    found: list[str] = []
    while len(found) < 20:
        arrived = await waiting
        assert arrived, f"only {found} came"
        for key, entries in arrived.items():
            after[key] = entries[-1].id
            found += [entry.fields["n"] for entry in entries]
        waiting = asyncio.create_task(store.wait_entries(after, block=1))
    assert sorted(map(int, found)) == list(range(20))
    assert await waiting == {}
    waiting = asyncio.create_task(store.wait_entries(after, block=60))
    await store.append(LOGS[0], {"n": "last"}, min_id=None)
    async with asyncio.timeout(20):  # not as long as the quiet ones are waited for
        assert list(await waiting) == [LOGS[0]]


async def test_nodes_can_be_asked_one_by_one(cluster: Cluster, trio: SentinelTrio, connect: Connect) -> None:
    """What `perseus doctor` looks at: every server, by its address and role."""
    store = connect(cluster.url)
    nodes = await store.nodes()
    assert [node.role for node in nodes] == ["primary"] * 3 + ["replica"] * 3
    for node in nodes:
        info = await store.at(node).info("server", "replication")
        assert info["tcp_port"] == node.name.rpartition(":")[2]
        assert info["role"] == ("master" if node.role == "primary" else "slave")
        assert await store.at(node).time_ms() > 0
    (primary,) = [node for node in await connect(trio.url).nodes() if node.role == "primary"]
    assert primary.name == f"127.0.0.1:{trio.primary().port}"


async def test_finding_of_one_node_names_it(cluster: Cluster, trio: SentinelTrio, connect: Connect) -> None:
    """Two nodes out of three set well are not enough; what is true of all is said once."""
    store = connect(cluster.url)
    wrong = cluster.primary_of(STATUS)
    wrong.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        findings = await check_store(store, clock=SystemClock(), timing=LeaseTiming(15, 45), replicas=0)
    finally:
        wrong.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    (refused,) = [finding for finding in findings if finding.severity is Severity.REFUSE]
    assert refused.nodes == (f"127.0.0.1:{wrong.port}",)
    assert "evicts" in refused.says
    assert len([finding for finding in findings if finding.name == "version"]) == 1
    behind = await check_store(connect(trio.url), clock=SystemClock(), timing=LeaseTiming(15, 45), replicas=0)
    assert not [finding for finding in behind if finding.severity is Severity.REFUSE]


async def test_node_that_is_away_is_a_finding_not_the_end(cluster: Cluster, connect: Connect) -> None:
    """An instance whose own slots are served must be able to start."""
    store = connect(cluster.url, timeout=1)
    dead = cluster.primary_of(STATUS)
    await store.nodes()
    dead.kill()
    findings = await check_store(store, clock=SystemClock(), timing=LeaseTiming(15, 45), replicas=0)
    assert any(f"127.0.0.1:{dead.port}" in finding.text for finding in findings)


async def test_wrong_credentials_of_a_node_are_denied(start_server: StartServer, connect: Connect) -> None:
    """Of whatever node was asked: waiting will not help."""
    server = start_server(password="secret", config={"cluster-enabled": "yes", "cluster-port": str(free_port())})
    for credentials in ("", ":wrong-secret@"):
        url = f"redis+cluster://{credentials}127.0.0.1:{server.port}"
        with pytest.raises(StoreDenied) as caught:
            await connect(url).time_ms()
        assert "wrong-secret" not in str(caught.value)


async def test_wrong_credentials_of_a_sentinel_are_denied(start_server: StartServer, connect: Connect) -> None:
    """They are other ones than the servers', and the message must say which."""
    sentinel = start_server(password="secret", as_sentinel=True)
    for option in ("", "?sentinel_password=wrong-secret"):
        store = connect(f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}{option}")
        with pytest.raises(StoreDenied, match=rf"Sentinel 127.0.0.1:{sentinel.port}.*sentinel_password") as caught:
            await store.time_ms()
        assert "wrong-secret" not in str(caught.value)
