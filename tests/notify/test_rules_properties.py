"""Whatever happens, people were told what is true: histories of every kind, and rules that are broken on purpose.

The judge numbers its promises: (1) what was said last of each exchange is true, and nothing that still goes on says
otherwise; (2) never two open incidents of one exchange, and a message tells of each; (3) restarts change nothing;
(4) nor does an entry taken twice; (5) few loud messages: one for a burst, one for flapping; (6) nobody is reminded of
an acknowledged incident, nothing new is said of a muted one until the mute ends, and then at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perseus.notify import rules
from perseus.notify.state import Seen
from tests.notify.broken import VARIANTS
from tests.notify.judge import PAUSES_MS, VENUES, Judge, Step, steps
from tests.notify.logs import NOW_MS, card, event_of

SEEDS = range(1, 21)
STEPS = 100

history = st.lists(
    st.builds(
        Step,
        pause=st.integers(0, len(PAUSES_MS) - 1),
        venue=st.integers(0, 2),
        what=st.integers(0, 9),
        action=st.integers(0, 10_000),
        ticks=st.booleans(),
    ),
    max_size=40,
)

STATES = ("idle", "starting", "warming", "active", "stopping", "stopped", "offline", "")
EVENTS = (
    "state_transition",
    "instance_lost",
    "lease_lost",
    "lease_lapsed",
    "promoted",
    "handoff_completed",
    "error",
    "",
)
numbers = st.sampled_from(("", "0", "1", "2", "3", "4", "999999999999999999", "-1", "x"))
fields = st.fixed_dictionaries(
    {
        "event": st.sampled_from(EVENTS),
        "fromState": st.sampled_from(STATES),
        "toState": st.sampled_from(STATES),
        "state": st.sampled_from(STATES),
        "reason": st.sampled_from(("", "error", "taken", "ada")),
        "instanceId": st.sampled_from(("", "a", "b")),
        "epoch": numbers,
        "seq": numbers,
        "newEpoch": numbers,
        "count": numbers,
        "lastHeartbeat": st.sampled_from(("", "2026-11-22T20:00:00.000Z", "9999-01-01T00:00:00Z", "soon")),
    }
)
HEALTHS = ("active", "transition", "late", "offline", "stopped", "idle", "never", "unreadable", "unknown")
cards = st.lists(
    st.builds(card, st.sampled_from(VENUES), st.sampled_from(HEALTHS), epoch=st.integers(0, 4), wanted=st.booleans()),
    max_size=3,
)
anything = st.lists(
    st.tuples(st.sampled_from(PAUSES_MS), st.one_of(st.tuples(st.sampled_from(VENUES), fields), cards)), max_size=30
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(history=history)
def test_people_were_told_what_is_true(history: list[Step]) -> None:
    """Of what breaks a promise, hypothesis finds the shortest history."""
    Judge().play(history)


@pytest.mark.parametrize("seed", SEEDS)
def test_people_were_told_what_is_true_in_long_histories(seed: int) -> None:
    """Many tenures, hectic times and calm ones: what takes a while to go wrong."""
    Judge().play(steps(seed, count=STEPS))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(happened=anything)
def test_entries_that_make_no_sense_break_no_promise(
    happened: Sequence[tuple[int, tuple[int, dict[str, str]] | list[Seen]]],
) -> None:
    """Nobody knows what is true then; but nothing is lost, doubled, forgotten or told all the time."""
    judge = Judge()
    for pause_ms, what in happened:
        judge.wait(pause_ms)
        if isinstance(what, list):
            judge.show(what)
        else:
            exchange_id, told = what
            judge.take(event_of(exchange_id, judge.now_ms, **told))


@pytest.mark.parametrize("seed", SEEDS)
def test_first_start_tells_of_the_outages_that_a_notifier_knows(seed: int) -> None:
    """Whoever begins in the middle has read the same log, and says nothing but what is the matter now."""
    judge = Judge()
    played = judge.play([step for step in steps(seed, count=STEPS) if step.what == 5])
    begun = rules.begin(judge.taken, of=3, now_ms=judge.now_ms)
    known = {incident.exchange_id for incident in played.incidents.values() if incident.resolved_ms is None}
    assert {incident.exchange_id for incident in begun.incidents.values()} == known
    assert {line.exchange_id for message in begun.messages for line in message.lines} == known
    assert all(message.is_loud and message.opened_ms == judge.now_ms >= NOW_MS for message in begun.messages)


@pytest.mark.parametrize("name", VARIANTS)
def test_broken_rules_are_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that lets this pass would let anything pass."""
    variant = VARIANTS[name]
    for target, attribute, instead in variant.patches:
        monkeypatch.setattr(target, attribute, instead)
    verdict = next((verdict for seed in range(1, 100) if (verdict := judged(seed))), "none broke")
    assert verdict.startswith(variant.promise)


def judged(seed: int) -> str:
    """Which promise a history breaks, and how; `""`: none."""
    try:
        Judge().play(steps(seed, count=STEPS))
    except AssertionError as broken:
        return str(broken)
    return ""
