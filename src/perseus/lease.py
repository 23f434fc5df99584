"""The lease: the right to serve an exchange, held in its status key. Both ends: holder, claimer and reader.

Deadlines count from the moment a request was *sent*, on the holder's boot-time clock, so they always fall before the
key can expire in the store. A claimer that has seen a lease waits for its end on its *own* clock, because expiry in the
store is wall time and can be stepped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import msgspec

from perseus import keys
from perseus.clock import Clock, StoreTime, iso, unix_ms
from perseus.errors import (
    ExchangeClaimed,
    ExchangeMisnamed,
    ExchangeSettling,
    NotReplicated,
    PerseusError,
    StoreUnavailable,
    UnreadableKey,
)
from perseus.model import Exchange, InstanceStatus
from perseus.store import Store, scripts
from perseus.timing import LeaseTiming

FOREIGN_TTL_MS = 45_000  # what a payload without `ttlMs` is held to
LONGEST_TTL_MS = 86_400_000  # no lease is waited for longer, whatever another program wrote
REPLICAS_SHARE = 0.8  # of an attempt's time; the rest is for the way there and back
EPOCH_LIMIT = 9_007_199_254_740_000  # integers stay exact in Lua and JavaScript below 2^53


@dataclass(frozen=True)
class Lease:
    """One tenure's hold: `instance_id` + `epoch`, and when its last confirmed request was sent (boot-time seconds)."""

    exchange: Exchange
    instance_id: str
    claim_id: str
    epoch: int
    sent_at: float
    timing: LeaseTiming

    @property
    def soft_deadline(self) -> float:
        """The moment all work stops, boot-time seconds."""
        return self.sent_at + self.timing.ttl_s - self.timing.margin_s

    @property
    def hard_deadline(self) -> float:
        """The moment nothing of ours may run any more, boot-time seconds."""
        return self.sent_at + self.timing.ttl_s - self.timing.margin_s / 2

    def renewed(self, sent_at: float) -> Lease:
        """This lease after a confirmed renewal sent at `sent_at`; a deadline never moves back."""
        return replace(self, sent_at=max(self.sent_at, sent_at))


@dataclass(frozen=True)
class Claimed:
    """What a successful claim brings: the lease, and the snapshot the tenure before left, if any."""

    lease: Lease
    before: InstanceStatus | None


@dataclass(frozen=True)
class Renewal:
    """One answered attempt to renew: `outcome` RENEWED, SUPERSEDED, LOST or MISSING; `holder` if LOST.

    `replicas`: how many of those waited for have confirmed it.
    """

    outcome: str
    store_ms: float
    holder: bytes | None = None
    replicas: int = 0


def decode_status(raw: bytes, key: str) -> InstanceStatus:
    """The payload of a status or `last` key. Raises: UnreadableKey with the reason; the value is left alone."""
    try:
        return msgspec.json.decode(raw, type=InstanceStatus)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableKey(
            f"Key {key} holds something that is not a status: {error}. It was left untouched. "
            f"See it with `redis-cli GET {key}`; if no program needs it, delete it.",
            key=key,
            reason=str(error),
        ) from error


def _ttl_ms(status: InstanceStatus) -> int:
    """How long a lease of this status lasts; within reason, for other programs write what they like."""
    return min(max(0, status.ttl_ms or FOREIGN_TTL_MS), LONGEST_TTL_MS)


def heartbeat_age_ms(status: InstanceStatus, *, now_ms: int) -> float | None:
    """How long ago the last heartbeat was, by the store's clock; None if a foreign program's time cannot be read."""
    try:
        return now_ms - unix_ms(status.last_heartbeat)
    except ValueError:
        return None


def encode_status(status: InstanceStatus) -> bytes:
    """The payload as written to the store."""
    return msgspec.json.encode(status)


