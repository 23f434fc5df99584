"""Which keys a test left behind that `perseus.keys` does not declare."""

from __future__ import annotations

from perseus.keys import DECLARED
from tests.support.servers import StoreServer


def undeclared_keys(server: StoreServer) -> list[str]:
    """One sentence for each key without a declaration, of another type, or without its TTL (or with one too many)."""
    return [fault for key in server.all_keys() if (fault := _fault(server, key))]


def _fault(server: StoreServer, key: str) -> str | None:
    declared = next((each for each in DECLARED if each.pattern.fullmatch(key)), None)
    if declared is None:
        return f"{key}: not declared"
    kind, ttl_ms = server.call("TYPE", key).decode(), server.call("PTTL", key)
    if kind == "none" or ttl_ms == -2:
        return None  # it expired between the two looks
    if kind != declared.type:
        return f"{key}: a {kind}, declared as {declared.type}"
    if declared.has_ttl and ttl_ms < 0:
        return f"{key}: has no TTL"
    if not declared.has_ttl and ttl_ms >= 0:
        return f"{key}: has a TTL of {ttl_ms} ms, declared without"
    return None
