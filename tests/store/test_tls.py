"""`rediss://`: encrypted, and only to the server whose certificate we trust."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from perseus.errors import StoreUnavailable
from perseus.store import Store
from tests.store.calls import claimed_epoch
from tests.support.servers import Server, missing
from tests.support.system import free_port

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
