"""How a client of the store connects: the name of its server is looked up by us, and its addresses tried in turn.

The client library leaves that to the event loop, whose look-ups keep a process alive that wants to end (`names.py`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Connection, Redis, SSLConnection
from redis.asyncio.connection import AbstractConnection

from perseus.names import addresses


class _Dialling(Connection):
    """A connection to the first address of its host that takes one."""

    _address: str = ""

    async def _connect(self) -> None:
        fault = OSError("its name has no address")
        for address in await _addresses(self.host, self.port):
            self._address = address
            try:
                await super()._connect()  # type: ignore[no-untyped-call]  # as the library has it
            except OSError as error:
                fault = error
            else:
                return
        raise fault

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "host": self._address}


class _DiallingByTls(_Dialling, SSLConnection):
    """The same, and the certificate must be for the name."""

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "server_hostname": self.host}


# One to a socket of this machine has no name
_DIALLING: dict[type[AbstractConnection], type[_Dialling]] = {Connection: _Dialling, SSLConnection: _DiallingByTls}


def dial(client: Redis) -> Redis:
    """Let a client that has not connected yet look its server up this way."""
    pool = client.connection_pool
    if pool.connection_class in _DIALLING:
        pool.connection_class = _DIALLING[pool.connection_class]
    return client


async def _addresses(host: str, port: int) -> list[str]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return list(dict.fromkeys(place[0] for *_, place in await addresses(host, port)))
    return [host]
