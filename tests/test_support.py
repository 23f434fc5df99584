"""The test harness itself: a fault that does not happen would make every fault test pass."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
import redis

from tests.support.keyspace import undeclared_keys
from tests.support.network import Host, Network
from tests.support.processes import PerseusProcess
from tests.support.proxy import FaultProxy
from tests.support.servers import BINARIES, Server, server_seconds_ahead
from tests.support.waiting import NeverHappened, wait_until, wait_until_async

StartServer = Callable[..., Server]


def quick_client(url: str) -> redis.Redis:
    """A client that gives up after 0.3 s and never tries again."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(url, socket_timeout=0.3, retry=Retry(NoBackoff(), 0), protocol=2)


def is_ahead(server: Server, seconds: float) -> bool:
    """Whether the server's wall clock is that far ahead of ours, to the second."""
    return abs(server_seconds_ahead(server) - seconds) < 1


@pytest.mark.parametrize("kind", sorted(BINARIES))
@pytest.mark.foreign_keys
def test_stepped_clock_moves_time_and_expiry(start_server: StartServer, kind: str) -> None:
    """Tests of clock steps mean something only if TIME and key expiry really follow."""
    server = start_server(kind, steppable=True)
    for step in (60, -60, 100 * 86_400, -100 * 86_400, 0):
        server.call("SET", "lease", "1", "EX", "45")
        before = round(server_seconds_ahead(server))
        server.step_clock(step)
        wait_until(partial(is_ahead, server, step), description=f"TIME is {step} s ahead")
        assert server.call("EXISTS", "lease") == (0 if step - before > 45 else 1)


@pytest.mark.parametrize("kind", sorted(BINARIES))
@pytest.mark.foreign_keys
def test_restart_keeps_or_loses_data_as_asked(start_server: StartServer, kind: str) -> None:
    """`restart(empty=True)` that kept the data would hide every bug of a lost store."""
    server = start_server(kind)
    server.call("SET", "a", "1")
    server.restart(empty=False)
    assert server.call("GET", "a") == b"1"
    server.restart(empty=True)
    assert server.call("GET", "a") is None


@pytest.mark.parametrize("kind", sorted(BINARIES))
def test_paused_server_answers_nothing_until_resumed(start_server: StartServer, kind: str) -> None:
    """A frozen server keeps its connections open: the hardest failure to bound."""
    server = start_server(kind)
    server.pause()
    with quick_client(server.url) as client, pytest.raises(redis.TimeoutError):
        client.ping()
    server.resume()
    assert server.call("PING") == b"PONG"


def test_server_has_password_acl_and_policy_as_asked(start_server: StartServer) -> None:
    """Tests of refusals need a server that refuses."""
    server = start_server(
        "redis7",
        password="correct",
        acl=["reader on >secret ~exchange:* +get"],
        config={"maxmemory-policy": "allkeys-lru"},
    )
    assert server.call("CONFIG", "GET", "maxmemory-policy")[1] == b"allkeys-lru"
    with quick_client(server.url_for("", "wrong")) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with quick_client(server.url_for("reader", "secret")) as client:
        assert client.get("exchange:2:status") is None
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("exchange:2:status", "1")


def test_server_dies_with_its_parent() -> None:
    """A test run ended by kill -9 must leave no server behind."""
    program = (
        "import sys, time, pathlib, tempfile\n"
        "from tests.support.servers import Server, valkey_binary\n"
        "print(Server(valkey_binary(), pathlib.Path(tempfile.mkdtemp())).start().pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_until(
        lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE,
        description="the server is gone",
    )


@pytest.mark.foreign_keys
def test_lost_reply_means_done_but_unanswered(valkey: Server, proxy: FaultProxy) -> None:
    """The case every retry must survive: the server did it, the client cannot know."""
    proxy.lose_replies(1, to=b"INCR")
    with quick_client(proxy.url) as client:
        with pytest.raises(redis.ConnectionError):
            client.incr("n")
        assert proxy.lost_replies == 1
        assert client.incr("n") == 2


def test_answer_that_breaks_off_is_no_answer(valkey: Server, proxy: FaultProxy) -> None:
    """The client gets the first bytes and then a reset; the server has done what was asked."""
    proxy.lose_replies(1, to=b"GET", after=3)
    valkey.call("SET", "exchange:2:status", "whole", "EX", 60)
    with quick_client(proxy.url) as client:
        with pytest.raises(redis.ConnectionError):
            client.get("exchange:2:status")
        assert proxy.lost_replies == 1
        assert client.get("exchange:2:status") == b"whole"


def test_proxy_leads_to_another_server(valkey: Server, proxy: FaultProxy, start_server: StartServer) -> None:
    """Also who was connected already: a connection to the one before would be to nobody."""
    other = start_server()
    with quick_client(proxy.url) as client:
        assert server_port(client) == valkey.port
        proxy.lead_to(other.url)
        assert server_port(client) == other.port


