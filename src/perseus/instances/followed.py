"""One symbol as it is followed: its minutes merged from stream, trades and history, and everything folded from them.

Pure: times are given. The sources overlap and arrive in any order, so each minute is decided by one rule: a closed
candle beats a forming one, of two forming ones the larger volume is the newer (volume only grows within a minute), and
of two closed ones the later word counts, because an exchange may revise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from perseus.exchanges.adapter import CandleUpdate
from perseus.folding import Folder, flat
from perseus.model import Candle, Symbol, Timeframe, Trade

MINUTE_MS = Timeframe.M1.ms
QUIET_START_MS = 3_000  # a minute without trades gets its flat forming candle this long after it began
FIRST_GUESS_S = 3.0
LONGEST_GAP_S = 60.0
LIVELY_S, LIVELY_MESSAGES = 10.0, 10  # heard of more often than this, so many times: then silence is strange
SETTLED_MS = 60_000  # a minute over for longer is in every copy of the exchange's history


class FollowedSymbol:
    """What is known of one symbol now. Units: `_ms` Unix ms by the exchange, `now` boot-time seconds."""

    def __init__(self, symbol: Symbol, *, now: float) -> None:
        self.symbol = symbol
        self.folder = Folder()
        self.is_warm = False
        self.was_warm = False  # ever: its candles are in the store, and may be out of date
        self.open_from = 0  # the oldest minute that is not closed yet
        self.last_message = now
        self.usual_gap_s = FIRST_GUESS_S
        self.trades_missing_since: float | None = None
        self._messages = 0
        self._kept_from = 0  # older minutes are forgotten: what is merged there cannot be folded
        self.is_stuck = False  # a candle is forming although its minutes are all known: only a new warm-up mends it
        self._forming: set[tuple[Timeframe, int]] = set()  # handed out, and not closed since
        self._last_trade_id: int | None = None  # the newest trade our forming candle counts, None if that is not known
        self._missing_up_to = 0
        self._sent_at: dict[int, int] = {}
        self._changed: dict[int, Candle] = {}
        self._owed: dict[Timeframe, list[Candle]] = {}  # folded at the beginning and not in the history written then

    @property
    def has_changes(self) -> bool:
        """Whether `take_changes` would return anything."""
        return self.is_warm and bool(self._changed or self._owed)

    @property
    def is_lively(self) -> bool:
        """Whether it has shown that it speaks often."""
        return self._messages >= LIVELY_MESSAGES and self.usual_gap_s < LIVELY_S

    def is_flat_for(self, minutes: int) -> bool:
        """Whether the newest closed minutes are all ours: the exchange has none."""
        newest = range(self.open_from - minutes * MINUTE_MS, self.open_from, MINUTE_MS)
        return all((minute := self.folder.minute(t)) is not None and minute.is_synthetic for t in newest)

    def see_candle(self, update: CandleUpdate, *, now: float) -> bool:
        """Merge a candle from the stream; whether it closed or revised a minute."""
        self._heard(now)
        candle = update.candle
        if update.sent_at < self._sent_at.get(candle.open_time, 0):
            return False  # overtaken on the way by a later one
        if not self._merge(candle):
            return False
        self._sent_at[candle.open_time] = update.sent_at
        if update.last_trade_id is not None:
            self._last_trade_id = max(self._last_trade_id or 0, update.last_trade_id)
            if self.trades_missing_since is not None and update.last_trade_id >= self._missing_up_to:
                self.trades_missing_since = None  # the exchange's own candle counts them
        return candle.is_closed

    def see_trade(self, trade: Trade, *, now: float) -> None:
        """Merge a trade if it is the one after those already counted; a later one means that some are missing."""
        self._heard(now)
        last = self._last_trade_id
        if last is None or trade.id <= last:
            return
        if trade.id > last + 1:
            self._missing_up_to = max(self._missing_up_to, trade.id)
            if self.trades_missing_since is None:
                self.trades_missing_since = now
            return
        open_time = Timeframe.M1.open_of(trade.time)
        before = self.folder.minute(open_time)
        if before is not None and before.is_closed:
            return
        self._last_trade_id = trade.id
        fresh = before is None or before.is_synthetic
        self._put(_first_of(trade, open_time) if before is None or fresh else _with(trade, before))

    def see_history(self, rows: Sequence[Candle], *, start: int, until: int, heard_from: int, asked_ms: int) -> bool:
        """Merge 1m candles asked of the exchange from `start` on; whether they know of trades we should have heard of.

        `asked_ms`: when they were asked for. Minutes before `until` that the answer leaves out had no trades and are
        filled flat. From `heard_from` on the stream was subscribed.
        """
        news = False
        for row in rows:
            before = self.folder.minute(row.open_time)
            known = before.volume if before is not None else Decimal(0)
            news = news or (row.open_time >= heard_from and row.volume > known)
            if before is not None and _lags(row, before, asked_ms=asked_ms):
                continue
            if row.open_time < self._kept_from:
                self.is_stuck = True
            elif self._merge(row) and not row.is_closed:
                self._last_trade_id = None  # it counts trades up to one we do not know
        for open_time in range(start, until, MINUTE_MS):
            present, previous = self.folder.minute(open_time), self.folder.minute(open_time - MINUTE_MS)
            if previous is not None and previous.is_closed and (present is None or present.is_synthetic):
                self._merge(flat(previous, open_time=open_time))
        self.trades_missing_since = None
        return news

    def begin(self, history: Mapping[Timeframe, Sequence[Candle]], *, begins_at: int | None) -> None:
        """Take the warm-up's history, put what the stream said meanwhile on top, and be warm."""
        live = dict(self.folder.minutes())
        self.folder = Folder()
        self.folder.begins_at = begins_at
        for timeframe, candles in history.items():
            self.folder.seed(timeframe, candles)
        newest = history[Timeframe.M1][-1].open_time
        self._forget_before(newest)
        self.is_stuck = False
        self._forming = {(tf, c.open_time) for tf, candles in history.items() for c in candles if not c.is_closed}
        self._changed.clear()
        minutes = self.folder.minutes()
        self.open_from = min((t for t, minute in minutes.items() if not minute.is_closed), default=newest + MINUTE_MS)
        self._owed = _differing(self.folder.refold(list(minutes.values())), history)
        for candle in live.values():
            if candle.open_time >= Folder.since(newest):  # older ones, after a long hole: history has them
                self._merge(candle)
        latest = max(self.folder.minutes())
        if self.folder.minute(latest) != live.get(latest):
            self._last_trade_id = None  # history's candle counts trades up to one we do not know
        self.is_warm = self.was_warm = True

    def expect_gap(self) -> None:
        """The stream was interrupted: trades after it do not continue those before."""
        self._last_trade_id = None
        self.trades_missing_since = None

    def keep_current(self, now_ms: int) -> None:
        """Open the current minute flat if it has no trades so far, so that a quiet market has a forming candle too."""
        current = Timeframe.M1.open_of(now_ms)
        if not self.is_warm or self.open_from != current or now_ms < current + QUIET_START_MS:
            return
        previous = self.folder.minute(current - MINUTE_MS)
        if previous is not None and self.folder.minute(current) is None:
            self._put(flat(previous, open_time=current, is_closed=False))

    def is_overdue(self, now_ms: int, *, grace_ms: int) -> bool:
        """Whether a minute is over for longer than `grace_ms` and nothing has said that it closed."""
        return self.is_warm and now_ms >= self.open_from + MINUTE_MS + grace_ms

    def take_changes(self) -> dict[Timeframe, list[Candle]]:
        """What changed since the last call, in every timeframe, ascending."""
        changed, self._changed = self._changed, {}
        folded = self.folder.refold(changed.values())
        for timeframe, candles in self._owed.items():
            fresh = {candle.open_time for candle in folded[timeframe]}
            folded[timeframe] = [c for c in candles if c.open_time not in fresh] + folded[timeframe]
        self._owed = {}
        for timeframe, candles in folded.items():
            self._forming |= {(timeframe, c.open_time) for c in candles if not c.is_closed}
            self._forming -= {(timeframe, c.open_time) for c in candles if c.is_closed}
        self.is_stuck = self.is_stuck or any(t + timeframe.ms <= self.open_from for timeframe, t in self._forming)
        if changed:
            newest = max(changed)
            self._forget_before(newest)
            self._sent_at = {t: at for t, at in self._sent_at.items() if t > newest - 10 * MINUTE_MS}
        return folded

    def _forget_before(self, now_ms: int) -> None:
        self.folder.forget_before(now_ms)
        self._kept_from = Folder.since(now_ms)

    def _heard(self, now: float) -> None:
        self._messages += 1
        gap = min(now - self.last_message, LONGEST_GAP_S)
        self.usual_gap_s += 0.05 * (gap - self.usual_gap_s)
        self.last_message = now

    def _merge(self, candle: Candle) -> bool:
        """Put `candle` if it is better than what is there; whether it was."""
        if self.is_warm and candle.open_time < self._kept_from:
            return False  # too old to be refolded: the next warm-up has it
        if not _is_better(candle, self.folder.minute(candle.open_time)):
            return False
        self._put(candle)
        return True

    def _put(self, candle: Candle) -> None:
        self._changed[candle.open_time] = candle
        self.folder.seed(Timeframe.M1, (candle,))
        while (minute := self.folder.minute(self.open_from)) is not None and minute.is_closed:
            self.open_from += MINUTE_MS


