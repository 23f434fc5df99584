"""Merging: minutes from stream, trades and history, in whatever order they come, end up as the exchange has them."""

from __future__ import annotations

import random
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perseus.exchanges.adapter import CandleUpdate
from perseus.folding import flat
from perseus.instances.followed import QUIET_START_MS, SETTLED_MS, FollowedSymbol
from perseus.model import Candle, Symbol, Timeframe, Trade

MINUTE = Timeframe.M1.ms
START = 20_000 * Timeframe.D1.ms
FAR = START + Timeframe.D1.ms  # asked when every minute here is long over
SYMBOL = Symbol(name="BTC-USDT", native="BTCUSDT", base="BTC", quote="USDT")


def candle(minute: int, *, volume: str = "1.0", close: str = "10.0", is_closed: bool = True) -> Candle:
    """A candle of the minute with this number."""
    return Candle(
        open_time=START + minute * MINUTE,
        open=Decimal("10.0"),
        high=Decimal("12.0"),
        low=Decimal("9.0"),
        close=Decimal(close),
        volume=Decimal(volume),
        is_closed=is_closed,
    )


def update(of: Candle, *, sent: int = 0, last_trade: int = 0) -> CandleUpdate:
    """What the stream says; `sent` in ms after the candle's open time."""
    return CandleUpdate(symbol="BTCUSDT", candle=of, last_trade_id=last_trade, sent_at=of.open_time + sent)


def trade(number: int, *, minute: int, price: str, quantity: str = "0.5") -> Trade:
    """A trade in the minute with this number."""
    return Trade(
        symbol="BTCUSDT",
        id=number,
        price=Decimal(price),
        quantity=Decimal(quantity),
        time=START + minute * MINUTE + 1000,
        buyer_is_maker=False,
    )


def warm(*, closed: int = 3) -> FollowedSymbol:
    """A symbol with `closed` closed minutes of history, nothing to write."""
    followed = FollowedSymbol(SYMBOL, now=0.0)
    followed.begin({Timeframe.M1: [candle(n) for n in range(closed)]}, begins_at=None)
    followed.take_changes()
    return followed


def hour_of(any_minute: Candle) -> Candle:
    """The hour that contains it, as history has it."""
    return msgspec.structs.replace(any_minute, open_time=Timeframe.H1.open_of(any_minute.open_time))


def minute(followed: FollowedSymbol, number: int) -> Candle | None:
    """What is held of a minute now."""
    return followed.folder.minute(START + number * MINUTE)


def test_the_newer_of_two_forming_candles_is_the_one_with_more_volume() -> None:
    """Stream and history cross on the way; a candle must never lose trades again."""
    followed = warm()
    followed.see_candle(update(candle(3, volume="5.0", is_closed=False), sent=5000), now=1)
    older = candle(3, volume="4.0", is_closed=False)
    followed.see_history([older], start=older.open_time, until=older.open_time, heard_from=0, asked_ms=FAR)
    followed.see_candle(update(older, sent=4000), now=1)
    assert minute(followed, 3) == candle(3, volume="5.0", is_closed=False)


def test_a_closed_minute_is_not_reopened() -> None:
    """A duplicated or late forming frame comes after the closing one."""
    followed = warm()
    assert followed.see_candle(update(candle(3), sent=60_100), now=1)
    assert not followed.see_candle(update(candle(3, volume="9.0", is_closed=False), sent=59_000), now=1)
    assert not followed.see_candle(update(candle(3, volume="9.0", is_closed=False), sent=61_000), now=1)
    assert minute(followed, 3) == candle(3)
    assert followed.open_from == START + 4 * MINUTE


def test_a_closed_minute_may_be_revised_and_the_correction_cannot_be_overtaken() -> None:
    """The exchange corrects itself; a delayed copy of its first word must not undo that."""
    followed = warm()
    first, corrected = candle(3, volume="1.0"), candle(3, volume="1.5", close="11.0")
    followed.see_candle(update(first, sent=60_200), now=1)
    assert followed.see_candle(update(corrected, sent=61_200), now=1)
    assert not followed.see_candle(update(first, sent=60_200), now=1)
    assert minute(followed, 3) == corrected
    assert followed.take_changes()[Timeframe.M1] == [corrected]


