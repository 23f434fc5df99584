"""What an instance says of itself: the payload, and the log of its transitions and errors. Log first, then publish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import msgspec
import structlog

from perseus.activity import RETRY_S, ActivityLog
from perseus.clock import Clock, StoreTime, iso
from perseus.errors import LeaseLost
from perseus.instances import lifecycle
from perseus.instances.coordination import Coordination, settled
from perseus.instances.errorlog import ErrorEpisodes, one_line
from perseus.instances.heartbeat import Heartbeat
from perseus.model import ConnectionState, DesiredState, Exchange, InstanceStatus

log = structlog.get_logger()


class Publication:
    """The current status of an instance, its transitions, and everything it appends to the activity log.

    `heartbeat` carries the payload to the store while there is one; without it changes wait for the next claim.
    """

    def __init__(
        self,
        status: InstanceStatus,
        *,
        exchange: Exchange,
        coordination: Coordination,
        clock: Clock,
        store_time: StoreTime,
        attempt_timeout_s: float,
    ) -> None:
        self.status = status
        self._heartbeat: Heartbeat | None = None
        self._exchange = exchange
        self._coordination = coordination
        self._clock = clock
        self._store_time = store_time
        self._attempt_timeout_s = attempt_timeout_s
        self._log = ActivityLog(
            coordination.store,
            clock=clock,
            store_time=store_time,
            exchange=exchange,
            loop=coordination.loop,
            on_failure=lambda error: log.warning("activity_log_waits", exchange=exchange.name, error=str(error)),
        )
        self._writing = coordination.submit(self._log.run())
        self._errors = ErrorEpisodes()
        self._transitions = asyncio.Lock()
        self._changed = asyncio.Event()
        self._message_at: float | None = None

    @property
    def heartbeat(self) -> Heartbeat | None:
        """What carries the payload to the store; None between tenures."""
        return self._heartbeat

    @heartbeat.setter
    def heartbeat(self, heartbeat: Heartbeat | None) -> None:
        self._heartbeat = heartbeat
        self.notify()  # a tenure has begun, or ended

    @property
    def state(self) -> ConnectionState:
        """The state last entered."""
        return self.status.connection_state

    @property
    def is_changing(self) -> bool:
        """Whether a transition is under way."""
        return self._transitions.locked()

    def snapshot(self) -> InstanceStatus:
        """The payload as the next renewal sends it, but for what is set then. Any thread."""
        status, message_at = self.status, self._message_at
        if message_at is None:
            return status
        ago_ms = round((self._clock.now() - message_at) * 1000)
        return msgspec.structs.replace(status, last_message_at=iso(self._store_time.now_ms() - ago_ms))

    def saw_message(self) -> None:
        """A market message arrived now."""
        self._message_at = self._clock.now()

    def put(self, event: str, *, about: InstanceStatus | None = None, **details: object) -> Future[None]:
        """Append an event to the log, about the current tenure unless another is given. Any thread."""
        return self._log.put(about or self.status, event, **details)

    def error(self, error: BaseException | str) -> None:
        """Log an error and keep it as `lastError`; a repeated one is logged at most once a minute with its count."""
        text = one_line(error)
        log.warning("instance_error", exchange=self._exchange.name, error=text, state=self.state.value)
        count = self._errors.due(text, now=self._clock.now())
        if count:
            self.put("error", error=text, state=self.state.value, count=count)
        self.change(last_error=text, last_error_at=iso(self._store_time.now_ms()))

    def change(self, **fields: Any) -> None:
        """Change the payload and publish it soon."""
        self.status = msgspec.structs.replace(self.status, **fields)
        self.notify()
        if self.heartbeat is not None:
            self.heartbeat.publish()

    def begin_tenure(self, status: InstanceStatus) -> None:
        """Take the payload of a tenure just claimed; its heartbeat will publish it."""
        self.status = status
        self.notify()

    async def transition(
        self,
        to_state: ConnectionState,
        *,
        reason: str = "",
        desired_state: DesiredState | None = None,
        unless: Callable[[], None] = lambda: None,
    ) -> None:
        """Log the transition, then enter the state, then publish it; each step waits at most an attempt's time.

        `unless` raises what forbids it, and is asked when its turn has come. Raises: IllegalTransition; LeaseLost if
        the tenure ended meanwhile.
        """
        async with self._transitions:
            unless()
            status = self.status
            lifecycle.check(status.connection_state, to_state)
            written = self.put(
                "state_transition",
                fromState=status.connection_state.value,
                toState=to_state.value,
                reason=reason,
            )
            try:
                if not self._log.is_behind:
                    await settled(written, timeout_s=self._attempt_timeout_s)
            finally:  # what the log says must come true, also if the work was cancelled meanwhile
                if self.status.claim_id == status.claim_id:
                    self._enter(to_state, desired_state)
            if self.status.claim_id != status.claim_id:
                raise LeaseLost(f"The tenure ended while it was entering {to_state}.", reason="missing")
            log.info(
                to_state.value, exchange=self._exchange.name, previous=status.connection_state.value, reason=reason
            )
            await self._publish()

    async def settle_transitions(self) -> None:
        """Wait until a transition under way has been made."""
        async with self._transitions:
            return

    async def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait until this is so; asked again whenever the status changes."""
        while not reached():
            await self._changed.wait()

    async def flush(self) -> None:
        """Give the log's last entries a chance to be written, also when its last attempt has just failed."""
        await settled(self._coordination.submit(self._log.drained()), timeout_s=RETRY_S + self._attempt_timeout_s)

    def _enter(self, to_state: ConnectionState, desired_state: DesiredState | None) -> None:
        now = iso(self._store_time.now_ms())
        changes: dict[str, Any] = {"connection_state": to_state, "last_state_change": now}
        if desired_state is not None:
            changes["desired_state"] = desired_state
        if to_state is ConnectionState.STARTING:
            changes["connected_at"] = None
        if to_state is ConnectionState.ACTIVE:
            changes |= {"connected_at": self.status.connected_at or now, "last_error": None, "last_error_at": None}
        self.status = msgspec.structs.replace(self.status, **changes)
        self.notify()

    async def _publish(self) -> None:
        if self.heartbeat is not None:
            published = self.heartbeat.publish()
            if not self.heartbeat.is_failing:
                await settled(published, timeout_s=self._attempt_timeout_s)

    def notify(self) -> None:
        """Let everyone in `wait_until` ask again."""
        self._changed.set()
        self._changed = asyncio.Event()
