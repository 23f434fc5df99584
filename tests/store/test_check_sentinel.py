"""What is found out about Sentinels: how many, of one mind, in touch, and quick enough."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from perseus.timing import LeaseTiming
from tests.store.checking import ENDS_WITHIN_S, OK, UNKNOWN, WARN, bad, follow, looked_at
from tests.support.sentinel import SERVICE, SentinelTrio
from tests.support.waiting import wait_until, wait_until_async


@pytest.fixture
def trio(trio: SentinelTrio) -> Iterator[SentinelTrio]:
    """The shared trio; what a test sets is unset."""
    yield trio
    for sentinel in trio.sentinels:
        sentinel.resume()
        sentinel.call("SENTINEL", "SET", SERVICE, "down-after-milliseconds", 700)


async def test_whole_trio_has_no_fault(trio: SentinelTrio) -> None:
    """With both replicas found and asked for their time."""
    found = await looked_at(trio.url, replicas=2)
    assert bad(found) == {}
    assert {"sentinels", "agreement", "number", "quorum", "failover", "replica clocks"} <= set(found)
    assert bad(await looked_at(trio.url)) == {"replicas": WARN}


async def test_slow_failover_is_a_warning_whose_fix_repairs_it(trio: SentinelTrio) -> None:
    """The default of 30 s is longer than instances go on without the store."""
    for sentinel in trio.sentinels:
        sentinel.call("SENTINEL", "SET", SERVICE, "down-after-milliseconds", 30_000)
    failover = (await looked_at(trio.url))["failover"]
    assert (failover.severity, "25.5 s" in failover.says) == (WARN, True)
    assert (await looked_at(trio.url, timing=LeaseTiming(20, 90)))["failover"].severity is OK
    follow(failover.fix, *trio.sentinels)
    assert (await looked_at(trio.url))["failover"].severity is OK


async def test_lost_quorum_is_a_warning(trio: SentinelTrio) -> None:
    """The primary works, and nobody would replace it. Frozen Sentinels hold nothing up."""
    for sentinel in trio.sentinels[1:]:
        sentinel.pause()

    def is_lost() -> bool:
        about = trio.sentinels[0].call("SENTINEL", "SENTINELS", SERVICE)
        return all(b"s_down" in dict(zip(each[::2], each[1::2], strict=True))[b"flags"] for each in about)

    wait_until(is_lost, description="the others are missed", timeout=20)
    async with asyncio.timeout(ENDS_WITHIN_S):
        found = await looked_at(trio.url, replicas=1)
    assert bad(found) == {"sentinels": WARN, "quorum": WARN}
    assert all(str(each.port) in found["sentinels"].says for each in trio.sentinels[1:])
    for sentinel in trio.sentinels[1:]:
        sentinel.resume()

    async def is_whole() -> bool:
        return bad(await looked_at(trio.url, replicas=1)) == {}

    await wait_until_async(is_whole, description="it is whole again")


async def test_sentinels_that_disagree_are_a_warning_whose_fix_repairs_it(trio: SentinelTrio) -> None:
    """An instance that asks the odd one alone would go to a server that has been replaced."""
    odd, primary = trio.sentinels[2], trio.primary()
    replica = next(server for server in trio.servers if server is not primary)
    odd.call("SENTINEL", "REMOVE", SERVICE)
    odd.call("SENTINEL", "MONITOR", SERVICE, "127.0.0.2", replica.port, 2)
    agreement = (await looked_at(trio.url))["agreement"]
    assert agreement.severity is WARN
    assert f"127.0.0.1:{odd.port} names 127.0.0.2:{replica.port}" in agreement.says
    told = agreement.fix.replace("HOST PORT QUORUM", f"127.0.0.1 {primary.port} 2")
    follow(told, odd)
    assert (await looked_at(trio.url))["agreement"].severity is OK
    odd.call("SENTINEL", "SET", SERVICE, "down-after-milliseconds", 700)
    trio.wait_until_whole()


async def test_single_name_in_the_url_is_a_warning(trio: SentinelTrio) -> None:
    """There are three, but we would ask only one."""
    url = f"redis+sentinel://127.0.0.1:{trio.sentinels[0].port}/{SERVICE}"
    number = (await looked_at(url))["number"]
    assert (number.severity, "one of 3" in number.says) == (WARN, True)


async def test_too_few_sentinels_are_a_warning(trio: SentinelTrio) -> None:
    """When one dies with the primary, there must be a majority left."""
    odd, primary = trio.sentinels[2], trio.primary()
    odd.call("SENTINEL", "REMOVE", SERVICE)
    for sentinel in trio.sentinels[:2]:
        sentinel.call("SENTINEL", "RESET", SERVICE)
    hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in trio.sentinels[:2])

    async def are_two() -> bool:
        number = (await looked_at(f"redis+sentinel://{hosts}/{SERVICE}"))["number"]
        return number.severity is WARN and "There are 2 of them" in number.says

    await wait_until_async(are_two, description="the two have found each other")
    odd.call("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", primary.port, 2)
    odd.call("SENTINEL", "SET", SERVICE, "down-after-milliseconds", 700)
    trio.wait_until_whole()


async def test_what_sentinels_do_not_tell_us_is_unknown(trio: SentinelTrio) -> None:
    """A user that may only ask for the address is enough for instances."""
    for sentinel in trio.sentinels:
        sentinel.call("ACL", "SETUSER", "us", "on", ">secret", "+sentinel|get-master-addr-by-name", "+ping")
    url = f"{trio.url}?sentinel_username=us&sentinel_password=secret"
    try:
        found = await looked_at(url, replicas=1)
        assert bad(found) == {"number": UNKNOWN, "failover": UNKNOWN, "quorum": UNKNOWN}
    finally:
        for sentinel in trio.sentinels:
            sentinel.call("ACL", "DELUSER", "us")
