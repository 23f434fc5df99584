"""Text frames of a WebSocket: what clients send, and the beginnings of what they get."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from perseus.web.trpc.encoding import decode, encode_shape
from perseus.web.trpc.errors import TRPCError

STOP: Final = "subscription.stop"
_HOPELESS: Final = 10  # times as many calls as a frame may have: a megabyte holds half a million


class Params(msgspec.Struct):
    """What is called. An input the client left out is an empty `Raw`."""

    path: str
    input: msgspec.Raw = msgspec.Raw(b"")
    last_event_id: str | msgspec.UnsetType = msgspec.field(name="lastEventId", default=msgspec.UNSET)


class Frame(msgspec.Struct):
    """One request of a client. `params` is JSON, and nothing for a stop."""

    id: int | float | str | None
    method: Literal["query", "mutation", "subscription", "subscription.stop"]
    params: msgspec.Raw = msgspec.Raw(b"")
    jsonrpc: Literal["2.0"] | msgspec.UnsetType = msgspec.UNSET


class FrameRequest:
    """A frame that was understood: its id as it goes back, and its params unless it is a stop."""

    __slots__ = ("id", "method", "params", "prefix")

    def __init__(self, frame: Frame, params: Params | None) -> None:
        self.id = frame.id
        self.method = frame.method
        self.params = params
        self.prefix = _prefix(frame.id, jsonrpc=frame.jsonrpc == "2.0")

    def error(self, error: TRPCError, path: str | None = None) -> bytes:
        """A frame that tells of a fault."""
        return self.prefix + b'"error":' + encode_shape(error, path) + b"}"

    def data(self, data: bytes, *, event_id: bytes | None = None) -> bytes:
        """A frame with a value, and the id it is tracked by."""
        if event_id is not None:
            data = b'{"id":' + event_id + (b',"data":' + data if data else b"") + b"}"
        result = b'"result":{"type":"data"'
        return b"".join(
            (
                self.prefix,
                result,
                b',"data":' + data if data else b"",
                b',"id":' + event_id if event_id is not None else b"",
                b"}}",
            )
        )

    def notice(self, kind: Literal["started", "stopped"]) -> bytes:
        """A frame without a value."""
        return self.prefix + b'"result":{"type":"' + kind.encode() + b'"}}'


_FRAME: Final = msgspec.json.Decoder(Frame)
_FRAMES: Final = msgspec.json.Decoder(list[msgspec.Raw])
_PARAMS: Final = msgspec.json.Decoder(Params)


class TooManyCalls(Exception):
    """A batch that is too long, with the answers to its calls."""

    def __init__(self, answers: list[bytes]) -> None:
        super().__init__()
        self.answers = answers


def read_frames(text: str, *, limit: int) -> list[FrameRequest]:
    """The requests of a text frame: one, or an array of them of which none may be faulty.

    Raises: TRPCError PARSE_ERROR, or PAYLOAD_TOO_LARGE for more than anyone could answer one by one; TooManyCalls.
    """
    try:
        raw = text.encode()
        if not text.lstrip(" \t\r\n").startswith("["):
            return [_read(raw)]
        elements = decode(_FRAMES, raw)
        if len(elements) > _HOPELESS * limit:
            raise TRPCError("PAYLOAD_TOO_LARGE", "Batch call exceeds maximum size by far")
        if len(elements) > limit:
            raise TooManyCalls(_refusals(elements))
        return [_read(element) for element in elements]
    except RecursionError as error:
        raise TRPCError("PARSE_ERROR", "The message is nested too deeply") from error
    except ValueError as error:
        raise TRPCError("PARSE_ERROR", f"The message is no request of this protocol: {error}") from error


def unnumbered(error: TRPCError) -> bytes:
    """A fault of the connection, or of a frame that cannot be answered otherwise."""
    return b'{"id":null,"error":' + encode_shape(error) + b"}"


def _read(raw: bytes | msgspec.Raw) -> FrameRequest:
    frame = decode(_FRAME, raw)
    return FrameRequest(frame, None if frame.method == STOP else decode(_PARAMS, frame.params))


def _refusals(elements: list[msgspec.Raw]) -> list[bytes]:
    error = TRPCError("BAD_REQUEST", "Batch call exceeds maximum size")
    refused: list[bytes] = []
    for element in elements:
        try:
            frame = _FRAME.decode(element)
        except (ValueError, RecursionError):
            continue
        if frame.id is not None and frame.method != STOP:
            refused.append(FrameRequest(frame, None).error(error))
    return refused or [unnumbered(error)]


def _prefix(request_id: float | str | None, *, jsonrpc: bool) -> bytes:
    return b'{"id":' + msgspec.json.encode(request_id) + (b',"jsonrpc":"2.0",' if jsonrpc else b",")
