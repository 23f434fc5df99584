"""Which node answers for a key: one server here; `cluster.py` and `sentinel.py` have to ask, and to ask again.

The client library's own Cluster client goes on calling a frozen primary, and its Sentinel client waits for a frozen
Sentinel each time it connects (docs/decisions/0015): neither learns from a call that its caller had to give up. So
routing is ours, and each node is a plain client of the library, tuned and bounded like the single server.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeVar

import redis.exceptions as rex
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from perseus.errors import BadConfiguration
from perseus.settings import redacted
from perseus.store.dialling import dial
from perseus.store.url import Address

Command = Sequence[str | bytes | int | float]
T = TypeVar("T")
R = TypeVar("R")

NEXT_AFTER_S = 0.1  # an adviser that has not answered by then may be frozen: the next is asked as well
_CLOSE_WITHIN_S = 0.2


class Node(NamedTuple):
    """One server of the store. `name` is its host and port as it is reached, or its socket."""

    name: str
    role: Literal["primary", "replica", "sentinel"]
    client: Redis


class Topology(ABC):
    """Sends commands to the node that serves a key. Not shared between event loops."""

    def slot(self, key: str) -> int:
        """Keys of one slot are always on one node."""
        return 0

    @abstractmethod
    async def send(self, key: str | None, commands: Sequence[Command]) -> list[Any]:
        """Send commands to the node serving `key` (None: any primary) on one connection; replies in order.

        An error reply stands in its place as the client library's exception. Raises: the library's exceptions, OSError.
        """

    @abstractmethod
    async def nodes(self) -> list[Node]:
        """Every node there is now, primaries first. Raises like `send`."""

    @abstractmethod
    def client(self, address: Address) -> Redis:
        """The client of a server of this store, whether commands are sent to it or not."""

    def sentinels(self) -> list[Node]:
        """The Sentinels the URL names."""
        return []

    @abstractmethod
    async def close(self) -> None:
        """Close every connection."""

    def doubt(self, key: str | None) -> None:  # noqa: B027  one server is where it is
        """A call for this key failed or was not answered: look where its node is before the next one."""


class OneServer(Topology):
    """The server, or socket, the URL names."""

    def __init__(self, client: Redis, *, name: str, node_url: Callable[[Address], str] | None = None) -> None:
        self._client = client
        self._name = name
        self._node_url = node_url
        self._others: dict[Address, Redis] = {}

    async def send(self, key: str | None, commands: Sequence[Command]) -> list[Any]:
        return await send_to(self._client, commands)

    async def nodes(self) -> list[Node]:
        return [Node(self._name, "primary", self._client)]

    def client(self, address: Address) -> Redis:
        if self._node_url is None:
            raise ValueError("this is one node of a store, asked about itself")
        if address not in self._others:
            self._others[address] = new_client(self._node_url(address))
        return self._others[address]

    async def close(self) -> None:
        for client in (self._client, *self._others.values()):
            await closed(client)


class Advised(Topology):
    """A topology learnt from advisers (nodes, Sentinels), and learnt again once a call has failed."""

    def __init__(self, node_url: Callable[[Address], str]) -> None:
        self._node_url = node_url
        self._clients: dict[Address, Redis] = {}
        self._suspects: set[Address] = set()  # did not answer when last spoken to
        self._is_known = False
        self._learning = asyncio.Lock()

    @abstractmethod
    async def learn(self) -> Iterable[Address]:
        """Ask where the nodes are, keep the answer, and return all addresses in use. Raises like `send`."""

    @abstractmethod
    def address(self, key: str | None) -> Address:
        """Where the node for `key` is, by what was learnt last."""

    async def know(self) -> None:
        """Learn where the nodes are unless that is known."""
        if self._is_known:
            return
        async with self._learning:
            if not self._is_known:
                await self._close(set(self._clients) - set(await self.learn()))
                self._is_known = True

    def doubt(self, key: str | None) -> None:
        if self._is_known:
            with suppress(rex.ClusterDownError):  # nobody serves it: nobody to suspect
                self._suspects.add(self.address(key))
        self._is_known = False

    def client(self, address: Address) -> Redis:
        """The client of the node at `address`."""
        if address not in self._clients:
            self._clients[address] = new_client(self._node_url(address))
        return self._clients[address]

    async def ask(self, address: Address, commands: Sequence[Command]) -> list[Any]:
        """Send commands to the node at `address`."""
        replies = await send_to(self.client(address), commands)
        self._suspects.discard(address)
        return replies

    async def close(self) -> None:
        await self._close(set(self._clients))

    async def _close(self, addresses: set[Address]) -> None:
        for address in addresses:
            await closed(self._clients.pop(address))


async def closed(client: Redis) -> None:
    """Close a client's connections; a dead node takes no goodbye, and is not waited for."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_WITHIN_S):
            await client.aclose()


