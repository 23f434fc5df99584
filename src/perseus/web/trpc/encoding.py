"""Values and faults to JSON bytes and back, whatever they hold."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec
import structlog

from perseus.web.trpc.errors import TRPCError, error_shape
from perseus.web.trpc.values import Encoded

_log = structlog.get_logger()
T = TypeVar("T")

_ENCODER: Final = msgspec.json.Encoder()
# Escapes in the order they are read, so that a backslash that is escaped itself begins none.
_ESCAPES: Final = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_REPLACEMENT: Final = b"\\ufffd"
UNDEFINED: Final = b""
"""What `encode` gives for JavaScript's undefined: no JSON at all."""


def encode(value: Any) -> bytes:
    """JSON of a value on one line; `UNDEFINED` for `msgspec.UNSET`. NaN and the infinities become null.

    Raises: TypeError for what has no JSON; TRPCError UNPROCESSABLE_CONTENT if it is nested too deeply to be written.
    """
    if type(value) is Encoded:
        json = value.json
    elif value is msgspec.UNSET:
        return UNDEFINED
    else:
        try:
            json = _ENCODER.encode(value)
        except UnicodeEncodeError:
            json = _ENCODER.encode(_without_surrogates(msgspec.to_builtins(value, str_keys=True)))
        except RecursionError:
            raise TRPCError("UNPROCESSABLE_CONTENT", "The answer is nested too deeply to be written") from None
    # Line breaks can only be space between tokens here, and would break the framing of streams.
    if b"\n" in json or b"\r" in json:
        json = json.replace(b"\n", b" ").replace(b"\r", b" ")
    return json


def _without_surrogates(value: Any) -> Any:
    """The same with U+FFFD for each lone surrogate, which UTF-8 cannot carry."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(item) for item in value]
    return value


def decode(decoder: msgspec.json.Decoder[T], raw: bytes | msgspec.Raw) -> T:
    """Read JSON as JavaScript would, which has U+FFFD for bytes that are no UTF-8 and allows half a surrogate pair.

    Raises: ValueError (msgspec.ValidationError if it is JSON of another type), RecursionError.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        raise
    except ValueError:
        repaired = _repaired(bytes(raw))
        if repaired == bytes(raw):
            raise
        return decoder.decode(repaired)


def _repaired(raw: bytes) -> bytes:
    """JSON text in UTF-8, with U+FFFD for what UTF-8 cannot carry."""
    text = raw.decode("utf-8", "replace").encode()
    return _ESCAPES.sub(lambda match: _REPLACEMENT if match["lone"] else match[0], text)


def result_envelope(data: bytes) -> bytes:
    """A call's success, from its encoded data."""
    if not data:
        return b'{"result":{}}'
    return b"".join((b'{"result":{"data":', data, b"}}"))  # one copy: with `+` a megabyte takes twenty times as long


def encode_shape(error: TRPCError, path: str | None = None) -> bytes:
    """The shape of a fault; without its `data` if that has no JSON."""
    try:
        return encode(error_shape(error, path))
    except (TypeError, ValueError, TRPCError):
        _log.exception("error_data_unfit", code=error.code, path=path)
        return encode(error_shape(TRPCError(error.code, error.message), path))


def error_envelope(error: TRPCError, path: str | None = None) -> bytes:
    """A call's failure."""
    return b'{"error":' + encode_shape(error, path) + b"}"
