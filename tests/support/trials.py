"""Trials of fault scenarios: each with its own server, network, hosts and recorded history, several at once.

A scenario is an async function of a `Trial`. It is repeated `PERSEUS_FAULT_TRIALS` times (default 3) with different
random pauses; a failure names its seed, and `PERSEUS_TEST_SEED` brings the same pauses back.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import redis

from perseus import commands, keys
from perseus.clock import SystemClock
from perseus.model import InstanceStatus, exchange_named
from perseus.store import Store
from tests.invariants import Claim, History, Landed, Write, judge, violations
from tests.support import outcomes
from tests.support.feed import SYMBOL
from tests.support.keyspace import undeclared_keys
from tests.support.pool import AT_ONCE, TRIALS, Pool, new_server
from tests.support.processes import PerseusProcess
from tests.support.proxy import FaultProxy
from tests.support.recorder import Recorder
from tests.support.servers import Server
from tests.support.system import short_directory
from tests.support.waiting import wait_until_async

BINANCE = exchange_named("binance")
EXCHANGE, EXCHANGE_ID = BINANCE.name, BINANCE.id
INTERVAL_S = 1
DURABLE = {"appendonly": "yes", "appendfsync": "always"}  # claims need not wait for such a server to be up for long
TTL_S = 4  # one more than the least: other work shares these processors
_ROOT = Path(__file__).parents[2]

Scenario = Callable[["Trial"], Awaitable[None]]


class FeedProcess(PerseusProcess):
    """The program of `tests.support.feed` as a process on a host of its own, recording into `history`."""

    def __init__(self, *args: str, data_dir: Path, variant: str = "", **properties: Any) -> None:
        super().__init__(data_dir=data_dir, **properties)
        self.history = self.log.with_suffix(".jsonl")
        options = [*args, "--history", str(self.history), *(("--variant", variant) if variant else ())]
        self.command = (sys.executable, "-m", "tests.support.feed", *options)
        self._environment["PYTHONPATH"] = f"{_ROOT}{os.pathsep}{_ROOT / 'src'}"

    def recorded(self, kind: str) -> list[dict[str, Any]]:
        """The lines of this kind it has written down so far."""
        lines = self.history.read_text().splitlines() if self.history.exists() else []
        facts = [json.loads(line) for line in lines if line.endswith("}")]
        return [
            {name: value for name, value in each.items() if name != "kind"} for each in facts if each["kind"] == kind
        ]

    def block_loop(self) -> None:
        """Let its event loop hang for the `--block` it was given."""
        os.kill(self.pid, signal.SIGUSR1)


class Trial:
    """One trial: a server and a proxy before it, processes on named hosts, and everything that was recorded."""

    def __init__(
        self, *, number: int, seed: int, directory: Path, server: Server, proxy: FaultProxy, variant: str
    ) -> None:
        self.number = number
        self.random = random.Random(f"{seed}/{number}")
        self.directory = directory
        self.server = server
        self.proxy = proxy
        self.variant = variant
        self.clock = SystemClock()
        self.recorder = Recorder(server.url, EXCHANGE_ID)
        self.feeds: list[FeedProcess] = []
        self.landed: list[Landed] = []
        self.keeps_data = True
        self.keeps_time = True
        self.spare: Callable[[], Server] = lambda: server
        self.recovery_bound_s: float | None = None
        self._over_at: float | None = None
        self._recovers_to = ""
        self.cleanup = ExitStack()

    # -- hosts ------------------------------------------------------------------------------------------------------

    def feed(
        self,
        host: str = "host-a",
        *options: str,
        through_proxy: bool = False,
        store_url: str = "",
        exchange: str = EXCHANGE,
        interval_s: float = INTERVAL_S,
        ttl_s: int = TTL_S,
        disk: str = "",
        replicas: int = 0,
        inside: Callable[[Sequence[str]], Sequence[str]] = tuple,
    ) -> FeedProcess:
        """Start the feed program on a host; the same host name means the same data directory, or that of `disk`.

        `replicas`: how many it waits for; `inside`: what puts its command into a namespace.
        """
        feed = FeedProcess(
            exchange,
            *options,
            data_dir=self.directory / (disk or host),
            variant=self.variant,
            hostname=host,
            store_url=store_url or (self.proxy.url if through_proxy else self.server.url),
            settings={
                "HEARTBEAT_INTERVAL": str(interval_s),
                "LEASE_TTL": str(ttl_s),
                **({"STORE_WAIT_REPLICAS": str(replicas)} if replicas else {}),
            },
        )
        feed.command = tuple(inside(feed.command))
        self.feeds.append(self.cleanup.enter_context(feed))
        return feed

    def pause_s(self, longest: float = INTERVAL_S) -> float:
        """A random pause, so that the fault strikes at another moment in every trial."""
        return self.random.uniform(0, longest)

    def fault_is_over(self, *, within_s: float, state: str = "", at: float | None = None) -> None:
        """From now on, or since `at`, nothing stands in the way any more.

        Measured is until a write is accepted, or this state shows. `within_s`: what is promised; the summary of the
        trials tells whether it is kept.
        """
        self._over_at = self.clock.now() if at is None else at
        self.recovery_bound_s, self._recovers_to = within_s, state

    def recovery_s(self) -> float | None:
        """How long after the end of the fault the exchange was served again; None if that was not to be measured."""
        over_at = self._over_at
        if over_at is None:
            return None
        if self._recovers_to:
            at = [
                sample.replied
                for sample in self.recorder.samples
                if sample.status and sample.status["connectionState"] == self._recovers_to and sample.sent >= over_at
            ]
        else:
            accepted = [write for feed in self.feeds for write in self.accepted(feed)]
            at = [write["replied"] for write in accepted if write["asked"] >= over_at]
        return min(at) - over_at if at else None

    async def look_at(self, server: Server) -> None:
        """Another server is the primary now: that is where we look."""
        self.server = server
        await self.recorder.follow(server.url)

    # -- waiting ----------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What the status key held when last looked at; {} for nothing."""
        latest = self.recorder.latest
        return dict(latest.status) if latest and latest.status else {}

    async def until(self, predicate: Callable[[], Any], *, description: str, timeout: float = 25.0) -> Any:
        """Wait for a fact."""
        return await wait_until_async(predicate, description=description, timeout=timeout)

    async def reach(self, feed: PerseusProcess, state: str, *, timeout: float = 25.0) -> dict[str, Any]:
        """Wait until `feed` says that it is in this state; its payload."""

        def reached() -> dict[str, Any] | None:
            if not feed.is_running:
                raise AssertionError(f"{feed.command} ended with {feed.process.returncode}:\n{feed.output[-3000:]}")
            status = self.status()
            return status if status.get("pid") == feed.pid and status["connectionState"] == state else None

        return dict(await self.until(reached, description=f"{feed.command[3:]} is {state}", timeout=timeout))

    async def emitting(self, feed: FeedProcess, *, writes: int = 3) -> dict[str, Any]:
        """Wait until `feed` is active and has had some more writes accepted; its payload."""
        status = await self.reach(feed, "active")
        accepted = len(self.accepted(feed))
        await self.until(lambda: len(self.accepted(feed)) >= accepted + writes, description="writes are accepted")
        return status

    async def settled(self, ttl_s: int = TTL_S) -> None:
        """Wait until the server has been up for so long that claims of this TTL need not wait for it."""
        await self.until(lambda: uptime_s(self.server) > ttl_s + 1, description="the server has been up for a TTL")

    async def gone(self) -> None:
        """Wait until the status key is gone."""
        await self.until(
            lambda: self.recorder.is_answered and self.recorder.latest and self.recorder.latest.status is None,
            description="the status key is gone",
            timeout=15,
        )

    async def ended(self, feed: PerseusProcess, code: int, *, timeout: float = 20.0) -> str:
        """Wait until `feed` ends; it must be with this exit code. Its output."""
        await self.until(lambda: not feed.is_running, description=f"{feed.command[3:]} ends", timeout=timeout)
        assert feed.process.returncode == code, f"exit {feed.process.returncode}, not {code}:\n{feed.output[-3000:]}"
        return feed.output

    async def terminate(self, feed: PerseusProcess, *, timeout: float = 20.0) -> str:
        """SIGTERM: it must end by itself, with exit code 0. Its output."""
        os.kill(feed.pid, signal.SIGTERM)
        return await self.ended(feed, 0, timeout=timeout)

    def accepted(self, feed: FeedProcess) -> list[dict[str, Any]]:
        """The writes of `feed` that the store accepted, as it believes."""
        return [write for write in feed.recorded("write") if write["outcome"] == "accepted"]

    async def command(self, kind: str, *, until: str = "done") -> list[str]:
        """Send a command to the holder as `perseus start` does; the states of its replies up to `until`."""
        async with self.store() as store:
            target = msgspec.convert(self.status(), InstanceStatus)
            now_ms = round(await store.time_ms())
            command = commands.compose(kind, target=target, issuer="tests", reason="", now_ms=now_ms)
            await commands.send(store, BINANCE, command)
            states: list[str] = []
            async for reply in commands.follow_replies(store, BINANCE, command.id, clock=self.clock, wait_s=20):
                states.append(reply.state)
                if reply.state == until:
                    return states
        raise AssertionError(f"{kind} was not {until}: {states}")

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """A connection of the product's own kind."""
        store = Store(self.server.url)
        try:
            yield store
        finally:
            await store.close()

    # -- what is in the store ---------------------------------------------------------------------------------------

    def entries(self, event: str = "", *, exchange: str = EXCHANGE) -> list[dict[str, str]]:
        """The activity log, oldest first; of one kind if `event` is given."""
        found = self.server.call("XRANGE", keys.log(exchange), "-", "+")
        entries = [
            {name.decode(): value.decode() for name, value in zip(fields[::2], fields[1::2], strict=True)}
            for _, fields in found
        ]
        return [entry for entry in entries if event in ("", entry["event"])]

    def transitions(self, epoch: int) -> list[str]:
        """The states a tenure went to, by the log."""
        mine = [each for each in self.entries("state_transition") if each["epoch"] == str(epoch)]
        return [entry["toState"] for entry in mine]

    def last(self) -> dict[str, Any]:
        """The `last` snapshot; {} for nothing."""
        raw = self.server.call("GET", keys.last(EXCHANGE_ID))
        return {} if raw is None else dict(json.loads(raw))

    def look_at_writes(self) -> frozenset[tuple[int, int]]:
        """Record which writes are in the store now; they are (epoch, n)."""
        sent = self.clock.now()
        members = self.server.call("ZRANGE", keys.candles(EXCHANGE_ID, SYMBOL, "1m"), 0, -1)
        rows = [json.loads(member) for member in members]
        writes = frozenset((int(row[1]), int(row[2])) for row in rows if row[1].isdecimal())  # not a market's candles
        self.landed.append(Landed(sent, self.clock.now(), writes))
        return writes

    # -- judgement --------------------------------------------------------------------------------------------------

    def history(self) -> History:
        """Everything recorded so far."""
        return History(
            claims=[Claim(**each) for feed in self.feeds for each in feed.recorded("claim")],
            believed=[Claim(**each) for feed in self.feeds for each in feed.recorded("held")],
            writes=[Write(**each) for feed in self.feeds for each in feed.recorded("write")],
            samples=list(self.recorder.samples),
            landed=list(self.landed),
            entries=self.entries(),
            released=frozenset(self.recorder.released),
            keeps_data=self.keeps_data,
            keeps_time=self.keeps_time,
        )

    def story(self) -> str:
        """What happened, for a failure's report."""
        outputs = [f"--- {feed.command[3:]} on {feed.data_dir.name}\n{feed.output[-2500:]}" for feed in self.feeds]
        try:
            log = "\n".join(" ".join(f"{k}={v}" for k, v in entry.items() if v) for entry in self.entries())
        except (redis.RedisError, OSError) as error:
            log = f"the store is away: {error}"
        return "\n".join([*outputs, "--- activity log", log])


