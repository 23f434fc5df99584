"""What one client may take of this server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds and rhythms of every connection. Units: bytes, seconds, counts.

    Raises: ValueError if events are not pinged more often than clients are told to wait for them.
    """

    body_bytes: int = 1 << 20
    url_bytes: int = 32 << 10
    frame_bytes: int = 1 << 20
    batch_calls: int = 20
    body_timeout_s: float = 30.0
    # A client that takes nothing for this long while something is to be sent is cut off.
    stall_timeout_s: float = 20.0
    events_ping_s: float = 1.0
    # Told to clients of server-sent events, who then connect again after so much silence; None leaves it to them.
    events_reconnect_s: float | None = 5.0
    jsonl_ping_s: float = 0.5
    sockets: int = 2000
    # Of these, sockets nobody is known for yet: in all, and of one client.
    sockets_waiting: int = 1000
    client_sockets_waiting: int = 50
    event_streams: int = 2000
    socket_ping_s: float = 30.0
    socket_pong_s: float = 5.0
    socket_subscriptions: int = 100
    socket_calls: int = 200
    # A client that connects again sends all its subscriptions in one frame.
    socket_batch_calls: int = 200
    # A client that asks too often is read on after a pause, and after so many pauses in a row closed.
    socket_pause_s: float = 0.05
    socket_pauses: int = 100
    # How long a socket with connectionParams may take to send them.
    socket_params_s: float = 10.0

    def __post_init__(self) -> None:
        if self.events_reconnect_s is not None and self.events_ping_s >= self.events_reconnect_s:
            raise ValueError(
                f"events_ping_s {self.events_ping_s:g} must be less than events_reconnect_s "
                f"{self.events_reconnect_s:g}: clients would leave a healthy stream as dead."
            )
