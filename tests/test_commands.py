"""Commands on the wire: what is sent is what is received, and nothing stale or foreign is obeyed."""

from __future__ import annotations

import json

import msgspec
import pytest

from perseus import commands, keys
from perseus.clock import SystemClock, iso
from perseus.model import Command, CommandReply, ConnectionState, InstanceStatus, exchange_named
from perseus.store import Store, scripts
from tests.support.servers import Server

RUNS_EVERYWHERE = True

BINANCE = exchange_named("binance")
NOW_MS = 1_795_378_000_000
TARGET = InstanceStatus(
    exchange_id=2,
    exchange_name="binance",
    connection_state=ConnectionState.ACTIVE,
    connected_at=None,
    last_heartbeat=iso(NOW_MS),
    symbol_count=0,
    admin_email="",
    admin_display_name="",
    ip_address=None,
    hostname="fra-2",
    last_error=None,
    instance_id="i1",
    epoch=1_795_378_173_828_123,
)


def stop(**changes: object) -> Command:
    """A stop command for TARGET."""
    command = commands.compose("stop", target=TARGET, issuer="ops@example.com", reason="tests", now_ms=NOW_MS)
    return msgspec.structs.replace(command, **changes)


async def test_command_arrives_as_it_was_sent(store: Store, valkey: Server) -> None:
    """An epoch has 16 digits, a payload any shape."""
    sent = stop(payload={"since": "2026-02-10", "symbols": ["BTC-USDT"], "n": 1.5})
    await commands.send(store, BINANCE, sent)
    after, received = await commands.receive(store, BINANCE, after="0-0", block_s=1)
    assert received == [sent]
    assert await commands.receive(store, BINANCE, after=after, block_s=0.05) == (after, [])
    assert 0 < valkey.call("TTL", keys.commands(BINANCE.id)) <= keys.COMMANDS_TTL_S


async def test_command_is_canonical_json_with_room_for_a_signature(store: Store) -> None:
    """A signature is of exactly these bytes, in whatever language they are made again."""
    sent = stop()
    await commands.send(store, BINANCE, sent)
    (entry,) = await store.entries(keys.commands(BINANCE.id), count=1)
    fields = json.loads(entry.fields["command"])
    assert entry.fields["signature"] == ""
    assert entry.fields["command"] == json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert fields["expiresAt"] == iso(NOW_MS + 30_000)
    assert (fields["targetInstance"], fields["targetEpoch"]) == ("i1", 1_795_378_173_828_123)


async def test_undecodable_command_stands_in_its_place(store: Store) -> None:
    """One program's mistake must not hold up what others ask for."""
    first, last = stop(), stop()
    await commands.send(store, BINANCE, first)
    for text in ("not JSON", '{"id":"x"}'):
        args = ["1000", "60", "command", text, "signature", ""]
        await store.run(scripts.APPEND, keys=[keys.commands(BINANCE.id)], args=args)
    await commands.send(store, BINANCE, last)
    _, received = await commands.receive(store, BINANCE, after="0-0", block_s=1)
    assert (received[0], received[3]) == (first, last)
    assert all(isinstance(each, msgspec.MsgspecError) for each in received[1:3])


@pytest.mark.parametrize(
    ("command", "why_not"),
    [
        (stop(), None),
        (stop(target_instance="i2"), "another tenure"),
        (stop(target_epoch=7), "epoch 7"),
        (stop(nonce="known"), "carried out already"),
        (stop(expires_at=iso(NOW_MS)), "expired at"),
        (stop(expires_at="soon"), "cannot be read"),
    ],
    ids=["valid", "another instance", "another epoch", "repeated", "expired", "unreadable expiry"],
)
def test_only_a_fresh_command_for_this_tenure_is_obeyed(command: Command, why_not: str | None) -> None:
    """A stop meant for the holder before must not stop the one that has just taken over."""
    said = commands.refusal(
        command, instance_id="i1", epoch=TARGET.epoch, now_ms=NOW_MS, seen={"known": NOW_MS + 30_000}
    )
    assert said is None if why_not is None else why_not in (said or "")


async def test_replies_are_followed_to_the_final_one(store: Store, valkey: Server) -> None:
    """Whoever asked sees every step, and then knows that it is over."""
    for state in ("accepted", "running", "done", "never read"):
        await commands.reply(store, BINANCE, "c1", CommandReply(state=state, at=iso(NOW_MS)))
    answers = commands.follow_replies(store, BINANCE, "c1", clock=SystemClock(), wait_s=5)
    assert [answer.state async for answer in answers] == ["accepted", "running", "done"]
    assert 0 < valkey.call("TTL", keys.reply(BINANCE.id, "c1")) <= keys.REPLY_TTL_S


async def test_following_ends_when_nobody_answers(store: Store) -> None:
    """Silence must become an exit code, not a hanging terminal."""
    clock = SystemClock()
    began = clock.now()
    await commands.reply(store, BINANCE, "c1", CommandReply(state="accepted", at=iso(NOW_MS)))
    answers = commands.follow_replies(store, BINANCE, "c1", clock=clock, wait_s=0.3)
    assert [answer.state async for answer in answers] == ["accepted"]
    assert 0.3 <= clock.now() - began < 3
