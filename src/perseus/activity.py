"""The activity log: one Redis stream an exchange, written in order, never in the instance's way. Both ends.

Transitions, errors, losses and commands are entries; heartbeats never are (LOG-06). All values are text, an unknown
value is `""`. Fields of every entry: `event`, `timestamp`, `exchangeId`, `exchangeName`, `hostname`, `ip`,
`adminEmail`, `instanceId`, `epoch`, `seq`; the rest depends on `event`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from perseus import keys
from perseus.clock import Clock, StoreTime, iso
from perseus.errors import PerseusError
from perseus.lease import FOREIGN_TTL_MS, heartbeat_age_ms
from perseus.model import ConnectionState, Exchange, InstanceStatus, valid_text
from perseus.store import Store, scripts

CLOCKS_AGREE_MS = 3_600_000  # beyond this one of the two clocks is wrong, and nothing is trimmed
QUEUE_LENGTH = 1000
TEXT_LENGTH = 500
TENURES_NUMBERED = 100
FIRST_RETRY_S, RETRY_S = 0.05, 1.0  # a lost connection is made again at once, a store that is away is not hammered


def min_id(*, store_ms: int, host_ms: int) -> str | None:
    """What may be trimmed: ids older than 90 days by the earlier clock; None when the clocks disagree by an hour.

    One wrong clock, whichever, can so only ever trim too little.
    """
    if abs(store_ms - host_ms) > CLOCKS_AGREE_MS:
        return None
    return str(max(0, min(store_ms, host_ms) - keys.LOG_RETENTION_MS))


def entry_fields(status: InstanceStatus, event: str, *, at_ms: int, **details: object) -> dict[str, str]:
    """One entry's fields, in the order of the documentation; None becomes `""`, long texts are cut."""
    fields = {
        "event": event,
        "timestamp": iso(at_ms),
        "exchangeId": status.exchange_id,
        "exchangeName": status.exchange_name,
        "hostname": status.hostname,
        "ip": status.ip_address,
        "adminEmail": status.admin_email,
        "instanceId": status.instance_id,
        "epoch": status.epoch,
        **details,
    }
    return {name: _text(value) for name, value in fields.items()}


def _text(value: object) -> str:
    text = "" if value is None else valid_text(str(value))
    return text if len(text) <= TEXT_LENGTH else text[: TEXT_LENGTH - 1] + "…"


@dataclass
class _Waiting:
    fields: dict[str, str]
    written: Future[None]


