"""An HTTP request read as tRPC calls: the path, the query, and where the inputs are."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

import msgspec

from perseus.web.trpc.connection import Scope
from perseus.web.trpc.encoding import decode, encode
from perseus.web.trpc.errors import TRPCError
from perseus.web.trpc.inputs import malformed_json
from perseus.web.trpc.limits import Limits
from perseus.web.trpc.procedures import Kind, Procedure, Router

_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_KNOWN: Final = frozenset({b"batch", b"input", b"connectionParams", b"lastEventId", b"Last-Event-Id"})
_UPLOADS: Final = frozenset({b"multipart/form-data", b"application/octet-stream"})
_JSONL: Final = b"application/jsonl"
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OBJECT_OR_NULL: Final = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a URL asks for. The same URL always means the same, so plans are kept."""

    paths: tuple[str, ...]
    procedures: tuple[Procedure | None, ...]
    kind: Kind | None
    is_batch: bool
    input: bytes | None
    connection_params: bytes | None
    last_event_id: str | None


def decoded_path(scope: Scope) -> str:
    """The procedure path of a request: below the mount, without a slash at either end, decoded once.

    Raises: TRPCError BAD_REQUEST.
    """
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    root: str = scope.get("root_path", "")
    if root:
        raw = raw.removeprefix(root.encode())
    raw = raw.removeprefix(b"/").removesuffix(b"/")
    if b"%" not in raw or not _BAD_ESCAPE.search(raw):
        with suppress(UnicodeDecodeError):
            return unquote_to_bytes(raw).decode() if b"%" in raw else raw.decode("ascii")
    raise TRPCError("BAD_REQUEST", f'Invalid URL-encoding in path "{raw.decode("latin-1")}"')


def check_content_type(method: str, value: bytes | None) -> None:
    """Raises: TRPCError for a body nobody here can read; a GET has none, so it may say what it likes."""
    media = value.split(b";", 1)[0].strip().lower() if value else b""
    if media == b"application/json":
        return
    if media in _UPLOADS:
        name = media.decode()
        if method != "POST":
            raise TRPCError("METHOD_NOT_SUPPORTED", f"Only POST requests are supported for {name} requests")
        raise TRPCError("UNSUPPORTED_MEDIA_TYPE", f"Uploads ({name}) are not supported here: send application/json")
    if method == "GET":
        return
    if value is None:
        raise TRPCError("UNSUPPORTED_MEDIA_TYPE", "Missing content-type header")
    raise TRPCError("UNSUPPORTED_MEDIA_TYPE", f'Unsupported content-type "{value.decode("latin-1")}')


def read_plan(router: Router, limits: Limits, path: str, query: bytes) -> Plan:
    """What a decoded path and a query ask for. Raises: TRPCError BAD_REQUEST."""
    given = parameters(query) if query else {}
    is_batch = given.get(b"batch") == b"1"
    paths = tuple(path.split(",")) if is_batch else (path,)
    if len(paths) > limits.batch_calls:
        raise TRPCError("BAD_REQUEST", "Batch call exceeds maximum size")
    procedures = tuple(router.get(one) for one in paths)
    kinds = list(dict.fromkeys(procedure.kind for procedure in procedures if procedure is not None))
    if len(kinds) > 1:
        raise TRPCError("BAD_REQUEST", f"Cannot mix procedure types in call: {', '.join(kinds)}")
    resumed = given.get(b"lastEventId", given.get(b"Last-Event-Id"))
    return Plan(
        paths=paths,
        procedures=procedures,
        kind=kinds[0] if kinds else None,
        is_batch=is_batch,
        input=given.get(b"input") or None,
        connection_params=given.get(b"connectionParams"),
        last_event_id=resumed.decode("utf-8", "replace") if resumed else None,
    )


def parameters(query: bytes) -> dict[bytes, bytes]:
    """The parameters of tRPC in a query, decoded; the first of a repeated one."""
    found: dict[bytes, bytes] = {}
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if b"%" in name or b"+" in name:
            name = unquote_to_bytes(name.replace(b"+", b" "))
        if name in _KNOWN and name not in found:
            found[name] = unquote_to_bytes(value.replace(b"+", b" "))
    return found


def wants_jsonl(headers: dict[bytes, bytes]) -> bool:
    """Whether a batch is to be answered line by line."""
    asked = headers.get(b"trpc-accept")
    if asked is not None:
        return asked == _JSONL
    accept = headers.get(b"accept", b"")
    return _JSONL in accept and any(part.strip() == _JSONL for part in accept.split(b","))


def batch_inputs(raw: bytes) -> dict[str, msgspec.Raw]:
    """Inputs of a batch by the index of their call. Raises: TRPCError BAD_REQUEST."""
    try:
        return decode(_OBJECT, raw)
    except msgspec.ValidationError as error:
        raise TRPCError("BAD_REQUEST", '"input" needs to be an object when doing a batch call') from error
    except (ValueError, RecursionError) as error:
        raise malformed_json(error) from error


def with_last_event_id(raw: bytes | msgspec.Raw | None, last_event_id: str) -> bytes | msgspec.Raw:
    """An input that also says where to go on; what is neither an object nor absent stays as it is."""
    fields: dict[str, Any] | None = {}
    if raw is not None:
        try:
            fields = decode(_OBJECT_OR_NULL, raw)
        except (ValueError, RecursionError):
            return raw
    return encode({**(fields or {}), "lastEventId": last_event_id})


def last_event_id(headers: dict[bytes, bytes], plan: Plan) -> str | None:
    """Where a subscription is to go on. An EventSource sends UTF-8."""
    header = headers.get(b"last-event-id")
    return plan.last_event_id if header is None else header.decode("utf-8", "replace")
