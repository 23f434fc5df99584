"""A Cluster: the map of its slots, learnt from any node, and what a node's redirection means."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import redis.exceptions as rex
from redis.crc import key_slot

from perseus.store.topology import Advised, Command, NoAdvice, Node, first_answer, shuffled
from perseus.store.url import Address, Target

_REDIRECTIONS = 10
_TRY_AGAIN_AFTER_S = 0.02  # a key of several is being moved just now


class _Range(NamedTuple):
    first: int
    last: int
    primary: Address
    replicas: tuple[Address, ...]


class Cluster(Advised):
    """Sends each command to the node its key's slot is on.

    A redirected command was not carried out, so it is sent again. A node that fails is not tried again before the map
    was asked for anew, of the others first.
    """

    def __init__(self, target: Target) -> None:
        super().__init__(target.node_url)
        self._seeds = target.addresses
        self._ranges: list[_Range] = []
        self._moved: dict[int, Address] = {}  # slots that a node has told us of since the map was learnt

    def slot(self, key: str) -> int:
        return key_slot(key.encode())

    async def learn(self) -> Iterable[Address]:
        known = [address for each in self._ranges for address in (each.primary, *each.replicas)]
        try:
            _, ranges = await first_answer(shuffled([*known, *self._seeds], last=self._suspects), self._slots)
        except NoAdvice as error:
            raise _explained(error) from error
        self._ranges, self._moved = ranges, {}
        return [*self._seeds, *(address for each in ranges for address in (each.primary, *each.replicas))]

    def address(self, key: str | None) -> Address:
        if key is None:
            primaries = [each.primary for each in self._ranges]
            return next((each for each in primaries if each not in self._suspects), primaries[0])
        slot = self.slot(key)
        found = next((each.primary for each in self._ranges if each.first <= slot <= each.last), None)
        if slot in self._moved or found is not None:
            return self._moved.get(slot, found or self._seeds[0])
        raise rex.ClusterDownError(f"CLUSTERDOWN no node serves slot {slot}")

    async def send(self, key: str | None, commands: Sequence[Command]) -> list[Any]:
        await self.know()
        address = self.address(key)
        replies = await self.ask(address, commands)
        for _ in range(_REDIRECTIONS):
            again = [n for n, reply in enumerate(replies) if isinstance(reply, rex.AskError | rex.TryAgainError)]
            if not again:
                break
            # Those without a key belong to the others: a WAIT counts for the connection that wrote
            again = sorted({*again, *(n for n, command in enumerate(commands) if key_of(command) is None)})
            told = next(replies[n] for n in again if isinstance(replies[n], rex.AskError | rex.TryAgainError))
            address, asking = await self._redirected(told, key=key, was=address)
            for n, reply in zip(again, await self._resend([commands[n] for n in again], address, asking), strict=True):
                replies[n] = reply
        return replies

    async def nodes(self) -> list[Node]:
        self._is_known = False
        await self.know()
        primaries = dict.fromkeys(each.primary for each in self._ranges)
        replicas = dict.fromkeys(address for each in self._ranges for address in each.replicas)
        return [Node(str(address), "primary", self.client(address)) for address in primaries] + [
            Node(str(address), "replica", self.client(address)) for address in replicas
        ]

    async def _resend(self, commands: Sequence[Command], address: Address, asking: bool) -> list[Any]:
        if not asking:
            return await self.ask(address, commands)
        permitted = [each for command in commands for each in (("ASKING",), command)]
        return (await self.ask(address, permitted))[1::2]

    async def _redirected(self, told: Exception, *, key: str | None, was: Address) -> tuple[Address, bool]:
        if isinstance(told, rex.AskError):  # MOVED is one, too
            address = Address(told.host or was.host, told.port)
            if isinstance(told, rex.MovedError):
                self._moved[told.slot_id] = address
                return address, False
            return address, True
        await asyncio.sleep(_TRY_AGAIN_AFTER_S)
        return self.address(key), False

    async def _slots(self, adviser: Address) -> list[_Range]:
        (reply,) = await self.ask(adviser, [("CLUSTER", "SLOTS")])
        if isinstance(reply, Exception):
            raise reply
        if not reply:
            raise rex.ConnectionError("it knows of no slots")
        return [
            _Range(first, last, _placed(primary, adviser), tuple(_placed(each, adviser) for each in replicas))
            for first, last, primary, *replicas in reply
        ]


def key_of(command: Command) -> str | None:
    """The (first) key of a command we use, None if it has none."""
    name = str(command[0])
    if name in ("EVAL", "EVALSHA"):
        return _text(command[3]) if int(command[2]) else None
    if name == "XREAD":
        return _text(command[command.index("STREAMS") + 1])
    if name in ("TIME", "PING", "INFO", "CONFIG", "CONFIG GET", "PUBLISH", "WAIT", "ROLE", "KEYS", "CLUSTER"):
        return None
    return _text(command[1]) if len(command) > 1 else None


def _placed(node: Sequence[Any], adviser: Address) -> Address:
    """Where a node of a CLUSTER SLOTS reply is; one that does not know its own host is where we asked."""
    host = _text(node[0]) if node[0] else ""
    return Address(host if host and host != "?" else adviser.host, int(node[1]))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _explained(error: NoAdvice) -> Exception:
    refused = (rex.ResponseError, rex.AuthenticationError)
    told = next((fault for fault in error.faults.values() if isinstance(fault, refused)), None)
    return told or rex.ConnectionError(f"no node of the Cluster said where its slots are ({error})")
