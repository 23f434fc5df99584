"""An instance: claims an exchange, says truthfully what it does, and stops before anyone else can start.

Everything here runs on the feed's event loop, except what `Witness` names, which the coordination thread calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import structlog

from perseus import keys, lease
from perseus.clock import Clock, StoreTime, iso
from perseus.errors import ExchangeClaimed, LeaseLost, PerseusError, StaleEpoch, StopRequested
from perseus.instances.claiming import LOSS_RECORD_ATTEMPTS, Claiming, name_of, successor
from perseus.instances.coordination import Coordination, settled
from perseus.instances.fence import Fence
from perseus.instances.heartbeat import Heartbeat
from perseus.instances.identity import Identity, fresh_status
from perseus.instances.interruption import Interruption
from perseus.instances.lockfile import LockFile
from perseus.instances.progress import Progress
from perseus.instances.publication import Publication
from perseus.lease import Claimed, Lease
from perseus.model import Command, ConnectionState, DesiredState, Exchange, InstanceStatus
from perseus.store import Store, scripts
from perseus.timing import LeaseTiming

_IDLE, _STARTING, _WARMING = ConnectionState.IDLE, ConnectionState.STARTING, ConnectionState.WARMING
_ACTIVE, _STOPPING, _STOPPED = ConnectionState.ACTIVE, ConnectionState.STOPPING, ConnectionState.STOPPED

log = structlog.get_logger()


class Instance:
    """One process able to serve one exchange. Made by `perseus.instance` or `run_instance`, not by hand."""

    def __init__(
        self,
        *,
        exchange: Exchange,
        identity: Identity,
        timing: LeaseTiming,
        store: Store,
        coordination: Coordination,
        clock: Clock,
        store_time: StoreTime,
        lock_file: LockFile | None,
        store_is_local: bool,
        replicas: int = 0,
        fence: Fence | None = None,
    ) -> None:
        self.exchange = exchange
        self.identity = identity
        self.timing = timing
        self.store = store
        self.clock = clock
        self.store_time = store_time
        self.commands_after = "0-0"  # the newest command before this tenure
        self.command_handlers: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {}
        self._coordination = coordination
        self._replicas = replicas
        self._fence = fence or Fence()
        self._loop = asyncio.get_running_loop()
        self._claiming = Claiming(
            store=store,
            clock=clock,
            store_time=store_time,
            exchange=exchange,
            instance_id=identity.instance_id,
            timing=timing,
            lock_file=lock_file,
            store_is_local=store_is_local,
            replicas=replicas,
        )
        self.record_late_losses = self._claiming.record_late
        self.answers = coordination.answers  # the thread that renews the lease
        self._said = Publication(
            fresh_status(exchange, identity, timing, now=iso(store_time.now_ms())),
            exchange=exchange,
            coordination=coordination,
            clock=clock,
            store_time=store_time,
            attempt_timeout_s=timing.attempt_timeout_s,
        )
        self._lease: Lease | None = None
        self._heartbeat: Heartbeat | None = None
        self._renewing: Future[None] | None = None
        self._interruption = Interruption(on_loss=self._end)
        self._start_request: tuple[str, str] | None = None
        self._last_tick = clock.now()

    # -- what a feed needs ------------------------------------------------------------------------------------------

    @property
    def state(self) -> ConnectionState:
        """The state last entered."""
        return self._said.state

    @property
    def status(self) -> InstanceStatus:
        """The payload as the next heartbeat will publish it (`rev` and `lastHeartbeat` are set when it is sent)."""
        return self._said.snapshot()

    @property
    def epoch(self) -> int:
        """The fencing token of this tenure: send it with every write. Raises: LeaseLost before the claim."""
        return self._held_lease().epoch

    @property
    def claim_id(self) -> str:
        """What the status key must hold for our writes to be accepted. Raises: LeaseLost before the claim."""
        return self._held_lease().claim_id

    @property
    def holds(self) -> bool:
        """Whether the lease is held and its soft deadline ahead."""
        heartbeat = self._heartbeat
        return heartbeat is not None and self._interruption.lost is None and self.clock.now() < heartbeat.soft_deadline

    def ensure_held(self) -> None:
        """Return if this instance may emit now. No I/O: call it before every write. Raises: LeaseLost."""
        if not self.holds:
            raise self._lost()

    def saw_message(self) -> None:
        """A market message arrived now; it becomes `lastMessageAt` with the next heartbeat."""
        self._said.saw_message()

    async def report_error(self, error: BaseException | str) -> None:
        """Log an error and keep it as `lastError` until the next active (FIX-02). Never fails, needs no status.

        A repeated error is logged at once, then at most once a minute with its count.
        """
        self._said.error(error)

    async def set_symbol_count(self, count: int) -> None:
        """Publish how many symbols are followed, at once if it changed."""
        if count != self._said.status.symbol_count:
            self._said.change(symbol_count=count)

    async def set_public_ip(self, address: str) -> None:
        """Publish the public IP address once it is known (REG-05)."""
        self._said.change(ip_address=address)

    async def write_value(self, key: str, value: str | bytes, *, ttl_s: int) -> None:
        """Set a key of this exchange, if the status key still holds our claim. Raises: LeaseLost, StaleEpoch."""
        self.ensure_held()
        reply = await self.store.run(
            scripts.WRITE_VALUE, keys=[keys.status(self.exchange.id), key], args=[self.claim_id, value, ttl_s]
        )
        if reply[0] != b"OK":
            raise self.refused(reply[1])

    def refused(self, holder: bytes) -> StaleEpoch:
        """The error for a write the store refused; `holder` is what the status key held (`b""`: nothing)."""
        epoch = self._said.status.epoch
        return StaleEpoch(
            f'The store refused a write of "{self.exchange.name}" at epoch {epoch}: the status key holds '
            f"{'another claim' if holder else 'nothing'}. Nothing was written; this instance has stopped emitting.",
            reason="taken" if holder else "missing",
            holder=holder or None,
            epoch=epoch,
        )

    def on_command(self, name: str) -> Callable[[Callable[[dict[str, Any]], Awaitable[None]]], None]:
        """Register a handler for a command of this name; it gets the command's payload. Use as a decorator."""

        def register(handler: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
            self.command_handlers[name] = handler

        return register

    # -- phases -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Cancel the block the moment the lease is lost or a stop is asked for; raise LeaseLost or StopRequested."""
        self._raise_if_interrupted()
        async with self._interruption.block():
            yield

    async def begin(self, *, by: str = "", reason: str = "") -> None:
        """Enter `starting`, and keep that the exchange is meant to run."""
        wanted = DesiredState(state="running", by=by, at=iso(self.store_time.now_ms()))
        try:
            await self._transition(_STARTING, reason=reason, desired_state=wanted)
        finally:
            self._start_request = None
            self._said.notify()

    @asynccontextmanager
    async def warming(self, *, symbol_count: int) -> AsyncIterator[Progress]:
        """`warming` for the block; from `idle` by way of `starting`. The block is cancelled if the lease is lost.

        `symbol_count`: 0 while nobody knows how many there will be; `set_symbol_count` and `Progress.update` say it.
        Raises out of the block: LeaseLost, StopRequested.
        """
        async with self.working():
            if self.state is _IDLE:
                await self.begin()
            await self.set_symbol_count(symbol_count)
            if self.state is not _WARMING:
                await self._transition(_WARMING)
            progress = Progress(
                self.exchange.name,
                write=lambda value, ttl_s: self.write_value(keys.warmup(self.exchange.id), value, ttl_s=ttl_s),
                clock=self.clock,
                store_time=self.store_time,
                total=symbol_count,
            )
            yield progress
            await progress.finish()

    @asynccontextmanager
    async def active(self) -> AsyncIterator[None]:
        """`active` for the block, which is cancelled the moment the lease is lost or a stop is asked for.

        Raises out of the block: LeaseLost, StopRequested.
        """
        async with self.working():
            await self._transition(_ACTIVE)
            yield

    @asynccontextmanager
    async def filling_gap(self, *, reason: str) -> AsyncIterator[None]:
        """`active → warming` for the block, then `active` again: data with a hole in it is not called active."""
        await self._transition(_WARMING, reason=reason)
        yield
        await self._transition(_ACTIVE, reason=f"{reason}: filled")

    # -- start and stop ---------------------------------------------------------------------------------------------

    @property
    def may_start(self) -> bool:
        """False if an admin stopped this exchange and nobody has started it since."""
        desired = self._said.status.desired_state
        return desired is None or desired.state != "stopped"

    @property
    def is_start_pending(self) -> bool:
        """Whether a start was asked for and `starting` has not been entered yet."""
        return self._start_request is not None

    def request_start(self, *, by: str, reason: str) -> None:
        """Let `wait_for_start` return."""
        self._start_request = (by, reason)
        self._said.notify()

    async def wait_for_start(self) -> tuple[str, str]:
        """Wait in `idle` or `stopped` until a start is asked for; by whom, why. Raises: LeaseLost, StopRequested."""
        async with self.working():
            await self.wait_until(lambda: self._start_request is not None)
        return self._start_request or ("", "")

    async def request_stop(self, *, by: str, why: str, lasting: bool) -> None:
        """Enter `stopping` and cancel the work, whose block then raises StopRequested.

        `lasting`: an admin wants it stopped, so whoever claims next stays idle. A signal only ends this process.
        Raises: LeaseLost if the tenure ends meanwhile.
        """
        wanted = DesiredState(state="stopped", by=by, at=iso(self.store_time.now_ms())) if lasting else None
        self._start_request = None
        self._said.notify()
        if wanted is not None and (self._interruption.stop is not None or self.state is _STOPPED):
            self._said.change(desired_state=wanted)
        if self._interruption.stop is not None:
            return
        reason = f"{by}: {why}" if why else by
        stop = StopRequested(f"Stopped by {reason}.", by=by, why=why, is_lasting=lasting)
        self._interruption.stop = stop
        if self.state is not _STOPPED or self._said.is_changing:  # then the log says already that it starts
            await self._said.transition(_STOPPING, reason=reason, desired_state=wanted)
        if self._interruption.stop is stop:
            self._interruption.cancel(stop)

    async def finish_stop(self) -> None:
        """Enter `stopped`: call once all work has ended."""
        await self._said.settle_transitions()  # `stopping` is entered first, however early the work ended
        if self.state is _STOPPING:
            await self._said.transition(_STOPPED)
        self._interruption.stop = None

    def log_command(self, command: Command, *, outcome: str, reason: str) -> None:
        """Keep in the activity log what became of a command."""
        self._said.put(
            "command",
            commandId=command.id,
            command=command.type,
            issuedBy=command.issuer,
            outcome=outcome,
            reason=reason or command.reason,
        )

    async def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait until this is so of the instance; asked again whenever its status changes."""
        await self._said.wait_until(reached)

    # -- tenure -----------------------------------------------------------------------------------------------------

    async def claim(self, *, patient: bool = False) -> None:
        """Begin a tenure, recording the end of the one before, and keep it alive from here on.

        Waits where the exchange is free but must not be claimed yet. `patient`: keep trying while the store is away.
        Raises: ExchangeClaimed at the first claim, LeaseLost at a later one, ExchangeMisnamed, UnreadableKey,
        StoreUnavailable (unless patient), StoreDenied.
        """
        self._fence.disarm()  # the work of the tenure before has ended
        self._notice_loss()
        lapsed, stop, previous = self._interruption.lost, self._interruption.stop, self._said.status
        own_deadline = self._heartbeat.lease.soft_deadline if self._heartbeat else 0.0
        self._end_heartbeat()
        self._lease = None
        tenure = {
            "connection_state": _STOPPED if self.state is _STOPPED else _IDLE,
            "connected_at": None,
            "symbol_count": 0,
            "rev": 0,
        }
        first = msgspec.structs.replace(
            previous,
            **tenure,
            claim_id=None,
            epoch=None,
            last_heartbeat=iso(self.store_time.now_ms()),
            registered_at=None,
        )
        claimed = await self._claim(first, own_deadline=own_deadline, patient=patient, is_first=previous.epoch is None)
        self._lease, before = claimed.lease, successor(claimed.before, previous)
        self._interruption.lost = None
        if stop is not None and stop is self._interruption.stop and stop.is_lasting:
            self._interruption.stop = None  # it ended the tenure before; one that came since has yet to be obeyed
        now = iso(self.store_time.now_ms())
        self._said.begin_tenure(
            msgspec.structs.replace(
                self._said.status,
                **tenure,
                claim_id=claimed.lease.claim_id,
                epoch=claimed.lease.epoch,
                lock_file=self._claiming.lock_file,
                registered_at=now,
                last_state_change=now,
                desired_state=before.desired_state if before else self._said.status.desired_state,
            )
        )
        await self._claiming.record_loss(before, until=claimed.lease.sent_at + self.timing.interval_s)
        if before is None and lapsed is not None and lapsed.reason != "taken":
            told = self._said.put("lease_lapsed", about=previous, reason=lapsed.reason, newEpoch=claimed.lease.epoch)
            # before our first renewal overwrites its snapshot, from which others would tell of it if we died now
            await settled(told, timeout_s=LOSS_RECORD_ATTEMPTS * self.timing.attempt_timeout_s)
        self._begin_heartbeat(claimed.lease)
        log.info("claimed", exchange=self.exchange.name, epoch=claimed.lease.epoch)

    async def leave(self, *, by: str) -> None:
        """Stop if need be, flush the log, and give the exchange back. Bounded by a few attempts' time; never fails."""
        self._fence.disarm()  # all work has ended
        try:
            if self._lease is not None and self._interruption.lost is None:
                await self._give_back(self._lease, by=by)
        except PerseusError as error:
            log.warning("release_failed", exchange=self.exchange.name, error=str(error), lease_s=self.timing.ttl_s)
        self._end_heartbeat()
        await self._said.flush()

    async def tick(self) -> None:
        """Show the heartbeat that this loop is alive, and look at the deadline, for ever."""
        while True:
            self._last_tick = self.clock.now()
            self._notice_loss()
            await self.clock.sleep(min(1.0, self.timing.interval_s / 4))

    async def _claim(self, status: InstanceStatus, *, own_deadline: float, patient: bool, is_first: bool) -> Claimed:
        try:
            self.commands_after = await self._claiming.newest_command(patient=patient)
            return await self._claiming.claim(status, patient=patient, own_deadline=own_deadline)
        except ExchangeClaimed as taken:
            if is_first:
                raise
            self._said.put("lease_lost", reason="taken", holder=taken.status.hostname)
            raise LeaseLost(f"The lease is lost. {taken}", reason="taken") from taken

    async def _give_back(self, held: Lease, *, by: str) -> None:
        heartbeat = self._heartbeat
        if heartbeat is None:  # interrupted while claiming: the snapshot of the tenure before must stay
            await self._claiming.abandon(held.claim_id)
            return
        await self._said.settle_transitions()
        if self.state not in (_STOPPING, _STOPPED):
            await self._said.transition(_STOPPING, reason=by)
        if self.state is _STOPPING:
            await self._said.transition(_STOPPED, reason=by)
        await self._said.flush()
        self._end_heartbeat()
        now_ms = self.store_time.now_ms()
        final = msgspec.structs.replace(self.status, rev=heartbeat.next_rev, last_heartbeat=iso(now_ms))
        await self._claiming.release(held, final, by=by)

    def _begin_heartbeat(self, held: Lease) -> None:
        self._last_tick = self.clock.now()
        if self._last_tick < held.soft_deadline:  # else this tenure is over before any work of it has begun
            self._fence.begin(held)
        self._heartbeat = self._said.heartbeat = Heartbeat(
            store=self._coordination.store,
            clock=self.clock,
            store_time=self.store_time,
            lease=held,
            snapshot=self._said.snapshot,
            last_tick=lambda: self._last_tick,
            loop=self._coordination.loop,
            witness=self,
            fence=self._fence,
            replicas=self._replicas,
        )
        self._renewing = self._coordination.submit(self._heartbeat.run())

    def _end_heartbeat(self) -> None:
        """Renew no more. One under way may still land: it names its own claim, so it can only find it gone."""
        if self._renewing is not None:
            self._renewing.cancel()
        self._heartbeat = self._said.heartbeat = self._renewing = None

    # -- Witness: called on the coordination thread -----------------------------------------------------------------

    def lease_ended(self, ended: Lease, lost: LeaseLost) -> None:
        """Tell the feed's loop."""
        self._loop.call_soon_threadsafe(self._end_of, ended, lost)

    def renewal_failed(self, error: Exception) -> None:
        """Warn; the deadline stays where it was."""
        log.warning("renewal_failed", exchange=self.exchange.name, error=str(error) or type(error).__name__)

    def renewal_recovered(self) -> None:
        """Say that renewals are confirmed again."""
        log.info("renewal_recovered", exchange=self.exchange.name)

    def loop_blocked(self, for_s: float) -> None:
        """Log that the feed's loop hangs, so that the loss which may follow has its reason on record."""
        text = f"loop_blocked: the event loop has not run for {for_s:.1f} s; the lease is not renewed until it does"
        log.error("loop_blocked", exchange=self.exchange.name, for_s=round(for_s, 1))
        self._said.put("error", error=text, state=self.state.value, count=1)

    # -- inside -----------------------------------------------------------------------------------------------------

    async def _transition(
        self, to_state: ConnectionState, *, reason: str = "", desired_state: DesiredState | None = None
    ) -> None:
        """Enter a state as part of the work, which must not go on if it has been interrupted."""
        await self._said.transition(
            to_state, reason=reason, desired_state=desired_state, unless=self._raise_if_interrupted
        )

    def _end_of(self, ended: Lease, lost: LeaseLost) -> None:
        """Take the end of that tenure, unless the next has begun."""
        if self._lease is not None and self._lease.claim_id == ended.claim_id:
            self._end(lost)

    def _notice_loss(self) -> None:
        """Take the end of the tenure if it is over and this loop has yet to be told."""
        if self._heartbeat is not None and self._interruption.lost is None and not self.holds:
            self._end(self._lost())

    def _end(self, lost: LeaseLost) -> None:
        """Take the end of the tenure, once: nothing passes `ensure_held` from here on, and the work is cancelled."""
        if self._interruption.lost is not None:
            return
        if lost.holder is not None and self._lease is not None and not lease.succeeds(lost.holder, self._lease):
            lost = LeaseLost(f"{lost} The store shows a tenure from before ours.", reason="missing")
        self._interruption.lost = lost
        if self._heartbeat is not None:
            self._heartbeat.abandon()
        if lost.holder is not None:
            self._claiming.saw_holder(lost.holder)
            self._said.put("lease_lost", reason=lost.reason, holder=name_of(lost.holder))
        log.error("lease_lost", exchange=self.exchange.name, epoch=self._said.status.epoch, reason=lost.reason)
        self._interruption.cancel(lost)

    def _raise_if_interrupted(self) -> None:
        if self._interruption.reason is not None:
            raise self._interruption.reason
        self.ensure_held()

    def _held_lease(self) -> Lease:
        if self._lease is None:
            raise self._lost()
        return self._lease

    def _lost(self) -> LeaseLost:
        over = self._heartbeat.over if self._heartbeat else None
        unconfirmed = LeaseLost(
            f'This instance does not hold "{self.exchange.name}": no renewal was confirmed in time. Emit nothing.',
            reason="expired",
        )
        return self._interruption.lost or over or unconfirmed