class Claimer:
    """Claims one exchange for one process, remembering what it has seen, so that it never claims too early."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        store_time: StoreTime,
        exchange: Exchange,
        instance_id: str,
        is_dead: Callable[[InstanceStatus], bool] = lambda _holder: False,
        replicas: int = 0,
    ) -> None:
        """`is_dead`: whether a holder is proven to have ended, so that its lease need not be waited for.

        `replicas`: how many must confirm a claim, else it is given back.
        """
        self._store = store
        self._clock = clock
        self._store_time = store_time
        self._exchange = exchange
        self._instance_id = instance_id
        self._is_dead = is_dead
        self._replicas = replicas
        self._floor = 0
        self._held_epoch = 0  # of our own last tenure
        self._past: tuple[str | None, int | None] = (None, None)  # claim and rev of a holder from before that
        # boot-time seconds, all three:
        self._not_before = 0.0  # the end of the last lease seen
        self._future_since: tuple[str, float] | None = None  # a `last` heartbeat ahead of the store's clock, since when
        self._blind_since: float | None = None  # claims answered by a server that does not say how long it is up

    def know_epoch(self, epoch: int | None) -> None:
        """Remember an epoch that exists or existed: ours will be higher. What cannot be an epoch is ignored."""
        if epoch is not None and 0 <= epoch < EPOCH_LIMIT:
            self._floor = max(self._floor, epoch)

    def saw_holder(self, raw: bytes) -> None:
        """Take the epoch of another holder's payload into account, as far as it can be read."""
        try:
            self.know_epoch(decode_status(raw, "").epoch)
        except UnreadableKey:
            return  # a foreign program's value has no epoch to know

    async def claim(
        self, status: InstanceStatus, *, timing: LeaseTiming, must_settle: bool, is_durable: bool = False
    ) -> Claimed:
        """Claim the exchange with `status` as its first payload (its epoch is set by the store).

        Idempotent: `status.claim_id` may be sent again after a lost reply. `must_settle`: the server must have been the
        primary for a TTL and a second (after a failover four more), because one that restarted or took over may have
        lost a lease that still runs; `is_durable`: a restart of it loses nothing.
        Raises: ExchangeClaimed, ExchangeSettling (free, but not yet), ExchangeMisnamed, UnreadableKey, NotReplicated;
        and what every call to the store raises. After StoreUnavailable the claim may have been made.
        """
        if status.claim_id is None:
            raise ValueError("a claim needs a claim_id, kept over its retries")
        try:
            reply, confirmed, sent_at = await self._attempt(
                status, timing, must_settle=must_settle, is_durable=is_durable
            )
        except StoreUnavailable:
            self._blind_since = None  # the server may be restarting
            raise
        claimed = self._concluded(reply, status=status, timing=timing, sent_at=sent_at)
        if confirmed < self._replicas:
            await self._undo(status.claim_id, confirmed=confirmed)
        self._held_epoch = claimed.lease.epoch
        return claimed

    async def _attempt(
        self, status: InstanceStatus, timing: LeaseTiming, *, must_settle: bool, is_durable: bool
    ) -> tuple[list[Any], int, float]:
        """Look, then run the script: its reply, how many replicas have confirmed it, and when it was sent."""
        replaceable, before, epoch = await self._observe()
        least_s = self._least_settled(timing, before) if must_settle else 0
        sent_at = self._clock.now()
        reply, confirmed = await _run(
            self._store,
            scripts.CLAIM,
            keys=[name(self._exchange.id) for name in (keys.status, keys.epoch, keys.last, keys.primary)],
            args=[
                status.claim_id or "",
                replaceable,
                timing.ttl_s,
                self._floor,
                self._exchange.name,
                least_s,
                int(is_durable),
                epoch,
                _without_epoch(status),
            ],
            replicas=self._replicas,
            timing=timing,
        )
        return reply, confirmed, sent_at

    async def _undo(self, claim_id: str, *, confirmed: int) -> NoReturn:
        """Give back a claim that a failover could lose, if that is possible. Raises: NotReplicated."""
        given_back = "it was given back"
        try:
            await abandon(self._store, self._exchange, claim_id)
        except PerseusError as error:
            given_back = f"it could not be given back and ends with its lease ({error})"
        raise NotReplicated(
            f"{confirmed} of {self._replicas} replicas confirmed the claim of {self._exchange.name!r} in time, so a "
            f"failover could lose it: {given_back}. See that the replicas are connected (`perseus doctor`), or lower "
            f"STORE_WAIT_REPLICAS."
        )

    def _concluded(self, reply: list[Any], *, status: InstanceStatus, timing: LeaseTiming, sent_at: float) -> Claimed:
        outcome, store_us, settled_s, _server_id, *rest = reply
        self._store_time.observe(int(store_us) / 1000, sent_at=sent_at)
        match outcome:
            case b"CLAIMED":
                epoch, last = int(rest[0]), rest[1]
                self.know_epoch(epoch)
                lease = Lease(self._exchange, self._instance_id, status.claim_id or "", epoch, sent_at, timing)
                return Claimed(lease, decode_status(last, keys.last(self._exchange.id)) if last else None)
            case b"HELD":
                if self._is_over(rest[0]):
                    raise _settling(self._exchange, 0, "a last word of the tenure before has just landed")
                raise self._refusal(rest[0], int(rest[1]))
            case b"SETTLING":
                if int(settled_s) < 0 and self._blind_since is None:
                    self._blind_since = sent_at
                raise _settling(
                    self._exchange, int(rest[0]) * 1000, "the store restarted or failed over, and may have lost a lease"
                )
            case b"CHANGED":
                raise _settling(self._exchange, 0, "another instance has claimed it in between")
            case b"MISNAMED":
                raise _misnamed(self._exchange, rest[0].decode(), rest[1])
            case b"OVER":
                raise ValueError(f"claim {status.claim_id} was used for a tenure that is over")
            case _:
                raise _unreadable(rest[0].decode(), rest[1].decode())

    async def _observe(self) -> tuple[bytes, InstanceStatus | None, bytes]:
        """Read the store's time, the status, `last` and the epoch; refuse what must not be claimed yet.

        Returns the status value that stands there and may be replaced, `last`, and the epoch key's value (`b""`: none).
        """
        status_key, last_key = keys.status(self._exchange.id), keys.last(self._exchange.id)
        sent_at = self._clock.now()
        clock, raw, pttl, last, epoch = await self._store.pipeline(
            ["TIME"],
            ["GET", status_key],
            ["PTTL", status_key],
            ["GET", last_key],
            ["GET", keys.epoch(self._exchange.id)],
        )
        for reply in (clock, raw, pttl, last, epoch):
            if isinstance(reply, Exception):
                raise reply
        self._store_time.observe(int(clock[0]) * 1000 + int(clock[1]) / 1000, sent_at=sent_at)
        before = decode_status(last, last_key) if last else None
        if before is not None:
            self.know_epoch(before.epoch)
        if raw is not None and self._is_over(raw):
            return raw, before, epoch or b""
        if raw is not None and pttl != -2:  # -2: it expired between the two reads
            raise self._refusal(raw, pttl)
        released = before is not None and before.released_at is not None and (before.epoch or 0) >= self._floor
        wait_ms = max((self._not_before - self._clock.now()) * 1000, self._rest_of(before))
        if wait_ms > 0 and not released:
            raise _settling(self._exchange, math.ceil(wait_ms), "its last lease may still be running")
        return b"", before, epoch or b""

    def _is_over(self, raw: bytes) -> bool:
        """Whether this status is of a tenure that has ended for certain: our own, or that of a process that died."""
        try:
            holder = decode_status(raw, "")
        except UnreadableKey:
            return False  # somebody's; whoever refuses says why it is unreadable
        return holder.instance_id == self._instance_id or self._is_dead(holder)

    def _seems_past(self, holder: InstanceStatus) -> bool:
        """Whether a holder may have no tenure after our own last one, and has not renewed since we first saw it.

        With an epoch below ours: the store came back with old data, then it never will. Or it failed over, and this
        tenure began where ours was not known. With a claim never renewed: perhaps it is about to be given back for want
        of replicas. Whoever renews is alive.
        """
        is_unrenewed = self._held_epoch > 0 and holder.claim_id is not None and holder.rev == 0
        if is_successor(holder, instance_id=self._instance_id, epoch=self._held_epoch) and not is_unrenewed:
            return False
        self._past = self._past if self._past[0] == holder.claim_id else (holder.claim_id, holder.rev)
        return self._past[1] == holder.rev

    def _rest_of(self, before: InstanceStatus | None) -> float:
        """Milliseconds left of the lease that `last` tells of: its key vanished before it could have expired."""
        if before is None or before.released_at is not None or before.instance_id == self._instance_id:
            return 0.0
        if self._is_dead(before):
            return 0.0
        ttl = _ttl_ms(before)
        age = heartbeat_age_ms(before, now_ms=self._store_time.now_ms())
        if age is not None and age >= 0:
            return max(0.0, ttl - age)
        # Unreadable, or ahead of the store's clock, which was stepped back: wait a whole TTL on our own clock.
        if self._future_since is None or self._future_since[0] != before.last_heartbeat:
            self._future_since = (before.last_heartbeat, self._clock.now())
        return max(0.0, ttl - (self._clock.now() - self._future_since[1]) * 1000)

    def _least_settled(self, timing: LeaseTiming, before: InstanceStatus | None) -> int:
        """How long the server must be the primary, s: the longer TTL of ours and the last one known, and a second."""
        known_s = math.ceil(_ttl_ms(before) / 1000) if before and before.ttl_ms else 0
        least = max(timing.ttl_s, known_s) + 1
        if self._blind_since is not None and self._clock.now() - self._blind_since >= least:
            return 0  # it does not say for how long it has been, but we have watched it for that long
        return least

    def _refusal(self, raw: bytes, pttl_ms: int) -> ExchangeClaimed | ExchangeSettling:
        """Why an exchange that is held cannot be claimed. Raises: UnreadableKey, ExchangeMisnamed."""
        if pttl_ms > 0:
            self._not_before = max(self._not_before, self._clock.now() + pttl_ms / 1000)
        self.saw_holder(raw)
        status = decode_status(raw, keys.status(self._exchange.id))
        if status.exchange_name != self._exchange.name:
            raise _misnamed(self._exchange, keys.status(self._exchange.id), raw)
        if pttl_ms > 0 and self._seems_past(status):
            return _settling(self._exchange, pttl_ms, "the store shows a lease that may not be alive")
        return _claimed(self._exchange, status, pttl_ms, now_ms=self._store_time.now_ms())