def _lags(row: Candle, before: Candle, *, asked_ms: int) -> bool:
    """Whether history was asked of a copy that has not seen all the trades of a minute just closed."""
    is_fresh = asked_ms < row.open_time + MINUTE_MS + SETTLED_MS
    return row.is_closed and before.is_closed and row.volume < before.volume and is_fresh


def _is_better(candle: Candle, before: Candle | None) -> bool:
    if before is None:
        return True
    if before.is_closed:
        return candle.is_closed and candle != before
    return candle.is_closed or (candle.volume >= before.volume and candle != before)


def _differing(
    folded: Mapping[Timeframe, Sequence[Candle]], history: Mapping[Timeframe, Sequence[Candle]]
) -> dict[Timeframe, list[Candle]]:
    """What was folded and is not in the history like this: its parts were asked for a moment apart."""
    written = {timeframe: {c.open_time: c for c in candles} for timeframe, candles in history.items()}
    return {
        timeframe: [c for c in candles if written.get(timeframe, {}).get(c.open_time) != c]
        for timeframe, candles in folded.items()
    }


def _first_of(trade: Trade, open_time: int) -> Candle:
    price = trade.price
    return Candle(
        open_time=open_time,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=trade.quantity,
        is_closed=False,
    )


def _with(trade: Trade, before: Candle) -> Candle:
    price = trade.price
    return msgspec.structs.replace(
        before,
        high=max(before.high, price),
        low=min(before.low, price),
        close=price,
        volume=before.volume + trade.quantity,
    )
