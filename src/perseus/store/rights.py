"""Whether the store's user may do what an instance does: tried by commands that change nothing."""

from __future__ import annotations

from perseus import keys
from perseus.errors import StoreDenied
from perseus.model import SEEDED_EXCHANGES
from perseus.store.check import Finding, Severity
from perseus.store.connection import Store

_PROBED = next(exchange for exchange in SEEDED_EXCHANGES if exchange.is_active)
_KEY = keys.reply(_PROBED.id, "probe")  # within every pattern an instance is given, and never existing
_LOG = keys.log(_PROBED.name)
_WAKE = b'{"exchangeId":0,"kind":"probe","epoch":0}'  # readers of the channel ignore kinds they do not know
# Every command an instance or a script of ours needs, in a form that leaves nothing behind. (INFO is not needed.)
_HARMLESS: tuple[tuple[str | bytes | int, ...], ...] = (
    ("TIME",),
    ("GET", _KEY),
    ("PTTL", _KEY),
    ("SET", _KEY, "", "XX"),
    ("DEL", _KEY),
    ("EXPIRE", _KEY, 1),
    ("XADD", keys.log("probe"), "NOMKSTREAM", "*", "event", "probe"),
    ("XREVRANGE", _LOG, "+", "-", "COUNT", 1),
    ("XREAD", "COUNT", 1, "STREAMS", _LOG, "$"),
    ("ZADD", _KEY, "XX", 0, ""),
    ("ZRANGE", _KEY, 0, 0),
    ("ZREMRANGEBYSCORE", _KEY, 0, 0),
    ("ZREMRANGEBYRANK", _KEY, 0, 0),
    ("PUBLISH", keys.WAKE_CHANNEL, _WAKE),
    ("EVALSHA", "0" * 40, 1, _KEY),
    ("EVAL", "return 1", 1, _KEY),
)


async def check_rights(store: Store) -> list[Finding]:
    """One finding: what the user may not do, or that it may do everything an instance needs."""
    replies = await store.pipeline(*_HARMLESS)
    denied = [
        str(command[0]) for command, reply in zip(_HARMLESS, replies, strict=True) if isinstance(reply, StoreDenied)
    ]
    if not denied:
        return [Finding(name="rights", severity=Severity.OK, says="The user may do all an instance needs.")]
    rights = " ".join(f"+{command.lower()}" for command in denied)
    return [
        Finding(
            name="rights",
            severity=Severity.REFUSE,
            says=f"The user may not {', '.join(denied)} (or not on our keys), so an instance cannot run with it.",
            fix=f"Grant it: ACL SETUSER … {rights}, with the keys and channel that docs/store.md lists.",
        )
    ]
