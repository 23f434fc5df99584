"""One connection to the store: every call is bounded in time, and every failure is one of four.

`StoreUnavailable`: no answer, so the outcome is unknown. `StoreRefused`: an error reply, nothing was done.
`StoreDenied`: our credentials or rights. `UnreadableKey`: a key of another type. The client library's own retries are
off: with its defaults one call on a frozen server raised after 59 s.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import redis.exceptions as rex

from perseus.errors import PerseusError, StoreDenied, StoreRefused, StoreUnavailable, UnreadableKey
from perseus.settings import redacted
from perseus.store.cluster import Cluster, key_of
from perseus.store.scripts import Script
from perseus.store.sentinel import Sentinels
from perseus.store.topology import Command, Node, OneServer, Topology, cancelled, new_client
from perseus.store.url import Address, parse_url

Arguments = Sequence[str | bytes | int | float]

_DENIED = ("NOAUTH", "NOPERM", "WRONGPASS")
# A right missing inside a script comes as a plain error: Valkey's words, then Redis 6 and 7's.
_DENIED_IN_SCRIPT = ("ACL failure in script", "The user executing the script")
_PLACE_IN_SCRIPT = re.compile(r" script: (\S+, )?on @user_script:\d+\.?$")


class Entry(NamedTuple):
    """One stream entry: `id` is `<ms>-<seq>`; fields and values are text."""

    id: str
    fields: dict[str, str]

    @property
    def order(self) -> tuple[int, int]:
        """The id as numbers: ids do not sort as text."""
        ms, _, seq = self.id.partition("-")
        return int(ms), int(seq or 0)


class Store:
    """Typed operations on one server, the primary behind Sentinels, or a Cluster. Not shared between event loops.

    Units: `timeout` in seconds bounds each call whole, connecting, authenticating and finding the node included.
    """

    def __init__(self, url: str, *, timeout: float = 2.0, topology: Topology | None = None) -> None:
        """Prepare a connection; nothing is sent yet. `topology`: the nodes to use, if not those the URL names.

        Raises: BadConfiguration for a URL that cannot be used.
        """
        self.url = redacted(url)
        self._timeout = timeout
        self._topology = topology or _topology(url)

    async def close(self) -> None:
        """Close every connection; further calls would open new ones."""
        await self._topology.close()

    async def nodes(self) -> list[Node]:
        """Every node of the store as it is now, primaries first; replicas of a Cluster only."""
        async with self._call("its nodes"):
            return await self._topology.nodes()

    def at(self, node: Node) -> Store:
        """The same operations on this one node, for questions about it (`time_ms`, `info`, `config`)."""
        return Store(node.name, timeout=self._timeout, topology=OneServer(node.client, name=node.name))

    def replica_at(self, host: str, port: int) -> Node:
        """A replica of a primary of the store, where that one says it is; reached with the same credentials."""
        address = Address(host, port)
        return Node(str(address), "replica", self._topology.client(address))

    def sentinels(self) -> list[Node]:
        """The Sentinels that STORE_URL names; none for other stores. For questions only."""
        return self._topology.sentinels()

    async def run(self, script: Script, *, keys: Sequence[str], args: Arguments) -> list[Any]:
        """Run a script atomically; bulk strings in its reply are bytes. Loaded again when the server forgot it."""
        async with self._call(script.name, keys[0], about=" ".join(keys)):
            (reply,) = await self._run(script, keys, args)
        return list(reply) if isinstance(reply, list) else [reply]

    async def run_replicated(
        self, script: Script, *, keys: Sequence[str], args: Arguments, replicas: int, within_s: float
    ) -> tuple[list[Any], int]:
        """Run a script and wait up to `within_s` for `replicas` replicas to have its writes; returns their number, too.

        WAIT follows on the same connection: on another it would answer for what that one wrote, which is nothing.
        Raises: StoreUnavailable also if the script was carried out and WAIT then failed.
        """
        if not 0 < within_s < self._timeout:
            raise ValueError(f"within_s {within_s:g} does not lie inside the call's bound of {self._timeout:g} s")
        wait = ("WAIT", replicas, max(1, round(within_s * 1000)))  # 0 would be for ever
        async with self._call(script.name, keys[0], about=" ".join(keys)):
            reply, acknowledged = await self._run(script, keys, args, wait)
        if isinstance(acknowledged, Exception):
            raise self._unacknowledged(acknowledged, script, keys[0]) from acknowledged
        return list(reply) if isinstance(reply, list) else [reply], int(acknowledged)

    def _unacknowledged(self, error: Exception, script: Script, key: str) -> PerseusError:
        ours = self._translated(error, "WAIT", key)
        if isinstance(ours, StoreDenied):
            return ours
        return StoreUnavailable(
            f"The store at {self.url} did {script.name}, but did not say how many replicas have it: {error}. "
            f"A failover may lose it."
        )

    async def _run(self, script: Script, keys: Sequence[str], args: Arguments, *after: Command) -> list[Any]:
        replies = await self._topology.send(keys[0], [("EVALSHA", script.sha, len(keys), *keys, *args), *after])
        if isinstance(replies[0], rex.NoScriptError):
            replies = await self._topology.send(keys[0], [("EVAL", script.text, len(keys), *keys, *args), *after])
        if isinstance(replies[0], Exception):
            raise replies[0]
        return replies

    async def time_ms(self, key: str | None = None) -> float:
        """The clock of the server that serves `key` (None: of any), Unix milliseconds."""
        seconds, micros = await self._execute("TIME", on=key)
        return int(seconds) * 1000 + int(micros) / 1000

    async def get(self, key: str) -> bytes | None:
        """The string at `key`, or None. Raises: UnreadableKey if it is of another type."""
        value: bytes | None = await self._execute("GET", key, on=key)
        return value

    async def pipeline(self, *commands: Command) -> list[Any]:
        """Send commands together and return their replies in order; an error reply stands in its place as an exception.

        Not a transaction. For reads of one snapshot: one unreadable key must not hide the others. Commands without a
        key (TIME) go where the next one with a key goes. On a Cluster, the commands for a node that does not answer
        have that error in their places. Raises: that error if no node answers.
        """
        groups = self._grouped(commands)
        answers = await asyncio.gather(*(self._group(key, [commands[n] for n in group]) for key, group in groups))
        faults = [answer for answer in answers if isinstance(answer, PerseusError)]
        if faults and len(faults) == len(answers):
            raise faults[0]
        replies: list[Any] = [None] * len(commands)
        for (_, group), answer in zip(groups, answers, strict=True):
            for at, n in enumerate(group):
                replies[n] = answer if isinstance(answer, PerseusError) else answer[at]
        return replies

    def _grouped(self, commands: Sequence[Command]) -> list[tuple[str | None, list[int]]]:
        """The numbers of the commands of each slot, with a key of it."""
        groups: dict[int, tuple[str | None, list[int]]] = {}
        waiting: list[int] = []
        for n, command in enumerate(commands):
            key = key_of(command)
            waiting.append(n)
            if key is not None:
                groups.setdefault(self._topology.slot(key), (key, []))[1].extend(waiting)
                waiting = []
        if waiting:
            key, last = next(reversed(groups.values())) if groups else (None, [])
            last.extend(waiting)
            groups = groups or {0: (key, last)}
        return list(groups.values())

    async def _group(self, key: str | None, commands: Sequence[Command]) -> list[Any] | PerseusError:
        try:
            async with self._call("pipeline", key):
                replies = await self._topology.send(key, commands)
        except PerseusError as error:
            return error
        return [
            self._translated(reply, str(command[0]), key_of(command)) if isinstance(reply, rex.RedisError) else reply
            for command, reply in zip(commands, replies, strict=True)
        ]

    async def append(self, key: str, fields: Mapping[str, str], *, min_id: str | None) -> str:
        """XADD with an id of the server's; trim entries older than `min_id` approximately. Returns the id."""
        trim = ("MINID", "~", min_id) if min_id else ()
        flat = [part for pair in fields.items() for part in pair]
        entry_id: bytes = await self._execute("XADD", key, *trim, "*", *flat, on=key)
        return entry_id.decode()

    async def entries(self, key: str, *, newest: str = "+", oldest: str = "-", count: int) -> list[Entry]:
        """XREVRANGE: at most `count` entries from `newest` down to `oldest`, newest first."""
        return parse_entries(await self._execute("XREVRANGE", key, newest, oldest, "COUNT", count, on=key))

    async def newest_id(self, key: str) -> str:
        """The id of the newest entry ever added, `0-0` for an empty or absent stream: where to read on from."""
        found = await self.entries(key, count=1)
        return found[0].id if found else "0-0"

    async def wait_entries(self, after: Mapping[str, str], *, block: float, count: int = 100) -> dict[str, list[Entry]]:
        """XREAD BLOCK: entries after the given ids by stream, waiting up to `block` seconds; {} if none came.

        On a Cluster one question a slot, at once; the first to bring entries ends the wait. Nothing is lost: the next
        call asks again after the same ids. Raises: what a node raised, if none of the others brought any.
        """
        slots: dict[int, dict[str, str]] = {}
        for key, entry_id in after.items():
            slots.setdefault(self._topology.slot(key), {})[key] = entry_id
        pending = {asyncio.create_task(self._wait_slot(each, block=block, count=count)) for each in slots.values()}
        fault: PerseusError | None = None
        found: dict[str, list[Entry]] = {}
        try:
            while pending and not found:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        found |= task.result()
                    except PerseusError as error:
                        fault = error
        finally:
            await cancelled(pending)
        if fault is not None and not found:
            raise fault
        return found

    async def _wait_slot(self, after: Mapping[str, str], *, block: float, count: int) -> dict[str, list[Entry]]:
        streams = (*after.keys(), *after.values())
        options = ("COUNT", count, "BLOCK", round(block * 1000), "STREAMS")
        reply = await self._execute("XREAD", *options, *streams, on=next(iter(after)), extra_s=block)
        return {key.decode(): parse_entries(entries) for key, entries in reply or ()}

    async def newest_members(self, key: str, count: int) -> list[bytes]:
        """The `count` highest-scored members of a sorted set, lowest first."""
        members: list[bytes] = await self._execute("ZRANGE", key, -count, -1, on=key)
        return members

    async def info(self, *sections: str, key: str | None = None) -> dict[str, str]:
        """INFO of the server that serves `key`, flattened to text by field. Raises: StoreDenied without the right."""
        texts = [await self._execute("INFO", section, on=key) for section in sections]
        return info_fields(texts)

    async def config(self, parameter: str, *, key: str | None = None) -> str | None:
        """One CONFIG parameter of the server serving `key`; None where it is denied (managed servers) or unknown."""
        try:
            reply = await self._execute("CONFIG GET", parameter, on=key)
        except (StoreDenied, StoreRefused):
            return None
        return _text(reply[1]) if len(reply) > 1 else None

    async def _execute(self, *command: str | bytes | int | float, on: str | None, extra_s: float = 0.0) -> Any:
        """Send one command to the node serving the key `on`, and return its reply."""
        async with self._call(str(command[0]), on, extra_s=extra_s):
            (reply,) = await self._topology.send(on, [command])
            if isinstance(reply, Exception):
                raise reply
        return reply

    @asynccontextmanager
    async def _call(
        self, what: str, key: str | None = None, *, about: str = "", extra_s: float = 0.0
    ) -> AsyncIterator[None]:
        """Bound a call for `key` and translate its failures, naming the keys it is `about`."""
        try:
            async with asyncio.timeout(self._timeout + extra_s):
                yield
        except TimeoutError as error:
            self._topology.doubt(key)
            raise StoreUnavailable(
                f"The store at {self.url} did not answer {what} within {self._timeout + extra_s:g} s; whether it was "
                f"done is unknown. Check that the server runs and is reachable, then `perseus doctor`."
            ) from error
        except asyncio.CancelledError:
            if not extra_s:  # given up by its caller, perhaps because this node is silent; one that blocks may be
                self._topology.doubt(key)
            raise
        except (rex.RedisError, OSError) as error:
            raise self._translated(error, what, key, about=about) from error

    def _translated(self, error: Exception, what: str, key: str | None, *, about: str = "") -> PerseusError:
        """One of our four errors; a node that refuses or fails may not be the right one any more."""
        ours = _translated(error, what, key=about or key or "", url=self.url)
        if isinstance(ours, StoreUnavailable):
            self._topology.doubt(key)
        return ours


