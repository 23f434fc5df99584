"""Every exception Perseus raises. A message says what failed, what is true now, and what to do.

The class docstring is the default message; the facts are attributes too, and `exit_code` is what the command line
ends with (`interfaces.md`: 1 not as it should be, 2 cannot tell, 3 claimed, 4 lease lost, 64 usage, 78 configuration).
"""

from __future__ import annotations

from typing import Any, ClassVar


class PerseusError(Exception):
    """Perseus failed."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str | None = None, **facts: Any) -> None:
        super().__init__(message or type(self).__doc__)
        for name, value in facts.items():
            setattr(self, name, value)


class BadUsage(PerseusError):
    """The command cannot be understood."""

    exit_code = 64


class BadInput(BadUsage):
    """A field of the input cannot be used. `field` is its name as programs write it."""

    field: str = ""


class BadConfiguration(PerseusError):
    """The settings cannot work. `faults` lists every one of them, a sentence each."""

    exit_code = 78
    faults: tuple[str, ...] = ()


class BadFlag(BadConfiguration):
    """The flags cannot work, and nothing else is wrong with the settings."""

    exit_code = 64


class UnknownExchange(BadUsage):
    """There is no such exchange. `name`: as asked for; `field`: where an input named it."""

    name: str
    field: str = "exchangeName"


class UnknownAdmin(BadUsage):
    """No admin has this e-mail address."""


class UnknownToken(BadUsage):
    """There is no such API token."""


class UnknownIncident(BadUsage):
    """There is no such incident."""

    field: str = "incidentId"


class NoOpenIncident(UnknownIncident):
    """The exchange has no open incident: it was meant rightly, and is as it should be or not told of yet."""

    exit_code = 1


class IncidentOver(PerseusError):
    """The incident is over, so nobody is reminded of it any more. `resolved_at`, `resolution`: since when, and how."""

    resolved_at: str
    resolution: str


class UnknownChannel(BadUsage):
    """No channel of this name is set. `channels` are those that are."""

    field: str = "channel"
    channels: tuple[str, ...] = ()


class AlreadyExists(PerseusError):
    """The database holds this already."""


class DatabaseUnavailable(PerseusError):
    """The database gave no usable answer; what was being changed is unchanged, unless its commit was cut off."""

    exit_code = 2


class DatabaseUnsuitable(PerseusError):
    """The database is newer than this program, or not one of Perseus."""

    exit_code = 78


class NotSignedIn(PerseusError):
    """Nobody we know is asking. `reason` is one word for programs: missing, malformed, unknown, expired, revoked, …"""

    reason: str = "missing"


class NotAllowed(PerseusError):
    """Who asks may not do this. `needed` is the least role that may, `role` what they have."""

    needed: str
    role: str


class TooOften(PerseusError):
    """Too many requests. `retry_after_s` says when the next will be heard, whole seconds."""

    retry_after_s: int


class InvalidSymbols(PerseusError):
    """The exchange does not trade all of the symbols asked for. `unknown` names them."""

    exit_code = 64
    unknown: tuple[str, ...]


class StoreUnavailable(PerseusError):
    """The store gave no answer in time; whether it did what was asked is unknown."""

    exit_code = 2


class StoreRefused(StoreUnavailable):
    """The store answered with an error (out of memory, read-only, loading, no quorum) and did nothing.

    `reason` is what it answered.
    """

    reason: str = ""


class NotReplicated(StoreUnavailable):
    """Fewer replicas than STORE_WAIT_REPLICAS confirmed a write in time: a failover could lose it."""


class NotCurrent(StoreUnavailable):
    """The store cannot be read, so what was read last says nothing about now.

    `observed_at` is when everything was last read, ISO by the store's clock; None: never.
    """

    observed_at: str | None = None


class StoreDenied(PerseusError):
    """The store refused our credentials or a command our user may not run."""

    exit_code = 78


class UnreadableKey(PerseusError):
    """A key holds something that is not ours to read: another type, not JSON, or not of the documented shape.

    It is never overwritten. `key` and `reason` say which and why.
    """

    exit_code = 2
    key: str
    reason: str


class ExchangeClaimed(PerseusError):
    """Another instance serves this exchange. `status` is its payload, `ttl_ms` what is left of its lease."""

    exit_code = 3
    status: Any  # model.InstanceStatus
    ttl_ms: int | None = None


class ExchangeMisnamed(PerseusError):
    """Two databases gave one id to two exchanges."""

    exit_code = 78


class ExchangeSettling(PerseusError):
    """The exchange is free but may not be claimed yet. `wait_ms` says for how long, `reason` why."""

    exit_code = 3
    wait_ms: int
    reason: str


class LeaseLost(PerseusError):
    """This instance no longer holds the exchange: it must not emit anything.

    `reason` is one of `taken` (another holder), `missing` (the key is gone), `expired` (no renewal was confirmed
    before the deadline), `released`; `holder` is the raw payload of the other holder, if one was seen.
    """

    exit_code = 4
    reason: str = "expired"
    holder: bytes | None = None


class StaleEpoch(LeaseLost):
    """A write was refused by the store because another tenure holds the exchange. `epoch` was ours."""

    epoch: int


class IllegalTransition(PerseusError):
    """The lifecycle has no such transition."""


class StopRequested(PerseusError):
    """A stop command ended the work; the instance is `stopping`. `by` and `why` say on whose behalf."""

    exit_code = 0
    by: str = ""
    why: str = ""
    is_lasting: bool = True  # an admin wants it stopped; otherwise only this process ends


class VenueUnavailable(PerseusError):
    """The exchange did not answer, or answered with an error that may pass."""


class ConnectionEnding(VenueUnavailable):
    """The exchange announced that it will close the connection: reconnect at once."""


class VenueRefused(PerseusError):
    """The exchange refuses to serve us (HTTP 451, a ban, an invalid request): trying again will not help."""


class CannotListen(PerseusError):
    """The port cannot be opened. `is_taken`: another program listens on it."""

    exit_code = 78
    is_taken: bool = False
