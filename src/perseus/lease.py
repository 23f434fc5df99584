"""The lease: the right to serve an exchange, held in its status key. Both ends: holder, claimer and reader.

Deadlines count from the moment a request was *sent*, on the holder's boot-time clock, so they always fall before the
key can expire in the store. A claimer that has seen a lease waits for its end on its *own* clock, because expiry in the
store is wall time and can be stepped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from perseus import keys
from perseus.clock import Clock, StoreTime, iso, unix_ms
from perseus.errors import (
    ExchangeClaimed,
    ExchangeMisnamed,
    ExchangeSettling,
    StoreUnavailable,
    UnreadableKey,
)
from perseus.model import Exchange, InstanceStatus
from perseus.store import Store, scripts
from perseus.timing import LeaseTiming

FOREIGN_TTL_MS = 45_000  # what a payload without `ttlMs` is held to
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
    """One answered attempt to renew: `outcome` RENEWED, SUPERSEDED, LOST or MISSING; `holder` if LOST."""

    outcome: str
    store_ms: float
    holder: bytes | None = None


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
        self, store: Store, *, clock: Clock, store_time: StoreTime, exchange: Exchange, instance_id: str
    ) -> None:
        self._store = store
        self._clock = clock
        self._store_time = store_time
        self._exchange = exchange
        self._instance_id = instance_id
        self._floor = 0
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

    async def claim(self, status: InstanceStatus, *, timing: LeaseTiming, must_settle: bool) -> Claimed:
        """Claim the exchange with `status` as its first payload (its epoch is set by the store).

        Idempotent: `status.claim_id` may be sent again after a lost reply. `must_settle`: the server must have been up
        for a TTL and a second, because a restarted one may have lost a lease that still runs.
        Raises: ExchangeClaimed, ExchangeSettling (free, but not yet), ExchangeMisnamed, UnreadableKey; and what every
        call to the store raises. After StoreUnavailable the claim may have been made.
        """
        if status.claim_id is None:
            raise ValueError("a claim needs a claim_id, kept over its retries")
        replaceable, before = await self._observe()
        least_uptime_s = self._least_uptime(timing, before) if must_settle else 0
        sent_at = self._clock.now()
        try:
            reply = await self._store.run(
                scripts.CLAIM,
                keys=[keys.status(self._exchange.id), keys.epoch(self._exchange.id), keys.last(self._exchange.id)],
                args=[
                    status.claim_id,
                    replaceable,
                    timing.ttl_s,
                    self._floor,
                    self._exchange.name,
                    least_uptime_s,
                    _without_epoch(status),
                ],
            )
        except StoreUnavailable:
            self._blind_since = None  # the server may be restarting
            raise
        return self._concluded(reply, status=status, timing=timing, sent_at=sent_at)

    def _concluded(self, reply: list[Any], *, status: InstanceStatus, timing: LeaseTiming, sent_at: float) -> Claimed:
        outcome, store_us, uptime, _run_id, *rest = reply
        self._store_time.observe(int(store_us) / 1000)
        match outcome:
            case b"CLAIMED":
                epoch, last = int(rest[0]), rest[1]
                self.know_epoch(epoch)
                lease = Lease(self._exchange, self._instance_id, status.claim_id or "", epoch, sent_at, timing)
                return Claimed(lease, decode_status(last, keys.last(self._exchange.id)) if last else None)
            case b"HELD" if names_instance(rest[0], self._instance_id):
                raise _settling(self._exchange, 0, "an older claim of our own has just landed")
            case b"HELD":
                raise self._held(rest[0], int(rest[1]))
            case b"SETTLING":
                if int(uptime) < 0 and self._blind_since is None:
                    self._blind_since = sent_at
                raise _settling(self._exchange, int(rest[0]) * 1000, "the store restarted and may have lost a lease")
            case b"MISNAMED":
                raise _misnamed(self._exchange, rest[0].decode(), rest[1])
            case b"OVER":
                raise ValueError(f"claim {status.claim_id} was used for a tenure that is over")
            case _:
                raise _unreadable(rest[0].decode(), rest[1].decode())

    async def _observe(self) -> tuple[str, InstanceStatus | None]:
        """Read the store's time, the status and `last`; refuse what must not be claimed yet.

        Returns the claimId of our own that stands there and may be replaced (`""`: none), and `last`.
        """
        status_key, last_key = keys.status(self._exchange.id), keys.last(self._exchange.id)
        clock, raw, pttl, last = await self._store.pipeline(
            ["TIME"], ["GET", status_key], ["PTTL", status_key], ["GET", last_key]
        )
        for reply in (clock, raw, pttl, last):
            if isinstance(reply, Exception):
                raise reply
        self._store_time.observe(int(clock[0]) * 1000 + int(clock[1]) / 1000)
        before = decode_status(last, last_key) if last else None
        if before is not None:
            self.know_epoch(before.epoch)
        if raw is not None and names_instance(raw, self._instance_id):
            return decode_status(raw, status_key).claim_id or "", before
        if raw is not None and pttl != -2:  # -2: it expired between the two reads
            raise self._held(raw, pttl)
        released = before is not None and before.released_at is not None and (before.epoch or 0) >= self._floor
        wait_ms = max((self._not_before - self._clock.now()) * 1000, self._rest_of(before))
        if wait_ms > 0 and not released:
            raise _settling(self._exchange, math.ceil(wait_ms), "its last lease may still be running")
        return "", before

    def _rest_of(self, before: InstanceStatus | None) -> float:
        """Milliseconds left of the lease that `last` tells of: its key vanished before it could have expired."""
        if before is None or before.released_at is not None or before.instance_id == self._instance_id:
            return 0.0
        ttl = before.ttl_ms or FOREIGN_TTL_MS
        age = heartbeat_age_ms(before, now_ms=self._store_time.now_ms())
        if age is not None and age >= 0:
            return max(0.0, ttl - age)
        # Unreadable, or ahead of the store's clock, which was stepped back: wait a whole TTL on our own clock.
        if self._future_since is None or self._future_since[0] != before.last_heartbeat:
            self._future_since = (before.last_heartbeat, self._clock.now())
        return max(0.0, ttl - (self._clock.now() - self._future_since[1]) * 1000)

    def _least_uptime(self, timing: LeaseTiming, before: InstanceStatus | None) -> int:
        """How long the server must be up, seconds: the longer TTL of ours and the last one known, and a second."""
        known_s = math.ceil((before.ttl_ms or 0) / 1000) if before else 0
        least = max(timing.ttl_s, known_s) + 1
        if self._blind_since is not None and self._clock.now() - self._blind_since >= least:
            return 0  # it does not say how long it is up, but we have watched it for that long
        return least

    def _held(self, raw: bytes, pttl_ms: int) -> ExchangeClaimed:
        if pttl_ms > 0:
            self._not_before = max(self._not_before, self._clock.now() + pttl_ms / 1000)
        self.saw_holder(raw)
        status = decode_status(raw, keys.status(self._exchange.id))
        if status.exchange_name != self._exchange.name:
            raise _misnamed(self._exchange, keys.status(self._exchange.id), raw)
        return _claimed(self._exchange, status, pttl_ms, now_ms=self._store_time.now_ms())


async def renew(store: Store, lease: Lease, status: InstanceStatus, *, kind: str) -> Renewal:
    """Extend the lease by its TTL and publish `status`, if we still hold it: one round trip, one script.

    `status.rev` must be higher than in any attempt before; `kind` (`heartbeat` or `changed`) goes to the wake channel.
    Raises: UnreadableKey if the key holds something else, and what every call to the store raises. After
    StoreUnavailable the lease may or may not have been extended: count from the last confirmed renewal.
    Does not promise that no other instance believes it holds the lease: writers are safe because every write is
    checked against the status key.
    """
    payload = encode_status(status)
    reply = await store.run(
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
    )
    outcome, store_us, *rest = reply
    if outcome == b"UNREADABLE":
        raise _unreadable(rest[0].decode(), rest[1].decode())
    return Renewal(outcome.decode(), int(store_us) / 1000, rest[0] if rest else None)


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


def names_instance(raw: bytes, instance_id: str) -> bool:
    """Whether a status value was written by this instance."""
    try:
        return decode_status(raw, "").instance_id == instance_id
    except UnreadableKey:
        return False  # not ours; the caller reads it again and says why it is unreadable


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
