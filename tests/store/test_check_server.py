"""What is found on a single server that was configured wrongly, and that the fix it comes with repairs it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from perseus import keys
from perseus.clock import SystemClock
from perseus.errors import BadConfiguration
from perseus.store import Store
from perseus.store.check import require_usable
from perseus.store.facts import Facts
from perseus.store.server_check import check_server
from perseus.store.topology import Node, new_client
from perseus.timing import LeaseTiming
from tests.store.checking import DOWN, OK, REFUSE, UNKNOWN, WARN, bad, follow, looked_at
from tests.support.servers import BINARIES, Server
from tests.support.system import free_port
from tests.support.waiting import wait_until, wait_until_async

StartServer = Callable[..., Server]


@pytest.mark.parametrize("kind", sorted(BINARIES))
async def test_good_server_has_only_good_findings(start_server: StartServer, kind: str) -> None:
    """A warning that is always there is read by nobody."""
    server = start_server(kind, config={"appendonly": "yes"})
    found = await looked_at(server.url)
    assert {name for name, each in found.items() if each.severity is not OK} == set()
    assert "46 s" in found["persistence"].says
    assert server.all_keys() == []


@pytest.mark.parametrize(
    ("name", "config", "severity", "says"),
    [
        ("eviction", {"maxmemory": "100mb", "maxmemory-policy": "volatile-lru"}, REFUSE, "volatile-lru"),
        ("persistence", {}, WARN, "loses all"),
        ("persistence", {"save": "3600 1 300 100"}, WARN, "up to 60 minutes"),
        ("persistence", {"appendonly": "yes", "appendfsync": "no"}, WARN, "half a minute"),
        ("idle clients", {"timeout": "14"}, WARN, "idle for 14 s"),
        ("writes", {"min-replicas-to-write": "1"}, DOWN, "0 of at least 1 replicas"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_wrong_setting_is_found_and_its_fix_repairs_it(
    start_server: StartServer, name: str, config: dict[str, str], severity: object, says: str
) -> None:
    """A fix nobody has tried is a guess."""
    server = start_server(config=config)
    finding = (await looked_at(server.url))[name]
    assert finding.severity is severity
    assert says in finding.says
    follow(finding.fix, server)
    again = await looked_at(server.url)
    assert again.get(name, again["role"]).severity is OK


async def test_server_running_out_of_connections_is_found(start_server: StartServer) -> None:
    """An instance that lost its connection could not come back before its deadline."""
    server = start_server(config={"maxclients": "10"})
    with ExitStack() as open_connections:
        for _ in range(8):
            open_connections.enter_context(socket.create_connection(("127.0.0.1", server.port))).sendall(b"PING\r\n")
        clients = (await looked_at(server.url))["clients"]
        assert clients.severity is WARN
        assert "of its 10 connections" in clients.says
        follow(clients.fix, server)
        assert (await looked_at(server.url))["clients"].severity is OK


async def test_several_faults_are_all_found_at_once(start_server: StartServer) -> None:
    """One at a time would be one restart at a time."""
    server = start_server(
        config={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru", "timeout": "5", "min-replicas-to-write": "2"},
        acl=["half on >secret ~{exchange:*:status}:* ~exchange:*:status ~logs:network:* &* +@all -zadd"],
    )
    found = await looked_at(server.url_for("half", "secret"))
    wrong = {"eviction": REFUSE, "rights": REFUSE, "writes": DOWN, "idle clients": WARN}
    assert bad(found) == wrong
    for name in wrong:
        follow(found[name].fix, server)
    assert bad(await looked_at(server.url_for("half", "secret"))) == {}


async def test_start_is_refused_with_every_fault_that_stays_and_none_that_passes(start_server: StartServer) -> None:
    """Code 78 means that starting again will not help: a supervisor must not give up on a server still loading."""
    server = start_server(config={"min-replicas-to-write": "1"})
    store = Store(server.url)
    try:
        needs = {"clock": SystemClock(), "timing": LeaseTiming(), "replicas": 0, "unsafe": False}
        told = await require_usable(store, **needs)  # type: ignore[arg-type]  # spelled once for both calls
        assert {finding.name: finding.severity for finding in told} == {"persistence": WARN, "writes": DOWN}
        server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        with pytest.raises(BadConfiguration, match="maxmemory-policy noeviction"):
            await require_usable(store, **needs)  # type: ignore[arg-type]
        told = await require_usable(store, **{**needs, "unsafe": True})  # type: ignore[arg-type]
        assert {finding.name for finding in told} == {"persistence", "writes", "eviction"}
    finally:
        await store.close()


async def test_every_write_on_disk_is_said_to_lose_nothing(start_server: StartServer) -> None:
    """Only then may an exchange be claimed right after a restart."""
    server = start_server(config={"appendonly": "yes", "appendfsync": "always"})
    assert "loses nothing" in (await looked_at(server.url))["persistence"].says


async def test_full_memory_keeps_leases_from_being_renewed(start_server: StartServer) -> None:
    """With noeviction a full server refuses writes: all instances stop at once."""
    server = start_server(config={"maxmemory": "1mb"})
    full = (await looked_at(server.url))["memory"]
    assert full.severity is DOWN
    follow(full.fix, server)
    assert (await looked_at(server.url))["memory"].severity in (OK, WARN)


async def test_failed_snapshot_stops_writes_until_one_succeeds(start_server: StartServer) -> None:
    """The most common way a server that ran for months refuses everything one night: a full disk."""
    server = start_server(config={"save": "3600 1"})
    obstacle = server.directory / "dump.rdb"
    obstacle.mkdir()
    server.call("BGSAVE")
    wait_until(lambda: says(server, "rdb_last_bgsave_status:err"), description="the snapshot failed")
    disk = (await looked_at(server.url))["disk"]
    assert (disk.severity, "refuses every write" in disk.says) == (DOWN, True)
    server.call("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    assert (await looked_at(server.url))["disk"].severity is WARN
    obstacle.rmdir()
    follow(disk.fix, server)
    wait_until(lambda: says(server, "rdb_last_bgsave_status:ok"), description="a snapshot succeeded")
    assert (await looked_at(server.url))["disk"].severity is OK


async def test_append_only_file_on_a_full_disk_is_found(start_server: StartServer, data_dir: Path) -> None:
    """The same for the append-only file, here a link to a device that is always full."""
    (data_dir / "appendonlydir").mkdir()
    (data_dir / "appendonlydir" / "appendonly.aof.1.incr.aof").symlink_to("/dev/full")
    server = start_server(config={"dir": str(data_dir), "appendonly": "yes"})
    server.call("SET", keys.status(2), "x", "PX", 1)

    async def has_failed() -> bool:
        return (await looked_at(server.url))["disk"].severity is DOWN

    await wait_until_async(has_failed, description="the write error is found")
    assert "append-only" in (await looked_at(server.url))["disk"].says
    server.kill()  # it refuses even to be looked at by the test's own check of keys


async def test_server_still_loading_its_data_is_down_not_refused(start_server: StartServer) -> None:
    """It passes by itself; until then every command is refused."""
    server = start_server(config={"enable-debug-command": "yes", "key-load-delay": "20000"})
    server.call("CONFIG", "SET", "loading-process-events-interval-bytes", 1024)
    with server.client() as client:
        for n in range(500):
            client.set(f"test:{n}", os.urandom(4096))  # it looks around once a key, and waits 20 ms for each
    with _reloading(server):
        found = await looked_at(server.url)
        assert found["ready"].severity is DOWN
        assert found["rights"].severity is UNKNOWN
        server.call("CONFIG", "SET", "key-load-delay", "0")
        wait_until(lambda: says(server, "loading:0"), description="it has loaded its data")
    assert (await looked_at(server.url))["ready"].severity is OK
    server.call("FLUSHALL")


def says(server: Server, line: str) -> bool:
    """Whether this line is in its INFO persistence."""
    return line.encode() in server.call("INFO", "persistence").splitlines()


@contextmanager
def _reloading(server: Server) -> Iterator[None]:
    """The server writes its data and loads it again, answering in between as at its start."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"DEBUG RELOAD\r\n")
        connection.setblocking(False)

        def has_begun() -> bool:
            with suppress(BlockingIOError):
                raise AssertionError(f"{connection.recv(1000)!r}, log: {server.log_tail()}")
            return says(server, "loading:1")

        wait_until(has_begun, description="it loads its data")
        yield


