"""Instances in the test's own process, on a real store: attached, serving, or dead without a word."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from perseus import commands, keys, lease
from perseus.clock import SystemClock, iso
from perseus.instances.identity import Identity, fresh_status
from perseus.instances.instance import Instance
from perseus.instances.run import Setup, Work, attached, run_instance
from perseus.model import Command, CommandReply, ConnectionState, InstanceStatus, exchange_named
from perseus.store import Store, scripts
from perseus.timing import LeaseTiming
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

BINANCE = exchange_named("binance")
STATUS, LAST, EPOCH = keys.status(BINANCE.id), keys.last(BINANCE.id), keys.epoch(BINANCE.id)
LOG, COMMANDS = keys.log(BINANCE.name), keys.commands(BINANCE.id)
TIMING = LeaseTiming(1.0, 3)
DURABLE = {"appendonly": "yes", "appendfsync": "always"}  # a claim need not wait for such a server's uptime


def setup_at(url: str, data_dir: Path, *, hostname: str = "host-a", timing: LeaseTiming = TIMING) -> Setup:
    """What an instance of Binance is made of, its heartbeat a second unless another timing is given."""
    return Setup(
        exchange=BINANCE, identity=Identity(hostname=hostname), timing=timing, store_url=url, data_dir=data_dir
    )


# -- living instances -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def holding(setup: Setup) -> AsyncIterator[Instance]:
    """An instance that has claimed. Leaving the block is its death: nothing is released, nothing is logged."""
    async with attached(setup) as me:
        await me.claim()
        yield me


async def follow(me: Instance) -> None:
    """The shortest feed: warm at once, then active until the end."""
    async with me.warming(symbol_count=1) as progress:
        await progress.update(done=1, total=1)
    async with me.active():
        await asyncio.Event().wait()


class Serving:
    """`run_instance` in a task: `me` once it has begun to work, `shutdown` as a signal would set it."""

    def __init__(self, setup: Setup, work: Work, *, idle: bool) -> None:
        self.shutdown = asyncio.Event()
        self.task = asyncio.create_task(run_instance(setup, self._noting(work), idle=idle, shutdown=self.shutdown))
        self._me: Instance | None = None

    @property
    def me(self) -> Instance:
        """The instance, which its work has been given."""
        assert self._me is not None, "its work has not begun"
        return self._me

    async def reach(self, state: ConnectionState, *, timeout: float = 15.0) -> None:
        """Wait until it is in this state; an end of its own is raised."""

        def reached() -> bool:
            if self.task.done():
                self.task.result()
                raise AssertionError("run_instance returned")
            return self._me is not None and self._me.state is state

        await wait_until_async(reached, description=f"it is {state}", timeout=timeout, every=0.005)

    async def end(self) -> None:
        """End it as by a signal, and raise what it ended with."""
        self.shutdown.set()
        await asyncio.wait({self.task}, timeout=20)
        assert self.task.done(), "it did not end"
        self.task.result()

    def _noting(self, work: Work) -> Work:
        async def noting(me: Instance) -> None:
            self._me = me
            await work(me)

        return noting


@asynccontextmanager
async def serving(setup: Setup, work: Work = follow, *, idle: bool = False) -> AsyncIterator[Serving]:
    """A whole instance for the block, ended in order after it; cancelled if the block fails."""
    served = Serving(setup, work, idle=idle)
    try:
        yield served
        if not served.task.done():
            await served.end()
    finally:
        served.task.cancel()
        await asyncio.wait({served.task})


# -- other programs and dead instances --------------------------------------------------------------------------------


def payload(
    *, instance_id: str = "other", epoch: int = 1, age_s: float = 0.0, ttl_s: int = 3, **fields: Any
) -> InstanceStatus:
    """The status of another instance, whose last heartbeat was `age_s` ago (below zero: is to come)."""
    fresh = fresh_status(
        BINANCE,
        Identity(hostname="host-b", instance_id=instance_id),
        LeaseTiming(ttl_s / 3, ttl_s),
        now=iso(round((time.time() - age_s) * 1000)),
    )
    claim = {"epoch": epoch, "claim_id": f"{instance_id}-{epoch}", "rev": 1}
    return msgspec.structs.replace(fresh, **(claim | fields))


def leave_behind(server: Server, status: InstanceStatus) -> None:
    """What stands in the store when this tenure has ended without a word and its lease is over."""
    server.call("SET", LAST, lease.encode_status(status), "EX", keys.LAST_TTL_S)


def take_over(server: Server, status: InstanceStatus, *, ttl_ms: int = 60_000) -> None:
    """Let another instance hold the exchange."""
    server.call("SET", STATUS, lease.encode_status(status), "PX", ttl_ms)


# -- commands ---------------------------------------------------------------------------------------------------------


async def send(store: Store, kind: str, *, target: InstanceStatus, **changed: Any) -> Command:
    """Send a command to the tenure in `target`; `changed` fields are not as `perseus` would send them."""
    now_ms = round(await store.time_ms())
    command = commands.compose(kind, target=target, issuer="ops@example.com", reason="test", now_ms=now_ms)
    command = msgspec.structs.replace(command, **changed)
    await commands.send(store, BINANCE, command)
    return command


async def answers(store: Store, command: Command, *, until: str = "", wait_s: float = 10.0) -> list[CommandReply]:
    """The replies to a command up to the final one, or the first in the state `until`."""
    found: list[CommandReply] = []
    async for reply in commands.follow_replies(store, BINANCE, command.id, clock=SystemClock(), wait_s=wait_s):
        found.append(reply)
        if reply.state == until:
            break
    return found


async def carried_out(store: Store, kind: str, *, target: InstanceStatus) -> list[str]:
    """Send a command and return the states of its replies."""
    return [reply.state for reply in await answers(store, await send(store, kind, target=target))]


async def undecodable_command(store: Store, text: str) -> None:
    """Put something on the command stream that is no command."""
    args: list[str | int] = [keys.COMMANDS_KEPT, keys.COMMANDS_TTL_S, "command", text]
    await store.run(scripts.APPEND, keys=[COMMANDS], args=args)


# -- what is in the store ---------------------------------------------------------------------------------------------


def status_in(server: Server) -> InstanceStatus | None:
    """The status payload; None without one."""
    raw = server.call("GET", STATUS)
    return None if raw is None else lease.decode_status(raw, STATUS)


def last_in(server: Server) -> InstanceStatus | None:
    """The `last` snapshot; None without one."""
    raw = server.call("GET", LAST)
    return None if raw is None else lease.decode_status(raw, LAST)


def entries_in(server: Server, event: str = "") -> list[dict[str, str]]:
    """The activity log, oldest first; of one kind if `event` is given."""
    entries = [
        {name.decode(): value.decode() for name, value in zip(fields[::2], fields[1::2], strict=True)}
        for _, fields in server.call("XRANGE", LOG, "-", "+")
    ]
    return [entry for entry in entries if event in ("", entry["event"])]


def transitions_in(server: Server, epoch: int) -> list[str]:
    """The states that the tenure of this epoch went to, by the log."""
    found = entries_in(server, "state_transition")
    return [entry["toState"] for entry in found if entry["epoch"] == str(epoch)]


async def begun(server: Server, me: Instance) -> InstanceStatus:
    """Wait until the first heartbeat of this tenure has landed; its payload."""

    def landed() -> InstanceStatus | None:
        last = last_in(server)
        return last if last and last.claim_id == me.claim_id else None

    found = await wait_until_async(landed, description="the first heartbeat has landed")
    assert found is not None
    return found


async def renewed(server: Server, *, times: int = 1) -> InstanceStatus:
    """Wait for this many more renewals of one tenure to land; the payload of the last."""
    before = status_in(server)

    def landed() -> InstanceStatus | None:
        status = status_in(server)
        if status is None:
            return None
        counted_from = before.rev if before and before.claim_id == status.claim_id else 0
        return status if (status.rev or 0) >= (counted_from or 0) + times else None

    found = await wait_until_async(landed, description=f"{times} more renewals have landed")
    assert found is not None
    return found


async def logged(server: Server, event: str, **fields: str) -> dict[str, str]:
    """Wait for an entry of this kind with these fields; it."""

    def found() -> dict[str, str] | None:
        matching = [entry for entry in entries_in(server, event) if fields.items() <= entry.items()]
        return matching[0] if matching else None

    entry = await wait_until_async(found, description=f"{event} {json.dumps(fields)} is logged")
    assert entry is not None
    return entry
