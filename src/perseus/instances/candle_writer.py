"""The one way candles leave an instance: checked against the lease, kept while the store is away, written in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from perseus import candles
from perseus.errors import StoreUnavailable, UnreadableKey
from perseus.instances.followed import FollowedSymbol
from perseus.model import Candle, Timeframe

if TYPE_CHECKING:  # instance imports nothing of the feed, and the feed needs only its type
    from perseus.instances.instance import Instance

Row = tuple[str, Timeframe]


class CandleWriter:
    """Writes the timeframes asked for, the newest `kept` candles of each symbol."""

    def __init__(self, me: Instance, *, timeframes: Iterable[Timeframe], kept: int) -> None:
        self.timeframes = frozenset(timeframes)
        self.kept = kept
        self._me = me
        self._unwritten: dict[Row, dict[int, Candle]] = {}
        self._foreign: set[Row] = set()  # keys that hold something else: never overwritten

    async def stored(self, symbol: str, timeframe: Timeframe) -> list[Candle]:
        """What the store has already, ascending; nothing for a key we cannot read, which is reported once."""
        if timeframe not in self.timeframes or (symbol, timeframe) in self._foreign:
            return []
        try:
            return await candles.read(self._me.store, self._me.exchange.id, symbol, timeframe, last=self.kept)
        except UnreadableKey as error:
            await self._leave_alone((symbol, timeframe), error)
            return []

    async def write(self, rows: Mapping[Row, Sequence[Candle]]) -> int:
        """Write candles of the timeframes asked for; how many. Raises: LeaseLost, StaleEpoch, StoreUnavailable."""
        wanted = {row: found for row, found in rows.items() if found and self._is_wanted(row)}
        try:
            await self._write(wanted)
        except UnreadableKey:
            for row, found in wanted.items():  # one foreign key must not hold up the others
                try:
                    await self._write({row: found})
                except UnreadableKey as error:
                    await self._leave_alone(row, error)
        return sum(map(len, wanted.values()))

    async def flush(self, followed: Iterable[FollowedSymbol]) -> None:
        """Write what changed since the last flush; what cannot be written now is written by a later one.

        Raises: LeaseLost, StaleEpoch.
        """
        for one in followed:
            if one.has_changes:
                for timeframe, changed in one.take_changes().items():
                    if changed and self._is_wanted((one.symbol.name, timeframe)):
                        waiting = self._unwritten.setdefault((one.symbol.name, timeframe), {})
                        waiting.update((candle.open_time, candle) for candle in changed)
        if not self._unwritten:
            return
        rows = {row: [waiting[t] for t in sorted(waiting)] for row, waiting in self._unwritten.items()}
        try:
            await self.write(rows)
        except StoreUnavailable as error:
            await self._me.report_error(error)
            return
        self._unwritten.clear()

    def forget(self, symbol: str) -> None:
        """Drop what waits for a symbol whose history is about to be written whole."""
        for row in [row for row in self._unwritten if row[0] == symbol]:
            del self._unwritten[row]

    def _is_wanted(self, row: Row) -> bool:
        return row[1] in self.timeframes and row not in self._foreign

    async def _write(self, rows: Mapping[Row, Sequence[Candle]]) -> None:
        me = self._me
        me.ensure_held()
        await candles.write(me.store, me.exchange.id, claim_id=me.claim_id, epoch=me.epoch, rows=rows, kept=self.kept)

    async def _leave_alone(self, row: Row, error: UnreadableKey) -> None:
        self._foreign.add(row)
        await self._me.report_error(error)