async def renew(store: Store, lease: Lease, status: InstanceStatus, *, kind: str, replicas: int = 0) -> Renewal:
    """Extend the lease by its TTL and publish `status`, if we still hold it: one round trip, one script.

    `status.rev` must be higher than in any attempt before; `kind` (`heartbeat` or `changed`) goes to the wake channel.
    `replicas`: how many to wait for; the caller decides what fewer mean.
    Raises: UnreadableKey if the key holds something else, and what every call to the store raises. After
    StoreUnavailable the lease may or may not have been extended: count from the last confirmed renewal.
    Does not promise that no other instance believes it holds the lease: writers are safe because every write is
    checked against the status key.
    """
    payload = encode_status(status)
    reply, confirmed = await _run(
        store,
        scripts.RENEW,
        keys=[keys.status(lease.exchange.id), keys.last(lease.exchange.id)],
        args=[
            lease.claim_id,
            status.rev or 0,
            lease.timing.ttl_s,
            payload,
            keys.LAST_TTL_S,
            keys.WAKE_CHANNEL,
            wake(lease, kind),
        ],
        replicas=replicas,
        timing=lease.timing,
    )
    outcome, store_us, *rest = reply
    if outcome == b"UNREADABLE":
        raise _unreadable(rest[0].decode(), rest[1].decode())
    return Renewal(outcome.decode(), int(store_us) / 1000, rest[0] if rest else None, confirmed)


