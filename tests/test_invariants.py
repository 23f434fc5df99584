"""The judge of the fault tests: it condemns every kind of broken history, and no correct one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.invariants import BrokenPromise, Claim, History, Landed, Sample, Write, judge

OLD, NEW = 100, 200


def status(epoch: int, rev: int, *, instance: str = "", claim: str = "") -> dict[str, Any]:
    """A payload as far as the judge looks at it."""
    name = "a" if epoch == OLD else "b"
    return {
        "epoch": epoch,
        "rev": rev,
        "instanceId": instance or name,
        "claimId": claim or f"claim-{epoch}",
        "connectionState": "active",
    }


def entry(event: str, epoch: int = OLD, seq: int | None = None, **more: str) -> dict[str, str]:
    """A log entry; `seq` as text, absent for one that another instance wrote."""
    fields = {"event": event, "instanceId": "a" if epoch == OLD else "b", "epoch": str(epoch), **more}
    return fields if seq is None else fields | {"seq": str(seq)}


def steps(epoch: int, *states: str) -> list[dict[str, str]]:
    """The transitions through these states."""
    pairs = pairwise(states)
    return [entry("state_transition", epoch, n, fromState=a, toState=b) for n, (a, b) in enumerate(pairs, 1)]


def takeover() -> History:
    """A correct history: the holder of OLD dies at 10, NEW claims at 15, and the loss is on record."""
    return History(
        claims=[Claim(1.0, "a", OLD), Claim(15.0, "b", NEW)],
        writes=[
            Write("a", OLD, 1, 2.0, 2.1, "accepted"),
            Write("a", OLD, 2, 9.9, 10.4, "unknown"),
            Write("b", NEW, 1, 16.0, 16.1, "accepted"),
        ],
        samples=[
            Sample(1.0, 1.1, status(OLD, 0)),
            Sample(5.0, 5.1, status(OLD, 4)),
            Sample(14.0, 14.1, None),
            Sample(15.0, 15.1, status(NEW, 0)),
            Sample(17.0, 17.1, status(NEW, 2)),
        ],
        landed=[
            Landed(15.5, 15.6, frozenset({(OLD, 1)})),
            Landed(18.0, 18.1, frozenset({(OLD, 1), (NEW, 1)})),
        ],
        entries=[
            *steps(OLD, "idle", "starting", "warming", "active"),
            entry("instance_lost"),
            *steps(NEW, "idle", "starting", "warming", "active"),
        ],
    )


def test_correct_history_is_not_condemned() -> None:
    """A judge that cries wolf is switched off."""
    judge(takeover())


def test_uncertain_order_is_not_condemned() -> None:
    """A write that overlaps the next claim may have come before it; one without an answer may have landed or not."""
    history = takeover()
    history.writes.append(Write("a", OLD, 3, 14.9, 15.9, "accepted"))
    history.landed[0] = Landed(15.5, 15.6, frozenset({(OLD, 1), (OLD, 2), (OLD, 3)}))
    history.landed[1] = Landed(18.0, 18.1, frozenset({(OLD, 1), (OLD, 2), (OLD, 3), (NEW, 1)}))
    judge(history)


def test_repeated_entry_is_not_condemned() -> None:
    """Appending is tried again after a lost answer; readers drop what they have."""
    history = takeover()
    history.entries.insert(2, dict(history.entries[1]))
    judge(history)


def test_end_on_purpose_needs_no_record() -> None:
    """A release, or a logged stop, is no loss."""
    history = takeover()
    history.entries[3:4] = steps(OLD, "active", "stopping", "stopped")
    for n, each in enumerate(history.entries[:5], 1):
        each["seq"] = str(n)
    judge(history)
    history.entries[3:5] = []
    history.released = frozenset({OLD})
    judge(history)


def test_old_data_of_a_store_are_not_condemned() -> None:
    """It came back with what it held before; that the old tenure goes on from there would be another matter."""
    history = takeover()
    history.keeps_data = False
    history.samples += [Sample(19.0, 19.1, status(OLD, 4)), Sample(21.0, 21.1, status(NEW, 1))]
    judge(history)
    history.samples.append(Sample(22.0, 22.1, status(OLD, 5)))
    with pytest.raises(BrokenPromise, match="went from epoch 200 to 100"):
        judge(history)


def _epoch_shared(history: History) -> None:
    history.claims.append(Claim(15.0, "c", NEW))


def _claim_shared(history: History) -> None:
    history.samples.append(Sample(19.0, 19.1, status(NEW, 3, claim="another")))


def _epoch_fell(history: History) -> None:
    history.samples.append(Sample(19.0, 19.1, status(OLD, 9)))


def _rev_fell(history: History) -> None:
    history.samples.append(Sample(19.0, 19.1, status(NEW, 1)))


def _accepted_late(history: History) -> None:
    history.keeps_time = False
    history.writes.append(Write("a", OLD, 3, 16.0, 16.1, "accepted"))


def _believed_late(history: History) -> None:
    history.writes.append(Write("a", OLD, 3, 15.3, 15.4, "refused"))


def _believed_in_silence(history: History) -> None:
    history.believed += [Claim(15.3, "a", OLD), Claim(9.0, "a", OLD), Claim(15.3, "b", NEW)]


def _landed_late(history: History) -> None:
    history.landed[1] = Landed(18.0, 18.1, frozenset({(OLD, 1), (OLD, 2), (NEW, 1)}))


def _accepted_but_gone(history: History) -> None:
    history.landed[1] = Landed(18.0, 18.1, frozenset({(OLD, 1)}))


def _refused_but_there(history: History) -> None:
    history.writes.append(Write("b", NEW, 2, 16.5, 16.6, "refused"))
    history.landed[1] = Landed(18.0, 18.1, frozenset({(OLD, 1), (NEW, 1), (NEW, 2)}))


def _two_entries_with_one_seq(history: History) -> None:
    history.entries.append(entry("error", NEW, 1, error="another"))


def _illegal_step(history: History) -> None:
    history.entries.append(entry("state_transition", NEW, 9, fromState="active", toState="idle"))


def _missing_step(history: History) -> None:
    del history.entries[-2]


def _loss_untold(history: History) -> None:
    del history.entries[3]


def _loss_told_twice(history: History) -> None:
    history.entries.append(entry("instance_lost"))


def _living_one_lost(history: History) -> None:
    history.entries.append(entry("instance_lost", NEW))


def _stopped_one_lost(history: History) -> None:
    history.released = frozenset({OLD})


BROKEN: dict[str, Callable[[History], None]] = {
    "epoch_names_one_tenure: epoch 200 belongs to": _epoch_shared,
    "epoch_names_one_tenure: .*another": _claim_shared,
    "epochs_only_rise": _epoch_fell,
    "rev_rises_within_a_tenure": _rev_fell,
    "only_the_holder_is_accepted": _accepted_late,
    "nobody_believes_after_another_holds: .*emitted": _believed_late,
    "nobody_believes_after_another_holds: epoch 100 still believed": _believed_in_silence,
    "nothing_lands_after_another_holds": _landed_late,
    "store_has_what_it_accepted: .*accepted but is not": _accepted_but_gone,
    "store_has_what_it_accepted: .*refused but is": _refused_but_there,
    "repeated_entries_are_the_same": _two_entries_with_one_seq,
    "transitions_follow_one_another: .*no legal": _illegal_step,
    "transitions_follow_one_another: .*but was": _missing_step,
    "every_loss_has_one_record: .*does not tell": _loss_untold,
    "every_loss_has_one_record: .*more than once": _loss_told_twice,
    "every_loss_has_one_record: .*is alive": _living_one_lost,
    "every_loss_has_one_record: .*on purpose": _stopped_one_lost,
}


@pytest.mark.parametrize("verdict", BROKEN)
def test_broken_history_is_condemned(verdict: str) -> None:
    """Each rule finds what it is there for."""
    history = takeover()
    BROKEN[verdict](history)
    with pytest.raises(BrokenPromise, match=verdict):
        judge(history)
