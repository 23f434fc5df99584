"""Replies that never come and requests that come late: the store did what the client cannot know."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from perseus import keys
from tests.support.trials import EXCHANGE_ID, INTERVAL_S, TTL_S, Trial

Repeat = Callable[..., Awaitable[None]]
# what only these requests contain
CLAIM, RENEWAL, RELEASE = keys.primary(EXCHANGE_ID).encode(), b'"kind":"heartbeat"', b'"kind":"released"'


async def lost_claim_reply(trial: Trial) -> None:
    """The claim is made, and its answer lost."""
    await trial.settled()  # else the answer lost would be that it has to wait
    trial.proxy.lose_replies(trial.random.choice([1, 2]), to=CLAIM)
    feed = trial.feed("host-a", through_proxy=True)
    tenure = await trial.emitting(feed)
    assert trial.proxy.lost_replies >= 1
    epochs = {status["epoch"] for sample in trial.recorder.samples if (status := sample.status)}
    assert epochs == {tenure["epoch"]}, "asking again began another tenure"
    await trial.terminate(feed)


async def test_lost_claim_reply_does_not_shut_the_claimer_out(repeat: Repeat) -> None:
    """Asking again must find our own claim, not take it for somebody else's."""
    await repeat(lost_claim_reply)


async def lost_renewal_replies(trial: Trial) -> None:
    """A renewal is done, and its answer lost; twice in a row."""
    feed = trial.feed("host-a", through_proxy=True)
    tenure = await trial.emitting(feed)
    await asyncio.sleep(trial.pause_s())
    trial.proxy.lose_replies(2, to=RENEWAL)
    await trial.until(lambda: trial.proxy.lost_replies == 2, description="two answers are lost")
    await asyncio.sleep(TTL_S)
    later = await trial.emitting(feed)
    assert later["claimId"] == tenure["claimId"], "a lost answer cost the lease"
    assert [each["event"] for each in trial.entries() if each["event"] != "state_transition"] == []
    await trial.terminate(feed)


async def test_lost_renewal_reply_costs_nothing(repeat: Repeat) -> None:
    """One packet must not end a tenure whose lease runs on."""
    await repeat(lost_renewal_replies)


async def lost_release_reply(trial: Trial) -> None:
    """The exchange is given back, and the answer lost."""
    feed = trial.feed("host-a", through_proxy=True)
    await trial.emitting(feed)
    trial.proxy.lose_replies(1, to=RELEASE)
    await trial.terminate(feed)
    assert trial.proxy.lost_replies == 1
    await trial.gone()
    assert trial.last()["releasedAt"]
    heir = trial.feed("host-b", "--idle")
    await trial.reach(heir, "idle")
    await trial.terminate(heir)
    assert trial.entries("instance_lost") == []


async def test_lost_release_reply_ends_the_process_all_the_same(repeat: Repeat) -> None:
    """It was given back; nobody is left to be told."""
    await repeat(lost_release_reply)


async def lost_log_reply(trial: Trial) -> None:
    """An entry is appended, and the answer lost; the entry is then appended again."""
    trial.proxy.lose_replies(trial.random.choice([1, 2]), to=b"fromState")
    feed = trial.feed("host-a", through_proxy=True)
    tenure = await trial.emitting(feed)
    await trial.terminate(feed)
    told = [int(entry["seq"]) for entry in trial.entries() if entry["epoch"] == str(tenure["epoch"])]
    assert len(told) == 5 + trial.proxy.lost_replies
    assert told == sorted(told)
    assert set(told) == {1, 2, 3, 4, 5}


async def test_lost_log_reply_repeats_the_entry_in_its_place(repeat: Repeat) -> None:
    """Nothing may be missing or out of order; readers drop what they have already."""
    await repeat(lost_log_reply)


async def lost_write_reply(trial: Trial) -> None:
    """A data write is done, and its answer lost."""
    feed = trial.feed("host-a", through_proxy=True)
    tenure = await trial.emitting(feed)
    trial.proxy.lose_replies(1, to=b":candles:")
    await trial.until(lambda: trial.proxy.lost_replies, description="an answer is lost")
    later = await trial.emitting(feed)
    assert later["claimId"] == tenure["claimId"]
    (unknown,) = [write for write in feed.recorded("write") if write["outcome"] == "unknown"]
    assert (tenure["epoch"], unknown["n"]) in trial.look_at_writes()
    await trial.terminate(feed)


