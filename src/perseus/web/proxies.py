"""Who is at the other end: the client's address and scheme, through proxies that are trusted and no others.

`X-Forwarded-For` and `X-Forwarded-Proto` are words anyone can send. They count only as far as every hop that could have
changed them is one of TRUSTED_PROXIES. The web server's own handling of them must be off (`proxy_headers=False`): it
would believe whoever comes from 127.0.0.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

Address = IPv4Address | IPv6Address

_SECURE = {"http": "https", "ws": "wss"}


class TrustedProxies:
    """Addresses and networks (`127.0.0.1`, `10.0.0.0/8`) whose word about a client is believed."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(ip_network(each) for each in networks)

    def seen_through(self, scope: Scope) -> Scope:
        """The scope with the real client's address, and `https` or `wss` where a trusted proxy says so."""
        peer = parsed_address(scope["client"][0]) if scope.get("client") else None
        if peer is None or not self._trusts(peer):
            return scope
        headers = Headers(scope=scope)
        client = self._client(peer, ",".join(headers.getlist("x-forwarded-for")))
        port = scope["client"][1] if client == peer else 0
        seen = {**scope, "client": (str(client), port)}
        # the hop next to us wrote the last word
        if ",".join(headers.getlist("x-forwarded-proto")).rpartition(",")[2].strip().lower() == "https":
            seen["scheme"] = _SECURE.get(scope["scheme"], scope["scheme"])
        return seen

    def _client(self, peer: Address, forwarded_for: str) -> Address:
        """Walk back from us: the first address that is not a trusted proxy is the client, whatever stands before it."""
        client = peer
        for text in reversed(forwarded_for.split(",")):
            if (hop := parsed_address(text.strip())) is None:
                return client  # nothing before an unreadable entry can be believed
            client = hop
            if not self._trusts(hop):
                return client
        return client

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks if network.version == address.version)


@lru_cache(1024)
def parsed_address(text: str) -> Address | None:
    """The IP address of `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::1`, `[2001:db8::1]:4711`; None for anything else.

    An IPv4 address in IPv6 clothes (`::ffff:203.0.113.7`) is the IPv4 address: otherwise one client would be two.
    """
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def client_key(scope: Scope) -> str:
    """What counts as one client for the rate limits: an IPv4 address, or the /64 an IPv6 client has to itself."""
    client = scope.get("client")
    return _key(client[0]) if client else "local"  # a Unix socket


@lru_cache(1024)
def _key(client: str) -> str:
    address = parsed_address(client)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address or client)
