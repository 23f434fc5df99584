"""The values everything else speaks of: frozen, without behaviour beyond what they say about themselves.

JSON names are camelCase. Timestamps in JSON are ISO-8601 UTC with milliseconds and `Z`, by the store's clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from perseus.errors import BadUsage, UnknownExchange


def valid_text(text: str) -> str:
    """The text without lone surrogates: remote JSON and the environment may hold them, UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


class ConnectionState(StrEnum):
    """What an instance says of itself."""

    IDLE = "idle"
    STARTING = "starting"
    WARMING = "warming"
    ACTIVE = "active"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Role(StrEnum):
    """The most an admin or a token may do, least first; what that is stands in `web/access.py`."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    OWNER = "owner"


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """A venue of the network. `name` is its slug: `^[a-z0-9][a-z0-9_-]{0,31}$`."""

    id: int
    name: str
    display_name: str
    is_active: bool = True
    rest_url: str | None = None
    ws_url: str | None = None


LARGEST_EXCHANGE_ID = 2**31 - 1
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

# A new database begins with these; without one they are all there is. Ids are fixed for ever: other programs of the
# network use them too.
SEEDED_EXCHANGES: tuple[Exchange, ...] = (
    Exchange(id=1, name="coinbase", display_name="Coinbase"),
    Exchange(id=2, name="binance", display_name="Binance"),
    Exchange(id=3, name="binance_us", display_name="Binance US", is_active=False),
    Exchange(id=4, name="kraken", display_name="Kraken"),
)


def exchange_named(name: str, exchanges: Iterable[Exchange] = SEEDED_EXCHANGES) -> Exchange:
    """The exchange of this name among these. Raises: UnknownExchange, naming those that exist."""
    exchanges = tuple(exchanges)
    for exchange in exchanges:
        if exchange.name == name:
            return exchange
    known = ", ".join(exchange.name for exchange in exchanges)
    raise UnknownExchange(f'There is no exchange "{name}". Known exchanges: {known}.', name=name)


def exchange_with(exchange_id: int, name: str, **more: Any) -> Exchange:
    """An exchange that is not one of the seeded ones. Raises: BadUsage for an id or a name that cannot be."""
    if not 0 < exchange_id <= LARGEST_EXCHANGE_ID:
        raise BadUsage(f"The id {exchange_id} must be between 1 and {LARGEST_EXCHANGE_ID}.")
    if not _SLUG.fullmatch(name):
        raise BadUsage(
            f"The name {name!r} must have 1 to 32 of the characters a-z, 0-9, _ and -, the first one a letter or digit."
        )
    return Exchange(id=exchange_id, name=name, **({"display_name": name} | more))


class DesiredState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an admin last asked for, kept in `last` so that it outlives the process."""

    state: str  # "running" | "stopped"
    by: str = ""
    at: str = ""


class InstanceStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The status payload. Readers need only the first eleven fields; other programs write it too."""

    exchange_id: int
    exchange_name: str
    connection_state: ConnectionState
    connected_at: str | None
    last_heartbeat: str
    symbol_count: int
    admin_email: str
    admin_display_name: str
    ip_address: str | None
    hostname: str
    last_error: str | None
    # ours besides
    instance_id: str | None = None
    epoch: int | None = None
    claim_id: str | None = None
    rev: int | None = None
    registered_at: str | None = None
    last_state_change: str | None = None
    last_error_at: str | None = None
    country_code: str | None = None
    heartbeat_interval_ms: int | None = None
    ttl_ms: int | None = None
    version: str | None = None
    pid: int | None = None
    boot_id: str | None = None
    lock_file: str | None = None
    started_at: str | None = None
    last_message_at: str | None = None
    desired_state: DesiredState | None = None
    handoff_to: dict[str, Any] | None = None
    # only in `last`: the lease was given back on purpose
    released_at: str | None = None
    released_by: str | None = None


class WarmupProgress(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The `warmup` key: progress while warming, the report afterwards. Units: symbols, seconds."""

    percent: float
    eta_seconds: float | None
    current_symbol: str | None
    done: int
    total: int
    failures: tuple[str, ...] = ()
    started_at: str = ""
    finished_at: str | None = None
    candles_fetched: int = 0
    candles_kept: int = 0  # already in the store, not fetched again


class Command(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A request to an instance. `key_id` and the signature beside it are carried, not yet checked."""

    id: str
    type: str  # start | stop | restart | handoff | backfill | reload
    payload: dict[str, Any]
    issuer: str
    reason: str
    issued_at: str
    expires_at: str
    target_instance: str
    target_epoch: int
    nonce: str
    key_id: str = ""


class CommandReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One step in a command's life: accepted, running, then done, failed or refused."""

    state: str
    at: str
    reason: str = ""
    instance_id: str = ""
    epoch: int | None = None


class Symbol(msgspec.Struct, frozen=True, kw_only=True):
    """A market: `name` is ours (`BTC-USDT`), `native` the exchange's (`BTCUSDT`)."""

    name: str
    native: str
    base: str
    quote: str
    quote_volume_24h: Decimal = Decimal(0)


class Timeframe(StrEnum):
    """A candle's length. All align to 00:00 UTC; `4h` to multiples of 14 400 s."""

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    H1 = "1h"
    H4 = "4h"
    D1 = "1d"

    @property
    def ms(self) -> int:
        """The length in milliseconds."""
        return _TIMEFRAME_MS[self.value]

    def open_of(self, unix_ms: int) -> int:
        """The open time, Unix ms, of the candle that contains this moment."""
        return unix_ms - unix_ms % self.ms


_TIMEFRAME_MS = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000, "4h": 14_400_000, "1d": 86_400_000}


class Candle(msgspec.Struct, frozen=True, kw_only=True):
    """Open, high, low, close and base volume of one timeframe. `open_time`: Unix ms, UTC.

    `is_closed` is false while the candle is forming. `is_synthetic`: no trade happened, so it is flat at the last
    close with volume 0; the exchange did not send it.
    """

    open_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    is_closed: bool
    is_synthetic: bool = False


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One execution. `time`: Unix ms by the exchange."""

    symbol: str  # native
    id: int
    price: Decimal
    quantity: Decimal
    time: int
    buyer_is_maker: bool