async def test_lost_write_reply_is_reported_as_unknown(repeat: Repeat) -> None:
    """The writer may neither believe that it was done nor that it was not."""
    await repeat(lost_write_reply)


async def late_renewal_of_our_own(trial: Trial) -> None:
    """A renewal is held up in the network until newer ones have landed, and delivered then."""
    feed = trial.feed("host-a", through_proxy=True)
    tenure = await trial.emitting(feed)
    trial.proxy.hold_requests(1, containing=RENEWAL)
    await trial.until(lambda: trial.proxy.held_requests, description="a renewal is held up")
    held_rev = trial.status()["rev"]
    await trial.until(lambda: trial.status()["rev"] >= held_rev + 2, description="a newer one has landed")
    await asyncio.sleep(trial.pause_s(INTERVAL_S / 2))
    trial.proxy.release()
    rev = trial.status()["rev"]
    await trial.until(lambda: trial.status()["rev"] >= rev + 2, description="two more have landed")
    assert trial.status()["claimId"] == tenure["claimId"]
    await trial.terminate(feed)


async def test_late_renewal_does_not_overwrite_a_newer_one(repeat: Repeat) -> None:
    """A status from the past, `warming` over `active`, would be believed by everyone."""
    await repeat(late_renewal_of_our_own)


async def late_renewal_of_the_tenure_before(trial: Trial) -> None:
    """Every renewal is held up in the network until another host has claimed, and delivered then."""
    first = trial.feed("host-a", through_proxy=True)
    await trial.emitting(first)
    trial.proxy.hold_requests(100, containing=RENEWAL)
    await trial.until(lambda: trial.proxy.held_requests, description="a renewal is held up")
    os.kill(first.pid, signal.SIGSTOP)
    await trial.gone()
    second = trial.feed("host-b", "--idle")  # it has renewed less often: only the owner check stands in the way
    new = await trial.reach(second, "idle")
    trial.proxy.release()
    await asyncio.sleep(INTERVAL_S / 2)
    assert trial.status()["claimId"] == new["claimId"], "a renewal of the tenure before took the exchange back"
    first.sigcont()
    await trial.ended(first, 4)
    await trial.terminate(second)


async def test_late_renewal_does_not_take_the_exchange_back(repeat: Repeat) -> None:
    """What was sent in time may arrive too late: the owner check in the store is the last word."""
    await repeat(late_renewal_of_the_tenure_before)


SLOW_S, SLOW_TTL_S, SLOW_MARGIN_S, ANSWER_DELAY_S = 1.5, 5, 1.0, 0.4


async def late_answers_then_none(trial: Trial) -> None:
    """Answers come late, then none come; measure when the holder falls quiet against what the store holds.

    The key's end in the store is measured just before the silence, so the holder must be quiet a margin before it.
    """
    feed = trial.feed("host-a", "--watch", through_proxy=True, interval_s=SLOW_S, ttl_s=SLOW_TTL_S)
    await trial.emitting(feed)
    trial.proxy.replies.delay = ANSWER_DELAY_S
    rev = trial.status()["rev"]
    await trial.until(lambda: trial.status()["rev"] >= rev + 2, description="renewals with late answers")
    await trial.until(lambda: feed.output.count("renewal_failed") == 0, description="none has failed")
    await asyncio.sleep(1.2 * ANSWER_DELAY_S)  # the last answer has arrived, the next renewal is not due yet
    trial.proxy.requests.dropping = True
    left_ms = trial.server.call("PTTL", "exchange:2:status")
    ends_at = trial.clock.now() + left_ms / 1000
    await trial.gone()
    quiet_at = max(held["at"] for held in feed.recorded("held"))
    trial.proxy.requests.dropping = False
    trial.proxy.replies.delay = 0
    early_s = ends_at - quiet_at
    assert early_s > SLOW_MARGIN_S, (
        f"it would have emitted until {early_s:.3f} s before the lease's end, not {SLOW_MARGIN_S} s"
    )
    await trial.until(trial.status, description="it claims again")
    await trial.emitting(feed)
    await trial.terminate(feed)


async def test_holder_is_quiet_a_margin_before_the_lease_ends(repeat: Repeat) -> None:
    """The deadline counts from sending: counted from the answer, a slow network would eat the margin."""
    await repeat(late_answers_then_none)
