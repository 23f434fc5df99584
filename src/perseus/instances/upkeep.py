"""Upkeep: looks at every followed symbol a few times a second and asks the exchange wherever the stream falls short.

`care.py` has the table of what a symbol may need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

from perseus.errors import InvalidSymbols, LeaseLost, PerseusError, VenueRefused
from perseus.exchanges.adapter import Adapter
from perseus.folding import Folder
from perseus.instances.backoff import doubled, spread
from perseus.instances.candle_writer import CandleWriter
from perseus.instances.care import SILENCE_LEAST_S, Care
from perseus.instances.followed import MINUTE_MS, FollowedSymbol
from perseus.instances.links import Link, Links
from perseus.instances.warmup import RECONCILE_MS, warm_symbol
from perseus.model import Timeframe

if TYPE_CHECKING:  # instance imports nothing of the feed, and the feed needs only its type
    from perseus.instances.instance import Instance

LOOK_EVERY_S = 0.25
REQUESTS_AT_ONCE = 4  # more would be faster on a cold start, but each warm-up holds a few MB meanwhile
FINAL_AFTER_MS = 1_500  # minutes over for less may not be in its history yet
RECONCILE_S = 300.0
LATE_MS = MINUTE_MS + 5_000  # a minute unclosed for this long: the data is not accurate
PAUSE_MOST_S = 15.0
RESUBSCRIBE_S, RESUBSCRIBE_MOST_S = 30.0, 1_800.0
DROP_AGAIN_S, DROP_AGAIN_MOST_S = 15.0, 600.0
TIME_EVERY_S = 5.0  # the exchange's time, however many symbols want to be sure of it
LISTING_S, LISTING_HALTED_S = 900.0, 60.0
FLAT_MINUTES = 5  # a symbol of which the exchange has no candle for so long may not trade any more
FUTILE_ANSWERS = 5  # nor one of which so many answers in a row did not help


class Upkeep:
    """Keeps every symbol's data complete, and says whether it is. `run` works for ever."""

    def __init__(
        self, me: Instance, adapter: Adapter, *, links: Links, writer: CandleWriter, followed: Iterable[FollowedSymbol]
    ) -> None:
        self._me = me
        self._clock = me.clock
        self._adapter = adapter
        self._writer = writer
        self._links = links
        self._queue: asyncio.Queue[tuple[Care, str]] = asyncio.Queue()
        self._drops: dict[int, tuple[int, float]] = {}  # by link: silent connections given up, and when it may be again
        link_of = {symbol.native: link for link in links.links for symbol in link.symbols}
        now = self._clock.now()
        self.cares = {
            one.symbol.native: Care(one, link_of[one.symbol.native], reconcile_at=now + spread(RECONCILE_S))
            for one in followed
        }
        self.current_symbol = ""
        self._left_out: dict[str, Care] = {}
        self._why_halted = ""
        self._listing_at = now + LISTING_S
        self._hints_from = now
        self._asking_time = asyncio.Lock()
        self._time_asked = float("-inf")
        self._reported: set[str] = set()
        self._failures = 0  # in a row, of any symbol
        self._pause_until = 0.0

    @property
    def symbol_count(self) -> int:
        """How many symbols are served or about to be: all but those left out or given up."""
        return sum(not care.is_given_up for care in self.cares.values())

    async def run(self) -> None:
        """Look and repair for ever. Raises: LeaseLost, StaleEpoch, VenueRefused, InvalidSymbols (no symbol is left)."""
        for care in self.cares.values():
            care.is_busy = False  # an earlier run may have been cancelled in the middle
        self._queue = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(REQUESTS_AT_ONCE):
                tasks.create_task(self._work(), name="upkeep")
            tasks.create_task(self._stay_informed(), name="time and listing")
            while True:
                await self._look()
                await self._clock.sleep(LOOK_EVERY_S)

    def why_inaccurate(self) -> str:
        """Why the data as a whole is not accurate now; empty when it is."""
        if self._why_halted:
            return self._why_halted
        for link in self._links.links:
            why = self._why_unheard(link)
            if why:
                return why
        now_ms = self._adapter.now_ms()
        for care in self.cares.values():
            followed = care.followed
            if not followed.was_warm:
                continue  # nothing of it is served yet
            if care.gap or care.link.subscriptions != care.subscription:
                return care.gap or "the connection was interrupted"
            if not followed.is_warm or followed.is_overdue(now_ms, grace_ms=LATE_MS):
                return f"{followed.symbol.name} is behind"
        return ""

    def _why_unheard(self, link: Link) -> str:
        """Why what a link brings cannot be relied on; empty when it can, or when nobody needs it any more."""
        cares = self._cares_of(link)
        if not cares:
            return ""
        if not link.is_up:
            return link.why_down
        if link.is_garbled(self._clock.now(), for_s=SILENCE_LEAST_S):
            return f"{self._adapter.name} sends nothing that can be read"
        served = [care for care in cares if care.followed.was_warm]
        is_quiet = bool(served) and all(care.has_agreed for care in served)
        return "" if link.has_heard or is_quiet else "no message since subscribing"

    def _cares_of(self, link: Link) -> list[Care]:
        return [self.cares[symbol.native] for symbol in link.symbols if symbol.native in self.cares]

    # -- looking ----------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        now, now_ms = self._clock.now(), self._adapter.now_ms()
        dead: dict[int, list[Care]] = {}
        for care in self.cares.values():
            care.followed.keep_current(now_ms)
            care.notice_subscription(now_ms)
            if care.is_dead(now):
                dead.setdefault(self._links.links.index(care.link), []).append(care)
            may_ask = not care.is_busy and now >= max(care.not_before, self._pause_until)
            need = care.need(now=now, now_ms=now_ms) if may_ask else ""
            if need:
                care.is_busy = True
                self._queue.put_nowait((care, need))
        for number, cares in dead.items():
            await self._revive(number, cares, now)
        for number, link in enumerate(self._links.links):
            if self._failures and self._is_strangely_silent(link, now):  # else the exchange tells us what it means
                self._drop(number, link, now)

    def _is_strangely_silent(self, link: Link, now: float) -> bool:
        """Whether a connection has been silent for longer than its most talkative symbol ever is."""
        cares = self._cares_of(link)
        if not link.is_up or not any(care.followed.is_lively for care in cares):
            return False
        return now - link.last_message > min(care.patience_s for care in cares)

    # -- dead subscriptions -----------------------------------------------------------------------------------------

    async def _revive(self, number: int, cares: list[Care], now: float) -> None:
        """Subscribe again, or connect again when the whole connection is silent; seldom where that did not help."""
        link = cares[0].link
        for care in cares:
            care.missed_at = None
        if now - link.last_message > SILENCE_LEAST_S:
            self._drop(number, link, now)
            return
        due = [care for care in cares if now >= care.resubscribe_at]
        if not due or link.feed is None:
            return
        names = ", ".join(care.followed.symbol.name for care in due)
        for care in due:
            pause_s = doubled(RESUBSCRIBE_S, care.resubscriptions, most_s=RESUBSCRIBE_MOST_S)
            care.resubscribe_at = now + pause_s
            if care.resubscriptions == 0:  # later attempts find the data kept complete by asking
                care.gap = f"{care.followed.symbol.name} had gone silent"
            care.resubscriptions += 1
            care.begin_hearing(self._adapter.now_ms())
        await self._me.report_error(
            f"{self._adapter.name} traded {names} without telling us; its other subscriptions are alive. "
            f"Subscribed again; until it speaks, its candles come from asking once a minute."
        )
        try:
            await link.feed.resubscribe([care.followed.symbol for care in due])
        except PerseusError as error:
            await self._me.report_error(error)

    def _drop(self, number: int, link: Link, now: float) -> None:
        count, again_at = self._drops.get(number, (0, 0.0))
        if now < again_at:
            return
        silent_s = now - link.last_message
        count = 0 if link.has_heard else count + 1
        self._drops[number] = (count, now + doubled(DROP_AGAIN_S, count, most_s=DROP_AGAIN_MOST_S))
        link.drop(f"{self._adapter.name} sent no data for {silent_s:.0f} s on an open connection")

    # -- repairing --------------------------------------------------------------------------------------------------

    async def _work(self) -> NoReturn:
        while True:
            care, need = await self._queue.get()
            self.current_symbol = care.followed.symbol.name
            open_from = care.followed.open_from
            try:
                await self._repair(care, need)
            except (LeaseLost, VenueRefused):
                raise
            except InvalidSymbols as error:
                await self._leave_out(care, error)
            except PerseusError as error:
                await self._report_once(error)
                self._back_off(care, error)
            else:
                care.answered(need, open_from=open_from, now=self._clock.now(), now_ms=self._adapter.now_ms())
                self._failures = 0
                self._reported.clear()
            finally:
                care.is_busy = False

    def _back_off(self, care: Care, error: PerseusError) -> None:
        """Leave the symbol alone for a while, and for a moment the whole exchange: it may fail for all of them."""
        now = self._clock.now()
        care.failed(error, now=now)
        if now >= self._pause_until:
            self._failures += 1
            self._pause_until = now + spread(doubled(1.0, self._failures, most_s=PAUSE_MOST_S))

    async def _report_once(self, error: PerseusError) -> None:
        """Report an error unless it was since the last request that succeeded: many symbols fail alike at once."""
        if str(error) not in self._reported:
            self._reported.add(str(error))
            await self._me.report_error(error)

    async def _repair(self, care: Care, need: str) -> None:
        followed, subscription, gap, heard_from = care.followed, care.subscription, care.gap, care.heard_from
        asked_ms = self._adapter.now_ms()
        start = min(followed.open_from, Timeframe.M1.open_of(asked_ms)) - MINUTE_MS
        if need == "reconcile":
            start -= RECONCILE_MS
        if need == "warm-up" or not followed.is_warm or start < Folder.since(asked_ms):
            care.counts = await warm_symbol(followed, adapter=self._adapter, writer=self._writer)
        else:
            news = await self._ask(care, start=start, asked_ms=asked_ms)
            care.judge(need, news=news, now=self._clock.now())
        care.reconcile_at = self._clock.now() + RECONCILE_S
        if subscription != care.link.subscriptions:
            return
        if subscription and care.heard_from == heard_from:  # what it counts now, the stream need not have said
            care.heard_from = min(heard_from, Timeframe.M1.open_of(asked_ms))
        if care.gap == gap:
            care.gap = ""

    async def _ask(self, care: Care, *, start: int, asked_ms: int) -> bool:
        followed = care.followed
        rows = await self._adapter.history(followed.symbol, Timeframe.M1, start=start, end=asked_ms)
        until = Timeframe.M1.open_of(asked_ms - FINAL_AFTER_MS)
        if len({row.open_time for row in rows if row.open_time < until}) < (until - start) // MINUTE_MS:
            # To call a minute empty we must be sure that it is over: our idea of the exchange's time may be ahead.
            await self._ask_time()
            until = min(until, Timeframe.M1.open_of(self._adapter.now_ms() - FINAL_AFTER_MS))
        return followed.see_history(rows, start=start, until=until, heard_from=care.heard_from, asked_ms=asked_ms)

    # -- the exchange's clock, and what it trades ---------------------------------------------------------------------

    async def _stay_informed(self) -> NoReturn:
        while True:
            try:
                if self._adapter.doubts_time:
                    await self._ask_time()
                if self._wants_listing():
                    await self._ask_listing()
            except VenueRefused:
                raise
            except PerseusError as error:
                await self._report_once(error)
                await self._clock.sleep(PAUSE_MOST_S)
            await self._clock.sleep(1.0)

    async def _ask_time(self) -> None:
        async with self._asking_time:
            if self._clock.now() - self._time_asked >= TIME_EVERY_S:
                await self._adapter.synchronize()
                self._time_asked = self._clock.now()

    def _wants_listing(self) -> bool:
        now = self._clock.now()
        return now >= self._listing_at or (now >= self._hints_from and any(map(_may_be_gone, self.cares.values())))

    async def _ask_listing(self) -> None:
        """Leave out the symbols that do not trade any more, and take back those that do again."""
        trading = await self._adapter.trading()
        for native in trading & self._left_out.keys():
            self._take_back(native)
        gone = [care for native, care in self.cares.items() if native not in trading]
        for care in self.cares.values():
            care.listed_until = care.followed.open_from
        was_halted, is_halted = bool(self._why_halted), len(gone) == len(self.cares)
        self._why_halted = f"{self._adapter.name} trades none of the {len(gone)} symbols now" if is_halted else ""
        now = self._clock.now()
        self._listing_at = now + (LISTING_HALTED_S if is_halted else LISTING_S)
        self._hints_from = now + LISTING_HALTED_S
        if is_halted and not was_halted:
            await self._me.report_error(f"{self._why_halted}. It is asked every {LISTING_HALTED_S:g} s until it does.")
        for care in [] if is_halted else gone:
            name = care.followed.symbol.name
            await self._leave_out(
                care,
                InvalidSymbols(
                    f"{self._adapter.name} does not trade {name} any more. It is left out; should it trade again, "
                    f"it is taken back within {LISTING_S:g} s.",
                    unknown=(name,),
                ),
            )

    async def _leave_out(self, care: Care, error: InvalidSymbols) -> None:
        await self._me.report_error(error)
        native = care.followed.symbol.native
        if self.cares.pop(native, None) is not None:
            self._left_out[native] = care
        if not self.cares:
            raise error

    def _take_back(self, native: str) -> None:
        care = self.cares[native] = self._left_out.pop(native)
        care.followed.is_warm = care.followed.was_warm = False  # nothing is served of it until its history is complete
        care.failures, care.not_before, care.gap = 0, 0.0, ""
        care.begin_hearing(self._adapter.now_ms())


def _may_be_gone(care: Care) -> bool:
    """Whether a symbol looks as if the exchange did not trade it any more."""
    followed = care.followed
    is_new = followed.open_from - care.listed_until >= FLAT_MINUTES * MINUTE_MS
    return care.futile >= FUTILE_ANSWERS or (followed.is_warm and is_new and followed.is_flat_for(FLAT_MINUTES))
