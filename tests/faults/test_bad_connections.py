"""Connections that are open and of no use: nothing goes through, or too slowly, or only half of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from tests.faults.test_lost_messages import CLAIM, RENEWAL
from tests.faults.test_store_away import comes_back
from tests.support.proxy import FaultProxy
from tests.support.trials import TTL_S, Trial

Repeat = Callable[..., Awaitable[None]]
BACK_WITHIN_S = 3.0  # a call that is under way on a dead connection has 2 s; then a claim and a warm-up
TOO_SLOW_S = 0.05  # a byte: an answer takes longer than an attempt may
SLOW_S = 0.001


def swallow_requests(proxy: FaultProxy) -> None:
    """Nothing arrives at the store."""
    proxy.requests.dropping = True


def swallow_replies(proxy: FaultProxy) -> None:
    """All is done by the store, and nobody learns of it."""
    proxy.replies.dropping = True


def swallow_both(proxy: FaultProxy) -> None:
    """A black hole."""
    proxy.requests.dropping = proxy.replies.dropping = True


def accept_and_say_nothing(proxy: FaultProxy) -> None:
    """Connections break, and new ones are accepted by something that never answers."""
    swallow_both(proxy)
    proxy.reset()


def trickle(proxy: FaultProxy) -> None:
    """Answers come a byte at a time."""
    proxy.replies.trickle = TOO_SLOW_S


FAULTS = {each.__name__: each for each in (swallow_requests, swallow_replies, swallow_both)} | {
    each.__name__: each for each in (accept_and_say_nothing, trickle)
}


def heal(proxy: FaultProxy) -> None:
    """Everything passes again; what swallowed bytes stays dead."""
    proxy.requests.dropping = proxy.replies.dropping = False
    proxy.replies.trickle = 0


async def useless(trial: Trial, fault: str) -> None:
    """The fault lasts for longer than the TTL."""
    feed = trial.feed("host-a", "--watch", through_proxy=True)
    old = await trial.emitting(feed)
    await asyncio.sleep(trial.pause_s())
    FAULTS[fault](trial.proxy)
    broken_at = trial.clock.now()
    await trial.until(lambda: "lease_lost" in feed.output, description="it stops")
    held = [each["at"] for each in feed.recorded("held")]
    assert max(held) < broken_at + TTL_S, "it went on past its lease"
    await asyncio.sleep(trial.pause_s())
    heal(trial.proxy)
    trial.fault_is_over(within_s=BACK_WITHIN_S)
    await comes_back(trial, feed, old)
    await trial.terminate(feed)


@pytest.mark.parametrize("fault", FAULTS)
async def test_useless_connection_ends_the_tenure_in_time(repeat: Repeat, fault: str) -> None:
    """Nothing fails, nothing answers: only the deadline can end it, and it comes back by itself."""
    await repeat(partial(useless, fault=fault))


async def slow_and_sufficient(trial: Trial) -> None:
    """Answers come a byte at a time, but within an attempt's time."""
    feed = trial.feed("host-a", through_proxy=True)
    old = await trial.emitting(feed)
    trial.proxy.replies.trickle = SLOW_S
    rev = trial.status()["rev"]
    await trial.until(lambda: trial.status()["rev"] >= rev + TTL_S, description="it renews all the same")
    assert (await trial.emitting(feed))["claimId"] == old["claimId"]
    trial.proxy.replies.trickle = 0
    await trial.terminate(feed)


async def test_slow_connection_costs_nothing(repeat: Repeat) -> None:
    """An answer may come in as many pieces as it likes."""
    await repeat(slow_and_sufficient)


async def half_an_answer(trial: Trial, to: bytes) -> None:
    """The connection breaks in the middle of an answer."""
    if to == CLAIM:
        await trial.settled()
        trial.proxy.lose_replies(1, to=to, after=trial.random.randint(1, 30))
    feed = trial.feed("host-a", through_proxy=True)
    tenure = await trial.emitting(feed)
    if to != CLAIM:
        trial.proxy.lose_replies(2, to=to, after=trial.random.randint(1, 8))
    await trial.until(lambda: trial.proxy.lost_replies, description="an answer breaks off")
    trial.fault_is_over(within_s=BACK_WITHIN_S)
    await asyncio.sleep(TTL_S)
    assert (await trial.emitting(feed))["claimId"] == tenure["claimId"]
    assert {status["epoch"] for sample in trial.recorder.samples if (status := sample.status)} == {tenure["epoch"]}
    await trial.terminate(feed)


@pytest.mark.parametrize("to", [CLAIM, RENEWAL, b":candles:"], ids=["claim", "renewal", "write"])
async def test_answer_that_breaks_off_counts_as_none(repeat: Repeat, to: bytes) -> None:
    """Half of an answer must not be taken for one, nor the rest of it for the next."""
    await repeat(partial(half_an_answer, to=to))


async def claim_of_a_tenure_that_is_over(trial: Trial) -> None:
    """The first claim is held up in the network; the second attempt begins a tenure, which ends; then it arrives."""
    await trial.settled()
    trial.proxy.hold_requests(1, containing=CLAIM)
    feed = trial.feed("host-a", through_proxy=True)
    tenure = await trial.emitting(feed)
    assert trial.proxy.held_requests == 1
    heir = trial.random.choice([True, False])
    await trial.terminate(feed)
    second = trial.feed("host-b") if heir else None
    if second is not None:
        await trial.emitting(second)
    held_by = trial.status().get("claimId")
    trial.proxy.release()
    await asyncio.sleep(trial.pause_s() + 0.2)
    assert trial.status().get("claimId") == held_by != tenure["claimId"], "a tenure that was over began again"
    if second is not None:
        await trial.emitting(second)
        await trial.terminate(second)


async def test_late_claim_begins_no_tenure_again(repeat: Repeat) -> None:
    """Nobody is left to renew it, and it would keep everyone out for a TTL."""
    await repeat(claim_of_a_tenure_that_is_over)
