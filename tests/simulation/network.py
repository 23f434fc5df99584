"""The network between simulated processes and one simulated store, and everything that goes wrong with both.

A request and its reply each take their time, may be lost, may come twice; a request that nobody waits for any more
still arrives. The product's own `Store` runs on top of a `Link`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import redis.exceptions as rex
from redis.asyncio import Redis

from perseus.store.topology import Command, Node, Topology
from perseus.store.url import Address
from tests.simulation.store_model import NO_ID, Snapshot, StoreModel
from tests.simulation.virtual_loop import VirtualLoop

EPOCH_US = 1_795_000_000_000_000  # the store's wall clock at the beginning
REPLICA_BEHIND = 6  # at most so many writes are lost by a failover of a replica that is connected
GIVEN_UP_AFTER_S = 0.16  # one way; there and back takes longer than an attempt may then


class Client:
    """Whoever has connections: a process, or the test itself."""

    name = "operator"
    is_ghost = False  # it is being cleared away: nothing of it reaches anybody

    def boot_s(self) -> float:
        """Its boot-time clock."""
        return 0.0


@dataclass
class Request:
    """Commands on their way. `sent_at`: true virtual seconds; `sent_boot`: by the sender's boot-time clock, and
    `done_boot`: when they were carried out.
    """

    client: Client
    commands: Sequence[Command]
    answer: asyncio.Future[list[Any]] | None
    sent_at: float
    sent_boot: float
    done_boot: float = 0.0
    replies: list[Any] = field(default_factory=list)
    acknowledged: bool = False  # by a replica


class Weather:
    """How bad the network is at the moment: probabilities, and seconds one way."""

    def __init__(self) -> None:
        self.delay_s = 0.002
        self.loses_request = 0.0
        self.loses_reply = 0.0
        self.repeats = 0.0
        self.repeats_within_s = 6.0


class Link(Topology):
    """A client's connections to the store."""

    def __init__(self, network: Network, client: Client) -> None:
        self._network = network
        self._client = client

    async def send(self, key: str | None, commands: Sequence[Command]) -> list[Any]:
        return await self._network.ask(self._client, commands)

    async def nodes(self) -> list[Node]:
        return []

    def client(self, address: Address) -> Redis:
        raise NotImplementedError(f"nothing real is behind {address}")

    async def close(self) -> None:
        return


class _Kept(NamedTuple):
    """The state after a write, and how much of the record belongs to it."""

    held: Snapshot
    recorded: int


