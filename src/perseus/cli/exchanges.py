"""`perseus exchanges`: which exchanges the network knows, under which id, and which should run."""

from __future__ import annotations

from collections.abc import Iterable

import click
import msgspec

from perseus.cli.data import Change, changing
from perseus.cli.options import database_options
from perseus.cli.output import columns, echo_json, say
from perseus.model import SEEDED_EXCHANGES, Exchange
from perseus.settings import Settings


class ExchangeView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An exchange as JSON."""

    id: int
    name: str
    display_name: str
    is_active: bool
    rest_url: str | None
    ws_url: str | None


class ExchangesView(msgspec.Struct, frozen=True, kw_only=True):
    """What `perseus exchanges list --json` prints."""

    exchanges: list[ExchangeView]


@click.group()
def exchanges() -> None:
    """The exchanges of the network: their ids never change, for other programs know them by those."""


@exchanges.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/cli.md).")
@database_options
def list_(*, as_json: bool, settings: Settings) -> int:
    """Every exchange, by id. Changes nothing, not even the version of the database."""
    from perseus.database.listing import read_exchanges

    found = read_exchanges(settings.database_url)
    if found is None:
        say("There is no database yet: these are the exchanges it will begin with.")
    _show(SEEDED_EXCHANGES if found is None else found, as_json=as_json)
    return 0


@exchanges.command()
@click.argument("name")
@click.option("--id", "exchange_id", type=int, required=True, help="As the other programs of the network know it.")
@click.option("--display-name", metavar="TEXT", help="As people read it. Default: the name.")
@click.option("--rest-url", metavar="URL", help="Where its REST API is; for your records.")
@click.option("--ws-url", metavar="URL", help="Where its WebSocket API is; for your records.")
@click.option("--inactive", is_flag=True, help="Do not count it among those that should run.")
@database_options
def add(
    *,
    name: str,
    exchange_id: int,
    display_name: str | None,
    rest_url: str | None,
    ws_url: str | None,
    inactive: bool,
    settings: Settings,
) -> int:
    """Add the exchange NAME (a-z, 0-9, _ and -) under an id of your choice. Both are for good."""
    from perseus.database import exchanges

    wanted = Exchange(
        id=exchange_id,
        name=name,
        display_name=display_name or name,
        is_active=not inactive,
        rest_url=rest_url,
        ws_url=ws_url,
    )

    async def work(change: Change) -> Exchange:
        return await exchanges.add(change.connection, wanted, by=change.by, now_ms=change.now_ms)

    added = changing(settings, work)
    click.echo(f"Added {added.name} ({added.display_name}) with the id {added.id}, {_activity(added)}.")
    return 0


@exchanges.command()
@click.argument("name")
@database_options
def enable(*, name: str, settings: Settings) -> int:
    """Count NAME among the exchanges that should run. Starts nothing."""
    from perseus.database import exchanges

    async def work(change: Change) -> Exchange:
        return await exchanges.enable(change.connection, name, by=change.by, now_ms=change.now_ms)

    click.echo(f"{changing(settings, work).name} is active: it is missed when no instance serves it.")
    return 0


@exchanges.command()
@click.argument("name")
@database_options
def disable(*, name: str, settings: Settings) -> int:
    """No longer count NAME among the exchanges that should run. Stops nothing."""
    from perseus.database import exchanges

    async def work(change: Change) -> Exchange:
        return await exchanges.disable(change.connection, name, by=change.by, now_ms=change.now_ms)

    found = changing(settings, work)
    click.echo(f"{found.name} is inactive: nobody misses it. An instance of it that runs goes on.")
    return 0


def _show(found: Iterable[Exchange], *, as_json: bool) -> None:
    if as_json:
        views = [ExchangeView(**msgspec.structs.asdict(exchange)) for exchange in found]
        echo_json(msgspec.json.encode(ExchangesView(exchanges=views)))
        return
    rows = [["id", "name", "display name", "", "REST", "WebSocket"]]
    for each in found:
        urls = [each.rest_url or "", each.ws_url or ""]
        rows.append([str(each.id), each.name, each.display_name, _activity(each), *urls])
    if not any(row[4] or row[5] for row in rows[1:]):
        rows = [row[:4] for row in rows]
    for line in columns(rows, right=(0,), dim=lambda row: row[3] == "inactive"):
        click.echo(line)


def _activity(exchange: Exchange) -> str:
    return "active" if exchange.is_active else "inactive"
