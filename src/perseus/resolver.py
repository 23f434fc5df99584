"""How aiohttp looks names up here: its own look-ups keep a process alive that wants to end (see `names.py`)."""

from __future__ import annotations

import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from perseus.names import addresses


class Resolver(AbstractResolver):
    """The system's own resolver, each look-up on a thread that dies with the process."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises: OSError if there are none."""
        found = await addresses(host, port, family=family, flags=socket.AI_ADDRCONFIG)
        return [_result(host, port, address) for address in found]

    async def close(self) -> None:
        """Nothing is kept."""


def _result(host: str, port: int, address: Any) -> ResolveResult:
    family, _, protocol, _, place = address
    return ResolveResult(
        hostname=host, host=place[0], port=port, family=family, proto=protocol, flags=socket.AI_NUMERICHOST
    )
