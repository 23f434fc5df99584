"""The exchanges we have an adapter for, imported only when one is opened."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple, cast

from perseus.clock import Clock
from perseus.errors import UnknownExchange
from perseus.exchanges.adapter import Adapter


class Venue(NamedTuple):
    """Where a venue lives, and the module whose `open_adapter` speaks its protocol.

    `quotes`: the currencies one of which ranks the symbols by volume, most traded of them first. Dollars and dollar
    tokens only, so that their volumes compare.
    """

    module: str
    rest_url: str
    ws_url: str
    quotes: tuple[str, ...]


ADAPTERS: dict[str, Venue] = {
    "binance": Venue(
        "perseus.exchanges.binance", "https://api.binance.com", "wss://stream.binance.com:9443", quotes=("USDT",)
    ),
    # Same protocol, other hosts and a smaller weight limit. Its dollar pairs were suspended for years: USD or USDT,
    # whichever is traded more now.
    "binance_us": Venue(
        "perseus.exchanges.binance", "https://api.binance.us", "wss://stream.binance.us:9443", quotes=("USD", "USDT")
    ),
}


def open_adapter(name: str, *, clock: Clock, rest_url: str | None = None, ws_url: str | None = None) -> Adapter:
    """The adapter of an exchange, on its own hosts unless URLs are given; enter it with `async with`.

    The URLs are bases: the venue's own paths (`/api/v3/…`, `/stream`) are appended.
    Raises: UnknownExchange if we have no adapter of this name.
    """
    venue = ADAPTERS.get(name)
    if venue is None:
        raise UnknownExchange(
            f"Perseus cannot take data from {name!r}: it has adapters for {', '.join(sorted(ADAPTERS))}. "
            f"Nothing was started. Name one of those, or keep the lease for a program of your own.",
            name=name,
        )
    venue = venue._replace(
        rest_url=(rest_url or venue.rest_url).rstrip("/"), ws_url=(ws_url or venue.ws_url).rstrip("/")
    )
    return cast(Adapter, import_module(venue.module).open_adapter(name, venue=venue, clock=clock))
