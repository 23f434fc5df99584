"""What a symbol needs, and how often the exchange is asked when that does not help."""

from __future__ import annotations

from decimal import Decimal

import pytest

from perseus.errors import VenueUnavailable
from perseus.instances.backoff import doubled
from perseus.instances.care import FIRST_WORD_S, FUTILE_MOST_S, GIVE_UP_AFTER, RETRY_MOST_S, VERDICT_S, Care
from perseus.instances.followed import FollowedSymbol
from perseus.instances.links import Link
from perseus.model import Candle, Symbol, Timeframe

START = 20_000 * Timeframe.D1.ms
OPEN = START + Timeframe.M1.ms
OVERDUE = START + 2 * Timeframe.M1.ms + 5_000
SYMBOL = Symbol(name="ZRX-USDT", native="ZRXUSDT", base="ZRX", quote="USDT")


@pytest.fixture
def care() -> Care:
    """A symbol with one closed minute of history on a connection that came up at 0."""
    price, link = Decimal(1), Link([SYMBOL])
    link.is_up, link.subscriptions = True, 1
    followed = FollowedSymbol(SYMBOL, now=0.0)
    first = Candle(open_time=START, open=price, high=price, low=price, close=price, volume=price, is_closed=True)
    followed.begin({Timeframe.M1: [first]}, begins_at=None)
    return Care(followed, link, reconcile_at=1e9, subscription=1)


def test_a_pause_has_an_end_after_any_number_of_attempts() -> None:
    """The 1024th attempt of a long outage was no float any more and ended the instance."""
    assert [doubled(1.0, times, most_s=60.0) for times in (0, 1, 5, 6)] == [1.0, 2.0, 32.0, 60.0]
    assert doubled(15.0, 10**6, most_s=600.0) == 600.0


def test_failures_without_end_leave_a_pause(care: Care) -> None:
    """A night without the exchange's history."""
    for _ in range(2000):
        care.failed(VenueUnavailable("no answer"), now=100.0)
    assert 100.0 <= care.not_before <= 100.0 + RETRY_MOST_S


def test_answers_that_change_nothing_are_asked_for_ever_less_often(care: Care) -> None:
    """A server that lags must not get four requests a second for each symbol."""
    pauses = []
    for _ in range(7):
        assert care.need(now=1.0, now_ms=OVERDUE) == "close"
        care.answered("close", open_from=OPEN, now=1.0, now_ms=OVERDUE)
        pauses.append(care.not_before - 1.0)
    assert pauses == [1.0, 2.0, 4.0, 8.0, FUTILE_MOST_S, FUTILE_MOST_S, FUTILE_MOST_S]
    care.answered("close", open_from=OPEN, now=50.0, now_ms=OPEN)
    care.not_before = 0.0
    care.answered("close", open_from=START, now=51.0, now_ms=OVERDUE)
    assert care.not_before == 0.0, "a minute was closed: the next may be asked for at once"
    care.answered("close", open_from=OPEN, now=51.0, now_ms=OVERDUE)
    assert care.not_before == 52.0, "once it helped, it begins anew"


def test_a_new_connection_without_a_word_is_asked_about(care: Care) -> None:
    """Nothing to say, or a subscription that brings nothing: only the exchange knows."""
    now_ms = START + Timeframe.M1.ms
    assert care.need(now=FIRST_WORD_S, now_ms=now_ms) == ""
    assert care.need(now=FIRST_WORD_S + 0.1, now_ms=now_ms) == "first"
    care.judge("first", news=True, now=VERDICT_S - 0.1)
    assert not care.has_agreed, "it may still be on its way"
    care.judge("first", news=False, now=FIRST_WORD_S + 0.2)
    assert care.has_agreed
    assert care.need(now=FIRST_WORD_S + 0.3, now_ms=now_ms) == ""
    care.begin_hearing(now_ms)
    assert care.need(now=FIRST_WORD_S + 0.4, now_ms=now_ms) == "first"


def test_a_subscription_that_missed_trades_is_dead_if_they_do_not_arrive(care: Care) -> None:
    """And while that is found out, the exchange is not asked again and again."""
    care.judge("silence", news=True, now=70.0)
    assert not care.is_dead(70.0 + VERDICT_S)
    assert care.is_dead(70.1 + VERDICT_S)
    assert care.not_before == 70.0 + VERDICT_S
    assert care.quiet_until > 70.0


def test_only_a_symbol_that_never_had_candles_is_given_up(care: Care) -> None:
    """The others stop waiting for it; one that is served and falls behind makes the data inaccurate instead."""
    care.failures = GIVE_UP_AFTER
    assert not care.is_given_up
    fresh = Care(FollowedSymbol(SYMBOL, now=0.0), care.link, reconcile_at=0.0)
    assert not fresh.is_given_up
    fresh.failures = GIVE_UP_AFTER
    assert fresh.is_given_up
