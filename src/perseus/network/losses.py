"""Whoever notices a death records it, so that a crash is on record although nobody claims the exchange.

What can be lost is the tenure that `last` tells of: it was renewed at least once, and never released. It is lost

| its key | when |
| --- | --- |
| ran out under our eyes | at once, if we saw it begin or renewed |
| vanished before the expiry last observed, or was never seen by us | an interval past its expiry |
| is another holder's, who has not renewed yet or is a program that records nothing | an interval past its expiry |
| is still there, unreadable or without TTL | never: nobody can claim either; the card says what to do |

and else only when the server has been up, and answered us, for so long that a living holder would have claimed again:
it may have come back with old data. What we saw written since then is not old. (An instance that comes back under a new
epoch tells its own `lease_lapsed`.)
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from perseus import activity, keys
from perseus.clock import Clock
from perseus.errors import PerseusError, StoreUnavailable, UnreadableKey
from perseus.lease import FOREIGN_TTL_MS, decode_status, heartbeat_age_ms
from perseus.model import SEEDED_EXCHANGES, Exchange, InstanceStatus
from perseus.network.cards import FOREIGN_INTERVAL_MS
from perseus.store import Store, scripts

LOOK_EVERY_S = 1.0
LEAST_PAUSE_S = 0.01
LOOKS_AT_ONCE = 16  # each takes a connection of its own
LOOKS_A_SECOND = 100  # of very many exchanges each is looked at less often, unless something is due
LEAST_OFTEN_S = 3.0  # less than BLIND_S, by more than a look may be late
AFTER_EXPIRY_S = 0.002
AT_EXPIRY_S = 0.5  # less than any margin: gone this close to its expiry, a key has expired, and its holder had stopped
RETURN_S = 8.0  # claimers wait up to a TTL and 5 s, by whole seconds, and ask once a second
BLIND_S = 5.0  # without looking for longer, we were paused or suspended, and the instances perhaps with us
LONGEST_MS = 10**10  # of a lease or an interval: another program may have written a number that no float holds
UNRECORDED_KEPT = 8  # of one exchange, while its log cannot be written


class Look(NamedTuple):
    """What the store held about one exchange. Units: boot-time seconds by our clock, milliseconds by the store's.

    `status` None: no key; `ttl_ms` as PTTL says it.
    """

    sent_at: float
    received_at: float
    store_ms: int
    uptime_s: int  # -1: the server does not say
    run_id: str
    ttl_ms: int
    status: bytes | UnreadableKey | None
    last: bytes | UnreadableKey | None


@dataclass
class _Tenure:
    """The tenure of `last`, and when its lease ends, boot-time seconds."""

    snapshot: InstanceStatus
    ends_at: float = 0.0
    was_seen: bool = False  # its status key, by us
    was_written: bool = False  # under our eyes, by the server as it is up now
    vanished_early: bool = False
    is_settled: bool = False

    @property
    def name(self) -> tuple[str | None, int]:
        return self.snapshot.instance_id, self.snapshot.epoch or 0

    @property
    def ttl_s(self) -> float:
        return min(self.snapshot.ttl_ms or FOREIGN_TTL_MS, LONGEST_MS) / 1000

    @property
    def interval_s(self) -> float:
        return min(self.snapshot.heartbeat_interval_ms or FOREIGN_INTERVAL_MS, LONGEST_MS) / 1000


class Watched:
    """What a watcher knows of one exchange, and concludes. No I/O: answers are given.

    `unrecorded`: the tenures found lost, until they are on record.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.unrecorded: deque[InstanceStatus] = deque(maxlen=UNRECORDED_KEPT)
        self._tenure: _Tenure | None = None
        self._newest_epoch = 0
        self._is_new = True
        self._is_first_look = True  # at this server, since it is up and we have not been blind
        self._run_id: str | None = None  # None: it did not answer when last asked
        self._looked_at = 0.0
        self._trusted_since = 0.0  # boot-time seconds: since then this server is up and we have not been blind

    @property
    def due_at(self) -> float:
        """When a look may conclude something new although nothing is written, boot-time seconds."""
        tenure = self._tenure
        if tenure is None or tenure.is_settled:
            return math.inf
        ends = (tenure.ends_at + AFTER_EXPIRY_S, tenure.ends_at + tenure.interval_s, self._trusted_at(tenure))
        return min((moment for moment in ends if moment > self._looked_at), default=math.inf)

    def wants_look(self, *, now: float, rest_s: float) -> bool:
        """Whether the last look is so long ago, or something may be concluded or is to be recorded."""
        return now >= self._looked_at + rest_s or now >= self.due_at or bool(self.unrecorded) or self._run_id is None

    def lost_sight(self) -> None:
        """The store gave no answer: whatever vanished meanwhile may have been lost by it."""
        self._is_new, self._run_id = False, None

    def see(self, look: Look) -> None:
        """Take an answer into account. Raises: UnreadableKey if `last` cannot be read; nothing is concluded then."""
        self._judge_server(look)
        holder = self._holder(look)
        if isinstance(holder, InstanceStatus):
            self._acquit(holder)
        tenure = self._last_tenure(look)
        if tenure is None or isinstance(holder, UnreadableKey):
            return
        if holder is not None and self._is_alive(tenure, holder, look):
            return
        if not tenure.is_settled and self._is_over(tenure, look, is_gone=holder is None):
            tenure.is_settled = True
            self.unrecorded.append(tenure.snapshot)

    def _judge_server(self, look: Look) -> None:
        is_other = look.run_id != self._run_id or look.sent_at - self._looked_at > BLIND_S
        self._is_first_look = self._is_new or is_other
        if self._is_new:
            self._trusted_since = look.received_at - max(0, look.uptime_s)
        elif is_other:
            self._trusted_since = look.received_at
        if self._is_first_look and self._tenure is not None:
            self._tenure.was_written = False
        self._is_new, self._run_id, self._looked_at = False, look.run_id, look.received_at

    def _holder(self, look: Look) -> InstanceStatus | UnreadableKey | None:
        if not isinstance(look.status, bytes):
            return look.status
        try:
            return decode_status(look.status, keys.status(self.exchange.id))
        except UnreadableKey as error:
            return error

    def _acquit(self, holder: InstanceStatus) -> None:
        """An instance that holds a later tenure lives, whatever we concluded; it tells of its lapse itself."""
        for dead in list(self.unrecorded):
            if dead.instance_id == holder.instance_id and (dead.epoch or 0) < (holder.epoch or 0):
                self.unrecorded.remove(dead)

    def _last_tenure(self, look: Look) -> _Tenure | None:
        """The tenure that may have been lost: not one given back, nor one that a store with old data brings back."""
        if look.last is None:
            return None
        if isinstance(look.last, UnreadableKey):
            raise look.last
        key = keys.last(self.exchange.id)
        last = decode_status(look.last, key)
        if last.exchange_name != self.exchange.name:
            other = f'it names exchange "{last.exchange_name}"'
            raise UnreadableKey(f"Key {key} is of another exchange: {other}.", key=key, reason=other)
        epoch = last.epoch or 0
        if last.instance_id is None or last.released_at is not None or epoch < self._newest_epoch:
            return None
        self._newest_epoch = epoch
        if self._tenure is None or self._tenure.name != (last.instance_id, epoch):
            self._tenure = _Tenure(last)
        elif self._tenure.snapshot.last_heartbeat == last.last_heartbeat:
            return self._tenure
        self._tenure.snapshot = last
        self._tenure.was_written = not self._is_first_look
        self._tenure.ends_at = max(self._tenure.ends_at, _end_by_heartbeat(self._tenure, look))
        return self._tenure

    def _is_alive(self, tenure: _Tenure, holder: InstanceStatus, look: Look) -> bool:
        """Whether the key is this tenure's, or of a later one of the same instance."""
        if (holder.instance_id, holder.epoch or 0) == tenure.name:
            tenure.was_seen, tenure.vanished_early = True, False
            tenure.is_settled = False  # if it was found lost, that was on a primary cut off from it: its end is to come
            if look.ttl_ms >= 0:
                tenure.ends_at = look.sent_at + look.ttl_ms / 1000
            return True
        return holder.instance_id is not None and holder.instance_id == tenure.snapshot.instance_id

    def _is_over(self, tenure: _Tenure, look: Look, *, is_gone: bool) -> bool:
        """Whether the tenure ended for certain: see the table on top."""
        now = look.received_at
        if is_gone and now < tenure.ends_at - AT_EXPIRY_S:
            tenure.vanished_early = True
        ran_out = is_gone and tenure.was_seen and not tenure.vanished_early
        certain_at = tenure.ends_at + (-AT_EXPIRY_S if ran_out else tenure.interval_s)
        trusted_at = 0.0 if ran_out and tenure.was_written else self._trusted_at(tenure)
        return now >= max(certain_at, trusted_at)

    def _trusted_at(self, tenure: _Tenure) -> float:
        """When the server has been up and answering for so long that a living holder would have claimed again."""
        return self._trusted_since + tenure.ttl_s + tenure.interval_s + RETURN_S


