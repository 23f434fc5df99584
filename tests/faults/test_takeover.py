"""A holder that is provably dead, on this host, is succeeded at once; one that may be alive, never before its TTL."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import psutil
import pytest

from perseus import keys
from tests.support.namespaces import as_pid_1
from tests.support.trials import DURABLE, EXCHANGE_ID, FeedProcess, Trial

Repeat = Callable[..., Awaitable[None]]
STATUS, LAST = keys.status(EXCHANGE_ID), keys.last(EXCHANGE_ID)
RENEWAL, WRITE = b'"kind":"heartbeat"', b":candles:"
LONG: dict[str, Any] = {"interval_s": 15, "ttl_s": 45}  # the defaults: no test waits for the end of such a lease
SHORT: dict[str, Any] = {"ttl_s": 6}  # but long enough for a start of a process to be refused
OWN = {"config": DURABLE}  # else a claim would wait for such a TTL
AT_ONCE_S = 1.0  # the aim is 0.1 s; other work shares these processors
SERVING_WITHIN_S = 1.0  # from the end of its start-up to its first write: connect, claim, start, warm, active


async def succeeded_at_once(trial: Trial, heir: FeedProcess, dead: dict[str, Any]) -> dict[str, Any]:
    """The heir serves without waiting, in a tenure of its own, and tells of the loss once; its payload."""
    status = await trial.emitting(heir)
    (started,) = [phase["at"] for phase in heir.recorded("phase") if phase["name"] == "started"]
    took_s = heir.recorded("claim")[0]["at"] - started
    print(f"claimed {took_s * 1000:.0f} ms after its start-up")
    assert took_s < AT_ONCE_S, f"it claimed {took_s:.2f} s after its start-up"
    assert status["epoch"] > dead["epoch"]
    (lost,) = trial.entries("instance_lost")
    assert (lost["instanceId"], lost["epoch"]) == (dead["instanceId"], str(dead["epoch"]))
    trial.fault_is_over(within_s=SERVING_WITHIN_S, at=started)
    return status


async def refused(trial: Trial, claimer: FeedProcess, holder: str) -> None:
    """The claimer is told who has the exchange, and nothing has changed."""
    before = trial.status()["claimId"]
    assert holder in await trial.ended(claimer, 3)
    assert trial.status()["claimId"] == before
    assert trial.entries("instance_lost") == []


async def killed_and_started_again(trial: Trial) -> None:
    """kill -9 a holder with most of its lease to go; start the same command again."""
    first = trial.feed(**LONG)
    dead = await trial.emitting(first)
    await asyncio.sleep(trial.pause_s())
    first.kill9()
    assert trial.server.call("PTTL", STATUS) > 20_000, "there is nothing to wait for"
    second = trial.feed(**LONG)
    await succeeded_at_once(trial, second, dead)
    await trial.terminate(second)


async def test_dead_holder_is_succeeded_at_once_on_its_own_host(repeat: Repeat) -> None:
    """A supervisor that restarts a crashed process must not cost 45 s of data."""
    await repeat(killed_and_started_again, own_server=OWN)


async def killed_while_claiming(trial: Trial) -> None:
    """kill -9 a holder whose lease was claimed and never renewed, and another, and another."""
    for _ in range(3):
        feed = trial.feed("host-a", "--idle", **LONG)
        await trial.reach(feed, "idle", timeout=5)
        feed.kill9()
    heir = trial.feed(**LONG)
    await trial.emitting(heir)
    await trial.terminate(heir)


async def test_crash_loop_never_waits(repeat: Repeat) -> None:
    """Each death is proven like the first, also of a process that died before its first heartbeat."""
    await repeat(killed_while_claiming, own_server=OWN)


async def last_words_come_late(trial: Trial, what: bytes) -> None:
    """Hold a request of the holder in the network, kill -9 the holder, and deliver it in its successor's time."""
    first = trial.feed(through_proxy=True, **SHORT)
    dead = await trial.emitting(first)
    await asyncio.sleep(trial.pause_s())
    trial.proxy.hold_requests(1, containing=what)
    await trial.until(lambda: trial.proxy.held_requests, description="a request is under way")
    first.kill9()
    second = trial.feed("host-a", "--idle", **SHORT)  # it renews less often: only the owner check stands in the way
    heir = await trial.reach(second, "idle")
    trial.look_at_writes()
    trial.proxy.release()
    rev = trial.status()["rev"]
    await trial.until(lambda: trial.status()["rev"] > rev, description="the heir goes on")
    assert trial.status()["claimId"] == heir["claimId"]
    assert trial.last()["epoch"] == heir["epoch"], "the dead one's last word stands over its heir's"
    assert [lost["epoch"] for lost in trial.entries("instance_lost")] == [str(dead["epoch"])]
    trial.look_at_writes()
    await trial.terminate(second)


@pytest.mark.parametrize("what", [RENEWAL, WRITE], ids=["renewal", "write"])
async def test_last_words_of_the_dead_are_refused(repeat: Repeat, what: bytes) -> None:
    """Dead is the process; what it had sent may still be under way."""
    await repeat(partial(last_words_come_late, what=what), own_server=OWN)


async def paused_beside_a_claimer(trial: Trial) -> None:
    """SIGSTOP the holder and start another on its data directory, then let it go on."""
    first = trial.feed(**SHORT)
    await trial.emitting(first)
    await asyncio.sleep(trial.pause_s())
    first.sigstop()
    await refused(trial, trial.feed(**SHORT), "host-a")
    first.sigcont()
    trial.fault_is_over(within_s=1)
    await trial.emitting(first)
    await trial.terminate(first)


