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


class _Kind(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What stays true of a data directory when its `perseus up` has ended."""

    is_simulated: bool = False


class Running(_Kind, frozen=True, kw_only=True, rename="camel"):
    """A `perseus up` that is running: its process, and the simulator's URLs by exchange (empty: real exchanges).

    `url`: where browsers find it; None if its database is another than the data directory's own, and so are its admins.
    """

    pid: int
    url: str | None = None
    rest_urls: dict[str, str] = {}
    ws_urls: dict[str, str] = {}


def simulated_dir(data_dir: Path) -> Path:
    """The data directory of the simulated network."""
    return data_dir / "simulated"


@contextmanager
def holding(data_dir: Path, *, is_simulated: bool = False) -> Iterator[Callable[[Running], None]]:
    """Be the only `perseus up` of this data directory for the block; the kernel takes it back when we die.

    Yields what publishes where the network is reached. Whether it is simulated is on record from the beginning, and
    stays so afterwards.
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
        _publish(lock, _Kind(is_simulated=is_simulated))  # over what the one before published
        yield lambda running: _publish(lock, running)
    finally:
        os.close(lock)


def _publish(lock: int, what: _Kind) -> None:
    os.ftruncate(lock, os.pwrite(lock, msgspec.json.encode(what), 0))


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
        return None  # its writer holds the lock and is about to publish the rest


def holds_simulated(data_dir: Path) -> bool:
    """Whether the last `perseus up` of this data directory was one with --simulate: it need not run any more."""
    try:
        return msgspec.json.decode((data_dir / "up.lock").read_bytes(), type=_Kind).is_simulated
    except (OSError, msgspec.MsgspecError):
        return False  # there was none, or not of this user


def as_simulated(settings: Settings, running: Running) -> Settings:
    """These settings for the simulated network: its own directory, store and database, the simulator's URLs."""
    home = simulated_dir(settings.data_dir)
    moved = replace(settings, data_dir=home, store_url=EMBEDDED, database_url=sqlite_url(database_file(home)))
    return _of_simulator(moved, running, "DATA_DIR", "DATABASE_URL")


def recognised(settings: Settings) -> Settings:
    """These settings; as those of a simulated network if it is one that the data directory named holds."""
    if not settings.is_embedded or not holds_simulated(settings.data_dir):
        return settings
    return _of_simulator(settings, find(settings.data_dir))


def _of_simulator(settings: Settings, running: Running | None, *changed: str) -> Settings:
    """The settings, known to be of a simulated network, with the URLs of its simulator if that runs."""
    rest_urls, ws_urls = (running.rest_urls, running.ws_urls) if running else ({}, {})
    urls = {name: VenueUrls(rest, ws_urls.get(name)) for name, rest in rest_urls.items()}
    names = [
        "STORE_URL",
        *changed,
        *(f"EXCHANGE_{name.upper()}_{kind}_URL" for name in urls for kind in ("REST", "WS")),
    ]
    return replace(
        settings,
        venue_urls_by_exchange={**settings.venue_urls_by_exchange, **urls},
        sources={**settings.sources, **dict.fromkeys(names, SIMULATED)},
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
    if running and settings.sources.get("STORE_URL") == "default" and not _real_store_runs(settings):
        return as_simulated(settings, running), True
    return recognised(settings), False


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