def _end_by_heartbeat(tenure: _Tenure, look: Look) -> float:
    """When the lease ends by its last heartbeat; one that is unreadable or in the future counts as of now."""
    age_ms = heartbeat_age_ms(tenure.snapshot, now_ms=look.store_ms)
    left_s = tenure.ttl_s if age_ms is None else tenure.ttl_s - age_ms / 1000
    return look.received_at + min(max(0.0, left_s), tenure.ttl_s)


class LossWatch:
    """Watches all exchanges and records each loss once, together with any number of other watchers and claimers.

    `detected_by` names this watcher in the record. `on_record` is told of each loss that it was first to record,
    `on_trouble`, once, why something cannot be watched or recorded. A store that is away is no trouble: nothing is
    recorded then, and nothing guessed.
    """

    def __init__(  # each is one independent property
        self,
        store: Store,
        *,
        clock: Clock,
        detected_by: str,
        on_record: Callable[[InstanceStatus], None],
        on_trouble: Callable[[str], None],
        exchanges: Callable[[], Sequence[Exchange]] = lambda: SEEDED_EXCHANGES,
    ) -> None:
        """`exchanges` is asked before every look."""
        self._store = store
        self._clock = clock
        self._detected_by = detected_by
        self._on_record = on_record
        self._on_trouble = on_trouble
        self._exchanges = exchanges
        self._watched: dict[tuple[int, str], Watched] = {}
        self._at_once = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._told: dict[tuple[int, str], str] = {}

    async def run(self) -> None:
        """Look at every exchange once a second and at the moment the next lease is due to expire, for ever."""
        while True:
            await self.look()
            await self._clock.sleep(self.pause_s())

    def pause_s(self) -> float:
        """How long to wait for the next look: a second, or until a loss can be concluded."""
        due_at = min((watched.due_at for watched in self._watched.values()), default=math.inf)
        return min(LOOK_EVERY_S, max(LEAST_PAUSE_S, due_at - self._clock.now()))

    async def look(self) -> None:
        """Look at every exchange, and record what is found lost. One that fails does not hold up the others."""
        known, exchanges = self._watched, {(each.id, each.name): each for each in self._exchanges()}
        self._watched = {key: known.get(key) or Watched(exchange) for key, exchange in exchanges.items()}
        now = self._clock.now()
        rest_s = min(LEAST_OFTEN_S, len(exchanges) / LOOKS_A_SECOND) if len(exchanges) > LOOKS_A_SECOND else 0.0
        async with asyncio.TaskGroup() as tasks:
            for watched in self._watched.values():
                if not watched.wants_look(now=now, rest_s=rest_s):
                    continue
                tasks.create_task(self._look_at(watched), name=f"losses of {watched.exchange.name}")

    async def _look_at(self, watched: Watched) -> None:
        exchange = watched.exchange
        try:
            async with self._at_once:
                look = await _look(self._store, exchange, self._clock)
        except PerseusError as error:
            watched.lost_sight()
            if not isinstance(error, StoreUnavailable):
                self._tell(exchange, "status", f"Losses cannot be noticed: {error}")
            return
        self._tell(exchange, "status", "")
        try:
            watched.see(look)
        except UnreadableKey as error:
            self._tell(exchange, "last", f"{exchange.name}: a loss could not be noticed: {error}")
        else:
            self._tell(exchange, "last", "")
        while watched.unrecorded and await self._record(watched, watched.unrecorded[0], store_ms=look.store_ms):
            watched.unrecorded.popleft()

    async def _record(self, watched: Watched, dead: InstanceStatus, *, store_ms: int) -> bool:
        """Whether the loss is on record now; if not, it is tried again at the next look: the script writes it once."""
        try:
            is_first = await activity.record_loss(
                self._store, dead=dead, detected_by=self._detected_by, store_ms=store_ms, host_ms=self._clock.wall_ms()
            )
        except PerseusError as error:
            name = watched.exchange.name
            self._tell(watched.exchange, "log", f"{name}: the loss of {dead.hostname} is not on record yet: {error}")
            return False
        self._tell(watched.exchange, "log", "")
        if is_first:
            self._on_record(dead)
        return True

    def _tell(self, exchange: Exchange, about: str, trouble: str) -> None:
        """Tell of a trouble when it begins; `""` ends it."""
        if trouble and trouble not in self._told.values():
            self._on_trouble(trouble)
        self._told[exchange.id, about] = trouble


async def _look(store: Store, exchange: Exchange, clock: Clock) -> Look:
    """One atomic look, routed to the server that holds this exchange's keys (scripts/look.lua)."""
    status_key, last_key = keys.status(exchange.id), keys.last(exchange.id)
    sent_at = clock.now()
    reply: list[Any] = await store.run(scripts.LOOK, keys=[status_key, last_key], args=[])
    store_us, uptime_s, run_id, ttl_ms, status, status_fault, last, last_fault = reply
    return Look(
        sent_at=sent_at,
        received_at=clock.now(),
        store_ms=int(store_us) // 1000,
        uptime_s=int(uptime_s),
        run_id=run_id.decode(),
        ttl_ms=ttl_ms,
        status=_value(status, status_fault, status_key) if ttl_ms != -2 else None,
        last=_value(last, last_fault, last_key) if last or last_fault else None,
    )


def _value(raw: bytes, fault: bytes, key: str) -> bytes | UnreadableKey:
    if not fault:
        return raw
    reason = fault.decode(errors="replace")
    return UnreadableKey(f"Key {key} cannot be read: {reason}.", key=key, reason=reason)
