"""Who runs `perseus up` in a data directory, and where its simulator is. Both ends: `up` writes it, commands read it.

Simulated candles never mix with real ones: a simulated network has a data directory, and so a store, of its own in
DATA_DIR/simulated. Commands find it here, so that `perseus status` beside `perseus up --simulate` just works.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from perseus.errors import BadConfiguration, PerseusError, StoreUnavailable
from perseus.settings import EMBEDDED, SIMULATED, Settings, VenueUrls, database_file, sqlite_url


class Running(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A `perseus up` that is running: its process, and the simulator's URLs by exchange (empty: real exchanges)."""

    pid: int
    rest_urls: dict[str, str] = {}
    ws_urls: dict[str, str] = {}


def simulated_dir(data_dir: Path) -> Path:
    """The data directory of the simulated network."""
    return data_dir / "simulated"


@contextmanager
def holding(data_dir: Path) -> Iterator[Callable[[Running], None]]:
    """Be the only `perseus up` of this data directory for the block; the kernel takes it back when we die.

    Yields what publishes where the network is reached.
    Raises: PerseusError if another `perseus up` runs it; BadConfiguration if the directory cannot be written.
    """
    path = data_dir / "up.lock"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadConfiguration(
            f"DATA_DIR {str(data_dir)!r} cannot be written: {error.strerror} ({error.filename}). Nothing was started. "
            f"Make it writable or set PERSEUS_DATA_DIR to a directory that is."
        ) from error
    try:
        _hold(lock, data_dir)
        os.ftruncate(lock, 0)  # what the one before published
        yield lambda running: _publish(lock, running)
    finally:
        os.close(lock)


def _publish(lock: int, running: Running) -> None:
    os.pwrite(lock, msgspec.json.encode(running), 0)


def _hold(lock: int, data_dir: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        other = _decoded(os.pread(lock, 65_536, 0))
        raise PerseusError(
            f"`perseus up` already runs for {data_dir}{f' (pid {other.pid})' if other else ''}. Nothing was started. "
            f"End it with Ctrl-C in its terminal, or give this one another --data-dir."
        ) from error


def find(data_dir: Path) -> Running | None:
    """The `perseus up` running in this data directory; None if none does."""
    try:
        lock = os.open(data_dir / "up.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None  # no such file, or not ours to read: no network of this user
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _decoded(os.pread(lock, 65_536, 0))
    else:
        return None
    finally:
        os.close(lock)


def _decoded(raw: bytes) -> Running | None:
    try:
        return msgspec.json.decode(raw, type=Running)
    except msgspec.MsgspecError:
        return None  # its writer holds the lock and is about to write


def as_simulated(settings: Settings, running: Running) -> Settings:
    """These settings for the simulated network: its own directory, store and database, the simulator's URLs."""
    urls = {name: VenueUrls(rest, running.ws_urls.get(name)) for name, rest in running.rest_urls.items()}
    changed = ["DATA_DIR", "STORE_URL", "DATABASE_URL"]
    changed += [f"EXCHANGE_{name.upper()}_{kind}_URL" for name in urls for kind in ("REST", "WS")]
    return replace(
        settings,
        data_dir=simulated_dir(settings.data_dir),
        store_url=EMBEDDED,
        database_url=sqlite_url(database_file(simulated_dir(settings.data_dir))),
        venue_urls_by_exchange=urls,
        sources={**settings.sources, **dict.fromkeys(changed, SIMULATED)},
    )


def chosen_network(settings: Settings, simulated: bool | None) -> tuple[Settings, bool]:
    """The settings of the network meant, and whether that was concluded rather than asked for.

    `simulated` None: the simulated network if one runs and no store was configured and no real one runs here.
    Raises: StoreUnavailable if the simulated network was asked for and does not run.
    """
    if simulated is False:
        return settings, False
    running = find(simulated_dir(settings.data_dir))
    if simulated:
        if running is None:
            raise StoreUnavailable(
                f"No simulated network runs in {simulated_dir(settings.data_dir)}. Start it: `perseus up --simulate`."
            )
        return as_simulated(settings, running), False
    concluded = (
        running is not None and settings.sources.get("STORE_URL") == "default" and not _real_store_runs(settings)
    )
    return (as_simulated(settings, running), True) if running and concluded else (settings, False)


def _real_store_runs(settings: Settings) -> bool:
    import socket

    from perseus.store.embedded import socket_path

    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(socket_path(settings.data_dir)))
        except OSError:
            return False
        return True


def child_environment(settings: Settings) -> Mapping[str, str]:
    """The environment that gives a child process these settings, whatever files and flags they came from."""
    environment = {
        "PERSEUS_STORE_URL": settings.store_url,
        "PERSEUS_DATABASE_URL": settings.database_url,
        "PERSEUS_DATA_DIR": str(settings.data_dir),
    }
    for name, urls in settings.venue_urls_by_exchange.items():
        for kind, url in (("REST", urls.rest), ("WS", urls.ws)):
            if url:
                environment[f"PERSEUS_EXCHANGE_{name.upper()}_{kind}_URL"] = url
    return environment