async def in_trials(
    scenario: Scenario,
    pool: Pool,
    *,
    variant: str = "",
    count: int | None = None,
    own_server: dict[str, Any] | None = None,
    judged: bool = True,
    turns: asyncio.Semaphore | None = None,
) -> None:
    """Repeat a scenario and judge each trial's history.

    `own_server`: each trial has a server that it may stop or break; with properties in it, one just started with
    these. `turns`: shared by scenarios that run at the same time.
    Raises: what the first failing trial raised, with its number, seed and story.
    """
    seed = int(os.environ.get("PERSEUS_TEST_SEED") or random.randrange(2**32))
    trials = count or TRIALS
    print(f"{trials} trials, PERSEUS_TEST_SEED={seed}")
    turns = turns or asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with turns, _trial(number, seed, pool, variant=variant, own_server=own_server) as trial:
            ours = outcomes.Outcomes() if variant else outcomes.BY_SCENARIO[outcomes.name_of(scenario)]
            try:
                await scenario(trial)
                if judged:
                    await _final_look(trial, ours)
            except BaseException as error:
                ours.failed += 1
                error.add_note(f"trial {number}, PERSEUS_TEST_SEED={seed}\n{trial.story()}")
                raise
            ours.passed += 1
            ours.recovered(trial.recovery_s(), bound_s=trial.recovery_bound_s)

    async with asyncio.TaskGroup() as group:
        for number in range(trials):
            group.create_task(one(number), name=f"trial {number}")


