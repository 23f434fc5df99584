"""Market data: from the exchange's stream and history to the store, for as long as the lease is held.

Subscribe first, then ask for history, then merge both by open time: nothing can fall between them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NoReturn
from weakref import WeakSet

from perseus.errors import InvalidSymbols, LeaseLost, PerseusError, StopRequested, VenueUnavailable
from perseus.exchanges.adapter import Adapter, CandleUpdate
from perseus.instances.candle_writer import CandleWriter
from perseus.instances.followed import FollowedSymbol
from perseus.instances.links import Links
from perseus.instances.upkeep import Upkeep
from perseus.model import Symbol, Timeframe, Trade

if TYPE_CHECKING:  # instance imports nothing of the feed, and the feed needs only its type
    from perseus.instances.instance import Instance
    from perseus.instances.progress import Progress

FLUSH_EVERY_S = 0.5
CLOSED_TOGETHER_S = 0.05  # minutes of many symbols close within moments: one write for all
SUBSCRIBE_PATIENCE_S = 10.0  # history is asked for without the stream then: the gap is closed when it comes
LOOK_EVERY_S = 0.1
RETRY_S, RETRY_MOST_S = 1.0, 60.0
MAY_LACK = 0.1  # of the symbols, but at least one: with more given up it is not called active
NAMED = 10  # symbols in one message

_served_before: WeakSet[Instance] = WeakSet()  # a symbol that does not exist is a slip only before the first tenure


async def follow_market(
    me: Instance,
    adapter: Adapter,
    *,
    symbols: int | tuple[str, ...],
    timeframes: Iterable[Timeframe],
    candles_kept: int,
) -> NoReturn:
    """Keep the candles of the symbols current in the store: warming, active, and warming again while a gap is filled.

    `symbols`: how many of the most traded, or which. `adapter` is entered by the caller. Every other error is reported
    and recovered from.
    Raises: LeaseLost, StopRequested; VenueRefused if the exchange does not serve us; InvalidSymbols at an instance's
        first choice, or when none of its symbols exists any more.
    """
    writer = CandleWriter(me, timeframes=timeframes, kept=candles_kept)
    market: _Market | None = None
    try:
        async with asyncio.TaskGroup() as connections:
            async with me.warming(symbol_count=0) as progress:  # how many were asked for is not how many there are
                await progress.begin()
                chosen = await _choose(me, adapter, symbols)
                await me.set_symbol_count(len(chosen))
                market = _Market(me, adapter, chosen, writer=writer)
                connections.create_task(market.links.run(), name="connections")
                await market.warm_up(progress)
            async with me.active():
                await market.stay_accurate()
    except BaseExceptionGroup as group:
        cause = _cause(group)
        if isinstance(cause, StopRequested) and market is not None:
            await writer.flush(market.followed)  # still ours: leave the newest candles behind
        if cause is group:
            raise
        raise cause from group
    raise PerseusError("Following the market ended by itself.")  # unreachable: both scopes end by an exception


async def _choose(me: Instance, adapter: Adapter, wanted: int | tuple[str, ...]) -> list[Symbol]:
    pause = RETRY_S
    while True:
        try:
            await adapter.synchronize()
            chosen = await _traded(me, adapter, wanted)
            if chosen:
                _served_before.add(me)
                return chosen
            await me.report_error(
                f"{adapter.name} trades none of the symbols to be served now: maintenance, perhaps. "
                f"Nothing was subscribed; it is asked again until it does."
            )
        except VenueUnavailable as error:
            await me.report_error(error)
        await me.clock.sleep(pause)
        pause = min(RETRY_MOST_S, 2 * pause)


async def _traded(me: Instance, adapter: Adapter, wanted: int | tuple[str, ...]) -> list[Symbol]:
    """The symbols wanted, without those that ceased to trade since an earlier tenure of this instance."""
    try:
        return await adapter.symbols(wanted)
    except InvalidSymbols as error:
        if isinstance(wanted, int) or me not in _served_before:
            raise
        await me.report_error(
            f"{adapter.name} does not trade {', '.join(error.unknown)} any more. The others are served."
        )
        return await adapter.symbols(tuple(name for name in wanted if name not in error.unknown))


class _Market:
    """The followed symbols with everything that works on them."""

    def __init__(self, me: Instance, adapter: Adapter, symbols: list[Symbol], *, writer: CandleWriter) -> None:
        self._me = me
        self._writer = writer
        now = me.clock.now()
        followed = [FollowedSymbol(symbol, now=now) for symbol in symbols]
        self.links = Links(adapter, symbols, clock=me.clock, on_message=self._take, on_error=me.report_error)
        self._upkeep = Upkeep(me, adapter, links=self.links, writer=writer, followed=followed)
        self._closed = asyncio.Event()

    @property
    def followed(self) -> list[FollowedSymbol]:
        """The symbols that are kept current: those left out since are not among them."""
        return [care.followed for care in self._upkeep.cares.values()]

    async def warm_up(self, progress: Progress) -> None:
        """Fetch history while the stream is already running; return once it is there and the first message came."""
        await self._show(progress)
        await self._until(lambda: all(link.is_up for link in self.links.links), at_most_s=SUBSCRIBE_PATIENCE_S)
        async with self._at_work():
            while not self._is_warm_enough():
                await self._me.set_symbol_count(self._upkeep.symbol_count)
                await self._show(progress)
                await self._me.clock.sleep(LOOK_EVERY_S)
            await self._show(progress)
            await self._me.set_symbol_count(self._upkeep.symbol_count)
            await self._until(lambda: not self._upkeep.why_inaccurate())

    async def stay_accurate(self) -> NoReturn:
        """Follow the stream; while the data is known to be incomplete, say so by not being active."""
        async with self._at_work():
            while True:
                await self._say_what_is_missing()
                await self._until(lambda: bool(self._upkeep.why_inaccurate()))
                async with self._me.filling_gap(reason=self._upkeep.why_inaccurate() or "a short gap"):
                    await self._until(lambda: not self._upkeep.why_inaccurate())
        raise PerseusError("Staying accurate ended by itself.")  # unreachable

    @asynccontextmanager
    async def _at_work(self) -> AsyncIterator[None]:
        """Upkeep and writing beside the block, and ended with it."""
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(self._upkeep.run(), name="upkeep"),
                tasks.create_task(self._keep_writing(), name="writing"),
            ]
            yield
            for task in work:
                task.cancel()

    async def _keep_writing(self) -> NoReturn:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_EVERY_S):
                    await self._closed.wait()
                    await self._me.clock.sleep(CLOSED_TOGETHER_S)
            self._closed.clear()
            await self._writer.flush(self.followed)

    def _take(self, message: CandleUpdate | Trade) -> None:
        self._me.saw_message()
        care = self._upkeep.cares.get(message.symbol)
        if care is None:
            return
        followed = care.followed
        if isinstance(message, Trade):
            followed.see_trade(message, now=self._me.clock.now())
        elif followed.see_candle(message, now=self._me.clock.now()):
            self._closed.set()

    def _is_warm_enough(self) -> bool:
        """Every symbol is warm or has failed repeatedly, and those that failed are few."""
        cares = self._upkeep.cares.values()
        given_up = sum(care.is_given_up for care in cares)
        tried = all(care.followed.was_warm or care.is_given_up for care in cares)
        return tried and given_up < len(cares) and given_up <= max(1, int(MAY_LACK * len(cares)))

    async def _say_what_is_missing(self) -> None:
        """Report again what was given up: entering active has cleared the last error."""
        given_up = [care for care in self._upkeep.cares.values() if care.is_given_up]
        if given_up:
            names = ", ".join(care.followed.symbol.name for care in given_up[:NAMED])
            await self._me.report_error(
                f"No candles yet of {names}{', …' * (len(given_up) > NAMED)}: {given_up[0].last_failure} "
                f"The other {self._upkeep.symbol_count} symbols are served; these are asked for until they come."
            )

    async def _show(self, progress: Progress) -> None:
        cares = self._upkeep.cares.values()
        failed = [care for care in cares if care.is_given_up]
        with_notes = [note for care in cares for note in care.counts.notes]
        try:
            await progress.update(
                done=sum(care.followed.was_warm for care in cares),
                total=len(cares),
                current_symbol=self._upkeep.current_symbol,
                failures=(*(f"{care.followed.symbol.name}: {care.last_failure}" for care in failed), *with_notes),
                candles_fetched=sum(care.counts.fetched for care in cares),
                candles_kept=sum(care.counts.kept for care in cares),
            )
        except LeaseLost:
            raise
        except PerseusError as error:  # the store is away: the lease decides how long that may last
            await self._me.report_error(error)

    async def _until(self, is_so: Callable[[], bool], *, at_most_s: float = float("inf")) -> None:
        began = self._me.clock.now()
        while not is_so() and self._me.clock.now() - began < at_most_s:
            await self._me.set_symbol_count(self._upkeep.symbol_count)
            await self._me.clock.sleep(LOOK_EVERY_S)


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error that ended everything; a group with a fault of our own in it stays whole: nothing is hidden."""
    leaves = list(_leaves(group))
    if not all(isinstance(leaf, PerseusError) for leaf in leaves):
        return group
    return min(leaves, key=lambda leaf: not isinstance(leaf, LeaseLost | StopRequested))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterable[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
