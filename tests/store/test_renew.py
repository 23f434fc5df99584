"""Renew and release: one round trip each, nothing written unless the key is still ours."""

from __future__ import annotations

import json

import pytest

from perseus import keys
from perseus.store import Store
from tests.store.calls import LAST, STATUS, claim, claimed_epoch, json_at, payload, release, renew
from tests.support.servers import Server

RUNS_EVERYWHERE = True


async def test_renewal_writes_status_and_last_with_their_ttls(store: Store, server: Server) -> None:
    """HB-01: the same snapshot in both, so that cards can show a dead instance's last words."""
    await claimed_epoch(store)
    server.call("PEXPIRE", STATUS, 3_000)
    outcome, server_us = await renew(store, rev=2, connectionState="active")
    assert outcome == b"RENEWED"
    assert abs(int(server_us) / 1000 - await store.time_ms()) < 5_000
    assert await store.get(STATUS) == await store.get(LAST)
    assert await json_at(store, STATUS) == payload(rev=2, connectionState="active")
    assert server.call("PTTL", STATUS) > 44_000
    assert keys.LAST_TTL_S - 2 <= server.call("TTL", LAST) <= keys.LAST_TTL_S


@pytest.mark.parametrize("rev", [1, 4, 5])
async def test_older_or_repeated_write_changes_nothing(store: Store, server: Server, rev: int) -> None:
    """A delayed renewal must not bring back an older state, nor extend the lease."""
    await claimed_epoch(store)
    await renew(store, rev=5, connectionState="stopping")
    server.call("PEXPIRE", STATUS, 3_000)
    before = await store.get(STATUS)
    assert (await renew(store, rev=rev, connectionState="active"))[0] == b"SUPERSEDED"
    assert await store.get(STATUS) == await store.get(LAST) == before
    assert server.call("PTTL", STATUS) <= 3_000


async def test_lost_lease_is_not_renewed_and_names_the_holder(store: Store, server: Server) -> None:
    """Without the owner check a paused holder would take the exchange back from its successor."""
    await claimed_epoch(store, "c1", "i1")
    server.call("DEL", STATUS)
    await claimed_epoch(store, "c2", "i2")
    holder = await store.get(STATUS)
    outcome, _, found = await renew(store, "c1", rev=50)
    assert (outcome, found) == (b"LOST", holder)
    assert await store.get(STATUS) == holder
    assert await store.get(LAST) is None


async def test_missing_key_is_never_re_created(store: Store, server: Server) -> None:
    """The key's absence means someone else may have claimed and gone: only a claim brings it back, with a new epoch."""
    await claimed_epoch(store)
    server.call("DEL", STATUS)
    assert (await renew(store))[0] == b"MISSING"
    assert await store.get(STATUS) is None
    assert await store.get(LAST) is None


@pytest.mark.parametrize("value", ["not JSON", "[1]", "null", ""])
async def test_unreadable_status_is_neither_renewed_nor_released(store: Store, server: Server, value: str) -> None:
    """Whatever stands there is not our lease, and not ours to overwrite."""
    await claimed_epoch(store)
    server.call("SET", STATUS, value, "EX", 45)
    outcome, _, key, reason = await renew(store)
    assert (outcome, key, reason) == (b"UNREADABLE", STATUS.encode(), b"not a JSON object")
    assert await release(store) == [b"UNREADABLE", STATUS.encode(), b"not a JSON object"]
    assert await store.get(STATUS) == value.encode()
    assert await store.get(LAST) is None


@pytest.mark.foreign_keys
async def test_status_of_another_type_is_neither_renewed_nor_released(store: Store, server: Server) -> None:
    """A hash at our key is reported with its key, not raised as an error of the script."""
    server.call("HSET", STATUS, "their", "data")
    outcome, _, key, reason = await renew(store)
    assert (outcome, key) == (b"UNREADABLE", STATUS.encode())
    assert b"WRONGTYPE" in reason
    assert (await release(store))[:2] == [b"UNREADABLE", STATUS.encode()]
    assert server.all_keys() == [STATUS]


async def test_release_writes_the_final_snapshot_and_frees_the_exchange(store: Store, server: Server) -> None:
    """HB-04: the next claimer need not wait for the TTL, and cards know who stopped it."""
    await claimed_epoch(store)
    assert await release(store) == [b"RELEASED"]
    assert await store.get(STATUS) is None
    last = await json_at(store, LAST)
    assert last is not None
    assert last["connectionState"] == "stopped"
    assert keys.LAST_TTL_S - 2 <= server.call("TTL", LAST) <= keys.LAST_TTL_S
    assert (await claim(store, "c2", "i2")).outcome == "CLAIMED"


async def test_release_after_losing_the_lease_changes_nothing(store: Store, server: Server) -> None:
    """A late release must not delete the successor's key."""
    await claimed_epoch(store, "c1", "i1")
    server.call("DEL", STATUS)
    assert await release(store, "c1") == [b"MISSING"]
    await claimed_epoch(store, "c2", "i2")
    holder = await store.get(STATUS)
    assert await release(store, "c1") == [b"LOST", holder]
    assert await store.get(STATUS) == holder
    assert await store.get(LAST) is None


async def test_renewal_and_release_wake_those_who_wait(store: Store, server: Server) -> None:
    """Standbys and the web server hear of changes without polling; a refused write wakes nobody."""
    with server.client() as client, client.pubsub() as pubsub:
        pubsub.subscribe(keys.WAKE_CHANNEL)
        assert pubsub.get_message(timeout=5)["type"] == "subscribe"
        await claimed_epoch(store)
        await renew(store, rev=2)
        await renew(store, rev=2)  # superseded
        await release(store)
        await release(store)  # missing
        heard = [pubsub.get_message(timeout=5)["data"] for _ in range(2)]
        assert heard == [b"wake", b"wake"]
        assert pubsub.get_message(timeout=0.1) is None


async def test_payload_passes_through_unchanged(store: Store) -> None:
    """Encoding JSON in Lua turns 16-digit integers into 1.78e+15 and [] into {}."""
    await claimed_epoch(store)
    await renew(store, rev=2, big=1_795_378_173_828_123, failures=[], note='é "quoted" \\u0000')
    raw = await store.get(STATUS)
    assert raw is not None
    sent = payload(rev=2, big=1_795_378_173_828_123, failures=[], note='é "quoted" \\u0000')
    assert raw == json.dumps(sent).encode()
