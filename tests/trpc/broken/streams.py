"""Servers that break a rule of JSONL or of server-sent events."""

from __future__ import annotations

import asyncio
import json
import re
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
    events,
    lines,
)

_RESUMED = "last-event-id"


# JSONL


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


def _forget(name: str, *, when: Callable[[Request], bool] = lambda request: True) -> Wrap:
    """Do not see a request header."""
    return asked(lambda request: request.headers.pop(name, None) if when(request) else None)


def _accept_first(request: Request) -> None:
    if "application/jsonl" in request.headers.get("accept", ""):
        request.headers.pop("trpc-accept", None)


def _set_status(status: int, when: Callable[[Answer], bool]) -> Wrap:
    return answered(lambda answer: setattr(answer, "status", status) if when(answer) else None)


# Server-sent events


def _block(change: Callable[[str, str, Flow], str]) -> Wrap:
    """Change each block of an event stream, given the name of its event ("" for a message)."""

    def one(block: str, flow: Flow) -> str:
        name = re.search(r"^event: ?(.*)$", block, re.MULTILINE)
        return change(block, name[1] if name else "", flow)

    return events(one)


def _drop_events(*names: str) -> Wrap:
    return _block(lambda block, name, flow: "" if name in names else block)


def _drop_lines(pattern: str, *, of: str | None = None) -> Wrap:
    """Leave out the lines of events that match."""
    return _block(lambda block, name, flow: re.sub(rf"(?m)^{pattern}.*\n", "", block) if of in (None, name) else block)


def _rename(before: str, after: str) -> Wrap:
    return _block(lambda block, name, flow: block.replace(f"event: {before}", f"event: {after}"))


def _return_behind(block: str, name: str, _flow: Flow) -> str:
    return block + ("event: return\ndata: \n\n" if name == "serialized-error" else "")


def _without_path(block: str, name: str, _flow: Flow) -> str:
    return re.sub(r',"path":"[^"]*"', "", block) if name == "serialized-error" else block


def _raw_line_ends(block: str, name: str, _flow: Flow) -> str:
    """Take every line end that Python knows for one."""
    if name:
        return block
    data = re.sub("[\u2028\u0085\u000b]", "\ndata: ", block.replace("\\u2028", "\u2028").replace("\\u0085", "\u0085"))
    return data.replace("\\n", "\n")


