"""The claim script on a server that took over from another: it may have lost a lease that still runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from perseus.store import Store
from tests.store.calls import EPOCH, PRIMARY, claim, claimed_epoch
from tests.support.servers import BINARIES, Server
from tests.support.waiting import wait_until

StartServer = Callable[..., Server]
Connect = Callable[..., Store]


@pytest.fixture(params=sorted(BINARIES))
def promoted(start_server: StartServer, request: pytest.FixtureRequest) -> Server:
    """A server that was a replica until now, whose uptime says nothing of that."""
    config = {"repl-diskless-sync-delay": "0"}
    primary, replica = start_server(request.param, config=config), start_server(request.param)
    primary.call("SET", EPOCH, "7")
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    wait_until(lambda: replica.call("GET", EPOCH) == b"7", description="the replica has its data")
    primary.kill()
    replica.call("REPLICAOF", "NO", "ONE")
    return replica


async def test_promoted_server_settles_from_when_it_was_first_met(promoted: Server, connect: Connect) -> None:
    """Nothing tells when it was promoted; and in a planned failover the old primary goes on for some seconds."""
    store = connect(promoted.url)
    wait_until(lambda: uptime_s(promoted) >= 2, description="its uptime would be enough")
    first = await claim(store, least_s=2)
    assert (first.outcome, first.settled_s, first.rest) == ("SETTLING", 0, [b"6"])
    assert promoted.all_keys() == sorted([EPOCH, PRIMARY])
    assert promoted.call("TTL", PRIMARY) > 89 * 86_400
    promoted.call("SET", PRIMARY, f"{first.server_id} {first.server_us - 6_000_000}", "EX", 1000)
    assert (await claim(store, least_s=2)).outcome == "CLAIMED"


async def test_note_of_another_primary_counts_for_nothing(promoted: Server, connect: Connect) -> None:
    """A second failover loses leases as well as the first."""
    store = connect(promoted.url)
    promoted.call("SET", PRIMARY, f"{'0' * 39}1 1000000", "EX", 1000)
    assert (await claim(store, least_s=2)).rest == [b"6"]
    assert promoted.call("GET", PRIMARY).partition(b" ")[0] in promoted.call("INFO", "replication")


async def test_note_from_the_future_is_made_anew(promoted: Server, connect: Connect) -> None:
    """After the clock was set back by an hour, nobody could claim for an hour."""
    store = connect(promoted.url)
    first = await claim(store, least_s=2)
    promoted.call("SET", PRIMARY, f"{first.server_id} {first.server_us + 3_600_000_000}", "EX", 1000)
    assert (await claim(store, least_s=2)).rest == [b"6"]
    noted = int(promoted.call("GET", PRIMARY).partition(b" ")[2])
    assert noted < first.server_us + 60_000_000


async def test_append_only_file_is_no_help_after_a_promotion(promoted: Server, connect: Connect) -> None:
    """What the old primary had on its disk never reached this one."""
    assert (await claim(connect(promoted.url), least_s=10**6, is_durable=True)).outcome == "SETTLING"


async def test_restart_that_loses_nothing_needs_no_wait(store: Store) -> None:
    """With `appendfsync always` every confirmed lease is there again."""
    assert (await claim(store, least_s=10**6, is_durable=True)).outcome == "CLAIMED"


async def test_note_is_made_by_a_refused_claim_too(promoted: Server, connect: Connect) -> None:
    """Who is refused by a living holder starts the clock for whoever takes over from it."""
    store = connect(promoted.url)
    await claimed_epoch(store)
    promoted.call("DEL", PRIMARY)
    assert (await claim(store, "c2", "i2", least_s=2)).outcome == "HELD"
    assert PRIMARY in promoted.all_keys()


@pytest.mark.foreign_keys
async def test_foreign_value_where_the_note_belongs_is_left_alone(promoted: Server, connect: Connect) -> None:
    """It cannot be read, so the server counts as one that does not tell."""
    promoted.call("RPUSH", PRIMARY, "theirs")
    reply = await claim(connect(promoted.url), least_s=2)
    assert (reply.outcome, reply.settled_s) == ("SETTLING", -1)
    assert promoted.call("LRANGE", PRIMARY, 0, -1) == [b"theirs"]


async def test_server_that_was_always_the_primary_makes_no_note(store: Store, server: Server) -> None:
    """Its uptime tells; a key more would tell nothing."""
    await claim(store, least_s=1)
    assert PRIMARY not in server.all_keys()


def uptime_s(server: Server) -> int:
    """For how long the server is up, by its own account."""
    (line,) = [line for line in server.call("INFO", "server").splitlines() if line.startswith(b"uptime_in_seconds:")]
    return int(line.partition(b":")[2])
