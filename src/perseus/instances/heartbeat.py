"""The heartbeat: renews one tenure's lease and publishes its status until the tenure ends.

Runs on the coordination thread's loop, so a busy feed cannot make it late; but it renews only while the feed's own
loop is alive, because a hung process must lose its lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

import msgspec

from perseus.clock import Clock, StoreTime, iso
from perseus.errors import LeaseLost, NotReplicated
from perseus.instances.fence import Fence
from perseus.lease import Lease, renew, succeeds
from perseus.model import InstanceStatus
from perseus.store import Store

ABANDONED = float("-inf")  # the deadline of a tenure that is over
LONGEST_NAP_S = 1.0  # timers do not count suspend: look at the boot-time clock at least this often


class Witness(Protocol):
    """Who is told what the heartbeat sees. Called on the coordination loop."""

    def lease_ended(self, ended: Lease, lost: LeaseLost) -> None:
        """The tenure is over; nothing may be emitted any more."""

    def renewal_failed(self, error: Exception) -> None:
        """An attempt failed; the deadline stays where it was. Said once an episode."""

    def renewal_recovered(self) -> None:
        """A renewal was confirmed after failures."""

    def loop_blocked(self, for_s: float) -> None:
        """The feed's loop has not ticked for an interval; not renewing. Said once an episode."""


class Heartbeat:
    """One tenure's renewals. Any thread may read `soft_deadline`, past which nothing may be emitted, and `over`."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        store_time: StoreTime,
        lease: Lease,
        snapshot: Callable[[], InstanceStatus],
        last_tick: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        witness: Witness,
        fence: Fence,
        replicas: int = 0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._store_time = store_time
        self._lease = lease
        self._snapshot = snapshot
        self._last_tick = last_tick
        self._witness = witness
        self._fence = fence
        self._replicas = replicas
        self._rev = 0
        self._failing = False
        self._blocked = False
        self._abandoned = False
        self._changed = asyncio.Event()
        self._waiters: list[Future[None]] = []
        self._loop = loop
        self.over: LeaseLost | None = None  # how the tenure ended
        self.soft_deadline = lease.soft_deadline

    @property
    def lease(self) -> Lease:
        """The lease as last confirmed."""
        return self._lease

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt failed: waiting for a publication would be in vain."""
        return self._failing

    @property
    def next_rev(self) -> int:
        """A `rev` above every one sent, for the release that follows the last renewal."""
        return self._rev + 1

    def publish(self) -> Future[None]:
        """Publish the current status at once by an extra renewal. Any thread.

        The future is done when a renewal composed after this call was confirmed; it fails with LeaseLost.
        """
        published: Future[None] = Future()
        self._loop.call_soon_threadsafe(self._enqueue, published)
        return published

    def _enqueue(self, published: Future[None]) -> None:
        if self.over is not None:
            published.set_exception(self.over)
            return
        self._waiters.append(published)
        self._changed.set()

    async def run(self) -> None:
        """Renew until the lease is lost or the deadline passes; then tell the witness and return."""
        timing = self._lease.timing
        due = self._clock.now()
        while self.over is None:
            await self._nap(due)
            now = self._clock.now()
            if now >= self.soft_deadline:
                self._end(LeaseLost("No renewal was confirmed before the deadline; all work stops.", reason="expired"))
            elif now < due and not self._changed.is_set():
                continue
            elif self._feed_is_blocked(now):
                self._changed.clear()
                due = now + timing.retry_s
            else:
                due = now + (timing.interval_s if await self._attempt(now) else timing.retry_s)

    def abandon(self) -> None:
        """Let nothing pass the deadline any more. Any thread."""
        self._abandoned = True  # first: a renewal confirmed at this moment looks at it last
        self.soft_deadline = ABANDONED

    async def _nap(self, due: float) -> None:
        seconds = min(due, self.soft_deadline) - self._clock.now()
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(min(seconds, LONGEST_NAP_S)):
                await self._changed.wait()
        except TimeoutError:
            return

    def _feed_is_blocked(self, now: float) -> bool:
        for_s = now - self._last_tick()
        if for_s < self._lease.timing.interval_s:
            self._blocked = False
            return False
        if not self._blocked:
            self._witness.loop_blocked(for_s)
        self._blocked = True
        return True

    async def _attempt(self, now: float) -> bool:
        """Send one renewal; True if it was confirmed. Nothing here may outlast the soft deadline."""
        kind = "changed" if self._waiters else "heartbeat"
        waiters, self._waiters = self._waiters, []
        self._changed.clear()
        self._rev += 1
        status = msgspec.structs.replace(
            self._snapshot(), rev=self._rev, last_heartbeat=iso(self._store_time.now_ms()), epoch=self._lease.epoch
        )
        try:
            async with asyncio.timeout(min(self._lease.timing.attempt_timeout_s, self.soft_deadline - now)):
                renewal = await renew(self._store, self._lease, status, kind=kind, replicas=self._replicas)
        except Exception as error:  # noqa: BLE001  whatever it was, nothing was confirmed: the deadline stays
            self._waiters = waiters + self._waiters
            self._fail(error)
            return False
        self._store_time.observe(renewal.store_ms, sent_at=now)
        match renewal.outcome:
            case "RENEWED" if renewal.replicas < self._replicas:
                self._waiters = waiters + self._waiters
                self._fail(NotReplicated(f"{renewal.replicas} of {self._replicas} replicas confirmed the renewal."))
                return False
            case "RENEWED":
                self._lease = self._lease.renewed(now)
                if self.soft_deadline != ABANDONED:
                    self._fence.move(self._lease)  # first: the soft deadline is never past the fence
                    self.soft_deadline = self._lease.soft_deadline
                    if self._abandoned:
                        self.soft_deadline = ABANDONED
                self._recover()
                for waiter in waiters:
                    waiter.set_result(None)
                return True
            case "SUPERSEDED":  # a later write of ours has landed; this answer confirms nothing
                self._waiters = waiters + self._waiters
                return False
        self._waiters = waiters + self._waiters
        if renewal.outcome == "LOST" and succeeds(renewal.holder or b"", self._lease):
            self._end(LeaseLost("Another instance holds the exchange.", reason="taken", holder=renewal.holder))
        else:
            self._end(LeaseLost("The status key holds neither this claim nor a later one.", reason="missing"))
        return False

    def _fail(self, error: Exception) -> None:
        if not self._failing:
            self._witness.renewal_failed(error)
        self._failing = True

    def _recover(self) -> None:
        if self._failing:
            self._witness.renewal_recovered()
        self._failing = False

    def _end(self, lost: LeaseLost) -> None:
        self.over = lost  # first: whoever meets the deadline looks here for the reason
        self.soft_deadline = ABANDONED  # every thread sees it at its next check
        self._witness.lease_ended(self._lease, lost)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.set_exception(lost)