def _late_listener(app: App) -> App:
    """Say `connected` first, and begin to listen a moment later."""

    async def late(scope: Any, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if scope["type"] != "http" or request.path != "demo.events":
            await app(scope, receive, send)
            return
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        first = b"event: connected\ndata: {}\n\n"
        await send({"type": "http.response.body", "body": first, "more_body": True})
        await asyncio.sleep(0.3)

        async def later(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("body", b"").startswith(b"event: connected"):
                await send(message)

        await app(scope, receive, later)

    return late


def _held_first(app: App) -> App:
    """Hold back the first bytes of an event stream, as compression would."""

    async def buffered(scope: Any, receive: Receive, send: Send) -> None:
        parts: list[bytes] = []
        enough = 4096

        async def hold(message: Message) -> None:
            if message["type"] != "http.response.body" or not Request(scope).path.startswith("demo.events"):
                await send(message)
                return
            parts.append(message.get("body", b""))
            if sum(map(len, parts)) > enough or not message.get("more_body"):
                await send({**message, "body": b"".join(parts)})
                parts.clear()

        await app(scope, receive, hold)

    return buffered


def _errors_have_a_status(app: App) -> App:
    """Answer a subscription without its token with a status instead of a stream."""
    unwelcome = refusing(
        lambda r: r.path == "demo.events" and "token" not in str(r.query) + str(r.headers.get("authorization")), 401
    )
    wrapped: App = unwelcome(app)
    return wrapped


def shifted(by: int) -> Callable[[str], str]:
    """An event id that is off by so many."""
    return lambda event_id: str(max(0, int(event_id) + by)) if event_id.isdigit() else event_id


def _resume_shifted(by: int) -> Wrap:
    def change(request: Request) -> None:
        if _RESUMED in request.headers:
            request.headers[_RESUMED] = shifted(by)(request.headers[_RESUMED])

    return asked(change)


def _forget_input_id(request: Request) -> None:
    if "lastEventId" in request.query.get("input", ""):
        value = json.loads(request.query["input"])
        value.pop("lastEventId", None)
        request.query["input"] = json.dumps(value)


def _query_first(request: Request) -> None:
    if asked_for := request.query.get("lastEventId"):
        request.headers[_RESUMED] = asked_for


def _input_first(request: Request) -> None:
    if "lastEventId" in request.query.get("input", ""):
        request.headers[_RESUMED] = json.loads(request.query["input"])["lastEventId"]
        request.query.pop("lastEventId", None)


def _empty_id_counts(request: Request) -> None:
    if request.query.get("lastEventId") == "":
        request.headers[_RESUMED] = "1"


def _echo_id(block: str, name: str, flow: Flow) -> str:
    resumed = flow.request.query.get("lastEventId")
    return f"id: {resumed}\n{block}" if resumed else block


_DROPPED = "sse: a dropped connection loses and repeats nothing"
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
        _forget("accept", when=lambda request: "jsonl" in request.headers.get("accept", "")),
    ),
    "jsonl-accept-wins": Variant(
        "trpc-accept wins over accept", ("jsonl: trpc-accept wins over accept",), asked(_accept_first)
    ),
    "jsonl-without-batch": Variant(
        "A stream must be a batch",
        ("jsonl: a stream must be a batch",),
        _forget("trpc-accept", when=lambda request: not request.is_batch),
    ),
    "jsonl-whole-errors-are-200": Variant(
        "A whole-request error has its status",
        ("jsonl: a whole-request error is one plain envelope",),
        _set_status(200, lambda answer: answer.request.wants_lines and answer.status == 400),
    ),
    "sse-return-without-data": Variant(
        "`return` has a data line",
        ("sse wire: connected first, return last, each with data", "sse: a stream that ended is not opened again"),
        _drop_lines("data", of="return"),
    ),
    "sse-no-return": Variant(
        "A stream that ends says so",
        ("sse wire: connected first, return last, each with data", "sse: a stream that ended is not opened again"),
        _drop_events("return"),
    ),
    "sse-no-connected": Variant(
        "`connected` comes first",
        (
            "sse wire: connected first, return last, each with data",
            "sse: tracked events arrive with their ids, then it completes",
        ),
        _drop_events("connected"),
    ),
    "sse-connected-without-object": Variant(
        "`connected` carries a JSON object",
        ("sse wire: connected first, return last, each with data", "sse: untracked events arrive bare"),
        _block(lambda block, name, flow: "event: connected\ndata: \n\n" if name == "connected" else block),
    ),
    "sse-held-back": Variant("Events are sent at once", ("sse wire: connected comes at once",), _held_first),
    "sse-no-pings": Variant(
        "A quiet stream is pinged",
        ("sse: pings keep a quiet stream open", "sse wire: pings come more often than the client gives up"),
        _drop_events("ping"),
    ),
    "sse-ping-without-data": Variant(
        "`ping` has a data line",
        ("sse: pings keep a quiet stream open", "sse wire: pings come more often than the client gives up"),
        _drop_lines("data", of="ping"),
    ),
    "sse-no-ids": Variant(
        "A tracked event has its id",
        ("sse: tracked events arrive with their ids, then it completes", _DROPPED),
        _drop_lines("id"),
    ),
    "sse-untracked-keeps-id": Variant(
        "An untracked event clears the id",
        (
            "sse: an untracked event after a tracked one has no id",
            "sse wire: an untracked event clears the id and restores it",
        ),
        _drop_lines("id: *$"),
    ),
    "sse-no-restore-id": Variant(
        "The id is restored behind an untracked event",
        (
            "sse wire: an untracked event clears the id and restores it",
            "sse wire: a resumed untracked stream keeps the id of its request",
        ),
        _drop_events("restore-id"),
    ),
    "sse-error-has-a-status": Variant(
        "A subscription is always a stream",
        ("sse wire: errors of a subscription are 200 and an event", "sse: the token comes in connectionParams"),
        _errors_have_a_status,
    ),
    "sse-error-then-return": Variant(
        "An error ends the stream without `return`",
        ("sse wire: an error ends the stream without return",),
        _block(_return_behind),
    ),
    "sse-error-by-another-name": Variant(
        "An error is a `serialized-error`",
        ("sse: an error ends the subscription with its shape", "sse wire: an error ends the stream without return"),
        _rename("serialized-error", "error"),
    ),
    "sse-error-without-path": Variant(
        "An error has its path", ("sse: an error ends the subscription with its shape",), _block(_without_path)
    ),
    "sse-header-unheard": Variant(
        "A last event id comes by header",
        (
            "sse wire: the last event id comes by header or query",
            "sse: a dropped connection resumes with the header alone",
        ),
        _forget(_RESUMED),
    ),
    "sse-query-unheard": Variant(
        "A last event id comes in the query, too",
        ("sse wire: the last event id comes by header or query",),
        asked(lambda request: request.query.pop("lastEventId", None)),
    ),
    "sse-other-query-unheard": Variant(
        "… under two names",
        ("sse wire: the last event id comes by header or query",),
        asked(lambda request: request.query.pop("Last-Event-Id", None)),
    ),
    "sse-input-id-unheard": Variant(
        "A last event id comes in input, too",
        ("sse: a silent connection is replaced, and resumes from input", "sse: retryLink resumes after an error"),
        asked(_forget_input_id),
    ),
    "sse-query-wins": Variant(
        "The header wins over the query",
        ("sse wire: the header wins over the query, and both over input",),
        asked(_query_first),
    ),
    "sse-input-wins": Variant(
        "Header and query win over input",
        ("sse wire: the header wins over the query, and both over input",),
        asked(_input_first),
    ),
    "sse-empty-id-counts": Variant(
        "An empty last event id is none", ("sse wire: an empty last event id is none",), asked(_empty_id_counts)
    ),
    "sse-resume-repeats": Variant(
        "Resuming repeats nothing",
        (_DROPPED, "sse: a dropped connection resumes with the header alone"),
        _resume_shifted(-1),
    ),
    "sse-resume-drops": Variant(
        "Resuming loses nothing",
        (_DROPPED, "sse: a dropped connection resumes with the header alone"),
        _resume_shifted(1),
    ),
    "sse-listens-late": Variant(
        "Listening begins before `connected`", ("sse: what happens right after onStarted arrives",), _late_listener
    ),
    "sse-id-is-trusted": Variant(
        "A last event id cannot write into the stream",
        ("sse wire: a last event id cannot write into the stream",),
        _block(_echo_id),
    ),
    "sse-other-line-ends": Variant(
        "Only LF ends a line", ("sse: events of any text arrive whole",), _block(_raw_line_ends)
    ),
    "sse-may-be-cached": Variant(
        "A stream is neither cached nor changed",
        ("sse wire: status and headers",),
        answered(lambda answer: answer.headers.pop("cache-control", None)),
    ),
    "sse-may-be-buffered": Variant(
        "A proxy must not hold back a stream",
        ("sse wire: status and headers",),
        answered(lambda answer: answer.headers.pop("x-accel-buffering", None)),
    ),
    "sse-only-if-accepted": Variant(
        "A subscription streams whatever is accepted",
        ("sse wire: a subscription streams whatever is accepted",),
        refusing(lambda r: r.path == "test.ticks" and r.headers.get("accept") != "text/event-stream", 406),
    ),
    "sse-not-by-post": Variant(
        "A subscription may come by POST",
        ("sse wire: a subscription by POST",),
        refusing(lambda r: r.path == "test.ticks" and r.method == "POST", 405),
    ),
    "jsonl-return-is-lost": Variant(
        "What an iterable returns arrives",
        ("jsonl: what an async iterable returns arrives",),
        _line(lambda value, flow: [*value[:2], [[]]] if value[2] == [["done"]] else value),
    ),
    "sse-null-is-not-absent": Variant(
        "A last event id makes an input where there is none",
        ("sse wire: a last event id makes an input where there is none",),
        refusing(lambda r: r.path == "demo.events" and "input" not in r.query and _RESUMED in r.headers, 400),
    ),
}
