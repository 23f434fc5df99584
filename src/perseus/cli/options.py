"""Options that several commands share, and what they turn into: settings, exchanges, a store to read."""

from __future__ import annotations

import functools
import getpass
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from perseus.cli.output import say
from perseus.cli.simulated import chosen_network
from perseus.errors import DatabaseUnavailable, StoreUnavailable, UnknownExchange
from perseus.model import SEEDED_EXCHANGES, Exchange, exchange_named
from perseus.settings import Settings, load_settings

if TYPE_CHECKING:
    from perseus.store import Store


class ExchangeName(click.ParamType[Exchange]):
    """An exchange that Perseus may be able to run, by its name. Raises: UnknownExchange naming those it can."""

    name = "exchange"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Exchange:
        """The exchange of this name."""
        if isinstance(value, Exchange):
            return value
        try:
            return exchange_named(value)
        except UnknownExchange as unknown:  # it may be one of the database, which `run` does not ask
            from perseus.exchanges import ADAPTERS

            raise UnknownExchange(
                f'Perseus has no adapter for "{value}"; it has them for {", ".join(ADAPTERS)}. Nothing was started. If '
                f"it is an exchange that was added to the network, a Python program of your own can serve it: "
                f'`perseus.instance("{value}", id=ID)`, with the ID that `perseus exchanges list` shows.',
                name=value,
            ) from unknown


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
        return command(*args, settings=_of_chosen_network(settings, simulated), **kwargs)

    return with_settings


def database_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --database, --data-dir and --simulated, and pass what they make of the settings as `settings`."""

    @click.option("--database", metavar="URL", help="Where the database is: sqlite:///PATH or postgresql://HOST/NAME.")
    @click.option("--data-dir", metavar="DIR", help="Where the SQLite database is, if none is named.")
    @click.option(
        "--simulated/--no-simulated",
        default=None,
        help="The network of `perseus up --simulate`, or not. Default: if it runs and nothing else is named.",
    )
    @functools.wraps(command)
    def with_settings(
        *args: Any, database: str | None, data_dir: str | None, simulated: bool | None, **kwargs: Any
    ) -> Any:
        settings = load_settings(flags={"DATABASE_URL": database, "DATA_DIR": data_dir})
        if simulated is None and settings.sources["DATABASE_URL"] != "default":
            simulated = False
        return command(*args, settings=_of_chosen_network(settings, simulated), **kwargs)

    return with_settings


def _of_chosen_network(settings: Settings, simulated: bool | None) -> Settings:
    settings, concluded = chosen_network(settings, simulated)
    if concluded:
        say(f"Using the simulated network in {settings.data_dir} (--no-simulated for the real one).")
    elif settings.is_simulated:
        say(f"The network in {settings.data_dir} is simulated.")
    return settings


def known_exchanges(settings: Settings) -> tuple[Exchange, ...]:
    """The exchanges of the database; where there is none yet, those every database begins with.

    A database that cannot be read is told of, and the latter are used: whoever looks at the network during an outage
    must not see less of it.
    """
    from perseus.database.listing import read_exchanges

    try:
        return read_exchanges(settings.database_url) or SEEDED_EXCHANGES
    except DatabaseUnavailable as error:
        say(f"{error} Going on with the exchanges that every database begins with.")
        return SEEDED_EXCHANGES


def person() -> str:
    """Who runs this command, and where: `ada@fra-1`. A claim, not a proof."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


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


@asynccontextmanager
async def running_store(settings: Settings) -> AsyncIterator[Store]:
    """The store, for a command that stays: the embedded one is run by us if nobody else of the data directory does."""
    from perseus.store import Store
    from perseus.store.embedded import embedded_store

    async with AsyncExitStack() as stack:
        local = settings.is_embedded
        store = Store(
            await stack.enter_async_context(embedded_store(settings.data_dir)) if local else settings.store_url
        )
        stack.push_async_callback(store.close)
        yield store