def new_client(url: str) -> Redis:
    """A client of one server: no retries, no timeouts and no parsing of its own."""
    try:
        client = Redis.from_url(
            url,
            socket_timeout=None,  # each call is bounded whole, by asyncio.timeout
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,  # CLIENT SETINFO would cost a round trip and a right
        )
    except ValueError as error:
        raise BadConfiguration(f"STORE_URL {redacted(url)!r} cannot be used: {error}.") from error
    client.response_callbacks.clear()  # they turn replies into dictionaries of guessed types; we read what was sent
    return dial(client)


async def send_to(client: Redis, commands: Sequence[Command]) -> list[Any]:
    """Send commands to one server on one connection, not as a transaction; error replies stand in their places."""
    if len(commands) == 1:
        try:
            return [await client.execute_command(*commands[0])]  # type: ignore[no-untyped-call]  # as the library has it
        except rex.ResponseError as error:
            return [error]
    pipe = client.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    return list(await pipe.execute(raise_on_error=False))


async def first_answer(advisers: Sequence[T], ask: Callable[[T], Coroutine[Any, Any, R]]) -> tuple[T, R]:
    """The first good answer; the next adviser is asked when one fails, or has not answered for a moment.

    Raises: `NoAdvice` if none gives one.
    """
    asked: dict[asyncio.Task[R], T] = {}
    faults: dict[T, Exception] = {}
    waiting = list(advisers)
    try:
        while asked or waiting:
            if waiting:
                adviser = waiting.pop(0)
                asked[asyncio.create_task(ask(adviser))] = adviser
            done, _ = await asyncio.wait(
                asked, timeout=NEXT_AFTER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                adviser = asked.pop(task)
                try:
                    return adviser, task.result()
                except (rex.RedisError, OSError) as error:
                    faults[adviser] = error
        raise NoAdvice({str(adviser): error for adviser, error in faults.items()})
    finally:
        await cancelled(asked)


async def all_answers(advisers: Sequence[T], ask: Callable[[T], Coroutine[Any, Any, R]]) -> list[R]:
    """Every good answer there is a moment after the first one. Raises: `NoAdvice` if there is none at all."""
    asked = {asyncio.create_task(ask(adviser)): adviser for adviser in advisers}
    faults: dict[str, Exception] = {}
    answers: list[R] = []
    pending: set[asyncio.Task[R]] = set(asked)
    try:
        while pending:
            within = NEXT_AFTER_S if answers else None
            done, pending = await asyncio.wait(pending, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            for task in done:
                try:
                    answers.append(task.result())
                except (rex.RedisError, OSError) as error:
                    faults[str(asked[task])] = error
        if not answers:
            raise NoAdvice(faults)
        return answers
    finally:
        await cancelled(pending)


class NoAdvice(rex.ConnectionError):
    """No adviser could say where the nodes are. `faults`: why not, by adviser."""

    def __init__(self, faults: dict[str, Exception]) -> None:
        super().__init__("; ".join(f"{adviser}: {error}" for adviser, error in faults.items()))
        self.faults = faults


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these tasks and wait until they have ended, their results unwanted."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at: it may have failed while it was being cancelled


def shuffled(addresses: Iterable[Address], *, last: set[Address]) -> list[Address]:
    """In a random order, those of `last` at the end."""
    order = list(dict.fromkeys(addresses))
    random.shuffle(order)
    return sorted(order, key=lambda address: address in last)
