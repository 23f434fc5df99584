"""The product, deliberately broken at one place: what each fault test is there to catch.

A variant is chosen by name and applied in the feed's process (`tests.support.feed --variant`), before anything runs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio import Redis

from perseus import activity, keys, lease
from perseus.cli import reaper
from perseus.clock import SystemClock
from perseus.instances import heartbeat
from perseus.instances.fence import Fence
from perseus.instances.heartbeat import Heartbeat
from perseus.instances.lockfile import LockFile, boot_id
from perseus.lease import Lease
from perseus.model import InstanceStatus
from perseus.network.losses import Watched
from perseus.store import Script, Store, scripts


class Edit(NamedTuple):
    """A script with one passage replaced; the passage must be there exactly once."""

    script: str  # its name in perseus.store.scripts
    passage: str
    replacement: str

    def apply(self, script: Script) -> Script:
        """The broken script."""
        assert script.text.count(self.passage) == 1, f"{self.script} has changed: {self.passage!r} is not in it once"
        text = script.text.replace(self.passage, self.replacement)
        return Script(name=script.name, text=text, sha=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_WRITE_CHECK = (
    "if not ok or type(status) ~= 'table' or status.claimId ~= ARGV[1] then return {'REFUSED', raw or ''} end"
)
EDITS: dict[str, tuple[Edit, ...]] = {
    "no owner check on renew": (
        Edit(
            "RENEW",
            "if status.claimId ~= ARGV[1] or (type(epoch) == 'number' and status.epoch ~= epoch) then"
            " return {'LOST', now, raw} end",
            "",
        ),
    ),
    "bare SET NX with retries": (
        Edit("CLAIM", "if status and status.claimId == ARGV[1] then", "if false then"),
        Edit("CLAIM", "if raw and raw ~= ARGV[2] then", "if raw then"),
        Edit("CLAIM", "if (stored or '') ~= ARGV[8] then return reply('CHANGED') end", ""),
    ),
    "a missing key is created again on renew": (
        Edit(
            "RENEW",
            "if not raw then return {'MISSING', now} end",
            "if not raw then redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[3]) return {'RENEWED', now} end",
        ),
    ),
    "epoch not raised at claim": (
        Edit(
            "CLAIM",
            "local epoch = math.max((tonumber(stored) or 0) + 1, now, tonumber(ARGV[4]) + 1)",
            "local epoch = tonumber(stored) or now",
        ),
    ),
    "epoch only from the counter": (
        Edit(
            "CLAIM",
            "local epoch = math.max((tonumber(stored) or 0) + 1, now, tonumber(ARGV[4]) + 1)",
            "local epoch = (tonumber(stored) or 0) + 1",
        ),
    ),
    "no wait after a store restart": (
        Edit(
            "CLAIM",
            "return tonumber(string.match(server, 'uptime_in_seconds:(%d+)') or -1), id",
            "return math.huge, id",
        ),
    ),
    "no wait after a failover": (
        Edit("CLAIM", "if not string.match(replication, 'master_replid2:%w*[1-9a-f]') then", "if true then"),
    ),
    "candles without lease check": (Edit("WRITE_CANDLES", _WRITE_CHECK, ""),),
    "values without lease check": (Edit("WRITE_VALUE", _WRITE_CHECK, ""),),
    "an older status lands after a newer one": (
        Edit(
            "RENEW",
            "if (tonumber(status.rev) or 0) >= tonumber(ARGV[2]) then return {'SUPERSEDED', now} end",
            "",
        ),
    ),
}


def _count_from_the_answer() -> None:
    renewed = Lease.renewed
    setattr(Lease, "renewed", lambda lease, _sent_at: renewed(lease, SystemClock().now()))  # noqa: B010  broken


def _trim_by(which: str) -> Callable[[], None]:
    def trim() -> None:
        activity.min_id = lambda **ms: str(ms[which] - keys.LOG_RETENTION_MS)

    return trim


def _renew_for_a_hung_feed() -> None:
    setattr(Heartbeat, "_feed_is_blocked", lambda _self, _now: False)  # noqa: B010  broken on purpose


def _unfenced(method: str) -> Callable[[], None]:
    return lambda: setattr(Fence, method, lambda *_: None)


def _serve_as_pid_1() -> None:
    reaper.ended_under_us = lambda: None


def _record_any_missing_key() -> None:
    last_tenure = getattr(Watched, "_last_tenure")  # noqa: B009  broken on purpose, as below
    setattr(Watched, "_last_tenure", lambda watched, look: last_tenure(watched, look) or watched._tenure)  # noqa: B010
    setattr(Watched, "_is_over", lambda _watched, _tenure, _look, is_gone: is_gone)  # noqa: B010


def _believe_a_missing_pid() -> None:
    def is_dead(_lock_file: LockFile, holder: InstanceStatus) -> bool:
        return holder.boot_id == boot_id() and holder.pid is not None and not Path(f"/proc/{holder.pid}").exists()

    setattr(LockFile, "proves_dead", is_dead)  # noqa: B010  broken on purpose


def _give_way_to_an_older_holder() -> None:
    def is_successor(holder: InstanceStatus, *, instance_id: str, epoch: int) -> bool:
        return holder.instance_id != instance_id

    lease.is_successor = is_successor


def _count_an_unacknowledged_renewal() -> None:
    renew = lease.renew

    async def renewed(*args: Any, replicas: int, **more: Any) -> lease.Renewal:
        return replace(await renew(*args, replicas=replicas, **more), replicas=replicas)

    setattr(heartbeat, "renew", renewed)  # noqa: B010  broken on purpose


def _wait_on_another_connection() -> None:
    async def run_replicated(
        store: Store, script: Script, *, keys: Sequence[str], args: Sequence[Any], replicas: int, within_s: float
    ) -> tuple[list[Any], int]:
        reply = await store.run(script, keys=keys, args=args)
        async with Redis.from_url(os.environ["PERSEUS_STORE_URL"]) as another:
            return reply, await another.wait(replicas, round(within_s * 1000))

    setattr(Store, "run_replicated", run_replicated)  # noqa: B010  broken on purpose


PATCHES: dict[str, Callable[[], None]] = {
    "fence never armed": _unfenced("begin"),
    "fence not re-armed": _unfenced("move"),
    "fence not disarmed": _unfenced("disarm"),
    "serving as PID 1": _serve_as_pid_1,
    "deadline counted from the answer": _count_from_the_answer,
    "trimming by the host's clock": _trim_by("host_ms"),
    "trimming by the store's clock": _trim_by("store_ms"),
    "renewing for a hung feed": _renew_for_a_hung_feed,
    "takeover by pid alone": _believe_a_missing_pid,
    "an older holder counts as a successor": _give_way_to_an_older_holder,
    "unacknowledged renewal moves the deadline": _count_an_unacknowledged_renewal,
    "WAIT on another connection": _wait_on_another_connection,
    "loss recorded on any missing key": _record_any_missing_key,
}

VARIANTS = (*EDITS, *PATCHES)


def break_product(variant: str) -> None:
    """Break the product in this process."""
    if variant in PATCHES:
        PATCHES[variant]()
    for name, script in broken_scripts(variant).items():
        setattr(scripts, name, script)
    assert variant in VARIANTS, f"there is no variant {variant!r}"


def broken_scripts(variant: str) -> dict[str, Script]:
    """The scripts a variant runs in place of the product's, by their names there."""
    broken: dict[str, Script] = {}
    for edit in EDITS.get(variant, ()):
        broken[edit.script] = edit.apply(broken.get(edit.script) or getattr(scripts, edit.script))
    return broken
