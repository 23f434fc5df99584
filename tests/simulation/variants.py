"""The product and its scripts, deliberately broken at one place each: what the simulation is there to catch.

Names are those of `tests/faults/variants.py` where both break the same thing. A broken script is a broken model here,
anything else a patch of the product for the duration of a schedule.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from perseus import activity, lease
from perseus.instances import heartbeat, instance
from perseus.instances.claiming import Claiming
from perseus.instances.fence import Fence
from perseus.instances.heartbeat import Heartbeat
from perseus.instances.publication import Publication
from perseus.lease import Claimer, Lease
from perseus.model import ConnectionState, InstanceStatus
from perseus.network.losses import Watched
from tests.simulation.schedule import Outcome, run_schedule
from tests.simulation.store_model import NO_ID, StoreModel
from tests.simulation.world import ModelLock, current_process, is_dead_by_pid


class NoOwnerCheckOnRenew(StoreModel):
    """A renewal delayed past its lease takes the exchange back."""

    def _is_holder(self, status: dict[str, Any], claim_id: bytes, epoch: Any) -> bool:
        return True


class BareSetNx(StoreModel):
    """Whoever asks again after a lost reply finds its own claim in the way."""

    def _is_repeated(self, status: dict[str, Any], claim_id: bytes) -> bool:
        return False


class MissingKeyCreatedAgain(StoreModel):
    """A lost lease is silently continued with its old epoch."""

    def _renew_missing(self, now: bytes, keys: list[str], args: list[bytes]) -> list[Any]:
        self._set(keys[0], args[3], int(args[2]))
        return [b"RENEWED", now]


class OlderStatusLands(StoreModel):
    """A delayed renewal undoes a newer one."""

    def _is_superseded(self, status: dict[str, Any], rev: int) -> bool:
        return False


class EpochNotRaised(StoreModel):
    """Two tenures have one epoch."""

    def _next_epoch(self, *, stored: int | None, now: int, floor: int) -> int:
        return stored if stored is not None else now


class EpochFromTheCounter(StoreModel):
    """A store that lost its counter begins again at one."""

    def _next_epoch(self, *, stored: int | None, now: int, floor: int) -> int:
        return (stored or 0) + 1


class NoWaitAfterRestart(StoreModel):
    """A lease the store has forgotten still runs."""

    def _settled(self, primary: str, now: int, *, is_durable: bool) -> tuple[float, str]:
        settled_s, replid = super()._settled(primary, now, is_durable=is_durable)
        return (settled_s if self.replid2 != NO_ID else 10**6), replid


class NoWaitAfterFailover(StoreModel):
    """The uptime of a replica says nothing of when it became the primary."""

    def _settled(self, primary: str, now: int, *, is_durable: bool) -> tuple[float, str]:
        return (-1, "") if self.denies_info else (self.uptime_s(), self.replid)


class ClaimedOnOldSight(StoreModel):
    """A claimer held up between its look and its claim takes what somebody else had meanwhile."""

    def _is_unchanged(self, stored: bytes | None, seen: bytes) -> bool:
        return True


class RenewedByClaimAlone(ClaimedOnOldSight):
    """A late copy of a claim begins another tenure, and a late renewal of the first one lands in it."""

    def _is_holder(self, status: dict[str, Any], claim_id: bytes, epoch: Any) -> bool:
        return super()._is_holder(status, claim_id, status.get("epoch"))


class WritesWithoutLeaseCheck(StoreModel):
    """Whoever writes late is let through."""

    def _refused(self, key: str, claim_id: bytes) -> bytes | None:
        return None


MODELS: dict[str, type[StoreModel]] = {
    "no owner check on renew": NoOwnerCheckOnRenew,
    "bare SET NX with retries": BareSetNx,
    "a missing key is created again on renew": MissingKeyCreatedAgain,
    "an older status lands after a newer one": OlderStatusLands,
    "epoch not raised at claim": EpochNotRaised,
    "epoch only from the counter": EpochFromTheCounter,
    "no wait after a store restart": NoWaitAfterRestart,
    "no wait after a failover": NoWaitAfterFailover,
    "writes without lease check": WritesWithoutLeaseCheck,
    "claiming on what was seen before": ClaimedOnOldSight,
    "neither claim nor renewal compares the epoch": RenewedByClaimAlone,
}


class Patch(NamedTuple):
    """One attribute of the product, and what stands there instead."""

    owner: Any
    name: str
    value: Any


def _renewed_from_the_answer(held: Lease, _sent_at: float, /, *, _true: Any = Lease.renewed) -> Lease:
    renewed: Lease = _true(held, current_process().boot_s())
    return renewed


def _dead_by_pid(lock: ModelLock, holder: InstanceStatus) -> bool:
    return is_dead_by_pid(lock.process, holder)


async def _renew_without_replicas(*args: Any, replicas: int = 0, _true: Any = lease.renew, **options: Any) -> Any:
    renewal = await _true(*args, replicas=replicas, **options)
    return lease.Renewal(renewal.outcome, renewal.store_ms, renewal.holder, replicas=10**6)


async def _claim_exempt_for_ever(claiming: Claiming, *args: Any, own_deadline: float, **options: Any) -> Any:
    """What exempts from the wait is computed once, before the attempts."""
    is_exempt = claiming._clock.now() < own_deadline
    return await _TRUE_CLAIM(claiming, *args, own_deadline=float("inf") if is_exempt else 0.0, **options)


_TRUE_CLAIM: Any = Claiming.claim


def _lost_when_missing(_watched: Watched, _tenure: Any, _look: Any, *, is_gone: bool) -> bool:
    return is_gone


def _holds_on(_heartbeat: Heartbeat, _now: float) -> bool:
    return False


async def _record_even_if_stopped(
    *args: Any, dead: InstanceStatus, _true: Any = activity.record_loss, **about: Any
) -> Any:
    return await _true(*args, dead=msgspec.structs.replace(dead, connection_state=ConnectionState.IDLE), **about)


def _enter_unless_cancelled(said: Publication, *args: Any, _true: Any = Publication._enter) -> None:
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        _true(said, *args)


async def _never_late(_claiming: Claiming) -> None:
    return


async def _not_waited_for(_future: Any, *, timeout_s: float) -> bool:
    return False


PATCHES: dict[str, Patch] = {
    "deadline counted from the answer": Patch(Lease, "renewed", _renewed_from_the_answer),
    "takeover by pid alone": Patch(ModelLock, "proves_dead", _dead_by_pid),
    "unacknowledged renewal moves the deadline": Patch(heartbeat, "renew", _renew_without_replicas),
    "exemption from the wait computed once": Patch(Claiming, "claim", _claim_exempt_for_ever),
    "loss recorded on any missing key": Patch(Watched, "_is_over", _lost_when_missing),
    "renewing for a hung feed": Patch(Heartbeat, "_feed_is_blocked", _holds_on),
    "fence not re-armed": Patch(Fence, "move", lambda _fence, _lease: None),
    "loss of a stopped instance recorded": Patch(activity, "record_loss", _record_even_if_stopped),
    "cancelled transition told but not made": Patch(Publication, "_enter", _enter_unless_cancelled),
    "unrecorded loss forgotten": Patch(Claiming, "record_late", _never_late),
    "lapse told too late": Patch(instance, "settled", _not_waited_for),
    "claiming by the store's clock": Patch(
        Claimer, "_not_before", property(lambda _claimer: 0.0, lambda _claimer, _moment: None)
    ),
}

VARIANTS = (*MODELS, *PATCHES)


@contextmanager
def broken(variant: str) -> Iterator[type[StoreModel] | None]:
    """Break the product in this process for the block; the store to use, if that is what is broken."""
    patch = PATCHES.get(variant)
    if patch is None:
        yield MODELS[variant]
        return
    true = patch.owner.__dict__.get(patch.name)
    setattr(patch.owner, patch.name, patch.value)
    try:
        yield None
    finally:
        if true is None:
            delattr(patch.owner, patch.name)
        else:
            setattr(patch.owner, patch.name, true)


def run_broken(variant: str, seed: int) -> Outcome:
    """Run one schedule on a broken product."""
    with broken(variant) as model:
        return run_schedule(seed, model=model)
