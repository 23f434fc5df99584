"""`perseus start` and `perseus stop`: a command to the instance that holds the exchange, and its life as it unfolds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from perseus.cli.options import known_exchanges, person, reading, settings_options
from perseus.errors import PerseusError, StoreUnavailable
from perseus.model import CommandReply, Exchange, InstanceStatus, exchange_named
from perseus.settings import Settings

if TYPE_CHECKING:
    from perseus.store import Store

_REASON = click.option("--reason", default="", metavar="TEXT", help="Kept in the activity log.")
_WAIT = click.option(
    "--wait", "wait_s", default=30.0, show_default=True, type=click.FloatRange(min=0), help="Seconds to wait for it."
)


@click.command()
@click.argument("exchange")
@_REASON
@_WAIT
@settings_options
def start(*, exchange: str, reason: str, wait_s: float, settings: Settings) -> int:
    """Ask the instance that holds EXCHANGE to start its work. It must be idle or stopped.

    Exit code 1 if it refuses, fails, or nobody answers.
    """
    target = exchange_named(exchange, known_exchanges(settings))
    return asyncio.run(_command("start", target, reason=reason, wait_s=wait_s, settings=settings))


@click.command()
@click.argument("exchange")
@_REASON
@_WAIT
@settings_options
def stop(*, exchange: str, reason: str, wait_s: float, settings: Settings) -> int:
    """Ask the instance that holds EXCHANGE to stop its work. Its process stays, so that `perseus start` reaches it.

    Exit code 1 if it refuses, fails, or nobody answers.
    """
    target = exchange_named(exchange, known_exchanges(settings))
    return asyncio.run(_command("stop", target, reason=reason, wait_s=wait_s, settings=settings))


async def _command(kind: str, exchange: Exchange, *, reason: str, wait_s: float, settings: Settings) -> int:
    from perseus import commands
    from perseus.clock import SystemClock

    async with reading(settings) as store:
        target, now_ms = await _target(store, exchange)
        command = commands.compose(kind, target=target, issuer=_issuer(settings), reason=reason, now_ms=now_ms)
        await commands.send(store, exchange, command)
        click.echo(f"{kind} {exchange.name}: asked {target.hostname}")
        last: CommandReply | None = None
        async for last in commands.follow_replies(store, exchange, command.id, clock=SystemClock(), wait_s=wait_s):
            click.echo(f"{kind} {exchange.name}: {last.state}{f' ({last.reason})' if last.reason else ''}")
    if last is not None and last.state in commands.FINAL:
        return 0 if last.state == "done" else 1
    raise _unfinished(kind, exchange, last, target=target, wait_s=wait_s)


async def _target(store: Store, exchange: Exchange) -> tuple[InstanceStatus, int]:
    """The tenure the command is for, and the store's time. Raises: PerseusError if there is none that could obey."""
    from perseus.network.cards import Health
    from perseus.network.observe import Network

    observation = await Network(store, exchanges=[exchange]).observe()
    card = observation.cards[0]
    if card.health in (Health.UNREADABLE, Health.UNKNOWN):
        raise StoreUnavailable(
            f'It cannot be told who holds "{exchange.name}": {card.reason}. Nothing was asked. See `perseus doctor`.'
        )
    if card.status is None:
        raise PerseusError(
            f'No instance holds "{exchange.name}", so nobody can be asked. Start one: `perseus run {exchange.name}`, '
            f"or a program of your own where Perseus has no adapter."
        )
    if card.status.instance_id is None or card.status.epoch is None:
        raise PerseusError(
            f'"{exchange.name}" is held by another program on {card.status.hostname}, which takes no commands of ours. '
            f"Nothing was asked. Use that program's own controls."
        )
    return card.status, observation.store_ms


def _unfinished(
    kind: str, exchange: Exchange, last: CommandReply | None, *, target: InstanceStatus, wait_s: float
) -> PerseusError:
    if last is None:
        return PerseusError(
            f'Nobody answered within {wait_s:g} s: "{exchange.name}" is held by {target.hostname}, whose last '
            f"heartbeat was at {target.last_heartbeat}. The command expires 30 s after it was sent and may "
            f"be carried out until then. See `perseus status {exchange.name}` and that process's log."
        )
    return PerseusError(
        f"{kind} {exchange.name} was {last.state} but is not finished after {wait_s:g} s; it goes on. "
        f"See `perseus status {exchange.name}`, or wait longer with --wait."
    )


def _issuer(settings: Settings) -> str:
    return settings.admin_email or person()
