"""`rediss://`: encrypted, and only to the server whose certificate we trust."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from perseus import keys
from perseus.errors import StoreDenied, StoreUnavailable
from perseus.store import Store, scripts
from tests.store.calls import ID, STATUS, claimed_epoch
from tests.support.cluster import Cluster
from tests.support.rights import documented_users
from tests.support.sentinel import SentinelTrio
from tests.support.servers import Server, missing, redis_binary
from tests.support.system import free_port
from tests.support.waiting import wait_until_async

StartServer = Callable[..., Server]
Connect = Callable[..., Store]


@pytest.fixture
def certificate(data_dir: Path) -> Path:
    """A certificate for 127.0.0.1 signed by itself, its key beside it."""
    if shutil.which("openssl") is None:
        missing("openssl", "apt-get install openssl")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=store "
        "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    )
    subprocess.run(shlex.split(command), cwd=data_dir, check=True, capture_output=True)
    return data_dir / "cert.pem"


@pytest.fixture
def tls_port(start_server: StartServer, certificate: Path) -> int:
    """The encrypted port of a Redis 7 (the Valkey wheel is built without TLS)."""
    port = free_port()
    config = {
        "tls-port": str(port),
        "tls-cert-file": str(certificate),
        "tls-key-file": str(certificate.with_name("key.pem")),
        "tls-auth-clients": "no",
    }
    start_server("redis7", password="secret", config=config)
    return port


async def test_trusted_server_is_used(tls_port: int, certificate: Path, connect: Connect) -> None:
    """Scripts, password and all, over an encrypted connection."""
    store = connect(f"rediss://:secret@127.0.0.1:{tls_port}?ssl_ca_certs={certificate}")
    assert await claimed_epoch(store) > 0


async def test_server_with_an_unknown_certificate_is_not_used(tls_port: int, connect: Connect) -> None:
    """Else anyone on the way could read the password, and hold the lease."""
    store = connect(f"rediss://:secret@127.0.0.1:{tls_port}")
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        await store.time_ms()


async def test_server_under_another_name_is_not_used(tls_port: int, certificate: Path, connect: Connect) -> None:
    """A certificate of the same authority for another host proves nothing about this one."""
    store = connect(f"rediss://:secret@localhost:{tls_port}?ssl_ca_certs={certificate}")
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        await store.time_ms()


async def test_encrypted_url_to_a_plain_port_fails_within_its_timeout(server: Server, connect: Connect) -> None:
    """The usual mistake: rediss:// with the plain port."""
    with pytest.raises(StoreUnavailable):
        await connect(f"rediss://127.0.0.1:{server.port}", timeout=0.5).time_ms()


def acl_of(*roles: str) -> list[str]:
    """The lines of docs/store.md for these roles."""
    return [line for line in documented_users() if line.split()[0] in roles]


async def test_cluster_is_used_encrypted_and_with_the_documented_rights(data_dir: Path, certificate: Path) -> None:
    """Every node the Cluster names, not only the first; through a failover, which the rights must suffice for, too."""
    cluster = Cluster(redis_binary(), data_dir, acl=acl_of("perseus-instance"), tls=certificate)
    with ExitStack() as cleanup:
        cleanup.callback(cluster.kill)
        cluster.start()
        async with opened(cluster.tls_url_for("perseus-instance", "secret")) as store:
            await exercised(store)
            await asyncio.to_thread(cluster.failover, STATUS)
            await exercised(store)
            every = {f"127.0.0.1:{node.tls_port}" for node in cluster.nodes}

            async def named() -> bool:  # the former primary is left out until the others know it as a replica
                return {node.name for node in await store.nodes()} == every

            await wait_until_async(named, description="every node is named")
        async with opened(cluster.tls_url_for("perseus-instance", "wrong")) as store:
            with pytest.raises(StoreDenied):
                await store.time_ms()
        async with opened(cluster.tls_url_for("perseus-instance", "secret").partition("?")[0]) as store:
            with pytest.raises(StoreUnavailable, match="certificate verify failed"):
                await store.time_ms()


async def test_sentinels_are_used_encrypted_and_with_the_documented_rights(data_dir: Path, certificate: Path) -> None:
    """Sentinels and servers know different users; both connections are encrypted."""
    trio = SentinelTrio(
        redis_binary(),
        data_dir,
        acl=acl_of("perseus-instance"),
        sentinel_acl=acl_of("perseus-sentinel"),
        tls=certificate,
    )
    with ExitStack() as cleanup:
        cleanup.callback(trio.kill)
        trio.start()
        url = trio.tls_url_for(
            "perseus-instance", "secret", sentinel_user="perseus-sentinel", sentinel_password="secret"
        )
        async with opened(url) as store:
            await exercised(store)
            await asyncio.to_thread(trio.failover)
            await exercised(store)
        async with opened(url.replace("sentinel_password=secret", "sentinel_password=wrong")) as store:
            with pytest.raises(StoreDenied, match="sentinel_password"):
                await store.time_ms()


async def exercised(store: Store) -> None:
    """Find the node, run a guarded script there, and wait for a replica; twice, if the primary has just changed."""

    async def is_done() -> bool:
        try:
            assert await store.time_ms() > 0
            await store.pipeline(["TIME"], ["GET", STATUS], ["GET", keys.log("kraken")])
            claim_id = uuid.uuid4().hex
            await claimed_epoch(store, claim_id, replaces=await store.get(STATUS) or "")
            warmup = [STATUS, keys.warmup(ID)]
            reply = await store.run_replicated(
                scripts.WRITE_VALUE, keys=warmup, args=[claim_id, "v", 60], replicas=1, within_s=0.9
            )
        except StoreUnavailable:
            return False
        return reply[0] == [b"OK"] and reply[1] >= 1

    await wait_until_async(is_done, description="the store is used")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """A connection for the block."""
    store = Store(url)
    try:
        yield store
    finally:
        await store.close()
