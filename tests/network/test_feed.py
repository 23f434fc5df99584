"""The feed: numeric order, exact pages over one stream or all, repeated appends shown once."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perseus.errors import BadUsage
from perseus.network.feed import (
    LOOK_BACK,
    Cursor,
    FeedEntry,
    Following,
    Wanted,
    encode,
    merge,
    page,
    parse_cursor,
    part,
    start,
)
from perseus.store import Entry

RUNS_EVERYWHERE = True

Streams = dict[str, list[Entry]]


def read(streams: Streams, position: Cursor, count: int) -> Streams:
    """What XREVRANGE with COUNT answers below a position, for each stream."""
    found = {}
    for name, entries in streams.items():
        bound = position.newest_for(name)
        ms, _, seq = bound.removeprefix("(").partition("-")
        limit = (int(ms), int(seq))
        below = [e for e in entries if e.order < limit or (e.order == limit and not bound.startswith("("))]
        found[name] = sorted(below, key=lambda e: e.order, reverse=True)[:count]
    return found


def all_pages(streams: Streams, *, count: int, wanted: Wanted | None = None) -> list[list[FeedEntry]]:
    """Every page until the end, going on by cursor as a client does."""
    wanted = wanted or Wanted()
    pages = []
    cursor: str | None = None
    while True:
        position = parse_cursor(cursor) if cursor else start(wanted)
        asked = count + 1 + LOOK_BACK
        merged, rest = merge(
            part(name, entries, asked=asked, wanted=Wanted())
            for name, entries in read(streams, position, asked).items()
        )
        answered = page([entry for entry in merged if wanted.takes(entry)], count=count, rest=rest)
        pages.append(answered.entries)
        cursor = answered.next_cursor
        if cursor is None:
            return pages


def tenure(n: int, *, seq: int | None = None) -> dict[str, str]:
    """Fields of one of our own entries."""
    return {"event": "error", "instanceId": "i", "epoch": "7", "seq": str(n if seq is None else seq), "n": str(n)}


ids = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), unique=True, max_size=60)


DENSE = [(n, 0) for n in range(200, 300)]  # many pages of one stream beside one entry of another
SPARSE = [(n, 0) for n in range(0, 300, 9)]


@settings(max_examples=150, deadline=None)
@example(a=DENSE, b=SPARSE, c=[], count=5)
@example(a=SPARSE, b=DENSE, c=[(299, 0)], count=9)
@given(a=ids, b=ids, c=ids, count=st.integers(1, 9))
def test_pages_lose_and_repeat_nothing(
    a: list[tuple[int, int]], b: list[tuple[int, int]], c: list[tuple[int, int]], count: int
) -> None:
    """All exchanges at once, with equal ids in several streams: exactly the entries there are, in one order."""
    streams = {
        name: [Entry(f"{ms + 1}-{seq}", {"event": "x" if ms % 7 == 0 else "y"}) for ms, seq in found]
        for name, found in (("binance", a), ("coinbase", b), ("kraken", c))
    }
    for wanted in (Wanted(), Wanted(events=frozenset({"x"}))):  # few of many: pages end between two reads
        shown = [entry for entries in all_pages(streams, count=count, wanted=wanted) for entry in entries]
        there = [FeedEntry(name, e.id, e.fields) for name, entries in streams.items() for e in entries]
        assert [e.order for e in shown] == sorted((e.order for e in there if wanted.takes(e)), reverse=True)


@settings(max_examples=100, deadline=None)
@example(repeats=[True] * 100, count=1)
@example(repeats=[True] * 100, count=2)
@example(repeats=[*[True] * 99, False], count=3)
@given(repeats=st.lists(st.booleans(), max_size=120), count=st.integers(1, 15))
def test_repeated_append_is_shown_once_also_across_pages(repeats: list[bool], count: int) -> None:
    """A lost reply makes the writer append again; nobody should read the same error twice."""
    entries = []
    at = 0
    for n, repeated in enumerate(repeats):
        for _ in range(2 if repeated else 1):
            at += 1
            entries.append(Entry(f"{at}-0", tenure(n) | {"event": f"e{n % 5}"}))
    for wanted, step in ((Wanted(), 1), (Wanted(events=frozenset({"e0"})), 5)):
        shown = [e for found in all_pages({"binance": entries}, count=count, wanted=wanted) for e in found]
        assert [e.fields["n"] for e in shown] == [str(n) for n in reversed(range(0, len(repeats), step))]


def test_order_is_numeric() -> None:
    """As text, 9-0 would come after 10-0."""
    streams = {"binance": [Entry(text, {}) for text in ("9-0", "10-0", "10-9", "10-10")]}
    (entries,) = all_pages(streams, count=10)
    assert [entry.id for entry in entries] == ["10-10", "10-9", "10-0", "9-0"]


def test_entries_of_other_programs_are_never_taken_for_repeats() -> None:
    """They carry no instance, epoch or sequence; two equal ones are two events."""
    streams = {"binance": [Entry(f"{n}-0", {"event": "error", "error": "same"}) for n in range(1, 4)]}
    assert len(all_pages(streams, count=10)[0]) == 3


def test_filters_take_only_what_is_wanted() -> None:
    """Event, range (inclusive) and text in any field, whatever its case."""
    wanted = Wanted(events=frozenset({"error"}), since_ms=2, until_ms=4, text="REFUSED")
    streams = {
        "binance": [
            Entry(f"{n}-0", {"event": event, "error": text})
            for n, (event, text) in enumerate(
                [("error", "refused"), ("error", "refused"), ("error", "x"), ("y", "refused"), ("error", "Refused")]
            )
        ]
    }
    shown = [entry.id for entries in all_pages(streams, count=2, wanted=wanted) for entry in entries]
    assert shown == ["4-0"]


def test_nothing_older_than_ninety_days_is_asked_for() -> None:
    """Trimming is approximate; readers drop the rest."""
    day = 86_400_000
    assert Wanted().oldest_id(now_ms=100 * day) == str(10 * day)
    assert Wanted(since_ms=50 * day).oldest_id(now_ms=100 * day) == str(50 * day)
    assert Wanted(since_ms=5 * day).oldest_id(now_ms=100 * day) == str(10 * day)


@pytest.mark.parametrize("text", ["", "x", "1", "1-", "-1", "1-1@", "1-1@UP", "0-0", "1-1 ", f"{2**64}-0", "1-1@a@b"])
def test_cursor_of_nobody_is_refused(text: str) -> None:
    """A client's mistake must be said, not answered with the first page."""
    with pytest.raises(BadUsage, match="none of ours"):
        parse_cursor(text)


def test_bare_stream_id_is_a_cursor() -> None:
    """Clients written for one stream page with the last id they saw, excluded."""
    assert parse_cursor("5-1").newest_for("binance") == "(5-1"
    assert parse_cursor("5-1@kraken").newest_for("binance") == "5-1"
    assert parse_cursor("5-1@kraken").newest_for("kraken") == "(5-1"


def test_live_tail_shows_a_repeated_append_once() -> None:
    """The first is shown at once; the second must not look like another error."""
    following = Following()
    first = FeedEntry("binance", "1-0", tenure(1))
    again = FeedEntry("binance", "2-0", tenure(1))
    other = FeedEntry("binance", "3-0", {"event": "error"})
    assert following.fresh([first]) == [first]
    assert following.fresh([again, other, other]) == [other, other]


def test_entry_as_json_has_the_promised_shape() -> None:
    """Values are text; the id is the stream's; the exchange is named even by entries that do not."""
    line = json.loads(encode(FeedEntry("binance", "5-1", {"event": "error", "exchangeId": "2"})))
    unknown = dict.fromkeys(("timestamp", "hostname", "ip", "adminEmail"), "")
    assert line == {"id": "5-1", "event": "error", "exchangeId": "2", "exchangeName": "binance"} | unknown
