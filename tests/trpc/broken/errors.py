"""Servers whose errors break a rule, and servers that break CORS."""

from __future__ import annotations

from typing import Any

from tests.trpc.broken.http import assign, drop_header, refusing, with_status, wrap_list
from tests.trpc.broken.wrapping import (
    Answer,
    Variant,
    answered,
)


def _without(*names: str) -> Any:
    def change(error: dict[str, Any]) -> None:
        for name in names:
            error["data"].pop(name, None)

    return answered(lambda answer: answer.change_errors(change))


def _whole(answer: Answer) -> bool:
    """Whether it is a whole-request error."""
    if not answer.body:
        return False
    value = answer.json
    return isinstance(value, dict) and "path" not in value.get("error", {"data": {"path": 1}})["data"]


def _framework_error(answer: Answer) -> None:
    if answer.status == 400 and "zodError" in str(answer.body):
        answer.status = 422
        answer.json = {"detail": [{"msg": "wrong"}]}


def _html_error(answer: Answer) -> None:
    if answer.status == 500:
        answer.headers["content-type"] = "text/html"
        answer.body = b"<h1>Internal Server Error</h1>"


def _content_type(answer: Answer, kind: str) -> None:
    if _whole(answer):
        answer.headers["content-type"] = kind


def _reflect_origin(answer: Answer) -> None:
    if origin := answer.request.headers.get("origin"):
        answer.headers["access-control-allow-origin"] = origin


_ERROR_FLOOR = 400

VARIANTS = {
    "errors-are-200": Variant(
        "An error has the status of its code",
        ("http: an error has the status of its code", "http: a procedure that does not exist is 404"),
        with_status(lambda a: a.status >= _ERROR_FLOOR, 200),
    ),
    "errors-without-path": Variant(
        "An error of a call has its path",
        ("http: a procedure that does not exist is 404", "httpLink: an error of the procedure"),
        _without("path"),
    ),
    "errors-without-status": Variant(
        "An error's data has httpStatus",
        ("httpLink: every error code has its number and status",),
        _without("httpStatus"),
    ),
    "html-500": Variant(
        "A crash has a shape",
        ("http: a crash is 500 with a complete shape", "httpLink: an exception is INTERNAL_SERVER_ERROR"),
        answered(_html_error),
    ),
    "framework-422": Variant(
        "Wrong input is BAD_REQUEST in tRPC's shape",
        ("httpLink: wrong input is BAD_REQUEST, with every wrong field in the message",),
        answered(_framework_error),
    ),
    "whole-errors-in-a-list": Variant(
        "A whole-request error is one envelope",
        ("batch: queries and mutations do not mix", "batch: of more than 20 calls is refused as a whole"),
        answered(lambda answer: wrap_list(answer, if_=_whole)),
    ),
    "whole-errors-have-a-path": Variant(
        "A whole-request error has no path",
        ("batch: queries and mutations do not mix", "http: a POST needs a JSON content-type"),
        answered(
            lambda a: a.change_errors(lambda error: error["data"].update(path="demo.list")) if _whole(a) else None
        ),
    ),
    "whole-errors-are-text": Variant(
        "A whole-request error is JSON",
        ("http: whole-request errors are JSON",),
        answered(lambda answer: _content_type(answer, "text/plain;charset=UTF-8")),
    ),
    "no-cors-on-errors": Variant(
        "Errors allow the origin, too",
        ("cors: every answer and every error allows the origin",),
        drop_header("access-control-allow-origin", only=lambda answer: answer.status >= _ERROR_FLOOR),
    ),
    "no-cors-on-streams": Variant(
        "Streams allow the origin, too",
        ("cors: streams allow the origin",),
        drop_header("access-control-allow-origin", only=lambda answer: answer.body is None),
    ),
    "cors-for-anyone": Variant(
        "Other origins are not allowed", ("cors: another origin is not allowed",), answered(_reflect_origin)
    ),
    "preflight-without-trpc-accept": Variant(
        "A preflight allows our headers",
        ("cors: a preflight is answered",),
        answered(lambda answer: assign(answer.headers, "access-control-allow-headers", "content-type")),
    ),
    "preflight-without-post": Variant(
        "A preflight allows our methods",
        ("cors: a preflight is answered",),
        answered(lambda answer: assign(answer.headers, "access-control-allow-methods", "GET")),
    ),
    "preflight-is-405": Variant(
        "A preflight is answered", ("cors: a preflight is answered",), refusing(lambda r: r.method == "OPTIONS", 405)
    ),
}
