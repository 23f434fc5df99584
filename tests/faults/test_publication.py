"""A transition is published when it happens, not with the next heartbeat."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable

from tests.support.trials import DURABLE, FeedProcess, Trial

Repeat = Callable[..., Awaitable[None]]
WITHIN_S = 1.0


async def slow_heartbeat(trial: Trial) -> None:
    """With a heartbeat a minute, measure when each state can be read: in the status key and in the log."""
    feed = trial.feed("host-a", "--linger", "stopping=3", interval_s=60, ttl_s=180)
    await trial.reach(feed, "active")
    (began,) = [phase["at"] for phase in feed.recorded("phase") if phase["name"] == "active"]
    assert_readable(trial, "active", since=began)
    asked = trial.clock.now()
    os.kill(feed.pid, signal.SIGTERM)
    await trial.until(lambda: "stopping" in logged(trial), description="it is logged", timeout=WITHIN_S)
    await trial.reach(feed, "stopping")
    assert_readable(trial, "stopping", since=asked)
    assert_quiet(feed)
    await trial.ended(feed, 0)


def assert_readable(trial: Trial, state: str, *, since: float) -> None:
    """The first sample with this state came soon enough."""
    first = next(s for s in trial.recorder.samples if s.status and s.status["connectionState"] == state)
    assert first.replied - since < WITHIN_S, f"{state} was readable after {first.replied - since:.2f} s"


def assert_quiet(feed: FeedProcess) -> None:
    """Nothing was amiss meanwhile."""
    assert "renewal_failed" not in feed.output


def logged(trial: Trial) -> list[str]:
    """The states entered, by the log."""
    return [entry["toState"] for entry in trial.entries("state_transition")]


async def test_transition_is_readable_within_a_second_of_a_slow_heartbeat(repeat: Repeat) -> None:
    """Whoever watches must not wait a minute to learn that an exchange is served no more."""
    await repeat(slow_heartbeat, own_server={"config": DURABLE})
