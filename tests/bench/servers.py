"""The servers under a bench: a store, an etcd, processor time, and a proxy that counts round trips."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Self

from tests.support.etcd import Etcd, has_etcd
from tests.support.servers import Server, valkey_binary
from tests.support.system import short_directory


@contextmanager
def running_server() -> Iterator[Server]:
    """A Valkey of one's own without persistence, killed afterwards. Enter from the main thread."""
    with short_directory() as directory:
        server = Server(valkey_binary(), directory).start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def running_etcd(*, members: int = 1) -> Iterator[Etcd | None]:
    """An etcd of one's own, killed afterwards; None where this machine has none: the peer is left out then.

    Linux only: elsewhere its client would outlive the process that started it, which is killed here.
    """
    if sys.platform != "linux" or not has_etcd():
        yield None
        return
    with short_directory() as directory:
        etcd = Etcd(directory, members=members)
        try:
            yield etcd.start()
        finally:
            etcd.kill()


def server_cpu(server: Server) -> float:
    """Seconds of processor time the server has used, by its own account (microseconds fine)."""
    fields = dict(
        line.partition(":")[::2] for line in server.call("INFO", "cpu").decode().splitlines() if line[:1] != "#"
    )
    return float(fields["used_cpu_sys"]) + float(fields["used_cpu_user"])


def uptime_s(server: Server) -> int:
    """For how many whole seconds the server has been up."""
    text = server.call("INFO", "server").decode()
    return int(text.partition("uptime_in_seconds:")[2].split()[0])


class RoundTrips:
    """A proxy at `port` that counts how often a client had to wait for an answer.

    One round trip: bytes sent after an answer (or at first) up to the next answer, however many commands they hold.
    """

    def __init__(self, server: Server) -> None:
        self._target = ("127.0.0.1", server.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.count = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="round-trips", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as closing:
            for each in (self._listener, *self._sockets):
                closing.callback(each.close)
                with suppress(OSError):  # the other side was quicker
                    each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed: the bench is over
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            link = _Link()
            for source, target, is_request in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, target, link, is_request), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, link: _Link, is_request: bool) -> None:
        with suppress(OSError):  # either side left
            while data := source.recv(65536):
                if is_request and not link.is_waiting:
                    self.count += 1
                link.is_waiting = is_request
                target.sendall(data)


class _Link:
    """One connection: whether its client waits for an answer."""

    is_waiting = False
