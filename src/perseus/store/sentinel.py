"""A primary that Sentinels watch over and replace: where it is, by what most of them say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import redis.exceptions as rex
from redis.asyncio import Redis

from perseus.store.topology import Advised, Command, NoAdvice, Node, all_answers, closed, new_client, send_to
from perseus.store.url import Address, Target


class Sentinels(Advised):
    """Sends every command to the primary of one service, which is asked for anew once a call has failed."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.node_url)
        self._service = target.service
        self._sentinels: dict[Address, Redis] = {
            each: new_client(target.sentinel_url(each)) for each in target.addresses
        }
        self._primary = target.addresses[0]  # until it is learnt

    async def learn(self) -> Iterable[Address]:
        try:
            named = await all_answers(list(self._sentinels), self._named)
        except NoAdvice as error:
            raise self._explained(error) from error
        # One that is cut off from the others may name a primary that has been replaced
        self._primary = Counter(named).most_common(1)[0][0]
        return [self._primary]

    def address(self, key: str | None) -> Address:
        return self._primary

    async def send(self, key: str | None, commands: Sequence[Command]) -> list[Any]:
        await self.know()
        return await self.ask(self.address(key), commands)

    async def nodes(self) -> list[Node]:
        self._is_known = False
        await self.know()
        address = self.address(None)
        return [Node(str(address), "primary", self.client(address))]

    def sentinels(self) -> list[Node]:
        return [Node(str(address), "sentinel", client) for address, client in self._sentinels.items()]

    async def close(self) -> None:
        await super().close()
        for client in self._sentinels.values():
            await closed(client)

    async def _named(self, sentinel: Address) -> Address:
        (reply,) = await send_to(self._sentinels[sentinel], [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)])
        if isinstance(reply, Exception):
            raise reply
        if reply is None:
            raise rex.ConnectionError(f"it knows no service {self._service!r}")
        return Address(reply[0].decode(), int(reply[1]))

    def _explained(self, error: NoAdvice) -> Exception:
        for sentinel, fault in error.faults.items():
            if isinstance(fault, rex.AuthenticationError | rex.NoPermissionError):
                return type(fault)(f"{fault} (Sentinel {sentinel}; its user is sentinel_username, sentinel_password)")
        return rex.ConnectionError(f"no Sentinel named a primary of {self._service!r} ({error})")