def test_a_duplicate_changes_nothing() -> None:
    """Each change is a write."""
    followed = warm()
    followed.see_candle(update(candle(3), sent=60_100), now=1)
    followed.take_changes()
    assert not followed.see_candle(update(candle(3), sent=60_100), now=1)
    assert not followed.has_changes


def test_trades_after_the_candle_are_added_to_it() -> None:
    """Candle updates come every second or two; the forming candle follows each trade."""
    followed = warm()
    followed.see_candle(update(candle(3, volume="5.0", is_closed=False), sent=5000, last_trade=100), now=1)
    followed.see_trade(trade(100, minute=3, price="50.0"), now=1)
    followed.see_trade(trade(101, minute=3, price="12.5"), now=1)
    followed.see_trade(trade(101, minute=3, price="12.5"), now=1)
    followed.see_trade(trade(102, minute=3, price="8.5"), now=1)
    held = minute(followed, 3)
    assert held is not None
    assert (held.high, held.low, held.close, held.volume) == tuple(map(Decimal, ("12.5", "8.5", "8.5", "6.0")))


def test_the_first_trade_of_a_minute_opens_its_candle() -> None:
    """The exchange may be seconds late with the first candle of a minute."""
    followed = warm()
    followed.see_candle(update(candle(3), sent=60_100, last_trade=100), now=1)
    followed.see_trade(trade(101, minute=4, price="11.0"), now=1)
    held = minute(followed, 4)
    assert held is not None
    assert (held.open, held.volume, held.is_closed) == (Decimal("11.0"), Decimal("0.5"), False)


def test_missing_trades_are_noticed_and_settled_by_a_candle_that_counts_them() -> None:
    """A trade after a hole must not make a candle that looks complete."""
    followed = warm()
    followed.see_candle(update(candle(3, volume="5.0", is_closed=False), sent=5000, last_trade=100), now=1)
    followed.see_trade(trade(103, minute=3, price="20.0"), now=7)
    assert followed.trades_missing_since == 7
    assert minute(followed, 3) == candle(3, volume="5.0", is_closed=False)
    followed.see_candle(update(candle(3, volume="5.5", is_closed=False), sent=6000, last_trade=102), now=8)
    assert followed.trades_missing_since == 7
    followed.see_candle(update(candle(3, volume="7.0", is_closed=False), sent=7000, last_trade=103), now=9)
    assert followed.trades_missing_since is None


def test_trades_are_not_added_to_a_candle_of_which_we_do_not_know_what_it_counts() -> None:
    """A row of history says no trade id: a trade added to it might be counted twice."""
    followed = warm()
    followed.see_candle(update(candle(3, volume="5.0", is_closed=False), sent=5000, last_trade=100), now=1)
    row = candle(3, volume="8.0", is_closed=False)
    followed.see_history([row], start=row.open_time, until=row.open_time, heard_from=0, asked_ms=FAR)
    followed.see_trade(trade(101, minute=3, price="10.0"), now=2)
    assert minute(followed, 3) == row


def test_minutes_that_history_leaves_out_are_filled_flat() -> None:
    """Zero-trade minutes: nothing comes from the stream, and a candle must stand there all the same."""
    followed = warm()
    followed.see_history([candle(5)], start=START + 3 * MINUTE, until=START + 6 * MINUTE, heard_from=0, asked_ms=FAR)
    assert minute(followed, 3) == flat(candle(2), open_time=START + 3 * MINUTE)
    assert minute(followed, 4) == flat(candle(2), open_time=START + 4 * MINUTE)
    assert followed.open_from == START + 6 * MINUTE


def test_a_minute_that_may_still_change_is_not_filled() -> None:
    """History may not have its newest minute yet."""
    followed = warm()
    followed.see_history([], start=START + 3 * MINUTE, until=START + 3 * MINUTE, heard_from=0, asked_ms=FAR)
    assert minute(followed, 3) is None


def test_a_synthetic_minute_gives_way_to_a_real_one() -> None:
    """The exchange had a hole and closed it later."""
    followed = warm()
    followed.see_history([], start=START + 3 * MINUTE, until=START + 4 * MINUTE, heard_from=0, asked_ms=FAR)
    followed.see_history([candle(3)], start=START + 3 * MINUTE, until=START + 4 * MINUTE, heard_from=0, asked_ms=FAR)
    assert minute(followed, 3) == candle(3)


