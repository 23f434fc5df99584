"""Candles in the store: both ends of the wire, the instance that writes them and whoever reads them.

One sorted set a symbol and timeframe (`keys.candles`), scored by open time, a candle a member. A member is a JSON
array, so that any language reads it:

    [openTimeMs, "open", "high", "low", "close", "volume", closed, synthetic]
    [1795378140000,"97012.10","97040.00","97001.55","97040.00","12.40310",1,0]

`openTimeMs`: Unix ms, UTC, equal to the score. The five numbers are decimals kept as text, never in exponent form,
with the digits the exchange sent. `closed` 1: the candle is final, 0: it is forming and will be replaced.
`synthetic` 1: no trade happened and the exchange sent nothing, so it is flat at the previous close with volume 0.
`ZRANGE key -20 -1` is the newest twenty, oldest first. The set never holds two candles with one open time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

import msgspec

from perseus import keys
from perseus.errors import StaleEpoch, UnreadableKey
from perseus.model import Candle, Timeframe
from perseus.store import Store, scripts

ROWS_A_CALL = 500  # about 2 ms of the server's time: nobody else waits longer for one of our writes

Rows = Mapping[tuple[str, Timeframe], Sequence[Candle]]


class _Member(msgspec.Struct, array_like=True, frozen=True):
    open_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    closed: int
    synthetic: int


_decoder = msgspec.json.Decoder(_Member)


def encode(candle: Candle) -> bytes:
    """The member that stands for a candle."""
    flags = f"{candle.is_closed:d},{candle.is_synthetic:d}"
    # `f`: str(Decimal) writes a volume of 0.00000000 as 0E-8
    return (
        f'[{candle.open_time},"{candle.open:f}","{candle.high:f}","{candle.low:f}","{candle.close:f}",'
        f'"{candle.volume:f}",{flags}]'
    ).encode()


def decode(member: bytes, *, key: str) -> Candle:
    """The candle a member stands for. Raises: UnreadableKey, naming key and member, for anything else."""
    try:
        row = _decoder.decode(member)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        shown = member[:200].decode("utf-8", "replace")
        raise UnreadableKey(
            f"Key {key!r} holds a member that is not a candle: {shown!r} ({error}). It is left as it is. "
            f"If no other program writes this key, delete it: the next warm-up fetches the candles again.",
            key=key,
            reason=f"{shown!r}: {error}",
        ) from error
    return Candle(
        open_time=row.open_time,
        open=row.open,
        high=row.high,
        low=row.low,
        close=row.close,
        volume=row.volume,
        is_closed=bool(row.closed),
        is_synthetic=bool(row.synthetic),
    )


async def write(store: Store, exchange_id: int, *, claim_id: str, epoch: int, rows: Rows, kept: int) -> None:
    """Put candles in place of those with the same open time, keeping the newest `kept` of each set.

    Each call of the script is atomic and checks the lease; many rows are several calls. Writing the same rows
    again changes nothing, so a write whose answer was lost is repeated.
    Raises: StaleEpoch if the status key does not hold our claim: that call wrote nothing; StoreUnavailable;
        UnreadableKey if one of the keys is of another type: sets before it in the same call are written.
    """
    for batch in _batches(rows):
        names = [keys.candles(exchange_id, symbol, timeframe) for symbol, timeframe, _ in batch]
        args: list[str | bytes | int | float] = [claim_id, kept]
        for _, _, candles in batch:
            args.append(len(candles))
            for candle in candles:
                args += (candle.open_time, encode(candle))
        outcome, *rest = await store.run(scripts.WRITE_CANDLES, keys=[keys.status(exchange_id), *names], args=args)
        if outcome != b"OK":
            raise _stale(exchange_id, epoch, holder=rest[0] if rest else b"")


async def read(store: Store, exchange_id: int, symbol: str, timeframe: Timeframe, *, last: int) -> list[Candle]:
    """The newest `last` candles, oldest first; the newest one is usually forming.

    Raises: UnreadableKey if the key or a member is not of the documented shape; StoreUnavailable.
    """
    key = keys.candles(exchange_id, symbol, timeframe)
    return [decode(member, key=key) for member in await store.newest_members(key, last)]


def _batches(rows: Rows) -> Iterator[list[tuple[str, Timeframe, Sequence[Candle]]]]:
    batch: list[tuple[str, Timeframe, Sequence[Candle]]] = []
    room = ROWS_A_CALL
    for (symbol, timeframe), candles in rows.items():
        at = 0
        while at < len(candles):
            part = candles[at : at + room]
            batch.append((symbol, timeframe, part))
            at += len(part)
            room -= len(part)
            if not room:
                yield batch
                batch, room = [], ROWS_A_CALL
    if batch:
        yield batch


def _stale(exchange_id: int, epoch: int, *, holder: bytes) -> StaleEpoch:
    now_true = "another tenure holds it" if holder else "the key is gone or unreadable"
    return StaleEpoch(
        f"Candles of exchange {exchange_id} were not written at epoch {epoch}: the status key does not hold our "
        f"claim, {now_true}. Nothing of this call was written; stop emitting and claim again.",
        epoch=epoch,
        reason="taken" if holder else "missing",
        holder=holder or None,
    )