async def release(store: Store, lease: Lease, status: InstanceStatus, *, by: str, store_ms: int) -> bool:
    """Give the exchange back: final snapshot to `last`, key deleted, in one script. False if it was not ours any more.

    Call only after all work has ended.
    """
    final = msgspec.structs.replace(status, released_at=iso(store_ms), released_by=by)
    reply = await store.run(
        scripts.RELEASE,
        keys=[keys.status(lease.exchange.id), keys.last(lease.exchange.id)],
        args=[lease.claim_id, encode_status(final), keys.LAST_TTL_S, keys.WAKE_CHANNEL, wake(lease, "released")],
    )
    return bool(reply[0] == b"RELEASED")


async def abandon(store: Store, exchange: Exchange, claim_id: str) -> None:
    """Give back a claim that may have been made and was never renewed; `last` stays as it is. Idempotent."""
    await store.run(
        scripts.RELEASE,
        keys=[keys.status(exchange.id), keys.last(exchange.id)],
        args=[
            claim_id,
            "",
            keys.LAST_TTL_S,
            keys.WAKE_CHANNEL,
            msgspec.json.encode({"exchangeId": exchange.id, "kind": "released", "epoch": 0}),
        ],
    )


def wake(lease: Lease, kind: str) -> bytes:
    """The message for the wake channel."""
    return msgspec.json.encode({"exchangeId": lease.exchange.id, "kind": kind, "epoch": lease.epoch})


