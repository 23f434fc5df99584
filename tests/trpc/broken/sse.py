"""Servers that break a rule of server-sent events."""

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
    events,
    send_answer,
    unheard,
)

_RESUMED = "last-event-id"


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


def _error(change: Callable[[str], str]) -> Wrap:
    return _block(lambda block, name, flow: change(block) if name == "serialized-error" else block)


def _type_of_streams(kind: str) -> Wrap:
    def one(answer: Answer) -> None:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            answer.headers["content-type"] = kind

    return answered(one)


def _empty_stream(about: Callable[[Request], bool]) -> Wrap:
    """Answer a subscription that matches with a stream of nothing."""

    def wrap(app: App) -> App:
        async def welcoming(scope: Any, receive: Receive, send: Send) -> None:
            request = Request(scope)
            if request.headers.get("accept") == "text/event-stream" and about(request):
                await send_answer(Answer(request, 200, {"content-type": "text/event-stream"}), send)
            else:
                await app(scope, receive, send)

        return welcoming

    return wrap


def _replaced_by_id(request: Request) -> None:
    if _RESUMED in request.headers and not request.query.get("input", "{").startswith("{"):
        del request.query["input"]


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

VARIANTS = {
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
        unheard(_RESUMED),
    ),
    "sse-id-unheard": Variant(
        "A last event id comes by header or in input",
        ("sse: an EventSource left to itself resumes", _DROPPED),
        lambda app: unheard(_RESUMED)(asked(_forget_input_id)(app)),
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
    "sse-null-is-not-absent": Variant(
        "A last event id makes an input where there is none",
        ("sse wire: a last event id makes an input where there is none",),
        refusing(lambda r: r.path == "demo.events" and "input" not in r.query and _RESUMED in r.headers, 400),
    ),
    "sse-by-another-type": Variant(
        "A stream is text/event-stream",
        (
            "sse wire: status and headers",
            "sse: the EventSource of undici reads the same",
            "sse: a split client calls and subscribes at once",
        ),
        _type_of_streams("text/plain"),
    ),
    "sse-internal-error-is-final": Variant(
        "An internal error has the number that clients come back after",
        ("sse: after an internal error the client comes back and goes on",),
        _error(lambda text: text.replace("-32603", "-32600")),
    ),
    "sse-wrong-input-is-internal": Variant(
        "Wrong input has a number that clients do not come back after",
        (
            "sse: wrong input ends the subscription with BAD_REQUEST",
            "sse wire: errors of a subscription are 200 and an event",
        ),
        _error(lambda text: text.replace("-32600", "-32603")),
    ),
    "sse-crash-leaks": Variant(
        "An exception's text stays inside",
        ("sse wire: a crash tells its code only",),
        _error(
            lambda text: re.sub(r'"message":"[^"]*","code":-32603', '"message":"plain exception","code":-32603', text)
        ),
    ),
    "sse-unknown-is-an-empty-stream": Variant(
        "What does not exist is no stream",
        ("sse: an unknown procedure fails once", "sse wire: what is no subscription is answered in JSON"),
        _empty_stream(lambda request: "nope" in request.path),
    ),
    "sse-input-unheard": Variant(
        "The input reaches the subscription",
        ("sse: every subscriber gets what its filter lets through",),
        asked(lambda request: request.query.pop("input", None) if request.path == "demo.events" else None),
    ),
    "sse-plain-has-ids": Variant(
        "An untracked event has an id only to clear one",
        ("sse wire: plain streams have no ids",),
        _block(lambda block, name, flow: block if name or "\nid:" in block else f"id: \n{block}"),
    ),
    "sse-id-replaces-any-input": Variant(
        "A last event id leaves an input alone that is no object",
        ("sse wire: a last event id leaves an input alone that is no object",),
        asked(_replaced_by_id),
    ),
}