async def test_replica_as_target_names_its_primary(start_server: StartServer) -> None:
    """Everything would work until the first write."""
    primary, replica = start_server(), start_server()
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    role = (await looked_at(replica.url))["role"]
    assert role.severity is REFUSE
    assert f"127.0.0.1:{primary.port}" in role.fix


async def test_node_of_a_cluster_and_a_sentinel_are_told_from_a_server(start_server: StartServer) -> None:
    """They answer, and serve some exchanges or none."""
    node = start_server(config={"cluster-enabled": "yes", "cluster-port": str(free_port())})
    assert "redis+cluster://" in (await looked_at(node.url))["role"].fix
    sentinel = start_server(as_sentinel=True)
    role = (await looked_at(sentinel.url))["role"]
    assert (role.severity, "redis+sentinel://" in role.fix) == (REFUSE, True)


async def test_clock_far_from_this_hosts_is_a_warning(start_server: StartServer) -> None:
    """Perseus goes by the store's clock alone, but a person should know."""
    server = start_server(steppable=True)
    server.step_clock(-600)
    clock = (await looked_at(server.url))["clock"]
    assert clock.severity is WARN
    assert "600 s behind" in clock.says
    server.step_clock(0)
    assert (await looked_at(server.url))["clock"].severity is OK


async def test_what_the_user_may_not_ask_is_unknown_never_good(start_server: StartServer) -> None:
    """A managed server without CONFIG is usual; then nobody can say what its settings are."""
    all_keys = "~{exchange:*:status}:* ~exchange:*:status ~logs:network:* &*"
    server = start_server(
        acl=[f"guest on >secret {all_keys} +@all -config", f"blind on >secret {all_keys} +@all -info"]
    )
    found = await looked_at(server.url_for("guest", "secret"))
    assert bad(found) == {"idle clients": UNKNOWN}
    assert "not said" in found["persistence"].says
    follow(found["idle clients"].fix, server)
    assert bad(await looked_at(server.url_for("guest", "secret"))) == {}
    found = await looked_at(server.url_for("blind", "secret"))
    assert bad(found) == {"server": WARN}
    assert not {"version", "eviction", "replicas"} & set(found)
    follow(found["server"].fix, server)
    assert bad(await looked_at(server.url_for("blind", "secret"))) == {}


@pytest.mark.parametrize(
    ("info", "severity"),
    [
        ({"redis_version": "6.0.16"}, REFUSE),
        ({"redis_version": "5.0.14"}, REFUSE),
        ({"redis_version": "6.2.0"}, OK),
        ({"redis_version": "7.2.4", "valkey_version": "8.0.1"}, OK),
        ({"server_name": "other"}, UNKNOWN),
    ],
)
def test_version_that_cannot_trim_the_log_is_refused(info: dict[str, str], severity: object) -> None:
    """No such server can be had here any more: its answer is written down."""
    facts = Facts(node=Node("server", "primary", new_client("redis://127.0.0.1")), user="default", info=info)
    version = next(each for each in check_server(facts, timing=LeaseTiming(), kind="server") if each.name == "version")
    assert version.severity is severity
