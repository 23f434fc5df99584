"""`perseus simulate`: the exchange simulator alone, in the foreground."""

from __future__ import annotations

import errno
from pathlib import Path

import click

from perseus.errors import BadConfiguration


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8790, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--tls-port", type=click.IntRange(0, 65535), help="Listen with TLS too; needs --tls-cert and --tls-key.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate chain, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key, PEM.")
@click.option(
    "--seed", default=0, show_default=True, help="Another seed is another market; one seed is always the same."
)
@click.option("--replay", type=click.Path(path_type=Path), help="Play these recorded frames on every WebSocket.")
@click.option(
    "--speed", default=1.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Of --replay."
)
def simulate(
    *,
    host: str,
    port: int,
    tls_port: int | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    seed: int,
    replay: Path | None,
    speed: float,
) -> None:
    """Run the exchange simulator: every venue's real paths below its own prefix.

    Faults can be switched on while it runs, at /control.
    """
    import asyncio
    import signal

    from perseus.simulator.server import Simulator, serve

    async def run() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        simulator = await serve(
            host=host,
            port=port,
            seed=seed,
            replay=replay,
            speed=speed,
            tls_port=tls_port,
            tls_cert=tls_cert,
            tls_key=tls_key,
        )
        simulator.feeds.add_done_callback(lambda _: ended.set())
        _announce(simulator)
        await ended.wait()
        await simulator.aclose()

    def _announce(simulator: Simulator) -> None:
        for name in simulator.venues:
            click.echo(f"{name}: {simulator.url}/{name}  {simulator.ws_url}/{name}")
            if simulator.tls_port is not None:
                address = f"{host}:{simulator.tls_port}/{name}"
                click.echo(f"{name}: https://{address}  wss://{address}")
        click.echo(f"faults: {simulator.url}/control")

    try:
        asyncio.run(run())
    except (OSError, ValueError) as error:
        where = f"{host}:{port}" + ("" if tls_port is None else f" and {host}:{tls_port}")
        raise BadConfiguration(f"The simulator did not start on {where}: {_reason(error)}") from error


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return (
            "another program listens there already. Nothing was started. Choose another port with --port (or"
            " --tls-port), or end that program."
        )
    return f"{str(error).rstrip('.')}. Nothing was started."
