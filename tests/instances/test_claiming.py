"""Claims that replicas must confirm: what was not confirmed is given back, and does not come back to haunt the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from perseus.clock import StoreTime, SystemClock
from perseus.errors import ExchangeClaimed, NotReplicated
from perseus.instances.claiming import Claiming
from perseus.lease import Claimer
from perseus.store import Store
from tests.support.instances import BINANCE, DURABLE, EPOCH, STATUS, TIMING, payload, status_in, take_over
from tests.support.servers import Server
from tests.support.waiting import wait_until, wait_until_async

StartServer = Callable[..., Server]
Connect = Callable[..., Store]


@pytest.fixture
def replicated(start_server: StartServer) -> tuple[Server, Server]:
    """A server and its replica, which is frozen: it confirms nothing until it is resumed."""
    primary, replica = start_server(config={"repl-diskless-sync-delay": "0", **DURABLE}), start_server()
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    wait_until(lambda: replica.call("ROLE")[3] == b"connected", description="the replica is in sync")
    replica.pause()
    return primary, replica


def claiming_at(store: Store) -> Claiming:
    """What claims for an instance that waits for one replica."""
    clock = SystemClock()
    return Claiming(
        store=store,
        clock=clock,
        store_time=StoreTime(clock),
        exchange=BINANCE,
        instance_id="i1",
        timing=TIMING,
        lock_file=None,
        store_is_local=False,
        replicas=1,
    )


async def test_claim_that_was_given_back_is_never_made_again(
    replicated: tuple[Server, Server], connect: Connect
) -> None:
    """A late copy of the giving back would end the claim that came after it, under its living holder."""
    primary, replica = replicated
    claiming = claiming_at(connect(primary.url))
    task = asyncio.create_task(claiming.claim(payload(instance_id="i1"), patient=True, own_deadline=float("inf")))
    unconfirmed: set[str | None] = set()

    def has_made_two() -> bool:
        status = status_in(primary)
        unconfirmed.update({status.claim_id} if status else ())
        return len(unconfirmed) >= 2

    await wait_until_async(has_made_two, description="it has claimed twice in vain", every=0.01)
    replica.resume()
    claimed = await task
    assert int(primary.call("GET", EPOCH)) == claimed.lease.epoch
    status = status_in(primary)
    assert status is not None
    assert status.claim_id == claimed.lease.claim_id


async def test_claim_cancelled_in_the_middle_is_given_back(replicated: tuple[Server, Server], connect: Connect) -> None:
    """Nobody serves it: without that the exchange would stay claimed for a TTL."""
    primary, _ = replicated
    claiming = claiming_at(connect(primary.url))
    task = asyncio.create_task(claiming.claim(payload(instance_id="i1"), patient=True, own_deadline=float("inf")))
    await wait_until_async(lambda: status_in(primary), description="it waits for the replica", every=0.005)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert primary.call("GET", STATUS) is None


async def test_unconfirmed_claim_was_no_tenure(replicated: tuple[Server, Server], connect: Connect) -> None:
    """A holder of a lower epoch is no relic of a store gone back: whoever comes second is told who holds it."""
    primary, _ = replicated
    clock = SystemClock()
    claimer = Claimer(
        connect(primary.url),
        clock=clock,
        store_time=StoreTime(clock),
        exchange=BINANCE,
        instance_id="i1",
        replicas=1,
    )
    with pytest.raises(NotReplicated):
        await claimer.claim(payload(instance_id="i1"), timing=TIMING, must_settle=False)
    take_over(primary, payload(epoch=5))
    with pytest.raises(ExchangeClaimed):
        await claimer.claim(payload(instance_id="i1"), timing=TIMING, must_settle=False)
