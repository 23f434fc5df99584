"""What is found out about replicas: how many, what they must confirm, their clocks, and whether they let us in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from perseus.timing import LeaseTiming
from tests.store.checking import DOWN, ENDS_WITHIN_S, OK, REFUSE, UNKNOWN, WARN, bad, follow, looked_at
from tests.support.servers import Server
from tests.support.waiting import wait_until

StartServer = Callable[..., Server]
RIGHTS = "~{exchange:*:status}:* ~exchange:*:status ~logs:network:* &* +@all"


def replicate(primary: Server, *replicas: Server) -> None:
    """Make them its replicas; return once it counts them as in sync."""
    for replica in replicas:
        replica.call("REPLICAOF", "127.0.0.1", primary.port)
    wait_until(
        lambda: primary.call("INFO", "replication").count(b"state=online") == len(replicas),
        description="the replicas are in sync",
    )


@pytest.fixture
def start_quick(start_server: StartServer) -> StartServer:
    """A server that does not wait for further replicas before it sends one its data."""
    return lambda kind="valkey9", **properties: start_server(
        kind, config={"repl-diskless-sync-delay": "0"} | properties.pop("config", {}), **properties
    )


@pytest.mark.parametrize("kind", ["valkey9", "redis7"])
async def test_replicas_nobody_waits_for_are_a_warning(start_quick: StartServer, kind: str) -> None:
    """A failover may then forget a claim that was answered: what people who were burnt by Redis locks met."""
    primary, *replicas = (start_quick(kind) for _ in range(3))
    replicate(primary, *replicas)
    found = await looked_at(primary.url)
    assert bad(found) == {"replicas": WARN}
    assert found["replicas"].says.startswith("2 replicas are connected, but nothing waits")
    assert found["replica clocks"].severity is OK
    _, _, wanted = found["replicas"].fix.partition("STORE_WAIT_REPLICAS=")
    assert bad(await looked_at(primary.url, replicas=int(wanted[0]))) == {}
    primary.call("CONFIG", "SET", "min-replicas-to-write", 1)
    assert bad(await looked_at(primary.url)) == {}


async def test_what_waiting_for_replicas_survives_is_said(start_quick: StartServer) -> None:
    """For one of two it depends on which of them is promoted."""
    primary, *replicas = (start_quick() for _ in range(3))
    replicate(primary, *replicas)
    assert "failover to another" in (await looked_at(primary.url, replicas=1))["replicas"].says
    assert "whichever is promoted" in (await looked_at(primary.url, replicas=2))["replicas"].says
    too_many = (await looked_at(primary.url, replicas=3))["replicas"]
    assert too_many.severity is DOWN
    assert "STORE_WAIT_REPLICAS=2" in too_many.fix


async def test_too_few_replicas_to_take_writes_are_found(start_quick: StartServer) -> None:
    """NOREPLICAS to every claim and renewal."""
    primary, replica = start_quick(config={"min-replicas-to-write": "2"}), start_quick()
    replicate(primary, replica)
    writes = (await looked_at(primary.url))["writes"]
    assert (writes.severity, "1 of at least 2" in writes.says) == (DOWN, True)
    follow(writes.fix, primary)
    assert "writes" not in await looked_at(primary.url)


@pytest.mark.parametrize("seconds", [5, -5])
async def test_replica_with_another_time_is_a_warning(start_quick: StartServer, seconds: int) -> None:
    """Expiry is wall time: promoted, it would end a lease that its holder still believes in."""
    primary, replica = start_quick(), start_quick(steppable=True)
    replicate(primary, replica)
    replica.step_clock(seconds)
    clocks = (await looked_at(primary.url))["replica clocks"]
    assert clocks.severity is WARN
    assert f"5.0 s {'ahead' if seconds > 0 else 'behind'}" in clocks.says
    assert f"127.0.0.1:{replica.port}" in clocks.says
    # Half of this lease's margin is more than that
    assert (await looked_at(primary.url, timing=LeaseTiming(40, 120)))["replica clocks"].severity is OK
    replica.step_clock(0)
    assert (await looked_at(primary.url))["replica clocks"].severity is OK


async def test_replica_that_does_not_answer_is_unknown_and_soon_given_up(start_quick: StartServer) -> None:
    """Nobody can say what time it has; saying `ok` would be a lie, and waiting for it no help."""
    primary, *replicas = (start_quick() for _ in range(3))
    replicate(primary, *replicas)
    for replica in replicas:
        replica.pause()
    async with asyncio.timeout(ENDS_WITHIN_S):
        found = await looked_at(primary.url, replicas=1)
    assert found["replica clocks"].severity is UNKNOWN
    assert str(replicas[0].port) in found["replica clocks"].says
    for replica in replicas:
        replica.resume()


async def test_replica_without_our_user_is_found_before_the_failover(start_quick: StartServer) -> None:
    """Users are not replicated: after a failover every instance would be locked out."""
    primary, replica = start_quick(acl=[f"us on >secret {RIGHTS}"]), start_quick()
    replicate(primary, replica)
    found = await looked_at(primary.url_for("us", "secret"), replicas=1)
    assert bad(found) == {"rights": WARN, "replica clocks": UNKNOWN}
    assert found["rights"].nodes == (f"127.0.0.1:{replica.port}",)
    (line,) = [line for line in primary.call("ACL", "LIST") if line.startswith(b"user us ")]
    replica.call("ACL", "SETUSER", *line.split()[1:])
    assert bad(await looked_at(primary.url_for("us", "secret"), replicas=1)) == {}


async def test_right_that_only_a_replica_lacks_is_a_warning_naming_it(start_quick: StartServer) -> None:
    """The same for a right that was added on the primary only."""
    primary = start_quick(acl=[f"us on >secret {RIGHTS}"])
    replica = start_quick(acl=[f"us on >secret {RIGHTS} -evalsha"])
    replicate(primary, replica)
    rights = (await looked_at(primary.url_for("us", "secret"), replicas=1))["rights"]
    assert (rights.severity, rights.nodes) == (WARN, (f"127.0.0.1:{replica.port}",))
    follow(rights.fix, replica)
    assert bad(await looked_at(primary.url_for("us", "secret"), replicas=1)) == {}


async def test_right_to_wait_is_needed_only_where_replicas_are_waited_for(start_quick: StartServer) -> None:
    """Nobody should grant what is not used."""
    primary, replica = (start_quick(acl=[f"us on >secret {RIGHTS} -wait"]) for _ in range(2))
    replicate(primary, replica)
    assert "rights" not in bad(await looked_at(primary.url_for("us", "secret")))
    rights = (await looked_at(primary.url_for("us", "secret"), replicas=1))["rights"]
    assert (rights.severity, "+wait" in rights.fix) == (REFUSE, True)
