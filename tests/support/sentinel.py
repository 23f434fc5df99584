"""A real Sentinel trio watching over a primary with two replicas, that can fail over and lose its primary."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import redis

from tests.support.servers import Server
from tests.support.waiting import wait_until

SERVICE = "perseus"
_REPLICA = {"repl-ping-replica-period": "1", "repl-diskless-sync-delay": "0"}


class SentinelTrio:
    """Three servers, the first begins as primary, and three Sentinels that agree on its death after about a second.

    `call` and `all_keys` answer like a single server's, through the present primary. `config`, `acl`, `password` hold
    for the servers, `sentinel_acl`, `sentinel_password` for the Sentinels, `tls` for both.
    """

    def __init__(  # each is one independent property
        self,
        binary: Path,
        directory: Path,
        *,
        config: dict[str, str] | None = None,
        password: str = "",
        sentinel_password: str = "",
        sentinel_acl: Sequence[str] = (),
        tls: Path | None = None,
        **properties: Any,
    ):
        config = {**_REPLICA, **(config or {})} | ({"masterauth": password} if password else {})
        self.servers = [
            Server(binary, directory / f"s{n}", config=config, password=password, tls=tls, **properties)
            for n in range(3)
        ]
        self.sentinels = [
            Server(
                binary,
                directory / f"sentinel{n}",
                as_sentinel=True,
                password=sentinel_password,
                acl=sentinel_acl,
                tls=tls,
            )
            for n in range(3)
        ]
        self._password = password
        self._sentinel_password = sentinel_password
        self._tls = tls
        self._cleanup = ExitStack()

    @property
    def url(self) -> str:
        """The URL of the default user, naming all three Sentinels."""
        return self.url_for("", self._password) if self._password else f"redis+sentinel://{self._hosts}/{SERVICE}"

    def url_for(self, user: str, password: str) -> str:
        """The URL with these credentials for the servers."""
        option = f"?sentinel_password={self._sentinel_password}" if self._sentinel_password else ""
        return f"redis+sentinel://{user}:{password}@{self._hosts}/{SERVICE}{option}"

    def tls_url_for(self, user: str, password: str, *, sentinel_user: str = "", sentinel_password: str = "") -> str:
        """The URL with these credentials, encrypted everywhere, trusting the certificate given."""
        hosts = ",".join(f"127.0.0.1:{sentinel.tls_port}" for sentinel in self.sentinels)
        asked = f"&sentinel_username={sentinel_user}&sentinel_password={sentinel_password}" if sentinel_user else ""
        return f"rediss+sentinel://{user}:{password}@{hosts}/{SERVICE}?ssl_ca_certs={self._tls}{asked}"

    def repair(self) -> None:
        """Bring back every process that was killed or paused."""
        for server in (*self.sentinels, *self.servers):
            if server.is_running:
                server.resume()
            else:
                server.start()
        self.wait_until_whole()

    def start(self) -> Self:
        """Start everything; return once the replicas are in sync and every Sentinel knows all five others."""
        for server in (*self.servers, *self.sentinels):
            self._cleanup.callback(server.kill)
        primary, *replicas = self.servers
        for server in self.servers:
            server.start()
        for replica in replicas:
            replica.call("REPLICAOF", "127.0.0.1", _reached(primary))
        for sentinel in self.sentinels:
            sentinel.start()
            sentinel.call("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", _reached(primary), 2)
            options: dict[str, str | int] = {
                "down-after-milliseconds": 700,
                "failover-timeout": 3000,
                "parallel-syncs": 2,
            }
            options |= {"auth-pass": self._password} if self._password else {}
            # a returned server is looked at every 10 s otherwise
            sentinel.call("SENTINEL", "DEBUG", "INFO-PERIOD", 500, "PUBLISH-PERIOD", 500)
            for name, value in options.items():
                sentinel.call("SENTINEL", "SET", SERVICE, name, value)
        self.wait_until_whole()
        return self

    def kill(self) -> None:
        """kill -9 to every process."""
        self._cleanup.close()

    def wait_until_whole(self) -> None:
        """Return once all Sentinels agree on the primary, see each other, and both replicas are in sync with it."""
        wait_until(self._is_whole, description="the Sentinel trio is whole", timeout=30)

    def primary(self) -> Server:
        """The primary as the first running Sentinel names it."""
        sentinel = next(each for each in self.sentinels if each.is_running)
        _, port = sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if _reached(server) == int(port))

    def failover(self) -> None:
        """Let the Sentinels promote a replica; return once all of them name it."""
        before = self.primary()
        self.sentinels[0].call("SENTINEL", "FAILOVER", SERVICE)
        wait_until(lambda: self.primary() is not before, description="another primary is named", timeout=20)
        self.wait_until_whole()

    def call(self, *command: str | bytes | int | float) -> Any:
        """Send a command to the present primary."""
        return self.primary().call(*command)

    def client(self) -> redis.Redis:
        """A plain client of the present primary."""
        return self.primary().client()

    def all_keys(self) -> list[str]:
        """Every key of the present primary."""
        return self.primary().all_keys()

    @property
    def is_answering(self) -> bool:
        """Whether the primary answers."""
        return self.primary().is_answering

    @property
    def _hosts(self) -> str:
        return ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)

    def _is_whole(self) -> bool:
        try:
            named = {int(s.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1]) for s in self.sentinels}
            states = [_fields(s.call("SENTINEL", "MASTER", SERVICE)) for s in self.sentinels]
            role = self.primary().call("ROLE")
        except redis.RedisError:
            return False
        calm = all(
            (each[b"num-slaves"], each[b"num-other-sentinels"], each[b"flags"]) == (b"2", b"2", b"master")
            for each in states
        )
        return len(named) == 1 and calm and role[0] == b"master" and len(role[2]) == 2


def _reached(server: Server) -> int:
    """The port by which the Sentinels and the replicas reach it."""
    return server.tls_port or server.port


def _fields(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
