"""Servers that break a rule of how a request is read: the order in which it is checked, its path, query and input."""

from __future__ import annotations

import json
from typing import Any

from tests.trpc.broken.http import assign, refusing
from tests.trpc.broken.wrapping import (
    App,
    Message,
    Receive,
    Request,
    Send,
    Variant,
    answered,
    asked,
)

_KNOWN = {"batch", "input", "connectionParams", "lastEventId", "Last-Event-Id"}


def _calls(request: Request) -> list[str]:
    return request.path.split(",") if request.is_batch else [request.path]


def _is_mixed(request: Request) -> bool:
    return {"demo.list", "test.nothing"} <= set(_calls(request))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _cut_at_the_limit(request: Request) -> None:
    if len(calls := _calls(request)) > 20:
        request.raw_path = f"/trpc/{','.join(calls[:20])}".encode()


def _without_nulls(request: Request) -> None:
    if request.is_batch and _is_json(text := request.query.get("input", "")) and isinstance(json.loads(text), dict):
        given = {at: value for at, value in json.loads(text).items() if value is not None}
        request.query["input"] = json.dumps(given)


def _alone(request: Request) -> None:
    """Take a subscription out of its batch of one."""
    if request.is_batch and request.path == "test.ticks":
        del request.query["batch"]
        request.query["input"] = json.dumps(json.loads(request.query["input"])["0"])


def _spoiled_by_errors(app: App) -> App:
    """Serve nothing more on a connection on which a request failed."""
    spoiled: set[Any] = set()

    async def touchy(scope: Any, receive: Receive, send: Send) -> None:
        connection = tuple(scope["client"])

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                spoiled.add(connection)
            await send(message)

        await refusing(lambda request: connection in spoiled, 500)(app)(scope, receive, watch)

    return touchy


VARIANTS = {
    "415-before-path": Variant(
        "The path is decoded before the content-type is checked",
        ("http: the path is decoded before the content-type is checked",),
        refusing(lambda r: r.method == "POST" and r.headers.get("content-type") != "application/json", 415),
    ),
    "size-before-415": Variant(
        "The content-type is checked before the size of a batch",
        ("batch: the content-type is checked before its size is",),
        refusing(lambda r: len(_calls(r)) > 20, 400),
    ),
    "types-before-size": Variant(
        "The size of a batch is checked before its types",
        ("batch: its size is checked before types are",),
        refusing(_is_mixed, 400),
    ),
    "connection-params-before-types": Variant(
        "The types of a batch are checked before connectionParams",
        ("batch: types are checked before connectionParams are",),
        refusing(lambda r: not _is_json(r.query.get("connectionParams", "null")), 400),
    ),
    "stream-before-connection-params": Variant(
        "connectionParams are checked before a stream must be a batch",
        ("jsonl: connectionParams are checked before it must be a batch",),
        refusing(lambda r: r.wants_lines and not r.is_batch, 400),
    ),
    "context-before-stream": Variant(
        "A stream must be a batch before the context is made",
        ("jsonl: it must be a batch before the context is made",),
        refusing(lambda r: "reject-me" in r.headers.get("authorization", ""), 401),
    ),
    "token-before-batch-of-subscriptions": Variant(
        "A subscription in a batch is refused before the token is asked for",
        ("batch: subscriptions are refused before the token is asked for",),
        refusing(lambda r: r.is_batch and r.path == "demo.events" and "authorization" not in r.headers, 401),
    ),
    "subscriptions-in-batches": Variant(
        "Subscriptions are not batched", ("batch: subscriptions are refused",), asked(_alone)
    ),
    "batch-cut-at-the-limit": Variant(
        "Of too many calls none is made",
        (
            "httpBatchLink: too many calls at once fail together",
            "httpBatchStreamLink: too many calls at once fail together",
            "batch: of more than 20 calls is refused as a whole",
        ),
        asked(_cut_at_the_limit),
    ),
    "null-in-batch-is-absent": Variant(
        "null in a batch is a value", ("batch: a null in it is a value",), asked(_without_nulls)
    ),
    "empty-input-is-refused": Variant(
        "An empty input is none",
        ("http: an empty input is no input, and null is a value", "http: null is not the same as no input"),
        refusing(lambda r: r.query.get("input") == "" and not r.is_batch, 400),
    ),
    "other-parameters-refused": Variant(
        "Unknown parameters are ignored",
        ("http: the query is decoded as a form",),
        refusing(lambda r: not r.query.keys() <= _KNOWN, 400),
    ),
    "slash-is-part-of-the-path": Variant(
        "A slash at the end of the path is none of it",
        ("http: the path is decoded once",),
        asked(lambda r: setattr(r, "raw_path", r.raw_path + b"%2F") if r.raw_path.endswith(b"/") else None),
    ),
    "allow-forgets-post": Variant(
        "A query is allowed by POST, and says so",
        ("http: 405 says what is allowed",),
        answered(lambda a: assign(a.headers, "allow", "GET") if "GET" in a.headers.get("allow", "") else None),
    ),
    "errors-spoil-the-connection": Variant(
        "A connection is still good after errors",
        ("http: a connection is still good after errors",),
        _spoiled_by_errors,
    ),
}
