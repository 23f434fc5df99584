"""STORE_URL: what may be in one, what it names, and how it is shown."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from perseus.errors import BadConfiguration
from perseus.settings import redacted

_TLS_OPTIONS = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_cert_reqs")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_NOT_A_URL = "it is not a URL (a host or port is malformed; percent-encode special characters in a password)"
_FORMS = (
    "`embedded`, redis://HOST:PORT, rediss://HOST:PORT, unix:///PATH, redis+cluster://HOST:PORT,HOST:PORT or "
    "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE"
)


class Address(NamedTuple):
    """Where a node listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Target(NamedTuple):
    """What a STORE_URL names: one server (`url`), or several addresses to ask where the nodes are.

    `service` is what the Sentinels call their primary. Credentials and options hold for every node.
    """

    kind: Literal["server", "cluster", "sentinel"]
    url: str
    addresses: tuple[Address, ...] = ()
    service: str = ""

    def node_url(self, address: Address) -> str:
        """The URL of another node of the same store, reached with the same credentials."""
        return self._url_of(address, credentials=_authority(self.url).rpartition("@")[0], path=self._database())

    def sentinel_url(self, address: Address) -> str:
        """The URL of one of the Sentinels, which have users and passwords of their own."""
        options = dict(parse_qsl(urlsplit(_one_host(self.url)).query))
        user, password = (quote(options.get(name, ""), safe="") for name in _SENTINEL_OPTIONS)
        return self._url_of(address, credentials=f"{user}:{password}" if user or password else "", path="")

    def _database(self) -> str:
        if self.kind != "sentinel":
            return ""
        _, _, database = urlsplit(_one_host(self.url)).path[1:].partition("/")
        return f"/{database}" if database else ""

    def _url_of(self, address: Address, *, credentials: str, path: str) -> str:
        scheme = re.split(r"\+|://", self.url, maxsplit=1)[0].replace("unix", "redis")
        options = parse_qsl(urlsplit(_one_host(self.url)).query)
        query = urlencode([(name, value) for name, value in options if name not in (*_SENTINEL_OPTIONS, "db")])
        at, mark = "@" if credentials else "", "?" if query else ""
        return f"{scheme}://{credentials}{at}{address}{path}{mark}{query}"


def parse_url(url: str) -> Target:
    """What the URL names. Raises: BadConfiguration for what cannot be used, or the client library would misread."""
    scheme, separator, _ = url.partition("://")
    parse = _PARSERS.get(scheme.removeprefix("rediss").removeprefix("redis")) if separator else None
    try:
        return (parse or _unknown)(url)
    except ValueError as error:
        raise BadConfiguration(f"STORE_URL {redacted(url)!r} cannot be used: {error}. Give {_FORMS}.") from error


def _unknown(url: str) -> Target:
    raise ValueError("it does not begin with one of these")


def _server(url: str) -> Target:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a bad one raises here
    except ValueError as error:  # its own words may quote the password
        raise ValueError(_NOT_A_URL) from error
    if parts.scheme == "unix" and not parts.path:
        raise ValueError("it names no socket")
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError(f"{parts.path!r} is not a database number")
    _check_options(url, "db")
    return Target("server", url)


def _cluster(url: str) -> Target:
    path = urlsplit(_one_host(url)).path
    if path not in ("", "/"):
        raise ValueError(f"{path!r} names a database, and a Cluster has only one")
    _check_options(url)
    return Target("cluster", url, _addresses(url, port=6379))


def _sentinel(url: str) -> Target:
    service, _, database = urlsplit(_one_host(url)).path[1:].partition("/")
    if not service:
        raise ValueError("it names no service: what the Sentinels call their primary, as in …/mymaster")
    if not re.fullmatch(r"\d*", database):
        raise ValueError(f"{database!r} is not a database number")
    _check_options(url, *_SENTINEL_OPTIONS)
    return Target("sentinel", url, _addresses(url, port=26379), unquote(service))


def _check_options(url: str, *also: str) -> None:
    known = (*also, *_TLS_OPTIONS) if url.startswith("rediss") else also
    for name, _ in parse_qsl(urlsplit(_one_host(url)).query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"option {name!r} is not known (there are {', '.join(known) or 'none'})")


def _addresses(url: str, *, port: int) -> tuple[Address, ...]:
    hosts = [host for host in _authority(url).rpartition("@")[2].split(",") if host]
    if not hosts:
        raise ValueError("it names no host")
    return tuple(_address(host, port=port) for host in hosts)


def _address(text: str, *, port: int) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        found = Address(parts.hostname or "", parts.port or port)
    except ValueError as error:  # its own words may quote the password
        raise ValueError(_NOT_A_URL) from error
    if not found.host:
        raise ValueError("it names a port without a host")
    return found


def _authority(url: str) -> str:
    return re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]


def _one_host(url: str) -> str:
    """The URL with its hosts left out, for a parser that knows only one."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://h{rest[len(_authority(url)) :]}"


_PARSERS = {"": _server, "unix": _server, "+cluster": _cluster, "+sentinel": _sentinel}
