"""What can be made to go wrong while the simulator runs: posted to `/control`, listed there, deleted there.

`POST /control {"fault": "silent", "symbol": "BTCUSDT", "seconds": 30}`; `GET /control` lists what is active;
`DELETE /control` ends all, `DELETE /control/3` one. Every fault takes `venue` (all without it). A lasting fault ends
after `seconds`, after `count` uses, or when deleted.

| fault | parameters | does |
| --- | --- | --- |
| `reset` | | drops every WebSocket now, with a TCP reset |
| `close_24h` | | closes every WebSocket now, as the venue does after 24 hours |
| `shutdown` | `ms` = 1000 | sends `serverShutdown` to every WebSocket and closes it after `ms` |
| `text` | `text` | sends this text to every WebSocket now; by default something that is not JSON |
| `silent` | `symbol` | sends no market data; sockets stay, pings and acknowledgements go on |
| `skip_trades` | `symbol` | leaves out trade frames, so that ids are missing |
| `no_close` | `symbol` | never says that a candle closed (`x: true`) |
| `late_close` | `symbol`, `ms` | says so this much later |
| `revise` | `symbol` | says first that a candle closed without its last trade, and corrects it a second later |
| `duplicate` | `symbol` | sends every data frame twice |
| `reorder` | `symbol` | sends the data frames of a stream in swapped pairs |
| `no_pong` | | leaves the client's pings unanswered |
| `http` | `status`, `retry_after`, `path` | answers REST requests with 429, 418, 451, 500 … |
| `slow` | `ms`, `path` | delays REST answers |
| `holes` | `symbol`, `every` = 7 | leaves every n-th candle out of the REST answer |
| `refuse` | | resets every new connection before answering |
| `skew` | `ms` | sets the venue's clock ahead (or back, if negative) |

`symbol` is the venue's own id; `path` a part of the request's path.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

AT_ONCE = frozenset({"reset", "close_24h", "shutdown", "text"})
LASTING = frozenset(
    {
        "silent",
        "skip_trades",
        "no_close",
        "late_close",
        "revise",
        "duplicate",
        "reorder",
        "no_pong",
        "http",
        "slow",
        "holes",
        "refuse",
        "skew",
    }
)

DEFAULT_TEXT = "CloudFlare WebSocket proxy restarting"


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that goes wrong. Units: `seconds` and `retry_after` in seconds, `ms` in milliseconds."""

    fault: str
    id: int = 0
    venue: str | None = None
    symbol: str | None = None
    path: str | None = None
    seconds: float | None = None
    count: int | None = None
    status: int = 500
    retry_after: int | None = None
    ms: int = 1000
    every: int = 7
    text: str = DEFAULT_TEXT


class FaultBoard:
    """The lasting faults that are active now."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._active: dict[int, tuple[Fault, float | None]] = {}
        self._next_id = 1

    def post(self, fault: Fault) -> Fault:
        """Activate a lasting fault and return it with its id. Raises: ValueError for an unknown name."""
        if fault.fault not in LASTING | AT_ONCE:
            known = ", ".join(sorted(LASTING | AT_ONCE))
            raise ValueError(f'There is no fault "{fault.fault}". Known are: {known}.')
        fault.id, self._next_id = self._next_id, self._next_id + 1
        if fault.fault in LASTING:
            ends_at = None if fault.seconds is None else self._monotonic() + fault.seconds
            self._active[fault.id] = (fault, ends_at)
        return fault

    @property
    def is_any_active(self) -> bool:
        """True while anything may be wrong; cheap, for every frame."""
        return bool(self._active)

    def active(self) -> list[Fault]:
        """List what is active, oldest first; `count` is what is left of it."""
        now = self._monotonic()
        self._active = {
            id_: (fault, ends_at)
            for id_, (fault, ends_at) in self._active.items()
            if (ends_at is None or now < ends_at) and fault.count != 0
        }
        return [fault for fault, _ in self._active.values()]

    def clear(self, fault_id: int | None = None) -> int:
        """End one fault, or all; return how many."""
        ended = list(self._active) if fault_id is None else [fault_id] if fault_id in self._active else []
        for id_ in ended:
            del self._active[id_]
        return len(ended)

    def find(self, name: str, *, venue: str, symbol: str | None = None, path: str | None = None) -> Fault | None:
        """Return the newest active fault of this name that applies here, without using it up."""
        if not self._active:
            return None
        for fault in reversed(self.active()):
            if (
                fault.fault == name
                and fault.venue in (None, venue)
                and (fault.symbol is None or symbol is None or fault.symbol == symbol)
                and (fault.path is None or path is None or fault.path in path)
            ):
                return fault
        return None

    def take(self, name: str, *, venue: str, symbol: str | None = None, path: str | None = None) -> Fault | None:
        """Return such a fault and count one use of it."""
        fault = self.find(name, venue=venue, symbol=symbol, path=path)
        if fault is not None and fault.count is not None:
            fault.count -= 1
        return fault
