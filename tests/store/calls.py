"""The scripts, called with plain arguments, as exchange 2 (`binance`); what they answer, with its parts named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from perseus import keys
from perseus.store import Store, scripts
from tests.support.servers import StoreServer

ID = 2
STATUS, EPOCH, LAST, LOG = keys.status(ID), keys.epoch(ID), keys.last(ID), keys.log("binance")
PRIMARY = keys.primary(ID)
DAY_MS = 86_400_000


def keys_at(server: StoreServer) -> list[str]:
    """Every key but the note that a server which took over from another is given."""
    return [key for key in server.all_keys() if key != PRIMARY]


class ClaimReply(NamedTuple):
    """What the claim script answers; `rest` depends on the outcome."""

    outcome: str
    server_us: int
    settled_s: int
    server_id: str
    rest: list[bytes]


def payload(claim_id: str = "c1", instance_id: str = "i1", rev: int = 1, **more: Any) -> dict[str, Any]:
    """A status payload with only what the scripts look at."""
    return {"exchangeName": "binance", "claimId": claim_id, "instanceId": instance_id, "rev": rev, **more}


async def claim(
    store: Store,
    claim_id: str = "c1",
    instance_id: str = "i1",
    *,
    replaces: str | bytes = "",
    ttl_s: int = 45,
    floor: int = 0,
    name: str = "binance",
    least_s: int = 0,
    is_durable: bool = False,
    seen: str | bytes | None = None,
) -> ClaimReply:
    """Run the claim script. `seen`: the epoch as of a look, if not the present one."""
    if seen is None:
        found = (await store.pipeline(["GET", EPOCH]))[0]
        seen = found if isinstance(found, bytes) else b""
    text = json.dumps(payload(claim_id, instance_id, exchangeName=name))
    args = [claim_id, replaces, ttl_s, floor, name, least_s, int(is_durable), seen, text[1:]]
    keys_used = [STATUS, EPOCH, LAST, PRIMARY]
    outcome, server_us, settled_s, server_id, *rest = await store.run(scripts.CLAIM, keys=keys_used, args=args)
    return ClaimReply(outcome.decode(), int(server_us), int(settled_s), server_id.decode(), rest)


async def claimed_epoch(
    store: Store, claim_id: str = "c1", instance_id: str = "i1", *, replaces: str | bytes = "", floor: int = 0
) -> int:
    """Claim, which must succeed, and return the tenure's epoch."""
    reply = await claim(store, claim_id, instance_id, replaces=replaces, floor=floor)
    assert reply.outcome == "CLAIMED"
    return int(reply.rest[0])


async def renew(store: Store, claim_id: str = "c1", *, rev: int = 2, ttl_s: int = 45, **more: Any) -> list[Any]:
    """Run the renew script: `[outcome, server time in us, …]`."""
    text = json.dumps(payload(claim_id, rev=rev, **more))
    args: list[str | int] = [claim_id, rev, ttl_s, text, keys.LAST_TTL_S, keys.WAKE_CHANNEL, "wake"]
    return await store.run(scripts.RENEW, keys=[STATUS, LAST], args=args)


async def release(store: Store, claim_id: str = "c1") -> list[Any]:
    """Run the release script with a final snapshot whose `connectionState` is `stopped`."""
    text = json.dumps(payload(claim_id, rev=99, connectionState="stopped"))
    args: list[str | int] = [claim_id, text, keys.LAST_TTL_S, keys.WAKE_CHANNEL, "wake"]
    return await store.run(scripts.RELEASE, keys=[STATUS, LAST], args=args)


async def write_candles(
    store: Store, rows: Mapping[str, Sequence[tuple[int, str]]], *, claim_id: str = "c1", kept: int = 10
) -> list[Any]:
    """Run the candle script: rows of (open time, member) by symbol, one minute each."""
    args: list[str | int] = [claim_id, kept]
    for each in rows.values():
        args += [len(each), *(part for row in each for part in row)]
    sets = [keys.candles(ID, symbol, "1m") for symbol in rows]
    return await store.run(scripts.WRITE_CANDLES, keys=[STATUS, *sets], args=args)


async def write_value(store: Store, value: str, *, claim_id: str = "c1") -> list[Any]:
    """Run the value script on the `warmup` key."""
    return await store.run(scripts.WRITE_VALUE, keys=[STATUS, keys.warmup(ID)], args=[claim_id, value, 3600])


async def record_loss(
    store: Store, *, instance_id: str = "i1", epoch: int = 7, oldest: str = "0", min_id: str = ""
) -> tuple[str, str]:
    """Run the loss script: (outcome, id of the record)."""
    fields = ["event", "instance_lost", "instanceId", instance_id, "epoch", str(epoch)]
    outcome, entry_id = await store.run(
        scripts.RECORD_LOSS, keys=[LOG], args=[instance_id, epoch, oldest, min_id, *fields]
    )
    return outcome.decode(), entry_id.decode()


async def json_at(store: Store, key: str) -> dict[str, Any] | None:
    """The JSON object at a key."""
    raw = await store.get(key)
    return None if raw is None else dict(json.loads(raw))
