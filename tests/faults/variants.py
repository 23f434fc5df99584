"""The product, deliberately broken at one place: what each fault test is there to catch.

A variant is chosen by name and applied in the feed's process (`tests.support.feed --variant`), before anything runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from perseus import activity, keys
from perseus.clock import SystemClock
from perseus.instances.heartbeat import Heartbeat
from perseus.lease import Lease
from perseus.store import Script, scripts


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
    "no owner check on renew": (Edit("RENEW", "if status.claimId ~= ARGV[1] then return {'LOST', now, raw} end", ""),),
    "bare SET NX with retries": (
        Edit("CLAIM", "if status and status.claimId == ARGV[1] then", "if false then"),
        Edit("CLAIM", "if status and status.claimId ~= ARGV[2] then", "if status then"),
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


PATCHES: dict[str, Callable[[], None]] = {
    "deadline counted from the answer": _count_from_the_answer,
    "trimming by the host's clock": _trim_by("host_ms"),
    "trimming by the store's clock": _trim_by("store_ms"),
    "renewing for a hung feed": _renew_for_a_hung_feed,
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
