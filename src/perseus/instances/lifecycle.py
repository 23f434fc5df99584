"""The states of an instance and the legal transitions between them (REG-03). Pure."""

from __future__ import annotations

from perseus.errors import IllegalTransition
from perseus.model import ConnectionState

_IDLE, _STARTING, _WARMING = ConnectionState.IDLE, ConnectionState.STARTING, ConnectionState.WARMING
_ACTIVE, _STOPPING, _STOPPED = ConnectionState.ACTIVE, ConnectionState.STOPPING, ConnectionState.STOPPED

LEGAL: dict[ConnectionState, frozenset[ConnectionState]] = {
    _IDLE: frozenset({_STARTING, _STOPPING}),
    _STARTING: frozenset({_WARMING, _STOPPING}),
    _WARMING: frozenset({_ACTIVE, _STOPPING}),
    # a gap being filled after a reconnect: the data is not accurate, so it does not say active
    _ACTIVE: frozenset({_WARMING, _STOPPING}),
    _STOPPING: frozenset({_STOPPED}),
    _STOPPED: frozenset({_STARTING}),
}


def check(from_state: ConnectionState, to_state: ConnectionState) -> None:
    """Raise IllegalTransition unless an instance in `from_state` may go to `to_state`."""
    if to_state not in LEGAL[from_state]:
        allowed = ", ".join(sorted(LEGAL[from_state]))
        raise IllegalTransition(
            f"An instance cannot go from {from_state} to {to_state}; from there it can go to {allowed}."
        )
