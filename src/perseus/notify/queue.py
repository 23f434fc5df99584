"""What a channel is to be sent next, so that it shows every message's newest version. Pure.

Nothing is queued: what is missing follows from the messages and from what the channel shows of them. So edits
coalesce, and what was superseded while Discord was away is told once, as it is now.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from perseus.alerting import ChannelHealth, ChannelWord
from perseus.clock import iso
from perseus.notify.state import ANNOUNCED, ChannelState, Kind, Message, Shown, State
from perseus.webhooks import Webhook

LATE_MS = 60_000
KEPT_MS = 86_400_000  # closed messages that every channel shows
KEPT_MESSAGES = 500
FAILING_MS = 10_000  # until then a channel that does not take messages is only slow
NOT_SET = "it is not set on the server that sends alerts now"
NEVER_AGAIN = 2**31  # as a version: whatever becomes of this message, it is not told here
OUTAGES: tuple[Kind, ...] = ("offline", "lease_lost")


class Send(NamedTuple):
    """What to send. `edits`: the id of what it replaces; `also`: other messages that need not be sent after it."""

    message: Message
    edits: str | None
    also: tuple[Message, ...]
    is_late: bool


def is_over(message: Message) -> bool:
    """Whether every outage it tells of has ended."""
    return bool(message.lines) and all(line.until_ms is not None for line in message.lines)


def is_loud(message: Message) -> bool:
    """Whether somebody is to be woken for it, as it is now."""
    return message.is_loud and not is_over(message)


def next_send(
    state: State, channel: ChannelState, *, now_ms: int, announced: Collection[str] = ANNOUNCED
) -> Send | None:
    """What this channel needs next; None: it shows everything.

    A test goes first (a person waits for it), then what is loud, then other new messages, oldest first. Edits go last,
    of the message told longest ago first, so that one that changes all the time holds up nothing.
    """
    missing = _missing(state.messages, channel, announced)
    tests = [message for message in missing if message.kind == "test"]
    new = [message for message in missing if not _message_id(message, channel)]
    if tests or channel.dead_reason:
        chosen = tests[0] if tests else None
    elif new:
        loud = next((index for index, message in enumerate(new) if is_loud(message)), 0)
        chosen = _first_about_the_same(new[: loud + 1])
    else:
        told_after = {key: place for place, key in enumerate(channel.shown)}
        chosen = min(missing, key=lambda message: told_after[message.key], default=None)
    if chosen is None:
        return None
    edits = _message_id(chosen, channel) or None
    return Send(
        chosen,
        edits,
        also=() if edits else tuple(other for other in new if other.kind != "test" and _tells(chosen, other)),
        is_late=edits is None and now_ms - max(chosen.opened_ms, channel.since_ms) >= LATE_MS,
    )


def settle(channel: ChannelState, send: Send, message_id: str, at_ms: int) -> ChannelState:
    """The channel after it took this as `message_id`; `""`: somebody deleted the message and does not want it again."""
    version = send.message.version if message_id else NEVER_AGAIN
    told = {send.message.key: Shown(version=version, message_id=message_id)}
    told |= {message.key: Shown(version=message.version) for message in send.also}
    return replace(
        _showing(channel, told), last_success_ms=at_ms, dead_reason="", failing_reason="", failing_since_ms=None
    )


def failed(channel: ChannelState, *, reason: str, at_ms: int) -> ChannelState:
    """The channel after it gave no answer, or asked for patience: it will be tried again."""
    since_ms = channel.failing_since_ms if channel.failing_reason else at_ms
    if since_ms is not None:
        since_ms = min(since_ms, at_ms)  # the clock may have been stepped back
    return replace(channel, failing_reason=reason or "no reason given", failing_since_ms=since_ms)


def refused(channel: ChannelState, send: Send, *, reason: str) -> ChannelState:
    """The channel after it took neither the message nor its plain text: this version of it is given up."""
    told = {send.message.key: Shown(version=send.message.version, message_id=send.edits or "")}
    return replace(_showing(channel, told), dropped=channel.dropped + 1, failing_reason=reason, failing_since_ms=None)


def died(channel: ChannelState, send: Send, *, reason: str) -> ChannelState:
    """The channel after its webhook turned out to be gone. Only a test that arrives, or another URL, revives it."""
    told = {send.message.key: Shown(version=NEVER_AGAIN)} if send.message.kind == "test" else {}
    return replace(
        _showing(channel, told), dead_reason=reason or "no reason given", failing_reason="", failing_since_ms=None
    )


def health(
    state: State, channel: ChannelState, *, now_ms: int, announced: Collection[str] = ANNOUNCED
) -> ChannelHealth:
    """How the channel is, as shown to people."""
    missing = _missing(state.messages, channel, announced)
    oldest = min((_since_ms(message, channel) for message in missing), default=None)
    success = channel.last_success_ms
    return ChannelHealth(
        name=channel.name,
        state=_word(channel, is_behind=bool(missing), now_ms=now_ms),
        last_success_at=None if success is None else iso(success),
        queued=len(missing),
        oldest_unsent_at=None if oldest is None else iso(oldest),
        reason=channel.dead_reason or channel.failing_reason or None,
        dropped=channel.dropped,
    )


def with_webhooks(
    state: State, channels: Mapping[str, ChannelState], webhooks: Sequence[Webhook], *, now_ms: int
) -> Mapping[str, ChannelState]:
    """The channels as they are set now, and for a day those that are not: another server may send to them again.

    A channel that is new is told of what comes, and of what is the matter; one with another URL also of what the one
    before did not get.
    """
    told: dict[str, ChannelState] = {}
    channels = by_the_clock(state, channels, now_ms=now_ms)
    for webhook in webhooks:
        known = channels.get(webhook.name)
        if known is None:
            known = ChannelState(name=webhook.name, fingerprint=webhook.fingerprint, since_ms=now_ms)
        elif known.fingerprint != webhook.fingerprint:
            known = _succeeding(known, webhook, state)
        told[webhook.name] = replace(known, dead_reason="")
    for name, channel in channels.items():
        if name not in told and now_ms - (channel.last_success_ms or channel.since_ms) < KEPT_MS:
            told[name] = replace(channel, dead_reason=channel.dead_reason or NOT_SET)
    return told


def by_the_clock(state: State, channels: Mapping[str, ChannelState], *, now_ms: int) -> Mapping[str, ChannelState]:
    """The channels after the clock was stepped back; the same object if none of them is newer than now.

    To one that is, what comes would look as if it had been before its time, and what was, as if it had come since.
    """
    if all(channel.since_ms <= now_ms for channel in channels.values()):
        return channels
    return {name: _begun_by(channel, state, now_ms=now_ms) for name, channel in channels.items()}


def _begun_by(channel: ChannelState, state: State, *, now_ms: int) -> ChannelState:
    if channel.since_ms <= now_ms:
        return channel
    before = [each for each in state.messages if each.opened_ms < channel.since_ms and not _is_going_on(each)]
    untold = {message.key: Shown(version=NEVER_AGAIN) for message in before}
    return replace(channel, since_ms=now_ms, shown=untold | dict(channel.shown))


def _succeeding(known: ChannelState, webhook: Webhook, state: State) -> ChannelState:
    going_on = {message.key for message in state.messages if _is_going_on(message)}
    shown = {key: Shown(version=NEVER_AGAIN) for key in known.shown if key not in going_on}
    return ChannelState(
        name=webhook.name, fingerprint=webhook.fingerprint, since_ms=known.since_ms, shown=shown, dropped=known.dropped
    )


def prune(
    state: State, channels: Mapping[str, ChannelState], now_ms: int, announced: Collection[str] = ANNOUNCED
) -> tuple[State, Mapping[str, ChannelState]]:
    """Forget closed messages a day after their last change once all channels have them, and what exceeds 500.

    The same objects if there is nothing to forget. A channel counts what it will now never get.
    """
    waiting = {
        message.key
        for channel in channels.values()
        if not channel.dead_reason
        for message in _missing(state.messages, channel, announced)
    }
    gone = {message.key for message in state.messages if message.key not in waiting and _is_old(message, now_ms)}
    surplus = len(state.messages) - len(gone) - KEPT_MESSAGES
    if surplus > 0:
        rest = [message for message in state.messages if message.key not in gone]
        rest.sort(key=lambda message: not message.is_closed)  # what may still change goes last
        gone |= {message.key for message in rest[:surplus]}
    forgotten = [message for message in state.messages if message.key in gone]
    if forgotten:
        state = replace(state, messages=tuple(message for message in state.messages if message.key not in gone))
    keys = {message.key for message in state.messages}
    after = {name: _forgetting(channel, forgotten, keys, announced) for name, channel in channels.items()}
    return state, channels if all(after[name] is channels[name] for name in channels) else after


def _missing(messages: Sequence[Message], channel: ChannelState, announced: Collection[str]) -> list[Message]:
    """What the channel shows an older version of, or nothing although it should."""
    missing = [message for message in messages if _is_missing(message, channel, announced)]
    folded = [message for message in missing if message.key in channel.shown and not _message_id(message, channel)]
    if not folded:
        return missing
    # another message told of these; they have changed since, and so has that one, unless these tell of more now
    told = {line.incident_id for message in messages if _message_id(message, channel) for line in message.lines}
    told_still = {each.key for each in folded if each.kind != "recovered" and set() < _incidents(each) <= told}
    return [message for message in missing if message.key not in told_still]


def _is_missing(message: Message, channel: ChannelState, announced: Collection[str]) -> bool:
    shown = channel.shown.get(message.key)
    if shown is not None and (shown.message_id or shown.version >= message.version):
        return shown.version < message.version
    if message.kind == "test":
        return message.only == channel.name and message.opened_ms >= channel.since_ms
    if message.only not in ("", channel.name):
        return False
    if message.opened_ms < channel.since_ms and not _is_going_on(message):
        return False  # a channel that is new is told of what is, and of what comes
    if message.kind == "reminder" and is_over(message):
        return False  # nobody is to be reminded of what has ended
    return _is_announced(message, announced)


def _is_going_on(message: Message) -> bool:
    """Whether it tells of what is the matter now."""
    return message.kind in (*OUTAGES, "flapping") and not is_over(message)


def _is_announced(message: Message, announced: Collection[str]) -> bool:
    if message.kind not in ANNOUNCED or message.kind in announced:
        return True
    # an exchange that went offline and one that lost its lease may share a message, named after the first
    phases = {"lease_lost" if line.phase == "lease_lapsed" else line.phase for line in message.lines}
    return message.kind in OUTAGES and any(kind in phases and kind in announced for kind in OUTAGES)


def _message_id(message: Message, channel: ChannelState) -> str:
    shown = channel.shown.get(message.key)
    return shown.message_id if shown is not None else ""


def _since_ms(message: Message, channel: ChannelState) -> int:
    """Since when at least the channel lacks something of this."""
    return max(message.opened_ms, message.changed_ms) if _message_id(message, channel) else message.opened_ms


def _first_about_the_same(new: Sequence[Message]) -> Message:
    """The oldest that tells of the last one's exchanges, or of those of such a one: what is true is to be told last."""
    first = new[-1]
    exchanges = _exchanges(first)
    for message in reversed(new[:-1]):
        if exchanges & _exchanges(message):
            first = message
            exchanges |= _exchanges(message)
    return first


