"""A network that is told of in the stand-in: a store, servers on hosts of their own, lives that end, and the peer."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from perseus import alerting, keys
from perseus.alerting import Alerting, Holder
from perseus.database import exchanges
from perseus.database.audit import Actor
from perseus.database.engine import open_database
from perseus.model import SEEDED_EXCHANGES, Exchange
from perseus.store import Store
from perseus.timing import LeaseTiming
from perseus.webhooks import parse_webhooks
from tests.bench.alert_polling import PEER, Order
from tests.bench.api_records import fill, network_of
from tests.bench.children import Child, perseus
from tests.bench.contenders import TIMING, bench_exchange
from tests.bench.jobs import Job
from tests.bench.measure import OURS
from tests.bench.servers import running_server
from tests.support.discord import Posted, Version
from tests.support.discord_control import StandInProcess
from tests.support.servers import Server
from tests.support.system import free_port, short_directory
from tests.support.waiting import wait_until

HOSTS = ("web-1", "web-2")
LONGEST_S = 600.0
_START_S = 60.0
_LIFE_S = 120.0
_TOLD_S = 60.0
_ANNOUNCED = "offline,recovered"


class Told:
    """One channel, and since when it says what. Units: Unix seconds."""

    def __init__(self, discord: StandInProcess, channel: str) -> None:
        self._discord, self.channel = discord, channel

    def messages(self) -> list[Posted]:
        """What people see there."""
        return self._discord.messages(self.channel)

    def wait_for(self, *texts: str, since: float = 0.0) -> float:
        """Wait until the channel has said all of these; when it had."""

        def said() -> list[float] | None:
            texts_by_time = {at: str(payload) for at, payload in self._versions(since)}
            found = [min((at for at, said in texts_by_time.items() if text in said), default=0.0) for text in texts]
            return found if all(found) else None

        about = f"{self.channel} says {texts[0]!r} and {len(texts) - 1} more"
        found = wait_until(said, description=about, timeout=_TOLD_S, every=0.1)
        assert found is not None
        return max(found)

    def requests(self, *, since: float) -> int:
        """How many requests changed something there."""
        return len(self._versions(since))

    def _versions(self, since: float) -> list[Version]:
        return [version for message in self.messages() for version in message.versions if version.at >= since]


class AlertedNetwork:
    """Exchanges that lives can hold, by lane, and the servers that watch them. Made by `alerted_networks`."""

    def __init__(  # each is one independent property of the network
        self, store: Server, discord: StandInProcess, *, name: str, lanes: Sequence[Exchange], directory: Path
    ) -> None:
        self.store, self.lanes = store, lanes
        self.told = {OURS: Told(discord, f"ops-{name}"), PEER: Told(discord, f"peer-{name}")}
        self.told_at = 0.0  # when ours last told of a death, Unix seconds
        self._discord, self._directory = discord, directory / name
        self._directory.mkdir()
        self._database = f"sqlite:///{self._directory / 'bench.db'}"
        self._ending = ExitStack()
        self._servers: dict[str, Child] = {}
        self._lives: dict[int, Child] = {}

    @property
    def exchanges(self) -> int:
        """How many are active: those of the lanes, and those every network begins with."""
        return len(self.lanes) + sum(each.is_active for each in SEEDED_EXCHANGES)

    def open(self, *, hosts: Sequence[str] = HOSTS, poll_s: float | None = None) -> None:
        """Start servers, one after the other, and the peer; return once there is a notifier."""
        asyncio.run(_make_database(self._database, self.lanes))
        for host in hosts:
            self.start(host)
        if poll_s is not None:
            (webhook,) = parse_webhooks(self._discord.setting(self.told[PEER].channel))
            names = {keys.status(each.id): each.display_name for each in self.lanes}
            order = Order(store_url=self.store.url, webhook_url=webhook.url, names=names, every_s=poll_s)
            self._ending.enter_context(Child(order.command, talks=False, longest_s=LONGEST_S))
        wait_until(self.notifier, description="there is a notifier", timeout=_START_S)

    def close(self) -> None:
        """End everything but the store."""
        self._ending.close()

    def start(self, host: str) -> None:
        """Start the server of a host, and wait until it listens."""
        port = free_port()
        where = ("--store", self.store.url, "--database", self._database, "--data-dir", self._directory / host)
        settings = {
            "PERSEUS_HOSTNAME": host,
            "PERSEUS_DISCORD_WEBHOOK_URLS": self._discord.setting(self.told[OURS].channel),
            "PERSEUS_DISCORD_ANNOUNCE": _ANNOUNCED,
            "PERSEUS_LOG_LEVEL": "error",
        }
        command = perseus("serve", "--port", port, *where)
        server = Child(command, settings=settings, talks=False, directory=self._directory, longest_s=LONGEST_S)
        self._servers[host] = self._ending.enter_context(server)
        wait_until(lambda: _listens(port), description=f"{host} listens", timeout=_START_S)

    def kill(self, host: str) -> None:
        """kill -9 to the server of a host."""
        self._servers[host].kill9()

    def cpu(self, host: str) -> float:
        """Seconds of processor time the server of a host has used."""
        return self._servers[host].cpu

    def restart_killed(self) -> None:
        """Start every server again that was killed."""
        for host, server in list(self._servers.items()):
            if not server.is_running:
                self.start(host)

    def notifier(self) -> Holder | None:
        """Who tells, once it has begun to."""
        found = asyncio.run(_alerting(self.store.url))
        return found.holder if found.health is not None else None

    def live(self, *lanes: int, timing: LeaseTiming = TIMING, spread_s: float = 0.0) -> None:
        """Let a process claim these lanes, so long after one another, and hold them.

        Returns once each was renewed, and all watchers have seen it.
        """
        job = Job(
            role="hold",
            subject=OURS,
            url=self.store.url,
            lanes=lanes,
            spread_s=spread_s,
            interval_s=timing.interval_s,
            ttl_s=timing.ttl_s,
        )
        self._lives |= dict.fromkeys(lanes, self._ending.enter_context(Child(job.command, longest_s=_LIFE_S)))
        self._lives[lanes[0]].answers(len(lanes))
        time.sleep(timing.interval_s + 1)  # a stretch of life: a renewal, and a look of every watcher

    def die(self, *lanes: int) -> float:
        """kill -9 to the process that holds these lanes; when the last of their leases will have ended, Unix s."""
        self._lives[lanes[0]].kill9()
        return self.ends_at(*(keys.status(self.lanes[lane].id) for lane in lanes))

    def ends_at(self, *leases: str) -> float:
        """When the last of these keys will have expired, Unix seconds."""
        with self.store.client() as client, client.pipeline(transaction=False) as reading:
            for key in leases:
                reading.execute_command("PTTL", key)
            left_ms = reading.execute()
        assert min(left_ms) > 0, f"{leases[left_ms.index(min(left_ms))]} is not held"
        return time.time() + float(max(left_ms)) / 1000


@contextmanager
def alerted_networks(
    discord: StandInProcess, *, lanes: Sequence[int] = (0,), filled: int = 0
) -> Iterator[list[AlertedNetwork]]:
    """So many networks, each with so many lanes, whose stores run; or one with records of `filled` exchanges.

    Enter from the main thread.
    """
    with short_directory() as directory, ExitStack() as ending:
        networks = []
        for number, count in enumerate(lanes):
            store = ending.enter_context(running_server())
            exchanges = network_of(filled)[3:] if filled else [_named(lane) for lane in range(count)]
            name = f"{filled}-{number}"
            networks.append(AlertedNetwork(store, discord, name=name, lanes=exchanges, directory=directory))
            ending.callback(networks[-1].close)
            if filled:
                with redis.Redis(port=store.port) as client:
                    fill(client, network_of(filled))
        yield networks


def _named(lane: int) -> Exchange:
    """The lane's exchange under a name that is no part of another's."""
    exchange = bench_exchange(lane)
    return Exchange(id=exchange.id, name=exchange.name, display_name=f"Lane {lane:04}")


async def _make_database(url: str, chosen: Sequence[Exchange]) -> None:
    async with await open_database(url) as database, database.begin() as connection:
        for exchange in chosen:
            await exchanges.add(connection, exchange, by=Actor(name="bench@here"), now_ms=round(time.time() * 1000))


async def _alerting(url: str) -> Alerting:
    store = Store(url)
    try:
        return await alerting.read(store)
    finally:
        await store.close()


def _listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0
