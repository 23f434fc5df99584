"""What being the notifier costs: beside a server that is not, for each save, and how long a message is told unsaved."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Self

from perseus import alerting, keys
from perseus.store import Store
from tests.bench.alert_network import HOSTS, AlertedNetwork
from tests.bench.measure import OURS, Effort, Measure, by_subject
from tests.support.discord_control import StandInProcess
from tests.support.servers import Server
from tests.support.waiting import wait_until

NOT_IT = "a server that is not it"
FAR_S = 0.1
BETWEEN_TESTS_S = 0.45  # the stand-in takes five requests in two seconds
_SAID = re.compile(rb'^\+([\d.]+) \[\d+ (\S+)\] "(\w+)" (.*)$')
_SETTLING_S = 3.0  # what a start leaves over: imports, first readings


class Monitor:
    """What a store is asked, as its own MONITOR says it, with the moment in Unix seconds."""

    def __init__(self, store: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", store.port))
        self._read: list[bytes] = []

    def __enter__(self) -> Self:
        self._socket.sendall(b"MONITOR\r\n")
        threading.Thread(target=self._receive, name="monitor", daemon=True).start()
        wait_until(lambda: self._read, description="the store says what it is asked")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def saves(self) -> list[tuple[float, bytes]]:
        """When the notifier's memory was written, and what it was."""
        return [(at, rest) for at, who, verb, rest in self._said() if (who, verb) == (b"lua", b"HSET")]

    def notifier_commands(self) -> int:
        """How many commands came from the notifier: those of its keys, and its looks at the ends of all logs.

        Who would be it only looks whether there is one; a reading of the cards asks for more than the end of a log.
        """
        before: dict[bytes, bytes] = {}
        count = 0
        for _, who, verb, rest in self._said():
            if who == b"lua":
                continue
            is_named = keys.notifier().encode() in rest and verb != b"GET"
            count += is_named or verb == before.get(who) == b"XREVRANGE"
            before[who] = verb
        return count

    def _said(self) -> Iterator[tuple[float, bytes, bytes, bytes]]:
        for line in b"".join(self._read).split(b"\r\n"):
            if found := _SAID.match(line):
                at, who, verb, rest = found.groups()
                yield float(at), who, verb.upper(), rest

    def _receive(self) -> None:
        while data := self._socket.recv(1 << 20):
            self._read.append(data)


def idle(network: AlertedNetwork, effort: Effort) -> Iterator[Measure]:
    """Two servers side by side while nothing happens: the notifier, and one that would be it."""
    seconds = effort.pick(5, 1)
    time.sleep(0 if effort.quick else _SETTLING_S)
    holder = network.notifier()
    assert holder is not None, "there is no notifier"
    hosts = {OURS: holder.hostname, NOT_IT: next(host for host in HOSTS if host != holder.hostname)}
    spent: dict[str, list[float]] = {subject: [] for subject in hosts}
    for _ in range(effort.pick(3, 1)):
        before = {subject: network.cpu(host) for subject, host in hosts.items()}
        began = time.monotonic()
        time.sleep(seconds)  # the stretch that is measured
        took = time.monotonic() - began
        for subject, host in hosts.items():
            spent[subject].append((network.cpu(host) - before[subject]) * 1000 / took)
    with Monitor(network.store) as monitor:
        time.sleep(2 * seconds)  # the stretch that is measured
    asked = {OURS: [monitor.notifier_commands() / (2 * seconds)]}
    what = f"{network.exchanges} exchanges, nothing happens"
    yield Measure(what=f"{what}: processor time a second", unit="ms CPU", samples=by_subject(spent))
    yield Measure(what=f"{what}: commands of the notifier a second", unit="", samples=by_subject(asked))


def unsaved(network: AlertedNetwork, discord: StandInProcess, effort: Effort) -> Iterator[Measure]:
    """From the moment Discord has a message until the store knows that: a kill in between doubles that message."""
    for far_s in (0.0, FAR_S):
        if far_s:
            discord.play("slow", times=0, retry_after=far_s)
        windows = _windows(network, count=effort.pick(20, 2))
        discord.stop_playing()
        distance = f"answers after {far_s * 1000:g} ms" if far_s else "answers at once"
        what = f"{network.exchanges} exchanges, Discord {distance}: told, and not saved as told"
        yield Measure(what=what, unit="ms", samples=by_subject({OURS: windows}))


def _windows(network: AlertedNetwork, *, count: int) -> list[float]:
    """Units: ms."""
    told = network.told[OURS]
    known = {message.id for message in told.messages()}
    with Monitor(network.store) as monitor:
        for _ in range(count):
            asyncio.run(_ask_for_test(network.store.url, told.channel))
            time.sleep(BETWEEN_TESTS_S)  # so that none waits for Discord's limit

        def saved_at() -> dict[str, float] | None:
            new = [message for message in told.messages() if message.id not in known]
            first = {
                message.id: next((at for at, memory in saves if message.id.encode() in memory), None)
                for message in new
                for saves in [monitor.saves()]
            }
            found = {message_id: at for message_id, at in first.items() if at is not None}
            return found if len(found) == count else None

        saved = wait_until(saved_at, description=f"{count} tests are told and saved", timeout=30, every=0.5)
    assert saved is not None
    return [(saved[message.id] - message.at) * 1000 for message in told.messages() if message.id in saved]


async def _ask_for_test(url: str, channel: str) -> None:
    store = Store(url)
    try:
        await alerting.request_test(store, channel=channel, by="bench@here")
    finally:
        await store.close()
