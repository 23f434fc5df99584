"""Data writes: accepted from the holder only. The third fence, and the one that never fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from perseus import keys
from perseus.errors import UnreadableKey
from perseus.store import Store, scripts
from tests.store.calls import ID, STATUS, claimed_epoch, write_candles, write_value
from tests.support.servers import Server

RUNS_EVERYWHERE = True

Write = Callable[..., Awaitable[list[Any]]]
BTC = keys.candles(ID, "BTC-USDT", "1m")


async def candles(store: Store, *, claim_id: str = "c1") -> list[Any]:
    """Write one candle."""
    return await write_candles(store, {"BTC-USDT": [(60_000, "[60000]")]}, claim_id=claim_id)


async def value(store: Store, *, claim_id: str = "c1") -> list[Any]:
    """Write the `warmup` value."""
    return await write_value(store, "{}", claim_id=claim_id)


WRITES = pytest.mark.parametrize("write", [candles, value])


@WRITES
async def test_holder_may_write(store: Store, write: Write) -> None:
    """A fence that refuses everyone protects nothing worth having."""
    await claimed_epoch(store)
    assert await write(store) == [b"OK"]


@WRITES
async def test_write_without_a_holder_is_refused(store: Store, server: Server, write: Write) -> None:
    """The lease has expired: somebody may be claiming right now."""
    assert await write(store) == [b"REFUSED", b""]
    assert server.all_keys() == []


@WRITES
async def test_late_write_of_the_tenure_before_is_refused(store: Store, server: Server, write: Write) -> None:
    """A holder paused past its lease wakes up in the middle of a write, even on the same instance id."""
    await claimed_epoch(store, "c1", "i1")
    await claimed_epoch(store, "c2", "i1", replaces=await store.get(STATUS) or "")
    before = server.all_keys()
    assert await write(store, claim_id="c1") == [b"REFUSED", await store.get(STATUS)]
    assert server.all_keys() == before


@WRITES
@pytest.mark.parametrize("status", ["not JSON", "[]", "null", ""])
async def test_write_beside_an_unreadable_status_is_refused(
    store: Store, server: Server, write: Write, status: str
) -> None:
    """What cannot be read does not say that we hold the exchange."""
    server.call("SET", STATUS, status, "EX", 45)
    assert await write(store) == [b"REFUSED", status.encode()]
    assert server.all_keys() == [STATUS]


@WRITES
@pytest.mark.foreign_keys
async def test_write_beside_a_status_of_another_type_is_refused(store: Store, server: Server, write: Write) -> None:
    """The same for a key that is not even a string."""
    server.call("RPUSH", STATUS, "theirs")
    assert await write(store) == [b"REFUSED", b""]
    assert server.all_keys() == [STATUS]


async def test_value_carries_its_ttl(store: Store, server: Server) -> None:
    """A progress report nobody renews must vanish by itself."""
    await claimed_epoch(store)
    await write_value(store, '{"percent":50}')
    assert await store.get(keys.warmup(ID)) == b'{"percent":50}'
    assert 3590 < server.call("TTL", keys.warmup(ID)) <= 3600


async def test_candle_replaces_the_one_with_its_open_time(store: Store) -> None:
    """A forming candle is written again and again; a revised one replaces what was closed."""
    await claimed_epoch(store)
    await write_candles(store, {"BTC-USDT": [(60_000, "[60000,1]"), (120_000, "[120000,1]")]})
    await write_candles(store, {"BTC-USDT": [(60_000, "[60000,2]")]})
    assert await store.newest_members(BTC, 10) == [b"[60000,2]", b"[120000,1]"]


async def test_only_the_newest_candles_are_kept(store: Store) -> None:
    """Bounded, whatever order they come in: an older one must not push out a newer."""
    await claimed_epoch(store)
    rows = [(minute * 60_000, f"[{minute}]") for minute in range(15)]
    await write_candles(store, {"BTC-USDT": rows[::-1]}, kept=10)
    await write_candles(store, {"BTC-USDT": rows[:3]}, kept=10)
    assert await store.newest_members(BTC, 99) == [f"[{minute}]".encode() for minute in range(5, 15)]


async def test_several_markets_are_written_in_one_call(store: Store) -> None:
    """One round trip for a whole flush; every row lands in its own set, an empty one changes nothing."""
    await claimed_epoch(store)
    rows = {"BTC-USDT": [(1, "[1]"), (2, "[2]")], "ETH-USDT": [], "SOL-USDT": [(3, "[3]")]}
    assert await write_candles(store, rows) == [b"OK"]
    written = [await store.newest_members(keys.candles(ID, symbol, "1m"), 9) for symbol in rows]
    assert written == [[b"[1]", b"[2]"], [], [b"[3]"]]


@pytest.mark.foreign_keys
async def test_candle_key_of_another_type_is_reported(store: Store, server: Server) -> None:
    """Somebody else's data at our key is neither overwritten nor passed over in silence."""
    await claimed_epoch(store)
    server.call("SET", BTC, "theirs")
    with pytest.raises(UnreadableKey, match="BTC-USDT"):
        await write_candles(store, {"BTC-USDT": [(1, "[1]")]})
    assert await store.get(BTC) == b"theirs"


async def test_appended_stream_is_bounded_and_expires(store: Store, server: Server) -> None:
    """Commands and replies: as many as asked for, gone by themselves."""
    key = keys.commands(ID)
    for n in range(400):
        entry_id = (await store.run(scripts.APPEND, keys=[key], args=[50, 3600, "n", n]))[0]
    assert (await store.entries(key, count=1))[0].id == entry_id.decode()
    assert 50 <= server.call("XLEN", key) < 200  # `~` trims whole nodes
    assert 3590 < server.call("TTL", key) <= 3600
