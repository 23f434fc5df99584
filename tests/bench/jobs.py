"""What the processes of a bench are told, and how they answer: locks by number, moments by this machine's clock."""

from __future__ import annotations

import json
import sys
import time
from typing import Literal

import msgspec

from perseus import keys
from perseus.timing import LeaseTiming
from tests.bench.children import module
from tests.bench.contenders import TIMING, bench_exchange

Role = Literal["hold", "wait", "renew"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What one process does. `url`: of the store, or the endpoints of etcd. `offset`: where the spread begins, 0 to 1.

    `data_dir`: where ours keeps lock files; without one nobody can prove that it died.
    """

    role: Role
    subject: str
    url: str
    lanes: tuple[int, ...]  # the numbers of its locks
    spread_s: float = 0.0
    offset: float = 0.0
    interval_s: float = TIMING.interval_s
    ttl_s: int = TIMING.ttl_s
    data_dir: str | None = None

    @property
    def timing(self) -> LeaseTiming:
        """Of ours; the peers renew as often and their locks last as long."""
        return LeaseTiming(self.interval_s, self.ttl_s)

    @property
    def command(self) -> list[str]:
        """The process that does this."""
        name = "renewers" if self.role == "renew" else "lockers"
        return module(f"tests.bench.{name}", msgspec.json.encode(self).decode())

    def begins(self) -> list[tuple[int, float]]:
        """Each lock's number, and how many seconds after the start its turn is: evenly spread from `offset` on."""
        count = len(self.lanes)
        return [(lane, self.spread_s * ((n / count + self.offset) % 1)) for n, lane in enumerate(self.lanes)]


def told() -> Job:
    """The job of this process."""
    return msgspec.json.decode(sys.argv[1], type=Job)


def say(lane: int, at: float | None = None) -> None:
    """Print one answer."""
    sys.stdout.write(json.dumps({"lane": lane, "at": time.monotonic() if at is None else at}) + "\n")
    sys.stdout.flush()


def lock_key(subject: str, lane: int) -> str:
    """The key whose expiry frees the lock."""
    match subject:
        case "Perseus":
            return keys.status(bench_exchange(lane).id)
        case "python-redis-lock":
            return f"lock:{lock_name(lane)}"
    return f"{subject.replace(' ', '-')}:{lock_name(lane)}"


def lock_name(lane: int) -> str:
    """What a lock is called where its library prefixes the key; in braces: a Cluster keeps all its keys together."""
    return f"{{bench{lane}}}"
