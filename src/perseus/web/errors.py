"""What a client is told of our exceptions: one table from error class to tRPC code."""

from __future__ import annotations

from typing import Any, Final

from perseus.errors import (
    AlreadyExists,
    BadInput,
    BadUsage,
    DatabaseUnavailable,
    DatabaseUnsuitable,
    IncidentOver,
    NotAllowed,
    NotCurrent,
    NotSignedIn,
    PerseusError,
    StoreDenied,
    StoreUnavailable,
    TooOften,
    UnknownAdmin,
    UnknownChannel,
    UnknownExchange,
    UnknownIncident,
    UnknownToken,
    UnreadableKey,
)
from perseus.web.trpc import Code, TRPCError, invalid_input

CODES: Final[dict[type[PerseusError], Code]] = {
    BadInput: "BAD_REQUEST",
    BadUsage: "BAD_REQUEST",
    UnknownExchange: "NOT_FOUND",
    UnknownIncident: "NOT_FOUND",
    UnknownChannel: "NOT_FOUND",
    IncidentOver: "CONFLICT",
    UnknownAdmin: "NOT_FOUND",
    UnknownToken: "NOT_FOUND",
    AlreadyExists: "CONFLICT",
    UnreadableKey: "UNPROCESSABLE_CONTENT",
    NotCurrent: "SERVICE_UNAVAILABLE",
    StoreUnavailable: "SERVICE_UNAVAILABLE",
    StoreDenied: "SERVICE_UNAVAILABLE",
    DatabaseUnavailable: "SERVICE_UNAVAILABLE",
    DatabaseUnsuitable: "SERVICE_UNAVAILABLE",
    NotSignedIn: "UNAUTHORIZED",
    NotAllowed: "FORBIDDEN",
    TooOften: "TOO_MANY_REQUESTS",
}
# What programs may want to read of an exception, by its name there: its name in `data`.
_FACTS: Final = {"reason": "reason", "needed": "needed", "role": "role", "retry_after_s": "retryAfter"}
# Told to people nobody has identified, too: where the database is, and what it said, stays in our log.
_NO_DATABASE: Final = "The database does not answer, so nobody can be identified. Perseus' log says more."


def described(error: Exception) -> TRPCError | None:
    """The error as a client is told of it; None for one that is not in the table, which is nobody's business.

    Shape of its data: `zodError` where a field of the input is at fault, `observedAt` where the network is not seen,
    of the guard's refusals `reason`, `needed` and `role`, or `retryAfter` in seconds.
    """
    code = next((CODES[cls] for cls in type(error).__mro__ if cls in CODES), None)
    if code is None:
        return None
    is_database = isinstance(error, DatabaseUnavailable | DatabaseUnsuitable)
    message, data = _NO_DATABASE if is_database else str(error), dict[str, Any]()
    field = getattr(error, "field", "")
    if field:
        issues = [{"code": "custom", "path": [field], "message": message}]
        wrong = invalid_input(issues)
        message, data = wrong.message, {**wrong.data}
    if isinstance(error, NotSignedIn | NotAllowed | TooOften):
        data |= {said: getattr(error, name) for name, said in _FACTS.items() if hasattr(error, name)}
    if isinstance(error, StoreUnavailable):
        data["observedAt"] = getattr(error, "observed_at", None)
    return TRPCError(code, message, data)
