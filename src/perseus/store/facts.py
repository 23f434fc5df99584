"""What every server of a store says about itself, asked of all of them at once and each within the call's bound."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote

from perseus.clock import Clock
from perseus.errors import PerseusError, StoreDenied, StoreRefused
from perseus.store.connection import Store, info_fields
from perseus.store.topology import Node

_SECTIONS = ("server", "clients", "memory", "persistence", "replication", "cluster")
_PARAMETERS = (
    "appendfsync",
    "cluster-node-timeout",
    "cluster-require-full-coverage",
    "maxclients",
    "maxmemory-policy",
    "min-replicas-to-write",
    "save",
    "stop-writes-on-bgsave-error",
    "timeout",
)
# Every server is asked the same, also while it loads its data; what one does not know or permit is missing.
_QUESTIONS: tuple[tuple[str, ...], ...] = (
    ("TIME",),
    *(("INFO", section) for section in _SECTIONS),
    *(("CONFIG GET", parameter) for parameter in _PARAMETERS),
)


class Reading(NamedTuple):
    """A server's clock as it was read. Milliseconds: by it, by this host's boot-time and wall clock, and how surely."""

    store_ms: float
    boot_ms: float
    wall_ms: float
    give_or_take_ms: float

    @property
    def offset_ms(self) -> float:
        """By how much it is ahead of our boot-time clock: only differences between servers mean anything."""
        return self.store_ms - self.boot_ms


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What one server said to `user`. `fault`: why it said nothing at all. `denied`: what the user may not ask it."""

    node: Node
    user: str
    info: dict[str, str] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    cluster: dict[str, str] = field(default_factory=dict)
    time: Reading | None = None
    denied: frozenset[str] = frozenset()  # INFO, CONFIG GET, TIME
    fault: PerseusError | None = None

    @property
    def name(self) -> str:
        """Where the server is reached."""
        return self.node.name

    @property
    def replicas(self) -> list[tuple[str, int]]:
        """Where the replicas are that are connected to this primary and have all its data."""
        lines = [value for name, value in self.info.items() if name.startswith("slave") and name[5:].isdigit()]
        fields = [dict(part.partition("=")[::2] for part in line.split(",")) for line in lines]
        return [(each["ip"], int(each["port"])) for each in fields if each.get("state") == "online"]

    def number(self, name: str, default: int = 0) -> int:
        """A whole number of INFO, or `default` where the server does not say."""
        text = self.info.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else default


@dataclass(frozen=True)
class Survey:
    """Every server of the store. On a Cluster there are several primaries."""

    primaries: tuple[Facts, ...]
    replicas: tuple[Facts, ...]

    def replicas_of(self, primary: Facts) -> list[Facts]:
        """The replicas that follow this primary's writes, as far as they say so where there are several primaries."""
        if len(self.primaries) == 1:
            return list(self.replicas)
        followed = primary.info.get("master_replid")
        return [each for each in self.replicas if each.info.get("master_replid", "") == followed]


async def survey(store: Store, *, clock: Clock) -> Survey:
    """Ask every primary and every replica there is.

    Raises: StoreUnavailable or StoreDenied if no primary can be asked.
    """
    nodes = await store.nodes()
    primaries = await _ask_all(store, [node for node in nodes if node.role == "primary"], clock=clock)
    if all(facts.fault for facts in primaries):
        raise next(facts.fault for facts in primaries if facts.fault)
    replicas = [node for node in nodes if node.role == "replica"]
    if kind_of(store) != "cluster":  # it names its replicas by itself
        replicas = [store.replica_at(*place) for facts in primaries for place in facts.replicas]
    return Survey(tuple(primaries), tuple(await _ask_all(store, replicas, clock=clock)))


def kind_of(store: Store) -> str:
    """`server`, `cluster` or `sentinel`, as STORE_URL names it."""
    return store.url.partition("://")[0].partition("+")[2] or "server"


def user_of(store: Store) -> str:
    """Whom STORE_URL logs in as."""
    credentials, _, _ = store.url.partition("://")[2].rpartition("@")
    return unquote(credentials.partition(":")[0]) or "default"


async def _ask_all(store: Store, nodes: Iterable[Node], *, clock: Clock) -> list[Facts]:
    user = user_of(store)
    return list(await asyncio.gather(*(_ask(store.at(node), node, user=user, clock=clock) for node in nodes)))


async def _ask(store: Store, node: Node, *, user: str, clock: Clock) -> Facts:
    try:
        with suppress(StoreRefused):  # it is loading its data
            await store.pipeline(("PING",))  # connects, so that only the question's own way is in the time it took
        sent_ms, wall_ms = clock.now() * 1000, clock.wall_ms()
        replies = await store.pipeline(*_QUESTIONS)
        took_ms = clock.now() * 1000 - sent_ms
    except PerseusError as error:
        return Facts(node=node, user=user, fault=error)
    if all(isinstance(reply, StoreDenied) for reply in replies):
        return Facts(node=node, user=user, fault=replies[0])  # it wants a password that we have not got
    answers = dict(zip(_QUESTIONS, replies, strict=True))
    good = {question: reply for question, reply in answers.items() if not isinstance(reply, Exception)}
    time = None
    if ("TIME",) in good:
        seconds, micros = good["TIME",]
        half_ms = took_ms / 2
        store_ms = int(seconds) * 1000 + int(micros) / 1000
        time = Reading(store_ms, sent_ms + half_ms, wall_ms + half_ms, half_ms)
    info = info_fields([reply for question, reply in good.items() if question[0] == "INFO"])
    return Facts(
        node=node,
        user=user,
        info=info,
        config={
            question[1]: reply[1].decode() for question, reply in good.items() if question[0] == "CONFIG GET" and reply
        },
        cluster=await _cluster_info(store, info),
        time=time,
        denied=frozenset(question[0] for question, reply in answers.items() if isinstance(reply, StoreDenied)),
    )


async def _cluster_info(store: Store, info: dict[str, str]) -> dict[str, str]:
    if info.get("cluster_enabled") != "1":
        return {}
    try:
        (reply,) = await store.pipeline(("CLUSTER", "INFO"))
    except PerseusError:  # it is loading its data; whoever judges says that the Cluster is not known
        return {}
    return {} if isinstance(reply, Exception) else info_fields([reply])