def _topology(url: str) -> Topology:
    target = parse_url(url)
    if target.kind == "cluster":
        return Cluster(target)
    if target.kind == "sentinel":
        return Sentinels(target)
    parts = urlsplit(url)
    name = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
    return OneServer(new_client(url), name=name, node_url=target.node_url)


def _translated(error: Exception, what: str, *, key: str, url: str) -> PerseusError:
    text = _PLACE_IN_SCRIPT.sub("", str(error)).rstrip(". \n")
    denied = isinstance(error, rex.AuthenticationError | rex.NoPermissionError)
    if denied or text.startswith(_DENIED + _DENIED_IN_SCRIPT):
        return StoreDenied(
            f"The store at {url} refused us: {text}. Check user and password in STORE_URL, and the user's rights "
            f"(docs/store.md has the ACL line for each role)."
        )
    if isinstance(error, rex.ResponseError) and text.startswith("WRONGTYPE"):
        return UnreadableKey(f"Key {key!r} in the store is not of the expected type ({text}).", key=key, reason=text)
    if isinstance(error, rex.MovedError) and "+cluster" not in url:
        text += "; it is a node of a Cluster, which STORE_URL names with redis+cluster://"
    if isinstance(error, rex.ResponseError | rex.BusyLoadingError | rex.ClusterError):
        return StoreRefused(f"The store at {url} refused {what}: {text}. Nothing was written.", reason=text)
    return StoreUnavailable(
        f"The store at {url} cannot be reached: {text or type(error).__name__}. "
        f"Check that the server runs and STORE_URL names it, then `perseus doctor`."
    )


def parse_entries(reply: Any) -> list[Entry]:
    """Entries from an XRANGE-shaped reply. Undecodable bytes become U+FFFD: a feed must show the rest."""
    return [
        Entry(
            _text(entry_id),
            {_text(name): _text(value) for name, value in zip(fields[::2], fields[1::2], strict=True)},
        )
        for entry_id, fields in reply or ()
        if fields is not None
    ]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def info_fields(texts: Sequence[Any]) -> dict[str, str]:
    """The fields of replies to INFO, as text by name."""
    lines = [line for text in texts for line in _text(text).splitlines()]
    return {name: value for name, found, value in (line.partition(":") for line in lines) if found}
