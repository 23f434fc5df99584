"""`perseus serve`: tRPC API, login and watcher behind one port."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from perseus.cli.alerts import untold
from perseus.cli.options import running_store
from perseus.cli.signals import ENDING, stop_event
from perseus.cli.simulated import recognised
from perseus.settings import Settings, load_settings

if TYPE_CHECKING:
    from perseus.model import InstanceStatus


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen. Default: 127.0.0.1, this machine only.")
@click.option("--port", metavar="N", help="Which port. Default: 8777; 0 takes a free one.")
@click.option("--store", metavar="URL", help="Where the store is: `embedded` or redis://HOST:PORT.")
@click.option("--database", metavar="URL", help="Where the database is: sqlite:///PATH or postgresql://HOST/NAME.")
@click.option("--data-dir", metavar="DIR", help="Where the embedded store and the SQLite database are kept.")
def serve(*, host: str | None, port: str | None, store: str | None, database: str | None, data_dir: str | None) -> int:
    """Show the network to browsers and programs until Ctrl-C, and put on record what dies.

    Any number of servers may run beside each other, on any host that reaches the store and the database.
    """
    from perseus.cli.logs import configure_logging

    settings = recognised(
        load_settings(
            flags={"HOST": host, "PORT": port, "STORE_URL": store, "DATABASE_URL": database, "DATA_DIR": data_dir}
        )
    )
    configure_logging(settings)
    asyncio.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    with stop_event(insisting=ENDING) as stop:  # nothing is held here that an abrupt end would leave behind
        import structlog  # loaded in here: a Ctrl-C meanwhile must not cut off what is just being opened

        from perseus.cli.door import opened
        from perseus.cli.supervision import supervised

        log = structlog.get_logger()

        def recorded(dead: InstanceStatus) -> None:
            facts = {"hostname": dead.hostname, "last_heartbeat": dead.last_heartbeat}
            log.warning("instance_lost", exchange=dead.exchange_name, **facts)

        async with (
            running_store(settings) as store,
            opened(
                settings,
                store,
                detected_by=f"perseus serve on {settings.hostname}",
                on_record=recorded,
                on_trouble=lambda trouble: log.warning("loss_not_recorded", trouble=trouble),
            ) as door,
            supervised(stop=stop),
        ):
            log.info("serving", url=door.url, **({"simulated": True} if settings.is_simulated else {}))
            if (remark := untold(settings)) is not None:
                log.info("no_webhook", remark=remark)
            await door.web.run(door.port, stop=stop)
            log.info("stopped")
