"""Whether people are told: the notifier's lease, what it must not forget, and what it is asked. Both ends.

Any number of servers may be the notifier; the one that holds `network:notifier` is. What it remembers is kept by a
script that refuses everybody else, so two of them cannot both go on: the one that lost the lease learns it before it
says anything further. The lease is a plain one, without the rules of `lease.py`: nothing is written under it that the
script does not check, and two holders for a moment cost a message told twice, not data.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from perseus import keys
from perseus.clock import Clock, StoreTime, iso
from perseus.errors import StoreRefused, UnreadableKey
from perseus.store import Store, scripts
from perseus.store.scripts import Script
from perseus.store.topology import Command

TTL_S = 6
RENEW_EVERY_S = 2.0
MARGIN_S = 1.0  # nothing is said in the last second of the lease
REQUEST_VALID_MS = 60_000

ChannelWord = Literal["ok", "unused", "waiting", "failing", "dead"]
AlertsWord = Literal["sent", "failing", "none"]
_Payload = TypeVar("_Payload", "Holder", "Health")
_UNKNOWN = "why is not known"


class Holder(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The payload of the notifier's lease. `channels`: how many it may tell."""

    claim_id: str
    instance_id: str
    hostname: str
    since: str
    version: str
    channels: int


class ChannelHealth(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How one channel is. `reason`: why it is failing or dead; `dropped`: messages it will never get."""

    name: str
    state: ChannelWord
    last_success_at: str | None
    queued: int
    oldest_unsent_at: str | None
    reason: str | None
    dropped: int = 0


class TestOutcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of a test message."""

    outcome: Literal["delivered", "waiting", "failed"]
    reason: str | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the notifier lets everyone know of itself. `trouble`: what else it cannot do, a sentence; tests by id."""

    saved_at: str
    channels: Sequence[ChannelHealth] = ()
    announced: Sequence[str] = ()
    trouble: str | None = None
    tests: Mapping[str, TestOutcome] = {}


class HolderView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which server tells people, and since when."""

    hostname: str
    since: str
    instance_id: str
    version: str


class StatusView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether alerts are sent, in JSON. `why` not all of them are, in sentences; `announced`: of what people are told.

    `trouble`: what the notifier cannot do besides, a sentence.
    """

    alerts: AlertsWord
    why: str | None
    holder: HolderView | None
    channels: Sequence[ChannelHealth]
    announced: Sequence[str]
    trouble: str | None
    server_time: str


class Alerting(NamedTuple):
    """Whether alerts are sent, as of one reading. `holder` None: no notifier runs; `health` None: none ever did.

    `obstacle`: why no server can be the notifier.
    """

    holder: Holder | None
    health: Health | None
    store_ms: int
    obstacle: UnreadableKey | StoreRefused | None = None

    @property
    def word(self) -> AlertsWord:
        """`sent` unless it is known that every channel is dead, or there is none (`none`), or that none works now."""
        if self.obstacle is not None or self.holder is None or not self.holder.channels:
            return "none"
        if not self._ill or len(self._ill) < len(self._channels):  # while it begins nothing is known of any
            return "sent"
        return "none" if all(channel.state == "dead" for channel in self._ill) else "failing"

    @property
    def why(self) -> str | None:
        """What is not well and what to do, also of one channel beside others that work; None if all is well."""
        return " ".join(self.complaint) if self.complaint is not None else None

    @property
    def complaint(self) -> tuple[str, str] | None:
        """The two parts of `why`."""
        if self.obstacle is not None:
            return _hindered(self.obstacle)
        if self.holder is None:
            return "No alerts are being sent: no notifier runs.", "Start `perseus serve` or `perseus up` on one host."
        host = self.holder.hostname
        if not self.holder.channels:
            return (
                f"No alerts are being sent: no Discord webhook is set on {host}.",
                "Set PERSEUS_DISCORD_WEBHOOK_URLS (NAME=URL) there, then start `perseus serve` or `perseus up` there "
                "again.",
            )
        return (self._fault(), _remedy(self._ill, host=host)) if self._ill else None

    def _fault(self) -> str:
        reasons = _reasons(self._ill)
        if self.word == "none":
            return f"No alerts are being sent: every channel is dead ({reasons})."
        if self.word == "failing":
            return f"Alerts cannot be delivered at the moment: {reasons}."
        told = _listed([channel.name for channel in self._channels if channel not in self._ill])
        untold = _listed([channel.name for channel in self._ill])
        if len({channel.reason for channel in self._ill}) == 1:
            reasons = self._ill[0].reason or _UNKNOWN
        return f"Alerts are sent to {told}, but not to {untold}: {reasons}."

    @property
    def _channels(self) -> Sequence[ChannelHealth]:
        return self.health.channels if self.health is not None else ()

    @property
    def _ill(self) -> Sequence[ChannelHealth]:
        """The channels that take nothing now."""
        return [channel for channel in self._channels if channel.state in ("dead", "failing")]

    def view(self) -> StatusView:
        """The same in JSON. What a notifier that is gone said of its channels is no longer shown."""
        health = self.health if self.holder is not None else None
        return StatusView(
            alerts=self.word,
            why=self.why,
            holder=None if self.holder is None else msgspec.convert(self.holder, HolderView, from_attributes=True),
            channels=health.channels if health else (),
            announced=health.announced if health else (),
            trouble=health.trouble if health else None,
            server_time=iso(self.store_ms),
        )


class Request(NamedTuple):
    """A test message asked for. `id` is its stream entry's."""

    id: str
    channel: str
    by: str


async def read(store: Store) -> Alerting:
    """Whether alerts are sent. Raises: what every call to the store raises: then it is unknown."""
    reads = (["TIME"], ["GET", keys.notifier()], ["HGET", keys.notifier_cursor(), "health"])
    clock, lease, kept = await store.pipeline(*reads)
    if isinstance(clock, Exception):
        raise clock
    store_ms = _ms(clock)
    try:
        holder = _decoded(lease, Holder, keys.notifier())
    except UnreadableKey as error:
        return Alerting(None, None, store_ms, obstacle=error)
    if isinstance(kept, UnreadableKey):
        return Alerting(holder, None, store_ms, obstacle=_unreadable(keys.notifier_cursor(), kept.reason))
    health = _decoded(kept, Health, keys.notifier_cursor())
    return Alerting(holder, health, store_ms, obstacle=None if holder is not None else await _refusal(store))


async def _refusal(store: Store) -> StoreRefused | None:
    """Why the store takes no writes; None if it does, or does not let us try."""
    (reply,) = await store.pipeline(["SET", keys.notifier_probe(), "", "XX"])  # of a key that never is: nothing is set
    return reply if isinstance(reply, StoreRefused) else None


async def request_test(store: Store, *, channel: str, by: str) -> str:
    """Ask the notifier for a test message in a channel; the id to ask for its outcome by. It is valid for a minute."""
    kept, ttl_s = keys.NOTIFIER_REQUESTS_KEPT, keys.NOTIFIER_REQUESTS_TTL_S
    fields = ("request", "test", "channel", channel, "by", by)
    (entry_id,) = await store.run(scripts.APPEND, keys=[keys.notifier_requests()], args=[kept, ttl_s, *fields])
    return str(entry_id.decode())


def request_of(entry_id: str, fields: Mapping[str, str], *, now_ms: int) -> Request | None:
    """The request an entry holds; None if it is none, or too old for whoever asked to wait still."""
    is_old = now_ms - int(entry_id.partition("-")[0]) > REQUEST_VALID_MS
    if fields.get("request") != "test" or is_old:
        return None
    return Request(entry_id, fields.get("channel", ""), fields.get("by", ""))


class Tenure:
    """One notifier's time, from its claim to its loss. All calls from one event loop."""

    def __init__(self, store: Store, holder: Holder, *, clock: Clock, store_time: StoreTime, sent_at: float) -> None:
        self._store, self._holder, self._clock, self.store_time = store, holder, clock, store_time
        self._sent_at = sent_at
        self._rev = self._kept_rev = 0
        self._is_over = False
        self.is_memory_kept = True

    @property
    def claim_id(self) -> str:
        """Names this tenure, beside what it kept too."""
        return self._holder.claim_id

    @property
    def is_held(self) -> bool:
        """Whether something may be said now: the lease was confirmed and does not end within the margin."""
        return not self._is_over and self._clock.now() < self._sent_at + TTL_S - MARGIN_S

    async def renew(self) -> bool:
        """Extend the lease; False if it is another's or gone, for good. Raises: what every call to the store raises.

        `is_memory_kept` is False then if the store has lost what it had confirmed: evicted, deleted, or failed over.
        """
        sent_at, confirmed = self._clock.now(), self._kept_rev
        outcome, store_us, *kept = await _lead(self._store, "renew", self._holder)
        self.store_time.observe(int(store_us) / 1000, sent_at=sent_at)
        if outcome == b"LEADING":
            self._sent_at = sent_at
            self.is_memory_kept = int(kept[0] or 0) >= confirmed
        else:
            self._is_over = True
        return not self._is_over

    async def remember(self, fields: Mapping[str, bytes]) -> bool:
        """Keep these fields beside the lease; False if the lease is ours no more. Later calls win over earlier ones."""
        self._rev = rev = self._rev + 1
        flat = [part for pair in fields.items() for part in pair]
        reply = await _run(self._store, scripts.REMEMBER, [self._holder.claim_id, rev, keys.NOTIFIER_TTL_S, *flat])
        if reply[0] == b"REFUSED":
            self._is_over = True
        elif reply[0] == b"KEPT":
            self._kept_rev = max(self._kept_rev, rev)
        return not self._is_over

    async def recall(self, field: str) -> tuple[bytes | None, str]:
        """What was kept under this name, and in which tenure; `""` if in none."""
        ((found, kept_by),) = await _answers(self._store, ["HMGET", keys.notifier_cursor(), field, "claimId"])
        return found, (kept_by or b"").decode("ascii", "replace")

    async def give_back(self) -> None:
        """Let the next one begin at once."""
        self._is_over = True
        await _lead(self._store, "release", self._holder)


async def claim(
    store: Store, *, clock: Clock, instance_id: str, hostname: str, version: str, channels: int
) -> Tenure | None:
    """Become the notifier if nobody is; None: somebody else is it. One with channels replaces one that has none."""
    store_time, sent_at = StoreTime(clock), clock.now()
    seen, left_ms, time = await _answers(store, ["GET", keys.notifier()], ["PTTL", keys.notifier()], ["TIME"])
    holder = _decoded(seen, Holder, keys.notifier())
    is_replaceable = holder is None or (channels > 0 and not holder.channels)
    if not is_replaceable and 0 < left_ms <= TTL_S * 1000:
        return None
    store_time.observe(_ms(time), sent_at=sent_at)
    ours = Holder(
        claim_id=uuid.uuid4().hex,
        instance_id=instance_id,
        hostname=hostname,
        since=iso(store_time.now_ms()),
        version=version,
        channels=channels,
    )
    sent_at = clock.now()
    outcome, store_us, *_ = await _lead(store, "claim", ours, replaces=(seen or b"") if is_replaceable else b"")
    store_time.observe(int(store_us) / 1000, sent_at=sent_at)
    return Tenure(store, ours, clock=clock, store_time=store_time, sent_at=sent_at) if outcome == b"LEADING" else None


def _hindered(obstacle: UnreadableKey | StoreRefused) -> tuple[str, str]:
    """What keeps every server from being the notifier, and what to do; alerts then go on by themselves."""
    if isinstance(obstacle, UnreadableKey):
        return (
            f"No alerts are being sent: key {obstacle.key} holds something that is not the notifier's "
            f"({obstacle.reason}).",
            f"If nobody needs it, delete it with `redis-cli DEL {obstacle.key}`; what happened meanwhile is told then.",
        )
    return (
        f"No alerts are being sent: the store takes no writes ({obstacle.reason}).",
        "What happened meanwhile is told when it does again; `perseus doctor` says what is wrong with it.",
    )


def _reasons(channels: Sequence[ChannelHealth]) -> str:
    """Each reason once, after the names of the channels it is true of."""
    names_by_reason: dict[str, list[str]] = {}
    for channel in channels:
        names_by_reason.setdefault(channel.reason or _UNKNOWN, []).append(channel.name)
    return "; ".join(f"{_listed(names)}: {reason}" for reason, names in names_by_reason.items())


def _remedy(channels: Sequence[ChannelHealth], *, host: str) -> str:
    """What to do about channels that take nothing; of the dead ones first, which stay so."""
    dead = [channel.name for channel in channels if channel.state == "dead"]
    waited_for = [channel.name for channel in channels if channel.state == "failing" and channel.queued]
    given_up = [channel.name for channel in channels if channel.state == "failing" and not channel.queued]
    said = []
    if dead:
        what = "a new webhook" if len(dead) == 1 else "new webhooks"
        said.append(
            f"Make {what} for {_listed(dead)}, set {'its URL' if len(dead) == 1 else 'their URLs'} in "
            f"PERSEUS_DISCORD_WEBHOOK_URLS on {host}, then start `perseus serve` or `perseus up` there again."
        )
    if waited_for:
        said.append(
            f"Messages for {_listed(waited_for)} are kept, and sent as soon as they get through; if this lasts, see "
            f"whether {host} can reach Discord."
        )
    if given_up:
        said.append(f"A test message shows whether {_listed(given_up)} can be told again.")
    return " ".join(said)


def _listed(names: Sequence[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


async def _lead(store: Store, what: str, holder: Holder, *, replaces: bytes = b"") -> list[bytes]:
    return await _run(store, scripts.LEAD, [what, holder.claim_id, TTL_S, msgspec.json.encode(holder), replaces])


async def _run(store: Store, script: Script, args: Sequence[str | bytes | int]) -> list[Any]:
    """Run a script on lease and memory. Both look at the lease without failing over its type."""
    try:
        return await store.run(script, keys=[keys.notifier(), keys.notifier_cursor()], args=args)
    except UnreadableKey as error:
        raise _unreadable(keys.notifier_cursor(), error.reason) from error


async def _answers(store: Store, *commands: Command) -> list[Any]:
    """Replies to commands about lease or memory. Raises: what stands in the place of one."""
    replies = await store.pipeline(*commands)
    for command, reply in zip(commands, replies, strict=True):
        if isinstance(reply, UnreadableKey):
            raise _unreadable(str(command[1]), reply.reason) from reply
        if isinstance(reply, Exception):
            raise reply
    return replies


def _decoded(raw: bytes | Exception | None, kind: type[_Payload], key: str) -> _Payload | None:
    if raw is None:
        return None
    if isinstance(raw, UnreadableKey):
        raise _unreadable(key, raw.reason) from raw
    if isinstance(raw, Exception):
        raise raw
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _unreadable(key, str(error)) from error


def _unreadable(key: str, reason: str) -> UnreadableKey:
    return UnreadableKey(
        f"Key {key} holds something that is not the notifier's: {reason}. It was left untouched; if nobody "
        f"needs it, delete it with `redis-cli DEL {key}`.",
        key=key,
        reason=reason,
    )


def _ms(time: Sequence[bytes]) -> int:
    """A reply to TIME in Unix ms."""
    return int(time[0]) * 1000 + int(time[1]) // 1000
