"""What instances leave in a store, written without them: every state of a card, and an activity log."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from perseus import keys, lease
from perseus.clock import iso
from perseus.model import DesiredState, InstanceStatus, WarmupProgress, exchange_named
from tests.support.instances import payload
from tests.support.servers import Server

STATES = {
    "binance": "active",
    "bitfinex": "starting",
    "bybit": "warming",
    "kucoin": "stopping",
    "okx": "late",
    "kraken": "offline",
    "coinbase": "stopped",
    "gemini": "idle",
    "bitstamp": "never started",
    "htx": "unreadable",
    "gateio": "unknown",
}
NAMES = tuple(STATES)
HOUR = 3600.0


def ago(seconds: float) -> str:
    """A moment so long ago, as records hold it."""
    return iso(round((time.time() - seconds) * 1000))


def id_of(name: str, names: tuple[str, ...] = NAMES) -> int:
    """The exchange's id in a database made with these names."""
    seeded = {"coinbase", "binance", "kraken"}
    return exchange_named(name).id if name in seeded else 100 + names.index(name)


def status_of(
    name: str, *, age_s: float, interval_s: float = 15.0, ttl_s: float = HOUR, **fields: Any
) -> InstanceStatus:
    """What an instance says of itself, its last heartbeat so long ago."""
    told: dict[str, Any] = {
        "exchange_id": id_of(name),
        "exchange_name": name,
        "instance_id": f"instance-of-{name}",
        "hostname": f"fra-{name}",
        "ip_address": f"203.0.113.{id_of(name)}",
        "admin_email": "ada@example.org",
        "admin_display_name": "Ada Lovelace",
        "symbol_count": 25,
        "connection_state": "active",
        "connected_at": ago(4 * HOUR + 23 * 60),
        "last_state_change": ago(4 * HOUR + 23 * 60),
        "desired_state": DesiredState(state="running"),
    }
    found = payload(age_s=age_s, **(told | fields))
    return msgspec.structs.replace(found, heartbeat_interval_ms=round(interval_s * 1000), ttl_ms=round(ttl_s * 1000))


def hold(store: Server, status: InstanceStatus, *, age_s: float) -> None:
    """Let an instance hold its exchange as if its last renewal was so long ago."""
    ttl_ms = (status.ttl_ms or 0) - round(age_s * 1000)
    store.call("SET", keys.status(status.exchange_id), lease.encode_status(status), "PX", ttl_ms)
    leave(store, status)


def leave(store: Server, status: InstanceStatus) -> None:
    """What is left of an instance that is gone."""
    store.call("SET", keys.last(status.exchange_id), lease.encode_status(status), "EX", keys.LAST_TTL_S)


def publish(store: Server, name: str, *, age_s: float = 2.0, **fields: Any) -> None:
    """A status and its last snapshot, as a renewal leaves them."""
    hold(store, status_of(name, age_s=age_s, **fields), age_s=age_s)


def warm(store: Server, name: str) -> None:
    """A warm-up under way."""
    progress = WarmupProgress(
        percent=44.4,
        eta_seconds=12.0,
        current_symbol="BTC-USDT",
        done=11,
        total=25,
        failures=("DOGE-USDT",),
        started_at=ago(20),
        candles_fetched=66_000,
    )
    store.call("SET", keys.warmup(id_of(name)), msgspec.json.encode(progress), "EX", keys.WARMUP_RUNNING_TTL_S)


def write_states(store: Server) -> None:
    """One exchange in each state a card can have (STATES). Starting and idle ones are not connected yet."""
    fresh: dict[str, Any] = {"interval_s": 600.0}
    unconnected: dict[str, Any] = fresh | {"connected_at": None, "last_state_change": ago(5), "symbol_count": 0}
    publish(store, "binance", **fresh)
    publish(store, "bitfinex", **unconnected, connection_state="starting")
    publish(store, "bybit", **unconnected, connection_state="warming")
    warm(store, "bybit")
    publish(store, "kucoin", **fresh, connection_state="stopping")
    publish(store, "okx", age_s=40, last_error="stream closed: 1006", last_error_at=ago(50))
    leave(store, status_of("kraken", age_s=300, ttl_s=45, last_error="read timed out", last_error_at=ago(310)))
    leave(store, _stopped("coinbase"))
    idle = DesiredState(state="stopped")
    publish(store, "gemini", **unconnected, connection_state="idle", desired_state=idle)
    store.call("SET", keys.status(id_of("htx")), "{not a status", "PX", round(HOUR * 1000))
    leave(store, status_of("htx", age_s=60))
    leave(store, status_of("gateio", age_s=5))  # its status key is gone before its lease is over


def _stopped(name: str) -> InstanceStatus:
    stopped = status_of(name, age_s=600, connection_state="stopped")
    by = DesiredState(state="stopped", by="grace@example.org", at=ago(600))
    return msgspec.structs.replace(stopped, released_at=ago(600), released_by="grace@example.org", desired_state=by)


def log(store: Server, name: str, **fields: str) -> str:
    """An entry of the activity log, of now; its id."""
    told = {
        "event": "error",
        "exchangeId": str(id_of(name)),
        "exchangeName": name,
        "timestamp": ago(0),
        "hostname": f"fra-{name}",
        "ip": f"203.0.113.{id_of(name)}",
        "adminEmail": "ada@example.org",
        "instanceId": f"instance-of-{name}",
    } | fields
    pairs = [part for pair in told.items() for part in pair]
    return str(store.call("XADD", keys.log(name), "*", *pairs).decode())


def log_many(store: Server, name: str, texts: list[str]) -> None:
    """An error for each of these texts, oldest first."""
    for text in texts:
        log(store, name, error=text)


def tenure(store: Server, name: str) -> None:
    """What an instance that warms up has left in the log."""
    for before, after in (("idle", "starting"), ("starting", "warming")):
        log(store, name, event="state_transition", fromState=before, toState=after)


def write_everything(store: Server) -> None:
    """Every state, and some of each kind of entry."""
    write_states(store)
    log(store, "kraken", event="instance_lost", state="active")
    for n in range(3):
        log(store, "okx", error="stream closed: 1006")
        log(store, "binance", event="state_transition", fromState="warming", toState="active", reason=f"tenure {n}")
    log(store, "coinbase", event="command", command="stop", issuedBy="grace@example.org", outcome="done")