def test_cut_cable_carries_nothing_and_refuses_nothing(data_dir: Path) -> None:
    """A partition that closed connections would prove less; one that let something through, nothing."""
    with Network(BINARIES["valkey9"](), data_dir, config={}) as network:
        here, there = network.host(), network.host()
        assert answers(here)
        here.cut()
        assert not answers(here)
        assert answers(there)
        assert network.server.is_answering
        here.join()
        wait_until(lambda: answers(here), description="the cable carries again")


def answers(host: Host) -> bool:
    """Whether the store answers this host within a second."""
    ping = f"import redis; redis.Redis.from_url({host.url!r}, socket_timeout=1, socket_connect_timeout=1).ping()"
    done = subprocess.run(host.inside((sys.executable, "-c", ping)), capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "Timeout" in done.stderr, done.stderr
    return done.returncode == 0


def server_port(client: redis.Redis) -> int:
    """The port that the server we reached listens on itself."""
    return int(client.info("server")["tcp_port"])


@pytest.mark.foreign_keys
def test_held_request_lands_after_its_client_gave_up(valkey: Server, proxy: FaultProxy) -> None:
    """A delayed write overtaken by a newer one: what `rev` is for."""
    proxy.hold_requests(1, containing=b"old")
    with quick_client(proxy.url) as client:
        with pytest.raises(redis.TimeoutError):
            client.set("a", "old")
        client.set("a", "new")
    assert proxy.held_requests == 1
    proxy.release()
    wait_until(lambda: valkey.call("GET", "a") == b"old", description="the held request has landed")


@pytest.mark.parametrize("direction", ["requests", "replies"])
@pytest.mark.foreign_keys
def test_black_hole_swallows_one_direction(valkey: Server, proxy: FaultProxy, direction: str) -> None:
    """Half-open connections: only the direction decides whether the server did it."""
    with quick_client(proxy.url) as client:
        client.ping()
        getattr(proxy, direction).dropping = True
        with pytest.raises(redis.TimeoutError):
            client.set("a", "1")
        getattr(proxy, direction).dropping = False
        assert client.ping()
    assert valkey.call("EXISTS", "a") == (0 if direction == "requests" else 1)


def test_proxy_resets_refuses_delays_and_trickles(valkey: Server, proxy: FaultProxy) -> None:
    """Each fault must show as what it is, and end when told to."""
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        wait_until(lambda: proxy.connections == 1, description="the proxy has connected through")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with quick_client(proxy.url) as client:
        proxy.refuse()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        proxy.accept()
        proxy.replies.delay = 0.1
        began = time.monotonic()
        assert client.ping()
        assert time.monotonic() - began >= 0.1
        proxy.replies.delay, proxy.replies.trickle = 0.0, 0.02
        began = time.monotonic()
        assert client.ping()
        assert time.monotonic() - began >= 0.1


async def test_wait_until_says_what_never_happened() -> None:
    """A timeout without its reason costs an hour."""
    with pytest.raises(NeverHappened, match=r"waited 0\.05 s until pigs fly; last value: 0"):
        wait_until(lambda: 0, description="pigs fly", timeout=0.05)

    async def not_yet() -> list[int]:
        return []

    with pytest.raises(NeverHappened, match=r"until pigs fly; last value: \[\]"):
        await wait_until_async(not_yet, description="pigs fly", timeout=0.05)


@pytest.mark.foreign_keys
def test_undeclared_keys_are_noticed(valkey: Server) -> None:
    """The check behind every test must not be blind."""
    valkey.call("SET", "stray", "1")
    valkey.call("SET", "exchange:2:status", "{}")
    valkey.call("SET", "{exchange:2:status}:epoch", "1", "EX", "60")
    valkey.call("SET", "logs:network:binance", "1")
    valkey.call("SET", "{exchange:2:status}:last", "{}", "EX", "60")
    faults = undeclared_keys(valkey)
    assert len(faults) == 4
    assert any("stray: not declared" in fault for fault in faults)
    assert any("exchange:2:status: has no TTL" in fault for fault in faults)
    assert any("epoch: has a TTL" in fault for fault in faults)
    assert any("a string, declared as stream" in fault for fault in faults)


def test_ended_process_leaves_no_descendant(data_dir: Path) -> None:
    """A detached grandchild left behind would disturb every later test."""
    process = PerseusProcess(data_dir=data_dir)
    sleeper = "[sys.executable, '-c', 'import time; time.sleep(60)']"
    program = f"import subprocess, sys; subprocess.run({sleeper}, start_new_session=True)"
    process.command = (sys.executable, "-c", program)
    with process:
        wait_until(lambda: len(process.descendants()) == 1, description="the grandchild runs")
        pid = process.descendants()[0].pid
        process.stop_signal(signal.SIGKILL)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
