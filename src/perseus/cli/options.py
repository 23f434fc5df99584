"""Options that several commands share, and what they turn into: settings, exchanges, a store to read."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from perseus.cli.output import say
from perseus.cli.simulated import chosen_network
from perseus.errors import StoreUnavailable
from perseus.model import Exchange, exchange_named
from perseus.settings import Settings, load_settings

if TYPE_CHECKING:
    from perseus.store import Store


class ExchangeName(click.ParamType[Exchange]):
    """An exchange by its name. Raises: UnknownExchange naming those there are."""

    name = "exchange"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Exchange:
        """The exchange of this name."""
        return value if isinstance(value, Exchange) else exchange_named(value)


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --store, --data-dir and --simulated, and pass what they make of the settings as `settings`."""

    @click.option("--store", metavar="URL", help="Where the store is: `embedded` or redis://HOST:PORT.")
    @click.option("--data-dir", metavar="DIR", help="Where the embedded store, logs and locks are kept.")
    @click.option(
        "--simulated/--no-simulated",
        default=None,
        help="The network of `perseus up --simulate`, or not. Default: if it runs and no other store is given.",
    )
    @functools.wraps(command)
    def with_settings(
        *args: Any, store: str | None, data_dir: str | None, simulated: bool | None, **kwargs: Any
    ) -> Any:
        settings = load_settings(flags={"STORE_URL": store, "DATA_DIR": data_dir})
        settings, concluded = chosen_network(settings, simulated)
        if concluded:
            say(f"Using the simulated network in {settings.data_dir} (--no-simulated for the real one).")
        return command(*args, settings=settings, **kwargs)

    return with_settings


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[Store]:
    """The store, for a command that only reads or asks: an embedded one is never started for that.

    Raises: StoreUnavailable if the embedded store does not run.
    """
    from perseus.store import Store
    from perseus.store.embedded import socket_path, url

    if settings.is_embedded and not socket_path(settings.data_dir).exists():
        raise StoreUnavailable(
            f"No embedded store runs in {settings.data_dir}, so nothing can be said about the network. Start one with "
            f"`perseus up`, or name the store meant: --store URL, PERSEUS_STORE_URL, --data-dir or --simulated."
        )
    store = Store(url(settings.data_dir) if settings.is_embedded else settings.store_url)
    try:
        yield store
    finally:
        await store.close()
