"""The claim script: one tenure begins, or the caller learns why not, and nothing else changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from perseus import keys
from perseus.store import Store
from tests.store.calls import EPOCH, LAST, STATUS, claim, claimed_epoch, json_at, keys_at, payload, release, renew
from tests.support.servers import BINARIES, Server

RUNS_EVERYWHERE = True

StartServer = Callable[..., Server]
Connect = Callable[..., Store]


async def test_claim_writes_payload_epoch_and_ttl(store: Store, server: Server) -> None:
    """One script begins the tenure: a key without its TTL, or an epoch not stored, would outlive the holder."""
    reply = await claim(store, ttl_s=45)
    assert (reply.outcome, reply.rest[1]) == ("CLAIMED", b"")
    epoch = int(reply.rest[0])
    assert await json_at(store, STATUS) == {"epoch": epoch, **payload()}
    assert await store.get(EPOCH) == str(epoch).encode()
    assert 44_000 < server.call("PTTL", STATUS) <= 45_000
    assert abs(reply.server_us / 1000 - await store.time_ms()) < 5_000
    assert reply.server_id.encode() in server.call("INFO", "replication")


async def test_repeated_claim_keeps_the_epoch_and_extends_the_ttl(store: Store, server: Server) -> None:
    """A lost reply makes the client ask again: that must not raise the epoch or fail on our own value."""
    epoch = await claimed_epoch(store)
    server.call("PEXPIRE", STATUS, 5_000)
    before = await store.get(STATUS)
    assert await claimed_epoch(store) == epoch
    assert await store.get(STATUS) == before
    assert server.call("PTTL", STATUS) > 44_000


async def test_epoch_rises_with_each_tenure(store: Store, server: Server) -> None:
    """The epoch is the fencing token: an equal or lower one lets a dead holder's write through."""
    epochs = []
    for n in range(5):
        epochs.append(await claimed_epoch(store, f"c{n}", f"i{n}"))
        server.call("DEL", STATUS)
    assert epochs == sorted(set(epochs))


@pytest.mark.parametrize("ahead_us", [0, 10**13])
async def test_epoch_is_above_what_is_stored_even_with_a_clock_set_back(
    store: Store, server: Server, ahead_us: int
) -> None:
    """A server clock set back must not bring a lower epoch."""
    stored = round(await store.time_ms()) * 1000 + ahead_us
    server.call("SET", EPOCH, stored)
    epoch = await claimed_epoch(store)
    assert epoch == stored + 1 if ahead_us else epoch > stored


async def test_epoch_is_above_the_floor_after_the_store_lost_everything(store: Store) -> None:
    """The claimer may know of a higher epoch than a store that came back empty."""
    floor = round(await store.time_ms()) * 1000 + 10**12
    assert await claimed_epoch(store, floor=floor) == floor + 1


async def test_epoch_keeps_all_sixteen_digits(store: Store) -> None:
    """Lua's own number formatting writes 1.78e+15: two epochs would become one."""
    floor = 1_795_378_173_828_123
    floor = max(floor, round(await store.time_ms()) * 1000 + 10**9) | 1
    assert await claimed_epoch(store, floor=floor) == floor + 1
    assert await store.get(EPOCH) == str(floor + 1).encode()


async def test_another_instance_is_told_who_holds_it(store: Store) -> None:
    """LOCK-04: the loser needs the holder's payload and the remaining TTL; nothing may change for the holder."""
    await claimed_epoch(store, "c1", "i1")
    before = await store.get(STATUS)
    reply = await claim(store, "c2", "i2")
    assert reply.outcome == "HELD"
    assert reply.rest[0] == before == await store.get(STATUS)
    assert 44_000 < int(reply.rest[1]) <= 45_000


async def test_eight_claimers_at_once_get_one_holder(store: Store) -> None:
    """LOCK-02: however close together, exactly one wins."""
    replies = await asyncio.gather(*(claim(store, f"c{n}", f"i{n}") for n in range(8)))
    assert sorted(reply.outcome for reply in replies) == ["CLAIMED"] + ["HELD"] * 7
    winner = next(n for n, reply in enumerate(replies) if reply.outcome == "CLAIMED")
    status = await json_at(store, STATUS)
    assert status is not None
    assert status["claimId"] == f"c{winner}"