def test_history_that_knows_more_than_the_stream_is_news() -> None:
    """How a dead subscription is told from a quiet market."""
    followed = warm()
    followed.see_candle(update(candle(3, volume="5.0", is_closed=False), sent=5000), now=1)
    known, quiet = candle(3, volume="5.0", is_closed=False), candle(4, volume="0", is_closed=False)
    later = START + 2 * MINUTE
    assert not followed.see_history([known, quiet], start=later, until=later, heard_from=later, asked_ms=FAR)
    more = candle(3, volume="5.1", is_closed=False)
    assert followed.see_history([more], start=later, until=later, heard_from=later, asked_ms=FAR)
    even_more = candle(3, volume="5.2", is_closed=False)
    assert not followed.see_history([even_more], start=later, until=later, heard_from=START + 4 * MINUTE, asked_ms=FAR)


def test_a_quiet_minute_gets_a_forming_candle_once_its_predecessor_is_closed() -> None:
    """There is an open minute in every market, also where nobody trades."""
    followed = warm()
    current = START + 3 * MINUTE
    followed.keep_current(current + QUIET_START_MS - 1)
    assert minute(followed, 3) is None
    followed.keep_current(current + QUIET_START_MS)
    assert minute(followed, 3) == flat(candle(2), open_time=current, is_closed=False)
    followed.keep_current(current + MINUTE + QUIET_START_MS)
    assert minute(followed, 4) is None
    assert followed.is_overdue(current + MINUTE + 2500, grace_ms=2500)


def test_a_trade_replaces_the_flat_candle_of_a_quiet_minute() -> None:
    """A candle opens with its first trade, not with the flat stretch before it."""
    followed = warm()
    followed.see_candle(update(candle(2, close="10.5"), sent=60_100, last_trade=100), now=1)
    followed.keep_current(START + 3 * MINUTE + QUIET_START_MS)
    followed.see_trade(trade(101, minute=3, price="11.0"), now=1)
    held = minute(followed, 3)
    assert held is not None
    assert (held.open, held.low, held.is_synthetic) == (Decimal("11.0"), Decimal("11.0"), False)


def test_what_the_stream_said_during_the_warm_up_is_merged_with_history() -> None:
    """Subscribe, buffer, ask for history, merge by open time: nothing falls between the two."""
    followed = FollowedSymbol(SYMBOL, now=0.0)
    followed.see_candle(update(candle(3), sent=60_100), now=1)
    followed.see_candle(update(candle(4, volume="2.0", is_closed=False), sent=4000), now=1)
    assert not followed.has_changes
    history = [candle(0), candle(1), candle(2), candle(3, volume="0.5", is_closed=False)]
    followed.begin({Timeframe.M1: history}, begins_at=None)
    assert followed.open_from == START + 4 * MINUTE
    changed = followed.take_changes()[Timeframe.M1]
    assert changed[-2:] == [candle(3), candle(4, volume="2.0", is_closed=False)]


def test_a_history_asked_for_across_a_minute_boundary_stays_open_where_it_is() -> None:
    """Its last-but-one row may not be final yet although a newer one is there."""
    followed = FollowedSymbol(SYMBOL, now=0.0)
    history = [candle(0), candle(1, is_closed=False), candle(2, is_closed=False)]
    followed.begin({Timeframe.M1: history}, begins_at=None)
    assert followed.open_from == START + MINUTE
    assert followed.is_overdue(START + 3 * MINUTE, grace_ms=2500)


def test_the_usual_pace_of_a_symbol_is_learned() -> None:
    """What is silence for one market is business as usual for another."""
    lively, quiet = warm(), warm()
    for n in range(200):
        lively.see_trade(trade(n, minute=3, price="10.0"), now=n * 0.1)
        quiet.see_trade(trade(n, minute=3, price="10.0"), now=n * 30.0)
    assert lively.usual_gap_s < 0.2
    assert quiet.usual_gap_s > 25


