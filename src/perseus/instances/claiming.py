"""How a process claims its exchange: what it waits for, what it retries, and the record of the tenure before."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import msgspec
import structlog

from perseus import activity, keys
from perseus.clock import Clock, StoreTime
from perseus.errors import ExchangeSettling, NotReplicated, PerseusError, StoreUnavailable
from perseus.instances.lockfile import LockFile
from perseus.lease import Claimed, Claimer, Lease, abandon, decode_status, release
from perseus.model import Exchange, InstanceStatus
from perseus.store import Store
from perseus.timing import LeaseTiming

FIRST_CLAIM_ATTEMPTS = 3
LOSS_RECORD_ATTEMPTS = 3
T = TypeVar("T")

log = structlog.get_logger()


class Claiming:
    """Claims one exchange for one process, as often as it loses it."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        store_time: StoreTime,
        exchange: Exchange,
        instance_id: str,
        timing: LeaseTiming,
        lock_file: LockFile | None,
        store_is_local: bool,
        replicas: int,
    ) -> None:
        self._store = store
        self._clock = clock
        self._store_time = store_time
        self._exchange = exchange
        self._instance_id = instance_id
        self._timing = timing
        self._lock_file = lock_file
        self._store_is_local = store_is_local
        self._unrecorded: InstanceStatus | None = None
        self._is_behind = asyncio.Event()
        self._claimer = Claimer(
            store,
            clock=clock,
            store_time=store_time,
            exchange=exchange,
            instance_id=instance_id,
            is_dead=lock_file.proves_dead if lock_file else lambda _holder: False,
            replicas=replicas,
        )

    @property
    def lock_file(self) -> str | None:
        """device:inode of the lock file if we hold it: only then may its being free prove that we are dead."""
        return self._lock_file.identity if self._lock_file is not None and self._lock_file.is_held else None

    def saw_holder(self, raw: bytes) -> None:
        """Claim with a higher epoch than this payload's from now on."""
        self._claimer.saw_holder(raw)

    async def claim(self, status: InstanceStatus, *, patient: bool, own_deadline: float) -> Claimed:
        """Claim with `status` as the first payload, waiting where the exchange is free but must not be claimed yet.

        `patient`: keep trying while the store is away. `own_deadline`: the soft deadline of the tenure this process
        has just lost, boot-time seconds; while it is ahead, nobody can have succeeded it. The claim's id is of its own;
        when cancelled, it gives back what may have been claimed.
        Raises: as Claimer.claim, but for ExchangeSettling.
        """
        claim_id = uuid.uuid4().hex

        async def attempt(is_durable: bool) -> Claimed:
            nonlocal claim_id
            must_settle = not self._is_alone() and self._clock.now() >= own_deadline  # may have changed since the last
            self._keep(lambda file: file.announce(self._instance_id))
            first = msgspec.structs.replace(status, claim_id=claim_id, lock_file=self.lock_file)
            try:
                return await self._claimer.claim(
                    first, timing=self._timing, must_settle=must_settle, is_durable=is_durable
                )
            except NotReplicated:  # given back, but that may land late: it must not find the claim that comes next
                claim_id = uuid.uuid4().hex
                raise

        try:
            claimed = await self._settled(attempt, patient=patient)
        except asyncio.CancelledError:
            await self.abandon(claim_id)  # its answer may have been under way
            raise
        self._keep(lambda file: file.remember(claimed.lease.epoch, holder=self._instance_id))
        return claimed

    async def _settled(self, attempt: Callable[[bool], Awaitable[Claimed]], *, patient: bool) -> Claimed:
        """Attempt again, once a second, until nothing stands in the way but a holder."""
        told = is_durable = False
        while True:
            try:
                return await self._retrying(partial(attempt, is_durable), patient=patient)
            except ExchangeSettling as settling:
                if not is_durable and await self._retrying(self._store_is_durable, patient=patient):
                    is_durable = True
                    continue  # that may have been all it waited for
                if not told:
                    log.info("waiting_to_claim", exchange=self._exchange.name, why=str(settling))
                told = True
                await self._clock.sleep(min(settling.wait_ms / 1000, 1.0))

    async def release(self, held: Lease, final: InstanceStatus, *, by: str) -> None:
        """Give the exchange back with its final snapshot; once more if the connection was lost: it is idempotent."""
        now_ms = self._store_time.now_ms()
        try:
            await release(self._store, held, final, by=by, store_ms=now_ms)
        except StoreUnavailable:
            await release(self._store, held, final, by=by, store_ms=now_ms)

    async def abandon(self, claim_id: str) -> None:
        """Give back a claim whose answer nobody waited for; one attempt, because we are being ended."""
        try:
            await abandon(self._store, self._exchange, claim_id)
        except PerseusError as error:
            log.warning("claim_not_given_back", exchange=self._exchange.name, error=str(error))

    async def newest_command(self, *, patient: bool) -> str:
        """The id after which commands can be meant for the tenure about to begin."""
        return await self._retrying(partial(self._store.newest_id, keys.commands(self._exchange.id)), patient=patient)

    async def record_loss(self, before: InstanceStatus | None, *, until: float) -> None:
        """Record that the tenure before ended without a word, before our first renewal overwrites its snapshot.

        None: nobody's, but perhaps the record of one that we succeeded is still to be written. No attempt begins after
        `until`, boot-time seconds: our own lease must not run out over it.
        """
        if before is not None and before.released_at is None and before.instance_id != self._instance_id:
            self._unrecorded = before
        if self._unrecorded is None:
            return
        for _ in range(LOSS_RECORD_ATTEMPTS):
            if await self._has_recorded(self._unrecorded):
                return
            await self._clock.sleep(self._timing.retry_s)
            if self._clock.now() >= until:
                break
        # The log's slot may be down while ours works; an exchange unserved would be worse than a loss recorded late.
        self._is_behind.set()

    async def record_late(self) -> None:
        """Go on trying to write the record that could not be written before a tenure had to begin, for ever."""
        while True:
            await self._is_behind.wait()
            self._is_behind.clear()
            while self._unrecorded is not None and not await self._has_recorded(self._unrecorded):
                await self._clock.sleep(self._timing.interval_s)

    async def _has_recorded(self, dead: InstanceStatus) -> bool:
        try:
            await activity.record_loss(
                self._store,
                dead=dead,
                detected_by=self._instance_id,
                store_ms=self._store_time.now_ms(),
                host_ms=self._clock.wall_ms(),
            )
        except PerseusError as error:
            log.warning("loss_not_recorded_yet", exchange=self._exchange.name, epoch=dead.epoch, error=str(error))
            return False
        if self._unrecorded is dead:
            self._unrecorded = None
        return True

    def _keep(self, write: Callable[[LockFile], None]) -> None:
        if self._lock_file is None:
            return
        try:
            write(self._lock_file)
        except OSError as error:  # a full disk: a lease can be held all the same
            log.warning("lock_file_not_written", exchange=self._exchange.name, error=str(error))

    def _is_alone(self) -> bool:
        """Whether the store is this host's own and no other process here serves the exchange."""
        if self._lock_file is None:
            return False
        self._claimer.know_epoch(self._lock_file.known_epoch())
        return self._lock_file.acquire() and self._store_is_local

    async def _store_is_durable(self) -> bool:
        key = keys.status(self._exchange.id)  # of the node that grants this lease
        always = await self._store.config("appendfsync", key=key) == "always"
        return always and await self._store.config("appendonly", key=key) == "yes"

    async def _retrying(self, attempt: Callable[[], Awaitable[T]], *, patient: bool) -> T:
        failures = 0
        while True:
            try:
                return await attempt()
            except StoreUnavailable as error:
                failures += 1
                if not patient and failures >= FIRST_CLAIM_ATTEMPTS:
                    raise
                if failures == FIRST_CLAIM_ATTEMPTS:
                    log.warning("store_away", exchange=self._exchange.name, error=str(error))
                await self._clock.sleep(self._timing.retry_s)


def successor(before: InstanceStatus | None, ours: InstanceStatus) -> InstanceStatus | None:
    """Whose tenure came after `ours`, if it was another's: what a store tells that came back with old data is over."""
    if before is None or before.instance_id == ours.instance_id:
        return None
    is_older = before.epoch is not None and ours.epoch is not None and before.epoch < ours.epoch
    return None if is_older else before


def name_of(raw: bytes) -> str:
    """Who holds the exchange, by the value of its status key."""
    try:
        holder = decode_status(raw, "")
    except PerseusError:
        return "another program"
    return f"{holder.hostname} ({holder.instance_id or 'another program'})"
