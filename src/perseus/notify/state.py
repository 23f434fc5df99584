"""What the notifier remembers: incidents, messages, and what each channel shows of them. Frozen values, no behaviour.

A message is what every channel *should* show. It changes by getting a higher `version`; a channel that shows an older
one, or none, is brought up to date with what the message says then. Moments are Unix ms by the store's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

Kind = Literal[
    "started",
    "stopped",
    "offline",
    "recovered",
    "lease_lost",
    "promoted",
    "handed_over",
    "error",
    "flapping",
    "reminder",
    "test",
]
# what may be switched off; the others follow from what was announced, or were asked for
ANNOUNCED: tuple[Kind, ...] = (
    "started",
    "stopped",
    "offline",
    "recovered",
    "lease_lost",
    "promoted",
    "handed_over",
    "error",
)
# what a line says of its exchange
Phase = Literal[
    "starting",
    "warming",
    "active",
    "stopping",
    "stopped",
    "offline",
    "lease_lost",
    "lease_lapsed",
    "recovered",
    "error",
    "promoted",
    "handed_over",
    "flapping",
    "stable",
    "switched_off",
]
Cause = Literal["offline", "lease_lost", "lease_lapsed"]
Resolution = Literal["recovered", "stopped", "switched_off", "unknown"]


class LogEvent(NamedTuple):
    """One entry of an exchange's activity log: stream id, and fields as text."""

    exchange_id: int
    exchange_name: str
    display_name: str
    id: str
    fields: Mapping[str, str]

    @property
    def ms(self) -> int:
        """When it was written."""
        return int(self.id.partition("-")[0])


class Seen(NamedTuple):
    """What a card shows of an exchange: `health` as in the API; whose tenure; `since_ms` of an outage.

    `should_run`: as last asked for; an exchange that nobody wants served is no outage.
    """

    exchange_id: int
    exchange_name: str
    display_name: str
    health: str
    epoch: int | None = None
    hostname: str = ""
    since_ms: int | None = None
    should_run: bool = True
    is_active: bool = True  # in the database


class Line(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a message says of one exchange. `since_ms`: when that began, of an outage the last heartbeat."""

    exchange_id: int
    exchange_name: str
    display_name: str
    phase: Phase
    since_ms: int
    until_ms: int | None = None  # when an outage was over
    hostname: str = ""
    ip: str = ""
    admin_email: str = ""
    next_hostname: str = ""  # who took over, or is coming back
    next_phase: str = ""  # and how far they are: starting, warming; of a stop that never ended also active
    last_state: str = ""  # before it was lost
    detail: str = ""  # a reason, an error's text, who stopped it
    count: int = 0  # errors of an episode, changes of a flapping one
    is_up: bool = False  # a flapping one that is served at this moment
    incident_id: str = ""
    acknowledged_by: str = ""
    acknowledged_reason: str = ""
    muted_until_ms: int | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What channels should show. `key` names it for ever; `about` is the message whose end this one tells."""

    key: str
    kind: Kind
    opened_ms: int
    version: int = 1
    changed_ms: int = 0
    is_loud: bool = False
    is_closed: bool = False  # nothing will be added any more
    of: int = 0  # active exchanges when it was opened
    lines: tuple[Line, ...] = ()
    about: str = ""
    only: str = ""  # the channel it is for; "": all
    asked_by: str = ""  # of a test


class Incident(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An exchange that is not served although it should be, from the first word of it to its end."""

    id: str  # `<exchange name>-<stream id of the entry that opened it>`
    exchange_id: int
    exchange_name: str
    display_name: str
    cause: Cause
    since_ms: int
    opened_ms: int
    hostname: str = ""
    ip: str = ""
    admin_email: str = ""
    last_state: str = ""
    detail: str = ""
    last_error: str = ""  # of whoever is trying to come back
    epoch: int = 0
    is_flapping: bool = False
    changes: int = 0
    resolved_ms: int | None = None
    resolution: Resolution | None = None
    acknowledged_by: str = ""
    acknowledged_reason: str = ""
    acknowledged_ms: int | None = None
    muted_until_ms: int | None = None  # None: not muted, or not any more
    muted_by: str = ""
    reminders: int = 0
    remind_ms: int | None = None  # when the next reminder is due
    message: str = ""  # the key of the message that tells of it
    version: int = 1  # raised by each change; `recorded_version` is what the database holds
    recorded_version: int = 0


class Told(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What is known of one exchange. `changes`: when it went down or came back last.

    `state` is the exchange's, whoever told of it last: a lifecycle state, or `offline`, or `failing` and `failed` of an
    instance that ended itself after an error. A gap being filled counts as active.
    """

    exchange_name: str
    display_name: str
    last_id: str = ""  # of the entry taken last
    epoch: int = 0
    settled_epoch: int = 0  # the newest tenure that became active or was stopped on purpose
    settled_ms: int = 0  # and when it did
    state: str = ""
    state_epoch: int = 0  # of the tenure that told it
    hostname: str = ""
    incident: str = ""  # the id of the open one
    changes: tuple[int, ...] = ()
    seqs: Mapping[str, int] = {}  # by tenure, the last number taken
    losses: tuple[str, ...] = ()  # the last tenures whose end was taken
    start_message: str = ""
    stop_message: str = ""
    error_message: str = ""
    last_error_ms: int = 0
    last_error: str = ""
    disagreeing_ms: int | None = None  # since when the card says otherwise
    was_active: bool = False  # in the database: it can be switched off


class State(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All of it: by exchange id, incidents open or not yet recorded as over, messages oldest first.

    `of`: how many exchanges were active when last told.
    """

    told: Mapping[int, Told] = {}
    incidents: Mapping[str, Incident] = {}
    messages: tuple[Message, ...] = ()
    of: int = 0


class Shown(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a channel shows of a message; no `message_id`: it needs nothing there, or a person deleted it."""

    version: int
    message_id: str = ""


class ChannelState(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What is remembered of a channel. `fingerprint` of its URL: another URL is another channel."""

    name: str
    fingerprint: str
    since_ms: int  # it is told of what was opened from here on
    shown: Mapping[str, Shown] = {}
    last_success_ms: int | None = None
    dead_reason: str = ""
    failing_reason: str = ""
    failing_since_ms: int | None = None
    dropped: int = 0  # messages it will never get


class Memory(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is kept in the store: positions in the logs, by exchange name, what was said, and to whom."""

    positions: Mapping[str, str] = {}
    state: State = State()
    channels: Mapping[str, ChannelState] = {}
