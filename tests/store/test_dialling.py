"""The store's server by its name: looked up without being waited for, at whichever of its addresses it listens."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perseus.errors import StoreUnavailable
from perseus.store import Store
from tests.support.servers import Server
from tests.support.system import free_port

Connect = Callable[..., Store]

# A name server that swallows everything takes the system's resolver ten seconds and more
SILENT = "import socket, sys, time; socket.getaddrinfo = lambda *_, **__: time.sleep(60); "
COMMANDS = [
    "status --store redis://store.example",
    "status --store rediss://store.example",
    "status --store redis+cluster://store.example",
    "run binance --store redis://store.example",
]


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a name server says of store.example."""
    found: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **named: Any) -> list[Any]:
        hosts = found if host == "store.example" else [host]
        return [each for one in hosts for each in real(one, port, *args, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_command_does_not_wait_for_a_name_server(command: str, data_dir: Path) -> None:
    """What it could not do is told after two seconds; then it must end, whatever the system still waits for."""
    code = f"{SILENT} from perseus.cli import main; main({command.split()!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PERSEUS_DATA_DIR": str(data_dir), "PERSEUS_PUBLIC_IP_URLS": "off"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "did not answer" in done.stderr


async def test_server_is_used_at_whichever_address_it_listens(
    valkey: Server, connect: Connect, addresses: list[str]
) -> None:
    """A name may have addresses that lead nowhere, as localhost often has."""
    addresses += ["127.0.0.2", "127.0.0.1"]
    assert await connect(f"redis://store.example:{valkey.port}").time_ms() > 0


async def test_name_that_leads_nowhere_is_told_with_the_last_reason(connect: Connect, addresses: list[str]) -> None:
    """Not with how we tried."""
    addresses += ["127.0.0.2", "127.0.0.1"]
    with pytest.raises(StoreUnavailable, match=r"cannot be reached: .*127\.0\.0\.1"):
        await connect(f"redis://store.example:{free_port()}").time_ms()


@pytest.mark.parametrize("name", ["no-such-name.invalid", "store.example"])
async def test_name_without_an_address_is_told(name: str, connect: Connect, addresses: list[str]) -> None:
    """Whoever mistyped it must be able to see that."""
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await connect(f"redis://{name}").time_ms()
    assert addresses == []
