"""What is found out about a Cluster: what is the same everywhere is said once, what is not names its nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from perseus import keys
from perseus.store.findings import Severity
from perseus.timing import LeaseTiming
from tests.store.checking import DOWN, ENDS_WITHIN_S, OK, REFUSE, UNKNOWN, WARN, bad, follow, looked_at
from tests.support.cluster import Cluster
from tests.support.servers import Server
from tests.support.waiting import wait_until, wait_until_async

STATUS = keys.status(2)


def name(server: Server) -> str:
    """As a node is called in findings."""
    return f"127.0.0.1:{server.port}"


@pytest.fixture
def cluster(cluster: Cluster) -> Iterator[Cluster]:
    """The shared Cluster; what a test sets is unset."""
    yield cluster
    cluster.repair()
    for node in cluster.nodes:
        for parameter, value in (("cluster-node-timeout", 1000), ("cluster-require-full-coverage", "yes")):
            node.call("CONFIG", "SET", parameter, value)


async def test_whole_cluster_has_no_fault_and_says_everything_once(cluster: Cluster) -> None:
    """Three times the same line would hide the one that differs."""
    found = await looked_at(cluster.url, replicas=1)
    assert bad(found) == {}
    assert not [finding for finding in found.values() if finding.nodes]
    assert {"cluster", "coverage", "slots", "spares", "replication", "failover", "replica clocks"} <= set(found)
    assert bad(await looked_at(cluster.url)) == {"replicas": WARN}
    assert cluster.all_keys() == []


async def test_fault_of_one_node_names_it_and_its_fix_repairs_it(cluster: Cluster) -> None:
    """The next person types the command there."""
    node = cluster.primary_of(STATUS)
    node.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    found = await looked_at(cluster.url, replicas=1)
    assert bad(found) == {"eviction": REFUSE}
    assert found["eviction"].nodes == (name(node),)
    assert found["eviction"].text.startswith(f"{name(node)}: ")
    follow(found["eviction"].fix, node)
    assert bad(await looked_at(cluster.url, replicas=1)) == {}


async def test_dead_shard_names_the_exchanges_it_stops(cluster: Cluster) -> None:
    """Both of its nodes are frozen: nobody can take over, and nothing hangs."""
    nodes = cluster.primary_of(STATUS), cluster.replica_of(STATUS)
    for node in nodes:
        node.pause()
    other = next(node for node in cluster.nodes if node not in nodes)
    wait_until(lambda: b"state:fail" in other.call("CLUSTER", "INFO"), description="the others count it as dead")
    async with asyncio.timeout(ENDS_WITHIN_S):
        found = await looked_at(cluster.url, replicas=1)
    assert (found["slots"].severity, found["cluster"].severity) == (DOWN, DOWN)
    assert "binance" in found["slots"].says
    assert found["server"].nodes == (name(nodes[0]),)
    for node in nodes:
        node.resume()
    cluster.wait_until_whole()
    assert bad(await looked_at(cluster.url, replicas=1)) == {}


@pytest.mark.parametrize(("required", "severity"), [("yes", DOWN), ("no", WARN)])
async def test_slots_of_nobody_are_found_until_they_have_an_owner(
    cluster: Cluster, required: str, severity: Severity
) -> None:
    """With cluster-require-full-coverage one slot stops all exchanges, without it those in it."""
    owner = cluster.primary_of(STATUS)
    slot = owner.call("CLUSTER", "KEYSLOT", STATUS)
    for node in cluster.nodes:
        node.call("CONFIG", "SET", "cluster-require-full-coverage", required)
    owner.call("CLUSTER", "DELSLOTS", slot)

    async def is_found() -> bool:
        return (await looked_at(cluster.url))["cluster"].severity is severity

    await wait_until_async(is_found, description=f"the missing slot is {severity}")
    found = await looked_at(cluster.url)
    assert "1 slots belong to no node" in found["cluster"].says
    assert (found["slots"].severity, "binance" in found["slots"].says) == (DOWN, True)
    for node in cluster.primaries():  # what `--cluster fix` does
        node.call("CLUSTER", "SETSLOT", slot, "NODE", owner.call("CLUSTER", "MYID"))
    cluster.wait_until_whole()
    assert (await looked_at(cluster.url))["cluster"].severity is OK


async def test_primary_without_a_replica_and_a_dead_replica_are_warnings(cluster: Cluster) -> None:
    """Its exchanges stop with it; and with a replica to wait for, they stop now."""
    primary, replica = cluster.primary_of(STATUS), cluster.replica_of(STATUS)
    replica.kill()

    async def is_alone() -> bool:
        return bad(await looked_at(cluster.url, replicas=1)).get("spares") is WARN

    await wait_until_async(is_alone, description="the primary has noticed")
    found = await looked_at(cluster.url, replicas=1)
    assert name(primary) in found["spares"].says
    assert (found["replicas"].severity, found["replicas"].nodes) == (DOWN, (name(primary),))


async def test_failover_later_than_the_deadline_is_a_warning(cluster: Cluster) -> None:
    """Every instance would have to stop, although the store is there again."""
    for node in cluster.nodes:
        node.call("CONFIG", "SET", "cluster-node-timeout", 15_000)
    assert (await looked_at(cluster.url))["failover"].severity is OK
    failover = (await looked_at(cluster.url, timing=LeaseTiming(5, 15)))["failover"]
    assert failover.severity is WARN
    follow(failover.fix, *cluster.nodes)
    assert (await looked_at(cluster.url, timing=LeaseTiming(5, 15)))["failover"].severity is OK


async def test_rights_that_only_a_cluster_needs_are_named(cluster: Cluster) -> None:
    """ASKING is needed while a slot is moved; whether the Cluster is whole is unknown without CLUSTER INFO."""
    for node in cluster.nodes:
        node.call("ACL", "SETUSER", "us", "on", ">secret", "allkeys", "&*", "+@all", "-asking", "-cluster|info")
    try:
        found = await looked_at(cluster.url_for("us", "secret"), replicas=1)
        assert bad(found) == {"rights": REFUSE, "cluster": UNKNOWN}
        for finding in (found["rights"], found["cluster"]):
            follow(finding.fix, *cluster.nodes)
        assert bad(await looked_at(cluster.url_for("us", "secret"), replicas=1)) == {}
    finally:
        for node in cluster.nodes:
            node.call("ACL", "DELUSER", "us")


async def test_cluster_that_may_serve_what_it_has_says_so(cluster: Cluster) -> None:
    """Then a dead shard stops its own exchanges only."""
    for node in cluster.nodes:
        node.call("CONFIG", "SET", "cluster-require-full-coverage", "no")
    assert "only the exchanges in it" in (await looked_at(cluster.url))["coverage"].says
    for node in cluster.nodes:
        node.call("CONFIG", "SET", "cluster-require-full-coverage", "yes")
    assert "every exchange" in (await looked_at(cluster.url))["coverage"].says
