"""The servers of the API bench, ours and the peers, over one store with the same records."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import redis

from perseus.model import Exchange
from tests.bench.api_records import fill, make_database, network_of, write_exchanges
from tests.bench.children import Child, perseus
from tests.bench.measure import OURS
from tests.node import HERE, NODE
from tests.support.servers import Server
from tests.support.system import free_port, short_directory
from tests.support.waiting import wait_until

PEER = "@trpc/server + ioredis"
LEAN = "the same, status keys only"
LONGEST_S = 900.0
_START_S = 30.0


class Running(NamedTuple):
    """One server, and where it listens."""

    child: Child
    port: int


class Site(NamedTuple):
    """All servers of one network. `newest`: the ids of all log entries, newest first."""

    servers: Mapping[str, Running]
    exchanges: list[Exchange]
    token: str
    newest: list[str]


@contextmanager
def site_of(count: int, *, store: Server, peers: bool = True) -> Iterator[Site]:
    """A network of so many exchanges and the servers that show it, until the block ends. Enter in the main thread."""
    exchanges = network_of(count)
    with short_directory() as directory, ExitStack() as ending:
        with redis.Redis(port=store.port) as client:
            newest = fill(client, exchanges)
        database = f"sqlite:///{directory / 'bench.db'}"
        token = make_database(database, exchanges, now_ms=round(time.time() * 1000))
        servers = {OURS: ending.enter_context(_ours(store, database, directory, token))}
        if peers:
            listed = directory / "exchanges.json"
            write_exchanges(listed, exchanges)
            servers[PEER] = ending.enter_context(_peer(store, listed, token))
            servers[LEAN] = ending.enter_context(_peer(store, listed, token, "--lean"))
        yield Site(servers, exchanges, token, newest)


@contextmanager
def _ours(store: Server, database: str, directory: Path, token: str) -> Iterator[Running]:
    port = free_port()
    where = ("--store", store.url, "--database", database, "--data-dir", directory)
    settings = {"PERSEUS_RATE_LIMIT": "off", "PERSEUS_LOG_LEVEL": "error"}
    command = perseus("serve", "--port", port, *where)
    with Child(command, settings=settings, talks=False, directory=directory, longest_s=LONGEST_S) as child:
        wait_until(lambda: _answers(port, token), description="perseus serve shows the network", timeout=_START_S)
        yield Running(child, port)
        child.stop()


@contextmanager
def _peer(store: Server, listed: Path, token: str, *more: str) -> Iterator[Running]:
    port = free_port()
    command = [str(NODE), str(HERE / "peer.mjs"), str(port), store.url, str(listed), token, *more]
    with Child(command, settings={"NODE_ENV": "production"}, talks=False, longest_s=LONGEST_S) as child:
        wait_until(lambda: _listens(port), description="the peer listens", timeout=_START_S)
        yield Running(child, port)


def _answers(port: int, token: str) -> bool:
    url = f"http://127.0.0.1:{port}/trpc/network.getInstances"
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:  # not yet, or an answer that says so
        return False


def _listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0