class Network:
    """One store, and the way to it. `on_done` hears of every request carried out, `on_answer` of every answer received.

    `record` is what it writes down of the data the store holds: what the store loses is lost from it as well.
    """

    def __init__(self, loop: VirtualLoop, random: Any, *, rate: float = 1.0) -> None:
        self.loop = loop
        self.random = random
        self.weather = Weather()
        self.rate = rate
        self.stepped_us = 0
        self.model = StoreModel(self.wall_us)
        self.model.uptime_s = lambda: int((self.loop.now - self._up_since) * self.rate)
        self.on_done: Callable[[Request], None] = lambda _request: None
        self.on_answer: Callable[[Request], None] = lambda _request: None
        self.record: list[Any] = []
        self.is_up = True
        self.is_frozen = False
        self.is_replicated = True
        self.has_late_copies = False  # or had: requests that nobody waits for any more
        self.cut_off: set[Client] = set()
        self.failed_at: dict[Client, float] = {}  # when a request of theirs, or its reply, was last lost
        self.late_at: dict[Client, float] = {}  # when one last took longer than anybody waits for
        self._up_since = -self.random.choice((0.0, 3.0, 100.0))
        self._incarnation = 0
        self._held: list[tuple[str, Request]] = []  # what waits for a thaw, or the end of a partition
        self._blocked: list[Request] = []
        self._kept: deque[_Kept] = deque([_Kept(self.model.snapshot(), 0)], maxlen=REPLICA_BEHIND)
        self._saved = self._kept[0]
        self._context = contextvars.Context()

    def use(self, model: type[StoreModel]) -> None:
        """Let the server work like this one. Before anything runs."""
        uptime_s = self.model.uptime_s
        self.model = model(self.wall_us)
        self.model.uptime_s = uptime_s

    def wall_us(self) -> int:
        """The server's wall clock."""
        return EPOCH_US + int(self.loop.now * self.rate * 1e6) + self.stepped_us

    # -- a request's way --------------------------------------------------------------------------------------------

    async def ask(self, client: Client, commands: Sequence[Command]) -> list[Any]:
        """Send commands on one connection and wait for the replies, for ever if none comes."""
        if client.is_ghost:
            raise rex.ConnectionError("gone")
        answer: asyncio.Future[list[Any]] = self.loop.create_future()
        request = Request(client, commands, answer, self.loop.now, client.boot_s())
        weather, random = self.weather, self.random
        if weather.loses_request and random.random() < weather.loses_request:
            self.failed_at[client] = self.loop.now
            return await answer
        delay_s = self._delay()
        if delay_s > GIVEN_UP_AFTER_S:
            self.late_at[client] = self.loop.now
        self.later(delay_s, self._arrive, request)
        if weather.repeats and random.random() < weather.repeats:
            self.has_late_copies = True
            again = Request(client, commands, None, request.sent_at, request.sent_boot)
            self.later(random.uniform(0, weather.repeats_within_s), self._arrive, again)
        return await answer

    def later(self, delay_s: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        """Call something outside all processes."""
        return self.loop.call_later(delay_s, callback, *args, context=self._context)

    def _delay(self) -> float:
        return float(self.weather.delay_s * (0.5 + self.random.random()))

    def _arrive(self, request: Request) -> None:
        if request.client in self.cut_off or not self.is_up or self.is_frozen:
            self.failed_at[request.client] = self.loop.now
        if request.client in self.cut_off:
            if self.random.random() < 0.5:
                self._held.append(("partition", request))
        elif not self.is_up:
            self._fail(request, "Connection refused")
        elif self.is_frozen:
            self._held.append(("frozen", request))
        else:
            self._carry_out(request)

    def _carry_out(self, request: Request) -> None:
        before = self._incarnation
        waits = [command for command in request.commands if command[0] == "WAIT"]
        request.acknowledged = bool(waits) and self.is_replicated
        request.replies = [
            int(self.is_replicated) if command in waits else self.model.execute(command) for command in request.commands
        ]
        if self._blocks(request):
            return
        request.done_boot = request.client.boot_s()
        self.on_done(request)
        self._replicate(is_whole=request.acknowledged)
        wait_s = int(waits[0][2]) / 1000 if waits and not self.is_replicated else 0.0
        if request.answer is None:
            return
        if self.weather.loses_reply and self.random.random() < self.weather.loses_reply:
            self.failed_at[request.client] = self.loop.now
            return
        self.later(wait_s + self._delay(), self._reply, request, before)

    def _reply(self, request: Request, incarnation: int) -> None:
        if request.answer is None or request.answer.done() or request.client in self.cut_off:
            return
        if incarnation != self._incarnation:
            request.answer.set_exception(rex.ConnectionError("Connection reset by peer"))
        else:
            request.answer.set_result(request.replies)
            self.on_answer(request)

    def _fail(self, request: Request, why: str) -> None:
        if request.answer is not None and not request.answer.done():
            self.later(self._delay(), _refuse, request.answer, why)

    def _blocks(self, request: Request) -> bool:
        """Whether a request is an XREAD that has nothing to tell yet."""
        command = request.commands[0]
        if command[0] != "XREAD" or request.replies[0] is not None or request.answer is None or request.answer.done():
            return False
        self._blocked.append(request)
        self.later(int(command[4]) / 1000, self._unblock, request)
        return True

    def _unblock(self, request: Request) -> None:
        if request in self._blocked:
            self._blocked.remove(request)
            self._reply(request, self._incarnation)

    def _wake(self) -> None:
        for request in list(self._blocked):
            reply = self.model.execute(request.commands[0])
            if reply is not None:
                self._blocked.remove(request)
                request.replies = [reply]
                self.later(self._delay(), self._reply, request, self._incarnation)

    # -- faults -----------------------------------------------------------------------------------------------------

    def cut(self, client: Client) -> None:
        """Let nothing pass between a client and the store."""
        self.cut_off.add(client)

    def join(self, client: Client) -> None:
        """End a partition: some of what was sent meanwhile arrives now."""
        self.cut_off.discard(client)
        self._release("partition", client)

    def freeze(self) -> None:
        """The server takes requests and does nothing."""
        self.is_frozen = True

    def thaw(self) -> None:
        """It does what it was sent meanwhile, whoever still waits for it."""
        self.is_frozen = False
        self._release("frozen")

    def _release(self, why: str, client: Client | None = None) -> None:
        self.has_late_copies |= bool(self._held)
        due = [request for cause, request in self._held if cause == why and client in (None, request.client)]
        self._held = [each for each in self._held if each[1] not in due]
        for request in due:
            self.later(self._delay(), self._arrive, request)

    def save(self) -> None:
        """What the server holds now is what a restart may bring back."""
        self._saved = _Kept(self.model.snapshot(), len(self.record))

    def stop(self) -> None:
        """The server ends; every connection is reset."""
        self.is_up = False
        self._incarnation += 1
        for _, request in self._held:
            self._fail(request, "Connection reset by peer")
        for request in self._blocked:
            self._fail(request, "Connection reset by peer")
        self._held, self._blocked = [], []

    def start(self, *, holding: str) -> None:
        """The server starts, `holding` everything, what it had saved, or nothing."""
        self.is_up, self.is_frozen = True, False
        self._up_since = self.loop.now
        if holding != "everything":
            self._return_to(self._saved if holding == "old data" else _Kept(Snapshot({}, {}), 0))
        self._begin_anew(self.random.choice((NO_ID, self.model.replid)) if holding == "old data" else NO_ID)

    def fail_over(self) -> None:
        """A replica takes over; it may miss the last writes, but for those that were waited for."""
        self.stop()
        self.is_up, self.is_frozen = True, False
        self._return_to(self.random.choice(self._kept))
        self._begin_anew(self.model.replid)
        self.is_replicated = True

    def _replicate(self, *, is_whole: bool) -> None:
        """Send what changed to the replica, if it is connected. `is_whole`: it has said that it has everything."""
        if is_whole:
            self._kept.clear()
        if (self.model.has_changed or is_whole) and self.is_replicated:
            self._kept.append(_Kept(self.model.snapshot(), len(self.record)))
        if self.model.has_changed:
            self.model.has_changed = False
            self._wake()

    def _begin_anew(self, replid2: str) -> None:
        self.model.run_id = f"{self.random.getrandbits(160):040x}"
        self.model.replid2, self.model.replid = replid2, f"{self.random.getrandbits(160):040x}"
        self.model.known_scripts.clear()
        self._kept.clear()
        self._kept.append(_Kept(self.model.snapshot(), len(self.record)))

    def _return_to(self, kept: _Kept) -> None:
        self.model.restore(kept.held)
        del self.record[kept.recorded :]


def _refuse(answer: asyncio.Future[list[Any]], why: str) -> None:
    if not answer.done():
        answer.set_exception(rex.ConnectionError(why))
