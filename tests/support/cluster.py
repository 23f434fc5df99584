"""A real Cluster: three primaries, each with a replica, that can fail over, lose a primary and move a slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import redis
from redis.crc import key_slot

from tests.support.servers import Server
from tests.support.system import free_port
from tests.support.waiting import wait_until

SHARDS = 3
SLOTS = 16384
# A dead primary is replaced about 1.5 s after its last word.
_CONFIG = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": "1000",
    "cluster-replica-validity-factor": "0",
    "repl-ping-replica-period": "1",
    "repl-diskless-sync-delay": "0",
}


class Cluster:
    """Six servers of one kind; node 0 to 2 begin as primaries, 3 to 5 as their replicas.

    `call` and `all_keys` answer like a single server's, through the primary that serves the key, so that a test of a
    meeting point need not know on what it runs. `config`, `acl`, `password` as for `Server`, for each node.
    """

    def __init__(self, binary: Path, directory: Path, *, config: dict[str, str] | None = None, **properties: Any):
        tls = {"tls-cluster": "yes"} if properties.get("tls") else {}
        self._bus_ports = [free_port() for _ in range(2 * SHARDS)]
        self.nodes = [
            Server(
                binary,
                directory / str(n),
                config={**_CONFIG, **tls, "cluster-port": str(bus), **(config or {})},
                **properties,
            )
            for n, bus in enumerate(self._bus_ports)
        ]
        self._tls = properties.get("tls")
        self._cleanup = ExitStack()

    @property
    def url(self) -> str:
        """The URL of the default user, naming two of the six."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])
        return f"redis+cluster://{hosts}"

    def url_for(self, user: str, password: str) -> str:
        """The URL with these credentials."""
        return self.url.replace("://", f"://{user}:{password}@")

    def tls_url_for(self, user: str, password: str) -> str:
        """The URL with these credentials, encrypted, trusting the certificate given."""
        hosts = ",".join(f"127.0.0.1:{node.tls_port}" for node in self.nodes[:2])
        return f"rediss+cluster://{user}:{password}@{hosts}?ssl_ca_certs={self._tls}"

    def start(self) -> Self:
        """Start the nodes, make them one Cluster, and return once every node knows it as whole and in sync."""
        for number, node in enumerate(self.nodes):
            self._cleanup.callback(node.kill)
            node.start()
            node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for shard in range(SHARDS):
            low, high = SLOTS * shard // SHARDS, SLOTS * (shard + 1) // SHARDS - 1
            self.nodes[shard].call("CLUSTER", "ADDSLOTSRANGE", low, high)
        for node, bus in zip(self.nodes[1:], self._bus_ports[1:], strict=True):
            self.nodes[0].call("CLUSTER", "MEET", "127.0.0.1", node.tls_port or node.port, bus)
        ids = [node.call("CLUSTER", "MYID") for node in self.nodes]
        wait_until(lambda: all(self._knows_all(node) for node in self.nodes), description="all nodes know each other")
        for shard in range(SHARDS):
            self.nodes[SHARDS + shard].call("CLUSTER", "REPLICATE", ids[shard])
        self.wait_until_whole()
        return self

    def kill(self) -> None:
        """kill -9 to every node."""
        self._cleanup.close()

    def repair(self) -> None:
        """Bring back every node that was killed or paused."""
        for node in self.nodes:
            if node.is_running:
                node.resume()
            else:
                node.start()
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Return once every slot is served, every node agrees on by whom, and each primary has its replica in sync."""
        wait_until(self._is_whole, description="the Cluster is whole", timeout=20)

    def primary_of(self, key: str) -> Server:
        """The node that serves this key now, by what a live node says."""
        return self._at(self._owner(key_slot(key.encode())))

    def replica_of(self, key: str) -> Server:
        """The replica of the node that serves this key now."""
        slot = key_slot(key.encode())
        for first, last, _, *replicas in self._live().call("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return self._at(replicas[0][1])
        raise AssertionError(f"slot {slot} is not served")

    def failover(self, key: str) -> None:
        """Hand the shard of this key over to its replica, losing nothing; return once the replica is primary."""
        replica = self.replica_of(key)
        replica.call("CLUSTER", "FAILOVER")
        wait_until(lambda: replica.call("ROLE")[0] == b"master", description="the replica is primary")

    def migrate_slot(self, key: str, *, to: Server, halfway: Callable[[], None] = lambda: None) -> None:
        """Move this key's slot to another primary the classic way: importing, migrating, keys, then the new owner.

        The keys move one at a time, this one first; then `halfway` is called, while the slot is divided between both.
        """
        slot, source = key_slot(key.encode()), self.primary_of(key)
        from_id, to_id = source.call("CLUSTER", "MYID"), to.call("CLUSTER", "MYID")
        to.call("CLUSTER", "SETSLOT", slot, "IMPORTING", from_id)
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", to_id)
        source.call("MIGRATE", "127.0.0.1", to.port, key, 0, 5000)
        halfway()
        while names := source.call("CLUSTER", "GETKEYSINSLOT", slot, 1):
            source.call("MIGRATE", "127.0.0.1", to.port, names[0], 0, 5000)
        for node in (to, source, *self.primaries()):
            node.call("CLUSTER", "SETSLOT", slot, "NODE", to_id)

    def primaries(self) -> list[Server]:
        """The nodes that serve slots now."""
        return [self._at(port) for port in sorted({each[2][1] for each in self._live().call("CLUSTER", "SLOTS")})]

    def call(self, *command: str | bytes | int | float) -> Any:
        """Send a command to the node of its key (its second word); one without a key goes to every primary."""
        if len(command) == 1 or str(command[0]) == "SCRIPT":
            return [node.call(*command) for node in self.primaries()][-1]
        key = command[1] if isinstance(command[1], bytes) else str(command[1]).encode()
        return self._at(self._owner(key_slot(key))).call(*command)

    def client(self) -> redis.Redis:
        """A plain client of one of the primaries."""
        return self.primaries()[0].client()

    def all_keys(self) -> list[str]:
        """Every key of every primary."""
        return sorted(key for node in self.primaries() for key in node.all_keys())

    @property
    def is_answering(self) -> bool:
        """Whether any node answers."""
        return any(node.is_answering for node in self.nodes if node.is_running)

    def _live(self) -> Server:
        return next(node for node in self.nodes if node.is_running and node.is_answering)

    def _owner(self, slot: int) -> int:
        for first, last, primary, *_ in self._live().call("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return int(primary[1])
        raise AssertionError(f"slot {slot} is not served")

    def _at(self, port: int) -> Server:
        return next(node for node in self.nodes if node.port == port)

    def _knows_all(self, node: Server) -> bool:
        lines: list[bytes] = node.call("CLUSTER", "NODES").splitlines()
        return len(lines) == len(self.nodes) and not any(b"handshake" in line for line in lines)

    def _is_whole(self) -> bool:
        try:
            views = [_shape(node.call("CLUSTER", "SLOTS")) for node in self.nodes]
            states = [node.call("CLUSTER", "INFO") for node in self.nodes]
            replicas = [node.call("ROLE") for node in self.nodes]
        except (redis.RedisError, AssertionError):
            return False
        served = sum(last - first + 1 for first, last, _, _ in views[0])
        in_sync = [role for role in replicas if role[0] == b"slave" and role[3] == b"connected"]
        agree = all(view == views[0] for view in views) and all(each for _, _, _, each in views[0])
        up = all(b"cluster_state:ok" in state for state in states)
        return served == SLOTS and len(in_sync) == SHARDS and agree and up


def _shape(slots: Sequence[Any]) -> list[tuple[int, int, int, tuple[int, ...]]]:
    return sorted((each[0], each[1], each[2][1], tuple(sorted(node[1] for node in each[3:]))) for each in slots)
