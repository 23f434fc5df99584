"""The stores that fail over under a bench: behind Sentinels, a Cluster, and etcd, each with the same verbs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

import redis

from perseus.lease import decode_status
from tests.bench.contenders import ETCD, REDIS_LOCK, REDIS_PY
from tests.bench.jobs import lock_key
from tests.bench.measure import OURS
from tests.bench.servers import running_etcd
from tests.support.cluster import Cluster
from tests.support.etcd import Etcd
from tests.support.sentinel import SERVICE, SentinelTrio
from tests.support.servers import Server, valkey_binary
from tests.support.system import short_directory

OURS_AND_PEERS = (OURS, REDIS_PY, REDIS_LOCK)
SENTINEL, CLUSTER = "Sentinel", "Cluster"
PROBE = "bench:{bench2}"  # on the first shard of a Cluster


class Site(Protocol):
    """A store that can fail over, and who has locks there."""

    title: str
    url: str
    subjects: Sequence[str]

    def victim(self) -> Callable[[], None]:
        """What kills the primary, which is looked up now."""

    def hand_over(self) -> None:
        """Begin to make another one the primary, in order."""

    def is_writable(self) -> bool:
        """Whether a plain write is accepted now."""

    def holder(self, subject: str, lane: int) -> object:
        """Whose this lock is now: the same as long as nobody else has had it; None for nobody's."""

    def repair(self) -> None:
        """Bring back what was killed, and forget all keys."""


@contextmanager
def running_sites() -> Iterator[list[Site]]:
    """All there are, killed afterwards. Enter from the main thread."""
    with short_directory() as directory, running_etcd(members=3) as etcd, ExitStack() as ending:
        trio = SentinelTrio(valkey_binary(), directory / "sentinel")
        cluster = Cluster(valkey_binary(), directory / "cluster")
        for each in (trio, cluster):
            ending.callback(each.kill)
            each.start()
        sites: list[Site] = [Sentinels(trio), Clustered(cluster)]
        yield [*sites, Leased(etcd)] if etcd else sites


class Sentinels:
    """The trio."""

    title = SENTINEL
    subjects: Sequence[str] = OURS_AND_PEERS

    def __init__(self, trio: SentinelTrio) -> None:
        self._trio = trio
        self.url = trio.url

    def victim(self) -> Callable[[], None]:
        return self._trio.primary().kill

    def hand_over(self) -> None:
        self._trio.sentinels[0].call("SENTINEL", "FAILOVER", SERVICE)

    def is_writable(self) -> bool:
        return any(_takes(server) for server in self._trio.servers if server.is_running)

    def holder(self, subject: str, lane: int) -> object:
        return _holder_in(subject, self._trio.call("GET", lock_key(subject, lane)))

    def repair(self) -> None:
        self._trio.repair()
        self._trio.call("FLUSHALL")


class Clustered:
    """The Cluster, whose first shard has all locks."""

    title = CLUSTER
    subjects: Sequence[str] = OURS_AND_PEERS

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.url = cluster.url

    def victim(self) -> Callable[[], None]:
        return self._cluster.primary_of(PROBE).kill

    def hand_over(self) -> None:
        self._cluster.replica_of(PROBE).call("CLUSTER", "FAILOVER")

    def is_writable(self) -> bool:
        return any(_takes(node) for node in self._cluster.nodes if node.is_running)

    def holder(self, subject: str, lane: int) -> object:
        return _holder_in(subject, self._cluster.call("GET", lock_key(subject, lane)))

    def repair(self) -> None:
        self._cluster.repair()
        self._cluster.call("FLUSHALL")


class Leased:
    """etcd's three members."""

    title = ETCD
    subjects: Sequence[str] = (ETCD,)

    def __init__(self, etcd: Etcd) -> None:
        self._etcd = etcd
        self.url = etcd.url

    def victim(self) -> Callable[[], None]:
        leader = self._etcd.leader()
        return lambda: self._etcd.kill_member(leader)

    def hand_over(self) -> None:
        self._etcd.move_leader()

    def is_writable(self) -> bool:
        try:
            self._etcd.ctl("put", PROBE, "")
        except subprocess.CalledProcessError:  # no leader yet
            return False
        return True

    def holder(self, subject: str, lane: int) -> object:
        return self._etcd.ctl("get", lock_key(subject, lane), "--print-value-only").strip() or None

    def repair(self) -> None:
        self._etcd.repair()
        self._etcd.ctl("del", "", "--prefix")


def _takes(server: Server) -> bool:
    try:
        return bool(server.call("SET", PROBE, ""))
    except redis.RedisError:
        return False


def _holder_in(subject: str, raw: bytes | None) -> object:
    return decode_status(raw, "").claim_id if raw is not None and subject == OURS else raw
