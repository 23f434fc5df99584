"""Servers that break a rule of calls over HTTP: statuses, headers, errors, how input is read, CORS."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import nullcontext, suppress
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from tests.trpc.broken.wrapping import (
    Answer,
    App,
    Message,
    Receive,
    Request,
    Send,
    Variant,
    answered,
    asked,
    send_answer,
)

ENVELOPE_OF = {
    401: {"message": "UNAUTHORIZED", "code": -32001, "data": {"code": "UNAUTHORIZED", "httpStatus": 401}},
    400: {"message": "BAD_REQUEST", "code": -32600, "data": {"code": "BAD_REQUEST", "httpStatus": 400}},
    500: {"message": "No", "code": -32603, "data": {"code": "INTERNAL_SERVER_ERROR", "httpStatus": 500}},
    413: {"message": "PAYLOAD_TOO_LARGE", "code": -32013, "data": {"code": "PAYLOAD_TOO_LARGE", "httpStatus": 413}},
    415: {"message": "No", "code": -32015, "data": {"code": "UNSUPPORTED_MEDIA_TYPE", "httpStatus": 415}},
    405: {"message": "No", "code": -32005, "data": {"code": "METHOD_NOT_SUPPORTED", "httpStatus": 405}},
    406: {"message": "No", "code": -32600, "data": {"code": "BAD_REQUEST", "httpStatus": 406}},
}


def refusing(matches: Any, status: int) -> Any:
    """Answer requests that match with an error of our own, before the application sees them."""

    def wrap(app: App) -> App:
        async def guarded(scope: Any, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and matches(request := Request(scope)):
                refused = Answer(request, status, {"content-type": "application/json"})
                refused.json = {"error": ENVELOPE_OF[status]}
                await send_answer(refused, send)
            else:
                await app(scope, receive, send)

        return guarded

    return wrap


def _calls_one_by_one(app: App) -> App:
    """Make each call of a batch alone, one after the other: no limit, no check of types, nothing at once."""

    async def one_by_one(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (request := Request(scope)).is_batch or request.wants_lines:
            await app(scope, receive, send)
            return
        inputs = json.loads(request.query.get("input") or "{}")
        results = [
            await _alone(app, scope, path, inputs.get(str(at))) for at, path in enumerate(request.path.split(","))
        ]
        whole = Answer(request, max(status for status, _ in results), {"content-type": "application/json"})
        whole.json = [value for _, value in results]
        await send_answer(whole, send)

    return one_by_one


async def _alone(app: App, scope: Any, path: str, value: Any) -> tuple[int, Any]:
    request = Request(scope)
    request.raw_path = f"/trpc/{path}".encode()
    request.query = {} if value is None else {"input": json.dumps(value)}
    got: list[Message] = []

    async def keep(message: Message) -> None:
        got.append(message)

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    await app(request.changed_scope() | {"method": "GET"}, never, keep)
    return got[0]["status"], json.loads(b"".join(message.get("body", b"") for message in got[1:]))


def _requests_one_by_one(app: App) -> App:
    free = asyncio.Lock()

    async def serial(scope: Any, receive: Receive, send: Send) -> None:
        is_short = scope["type"] == "http" and Request(scope).headers.get("accept") != "text/event-stream"
        async with free if is_short else nullcontext():
            await app(scope, receive, send)

    return serial


def _deaf_to_departures(app: App) -> App:
    """Never learn that a client left."""

    async def deaf(scope: Any, receive: Receive, send: Send) -> None:
        async def hear() -> Message:
            message = await receive()
            if message["type"].endswith(".disconnect"):
                await asyncio.sleep(30)
            return message

        async def tell(message: Message) -> None:
            with suppress(Exception):  # sending into a closed socket would give it away
                await send(message)

        await app(scope, hear, tell)

    return deaf


def _mutations_by_get(app: App) -> App:
    async def lenient(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and (request := Request(scope)).path == "demo.mutate":
            body = request.query.get("input", "").encode()
            request.method, request.headers["content-type"] = "POST", "application/json"
            scope = request.changed_scope()

            async def read() -> Message:
                return {"type": "http.request", "body": body}

            await app(scope, read, send)
        else:
            await app(scope, receive, send)

    return lenient


def _unread_json(answer: Answer) -> None:
    reads = json_fails(answer.request)
    if reads and answer.status == 400:
        answer.change_errors(lambda error: error.update(code=-32700, data=error["data"] | {"code": "PARSE_ERROR"}))


def json_fails(request: Request) -> bool:
    """Whether the input in the query is no JSON."""
    try:
        json.loads(request.query.get("input") or "null")
    except ValueError:
        return True
    return False


def drop_header(name: str, *, only: Any = lambda answer: True) -> Any:
    """Leave out a header of the answers that match."""
    return answered(lambda answer: answer.headers.pop(name, None) if only(answer) else None)


def _one_fails_all(answer: Answer) -> None:
    value = answer.json if answer.body else None
    if isinstance(value, list) and (errors := [one for one in value if "error" in one]):
        answer.json = errors[:1] * len(value)


def _twice_decoded(request: Request) -> None:
    request.raw_path = quote(unquote_to_bytes(unquote_to_bytes(request.raw_path)), safe="/,.").encode()


def with_status(before: Any, after: int) -> Any:
    """Give the answers that match another status."""

    def change(answer: Answer) -> None:
        if before(answer):
            answer.status = after

    return answered(change)


def is_list(answer: Answer) -> bool:
    """Whether it answers a batch."""
    return bool(answer.body) and isinstance(answer.json, list)


def _unwrap(answer: Answer) -> None:
    if is_list(answer) and len(answer.json) == 1:
        answer.json = answer.json[0]


def wrap_list(answer: Answer, *, if_: Any) -> None:
    """Make a list of one of an envelope."""
    if answer.body and if_(answer) and not is_list(answer):
        answer.json = [answer.json]


def assign(mapping: dict[str, str], name: str, value: str) -> None:
    """Set an item where a statement is not allowed."""
    mapping[name] = value


def _reverse(answer: Answer) -> None:
    if is_list(answer):
        answer.json = answer.json[::-1]


def _async_as_list(answer: Answer) -> None:
    if answer.status == 415 and answer.request.path == "test.stream":
        answer.status = 200
        answer.json = {"result": {"data": [0, 1, 2]}}


_JSON_TYPE = "application/json"

VARIANTS = {
    "mixed-batch-is-200": Variant(
        "A batch of different statuses is 207",
        ("batch: different statuses make 207",),
        with_status(lambda a: a.status == 207, 200),
    ),
    "every-batch-is-207": Variant(
        "A batch of equal statuses has that status",
        ("batch: equal statuses stay themselves", "batch: answers are in the order of the calls"),
        with_status(is_list, 207),
    ),
    "batch-of-one-is-bare": Variant("A batch of one is a list", ("batch: of one is a list of one",), answered(_unwrap)),
    "single-call-is-a-list": Variant(
        "A single call is one envelope",
        ("http: a success is one envelope with its headers", "httpLink: a query without input"),
        answered(lambda answer: wrap_list(answer, if_=lambda a: not a.request.is_batch)),
    ),
    "answers-out-of-order": Variant(
        "A batch answers in the order of its calls",
        ("batch: answers are in the order of the calls", "httpBatchLink: calls without input and with it in one batch"),
        answered(_reverse),
    ),
    "batch-fails-as-one": Variant(
        "A call that fails leaves the others of its batch alone",
        (
            "batch: mutations, one of which fails",
            "httpBatchLink: calls run at once, and one that fails leaves the others alone",
        ),
        answered(_one_fails_all),
    ),
    "calls-one-by-one": Variant(
        "Calls of a batch run at once; at most 20, of one type",
        (
            "batch: its calls run at once",
            "batch: of more than 20 calls is refused as a whole",
            "batch: queries and mutations do not mix",
            "httpBatchLink: calls run at once, and one that fails leaves the others alone",
            "httpBatchLink: too many calls at once fail together",
        ),
        _calls_one_by_one,
    ),
    "requests-one-by-one": Variant(
        "Requests are served at once",
        ("httpLink: calls run at once, and one that fails leaves the others alone",),
        _requests_one_by_one,
    ),
    "no-content-type": Variant(
        "JSON says that it is", ("http: a success is one envelope with its headers",), drop_header("content-type")
    ),
    "no-vary": Variant(
        "vary: trpc-accept, accept",
        ("http: a success is one envelope with its headers", "sse wire: status and headers"),
        drop_header("vary"),
    ),
    "vary-forgets-origin": Variant(
        "vary is added to",
        ("cors: vary names the origin and the kind of stream",),
        answered(lambda answer: assign(answer.headers, "vary", "trpc-accept, accept")),
    ),
    "405-without-allow": Variant(
        "A 405 says what is allowed", ("http: 405 says what is allowed",), drop_header("allow")
    ),
    "mutations-by-get": Variant(
        "A mutation needs POST",
        ("http: 405 says what is allowed", "http: 404 and 405 come before 401"),
        _mutations_by_get,
    ),
    "no-queries-by-post": Variant(
        "Queries may come by POST",
        ("httpLink: queries by POST", "httpBatchLink: queries by POST", "httpBatchStreamLink: queries by POST"),
        refusing(lambda r: r.method == "POST" and not re.search("utat|nothing", r.path), 405),
    ),
    "head-is-get": Variant(
        "HEAD is 204",
        ("http: HEAD is 204 and looks nothing up",),
        asked(lambda request: setattr(request, "method", "GET" if request.method == "HEAD" else request.method)),
    ),
    "any-content-type": Variant(
        "Other content-types are 415",
        ("http: a POST needs a JSON content-type",),
        asked(lambda request: assign(request.headers, "content-type", _JSON_TYPE)),
    ),
    "exact-content-type": Variant(
        "Only the media type counts, in any case",
        ("http: only the media type counts, in any case",),
        refusing(lambda r: r.method == "POST" and r.headers.get("content-type") != _JSON_TYPE, 400),
    ),
    "404-before-415": Variant(
        "The content-type is checked before the path",
        ("http: the content-type is checked before the path is looked up",),
        asked(lambda r: assign(r.headers, "content-type", _JSON_TYPE) if "nope" in r.path else None),
    ),
    "path-decoded-twice": Variant(
        "The path is decoded once", ("http: the path is decoded once",), asked(_twice_decoded)
    ),
    "comma-split-before-decoding": Variant(
        "%2C separates calls, too",
        ("http: commas separate calls after decoding, and only in a batch",),
        asked(lambda request: setattr(request, "raw_path", request.raw_path.replace(b"%2C", b"%252C"))),
    ),
    "comma-always-splits": Variant(
        "Only a batch is split at commas",
        ("http: commas separate calls after decoding, and only in a batch",),
        asked(lambda request: assign(request.query, "batch", "1") if "," in request.path else None),
    ),
    "any-batch-flag": Variant(
        "batch=1 exactly",
        ("http: batch=1 and nothing else makes a batch",),
        asked(lambda request: assign(request.query, "batch", "1") if "batch" in request.query else None),
    ),
    "null-is-absent": Variant(
        "null is a value",
        ("http: null is not the same as no input",),
        asked(lambda request: request.query.pop("input") if request.query.get("input") == "null" else None),
    ),
    "empty-input-is-null": Variant(
        "An empty input is none",
        ("http: null is not the same as no input",),
        asked(lambda request: assign(request.query, "input", "null") if request.query.get("input") == "" else None),
    ),
    "plus-is-plus": Variant(
        "A plus in the query is a space",
        ("http: the query is decoded as a form",),
        asked(lambda request: setattr(request, "query_string", request.query_string.replace(b"+", b"%2B"))),
    ),
    "input-read-eagerly": Variant(
        "Input is read by the procedure that wants it",
        (
            "http: input is only read by a procedure that has one",
            "http: 404, 405 and 401 come before bad input",
            "batch: input that is not JSON fails each call that reads it",
        ),
        refusing(json_fails, 400),
    ),
    "body-limit-before-all": Variant(
        "A big body harms only who reads it",
        ("http: input is only read by a procedure that has one", "http: a body beyond the limit is 413 of its call"),
        refusing(lambda r: int(r.headers.get("content-length", 0)) > 1 << 20, 413),
    ),
    "input-fault-is-parse-error": Variant(
        "Input that is no JSON is BAD_REQUEST",
        ("http: input that is not JSON is BAD_REQUEST of its call",),
        answered(_unread_json),
    ),
    "too-large-is-bad-request": Variant(
        "A body beyond the limit is 413",
        ("http: a body beyond the limit is 413 of its call", "http: the limit counts a body of unknown length, too"),
        with_status(lambda a: a.status == 413, 400),
    ),
    "401-before-404": Variant(
        "What does not exist is 404 for everyone",
        ("http: 404 and 405 come before 401",),
        refusing(lambda r: r.path.startswith("demo.") and "authorization" not in r.headers, 401),
    ),
    "connection-params-unheard": Variant(
        "connectionParams reach the context",
        (
            "http: connectionParams carry the token",
            "sse: the token comes in connectionParams",
            "sse wire: connectionParams carry the token",
        ),
        asked(lambda r: r.query.pop("connectionParams", None) if r.scope["type"] == "http" else None),
    ),
    "connection-params-unchecked": Variant(
        "connectionParams are null or an object of strings",
        (
            "http: unknown connectionParams are refused as a whole",
            "sse wire: what is no subscription is answered in JSON",
        ),
        asked(
            lambda r: (
                r.query.pop("connectionParams") if "token" not in r.query.get("connectionParams", "token") else None
            )
        ),
    ),
    "async-result-collected": Variant(
        "An async result over plain HTTP is 415",
        ("http: an async result over plain HTTP is 415",),
        answered(_async_as_list),
    ),
    "deaf-to-departures": Variant(
        "A client that leaves cancels its calls",
        (
            "httpLink: a call that is aborted is cancelled at the server",
            "httpBatchLink: a call that is aborted is cancelled at the server",
            "httpBatchStreamLink: a call that is aborted is cancelled at the server",
            "jsonl: a client that leaves cancels every call",
            "sse: unsubscribing ends the subscription at the server",
            "ws: closing the socket ends its subscriptions",
        ),
        _deaf_to_departures,
    ),
    "attributes-are-found": Variant(
        "Only procedures are found",
        ("http: only procedures are found, never attributes",),
        with_status(lambda a: "__" in a.request.path, 500),
    ),
    "malformed-escape-is-404": Variant(
        "A malformed escape is BAD_REQUEST",
        ("http: a malformed escape in the path is BAD_REQUEST",),
        with_status(lambda a: a.status == 400 and b"%" in a.request.raw_path, 404),
    ),
    "get-needs-a-content-type": Variant(
        "A GET is JSON, whatever its content-type",
        ("http: a GET is JSON, whatever its content-type",),
        refusing(lambda r: r.method == "GET" and r.headers.get("content-type") == "text/plain", 400),
    ),
    "context-before-404": Variant(
        "A context that refuses comes behind 404",
        ("http: a context that refuses comes behind 404 and 405, and before input",),
        refusing(lambda r: "reject-me" in r.headers.get("authorization", ""), 401),
    ),
    "json-with-constants": Variant(
        "JSON has no NaN",
        ("http: JSON has no NaN and no two values",),
        asked(lambda r: assign(r.query, "input", "null") if r.query.get("input") == "NaN" else None),
    ),
    "empty-body-is-refused": Variant(
        "An empty body is no input",
        ("http: an empty body is no input", "batch: without any input"),
        refusing(lambda r: r.method == "POST" and r.headers.get("content-length") == "0", 400),
    ),
    "body-limit-too-low": Variant(
        "A body just below the limit is read",
        ("http: a body just below the limit is read",),
        refusing(lambda r: int(r.headers.get("content-length", 0)) > 1_000_000, 413),
    ),
    "batch-input-of-any-kind": Variant(
        "Input of a batch is an object",
        ("batch: input that is no object fails each call that reads it",),
        asked(lambda r: assign(r.query, "input", "{}") if r.is_batch and r.query.get("input", "{")[0] != "{" else None),
    ),
    "batch-with-unknown-refused": Variant(
        "An unknown path fails alone",
        ("batch: an unknown path mixes with anything", "batch: wrong methods are errors of their calls"),
        refusing(lambda r: r.is_batch and "nope" in r.path, 400),
    ),
}
