"""`perseus run`: one exchange instance in the foreground."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from perseus.cli.options import ExchangeName, settings_options
from perseus.cli.reaper import ended_under_us
from perseus.cli.signals import stop_event
from perseus.errors import BadConfiguration, BadUsage
from perseus.model import Exchange, Timeframe
from perseus.settings import Settings

if TYPE_CHECKING:
    from perseus.instances.instance import Instance
    from perseus.instances.run import Setup, Work

ALL_TIMEFRAMES = ",".join(timeframe.value for timeframe in Timeframe)
_SYMBOL = re.compile(r"\w+(-\w+)?")


@click.command()
@click.argument("exchange", type=ExchangeName())
@click.option("--idle", is_flag=True, help="Claim the exchange and wait for `perseus start`.")
@click.option(
    "--symbols", default="25", show_default=True, metavar="N|LIST", help="The N most traded, or BTC-USDT,ETH-USDT."
)
@click.option("--timeframes", default=ALL_TIMEFRAMES, show_default=True, metavar="LIST", help="Which candles to keep.")
@click.option("--unsafe-store", is_flag=True, help="Start although the store cannot be relied on (see doctor).")
@settings_options
def run(
    *, exchange: Exchange, idle: bool, symbols: str, timeframes: str, unsafe_store: bool, settings: Settings
) -> int:
    """Serve EXCHANGE until Ctrl-C or SIGTERM: claim it, fetch history, keep its candles current.

    Ends with 3 if another instance has it, with 4 when another instance has taken over. Paused past its lease (Ctrl-Z,
    a suspended host) it is ended by SIGKILL before it runs again.
    """
    if (code := ended_under_us()) is not None:
        return code
    work = _market_work(exchange, settings, symbols=parse_symbols(symbols), timeframes=parse_timeframes(timeframes))
    from perseus.cli.logs import configure_logging
    from perseus.instances.fence import tested_fence
    from perseus.instances.run import setup_from

    configure_logging(settings)
    setup = replace(setup_from(settings, exchange), unsafe_store=unsafe_store, fence=tested_fence())
    asyncio.run(_serve(setup, work, idle=idle))
    return 0


async def _serve(setup: Setup, work: Work, *, idle: bool) -> None:
    from perseus.cli.supervision import supervised
    from perseus.instances.run import attached, serve

    with stop_event() as shutdown:
        async with attached(setup) as me, supervised(stop=shutdown, ready=lambda: _claimed(me), alive=me.answers):
            await serve(me, work, idle=idle, shutdown=shutdown)


async def _claimed(me: Instance) -> None:
    await me.wait_until(lambda: me.holds)


def _market_work(
    exchange: Exchange, settings: Settings, *, symbols: int | tuple[str, ...], timeframes: tuple[Timeframe, ...]
) -> Work:
    """What the instance does while it is to run.

    Raises: BadUsage for an exchange we have no adapter for; BadConfiguration if real candles would go where simulated
        ones are.
    """
    require_adapter(exchange.name)
    from perseus.clock import SystemClock
    from perseus.exchanges import open_adapter
    from perseus.instances.ingest import follow_market

    urls = settings.venue_urls(exchange.name)
    if settings.is_simulated and not (urls.rest and urls.ws):
        raise BadConfiguration(
            f"{settings.data_dir} holds a simulated network, whose simulator does not run: candles of the real "
            f"exchange would mix with simulated ones. Nothing was started. Start the simulated network with "
            f"`perseus up --simulate`, or give another --data-dir."
        )
    clock = SystemClock()

    async def work(me: Instance) -> None:
        async with open_adapter(exchange.name, clock=clock, rest_url=urls.rest, ws_url=urls.ws) as adapter:
            await follow_market(me, adapter, symbols=symbols, timeframes=timeframes, candles_kept=settings.candles_kept)

    return work


def require_adapter(name: str) -> None:
    """Raise BadUsage unless we have an adapter for this exchange."""
    from perseus.exchanges import ADAPTERS

    if name not in ADAPTERS:
        raise BadUsage(
            f"Perseus has no adapter for {name} yet; it has them for {', '.join(ADAPTERS)}. Nothing was started. A "
            f'Python program of your own can serve it: `perseus.instance("{name}")`.'
        )


def parse_symbols(text: str) -> int | tuple[str, ...]:
    """`25` or `BTC-USDT,ETH-USDT`. Raises: BadUsage naming what cannot be meant."""
    if text.strip().lstrip("-").isdecimal():
        if int(text) < 1:
            raise BadUsage(f"--symbols {text} is too few; give 1 or more, or a list like BTC-USDT,ETH-USDT.")
        return int(text)
    names = [re.sub("[/_]", "-", part.strip().upper()) for part in text.split(",") if part.strip()]
    wrong = [name for name in names if not _SYMBOL.fullmatch(name)] or ([text] if not names else [])
    if wrong:
        raise BadUsage(
            f"--symbols {text!r} cannot be read: {', '.join(map(repr, wrong))} is no symbol. Give a number for the "
            f"most traded, or a list like BTC-USDT,ETH-USDT."
        )
    return tuple(dict.fromkeys(names))


def parse_timeframes(text: str) -> tuple[Timeframe, ...]:
    """`1m,5m` in order of length. Raises: BadUsage naming what is none."""
    names = {part.strip() for part in text.split(",") if part.strip()}
    known = [timeframe.value for timeframe in Timeframe]
    wrong = sorted(names - set(known))
    if wrong or not names:
        what = f"{', '.join(map(repr, wrong))} is no timeframe" if wrong else "it names none"
        raise BadUsage(f"--timeframes {text!r} cannot be used: {what}. There are {', '.join(known)}.")
    return tuple(timeframe for timeframe in Timeframe if timeframe.value in names)
