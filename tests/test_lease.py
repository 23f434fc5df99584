"""The lease's two ends: what a holder may count on, what a reader can read. (Claims: instances/test_settling.py.)"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from perseus import keys, lease
from perseus.clock import StoreTime, SystemClock, iso
from perseus.errors import ExchangeClaimed, ExchangeMisnamed, UnreadableKey
from perseus.instances.identity import Identity, fresh_status
from perseus.lease import Claimer, Lease, decode_status, encode_status, succeeds
from perseus.model import ConnectionState, DesiredState, InstanceStatus, exchange_named
from perseus.store import Store
from perseus.timing import LeaseTiming
from tests.support.servers import Server

RUNS_EVERYWHERE = True

BINANCE = exchange_named("binance")
STATUS, LAST = keys.status(BINANCE.id), keys.last(BINANCE.id)
TIMING = LeaseTiming(15, 45)
REQUIRED: dict[str, Any] = {
    "exchangeId": 2,
    "exchangeName": "binance",
    "connectionState": "active",
    "connectedAt": "2026-02-10T14:02:11.000Z",
    "lastHeartbeat": "2026-02-10T14:02:11.000Z",
    "symbolCount": 312,
    "adminEmail": "ops@example.com",
    "adminDisplayName": "Ops",
    "ipAddress": "203.0.113.7",
    "hostname": "fra-2",
    "lastError": None,
}


def first_status(instance_id: str, claim_id: str) -> InstanceStatus:
    """What an instance claims with."""
    identity = Identity(hostname=f"host-of-{instance_id}", instance_id=instance_id)
    fresh = fresh_status(BINANCE, identity, TIMING, now=iso(1_795_378_000_000))
    return msgspec.structs.replace(fresh, claim_id=claim_id)


async def claimed(store: Store, instance_id: str = "i1", claim_id: str = "c1") -> Lease:
    """A lease, claimed at once."""
    clock = SystemClock()
    claimer = Claimer(store, clock=clock, store_time=StoreTime(clock), exchange=BINANCE, instance_id=instance_id)
    return (await claimer.claim(first_status(instance_id, claim_id), timing=TIMING, must_settle=False)).lease


@pytest.fixture
async def held(store: Store) -> Lease:
    """Binance, held by i1."""
    return await claimed(store)


def test_deadlines_count_from_the_sending_and_never_move_back() -> None:
    """A late answer, or answers in the wrong order, must not lengthen a tenure."""
    it = Lease(BINANCE, "i1", "c1", 7, sent_at=100.0, timing=TIMING)
    assert it.soft_deadline == 100 + 45 - TIMING.margin_s
    assert it.soft_deadline < it.hard_deadline < 100 + 45
    assert it.renewed(110.0).soft_deadline == it.soft_deadline + 10
    assert it.renewed(110.0).renewed(105.0).sent_at == 110.0


def test_payload_with_only_the_required_fields_is_readable() -> None:
    """Other programs of the network write it too, and ours of tomorrow adds to it."""
    status = decode_status(json.dumps(REQUIRED | {"fromTomorrow": {"a": 1}}).encode(), STATUS)
    assert (status.hostname, status.connection_state) == ("fra-2", ConnectionState.ACTIVE)
    assert (status.instance_id, status.epoch, status.ttl_ms) == (None, None, None)


def test_payload_survives_a_round_trip() -> None:
    """Every digit of an epoch, every null."""
    status = msgspec.structs.replace(
        first_status("i1", "c1"),
        epoch=1_795_378_173_828_123,
        last_error='é "quoted"\n',
        desired_state=DesiredState(state="stopped", by="ops@example.com", at=iso(0)),
    )
    assert decode_status(encode_status(status), STATUS) == status
    assert {"exchangeId", "lastHeartbeat", "claimId", "ttlMs"} <= json.loads(encode_status(status)).keys()


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"online", b"[]", b"null", b"{}", b"\xff\xfe", b'{"exchangeId":2', b"[" * 100_000),
        *(json.dumps(REQUIRED | wrong).encode() for wrong in ({"connectionState": "happy"}, {"symbolCount": "many"})),
        json.dumps({name: value for name, value in REQUIRED.items() if name != "hostname"}).encode(),
    ],
)
def test_anything_else_is_unreadable_with_the_reason(raw: bytes) -> None:
    """It is shown as unreadable, never taken for offline."""
    with pytest.raises(UnreadableKey, match=STATUS) as caught:
        decode_status(raw, STATUS)
    assert caught.value.reason
    assert succeeds(raw, Lease(BINANCE, "i1", "c1", 7, 0.0, TIMING)), "it may be a holder's"


@pytest.mark.parametrize(
    ("holder", "is_successor"),
    [
        ({"instanceId": "i2", "claimId": "c2", "epoch": 8}, True),
        ({"instanceId": "i2"}, True),
        ({"instanceId": "theirs", "epoch": 3}, True),
        ({}, True),
        ({"instanceId": "i2", "claimId": "c2", "epoch": 6}, False),
        ({"instanceId": "i1", "claimId": "c3", "epoch": 8}, False),
    ],
)
def test_only_a_later_tenure_of_another_takes_over(holder: dict[str, Any], is_successor: bool) -> None:
    """A store that came back with old data shows a tenure that is over: the living holder must not give way to it."""
    raw = json.dumps(REQUIRED | holder).encode()
    assert succeeds(raw, Lease(BINANCE, "i1", "c1", 7, 0.0, TIMING)) is is_successor


async def test_renewal_says_what_became_of_it(store: Store, held: Lease, valkey: Server) -> None:
    """Four outcomes, and only one of them extends anything."""
    status = msgspec.structs.replace(first_status("i1", "c1"), epoch=held.epoch, rev=2)

    async def outcome(**changes: Any) -> str:
        return (await lease.renew(store, held, msgspec.structs.replace(status, **changes), kind="heartbeat")).outcome

    assert await outcome() == "RENEWED"
    assert await outcome() == "SUPERSEDED"
    assert await outcome(rev=1) == "SUPERSEDED"
    valkey.call("DEL", STATUS)
    assert await outcome(rev=3) == "MISSING"
    await claimed(store, "i2", "c2")
    assert await outcome(rev=4) == "LOST"
    valkey.call("SET", STATUS, "theirs", "EX", 60)
    with pytest.raises(UnreadableKey):
        await outcome(rev=5)
    assert valkey.call("GET", STATUS) == b"theirs"


async def test_release_leaves_a_final_snapshot_and_only_its_own(store: Store, held: Lease, valkey: Server) -> None:
    """The next claimer need not wait; but a late release must not end another's tenure."""
    final = msgspec.structs.replace(first_status("i1", "c1"), epoch=held.epoch, rev=9)
    assert await lease.release(store, held, final, by="signal", store_ms=1_795_378_000_000)
    last = decode_status(valkey.call("GET", LAST), LAST)
    assert (last.released_by, last.released_at) == ("signal", iso(1_795_378_000_000))
    heir = await claimed(store, "i2", "c2")
    assert heir.epoch > held.epoch
    assert not await lease.release(store, held, final, by="signal", store_ms=1_795_378_000_000)
    assert json.loads(valkey.call("GET", STATUS))["instanceId"] == "i2"