def test_a_copy_of_history_that_lags_does_not_undo_what_the_stream_closed() -> None:
    """Asked seconds after the minute, one of the exchange's servers may not have its last trades."""
    followed = warm()
    followed.see_candle(update(candle(3, volume="5.0"), sent=60_300), now=1)
    row, end = candle(3, volume="4.0"), START + 4 * MINUTE
    followed.see_history([row], start=row.open_time, until=end, heard_from=0, asked_ms=end + SETTLED_MS - 1)
    assert minute(followed, 3) == candle(3, volume="5.0")
    followed.see_history([row], start=row.open_time, until=end, heard_from=0, asked_ms=end + SETTLED_MS)
    assert minute(followed, 3) == row


def test_history_that_comes_too_late_to_be_folded_asks_for_a_new_warm_up() -> None:
    """The minutes around it are forgotten: its five minutes would be forming for ever."""
    followed = warm(closed=2)
    for number in range(4, 60):
        followed.see_candle(update(candle(number), sent=60_100), now=1)
    followed.take_changes()
    followed.see_candle(update(candle(121, is_closed=False), sent=1000), now=1)
    followed.take_changes()
    assert not followed.is_stuck
    rows = [candle(2), candle(3)]
    followed.see_history(rows, start=rows[0].open_time, until=START + 4 * MINUTE, heard_from=0, asked_ms=FAR)
    assert followed.is_stuck


def test_a_candle_that_its_minutes_cannot_close_asks_for_a_new_warm_up() -> None:
    """Whatever made the fold impossible, a candle that is over must not stay open."""
    followed = FollowedSymbol(SYMBOL, now=0.0)
    hour = candle(58, is_closed=False)
    history = {Timeframe.M1: [candle(58), candle(59, is_closed=False)], Timeframe.H1: [hour_of(hour)]}
    followed.begin(history, begins_at=None)
    followed.take_changes()
    assert not followed.is_stuck
    followed.see_candle(update(candle(59), sent=60_100), now=1)
    followed.take_changes()
    assert followed.is_stuck
    followed.begin({Timeframe.M1: [candle(59)]}, begins_at=None)
    assert not followed.is_stuck


@pytest.mark.parametrize("newer", [False, True])
def test_after_a_warm_up_no_trade_is_counted_twice(newer: bool) -> None:
    """History's forming candle counts trades up to one it does not name; the stream's last id was an older one."""
    followed = FollowedSymbol(SYMBOL, now=0.0)
    followed.see_candle(update(candle(3, volume="5.0", is_closed=False), sent=5000, last_trade=100), now=1)
    row = candle(4 if newer else 3, volume="8.0", is_closed=False)
    followed.begin({Timeframe.M1: [candle(2), candle(3), row] if newer else [candle(2), row]}, begins_at=None)
    followed.see_trade(trade(101, minute=4 if newer else 3, price="10.0"), now=2)
    assert minute(followed, 4 if newer else 3) == row


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_any_order_of_frames_ends_in_the_exchanges_candles(seed: int) -> None:
    """Duplicates, swaps and losses on the way: once every minute's last word has arrived, all is as it should be."""
    source = random.Random(seed)
    truth = [candle(n, volume=f"{source.randint(1, 99)}.5", close=f"{source.randint(9, 12)}") for n in range(3, 12)]
    frames = []
    for last in truth:
        forming = [msgspec.structs.replace(last, volume=last.volume * n / 4, is_closed=False) for n in (1, 2, 3)]
        said = [update(one, sent=n * 10_000, last_trade=n) for n, one in enumerate(forming, 1)]
        frames += [one for one in said if source.random() < 0.8]
        frames += [update(last, sent=60_100, last_trade=9)] * source.choice((1, 1, 2))
    source.shuffle(frames)
    followed = warm()
    for one in frames:
        followed.see_candle(one, now=1)
    assert [minute(followed, n) for n in range(3, 12)] == truth
    assert followed.open_from == START + 12 * MINUTE


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_changes_are_taken_once(timeframe: Timeframe) -> None:
    """What has been handed over for writing is not written again and again."""
    followed = warm()
    followed.see_candle(update(candle(3), sent=60_100), now=1)
    assert followed.take_changes()[timeframe]
    assert not followed.take_changes()[timeframe]
