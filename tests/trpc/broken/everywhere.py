"""Servers that break a rule of calls the same way on every transport: over HTTP, in lines and in frames."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.trpc.broken.http import ENVELOPE_OF, refusing
from tests.trpc.broken.wrapping import (
    Answer,
    App,
    Message,
    Receive,
    Request,
    Send,
    Variant,
    Wrap,
    answered,
    asked,
    dumps,
    frames,
    lines,
    unheard,
)
from tests.trpc.conformance import TOKEN

HTTP_LINKS = ("httpLink", "httpBatchLink", "httpBatchStreamLink")
LINKS = (*HTTP_LINKS, "wsLink")
_REJECTED = "reject-me"


def each_link(*facts: str, links: Iterable[str] = LINKS) -> tuple[str, ...]:
    """The checks that state these facts through each link of the client."""
    return tuple(f"{link}: {fact}" for fact in facts for link in links)


def _texts(change: Callable[[str], str]) -> Wrap:
    """Change the text of every answer, line and frame."""

    def whole(answer: Answer) -> None:
        if answer.body:
            answer.body = change(answer.body.decode()).encode()

    in_body = answered(whole)
    in_lines = lines(lambda line, flow: line if line.isspace() else change(line))
    in_frames = frames(to_client=lambda text, flow: [text if text in ("PING", "PONG") else change(text)])
    return lambda app: in_body(in_lines(in_frames(app)))


def _envelopes(change: Callable[[dict[str, Any]], object]) -> Wrap:
    """Change each `{"result": …}` and `{"error": …}`, wherever it comes."""

    def one(text: str) -> str:
        value = json.loads(text)
        for envelope in _envelopes_in(value):
            change(envelope)
        return dumps(value) + ("\n" if text.endswith("\n") else "")

    return _texts(one)


def _envelopes_in(value: Any) -> Iterator[dict[str, Any]]:
    """Those of an answer, of a batch, of a line of JSONL or of a frame."""
    match value:
        case {"result": dict()} | {"error": dict()}:
            yield value
        case [int(), 0, [[dict(envelope)]]]:
            yield from _envelopes_in(envelope)
        case [*several]:
            for each in several:
                if isinstance(each, dict):
                    yield from _envelopes_in(each)


def _errors(change: Callable[[dict[str, Any]], object]) -> Wrap:
    """Change the shape of each error of a call."""
    return _envelopes(lambda envelope: change(envelope["error"]) if "error" in envelope else None)


def _answers(change: Callable[[Any], Any]) -> Wrap:
    """Change what each call gave."""

    def one(envelope: dict[str, Any]) -> None:
        if "data" in (result := envelope.get("result", {})):
            result["data"] = change(result["data"])

    return _envelopes(one)


def _inputs(change: Callable[[str], str]) -> Wrap:
    """Change the text of the inputs of queries: in the URL, or a whole frame."""

    def in_url(request: Request) -> None:
        if "input" in request.query:
            request.query["input"] = change(request.query["input"])

    before, frame = asked(in_url), frames(to_server=lambda text, flow: [change(text)])
    return lambda app: before(frame(app))


def _refusing_inputs(word: str, status: int) -> Wrap:
    """Answer a query whose input has this word with an error, before the application sees it."""
    over_http = refusing(lambda request: word in request.query.get("input", ""), status)

    def wrap(app: App) -> App:
        async def guarded(scope: Any, receive: Receive, send: Send) -> None:
            async def read() -> Message:
                while word in ((message := await receive()).get("text") or ""):
                    calls = json.loads(message["text"])
                    for call in calls if isinstance(calls, list) else [calls]:
                        refused = {"id": call["id"], "error": ENVELOPE_OF[status]}
                        await send({"type": "websocket.send", "text": dumps(refused)})
                return message

            await app(scope, read if scope["type"] == "websocket" else receive, send)

        wrapped: App = over_http(guarded)
        return wrapped

    return wrap


def _with_numbers(value: Any) -> Any:
    """Every text of digits as a number."""
    match value:
        case str() if value.isdecimal():
            return int(value)
        case dict():
            return {name: _with_numbers(one) for name, one in value.items()}
        case list():
            return [_with_numbers(one) for one in value]
    return value


def _strict_integers_lost(text: str) -> str:
    return text.replace('"exchangeId":"1"', '"exchangeId":1').replace(":true", ":1")


def _only_first_fault(error: dict[str, Any]) -> None:
    if "zodError" in error["data"]:
        error["message"] = dumps(json.loads(error["message"])[:1])


def _wordless(error: dict[str, Any]) -> None:
    if error["message"] == error["data"]["code"]:
        error["message"] = ""


def _leak(error: dict[str, Any]) -> None:
    if error["data"]["httpStatus"] == 500:
        error["message"] = "plain exception"


def _token_assumed(request: Request) -> None:
    if "connectionParams" not in request.query:
        request.headers.setdefault("authorization", f"Bearer {TOKEN}")


def _anonymous(app: App) -> App:
    """Take whom the context refuses for somebody without a token."""

    def forget(request: Request) -> None:
        if _REJECTED in request.headers.get("authorization", ""):
            del request.headers["authorization"]
        if _REJECTED in request.query.get("connectionParams", ""):
            del request.query["connectionParams"]

    in_frames = frames(to_server=lambda text, flow: [text.replace(f'"token":"{_REJECTED}"', "")])
    return asked(forget)(in_frames(app))


VARIANTS = {
    "text-is-ascii": Variant(
        "Text is Unicode",
        each_link("a query without input", "a query with input"),
        _texts(lambda text: text.encode("ascii", "replace").decode()),
    ),
    "empty-becomes-null": Variant(
        "What is empty, zero or false is a value",
        each_link("any JSON value comes back as it was"),
        _answers(lambda data: data or None),
    ),
    "digits-become-numbers": Variant(
        "A text of digits is a text", each_link("a mutation", "pages to the end"), _answers(_with_numbers)
    ),
    "surrogates-crash": Variant(
        "Half a surrogate pair harms nobody",
        each_link("half a surrogate pair is answered, and the next call works"),
        _refusing_inputs("\\ud800", 500),
    ),
    "nan-in-json": Variant(
        "NaN is null",
        each_link("NaN and the infinities are null"),
        _texts(lambda text: text.replace('"nan":null', '"nan":NaN')),
    ),
    "lenient-integers": Variant(
        "Integers are strict", each_link("integers are strict"), _inputs(_strict_integers_lost)
    ),
    "unknown-fields-refused": Variant(
        "Unknown fields are ignored",
        each_link("fields the procedure does not know are ignored", "pages to the end"),
        _refusing_inputs('"direction"', 400),
    ),
    "failures-are-for-ever": Variant(
        "A call that failed may be made again",
        each_link("retryLink tries again until it works"),
        _inputs(lambda text: text.replace('"failures":2', '"failures":9')),
    ),
    "error-number-is-a-word": Variant(
        "error.code is a number",
        each_link("an error of the procedure"),
        _errors(lambda error: error.update(code=error["data"]["code"])),
    ),
    "one-number-for-all": Variant(
        "Every code has its number",
        each_link("every error code has its number and status"),
        _errors(lambda error: error.update(code=-32603)),
    ),
    "errors-without-words": Variant(
        "Every error has a message", each_link("an error without a message says its code"), _errors(_wordless)
    ),
    "stack-traces": Variant(
        "No stack trace for clients",
        (*each_link("an exception is INTERNAL_SERVER_ERROR"), "http: a crash is 500 with a complete shape"),
        _errors(lambda error: error["data"].update(stack="Traceback")),
    ),
    "exception-text-leaks": Variant(
        "An exception's text stays inside", each_link("an exception's text stays inside"), _errors(_leak)
    ),
    "first-fault-only": Variant(
        "Wrong input tells every fault",
        each_link("wrong input is BAD_REQUEST, with every wrong field in the message"),
        _errors(_only_first_fault),
    ),
    "no-field-errors": Variant(
        "Wrong input names its fields",
        each_link("wrong input names its fields in data.zodError"),
        _errors(lambda error: error["data"].pop("zodError", None)),
    ),
    "bearer-unheard": Variant(
        "The authorization header reaches the context",
        each_link("the token reaches the context", links=HTTP_LINKS),
        unheard("authorization"),
    ),
    "guards-let-everyone-in": Variant(
        "A guarded procedure wants the token",
        each_link("without the token a guarded procedure is UNAUTHORIZED"),
        asked(_token_assumed),
    ),
    "refused-context-is-anonymous": Variant(
        "Whom the context refuses is refused",
        (
            *each_link("a context that refuses fails each call"),
            "jsonl: a context that refuses fails each call",
            "sse: a context that refuses ends the subscription",
            "ws wire: a refused context says so, then closes",
        ),
        _anonymous,
    ),
}
