"""Servers that break a rule of WebSockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

from tests.trpc.broken.wrapping import (
    App,
    Flow,
    Message,
    Receive,
    Send,
    Variant,
    Wrap,
    dumps,
    each_frame,
    frames,
    text_of,
)

Frame = dict[str, Any]


def told(change: Callable[[Frame], object]) -> Wrap:
    """Change each frame to the client."""
    return frames(to_client=each_frame(change))


def heard(change: Callable[[Frame], object]) -> Wrap:
    """Change each call from the client."""
    return frames(to_server=each_frame(change))


def silent(about: Callable[[Any], object]) -> Wrap:
    """Leave out the frames to the client that match."""
    return frames(to_client=lambda text, flow: [] if about(frame_of(text)) else [text])


def frame_of(text: str) -> Any:
    """The frame as a value; PING and PONG as they are."""
    return text if text in ("PING", "PONG") else json.loads(text)


def _serial(app: App) -> App:
    """Do not read the next frame before the last call is answered."""

    async def one_at_a_time(scope: Any, receive: Receive, send: Send) -> None:
        free = asyncio.Event()
        free.set()

        async def read() -> Message:
            await free.wait()
            message = await receive()
            if '"query"' in (message.get("text") or "") and not str(message["text"]).startswith("["):
                free.clear()
            return message

        async def write(message: Message) -> None:
            await send(message)
            if text_of(message) not in (None, "PING", "PONG"):
                free.set()

        await app(scope, read, write)

    return one_at_a_time


def closing(when: Callable[[Any], object], *, code: int = 1011, first: bool = True) -> Wrap:
    """Close the socket behind (or instead of) a frame to the client that matches."""

    def wrap(app: App) -> App:
        async def brittle(scope: Any, receive: Receive, send: Send) -> None:
            closed = False

            async def write(message: Message) -> None:
                nonlocal closed
                text = text_of(message)
                if closed:
                    return
                closes = text is not None and when(frame_of(text))
                if first or not closes:
                    await send(message)
                if closes:
                    closed = True
                    await send({"type": "websocket.close", "code": code})

            await app(scope, receive, write)

        return brittle

    return wrap


def sent_as(kind: str) -> Wrap:
    """Accept with a subprotocol, or send frames of bytes."""

    def wrap(app: App) -> App:
        async def changed(scope: Any, receive: Receive, send: Send) -> None:
            async def write(message: Message) -> None:
                if kind == "subprotocol" and message["type"] == "websocket.accept":
                    message = {**message, "subprotocol": "trpc"}
                elif kind == "bytes" and (text := text_of(message)) is not None and text != "PING":
                    message = {"type": "websocket.send", "bytes": text.encode()}
                await send(message)

            await app(scope, receive, write)

        return changed

    return wrap


def _apart(text: str, _flow: Flow) -> Iterable[str]:
    """Take an array of calls for so many frames."""
    if not text.startswith("["):
        return [text]
    return [dumps(one) for one in json.loads(text)]


def _text_id(frame: Frame) -> None:
    if frame.get("id") is not None:
        frame["id"] = str(frame["id"])


def _falsy_id(frame: Frame) -> None:
    if frame.get("id") == 0:
        frame["id"] = None


def _http_words(frame: Frame) -> None:
    if "-procedure on path" in str(frame.get("error")):
        frame["error"]["message"] = "No procedure found on path " + frame["error"]["data"]["path"]


def _path_lost(frame: Frame) -> None:
    if "error" in frame and frame.get("id") is not None:
        frame["error"]["data"].pop("path", None)


def _error_without_id(frame: Frame) -> None:
    if "error" in frame:
        frame["id"] = None


def _null_id_like_any_other(frame: Frame) -> None:
    if "`id` is required" in str(frame.get("error")):
        frame["error"]["message"] = "Bad frame"


def _is_bad_frame(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("id", 1) is None and "PARSE_ERROR" in str(frame.get("error"))


_FORM = "ws wire: a subscription is started, tells and stops"


def _iterable_as_value(frame: Frame) -> None:
    if "async iterable" in str(frame.get("error")):
        del frame["error"]
        frame["result"] = {"type": "data", "data": {}}


def calls_in(text: str) -> list[Frame]:
    value = frame_of(text) if text[:1] in ("{", "[") else None
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else []


def _array_noted(text: str, flow: Flow) -> Iterable[str]:
    if text.startswith("["):
        flow.memory["waited for"] = [one["id"] for one in calls_in(text)]
    return [text]


def _answered_together(text: str, flow: Flow) -> Iterable[str]:
    """Send the answers of an array when all are there, in its order."""
    frame = frame_of(text)
    wanted, held = flow.memory.get("waited for", []), flow.memory.setdefault("held", {})
    if not isinstance(frame, dict) or frame.get("id") not in wanted:
        return [text]
    held[frame["id"]] = text
    return [held[one] for one in wanted] if len(held) == len(wanted) else []


def _repaired(name: str, kinds: tuple[type, ...], *, by: Any) -> Callable[[Any], None]:
    """Put something fit in the place of what is missing or of no such kind."""

    def change(value: Any) -> None:
        if isinstance(value, dict) and type(value.get(name, ...)) not in kinds:
            value[name] = by

    return change


def _known(method: Any) -> Any:
    return method if method in ("query", "mutation", "subscription", "subscription.stop") else "query"


def _event_id_as_text(frame: Frame) -> None:
    if isinstance(params := frame.get("params"), dict) and "lastEventId" in params:
        params["lastEventId"] = str(params["lastEventId"])


def _closed_by_bytes(app: App) -> App:
    """Close a socket that is sent bytes."""

    async def strict(scope: Any, receive: Receive, send: Send) -> None:
        async def read() -> Message:
            message = await receive()
            if message.get("bytes") is not None:
                await send({"type": "websocket.close", "code": 1003})
                return {"type": "websocket.disconnect", "code": 1003}
            return message

        await app(scope, read, send)

    return strict


_BAD_FRAME = "ws wire: a frame that is none is answered and forgiven"

VARIANTS = {
    "ws-one-call-at-a-time": Variant(
        "Calls run at once",
        (
            "wsLink: calls run at once, and one that fails leaves the others alone",
            "ws wire: PING is answered at once and in order",
        ),
        lambda app: frames(to_server=_apart)(_serial(app)),
    ),
    "ws-answers-in-arrays": Variant(
        "One object a frame",
        ("wsLink: a query with input", _FORM),
        frames(to_client=lambda text, flow: [text if text in ("PING", "PONG") else f"[{text}]"]),
    ),
    "ws-frames-of-bytes": Variant(
        "Frames are text",
        ("wsLink: a query without input", "ws wire: an answer has its id, its type and nothing else"),
        sent_as("bytes"),
    ),
    "ws-ids-become-text": Variant(
        "An id keeps its type", ("ws wire: an answer has its id, its type and nothing else",), told(_text_id)
    ),
    "ws-id-0-is-none": Variant(
        "0 is an id",
        ("ws wire: an answer has its id, its type and nothing else", "ws wire: an error has the id of its call"),
        told(_falsy_id),
    ),
    "ws-error-without-id": Variant(
        "An error has the id of its call",
        ("wsLink: an error of the procedure", "ws wire: an error has the id of its call"),
        told(_error_without_id),
    ),
    "ws-error-without-path": Variant("An error has its path", ("wsLink: an error of the procedure",), told(_path_lost)),
    "ws-no-jsonrpc": Variant(
        "jsonrpc is echoed", ("ws wire: jsonrpc is echoed",), told(lambda frame: frame.pop("jsonrpc", None))
    ),
    "ws-not-found-in-http-words": Variant(
        "NOT_FOUND has its own words", ("ws wire: a wrong type is NOT_FOUND in its own words",), told(_http_words)
    ),
    "ws-bad-frame-closes": Variant("A bad frame is forgiven", (_BAD_FRAME,), closing(_is_bad_frame)),
    "ws-bad-frame-unanswered": Variant("A bad frame is answered", (_BAD_FRAME,), silent(_is_bad_frame)),
    "ws-array-taken-apart": Variant(
        "An array stands or falls as one",
        ("ws wire: one bad element fails its whole array", "ws wire: a batch beyond the limit fails each id"),
        frames(to_server=_apart),
    ),
    "ws-null-id-unexplained": Variant(
        "An id of null is told so", ("ws wire: an id of null is told so",), told(_null_id_like_any_other)
    ),
    "ws-empty-array-answered": Variant(
        "An empty array is met with silence",
        ("ws wire: an empty array is met with silence",),
        frames(to_server=lambda text, flow: ["{}" if text == "[]" else text]),
    ),
    "ws-iterable-as-value": Variant(
        "An async iterable from a query is 415",
        ("ws wire: an async iterable from a query is 415",),
        told(_iterable_as_value),
    ),
    "ws-json-with-constants": Variant(
        "JSON has no NaN",
        ("ws wire: NaN in a frame is a bad frame",),
        frames(to_server=lambda text, flow: [text.replace("NaN", "1").replace("Infinity", "1")]),
    ),
    "ws-small-frames-only": Variant(
        "A frame may be as large as a body",
        ("ws wire: a large frame is served",),
        frames(to_server=lambda text, flow: [text[: 1 << 16]]),
    ),
    "ws-array-answered-together": Variant(
        "A slow call of an array does not hold up the others",
        ("ws wire: an array of calls gets one frame for each",),
        frames(to_server=_array_noted, to_client=_answered_together),
    ),
    "ws-bad-frame-is-bad-request": Variant(
        "A bad frame is PARSE_ERROR",
        (_BAD_FRAME, "ws wire: one bad element fails its whole array"),
        frames(to_client=lambda text, flow: [text.replace('"code":-32700', '"code":-32600')]),
    ),
    "ws-bytes-close": Variant(
        "Bytes are a bad frame, and forgiven",
        (_BAD_FRAME,),
        _closed_by_bytes,
    ),
    "ws-any-id": Variant(
        "An id is a number or a text", (_BAD_FRAME,), heard(_repaired("id", (int, float, str, type(None)), by=1))
    ),
    "ws-any-method": Variant(
        "A method is one of four", (_BAD_FRAME,), heard(lambda frame: frame.update(method=_known(frame.get("method"))))
    ),
    "ws-any-params": Variant(
        "A call has params, and they are an object",
        (_BAD_FRAME,),
        heard(_repaired("params", (dict,), by={"path": "test.echo"})),
    ),
    "ws-any-path": Variant(
        "A path is a text",
        (_BAD_FRAME,),
        heard(lambda frame: _repaired("path", (str,), by="test.echo")(frame.get("params"))),
    ),
    "ws-any-jsonrpc": Variant(
        "jsonrpc is 2.0 if it is there",
        (_BAD_FRAME,),
        heard(lambda frame: frame.update(jsonrpc="2.0") if "jsonrpc" in frame else None),
    ),
    "ws-number-as-event-id": Variant(
        "lastEventId is a text",
        (_BAD_FRAME,),
        heard(_event_id_as_text),
    ),
}