def _exchanges(message: Message) -> set[int]:
    return {line.exchange_id for line in message.lines}


def _tells(message: Message, other: Message) -> bool:
    """Whether `message`, told for the first time now, says already what the later `other` would: how its outages are.

    Messages about an open outage are all kept as it is, so one of them is enough for somebody who has seen none.
    """
    incidents = _incidents(other)
    return bool(incidents) and other.key != message.key and incidents <= {line.incident_id for line in message.lines}


def _incidents(message: Message) -> set[str]:
    """The outages a message is about; none if it is about something else as well."""
    incidents = {line.incident_id for line in message.lines}
    return set() if "" in incidents else incidents


def _showing(channel: ChannelState, told: Mapping[str, Shown]) -> ChannelState:
    """The channel with these told last: the order of `shown` is that in which messages were told."""
    before = {key: shown for key, shown in channel.shown.items() if key not in told}
    return replace(channel, shown={**before, **told})


def _word(channel: ChannelState, *, is_behind: bool, now_ms: int) -> ChannelWord:
    if channel.dead_reason:
        return "dead"
    if channel.failing_reason and now_ms - (channel.failing_since_ms or 0) >= FAILING_MS:
        return "failing"
    if is_behind:
        return "waiting"
    return "unused" if channel.last_success_ms is None else "ok"


def _is_old(message: Message, now_ms: int) -> bool:
    return message.is_closed and now_ms - max(message.opened_ms, message.changed_ms) >= KEPT_MS


def _forgetting(
    channel: ChannelState, forgotten: Sequence[Message], kept: Collection[str], announced: Collection[str]
) -> ChannelState:
    dropped = len(_missing(forgotten, channel, announced))
    shown = {key: value for key, value in channel.shown.items() if key in kept}
    if not dropped and len(shown) == len(channel.shown):
        return channel
    return replace(channel, shown=shown, dropped=channel.dropped + dropped)
