"""One judge of every fault test: what a recorded history must never show, whatever went wrong meanwhile.

Recorded are: what each emitter believed (`Claim`, `Write`), what the status key held (`Sample`), which writes were in
the store (`Landed`), and the activity log (`entries`). All recorders run on one machine, so their times, seconds on
the boot-time clock, compare. A write's place in the store's order is known only as the interval [asked, replied]:
rules hold for what lies wholly before or after, so the judge never condemns a correct history.

Nothing here is taken from the product: a shared mistake would hide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

LEGAL_STEPS = {
    ("idle", "starting"),
    ("idle", "stopping"),
    ("starting", "warming"),
    ("starting", "stopping"),
    ("warming", "active"),
    ("warming", "stopping"),
    ("active", "warming"),
    ("active", "stopping"),
    ("stopping", "stopped"),
    ("stopped", "starting"),
}
# how a tenure's end without a release may be told; a transition to `stopped` tells of an end on purpose
ENDS = frozenset({"instance_lost", "lease_lost", "lease_lapsed", "handoff_completed"})


@dataclass(frozen=True)
class Claim:
    """An instance knew at `at` that it holds the exchange at this epoch."""

    at: float
    instance: str
    epoch: int


@dataclass(frozen=True)
class Write:
    """One attempt to emit: at or after `asked` the instance believed it may, at `replied` it knew the outcome.

    `outcome`: accepted, refused, or unknown (no answer came). `lasting`: no later write replaces it.
    """

    instance: str
    epoch: int
    n: int
    asked: float
    replied: float
    outcome: str
    lasting: bool = True


@dataclass(frozen=True)
class Sample:
    """What the status key held at some moment of [sent, replied]; None: nothing."""

    sent: float
    replied: float
    status: Mapping[str, Any] | None


@dataclass(frozen=True)
class Landed:
    """The writes found in the store at some moment of [sent, replied], as (epoch, n)."""

    sent: float
    replied: float
    writes: frozenset[tuple[int, int]]


@dataclass
class History:
    """Everything recorded about one exchange in one trial. `released`: the epochs seen given back.

    `believed`: moments at which an instance knew that it may emit. `keeps_data`: the store never lost anything it had
    confirmed. `keeps_time`: its clock was not stepped and it lost no lease, so nobody may even believe to hold the
    exchange once another does.
    """

    claims: list[Claim] = field(default_factory=list)
    believed: list[Claim] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    landed: list[Landed] = field(default_factory=list)
    entries: list[dict[str, str]] = field(default_factory=list)
    released: frozenset[int] = frozenset()
    keeps_data: bool = True
    keeps_time: bool = True


class BrokenPromise(AssertionError):
    """The history shows what must never happen."""


def violations(history: History) -> dict[str, list[str]]:
    """What the history shows that must never happen, by rule; {} for a correct one."""
    found = {rule.__name__: list(rule(history)) for rule in RULES}
    return {rule: each for rule, each in found.items() if each}


def judge(history: History) -> None:
    """Check every invariant. Raises: BrokenPromise with all violations."""
    found = [f"{rule}: {violation}" for rule, each in violations(history).items() for violation in each]
    if found:
        shown = found[:20] + ([f"… and {len(found) - 20} more"] if len(found) > 20 else [])
        raise BrokenPromise("the history breaks what is promised:\n" + "\n".join(shown))


# --- the lease ---


def epoch_names_one_tenure(history: History) -> Iterator[str]:
    """An epoch that two instances or two claims carry fences nothing."""
    instances: dict[int, set[str]] = defaultdict(set)
    claim_ids: dict[int, set[str]] = defaultdict(set)
    for claim in history.claims:
        instances[claim.epoch].add(claim.instance)
    for status in _payloads(history):
        instances[status["epoch"]].add(status["instanceId"])
        claim_ids[status["epoch"]].add(status["claimId"])
    for names in (instances, claim_ids):
        for epoch, several in names.items():
            if len(several) > 1:
                yield f"epoch {epoch} belongs to {sorted(several)}"


def epochs_only_rise(history: History) -> Iterator[str]:
    """A lower epoch in the status key means an old tenure has come back over a newer one."""
    highest = 0
    for status in _payloads(history):
        if status["epoch"] < highest:
            yield f"the status key went from epoch {highest} to {status['epoch']}"
        highest = max(highest, status["epoch"])


def rev_rises_within_a_tenure(history: History) -> Iterator[str]:
    """A falling `rev` means an older status has landed over a newer one."""
    highest: dict[int, int] = {}
    for status in _payloads(history):
        epoch, rev = status["epoch"], status["rev"]
        if rev < highest.get(epoch, 0):
            yield f"in epoch {epoch} rev went from {highest[epoch]} to {rev} ({status['connectionState']})"
        highest[epoch] = max(rev, highest.get(epoch, 0))


# --- the writes ---


def only_the_holder_is_accepted(history: History) -> Iterator[str]:
    """No write is accepted once a higher epoch is known to hold the exchange."""
    for write in history.writes:
        if write.outcome == "accepted" and (since := _succeeded_at(history, write.epoch)) < write.asked:
            late_s = write.asked - since
            yield f"write {write.n} of epoch {write.epoch} was accepted {late_s:.3f} s after a higher epoch held"


def nobody_believes_after_another_holds(history: History) -> Iterator[str]:
    """A holder stops by itself before anyone else can start, so its checks never pass after that."""
    if not history.keeps_time:
        return
    for write in history.writes:
        if (since := _succeeded_at(history, write.epoch)) < write.asked:
            late_s = write.asked - since
            yield f"epoch {write.epoch} still emitted write {write.n}, {late_s:.3f} s after a higher epoch held"
    last: dict[int, float] = {}
    for belief in history.believed:
        last[belief.epoch] = max(belief.at, last.get(belief.epoch, 0.0))
    for epoch, at in last.items():
        if (since := _succeeded_at(history, epoch)) < at:
            yield f"epoch {epoch} still believed to hold {at - since:.3f} s after a higher epoch held"


def nothing_lands_after_another_holds(history: History) -> Iterator[str]:
    """A delayed write of an older tenure that appears in the store later was let through by it."""
    for earlier, later in zip(history.landed, history.landed[1:], strict=False):
        for epoch, n in sorted(later.writes - earlier.writes):
            if _succeeded_at(history, epoch) < earlier.sent:
                yield f"write {n} of epoch {epoch} landed although a higher epoch had held for a while"


def store_has_what_it_accepted(history: History) -> Iterator[str]:
    """An accepted write is there; a refused one is not."""
    if not history.landed:
        return
    last = history.landed[-1]
    for write in history.writes:
        name = f"write {write.n} of epoch {write.epoch}"
        is_there = (write.epoch, write.n) in last.writes
        if write.outcome == "refused" and is_there:
            yield f"{name} was refused but is in the store"
        if not (write.lasting and history.keeps_data) or write.replied >= last.sent:
            continue
        if write.outcome == "accepted" and not is_there:
            yield f"{name} was accepted but is not in the store"


# --- the log ---


def repeated_entries_are_the_same(history: History) -> Iterator[str]:
    """Readers drop an entry whose `seq` they have: it must say nothing new."""
    seen: dict[tuple[str, str, str], dict[str, str]] = {}
    for entry in history.entries:
        if "seq" in entry:
            name = (entry["instanceId"], entry["epoch"], entry["seq"])
            if seen.setdefault(name, entry) != entry:
                yield f"two different entries have seq {entry['seq']} of epoch {entry['epoch']}: {seen[name]}, {entry}"


def transitions_follow_one_another(history: History) -> Iterator[str]:
    """Each transition of a tenure starts where the one before ended, and is a legal one."""
    state: dict[tuple[str, str], str] = {}
    for entry in _without_repeats(history.entries):
        if entry["event"] != "state_transition":
            continue
        tenure, step = (entry["instanceId"], entry["epoch"]), (entry["fromState"], entry["toState"])
        if step not in LEGAL_STEPS:
            yield f"epoch {entry['epoch']} went from {step[0]} to {step[1]}, which is no legal transition"
        if history.keeps_data and state.get(tenure, step[0]) != step[0]:
            yield f"epoch {entry['epoch']} left {step[0]} but was {state[tenure]}"
        state[tenure] = step[1]


def every_loss_has_one_record(history: History) -> Iterator[str]:
    """A tenure that ended without a release is told of, by `instance_lost` at most once; no other one is.

    What a dead instance had still to say may land after the record of its loss, and a stopped one may tell that it lost
    its lease; but nobody records the loss of one that is known to have stopped, or was given back.
    """
    ends: dict[int, list[str]] = defaultdict(list)
    states: dict[int, str] = {}
    for entry in _without_repeats(history.entries):
        epoch = int(entry["epoch"] or 0)
        if epoch and entry["event"] in ENDS:
            ends[epoch].append(entry["event"])
            is_known_to_have_stopped = states.get(epoch) == "stopped" and entry["event"] == "instance_lost"
            if is_known_to_have_stopped or epoch in history.released:
                yield f"epoch {epoch} ended on purpose, but the log has {ends[epoch]}"
        if epoch and entry["event"] == "state_transition":
            states[epoch] = entry["toState"]
    renewed = {status["epoch"]: status.get("connectionState") for status in _payloads(history) if status["rev"] >= 1}
    newest = max({*renewed, *(claim.epoch for claim in history.claims)}, default=0)
    for epoch in sorted({*renewed, *ends}):
        told, stopped = ends[epoch], "stopped" in (states.get(epoch), renewed.get(epoch))
        if epoch == newest and "instance_lost" in told:
            yield f"epoch {epoch} is alive, but the log has {told}"
        elif epoch != newest and not (stopped or epoch in history.released) and not told:
            yield f"epoch {epoch} ended without a release, and the log does not tell"
        if any(told.count(event) > 1 for event in ENDS):
            yield f"the end of epoch {epoch} is recorded more than once: {told}"


RULES = (
    epoch_names_one_tenure,
    epochs_only_rise,
    rev_rises_within_a_tenure,
    only_the_holder_is_accepted,
    nobody_believes_after_another_holds,
    nothing_lands_after_another_holds,
    store_has_what_it_accepted,
    repeated_entries_are_the_same,
    transitions_follow_one_another,
    every_loss_has_one_record,
)


def _payloads(history: History) -> Iterator[Mapping[str, Any]]:
    """What the status key held, in order, as far as an instance of ours wrote it.

    A store that lost data may show again what it held before: that is nobody's doing. What goes on from there is.
    """
    newest: dict[str, int] = {}
    for sample in history.samples:
        if sample.status is None or "claimId" not in sample.status:
            continue
        claim_id, rev = sample.status["claimId"], sample.status["rev"]
        if not history.keeps_data and rev <= newest.get(claim_id, -1):
            continue
        newest[claim_id] = max(rev, newest.get(claim_id, rev))
        yield sample.status


def _succeeded_at(history: History, epoch: int) -> float:
    """When a higher epoch was first known to hold the exchange; infinity if none was."""
    known = [claim.at for claim in history.claims if claim.epoch > epoch]
    known += [sample.replied for sample in history.samples if sample.status and sample.status.get("epoch", 0) > epoch]
    return min(known, default=float("inf"))


def _without_repeats(entries: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    seen: set[tuple[str, str, str]] = set()
    for entry in entries:
        name = (entry["instanceId"], entry["epoch"], entry.get("seq", ""))
        if name[2] and name in seen:
            continue
        seen.add(name)
        yield entry
