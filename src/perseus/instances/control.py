"""Commands received: verified, answered, logged, carried out one after another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import structlog

from perseus import commands
from perseus.clock import iso, unix_ms
from perseus.errors import PerseusError, StoreUnavailable
from perseus.instances.errorlog import one_line
from perseus.instances.instance import Instance
from perseus.model import Command, CommandReply, ConnectionState

BLOCK_S = 5.0
_IDLE, _STARTING, _WARMING = ConnectionState.IDLE, ConnectionState.STARTING, ConnectionState.WARMING
_ACTIVE, _STOPPED = ConnectionState.ACTIVE, ConnectionState.STOPPED

log = structlog.get_logger()


async def obey(me: Instance) -> None:
    """Carry out the commands addressed to this instance's tenure, for ever; reading never waits for one to finish."""
    seen: dict[str, int] = {}  # nonce → when its command expires, Unix ms
    async with asyncio.TaskGroup() as tasks:
        async for command in _received(me):
            if not me.holds and command.target_instance != me.identity.instance_id:
                continue  # the holder answers it
            now_ms = me.store_time.now_ms()
            for nonce in [nonce for nonce, expires_ms in seen.items() if expires_ms <= now_ms]:
                del seen[nonce]
            why_not = commands.refusal(
                command, instance_id=me.identity.instance_id, epoch=me.status.epoch, now_ms=now_ms, seen=seen
            )
            if why_not is not None:
                await _answer(me, command, "refused", why_not)
                continue
            seen[command.nonce] = unix_ms(command.expires_at)
            await _answer(me, command, "accepted")
            tasks.create_task(_carry_out(me, command), name=f"command {command.type}")


async def _received(me: Instance) -> AsyncIterator[Command]:
    """Commands as they come, in each tenure from the newest at its claim; a store that is away is tried again."""
    await me.wait_until(lambda: me.status.epoch is not None)
    epoch, after = me.status.epoch, me.commands_after
    while True:
        if me.status.epoch != epoch:  # the stream may have begun anew, with smaller ids
            epoch, after = me.status.epoch, me.commands_after
        try:
            after, arrived = await commands.receive(me.store, me.exchange, after=after, block_s=BLOCK_S)
        except PerseusError as error:
            if not isinstance(error, StoreUnavailable):
                await me.report_error(error)
            await me.clock.sleep(me.timing.retry_s)
            continue
        if me.status.epoch != epoch:
            continue  # read across a claim: what is meant for the new tenure is read again from its beginning
        for command in arrived:
            if isinstance(command, msgspec.MsgspecError):
                await me.report_error(f"A command could not be read and was ignored: {command}")
            else:
                yield command


async def _carry_out(me: Instance, command: Command) -> None:
    try:
        match command.type:
            case "start":
                await _start(me, command)
            case "stop":
                await _stop(me, command)
            case name if name in me.command_handlers:
                await _answer(me, command, "running")
                await me.command_handlers[name](command.payload)
                await _answer(me, command, "done")
            case name:
                await _answer(me, command, "refused", f"this instance has no command {name!r}")
    except Exception as error:  # noqa: BLE001  a handler's failure must not silence the commands after it
        await me.report_error(error)
        await _answer(me, command, "failed", one_line(error))


async def _start(me: Instance, command: Command) -> None:
    if me.state not in (_IDLE, _STOPPED) or me.is_start_pending:
        await _answer(me, command, "refused", f"it is {'starting' if me.is_start_pending else me.state} already")
        return
    me.request_start(by=command.issuer, reason=command.reason)
    await _answer(me, command, "running")
    await me.wait_until(lambda: not me.is_start_pending)
    await me.wait_until(lambda: me.state not in (_STARTING, _WARMING))
    if me.state is _ACTIVE:
        await _answer(me, command, "done", "active")
    else:
        await _answer(me, command, "failed", f"it is {me.state}: stopped, or the lease lost, before it was active")


async def _stop(me: Instance, command: Command) -> None:
    if me.state is _STOPPED and not me.is_start_pending:
        await _answer(me, command, "done", "it was stopped already")
        return
    await _answer(me, command, "running")
    await me.request_stop(by=command.issuer, why=command.reason, lasting=True)
    await me.wait_until(lambda: me.state in (_STOPPED, _IDLE))
    lapsed = "; the lease was lost meanwhile" if me.state is _IDLE else ""
    await _answer(me, command, "done", f"stopped{lapsed}")


async def _answer(me: Instance, command: Command, state: str, reason: str = "") -> None:
    """Reply to the sender and keep the outcome in the log, which has it even if the reply is lost."""
    if state != "running":
        me.log_command(command, outcome=state, reason=reason)
    answer = CommandReply(
        state=state,
        at=iso(me.store_time.now_ms()),
        reason=reason,
        instance_id=me.identity.instance_id,
        epoch=me.status.epoch,
    )
    try:
        await commands.reply(me.store, me.exchange, command.id, answer)
    except PerseusError as error:
        log.warning("reply_failed", exchange=me.exchange.name, command=command.id, error=str(error))