async def test_own_instance_may_claim_anew_with_a_higher_epoch(store: Store) -> None:
    """Starting again raises the epoch first, without giving the exchange away in between."""
    first = await claimed_epoch(store, "c1", "i1")
    assert await claimed_epoch(store, "c2", "i1", replaces=await store.get(STATUS) or b"") > first
    status = await json_at(store, STATUS)
    assert status is not None
    assert status["claimId"] == "c2"


@pytest.mark.foreign_keys
async def test_foreign_payload_without_instance_id_or_ttl_is_a_holder(store: Store, server: Server) -> None:
    """Other programs of the network write the key too; their lease is as good as ours."""
    foreign = json.dumps({"exchangeName": "binance", "exchangeId": 2})
    server.call("SET", STATUS, foreign)
    reply = await claim(store)
    assert (reply.outcome, reply.rest) == ("HELD", [foreign.encode(), b"-1"])


async def test_claim_returns_the_snapshot_of_the_tenure_before(store: Store) -> None:
    """Whoever claims next records a loss from it, and keeps what an admin desired."""
    await claimed_epoch(store)
    await release(store)
    reply = await claim(store, "c2", "i2")
    assert reply.outcome == "CLAIMED"
    assert json.loads(reply.rest[1])["connectionState"] == "stopped"


@pytest.mark.parametrize("key", [STATUS, LAST])
async def test_claim_of_an_id_with_another_name_is_refused(store: Store, server: Server, key: str) -> None:
    """Two databases gave one id to two exchanges: serving either would overwrite the other."""
    other = json.dumps({"exchangeName": "kraken"})
    server.call("SET", key, other, "EX", 60)
    reply = await claim(store)
    assert (reply.outcome, reply.rest) == ("MISNAMED", [key.encode(), other.encode()])
    assert await store.get(EPOCH) is None


@pytest.mark.parametrize("key", [STATUS, LAST])
@pytest.mark.parametrize("value", ["", "not JSON", "[]", '[{"exchangeName":"binance"}]', "null", "7", '"text"', "{"])
async def test_value_that_is_no_json_object_is_unreadable_and_stays(
    store: Store, server: Server, key: str, value: str
) -> None:
    """What we cannot read may be someone's lease: never overwritten, never taken for absent."""
    server.call("SET", key, value, "EX", 60)
    reply = await claim(store)
    assert (reply.outcome, reply.rest) == ("UNREADABLE", [key.encode(), b"not a JSON object"])
    assert await store.get(key) == value.encode()
    assert await store.get(EPOCH) is None


@pytest.mark.foreign_keys
@pytest.mark.parametrize("key", [STATUS, EPOCH, LAST])
async def test_key_of_another_type_is_unreadable_and_stays(store: Store, server: Server, key: str) -> None:
    """A list at our key is somebody else's data."""
    server.call("RPUSH", key, "theirs")
    reply = await claim(store)
    assert (reply.outcome, reply.rest[0]) == ("UNREADABLE", key.encode())
    assert b"WRONGTYPE" in reply.rest[1]
    assert keys_at(server) == [key]


@pytest.mark.parametrize("value", ["abc", "1.5", "-3", " 7", "1e15", "", "9007199254740993", "99999999999999999999"])
async def test_epoch_that_is_no_usable_integer_is_reported(store: Store, server: Server, value: str) -> None:
    """Overwriting it could lower the epoch; past 2^53 Lua would round it."""
    server.call("SET", EPOCH, value)
    reply = await claim(store)
    assert (reply.outcome, reply.rest[0]) == ("UNREADABLE", EPOCH.encode())
    assert keys_at(server) == [EPOCH]
    assert await store.get(EPOCH) == value.encode()


