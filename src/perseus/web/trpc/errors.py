"""Errors as tRPC clients know them: a code, its number, its HTTP status, and the shape they travel in."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

Code = Literal[
    "PARSE_ERROR",
    "BAD_REQUEST",
    "INTERNAL_SERVER_ERROR",
    "NOT_IMPLEMENTED",
    "BAD_GATEWAY",
    "SERVICE_UNAVAILABLE",
    "GATEWAY_TIMEOUT",
    "UNAUTHORIZED",
    "PAYMENT_REQUIRED",
    "FORBIDDEN",
    "NOT_FOUND",
    "METHOD_NOT_SUPPORTED",
    "TIMEOUT",
    "CONFLICT",
    "PRECONDITION_FAILED",
    "PAYLOAD_TOO_LARGE",
    "UNSUPPORTED_MEDIA_TYPE",
    "UNPROCESSABLE_CONTENT",
    "PRECONDITION_REQUIRED",
    "TOO_MANY_REQUESTS",
    "CLIENT_CLOSED_REQUEST",
]

# Code → the number in `error.code`, the HTTP status. Five of them share a number: a status is taken from the code.
NUMBERS: Final[Mapping[Code, tuple[int, int]]] = {
    "PARSE_ERROR": (-32700, 400),
    "BAD_REQUEST": (-32600, 400),
    "INTERNAL_SERVER_ERROR": (-32603, 500),
    "NOT_IMPLEMENTED": (-32603, 501),
    "BAD_GATEWAY": (-32603, 502),
    "SERVICE_UNAVAILABLE": (-32603, 503),
    "GATEWAY_TIMEOUT": (-32603, 504),
    "UNAUTHORIZED": (-32001, 401),
    "PAYMENT_REQUIRED": (-32002, 402),
    "FORBIDDEN": (-32003, 403),
    "NOT_FOUND": (-32004, 404),
    "METHOD_NOT_SUPPORTED": (-32005, 405),
    "TIMEOUT": (-32008, 408),
    "CONFLICT": (-32009, 409),
    "PRECONDITION_FAILED": (-32012, 412),
    "PAYLOAD_TOO_LARGE": (-32013, 413),
    "UNSUPPORTED_MEDIA_TYPE": (-32015, 415),
    "UNPROCESSABLE_CONTENT": (-32022, 422),
    "PRECONDITION_REQUIRED": (-32028, 428),
    "TOO_MANY_REQUESTS": (-32029, 429),
    "CLIENT_CLOSED_REQUEST": (-32099, 499),
}

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class TRPCError(Exception):
    """A fault told to the client as it stands: never put a secret or a foreign exception's text into it.

    `data` is added to the shape's `data` and cannot replace `code`, `httpStatus` or `path`.
    """

    def __init__(self, code: Code, message: str | None = None, data: Mapping[str, Any] = _NOTHING) -> None:
        super().__init__(code if message is None else message)
        self.code: Code = code
        self.data = data

    @property
    def message(self) -> str:
        """What the client is told."""
        return str(self.args[0])

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return NUMBERS[self.code][1]

    def again(self) -> TRPCError:
        """The same fault to be raised in another place: one raised twice would gather both tracebacks."""
        return TRPCError(self.code, self.message, self.data)


def error_shape(error: TRPCError, path: str | None = None) -> dict[str, Any]:
    """What stands in `error` of an envelope. Shape: `{message, code, data: {code, httpStatus, path?, …data}}`."""
    number, status = NUMBERS[error.code]
    data: dict[str, Any] = {**error.data, "code": error.code, "httpStatus": status}
    if path is not None:
        data["path"] = path
    return {"message": error.message, "code": number, "data": data}
