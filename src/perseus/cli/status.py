"""`perseus status`: a card for each exchange, once or live."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from perseus.cli.alerts import look_at, remark
from perseus.cli.options import known_exchanges, reading, settings_options
from perseus.cli.output import echo_json, painted, say, wrapped
from perseus.cli.signals import run_until_signal
from perseus.clock import iso
from perseus.errors import PerseusError
from perseus.model import Exchange, exchange_named
from perseus.network.cards import Card, CardView, Health, view
from perseus.settings import Settings

if TYPE_CHECKING:
    from perseus import alerting
    from perseus.alerting import Alerting
    from perseus.network.observe import Observation

EVERY_S = 1.0


class StatusView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `perseus status --json` prints."""

    instances: Sequence[CardView]
    server_time: str
    alerts: alerting.StatusView | None


@click.command()
@click.argument("exchange", required=False)
@click.option("--json", "as_json", is_flag=True, help="As `network.getInstances` answers (docs/cli.md).")
@click.option("--watch", is_flag=True, help="Redraw every second until Ctrl-C; with --json a line whenever it is read.")
@settings_options
def status(exchange: str | None, as_json: bool, watch: bool, settings: Settings) -> int:
    """A card for each exchange, or for EXCHANGE.

    Exit code 1 if an exchange that should run is not active, 2 if the store cannot be read: that says nothing about
    the exchanges.
    """
    exchanges = known_exchanges(settings)
    if exchange is not None:
        exchanges = (exchange_named(exchange, exchanges),)
    if watch:
        return run_until_signal(_watch(settings, exchanges, as_json=as_json))
    return asyncio.run(_once(settings, exchanges, as_json=as_json, is_whole_network=exchange is None))


async def _once(settings: Settings, exchanges: Sequence[Exchange], *, as_json: bool, is_whole_network: bool) -> int:
    from perseus.cli.words import block, headline
    from perseus.network.observe import Network, Observation

    async with reading(settings) as store:
        observation, alerts = await asyncio.gather(Network(store, exchanges=exchanges).observe(), look_at(store))
    cards = shown(observation.cards) if is_whole_network else observation.cards
    if as_json:
        echo_json(_encoded(Observation(cards, observation.store_ms), alerts))
        return exit_code(cards)
    click.echo(headline(cards, observed_ms=observation.store_ms, is_simulated=settings.is_simulated))
    for card in cards:
        click.echo("\n".join(["", *block(card, now_ms=card.observed_ms)]))
    if (silence := remark(alerts)) is not None:
        click.echo(f"\n{painted(wrapped(silence, stream=sys.stdout), 'yellow')}")
    return exit_code(cards)


async def _watch(settings: Settings, exchanges: Sequence[Exchange], *, as_json: bool) -> int:
    from perseus.cli.live import LiveView
    from perseus.errors import StoreUnavailable
    from perseus.network.observe import Network, Observation

    live = LiveView(is_simulated=settings.is_simulated)
    async with reading(settings) as store:
        network = Network(store, exchanges=exchanges)
        while True:
            try:
                observation, alerts = await asyncio.gather(network.observe(), look_at(store))
            except StoreUnavailable as error:
                if as_json:
                    say(str(error))
                else:
                    live.show_blind(error)
            else:
                cards = shown(observation.cards) if len(exchanges) > 1 else observation.cards
                if as_json:
                    echo_json(_encoded(Observation(cards, observation.store_ms), alerts))
                else:
                    live.warn(remark(alerts))
                    live.show(Observation(cards, observation.store_ms))
            await asyncio.sleep(EVERY_S)


def _encoded(observation: Observation, alerts: Alerting | PerseusError) -> bytes:
    """The answer of `network.getInstances`, with that of `notify.getStatus` beside it; null: it cannot be told."""
    return msgspec.json.encode(
        StatusView(
            instances=[view(card) for card in observation.cards],
            server_time=iso(observation.store_ms),
            alerts=None if isinstance(alerts, PerseusError) else alerts.view(),
        )
    )


def shown(cards: Sequence[Card]) -> tuple[Card, ...]:
    """The cards of a network's overview: an exchange that is switched off appears only if something is there."""
    return tuple(card for card in cards if card.exchange.is_active or card.health is not Health.NEVER)


def exit_code(cards: Sequence[Card]) -> int:
    """0 all that should run is active, 1 something is not, 2 it cannot be told."""
    from perseus.cli.words import counted

    cards = counted(cards)
    if any(card.should_run and card.health is not Health.ACTIVE for card in cards):
        return 1
    return 2 if any(card.needs_attention for card in cards) else 0
