"""Where the server may listen: to other machines only once somebody could sign in."""

from __future__ import annotations

from perseus.clock import Clock
from perseus.database.engine import Database
from perseus.database.refusals import can_anyone_log_in
from perseus.errors import BadConfiguration
from perseus.web.proxies import parsed_address


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there. A name other than `localhost` counts as not."""
    address = parsed_address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


async def check_binding(host: str, database: Database, *, clock: Clock) -> None:
    """Look whether a server may listen on this address. Raises: BadConfiguration with the commands that help."""
    if is_loopback(host):
        return
    async with database.reading() as connection:
        if await can_anyone_log_in(connection, now_ms=clock.wall_ms()):
            return
    raise BadConfiguration(
        f"HOST {host!r} can be reached from other machines, and no admin can sign in: none has a password or a token. "
        f"Nothing was started. Add one with `perseus admins add EMAIL --role owner --password`; give one there is a "
        f"password (`perseus admins change EMAIL --password`) or a token (`perseus admins token EMAIL --name NAME`); "
        f"or listen on this machine only: HOST 127.0.0.1."
    )
