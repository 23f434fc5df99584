"""`perseus candles`: what an instance keeps of one market."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import click
import msgspec

from perseus.cli.options import known_exchanges, reading, settings_options
from perseus.cli.output import columns, echo_json, say
from perseus.clock import iso
from perseus.errors import PerseusError
from perseus.model import Candle, Exchange, Timeframe, exchange_named
from perseus.settings import Settings

GRACE_MS = 10_000  # the next candle may be on its way


class CandleView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A candle as JSON: moments as ISO texts, prices and volume as exact decimals in text."""

    open_time: str
    open: str
    high: str
    low: str
    close: str
    volume: str
    is_closed: bool
    is_synthetic: bool


class CandlesView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `perseus candles --json` prints."""

    exchange_name: str
    symbol: str
    timeframe: str
    candles: list[CandleView]


@click.command()
@click.argument("name", metavar="EXCHANGE")
@click.argument("symbol")
@click.option(
    "--timeframe", default="1m", show_default=True, type=click.Choice([timeframe.value for timeframe in Timeframe])
)
@click.option("--last", default=20, show_default=True, type=click.IntRange(1, 1_000_000), help="The newest so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/cli.md).")
@settings_options
def candles(*, name: str, symbol: str, timeframe: str, last: int, as_json: bool, settings: Settings) -> int:
    """The newest candles of SYMBOL (BTC-USDT) that EXCHANGE's instance keeps, oldest first. Times are UTC.

    Says so on stderr when they are not current. Exit code 1 if none are kept.
    """
    symbol, exchange = symbol.upper(), exchange_named(name, known_exchanges(settings))
    found, store_ms = asyncio.run(_read(settings, exchange, symbol, Timeframe(timeframe), last=last))
    if found and store_ms > found[-1].open_time + 2 * Timeframe(timeframe).ms + GRACE_MS:
        say(
            f"Not current: nobody has written {timeframe} candles of {symbol} since {iso(found[-1].open_time)}. Either "
            f"no instance serves {exchange.name} now, or it does not follow this symbol."
        )
    if as_json:
        echo_json(_encoded(exchange, symbol, timeframe, found))
        return 0 if found else 1
    if not found:
        raise PerseusError(
            f"The store keeps no {timeframe} candles of {symbol} from {exchange.name}. Symbols are written like "
            f"BTC-USDT; `perseus status {exchange.name}` tells whether its instance runs and has finished its warm-up."
        )
    for line in _table(found):
        click.echo(line)
    return 0


async def _read(
    settings: Settings, exchange: Exchange, symbol: str, timeframe: Timeframe, *, last: int
) -> tuple[list[Candle], float]:
    from perseus.candles import read

    async with reading(settings) as store:
        return await read(store, exchange.id, symbol, timeframe, last=last), await store.time_ms()


def _encoded(exchange: Exchange, symbol: str, timeframe: str, found: Sequence[Candle]) -> bytes:
    views = [
        CandleView(
            open_time=iso(candle.open_time),
            open=_text(candle.open),
            high=_text(candle.high),
            low=_text(candle.low),
            close=_text(candle.close),
            volume=_text(candle.volume),
            is_closed=candle.is_closed,
            is_synthetic=candle.is_synthetic,
        )
        for candle in found
    ]
    whole = CandlesView(exchange_name=exchange.name, symbol=symbol, timeframe=timeframe, candles=views)
    return msgspec.json.encode(whole)


def _table(found: Sequence[Candle]) -> list[str]:
    rows = [["open time (UTC)", "open", "high", "low", "close", "volume", ""]]
    for candle in found:
        remark = "forming" if not candle.is_closed else "no trades" if candle.is_synthetic else ""
        prices = [_text(value) for value in (candle.open, candle.high, candle.low, candle.close, candle.volume)]
        rows.append([iso(candle.open_time)[:16].replace("T", " "), *prices, remark])
    return columns(rows, right=range(1, 6), dim=lambda row: row[-1] != "")


def _text(value: Decimal) -> str:
    return f"{value:f}"
