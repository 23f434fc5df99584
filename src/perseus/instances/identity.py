"""Who this instance is: host, admin, process, and its public IP address once a public service has said it."""

from __future__ import annotations

import ipaddress
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from perseus.instances.lockfile import boot_id
from perseus.model import ConnectionState, Exchange, InstanceStatus, valid_text
from perseus.timing import LeaseTiming

PUBLIC_IP_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Identity:
    """What every payload and log entry says about its writer. `instance_id` is random, one a process."""

    hostname: str = field(default_factory=lambda: os.uname().nodename)
    admin_email: str = ""
    admin_name: str = ""
    instance_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    pid: int = field(default_factory=os.getpid)
    boot_id: str | None = field(default_factory=boot_id)
    version: str = field(default_factory=lambda: version("perseus"))


def fresh_status(exchange: Exchange, identity: Identity, timing: LeaseTiming, *, now: str) -> InstanceStatus:
    """The payload of a process that has claimed nothing yet. `now`: ISO-8601."""
    return InstanceStatus(
        exchange_id=exchange.id,
        exchange_name=exchange.name,
        connection_state=ConnectionState.IDLE,
        connected_at=None,
        last_heartbeat=now,
        symbol_count=0,
        admin_email=valid_text(identity.admin_email),
        admin_display_name=valid_text(identity.admin_name),
        ip_address=None,
        hostname=valid_text(identity.hostname),
        last_error=None,
        instance_id=identity.instance_id,
        heartbeat_interval_ms=round(timing.interval_s * 1000),
        ttl_ms=timing.ttl_s * 1000,
        version=identity.version,
        pid=identity.pid,
        boot_id=identity.boot_id,
        started_at=now,
    )


async def find_public_ip(urls: Sequence[str]) -> str | None:
    """Ask the services in turn, 2 s each, for the address the internet sees; None if none of them says one.

    Source: services that answer a GET with the caller's address as plain text (ipify and its like).
    """
    import aiohttp

    from perseus.resolver import Resolver

    timeout = aiohttp.ClientTimeout(total=PUBLIC_IP_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Resolver()), timeout=timeout) as session:
        for url in urls:
            try:
                async with session.get(url) as response:
                    response.raise_for_status()
                    return str(ipaddress.ip_address((await response.content.read(100)).decode().strip()))
            except (aiohttp.ClientError, TimeoutError, ValueError):
                continue  # the next service; unknown stays null
    return None
