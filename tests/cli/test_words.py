"""What cards and moments are called."""

from __future__ import annotations

import re

import msgspec
import pytest

from perseus.cli.live import summary
from perseus.cli.status import exit_code
from perseus.cli.words import block, duration, headline, progress, since
from perseus.errors import UnreadableKey
from perseus.model import WarmupProgress
from perseus.network.cards import Card
from tests.network.records import NOW_MS, card, foreign, payload


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (-5, "0s"),
        (0, "0s"),
        (999, "0s"),
        (12_000, "12s"),
        (250_000, "4m 10s"),
        (240_000, "4m"),
        (15_780_000, "4h 23m"),
        (36_000_000, "10h"),
        (273_600_000, "3d 4h"),
        (86_700_000, "1d"),
    ],
)
def test_duration_is_its_two_largest_units(ms: int, words: str) -> None:
    """Short enough for a card, exact enough to act on."""
    assert duration(ms) == words


def test_since_of_nothing_is_nothing() -> None:
    """Foreign programs write what they like into these fields."""
    assert since(None, now_ms=NOW_MS) is None
    assert since("yesterday", now_ms=NOW_MS) is None


def lines(seen: Card) -> str:
    """The card's block as text."""
    return "\n".join(block(seen, now_ms=NOW_MS))


def test_active_card_has_all_of_its_facts() -> None:
    """UI-02 in a terminal: state, host, IP, admin, symbols, heartbeat, connected since."""
    assert lines(card(payload(age_ms=12_000, lastError="socket closed"), pttl=33_000)) == (
        "● Binance      active         running for 1h\n"
        "  host fra-2 · IP 203.0.113.7 · admin Ada <ada@example.org>\n"
        "  25 symbols · heartbeat 12s ago · offline in 33s\n"
        "  last error: socket closed"
    )


def test_offline_card_is_never_blank() -> None:
    """Everything that was known is still there, labelled as such."""
    assert lines(card(last=payload(age_ms=250_000))) == (
        "✖ Binance      offline        for 4m 10s\n"
        "  last known: host fra-2 · IP 203.0.113.7 · admin Ada <ada@example.org>\n"
        "  25 symbols · was active · seen 4m 10s ago"
    )


def test_card_without_expiry_says_so() -> None:
    """A key without TTL never goes offline by itself."""
    assert "no expiry" in lines(card(foreign(age_ms=1_000), pttl=-1))


def test_unreadable_card_gives_its_reason() -> None:
    """The reason is what a person can act on."""
    text = lines(card(UnreadableKey("x", key="k", reason="WRONGTYPE: a list"), last=payload(age_ms=1_000)))
    assert text.startswith("? Binance      unreadable")
    assert text.endswith("WRONGTYPE: a list")


def test_warming_card_tells_how_far_and_how_long() -> None:
    """The wait is shorter when its end is known."""
    warming = WarmupProgress(
        percent=44.4, eta_seconds=12, current_symbol="BTC-USDT", done=11, total=25, failures=("X: none",)
    )
    assert progress(warming) == "44 % · 11 of 25 symbols · BTC-USDT · 12s left · 1 failed"


def test_symbols_that_are_yet_to_be_chosen_are_no_number() -> None:
    """0 would be a fault, those asked for a guess, and those of the last time somebody else's."""
    before = WarmupProgress(percent=100.0, eta_seconds=0, current_symbol=None, done=9, total=9, finished_at="then")
    begun = WarmupProgress(percent=0.0, eta_seconds=None, current_symbol=None, done=0, total=0)
    died = msgspec.structs.replace(begun, done=3, total=9)
    for state, left, shown in (("starting", died, 1), ("warming", before, 1), ("warming", begun, 2)):
        status = payload(connectionState=state, symbolCount=0)
        seen = card(status, warmup=msgspec.json.encode(left))
        text = lines(seen)
        assert text.count("loading symbols") == shown
        assert not re.search(r"\d symbols|%", text)
        assert not re.search(r"\d symbols|%", summary(seen))
    assert "loading" not in lines(card(payload(symbolCount=0)))
    assert "symbols" not in lines(card(last=payload(age_ms=250_000, connectionState="warming", symbolCount=0)))


def test_headline_answers_whether_anything_is_wrong() -> None:
    """The worst first, with its name and how long; the rest counted."""
    offline, active, never = card(last=payload(age_ms=250_000)), card(payload()), card()
    seen = [never, active, offline, active]
    assert headline(seen, observed_ms=NOW_MS) == (
        "1 of 4 needs attention · binance offline 4m 10s · 2 active · 1 never started · observed 20:09:33Z"
    )
    assert headline([active], observed_ms=NOW_MS).startswith("All is well · 1 active · ")
    assert headline([never], observed_ms=NOW_MS).startswith("Nothing is running · 1 never started · ")
    assert headline([], observed_ms=NOW_MS).startswith("Nothing is running · observed")


def test_exchange_that_is_switched_off_is_shown_but_not_counted() -> None:
    """The first line is the same in a terminal and in a browser, whose pages leave such an exchange out."""
    served = card(last=payload(age_ms=250_000))
    off = msgspec.structs.replace(served, exchange=msgspec.structs.replace(served.exchange, is_active=False))
    assert headline([card(payload()), off], observed_ms=NOW_MS).startswith("All is well · 1 active · observed")
    assert exit_code([card(payload()), off]) == 0
    assert headline([off], observed_ms=NOW_MS).startswith("1 of 1 needs attention · binance offline")
    assert exit_code([off]) == 1
    assert "switched off in the database, so not counted" in lines(off)
    assert "switched off" not in lines(card(payload()))