def uptime_s(server: Server) -> int:
    """For how long the server is up, by its own account."""
    (line,) = [line for line in server.call("INFO", "server").splitlines() if line.startswith(b"uptime_in_seconds:")]
    return int(line.partition(b":")[2])


async def _final_look(trial: Trial, ours: outcomes.Outcomes) -> None:
    if trial.server.is_answering:
        trial.look_at_writes()
        faults = undeclared_keys(trial.server)
        assert not faults, "keys that perseus.keys does not declare:\n" + "\n".join(faults)
        history = trial.history()
        ours.judge(violations(history))
        judge(history)


@asynccontextmanager
async def _trial(
    number: int, seed: int, pool: Pool, *, variant: str, own_server: dict[str, Any] | None
) -> AsyncIterator[Trial]:
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(short_directory())
        if own_server is None:
            server = pool.lend(number, variant=variant)
            stack.callback(pool.give_back, server)
        elif own_server:
            server = new_server(directory / "server", number, variant=variant, properties=own_server)
            stack.callback(server.kill)
        else:
            server = pool.part_with(number, variant=variant)
            stack.callback(server.kill)
        proxy = stack.enter_context(FaultProxy(server.url))
        trial = Trial(number=number, seed=seed, directory=directory, server=server, proxy=proxy, variant=variant)
        recording = asyncio.create_task(trial.recorder.run(), name="recorder")
        stack.push_async_callback(trial.recorder.close)
        stack.push_async_callback(_stopped, recording)
        stack.enter_context(trial.cleanup)
        trial.spare = partial(_spare, trial, pool)
        yield trial


def _spare(trial: Trial, pool: Pool) -> Server:
    """Another server of the trial's own, up for a while, of the same kind as its first."""
    kind = pool.kind_of(trial.server)
    server = pool.part_with_one(kind, variant=trial.variant)
    trial.cleanup.callback(server.kill)
    return server


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
