"""`perseus up`: the whole network on this machine, until Ctrl-C.

One embedded store, with --simulate one simulator, and a `perseus run` process for each exchange; a view of it all
here. A dead instance is not restarted: supervision is the operating system's job, and a person should know.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import click
import msgspec

from perseus.cli.alerts import WEBHOOKS, is_overlooked, look_at, remark
from perseus.cli.instances import Supervised
from perseus.cli.options import ExchangeName, running_store
from perseus.cli.output import say
from perseus.cli.processes import Child, how_it_ended
from perseus.cli.run import parse_symbols
from perseus.cli.signals import stop_event
from perseus.cli.simulated import Running, as_simulated, child_environment, holding, simulated_dir
from perseus.errors import BadUsage, PerseusError, StoreUnavailable
from perseus.model import SEEDED_EXCHANGES, Exchange
from perseus.settings import Settings, load_settings

if TYPE_CHECKING:
    from perseus.alerting import Alerting
    from perseus.cli.door import Door
    from perseus.cli.live import LiveView
    from perseus.model import InstanceStatus
    from perseus.network.observe import Network
    from perseus.store import Store

EVERY_S = 1.0
NOTIFIER_WITHIN_S = 10.0  # ours begins by then, also behind one that died
STOP_WITHIN_S = 15.0
SIMULATOR_READY_S = 20.0
SIMULATOR_STOP_S = 5.0


@click.command()
@click.argument("exchanges", nargs=-1, type=ExchangeName(), metavar="[EXCHANGE]...")
@click.option("--simulate", is_flag=True, help="Simulated exchanges; their data is kept apart from real data.")
@click.option("--symbols", default="25", show_default=True, metavar="N|LIST", help="As for `perseus run`.")
@click.option("--store", metavar="URL", help="Use this store instead of the embedded one.")
@click.option("--data-dir", metavar="DIR", help="Where the embedded store, database, logs and locks are kept.")
@click.option("--port", metavar="N", help="Of the web server. Default: 8777, or a free one if that is taken.")
def up(
    *,
    exchanges: tuple[Exchange, ...],
    simulate: bool,
    symbols: str,
    store: str | None,
    data_dir: str | None,
    port: str | None,
) -> int:
    """Run the whole network on this machine until Ctrl-C: store, exchanges, web server, and a live view.

    EXCHANGE: those to run; default: all active ones we have an adapter for.
    """
    parse_symbols(symbols)
    settings = load_settings(flags={"STORE_URL": store, "DATA_DIR": data_dir, "PORT": port})
    if simulate and not settings.is_embedded:
        say("Simulated data never goes to a configured store: --simulate uses an embedded one of its own.")
    return asyncio.run(_up(settings, _chosen(exchanges), simulate=simulate, symbols=symbols))


def _chosen(asked: Sequence[Exchange]) -> list[Exchange]:
    """The exchanges to run. Raises: BadUsage for one asked for that we have no adapter for."""
    from perseus.exchanges import ADAPTERS

    without = [exchange.name for exchange in asked or SEEDED_EXCHANGES if exchange.name not in ADAPTERS]
    if asked and without:
        raise BadUsage(
            f"Perseus has no adapter for {', '.join(without)} yet; it has them for {', '.join(ADAPTERS)}. "
            f"Nothing was started."
        )
    chosen = asked or [exchange for exchange in SEEDED_EXCHANGES if exchange.is_active]
    return [exchange for exchange in dict.fromkeys(chosen) if exchange.name in ADAPTERS]


async def _up(settings: Settings, exchanges: Sequence[Exchange], *, simulate: bool, symbols: str) -> int:
    from perseus.cli.door import login_url
    from perseus.cli.live import LiveView
    from perseus.cli.logs import configure_logging
    from perseus.network.observe import Network

    here = _here(settings, simulate=simulate)
    again = here + _again(settings, simulate=simulate, symbols=symbols)
    home = simulated_dir(settings.data_dir) if simulate else settings.data_dir
    with stop_event() as asked:
        async with AsyncExitStack() as stack:
            publish = stack.enter_context(holding(home, is_simulated=simulate))
            running = Running(pid=os.getpid())
            if simulate:
                running = await stack.enter_async_context(_simulator(settings))
                _require_simulated(exchanges, running)
                settings = as_simulated(settings, running)
            store = await stack.enter_async_context(_store(settings))
            network = Network(store)
            logs = settings.data_dir / "logs"
            logs.mkdir(parents=True, exist_ok=True)
            configure_logging(settings, to=stack.enter_context((logs / "web.log").open("a", buffering=1)))
            view = LiveView(is_simulated=simulate)
            door = await stack.enter_async_context(_door(settings, store, view))
            publish(msgspec.structs.replace(running, url=door.url if settings.has_own_database else None))
            view.footer = [f"Open {await login_url(door, settings)}", *_footer(settings, simulate=simulate)]
            for line in view.footer:
                view.introduce(line)
            network.exchanges = await _known(door)
            inactive = {exchange.id for exchange in network.exchanges if not exchange.is_active}
            for exchange in exchanges:
                if exchange.id in inactive:
                    view.note(
                        f"{exchange.name} is inactive in the database, so pages, counts and alerts leave it out. "
                        f"Count it: `perseus exchanges enable {exchange.name}{here}`"
                    )
            instances = [
                Supervised(exchange, _child(exchange, settings, symbols=symbols), network, view.note, again=again)
                for exchange in exchanges
            ]
            watching = _watch(store, network, view, door=door)
            return await _until_stopped(instances, watching, view, asked, door=door)


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[Store]:
    """The store, run by us if it is the embedded one, and fit for leases."""
    from perseus.clock import SystemClock
    from perseus.store.check import require_usable
    from perseus.timing import LeaseTiming

    async with running_store(settings) as store:
        timing = LeaseTiming(settings.heartbeat_interval, settings.lease_ttl)
        replicas = settings.store_wait_replicas
        await require_usable(store, clock=SystemClock(), timing=timing, replicas=replicas, unsafe=False)
        yield store


def _door(settings: Settings, store: Store, view: LiveView) -> AbstractAsyncContextManager[Door]:
    """The web server; its watcher puts a death on record although nobody starts the exchange again."""
    from perseus.cli.door import opened

    def recorded(dead: InstanceStatus) -> None:
        view.note(
            f"{dead.exchange_name}: the loss of its instance on {dead.hostname}, last heard of at "
            f"{dead.last_heartbeat}, is on record."
        )

    return opened(
        settings, store, detected_by=f"perseus up on {settings.hostname}", on_record=recorded, on_trouble=view.note
    )


@asynccontextmanager
async def _simulator(settings: Settings) -> AsyncIterator[Running]:
    """The simulator as a process of ours on a free port, and where it serves each exchange."""
    child = Child(
        "simulate", "--port", "0", environment={}, log=simulated_dir(settings.data_dir) / "logs/simulator.log"
    )
    output = await child.start(piped=True)
    try:
        rest_urls: dict[str, str] = {}
        ws_urls: dict[str, str] = {}
        try:
            async with asyncio.timeout(SIMULATOR_READY_S):
                while (
                    output is not None
                    and (line := (await output.readline()).decode())
                    and not line.startswith("faults")
                ):
                    name, _, urls = line.partition(": ")
                    rest_urls[name], ws_urls[name] = urls.split()
        except TimeoutError as error:
            raise PerseusError(
                f"The simulator did not start within {SIMULATOR_READY_S:g} s; see {child.log}."
            ) from error
        if not rest_urls:
            ended = how_it_ended(await child.wait())
            raise PerseusError(
                f"The simulator {ended} before it served anything: {child.last_words()} See {child.log}."
            )
        yield Running(pid=os.getpid(), is_simulated=True, rest_urls=rest_urls, ws_urls=ws_urls)
    finally:
        await child.stop(within_s=SIMULATOR_STOP_S)


def _require_simulated(exchanges: Sequence[Exchange], running: Running) -> None:
    missing = [exchange.name for exchange in exchanges if exchange.name not in running.rest_urls]
    if missing:
        raise BadUsage(
            f"The simulator does not play {', '.join(missing)}; it plays {', '.join(running.rest_urls)}. "
            f"Nothing was started."
        )


def _child(exchange: Exchange, settings: Settings, *, symbols: str) -> Child:
    return Child(
        "run",
        exchange.name,
        "--no-simulated",
        "--symbols",
        symbols,
        environment=child_environment(settings),
        log=settings.data_dir / "logs" / f"{exchange.name}.log",
    )


async def _until_stopped(
    instances: Sequence[Supervised],
    watch: Coroutine[Any, Any, int],
    view: LiveView,
    asked: asyncio.Event,
    *,
    door: Door,
) -> int:
    """Watch until a signal, or until every instance has refused to start; then stop everything. The exit code."""
    looking_after = [asyncio.create_task(each.look_after(), name=each.exchange.name) for each in instances]
    watching = asyncio.create_task(watch, name="view")
    closing = asyncio.Event()
    serving = asyncio.create_task(door.web.run(door.port, stop=closing), name="web")
    stopping = asyncio.create_task(asked.wait(), name="signal")
    refusing = asyncio.create_task(_all_refused(looking_after), name="refused")
    tasks = [*looking_after, watching, stopping, refusing]
    try:
        await asyncio.wait({watching, serving, stopping, refusing}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.is_set():
            if serving.done():
                serving.result()  # it ends by a fault of ours only, which must not pass unseen
            return refusing.result() if refusing.done() else await watching
        ours = ", ".join(each.exchange.name for each in instances if each.child.is_running)
        view.note(f"Stopping: {ours}" if ours else "Stopping; no instance of ours runs.")
        return 0
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(each.child.stop(within_s=STOP_WITHIN_S) for each in instances))
        closing.set()  # last: who looks sees how the instances stop
        await asyncio.gather(serving, return_exceptions=True)
        view.note("Stopped.")


async def _all_refused(looking_after: Sequence[asyncio.Task[int | None]]) -> int:
    """The first refusal once every instance has ended by a fault of its settings or arguments; else never."""
    codes = await asyncio.gather(*looking_after)
    refusals = [code for code in codes if code]
    if not codes or len(refusals) < len(codes):
        await asyncio.Event().wait()
    return refusals[0]


async def _watch(store: Store, network: Network, view: LiveView, *, door: Door) -> int:
    """Show what `perseus status` shows, from what the pages count."""
    from perseus.cli.status import shown

    began = asyncio.get_running_loop().time()
    while True:
        network.exchanges = tuple(door.web.exchanges) or network.exchanges
        try:
            observation, alerts = await asyncio.gather(network.observe(), look_at(store))
        except StoreUnavailable as error:
            view.show_blind(error)
        else:
            begins = asyncio.get_running_loop().time() < began + NOTIFIER_WITHIN_S
            if not (begins and _has_no_notifier(alerts)):
                view.warn(remark(alerts))
            view.show(observation._replace(cards=shown(observation.cards)))
        await asyncio.sleep(EVERY_S)


def _has_no_notifier(alerts: Alerting | PerseusError) -> bool:
    return not isinstance(alerts, PerseusError) and alerts.holder is None


def _again(settings: Settings, *, simulate: bool, symbols: str) -> str:
    """The options with which `perseus run EXCHANGE` joins this network, after those of `_here`."""
    is_named = settings.sources.get("STORE_URL") == "flag" and not simulate
    store = f" --store {settings.store_url}" if is_named else ""
    return store + (f" --symbols {symbols}" if symbols != "25" else "")


def _here(settings: Settings, *, simulate: bool) -> str:
    """The options with which any command means this network."""
    home = f" --data-dir {settings.data_dir}" if settings.sources.get("DATA_DIR") == "flag" else ""
    return (" --simulated" if simulate else "") + home


async def _known(door: Door) -> tuple[Exchange, ...]:
    """The exchanges of the database."""
    from perseus.database.exchanges import read_all

    async with door.database.reading() as connection:
        return tuple(await read_all(connection))


def _footer(settings: Settings, *, simulate: bool) -> list[str]:
    from perseus.exchanges import ADAPTERS

    without = [exchange.name for exchange in SEEDED_EXCHANGES if exchange.is_active and exchange.name not in ADAPTERS]
    kind = "Simulated" if simulate else "Real"
    lines = [f"{kind} exchanges · data in {settings.data_dir} · logs in its logs/ · Ctrl-C stops everything"]
    lines += [f"No adapter yet, not started: {', '.join(without)}"] if without else []
    return lines + ([f".env has {WEBHOOKS} without PERSEUS_, so it has no effect"] if is_overlooked(settings) else [])
