"""What the trials of each scenario came to: how soon the exchange was served again, and what the judge counted."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

# what a reader of the summary asks for, by the judge's rules
NOT_HOLDERS = ("only_the_holder_is_accepted", "nothing_lands_after_another_holds", "store_has_what_it_accepted")
DOUBLE = ("nobody_believes_after_another_holds", "epoch_names_one_tenure", "epochs_only_rise")
RECORDS = ("every_loss_has_one_record", "repeated_entries_are_the_same", "transitions_follow_one_another")


COUNTED = "foreign writes/double holders/bad records"


@dataclass
class Outcomes:
    """The trials of one scenario. `recoveries` s, `bound_s`: what the scenario promises of them; None: nothing."""

    passed: int = 0
    failed: int = 0
    judged: int = 0
    recoveries: list[float] = field(default_factory=list)
    bound_s: float | None = None
    violations: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def judge(self, found: Mapping[str, list[str]]) -> None:
        """Count a trial that was judged, and what was found."""
        self.judged += 1
        for rule, each in found.items():
            self.violations[rule] += len(each)

    def recovered(self, after_s: float | None, *, bound_s: float | None) -> None:
        """Note how long after its fault a trial was served again, if it had to be."""
        self.bound_s = bound_s if bound_s is not None else self.bound_s
        if after_s is not None:
            self.recoveries.append(after_s)


BY_SCENARIO: dict[str, Outcomes] = defaultdict(Outcomes)


def name_of(scenario: Any) -> str:
    """A scenario by its function and what it is called with."""
    if not isinstance(scenario, partial):
        return str(scenario.__name__)
    values = ", ".join(str(value) for value in (*scenario.args, *scenario.keywords.values()))
    return f"{scenario.func.__name__}({values})"


def summary() -> Iterator[str]:
    """A line a scenario, and one for all."""
    yield f"{'scenario':58} {'trials':>7} {'median':>7} {'worst':>7} {'bound':>6}  {COUNTED}"
    for name, one in BY_SCENARIO.items():
        yield _line(name[:58], [one])
    yield _line("all", BY_SCENARIO.values())


def _line(name: str, several: Iterable[Outcomes]) -> str:
    chosen = list(several)
    passed = sum(each.passed for each in chosen)
    trials = f"{passed}/{passed + sum(each.failed for each in chosen)}"
    return f"{name:58} {trials:>7} {_recovery(chosen)}  {_counts(chosen)}"


def _recovery(chosen: list[Outcomes]) -> str:
    if len(chosen) != 1 or not chosen[0].recoveries:
        return f"{'':7} {'':7} {'':6}"
    (one,) = chosen
    worst = max(one.recoveries)
    bound = "" if one.bound_s is None else f"{one.bound_s:g} s"
    late = "!" if one.bound_s is not None and worst > one.bound_s else ""
    return f"{statistics.median(one.recoveries):5.2f} s {worst:5.2f} s {bound + late:>6}"


def _counts(chosen: list[Outcomes]) -> str:
    if not any(each.judged for each in chosen):
        return "not judged: the store held what is not ours, or nothing to judge"
    found = "/".join(
        str(sum(each.violations[rule] for each in chosen for rule in rules)) for rules in (NOT_HOLDERS, DOUBLE, RECORDS)
    )
    other = sum(each.violations["rev_rises_within_a_tenure"] for each in chosen)
    return found + (f", {other} statuses out of order" if other else "")
