"""How something is measured: samples of ours and of named peers taken in turn, medians, and processor time.

A time of one machine says little; a ratio between two things measured in turn on it says more. So every measure has
peers wherever one exists, and A/B/A/B order lets whatever disturbs the machine disturb all of them.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

T = TypeVar("T")
OURS = "Perseus"


class Effort(NamedTuple):
    """How much is measured. `quick` only shows that everything runs: its numbers mean nothing."""

    quick: bool = False

    def pick(self, full: int, quick: int) -> int:
        """The first normally, the second when quick."""
        return quick if self.quick else full


class Samples(NamedTuple):
    """Repeated values of one quantity, summed up."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The values that a quarter lies below and a quarter above."""
        if len(self.values) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One line of a table: what was measured, of ours and of the peers, all in `unit`.

    `aim`: what ours should stay below (reported, never asserted). `more_is_better`: a rate, not a cost.
    """

    what: str
    unit: str
    samples: Mapping[str, Samples]  # by subject; OURS first where ours takes part
    aim: float | None = None
    more_is_better: bool = False

    def ratio(self, subject: str) -> float | None:
        """Ours divided by this subject's median; None for ours itself and where one of them is zero or missing."""
        if subject == OURS or OURS not in self.samples or not self.samples[subject].median:
            return None
        return self.samples[OURS].median / self.samples[subject].median


@dataclass(frozen=True, kw_only=True)
class Section:
    """The result of one bench: its measures, and what a reader must know to read them rightly."""

    title: str
    measures: Sequence[Measure]
    notes: Sequence[str] = field(default_factory=tuple)


def by_subject(values: Mapping[str, Iterable[float]]) -> dict[str, Samples]:
    """Samples from plain values."""
    return {subject: Samples(tuple(each)) for subject, each in values.items()}


def interleaved(subjects: Mapping[str, Callable[[], T]], *, rounds: int) -> dict[str, list[T]]:
    """Take a sample of each subject in turn, `rounds` times; every other round goes backwards."""
    found: dict[str, list[T]] = {subject: [] for subject in subjects}
    for number in range(rounds):
        for subject in list(subjects)[:: 1 if number % 2 == 0 else -1]:
            found[subject].append(subjects[subject]())
    return found


class Cost(NamedTuple):
    """What a stretch of work took. Units: seconds."""

    wall: float
    cpu: float  # of this process, all threads


def cost_of(work: Callable[[], object]) -> Cost:
    """Do the work once, without the garbage of what was before it."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)
