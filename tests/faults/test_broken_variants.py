"""Deliberately broken products, each caught by the scenario that the product passes: these tests can fail."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from tests.faults.test_clocks import STEPPABLE, wrong_by_days
from tests.faults.test_crash import killed_and_claimed_elsewhere
from tests.faults.test_failover import cut_off_and_forgotten, replica_frozen
from tests.faults.test_fence import (
    FENCED,
    renewed_for_several_leases,
    stopped_past_its_lease,
    stopped_under_pid_1,
)
from tests.faults.test_lost_messages import (
    late_answers_then_none,
    late_renewal_of_our_own,
    late_renewal_of_the_tenure_before,
    lost_claim_reply,
)
from tests.faults.test_old_data import emptied_under_a_holder_cut_off, older_holder_shown_again
from tests.faults.test_pauses import blocked, stopped_in_the_middle_of_a_write
from tests.faults.test_store_away import restarted_empty_under_an_idle_holder, stopped_for_longer_than_the_ttl
from tests.faults.test_takeover import OWN as DURABLE_SERVER
from tests.faults.test_takeover import in_namespaces
from tests.faults.test_watchers import restarted_empty_under_three_instances
from tests.faults.variants import VARIANTS
from tests.support.pool import AT_ONCE
from tests.support.trials import Scenario

Repeat = Callable[..., Awaitable[None]]


class Catch(NamedTuple):
    """What catches a variant: a scenario, the properties of its trials, and what it says."""

    scenario: Scenario
    says: str
    own_server: dict[str, Any] | None = None


CAUGHT_BY: dict[str, Catch] = {
    "no owner check on renew": Catch(late_renewal_of_the_tenure_before, "took the exchange back"),
    "deadline counted from the answer": Catch(late_answers_then_none, "it would have emitted until"),
    "bare SET NX with retries": Catch(lost_claim_reply, "asking again began another tenure"),
    "a missing key is created again on renew": Catch(
        restarted_empty_under_an_idle_holder, "until it holds a new epoch", {}
    ),
    "trimming by the host's clock": Catch(partial(wrong_by_days, days=-100), "the log was trimmed", STEPPABLE),
    "trimming by the store's clock": Catch(partial(wrong_by_days, days=100), "the log was trimmed", STEPPABLE),
    "epoch not raised at claim": Catch(killed_and_claimed_elsewhere, "no new epoch|belongs to"),
    "candles without lease check": Catch(stopped_in_the_middle_of_a_write, "nothing_lands_after_another_holds"),
    "values without lease check": Catch(
        partial(stopped_in_the_middle_of_a_write, through="value"), "a late write was accepted"
    ),
    "an older status lands after a newer one": Catch(late_renewal_of_our_own, "rev_rises_within_a_tenure"),
    "fence never armed": Catch(stopped_past_its_lease, "it outlived its lease"),
    "fence not re-armed": Catch(renewed_for_several_leases, "ended with -9"),
    "fence not disarmed": Catch(partial(stopped_for_longer_than_the_ttl, options=FENCED), "is_running", {}),
    "serving as PID 1": Catch(stopped_under_pid_1, r"waited 2 s until .* ends"),
    "takeover by pid alone": Catch(
        partial(in_namespaces, contained="claimer"), "it took over from a living holder", DURABLE_SERVER
    ),
    "epoch only from the counter": Catch(cut_off_and_forgotten, "the clock alone must keep epochs rising", {}),
    "no wait after a store restart": Catch(emptied_under_a_holder_cut_off, "epoch .* still believed to hold", {}),
    "no wait after a failover": Catch(cut_off_and_forgotten, "epoch .* still believed to hold", {}),
    "an older holder counts as a successor": Catch(older_holder_shown_again, "until it holds a new epoch", {}),
    "unacknowledged renewal moves the deadline": Catch(replica_frozen, "until it stops", {}),
    "WAIT on another connection": Catch(replica_frozen, "until it stops", {}),
    "renewing for a hung feed": Catch(blocked, "until the status key is gone"),
    "loss recorded on any missing key": Catch(
        restarted_empty_under_three_instances, "living instances were recorded as lost", {}
    ),
}


async def test_every_broken_variant_is_caught(repeat: Repeat) -> None:
    """A check that passes on a product broken on purpose would pass on one broken by accident."""
    turns = asyncio.Semaphore(AT_ONCE)
    outcomes = await asyncio.gather(*(how_it_fails(repeat, variant, turns) for variant in VARIANTS))
    assert dict(zip(VARIANTS, outcomes, strict=True)) == dict.fromkeys(VARIANTS, "caught")


async def how_it_fails(repeat: Repeat, variant: str, turns: asyncio.Semaphore) -> str:
    """`caught` if the variant's scenario fails with what it is to say; otherwise what happened."""
    catch = CAUGHT_BY[variant]
    try:
        await repeat(catch.scenario, variant=variant, own_server=catch.own_server, count=1, turns=turns)
    except ExceptionGroup as group:
        said = str(group.exceptions[0])
        return "caught" if re.search(catch.says, said) else said
    return "passed"
