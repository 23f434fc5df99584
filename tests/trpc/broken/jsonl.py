"""Servers that break a rule of JSONL, the stream of a batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.trpc.broken.http import refusing
from tests.trpc.broken.wrapping import (
    Answer,
    App,
    Flow,
    Message,
    Receive,
    Request,
    Send,
    Variant,
    Wrap,
    answered,
    asked,
    dumps,
    lines,
    unheard,
)


def _held_back(app: App) -> App:
    """Send a stream of lines when all of it is there, as a buffering proxy would."""

    async def buffered(scope: Any, receive: Receive, send: Send) -> None:
        parts: list[bytes] = []

        async def hold(message: Message) -> None:
            if message["type"] != "http.response.body" or not Request(scope).wants_lines:
                await send(message)
                return
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                await send({"type": "http.response.body", "body": b"".join(parts)})

        await app(scope, receive, hold)

    return buffered


def _line(change: Callable[[Any, Flow], Any]) -> Wrap:
    """Change each line behind the head as a value; None drops it."""

    def one(line: str, flow: Flow) -> str:
        value = json.loads(line) if line.strip() else None
        if not isinstance(value, list):
            return line
        changed = change(value, flow)
        return "" if changed is None else dumps(changed) + "\n"

    return lines(one)


def _rejects(value: Any, _flow: Flow) -> Any:
    chunk, status, payload = value
    if status == 0 and "error" in str(payload) and isinstance(payload[0][0], dict):
        return [chunk, 1, payload[0][0].get("error")]
    return value


def _error_as_value(value: Any, _flow: Flow) -> Any:
    return [value[0], 0, [[value[2]]]] if value[1] == 2 else value


def _rejection_as_value(value: Any, _flow: Flow) -> Any:
    is_rejected = value[1] == 1 and isinstance(value[2], dict)
    return [value[0], 0, [[value[2]]]] if is_rejected else value


def _one_number_for_iterables(value: Any, flow: Flow) -> Any:
    chunk, status, payload = value
    iterables = flow.memory.setdefault("iterables", set())
    for definition in payload[1:] if isinstance(payload, list) else []:
        if definition[1] == 1:
            iterables.add(definition[2])
            definition[2] = 99
    return [99 if chunk in iterables else chunk, status, payload]


def _first_error_ends(value: Any, flow: Flow) -> Any:
    if flow.memory.get("failed"):
        return None
    flow.memory["failed"] = isinstance(value[2], list) and '"error":' in dumps(value[2])
    return value


def _is_inner_value(value: Any) -> bool:
    _chunk, status, payload = value
    return status == 0 and isinstance(payload[0][0], int) and len(payload) == 1


def _head_once(line: str, flow: Flow) -> str:
    if flow.memory.setdefault("seen", False) or line.isspace():
        return line
    flow.memory["seen"] = True
    return line + "\n"


def _head_without_second(line: str, _flow: Flow) -> str:
    if not line.startswith("{"):
        return line
    value = json.loads(line)
    value.pop("1", None)
    return dumps(value) + "\n"


def _wanted_in_part(request: Request) -> None:
    if "application/jsonl" in (request.headers.get("trpc-accept") or request.headers.get("accept", "")).lower():
        request.headers["trpc-accept"] = "application/jsonl"


def _pathless(error: Any) -> Any:
    return error | {"data": {name: value for name, value in error["data"].items() if name != "path"}}


def _accept_first(request: Request) -> None:
    if "application/jsonl" in request.headers.get("accept", ""):
        request.headers.pop("trpc-accept", None)


def _set_status(status: int, when: Callable[[Answer], bool]) -> Wrap:
    return answered(lambda answer: setattr(answer, "status", status) if when(answer) else None)


_STREAM_FORM = "jsonl: headers and form of the stream"

VARIANTS = {
    "jsonl-empty-line": Variant(
        "Never an empty line", (_STREAM_FORM, "httpBatchStreamLink: a query with input"), lines(_head_once)
    ),
    "jsonl-head-lacks-a-call": Variant(
        "The head has a key for each call",
        (_STREAM_FORM, "httpBatchStreamLink: calls without input and with it in one batch"),
        lines(_head_without_second),
    ),
    "jsonl-is-207": Variant(
        "A stream is always 200",
        (_STREAM_FORM, "jsonl: the status is 200 even if every call fails"),
        _set_status(207, lambda answer: answer.body is None and answer.request.wants_lines),
    ),
    "jsonl-held-back": Variant(
        "Results are sent as they come",
        (
            "jsonl: quick calls do not wait for slow ones",
            "jsonl: the head is sent before any call is done",
            "jsonl: white space keeps a slow stream alive",
        ),
        _held_back,
    ),
    "jsonl-no-white-space": Variant(
        "White space keeps a stream alive",
        ("jsonl: white space keeps a slow stream alive",),
        lines(lambda line, flow: line.lstrip(" ")),
    ),
    "jsonl-rejects-errors": Variant(
        "An error of a call is a value",
        ("jsonl: a call that fails is a fulfilled promise of its error",),
        _line(_rejects),
    ),
    "jsonl-iterable-never-ends": Variant(
        "An iterable is ended",
        ("jsonl: an async iterable is read as it comes", "jsonl: iterables and promises on the wire"),
        _line(lambda value, flow: None if "done" in str(value) else value),
    ),
    "jsonl-iterable-error-is-a-value": Variant(
        "An iterable that breaks says why", ("jsonl: an async iterable that breaks tells why",), _line(_error_as_value)
    ),
    "jsonl-deaf-to-accept": Variant(
        "The accept header asks for a stream, too",
        ("jsonl: the accept header asks for it, too",),
        unheard("accept", when=lambda request: "jsonl" in request.headers.get("accept", "")),
    ),
    "jsonl-accept-wins": Variant(
        "trpc-accept wins over accept", ("jsonl: trpc-accept wins over accept",), asked(_accept_first)
    ),
    "jsonl-without-batch": Variant(
        "A stream must be a batch",
        ("jsonl: a stream must be a batch",),
        unheard("trpc-accept", when=lambda request: not request.is_batch),
    ),
    "jsonl-whole-errors-are-200": Variant(
        "A whole-request error has its status",
        ("jsonl: a whole-request error is one plain envelope",),
        _set_status(200, lambda answer: answer.request.wants_lines and answer.status == 400),
    ),
    "jsonl-return-is-lost": Variant(
        "What an iterable returns arrives",
        ("jsonl: what an async iterable returns arrives",),
        _line(lambda value, flow: [*value[:2], [[]]] if value[2] == [["done"]] else value),
    ),
    "jsonl-nothing-gets-no-line": Variant(
        "A call that returns nothing is answered",
        ("jsonl: nothing returned is a result without data",),
        _line(lambda value, flow: None if value[2] == [[{"result": {}}]] else value),
    ),
    "jsonl-keep-alive-of-lines": Variant(
        "White space is no line",
        ("jsonl: white space does not disturb the client", "jsonl: white space keeps a slow stream alive"),
        lines(lambda line, flow: "\n" if line.isspace() else line),
    ),
    "jsonl-one-number-for-iterables": Variant(
        "Each iterable has its number",
        ("jsonl: two iterables run side by side", "jsonl: iterables and promises on the wire"),
        _line(_one_number_for_iterables),
    ),
    "jsonl-inner-promise-is-lost": Variant(
        "A promise inside a value is kept",
        ("jsonl: a promise inside a value arrives later", "jsonl: iterables and promises on the wire"),
        _line(lambda value, flow: None if _is_inner_value(value) else value),
    ),
    "jsonl-rejection-is-a-value": Variant(
        "A promise that fails is rejected",
        ("jsonl: a promise inside a value that fails tells why",),
        _line(_rejection_as_value),
    ),
    "jsonl-by-get-only": Variant(
        "Mutations stream, too",
        ("jsonl: mutations stream as well", "httpBatchStreamLink: a mutation"),
        refusing(lambda r: r.wants_lines and r.method == "POST", 405),
    ),
    "jsonl-first-error-ends-all": Variant(
        "A call that fails leaves the others of its stream alone",
        ("httpBatchStreamLink: calls run at once, and one that fails leaves the others alone",),
        _line(_first_error_ends),
    ),
    "jsonl-accept-in-part": Variant(
        "Only application/jsonl itself asks for a stream",
        ("jsonl: the accept header asks for it, too", "jsonl: trpc-accept wins over accept"),
        asked(_wanted_in_part),
    ),
    "jsonl-iterable-error-without-path": Variant(
        "An iterable that breaks says where",
        ("jsonl: an async iterable that breaks tells why",),
        _line(lambda value, flow: [*value[:2], _pathless(value[2])] if value[1] == 2 else value),
    ),
}
