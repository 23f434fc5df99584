"""Candles through a real store: what is written is what is read, by the holder only."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perseus import candles, keys
from perseus.errors import StaleEpoch, UnreadableKey
from perseus.model import Candle, Timeframe
from perseus.store import Store
from tests.support.servers import Server

RUNS_EVERYWHERE = True

EXCHANGE, CLAIM = 2, "claim-1"
MINUTE = Timeframe.M1.ms

decimals = st.decimals(min_value=0, max_value=10**14, places=8, allow_nan=False, allow_infinity=False)
any_candle = st.builds(
    Candle,
    open_time=st.integers(0, 10**13),
    open=decimals,
    high=decimals,
    low=decimals,
    close=decimals,
    volume=decimals,
    is_closed=st.booleans(),
    is_synthetic=st.booleans(),
)


def candle(open_time: int, *, close: str = "1.50", is_closed: bool = True) -> Candle:
    """A plausible candle."""
    return Candle(
        open_time=open_time,
        open=Decimal("1.00"),
        high=Decimal("2.00"),
        low=Decimal("0.50"),
        close=Decimal(close),
        volume=Decimal("10.00000000"),
        is_closed=is_closed,
    )


def hold(server: Server, claim: str = CLAIM) -> None:
    """Let the status key hold this claim, with a TTL as declared."""
    server.call("SET", keys.status(EXCHANGE), msgspec.json.encode({"claimId": claim}), "EX", 60)


async def write(store: Store, rows: candles.Rows, *, kept: int = 1500) -> None:
    """Write as the holder of CLAIM."""
    await candles.write(store, EXCHANGE, claim_id=CLAIM, epoch=7, rows=rows, kept=kept)


async def read(store: Store, *, last: int = 5000) -> list[Candle]:
    """The 1m candles of BTC-USDT."""
    return await candles.read(store, EXCHANGE, "BTC-USDT", Timeframe.M1, last=last)


@given(any_candle)
def test_a_candle_survives_its_encoding_digit_for_digit(original: Candle) -> None:
    """Prices are compared decimal for decimal with the exchange's; not even a trailing zero may change."""
    decoded = candles.decode(candles.encode(original), key="k")
    assert decoded == original
    assert [str(x) for x in msgspec.structs.astuple(decoded)] == [str(x) for x in msgspec.structs.astuple(original)]


@given(any_candle)
def test_a_member_is_plain_json_without_exponents(original: Candle) -> None:
    """Other languages read it, and many of their decimal parsers know no exponents."""
    member = msgspec.json.decode(candles.encode(original))
    assert member[0] == original.open_time
    assert all(text.replace(".", "").isdigit() for text in member[1:6])
    assert set(member[6:]) <= {0, 1}


async def test_written_candles_are_read_back_in_order(server: Server) -> None:
    """The wire between instance and reader, on both servers; more rows than one call takes."""
    hold(server)
    store = Store(server.url)
    many = [candle(n * MINUTE) for n in range(1203)]
    other = [candle(n * Timeframe.H1.ms) for n in range(77)]
    await write(store, {("BTC-USDT", Timeframe.M1): many, ("BTC-USDT", Timeframe.H1): other})
    assert await read(store) == many
    assert await read(store, last=2) == many[-2:]
    assert await candles.read(store, EXCHANGE, "BTC-USDT", Timeframe.H1, last=100) == other
    await store.close()


async def test_a_candle_replaces_the_one_with_its_open_time(valkey: Server, store: Store) -> None:
    """A forming candle is written many times and must never stand twice."""
    hold(valkey)
    await write(store, {("BTC-USDT", Timeframe.M1): [candle(0, close="1.10", is_closed=False)]})
    await write(store, {("BTC-USDT", Timeframe.M1): [candle(0, close="1.20")]})
    assert await read(store) == [candle(0, close="1.20")]


async def test_a_set_keeps_the_newest_candles_only(valkey: Server, store: Store) -> None:
    """A store that grows for ever stops one day."""
    hold(valkey)
    await write(store, {("BTC-USDT", Timeframe.M1): [candle(n * MINUTE) for n in range(80)]}, kept=60)
    assert [c.open_time // MINUTE for c in await read(store)] == list(range(20, 80))


@pytest.mark.parametrize("status", ["another claim", "gone", "not JSON"])
async def test_only_the_claim_in_the_status_key_may_write(valkey: Server, store: Store, status: str) -> None:
    """Fence 3: a holder that was paused past its lease writes late, and must change nothing."""
    if status == "another claim":
        hold(valkey, "claim-2")
    elif status == "not JSON":
        valkey.call("SET", keys.status(EXCHANGE), "{", "EX", 60)
    with pytest.raises(StaleEpoch, match="epoch 7") as refused:
        await write(store, {("BTC-USDT", Timeframe.M1): [candle(0)]})
    assert refused.value.epoch == 7
    assert refused.value.reason == ("missing" if status == "gone" else "taken")
    assert await read(store) == []


@pytest.mark.parametrize("member", [b"garbage", b"[1,2]", b'{"open":1}', b'[1,"x","1","1","1","1",1,0]', b"\xff"])
async def test_a_foreign_member_is_named_not_skipped(valkey: Server, store: Store, member: bytes) -> None:
    """An unreadable candle shown as a gap, or as nothing, would be a lie about the market."""
    key = keys.candles(EXCHANGE, "BTC-USDT", "1m")
    valkey.call("ZADD", key, 1, member)
    with pytest.raises(UnreadableKey) as unreadable:
        await read(store)
    assert unreadable.value.key == key
    assert member.decode("utf-8", "replace") in str(unreadable.value)


@pytest.mark.foreign_keys
async def test_a_key_of_another_type_is_not_overwritten(valkey: Server, store: Store) -> None:
    """What other programs left is reported, never destroyed."""
    hold(valkey)
    key = keys.candles(EXCHANGE, "BTC-USDT", "1m")
    valkey.call("SET", key, "mine")
    with pytest.raises(UnreadableKey):
        await write(store, {("BTC-USDT", Timeframe.M1): [candle(0)]})
    with pytest.raises(UnreadableKey):
        await read(store)
    assert valkey.call("GET", key) == b"mine"
