"""Positions over all logs: exact whatever order entries come in, short however many logs there are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perseus.errors import BadInput
from perseus.network.feed import FeedEntry
from perseus.network.tail import KEPT, Position, Tail

NOW = 1_795_378_173_828
NAMES = ("binance", "binance_us", "kraken")


def entry(name: str, ms: int, seq: int = 0) -> FeedEntry:
    """An entry of that id."""
    return FeedEntry(name, f"{ms}-{seq}", {"event": "error"})


def places(arrived: object) -> list[tuple[int, int, str]]:
    """Where the entries stand."""
    assert isinstance(arrived, list)
    return [each.entry.order for each in arrived]


def begun(*names: str) -> Tail:
    """A tail that follows empty logs."""
    tail = Tail()
    tail.known_until(NOW)
    tail.begin({name: [] for name in names}, asked=50)
    return tail


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), ahead=st.sampled_from([0, 3, 900, 30_000]))
def test_whoever_resumes_gets_every_entry_once(seed: int, ahead: int) -> None:
    """Several logs, some on servers whose clocks are ahead; interrupted anywhere, also in the middle of a replay."""
    dice = random.Random(seed)
    tail, came = begun(*NAMES), list[tuple[int, int, str]]()
    now, ahead_by = NOW, {name: dice.choice([0, ahead]) for name in NAMES}  # within what positions allow for
    seen = [(n, at) for n, at in [(0, str(tail.position()))]]
    for _ in range(dice.randint(1, 12)):
        batch = list[FeedEntry]()
        for name in NAMES:
            for _ in range(dice.randint(0, 3)):
                now += dice.choice([0, 1, 50, 5000])
                written = now + ahead_by[name]
                newest = max([e.order[:2] for e in batch if e.exchange_name == name], default=tail.newest(name))
                seq = newest[1] + 1 if newest and newest[0] == written else 0
                batch.append(entry(name, written, seq))
        tail.take(batch)
        tail.known_until(now + max(ahead_by.values()))
        new = tail.since(seen[-1][0])
        assert new is not None
        came += places(new)
        seen += [(each.n, each.position) for each in new]
    for n, at in dice.sample(seen, min(len(seen), 8)):
        missed = tail.missed(Position.parse(at))
        assert missed is not None
        assert places(missed) == came[n:]
        for k, each in enumerate(missed):
            again = tail.missed(Position.parse(each.position))
            assert again is not None
            assert places(again) == came[n + k + 1 :]


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_another_process_goes_on_where_one_ended(seed: int) -> None:
    """Two web servers read the same logs at their own moments: what came first to one may come second to the other."""
    dice = random.Random(seed)
    logs = {name: [entry(name, NOW + k * 10 + dice.randint(0, 9)) for k in range(12)] for name in NAMES}
    had = set[tuple[int, int, str]]()
    at = None
    for tail in (begun(*NAMES), begun(*NAMES), begun(*NAMES)):
        taken = dict.fromkeys(NAMES, 0)
        while any(taken[name] < 12 for name in NAMES):
            batch = list[FeedEntry]()
            for name in NAMES:
                k = min(12, taken[name] + dice.randint(0, 4))
                batch += logs[name][taken[name] : k]
                taken[name] = k
            tail.take(batch)
            if dice.random() < 0.3:
                break
        if at is not None and tail.is_behind(Position.parse(at)):
            continue
        missed = tail.missed(Position.parse(at)) if at else tail.since(0)
        assert missed is not None
        for each in missed[: dice.randint(0, len(missed))]:
            assert each.entry.order not in had
            had.add(each.entry.order)
            at = each.position
    tail = begun(*NAMES)
    tail.take([each for name in NAMES for each in logs[name]])
    missed = tail.missed(Position.parse(at)) if at else tail.since(0)
    assert missed is not None
    assert had | {*places(missed)} == {each.order for name in NAMES for each in logs[name]}
    assert not had & {*places(missed)}


def test_position_names_few_of_many_logs() -> None:
    """It travels in a header: a thousand exchanges must not make it a thousand names long."""
    names = [f"x{n}" for n in range(1000)]
    tail = begun(*names)
    tail.take([entry(name, NOW + n * 40) for n, name in enumerate(names)])
    tail.known_until(NOW + 40_000)
    assert len(str(tail.position())) < 2000
    assert tail.missed(tail.position()) == []
    behind = tail.since(950) or []
    another = Position.parse(behind[0].position)
    another = another._replace(named={**another.named, "x999": (NOW + 999 * 40, 0)})  # that one came to it earlier
    missed = tail.missed(another) or []
    assert [each.entry.exchange_name for each in missed] == [f"x{n}" for n in range(951, 999)]
    assert max(len(each.position) for each in missed) < 2000


def test_position_survives_its_text() -> None:
    """It goes to a client and comes back."""
    position = Position(NOW, {"binance": (NOW + 5, 1), "binance_us": (NOW, 0)})
    assert Position.parse(str(position)) == position
    assert position.of("kraken") < (NOW, 0) <= position.of("binance_us")


@pytest.mark.parametrize(
    "text", ["x", "-1", "1,", "1,UP:1-1", "1,a:1", "1,a:1-1,", "1-0", " 1", "9" * 30, "1," + "a" * 99]
)
def test_id_of_nobody_is_refused(text: str) -> None:
    """It must not be answered as if nothing had been missed."""
    with pytest.raises(BadInput, match="no id of ours") as caught:
        Position.parse(text)
    assert caught.value.field == "lastEventId"


def test_what_is_remembered_no_more_is_not_resumed() -> None:
    """Entries left out in silence would be lost."""
    tail = begun("binance", "kraken")
    before = Position.parse(str(tail.position()))
    tail.take([entry("binance", NOW + n) for n in range(KEPT + 1)])
    assert tail.missed(before) is None
    assert tail.since(0) is None
    assert len(tail.since(1) or []) == KEPT


def test_restarted_process_resumes_what_it_read_at_its_start() -> None:
    """A browser reconnects to a web server that was just upgraded."""
    tail = Tail()
    tail.known_until(NOW)
    tail.begin({"binance": [entry("binance", NOW - n) for n in (30, 20, 10)], "kraken": []}, asked=3)
    missed = tail.missed(Position(NOW - 100_000, {"binance": (NOW - 20, 0)}))
    assert missed is not None
    assert [each.entry.id for each in missed] == [f"{NOW - 10}-0"]
    assert tail.missed(Position(NOW - 100_000, {})) is None  # there may have been more before the three


def test_restarted_process_is_left_in_the_middle_of_what_was_missed() -> None:
    """The first reconnect after an upgrade is cut off as well."""
    tail = Tail()
    tail.known_until(NOW)
    history = {name: [entry(name, NOW - 100 + n * 10 + at) for n in range(3)] for at, name in enumerate(NAMES)}
    tail.begin(history, asked=50)
    position, had = Position(NOW - 100_000, {}), list[tuple[int, int, str]]()
    while missed := tail.missed(position):
        had.append(missed[0].entry.order)
        position = Position.parse(missed[0].position)
    assert had == sorted(each.order for entries in history.values() for each in entries)


def test_repeated_append_is_told_once() -> None:
    """The writer lost the first reply; both copies are in the log."""
    tail = begun("binance")
    fields = {"event": "error", "instanceId": "i", "epoch": "1", "seq": "1"}
    tail.take([FeedEntry("binance", f"{NOW + n}-0", fields) for n in range(2)])
    assert tail.n == 1
    assert tail.newest("binance") == (NOW + 1, 0)