async def test_claim_asked_again_is_one_tenure(store: Store, held: Lease) -> None:
    """LOCK-01: a lost answer is harmless."""
    again = await claimed(store)
    assert (again.epoch, again.claim_id) == (held.epoch, held.claim_id)


async def test_holder_is_named_to_whoever_comes_second(store: Store, valkey: Server) -> None:
    """LOCK-04: who, where, since when, for how long still, and what to do."""
    valkey.call("SET", STATUS, json.dumps(REQUIRED), "EX", 31)
    with pytest.raises(ExchangeClaimed) as caught:
        await claimed(store)
    said = str(caught.value)
    for fact in ("binance", "fra-2", "203.0.113.7", "ops@example.com", "2026-02-10T14:02:11.000Z", "3"):
        assert fact in said
    assert caught.value.status.hostname == "fra-2"
    assert 29_000 < (caught.value.ttl_ms or 0) <= 31_000


@pytest.mark.parametrize("key", [STATUS, LAST])
async def test_id_of_another_exchange_is_refused_with_both_names(store: Store, valkey: Server, key: str) -> None:
    """Two databases gave one id to two exchanges: either would overwrite the other."""
    valkey.call("SET", key, json.dumps(REQUIRED | {"exchangeName": "kucoin"}), "EX", 60)
    with pytest.raises(ExchangeMisnamed, match=r'"binance".*"kucoin"'):
        await claimed(store)
    # a server promoted in a test before is noted as such, whatever the claim comes to
    assert set(valkey.all_keys()) - {keys.primary(BINANCE.id)} == {key}
