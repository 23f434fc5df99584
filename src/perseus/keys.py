"""Every Redis key and channel: its name, type, TTL, writer and reader. Nothing else spells a key.

The status key and the log stream have prescribed names. Every other key of an exchange carries the hash tag
`{exchange:<id>:status}`, which hashes to the status key's own Cluster slot, so one script can check the lease and
write beside it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

WAKE_CHANNEL = "network:wake"  # pub/sub: {exchangeId, kind: heartbeat|changed|released|handoff, epoch}

LAST_TTL_S = 90 * 86_400
COMMANDS_TTL_S = 90 * 86_400
COMMANDS_KEPT = 1000  # MAXLEN ~
REPLY_TTL_S = 3600
WARMUP_RUNNING_TTL_S = 3600
WARMUP_REPORT_TTL_S = 90 * 86_400
LOG_RETENTION_MS = 90 * 86_400_000
NOTIFIER_TTL_S = 90 * 86_400
NOTIFIER_REQUESTS_TTL_S = 3600
NOTIFIER_REQUESTS_KEPT = 100  # MAXLEN ~


def status(exchange_id: int) -> str:
    """String, JSON, TTL = lease. Written by the holder only; read by everyone."""
    return f"exchange:{exchange_id}:status"


def log(exchange_name: str) -> str:
    """Stream, trimmed at 90 days. Written by the holder and whoever records a loss; read by feed and uptime."""
    return f"logs:network:{exchange_name}"


def epoch(exchange_id: int) -> str:
    """String, integer, no TTL. Written and read by the claim script."""
    return f"{{{status(exchange_id)}}}:epoch"


def primary(exchange_id: int) -> str:
    """String, `<replication id> <Unix us>`, 90 d: when a server that took over from another was first met as primary.

    Written and read by the claim script.
    """
    return f"{{{status(exchange_id)}}}:primary"


def last(exchange_id: int) -> str:
    """String, JSON, 90 d. Written by the renew and release scripts; read by cards, claimers, loss detection."""
    return f"{{{status(exchange_id)}}}:last"


def commands(exchange_id: int) -> str:
    """Stream, MAXLEN ~ 1000, 90 d. Written by the control plane; read by the instance from an id taken at claim."""
    return f"{{{status(exchange_id)}}}:commands"


def reply(exchange_id: int, command_id: str) -> str:
    """Stream, 1 h. Written by the instance; read by the command's sender."""
    return f"{{{status(exchange_id)}}}:reply:{command_id}"


def warmup(exchange_id: int) -> str:
    """String, JSON, 1 h while running, 90 d as a report. Written by the holder; read by cards."""
    return f"{{{status(exchange_id)}}}:warmup"


def candles(exchange_id: int, symbol: str, timeframe: str) -> str:
    """Sorted set scored by open time, no TTL, bounded by its write script. Written by the holder; read by consumers."""
    return f"{{{status(exchange_id)}}}:candles:{symbol}:{timeframe}"


def notifier() -> str:
    """String, JSON, TTL = the notifier's lease. Written by the notifier that holds it; read by everyone."""
    return "network:notifier"


def notifier_cursor() -> str:
    """Hash, 90 d: how far the logs were told, what was said to whom, how the channels are.

    Written by the notifier that holds the lease; `health` is read by everyone.
    """
    return f"{{{notifier()}}}:cursor"


def notifier_requests() -> str:
    """Stream, MAXLEN ~ 100, 1 h. Written by whoever asks for a test message; read by the notifier."""
    return f"{{{notifier()}}}:requests"


def notifier_probe() -> str:
    """No key, and never one: whoever wants to know whether the store takes writes tries to replace it."""
    return f"{{{notifier()}}}:probe"


class Declared(NamedTuple):
    """One kind of key: which names it has, its Redis type and whether it carries a TTL."""

    pattern: re.Pattern[str]
    type: str
    has_ttl: bool


_TAG = r"\{exchange:\d+:status\}"
DECLARED: tuple[Declared, ...] = (
    Declared(re.compile(r"exchange:\d+:status"), "string", has_ttl=True),
    Declared(re.compile(r"logs:network:[a-z0-9][a-z0-9_-]{0,31}"), "stream", has_ttl=False),
    Declared(re.compile(_TAG + ":epoch"), "string", has_ttl=False),
    Declared(re.compile(_TAG + ":last"), "string", has_ttl=True),
    Declared(re.compile(_TAG + ":primary"), "string", has_ttl=True),
    Declared(re.compile(_TAG + ":commands"), "stream", has_ttl=True),
    Declared(re.compile(_TAG + r":reply:[^:]+"), "stream", has_ttl=True),
    Declared(re.compile(_TAG + ":warmup"), "string", has_ttl=True),
    Declared(re.compile(r"network:notifier"), "string", has_ttl=True),
    Declared(re.compile(r"\{network:notifier\}:cursor"), "hash", has_ttl=True),
    Declared(re.compile(r"\{network:notifier\}:requests"), "stream", has_ttl=True),
    Declared(re.compile(_TAG + r":candles:[^:]+:(1m|5m|15m|1h|4h|1d)"), "zset", has_ttl=False),
)