def _without_epoch(status: InstanceStatus) -> bytes:
    fields: dict[str, Any] = msgspec.to_builtins(status)
    del fields["epoch"]
    return msgspec.json.encode(fields)[1:]


def succeeds(raw: bytes, lease: Lease) -> bool:
    """Whether a status value is that of another holder who came after this lease; what cannot be read is."""
    try:
        holder = decode_status(raw, "")
    except UnreadableKey:
        return True
    return is_successor(holder, instance_id=lease.instance_id, epoch=lease.epoch)


def is_successor(holder: InstanceStatus, *, instance_id: str, epoch: int) -> bool:
    """Whether a holder may have come after this instance's tenure.

    Not if it is the same instance, nor with a claim of a lower epoch: then the store came back with old data, or failed
    over. A program that makes no claims may number its epochs as it likes.
    """
    is_older = holder.claim_id is not None and holder.epoch is not None and 0 <= holder.epoch < epoch
    return holder.instance_id != instance_id and not is_older


async def _run(
    store: Store,
    script: scripts.Script,
    *,
    keys: Sequence[str],
    args: Sequence[str | bytes | int | float],
    replicas: int,
    timing: LeaseTiming,
) -> tuple[list[Any], int]:
    """Run a script of the lease; its reply, and how many of `replicas` have confirmed what it wrote."""
    if not replicas:
        return await store.run(script, keys=keys, args=args), 0
    within_s = timing.attempt_timeout_s * REPLICAS_SHARE
    return await store.run_replicated(script, keys=keys, args=args, replicas=replicas, within_s=within_s)


def _unreadable(key: str, reason: str) -> UnreadableKey:
    return UnreadableKey(
        f"Key {key} cannot be used: {reason}. Nothing was written. Another program may own it: look at it with "
        f"`redis-cli TYPE {key}`, and delete it if nobody needs it.",
        key=key,
        reason=reason,
    )


def _misnamed(exchange: Exchange, key: str, raw: bytes) -> ExchangeMisnamed:
    other = decode_status(raw, key).exchange_name
    return ExchangeMisnamed(
        f'Exchange id {exchange.id} is "{exchange.name}" here, but {key} in the store says "{other}": two databases '
        f"gave one id to two exchanges. Nothing was written. Give one of them another id."
    )


def _settling(exchange: Exchange, wait_ms: int, reason: str) -> ExchangeSettling:
    return ExchangeSettling(
        f'Exchange "{exchange.name}" is free but cannot be claimed for another {wait_ms / 1000:.1f} s: {reason}.',
        wait_ms=wait_ms,
        reason=reason,
    )


def _claimed(exchange: Exchange, status: InstanceStatus, pttl_ms: int, *, now_ms: int) -> ExchangeClaimed:
    where = f"{status.hostname} ({status.ip_address or 'IP unknown'})"
    admin = f", admin {status.admin_email}" if status.admin_email else ""
    since = (
        f"connected since {status.connected_at}"
        if status.connected_at
        else f"registered {status.registered_at or 'at an unknown time'}, not yet connected"
    )
    if pttl_ms == -1:
        key = keys.status(exchange.id)
        message = (
            f'Exchange "{exchange.name}" is claimed by {where}{admin}, {since}, but its key {key} has no TTL, so it '
            f"would never expire: another program wrote it, last at {status.last_heartbeat}. If that program is gone, "
            f"clear it with `redis-cli DEL {key}` and start again."
        )
    else:
        age_ms, left = heartbeat_age_ms(status, now_ms=now_ms), max(0, pttl_ms) / 1000
        age = "at an unknown time" if age_ms is None else f"{max(0.0, age_ms) / 1000:.0f} s ago"
        message = (
            f'Exchange "{exchange.name}" is already served by {where}{admin}, {since}; its last heartbeat was '
            f"{age} and its lease expires in {left:.0f} s unless renewed. Stop that instance with "
            f"`perseus stop {exchange.name}` and end its process; if it is dead, start again when its lease is over."
        )
    return ExchangeClaimed(message, status=status, ttl_ms=None if pttl_ms == -1 else max(0, pttl_ms))