class ActivityLog:
    """Writes one exchange's entries in order, from any thread, keeping them while the store is away.

    `put` returns at once; `run` does the writing on the loop it is started on. When more than `QUEUE_LENGTH` entries
    wait, the oldest but the one being written is dropped; the next one written tells how many were (`dropped`).
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        store_time: StoreTime,
        exchange: Exchange,
        loop: asyncio.AbstractEventLoop,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._store_time = store_time
        self._key = keys.log(exchange.name)
        self._on_failure = on_failure
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._loop = loop
        self._dropped = 0
        self._failing = False
        self._seqs: dict[int | None, int] = {}  # the last number of each tenure, the newest tenures only
        self._order = threading.Lock()

    @property
    def is_behind(self) -> bool:
        """Whether the store did not take the last entry: waiting for the next one would be in vain."""
        return self._failing

    def put(self, status: InstanceStatus, event: str, **details: object) -> Future[None]:
        """Queue an entry about the tenure in `status`, stamped with the store's time now.

        The future is done when it was written, and fails if it had to be dropped.
        """
        with self._order:
            fields = entry_fields(
                status, event, at_ms=self._store_time.now_ms(), seq=self._next_seq(status.epoch), **details
            )
            waiting = _Waiting(fields, Future())
            self._loop.call_soon_threadsafe(self._accept, waiting)
        return waiting.written

    def _next_seq(self, epoch: int | None) -> int:
        """Numbers go on where a tenure's ended, because entries about the one before may follow those of the next."""
        seq = self._seqs.pop(epoch, 0) + 1
        self._seqs[epoch] = seq
        if len(self._seqs) > TENURES_NUMBERED:
            del self._seqs[next(iter(self._seqs))]
        return seq

    def _accept(self, waiting: _Waiting) -> None:
        if len(self._queue) >= QUEUE_LENGTH:
            self._dropped += 1
            dropped = self._queue[1]  # the first may be in the store already: its answer is awaited, or was lost
            del self._queue[1]
            dropped.written.set_exception(PerseusError("The activity log is full; the oldest entry was dropped."))
        self._queue.append(waiting)
        self._arrived.set()

    async def run(self) -> None:
        """Write entries as they come, for ever. A store that is away is tried again every second."""
        pause_s = FIRST_RETRY_S
        while True:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            waiting = self._queue[0]
            try:
                await self._write(waiting.fields)
            except PerseusError as error:
                if not self._failing:
                    self._on_failure(error)
                pause_s = min(RETRY_S, 2 * pause_s) if self._failing else FIRST_RETRY_S
                self._failing = True
                await self._clock.sleep(pause_s)
            except Exception as error:  # noqa: BLE001  one entry that cannot be written must not silence the rest
                self._on_failure(error)
                self._dropped += 1
                self._done(waiting, error)
            else:
                self._failing = False
                self._done(waiting)

    def _done(self, waiting: _Waiting, error: Exception | None = None) -> None:
        self._queue.popleft()  # it is still the first: only later ones are dropped
        if error is None:
            waiting.written.set_result(None)
        else:
            waiting.written.set_exception(error)

    async def drained(self) -> None:
        """Wait until everything queued so far has been written or dropped. On the loop `run` is on."""
        if self._queue:
            await asyncio.wait({asyncio.wrap_future(self._queue[-1].written)})

    async def _write(self, fields: dict[str, str]) -> None:
        told = self._dropped
        if told:
            fields["dropped"] = str(told)
        trim = min_id(store_ms=self._store_time.now_ms(), host_ms=self._clock.wall_ms())
        await self._store.append(self._key, fields, min_id=trim)
        self._dropped -= told  # more may have been dropped meanwhile


async def record_loss(
    store: Store,
    *,
    dead: InstanceStatus,
    detected_by: str,
    store_ms: int,
    host_ms: int,
) -> bool:
    """Append `instance_lost` for a tenure that ended without a word, unless its end is on record already.

    Atomic (scripts/record_loss.lua), so any number of watchers write it once. The outage began at `lastHeartbeat`. One
    that was stopped ended on purpose and has told so, perhaps longer ago than the script looks back.
    Returns whether this call wrote it.
    """
    if dead.connection_state is ConnectionState.STOPPED:
        return False
    age_ms = heartbeat_age_ms(dead, now_ms=store_ms)
    # a time that cannot be read, or is yet to come (the clock was set back, and entries with it), says nothing: look at
    # everything the script is willing to
    is_past = age_ms is not None and age_ms >= 0
    oldest = max(0, round(store_ms - (age_ms or 0)) - 2 * (dead.ttl_ms or FOREIGN_TTL_MS)) if is_past else 0
    fields = entry_fields(
        dead,
        "instance_lost",
        at_ms=store_ms,
        state=dead.connection_state.value,
        lastHeartbeat=dead.last_heartbeat,
        detectedBy=detected_by,
    )
    reply = await store.run(
        scripts.RECORD_LOSS,
        keys=[keys.log(dead.exchange_name)],
        args=[
            _text(dead.instance_id),
            _text(dead.epoch),
            str(oldest),
            min_id(store_ms=store_ms, host_ms=host_ms) or "",
            *(part for pair in fields.items() for part in pair),
        ],
    )
    return bool(reply[0] == b"RECORDED")


def status_of_entry(fields: Mapping[str, str]) -> dict[str, str]:
    """The identity an entry tells of, for a card whose instance left no `last` snapshot (UI-03)."""
    wanted = ("exchangeId", "exchangeName", "hostname", "ip", "adminEmail", "instanceId", "epoch", "timestamp")
    state = fields.get("toState") or fields.get("state") or ""
    return {name: fields.get(name, "") for name in wanted} | {"state": state}