async def test_fresh_server_settles_before_anyone_claims(store: Store, server: Server) -> None:
    """A restarted server may have lost a lease that still runs; once up long enough it cannot have."""
    long_ago = 10**8  # no server of a test has been up for that long
    reply = await claim(store, least_s=long_ago)
    assert reply.outcome == "SETTLING"
    assert long_ago - 10**6 < int(reply.rest[0]) <= long_ago + 4, "a server that took over is given 4 s more"
    assert keys_at(server) == []
    assert (await claim(store, least_s=0)).outcome == "CLAIMED"
    assert (await claim(store, least_s=long_ago)).outcome == "CLAIMED"  # our own claim's retry
    assert (await claim(store, "c2", "i2", least_s=long_ago)).outcome == "HELD"
    held = await store.get(STATUS) or b""
    assert (await claim(store, "c3", replaces=held, least_s=long_ago)).outcome == "SETTLING"
    assert (await claim(store, "c3", replaces=held)).outcome == "CLAIMED"


@pytest.mark.parametrize("kind", sorted(BINARIES))
async def test_without_the_right_to_ask_info_the_server_counts_as_fresh(
    start_server: StartServer, kind: str, connect: Connect
) -> None:
    """Managed stores deny INFO: the claim must still work, and must not take silence for a long uptime."""
    server = start_server(kind, acl=["holder on >secret ~* &* +@all -info"])
    store = connect(server.url_for("holder", "secret"))
    reply = await claim(store, least_s=46)
    assert (reply.outcome, reply.settled_s, reply.server_id, reply.rest) == ("SETTLING", -1, "", [b"46"])
    assert (await claim(store)).outcome == "CLAIMED"


@pytest.mark.parametrize("kind", sorted(BINARIES))
async def test_clock_set_back_does_not_make_a_server_look_old(
    start_server: StartServer, kind: str, connect: Connect
) -> None:
    """Servers compute uptime from wall time; a negative one says nothing."""
    server = start_server(kind, steppable=True)
    server.step_clock(-3600)
    store = connect(server.url)
    assert (await claim(store, least_s=46)).outcome == "SETTLING"


async def test_claim_touches_only_declared_keys_of_one_slot(store: Store, server: Server) -> None:
    """On a Cluster a script may touch one slot only."""
    await claimed_epoch(store)
    await release(store)
    await claimed_epoch(store, "c2")
    assert keys_at(server) == sorted([STATUS, EPOCH, LAST])
    assert {keys.epoch(2).split("}")[0], keys.last(2).split("}")[0]} == {"{" + STATUS}


async def test_late_copy_of_a_claim_does_not_replace_the_tenure_after_it(store: Store) -> None:
    """A request can be delivered twice, the second time late: it must not end a tenure that began meanwhile."""
    await claimed_epoch(store, "c1", "i1")
    await claimed_epoch(store, "c2", "i1", replaces=await store.get(STATUS) or b"")
    late = await claim(store, "c1", "i1")
    assert late.outcome == "HELD"
    assert json.loads(await store.get(STATUS) or b"")["claimId"] == "c2"


async def test_late_copy_of_a_claim_does_not_bring_back_a_released_lease(store: Store, server: Server) -> None:
    """After a release the exchange must be free at once, not held by a ghost for a TTL."""
    await claimed_epoch(store, "c1")
    await renew(store, "c1")
    await release(store, "c1")
    assert (await claim(store, "c1")).outcome == "OVER"
    assert STATUS not in keys_at(server)


async def test_claim_refuses_an_epoch_that_would_not_stay_exact(store: Store, server: Server) -> None:
    """Beyond 2^53 two epochs could compare equal; one absurd floor must not brick the exchange for ever."""
    reply = await claim(store, floor=2**53)
    assert (reply.outcome, reply.rest[0]) == ("UNREADABLE", EPOCH.encode())
    assert keys_at(server) == []


async def test_claim_on_what_was_seen_before_another_tenure_is_refused(store: Store, server: Server) -> None:
    """A claimer held up between its look and its claim does not know of a tenure in between, whose key may be gone."""
    seen = await claimed_epoch(store)
    await claimed_epoch(store, "c2", replaces=server.call("GET", STATUS))
    server.call("DEL", STATUS)
    reply = await claim(store, "c3", "i3", seen=str(seen))
    assert (reply.outcome, server.call("EXISTS", STATUS)) == ("CHANGED", 0)
