"""START HERE: one instance from start to stop, in reading order.

`run_instance` is what `perseus run` does; `instance` is the same tenure for programs that bring their own feed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from perseus.clock import Clock, StoreTime, SystemClock
from perseus.errors import (
    BadUsage,
    ExchangeClaimed,
    LeaseLost,
    PerseusError,
    StopRequested,
    StoreUnavailable,
    UnknownExchange,
)
from perseus.instances.control import obey
from perseus.instances.coordination import coordinating
from perseus.instances.fence import Fence
from perseus.instances.identity import Identity, find_public_ip
from perseus.instances.instance import Instance
from perseus.instances.lockfile import LockFile
from perseus.model import SEEDED_EXCHANGES, ConnectionState, Exchange, exchange_with
from perseus.settings import Settings, load_settings
from perseus.store import Store
from perseus.store.check import require_usable
from perseus.store.embedded import embedded_store
from perseus.timing import LeaseTiming

Work = Callable[[Instance], Awaitable[None]]

ORDERLY_END_S = 10.0  # for the feed to end its work; after that it is cancelled

log = structlog.get_logger()


@dataclass(frozen=True)
class Setup:
    """What an instance is made of. `store_url` may be `embedded`; `data_dir` holds its lock files and that store.

    `fence`: ends the whole process when its lease is over, so for one that serves this exchange and nothing else.
    """

    exchange: Exchange
    identity: Identity
    timing: LeaseTiming
    store_url: str
    data_dir: Path
    public_ip_urls: Sequence[str] = ()
    unsafe_store: bool = False
    wait_replicas: int = 0  # that must confirm every claim and renewal
    fence: Fence | None = None
    clock: Clock = field(default_factory=SystemClock)


async def run_instance(setup: Setup, work: Work, *, idle: bool, shutdown: asyncio.Event) -> None:
    """Serve one exchange until `shutdown` is set: claim, work, obey commands, come back after a lost store.

    `work` takes the instance through warming and active and returns only when it fails. `idle`: wait for a start
    command before the first work.
    Raises: ExchangeClaimed at the start, LeaseLost when another instance has taken over, and whatever `work` raises.
    """
    async with attached(setup) as me:
        await serve(me, work, idle=idle, shutdown=shutdown)


async def serve(me: Instance, work: Work, *, idle: bool, shutdown: asyncio.Event) -> None:
    """The whole life of an instance that is attached and has claimed nothing yet: see `run_instance`."""
    serving = asyncio.create_task(_serve(me, work, idle=idle, shutdown=shutdown), name="serve")
    ending = asyncio.create_task(shutdown.wait(), name="shutdown")
    try:
        await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await _interrupt(me, serving)
        await serving
    except (asyncio.CancelledError, StopRequested, ExchangeClaimed, LeaseLost, StoreUnavailable):
        if not shutdown.is_set():
            raise
    except Exception as error:
        await me.report_error(error)
        raise
    finally:
        await _cancel(serving, ending)
        await me.leave(by="signal" if shutdown.is_set() else "error")


async def _interrupt(me: Instance, serving: asyncio.Task[None]) -> None:
    """End the serving of an instance whose process was told to end: in order while it holds the lease, else at once."""
    if me.holds:
        try:
            await me.request_stop(by="signal", why="the process was told to end", lasting=False)
        except LeaseLost:
            serving.cancel()
        await asyncio.wait({serving}, timeout=ORDERLY_END_S)
    await _cancel(serving)


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for their end; again after a while, because a library may swallow a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=ORDERLY_END_S)


async def _serve(me: Instance, work: Work, *, idle: bool, shutdown: asyncio.Event) -> None:
    """Claim and work, again after every stop command and every lapse.

    Raises: StopRequested at a shutdown, LeaseLost when another instance has taken over, and what `work` raises.
    """
    await me.claim()
    claimed_at = me.clock.now()
    waits = idle or not me.may_start
    while True:
        try:
            by, reason = await _told_to_start(me) if waits else ("", "process start")
            waits = False
            async with me.working():
                await me.begin(by=by, reason=reason)
                await _without_group(work(me))
            raise PerseusError(f"The feed of {me.exchange.name!r} ended by itself; it should run until it is stopped.")
        except StopRequested as stop:
            if not stop.is_lasting:
                raise
            await me.finish_stop()
            if shutdown.is_set():  # the signal came while the stop command was being carried out
                raise
            waits = True
        except LeaseLost as lost:
            if lost.reason == "taken" or shutdown.is_set():
                raise
            if me.clock.now() - claimed_at < me.timing.retry_s:  # something takes the key away as soon as it is there
                await me.clock.sleep(me.timing.retry_s)
            await me.claim(patient=True)  # the store was away or lost our key: a new epoch, and on with it
            claimed_at = me.clock.now()
            waits = waits or not me.may_start


async def _told_to_start(me: Instance) -> tuple[str, str]:
    log.info("waiting_for_start", exchange=me.exchange.name, hint=f"perseus start {me.exchange.name}")
    by, reason = await me.wait_for_start()
    if me.state is ConnectionState.STOPPED:
        await me.claim(patient=True)  # raises the epoch first: the stopped tenure is over
    return by, reason


async def _without_group(work: Awaitable[None]) -> None:
    """Await a feed; if one error ended its tasks, raise that error itself."""
    try:
        await work
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from group


@asynccontextmanager
async def attached(setup: Setup) -> AsyncIterator[Instance]:
    """An instance with its connections, threads and background tasks, nothing claimed yet."""
    clock = setup.clock
    async with AsyncExitStack() as stack:
        lock_file = stack.enter_context(LockFile(setup.data_dir, setup.exchange.id))
        is_local = setup.store_url == "embedded"
        url = await stack.enter_async_context(embedded_store(setup.data_dir)) if is_local else setup.store_url
        store = Store(url)
        stack.push_async_callback(store.close)
        store_time = StoreTime(clock, on_step=partial(_warn_of_step, setup.exchange.name))
        await _look_at(store, clock, store_time, setup=setup, attempts=3 if is_local else 1)
        coordination = await stack.enter_async_context(coordinating(url, timeout_s=setup.timing.attempt_timeout_s))
        me = Instance(
            exchange=setup.exchange,
            identity=setup.identity,
            timing=setup.timing,
            store=store,
            coordination=coordination,
            clock=clock,
            store_time=store_time,
            lock_file=lock_file,
            store_is_local=is_local,
            replicas=setup.wait_replicas,
            fence=setup.fence,
        )
        await stack.enter_async_context(in_background(me, public_ip_urls=setup.public_ip_urls))
        yield me


@asynccontextmanager
async def in_background(me: Instance, *, public_ip_urls: Sequence[str] = ()) -> AsyncIterator[None]:
    """What an instance does besides its work, for the block: look at its deadline, obey commands, and so on."""
    background = [
        asyncio.create_task(me.tick(), name="tick"),
        asyncio.create_task(obey(me), name="commands"),
        asyncio.create_task(me.record_late_losses(), name="late losses"),
        asyncio.create_task(_publish_ip(me, public_ip_urls), name="public IP"),
    ]
    try:
        yield
    finally:
        for task in background:
            task.cancel()
        for outcome in await asyncio.gather(*background, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("background_task_failed", error=repr(outcome))


def _warn_of_step(exchange: str, by_ms: float) -> None:
    log.warning("clock_step", exchange=exchange, by_ms=round(by_ms))


async def _look_at(store: Store, clock: Clock, store_time: StoreTime, *, setup: Setup, attempts: int) -> None:
    """Refuse a store that cannot keep leases, warn of what else is wrong with it, and take its time.

    More than one attempt is for the embedded store: a server whose owner was just killed answers until it has saved.
    """
    for left in reversed(range(attempts)):
        try:
            findings = await require_usable(
                store, clock=clock, timing=setup.timing, replicas=setup.wait_replicas, unsafe=setup.unsafe_store
            )
            store_time.observe(await store.time_ms())
        except StoreUnavailable:
            if not left:
                raise
            await clock.sleep(0.2)
        else:
            break
    for finding in findings:
        log.warning("store", finding=finding.name, says=finding.text, fix=finding.fix)


async def _publish_ip(me: Instance, urls: Sequence[str]) -> None:
    address = await find_public_ip(urls) if urls else None
    if address is not None:
        await me.set_public_ip(address)


@asynccontextmanager
async def instance(
    exchange: str, *, id: int | None = None, store: str | None = None, settings: Settings | None = None
) -> AsyncIterator[Instance]:
    """Claim an exchange for the block; leaving it stops, flushes the log and gives the exchange back.

    `id`: under which the network knows it (`perseus exchanges list`), needed for one that was added to the network.
    `settings` default to what `perseus run` would use here (files, environment); `store` overrides its STORE_URL.
    A stop command ends the block quietly.
    Raises: ExchangeClaimed if another instance holds it, UnknownExchange, BadUsage, BadConfiguration,
    StoreUnavailable; out of the block: LeaseLost.
    """
    served = _exchange(exchange, id)
    async with attached(setup_from(settings or load_settings(), served, store_url=store)) as me:
        try:
            await me.claim()
            yield me
        except StopRequested as stop:
            log.info("stopped", exchange=exchange, by=stop.by)
        finally:
            await me.leave(by="the program")


def _exchange(name: str, exchange_id: int | None) -> Exchange:
    """The exchange a program names. Ids are for good: one of another exchange would be that one's lease."""
    for seeded in SEEDED_EXCHANGES:
        if seeded.name == name and exchange_id in (None, seeded.id):
            return seeded
        if seeded.name == name or seeded.id == exchange_id:
            raise BadUsage(
                f'"{name}" cannot have the id {exchange_id}: "{seeded.name}" has the id {seeded.id}. Nothing was '
                f"claimed. `perseus exchanges list` tells the id of each exchange."
            )
    if exchange_id is None:
        raise UnknownExchange(
            f'"{name}" is none of the exchanges every network has ({", ".join(each.name for each in SEEDED_EXCHANGES)}'
            f'). Nothing was claimed. If it was added, say under which id: `perseus.instance("{name}", id=ID)`, with '
            f"the ID that `perseus exchanges list` shows.",
            name=name,
        )
    return exchange_with(exchange_id, name)


def setup_from(settings: Settings, exchange: Exchange, *, store_url: str | None = None) -> Setup:
    """What an instance of `exchange` is made of under these settings."""
    return Setup(
        exchange=exchange,
        identity=Identity(hostname=settings.hostname, admin_email=settings.admin_email, admin_name=settings.admin_name),
        timing=LeaseTiming(settings.heartbeat_interval, settings.lease_ttl),
        store_url=store_url or settings.store_url,
        data_dir=settings.data_dir,
        public_ip_urls=settings.public_ip_urls,
        wait_replicas=settings.store_wait_replicas,
    )