async def test_paused_holder_is_not_dead(repeat: Repeat) -> None:
    """It keeps the lock, and its next instruction may be a write."""
    await repeat(paused_beside_a_claimer, own_server=OWN)


async def in_namespaces(trial: Trial, contained: str) -> None:
    """Holder and claimer share data directory and kernel, but not their process ids."""
    inside = {"holder": as_pid_1} if contained == "holder" else {}
    holder = trial.feed("host-a", inside=inside.get("holder", tuple), **SHORT)
    await trial.until(
        lambda: len(trial.accepted(holder)) > 3 and trial.status().get("hostname") == "host-a",
        description="the holder serves",
    )
    claimer = trial.feed("host-b", inside=as_pid_1 if contained == "claimer" else tuple, disk="host-a", **SHORT)
    await trial.until(
        lambda: not claimer.is_running or trial.status().get("hostname") == "host-b",
        description="the claimer is refused",
    )
    assert trial.status().get("hostname") == "host-a", "it took over from a living holder"
    assert claimer.process.returncode == 3, claimer.output[-2000:]
    assert trial.entries("instance_lost") == []
    dead = trial.status()
    holder.end()
    heir = trial.feed("host-c", disk="host-a", **SHORT)
    await succeeded_at_once(trial, heir, dead)
    await trial.terminate(heir)


@pytest.mark.parametrize("contained", ["holder", "claimer"])
async def test_live_holder_in_another_pid_namespace_is_not_dead(repeat: Repeat, contained: str) -> None:
    """Containers share a kernel's boot id but not its process ids: a missing pid proves nothing, the lock does."""
    await repeat(partial(in_namespaces, contained=contained), own_server=OWN)


async def directory_made_again(trial: Trial) -> None:
    """Delete the holder's data directory under it, and start another there."""
    first = trial.feed(**SHORT)
    old = await trial.emitting(first)
    shutil.rmtree(trial.directory / "host-a" / "locks")
    second = trial.feed(**SHORT)
    await refused(trial, second, "host-a")
    assert trial.status()["lockFile"] == old["lockFile"]
    first.kill9()
    await refused(trial, trial.feed(**SHORT), "host-a")  # it has not the lock that the dead one had
    await trial.gone()
    heir = trial.feed(**SHORT)
    await trial.emitting(heir)
    await trial.terminate(heir)


async def test_lock_of_another_file_proves_nothing(repeat: Repeat) -> None:
    """Whoever holds the new file knows nothing of who holds the deleted one."""
    await repeat(directory_made_again, own_server=OWN)


UNPROVEN = {
    "another boot": {"bootId": "0d15ea5e-0000-4000-8000-000000000000"},
    "no boot id": {"bootId": None},
    "another file": {"lockFile": "1:1"},
    "no lock": {"lockFile": None},
}


async def unproven(trial: Trial) -> None:
    """A dead holder's payload as it would be from elsewhere; start another on the same data directory."""
    kind = list(UNPROVEN)[trial.number % len(UNPROVEN)]
    first = trial.feed(**SHORT)
    await trial.emitting(first)
    first.kill9()
    payload = json.dumps(json.loads(trial.server.call("GET", STATUS)) | UNPROVEN[kind])
    trial.server.call("SET", STATUS, payload, "KEEPTTL")
    trial.server.call("SET", LAST, payload, "KEEPTTL")
    await refused(trial, trial.feed(**SHORT), "host-a")
    await trial.gone()
    heir = trial.feed(**SHORT)
    trial.fault_is_over(within_s=2)
    await trial.emitting(heir)
    assert len(trial.entries("instance_lost")) == 1
    await trial.terminate(heir)


async def test_death_that_is_not_proven_is_waited_for(repeat: Repeat) -> None:
    """A data directory can be copied or shared over a network: all three must agree, else the TTL decides."""
    await repeat(unproven, own_server=OWN)


async def without_the_lock(trial: Trial) -> None:
    """Pause a holder past its TTL; its successor on the same data directory cannot have the lock. Kill that one."""
    first = trial.feed()
    await trial.emitting(first)
    first.sigstop()
    await trial.gone()
    second = trial.feed(**SHORT)
    status = await trial.emitting(second)
    assert status["lockFile"] is None
    first.kill9()
    second.kill9()
    await refused_as_unproven(trial)
    await trial.gone()
    heir = trial.feed()
    assert (await trial.emitting(heir))["lockFile"] is not None
    assert len(trial.entries("instance_lost")) == 2
    await trial.terminate(heir)


async def refused_as_unproven(trial: Trial) -> None:
    """A start on the same data directory is refused."""
    assert "host-a" in await trial.ended(trial.feed(), 3)


async def test_holder_that_could_not_lock_is_waited_for(repeat: Repeat) -> None:
    """The lock being free would prove nothing about it."""
    await repeat(without_the_lock, own_server=OWN)


async def child_has_the_lock(trial: Trial) -> None:
    """kill -9 a holder that leaves a child which shares everything it had open; then end the child."""
    first = trial.feed("host-a", "--fork", **SHORT)
    dead = await trial.emitting(first)
    (child,) = first.descendants()
    os.kill(first.pid, signal.SIGKILL)
    await trial.ended(first, -signal.SIGKILL)
    await refused(trial, trial.feed(**SHORT), "host-a")
    child.kill()
    await trial.until(lambda: not psutil.pid_exists(child.pid) or first.descendants() == [], description="it is gone")
    heir = trial.feed(**SHORT)
    await succeeded_at_once(trial, heir, dead)
    await trial.terminate(heir)


async def test_child_with_the_lock_keeps_the_exchange(repeat: Repeat) -> None:
    """A wrapped program may go on emitting although its wrapper is dead."""
    await repeat(child_has_the_lock, own_server=OWN)
