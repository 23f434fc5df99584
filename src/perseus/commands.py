"""Commands to an instance: one stream an exchange, one reply stream a command. Both ends.

A command names its target's instance and epoch, so a stale one never reaches a new holder. Entry of the command
stream: `command` (canonical JSON) and `signature` (of exactly those bytes; empty while unsigned).
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from perseus import keys
from perseus.clock import Clock, iso, unix_ms
from perseus.model import Command, CommandReply, Exchange, InstanceStatus
from perseus.store import Store, scripts

EXPIRES_AFTER_MS = 30_000
FINAL = frozenset({"done", "failed", "refused"})


def compose(
    kind: str,
    *,
    target: InstanceStatus,
    issuer: str,
    reason: str,
    now_ms: int,
    payload: Mapping[str, Any] | None = None,
) -> Command:
    """A command for the tenure in `target`, valid for 30 s of store time."""
    return Command(
        id=uuid.uuid4().hex,
        type=kind,
        payload=dict(payload or {}),
        issuer=issuer,
        reason=reason,
        issued_at=iso(now_ms),
        expires_at=iso(now_ms + EXPIRES_AFTER_MS),
        target_instance=target.instance_id or "",
        target_epoch=target.epoch or 0,
        nonce=uuid.uuid4().hex,
    )


async def send(store: Store, exchange: Exchange, command: Command) -> None:
    """Append a command to the exchange's stream; after StoreUnavailable it may have been sent."""
    await store.run(
        scripts.APPEND,
        keys=[keys.commands(exchange.id)],
        args=[
            keys.COMMANDS_KEPT,
            keys.COMMANDS_TTL_S,
            "command",
            msgspec.json.encode(command, order="sorted"),
            "signature",
            "",
        ],
    )


async def receive(
    store: Store, exchange: Exchange, *, after: str, block_s: float
) -> tuple[str, list[Command | msgspec.MsgspecError]]:
    """Commands after the id `after`, waiting up to `block_s` seconds for one; the id to go on from comes first.

    What cannot be decoded stands in its place as the error, so that it can be reported.
    """
    found = await store.wait_entries({keys.commands(exchange.id): after}, block=block_s)
    entries = found.get(keys.commands(exchange.id), [])
    return (entries[-1].id if entries else after), [_decoded(entry.fields.get("command", "")) for entry in entries]


def _decoded(text: str) -> Command | msgspec.MsgspecError:
    try:
        return msgspec.json.decode(text, type=Command)
    except msgspec.MsgspecError as error:
        return error


async def reply(store: Store, exchange: Exchange, command_id: str, answer: CommandReply) -> None:
    """Append one step of a command's life to its reply stream, kept for an hour."""
    await store.run(
        scripts.APPEND,
        keys=[keys.reply(exchange.id, command_id)],
        args=[100, keys.REPLY_TTL_S, "reply", msgspec.json.encode(answer)],
    )


async def follow_replies(
    store: Store, exchange: Exchange, command_id: str, *, clock: Clock, wait_s: float
) -> AsyncIterator[CommandReply]:
    """Each step of a command's life as it comes, ending after the final one or after `wait_s` seconds."""
    key = keys.reply(exchange.id, command_id)
    after, until = "0-0", clock.now() + wait_s
    while (left := until - clock.now()) > 0:
        found = await store.wait_entries({key: after}, block=max(0.001, min(left, 5.0)))
        for entry in found.get(key, []):
            after = entry.id
            answer = msgspec.json.decode(entry.fields["reply"], type=CommandReply)
            yield answer
            if answer.state in FINAL:
                return


def refusal(
    command: Command, *, instance_id: str, epoch: int | None, now_ms: int, seen: Mapping[str, int]
) -> str | None:
    """Why this tenure must not obey `command`, or None. `seen`: nonces obeyed before."""
    if (command.target_instance, command.target_epoch) != (instance_id, epoch):
        return f"it was meant for another tenure (epoch {command.target_epoch}); the holder is at epoch {epoch}"
    if command.nonce in seen:
        return "it has been carried out already (its nonce is known)"
    try:
        expires_ms = unix_ms(command.expires_at)
    except ValueError:
        return f"its expiry {command.expires_at!r} cannot be read"
    if now_ms >= expires_ms:
        return f"it expired at {command.expires_at}"
    return None
