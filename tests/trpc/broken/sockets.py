"""Servers that break a rule of WebSockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

from tests.trpc.broken.streams import shifted
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


def _told(change: Callable[[Frame], object]) -> Wrap:
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


def _result(frame: Any) -> Any:
    """The result of a frame, {} without one."""
    return frame.get("result", {}) if isinstance(frame, dict) else {}


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


def _error_behind_stopped(text: str, flow: Flow) -> Iterable[str]:
    """Tell why a subscription failed after it was told to have stopped."""
    frame = frame_of(text)
    if isinstance(frame, dict) and "error" in frame and frame["id"] in flow.memory.get("started", ()):
        flow.memory["held"] = text
        return []
    if _result(frame).get("type") == "started":
        flow.memory.setdefault("started", set()).add(frame["id"])
    if _result(frame).get("type") == "stopped" and "held" in flow.memory:
        return [text, flow.memory.pop("held")]
    return [text]


def _stopped_at_once(app: App) -> App:
    """Answer every subscription.stop, known id or not."""

    async def eager(scope: Any, receive: Receive, send: Send) -> None:
        async def read() -> Message:
            message = await receive()
            if "subscription.stop" in (message.get("text") or ""):
                number = json.loads(message["text"])["id"]
                await send({"type": "websocket.send", "text": dumps({"id": number, "result": {"type": "stopped"}})})
            return message

        await app(scope, read, send)

    return eager


def _started_too_early(app: App) -> App:
    """Say `started` first, and begin to listen a moment later."""

    async def early(scope: Any, receive: Receive, send: Send) -> None:
        async def read() -> Message:
            message = await receive()
            if '"demo.events"' in (message.get("text") or "") and not message["text"].startswith("["):
                number = json.loads(message["text"])["id"]
                await send({"type": "websocket.send", "text": dumps({"id": number, "result": {"type": "started"}})})
                await asyncio.sleep(0.3)
            return message

        async def write(message: Message) -> None:
            if '"started"' not in (text_of(message) or ""):
                await send(message)

        await app(scope, read, write)

    return early


def _resumed(change: Callable[[str], str | None]) -> Wrap:
    def one(frame: Frame) -> None:
        params = frame.get("params")
        if isinstance(params, dict) and isinstance(params.get("lastEventId"), str):
            changed = change(params.pop("lastEventId"))
            if changed is not None:
                params["lastEventId"] = changed

    return heard(one)


def _same_id_again(text: str, flow: Flow) -> Iterable[str]:
    """Let a second subscription have a running id."""
    frame = frame_of(text)
    if isinstance(frame, dict) and "Duplicate id" in str(frame.get("error")):
        return []
    return [text]


def _text_id(frame: Frame) -> None:
    if frame.get("id") is not None:
        frame["id"] = str(frame["id"])


def _falsy_id(frame: Frame) -> None:
    if frame.get("id") == 0:
        frame["id"] = None


def _id_once(frame: Frame) -> None:
    _result(frame).pop("id", None)


def _bare_tracked(frame: Frame) -> None:
    result = _result(frame)
    if "id" in result:
        result["data"] = result["data"]["data"]


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


_DROPPED = "ws: a dropped socket loses and repeats nothing"
_FORM = "ws wire: a subscription is started, tells and stops"


def _stopped_behind_error(text: str, flow: Flow) -> Iterable[str]:
    frame = frame_of(text)
    if isinstance(frame, dict) and "error" in frame and frame.get("id") is not None:
        return [text, dumps({"id": frame["id"], "result": {"type": "stopped"}})]
    return [text]


def _iterable_as_value(frame: Frame) -> None:
    if "async iterable" in str(frame.get("error")):
        del frame["error"]
        frame["result"] = {"type": "data", "data": {}}


def _used_up(text: str, flow: Flow) -> Iterable[str]:
    """Refuse an id that a subscription had before."""
    frame = frame_of(text)
    if isinstance(frame, dict) and frame.get("method") == "subscription":
        if frame["id"] in flow.memory:
            frame["params"]["path"] = "no.such"
        flow.memory[frame["id"]] = True
        return [dumps(frame)]
    return [text]


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
        "An id keeps its type", ("ws wire: an answer has its id, its type and nothing else",), _told(_text_id)
    ),
    "ws-id-0-is-none": Variant(
        "0 is an id",
        ("ws wire: an answer has its id, its type and nothing else", "ws wire: an error has the id of its call"),
        _told(_falsy_id),
    ),
    "ws-error-without-id": Variant(
        "An error has the id of its call",
        ("wsLink: an error of the procedure", "ws wire: an error has the id of its call"),
        _told(_error_without_id),
    ),
    "ws-error-without-path": Variant(
        "An error has its path", ("wsLink: an error of the procedure",), _told(_path_lost)
    ),
    "ws-no-jsonrpc": Variant(
        "jsonrpc is echoed", ("ws wire: jsonrpc is echoed",), _told(lambda frame: frame.pop("jsonrpc", None))
    ),
    "ws-not-found-in-http-words": Variant(
        "NOT_FOUND has its own words", ("ws wire: a wrong type is NOT_FOUND in its own words",), _told(_http_words)
    ),
    "ws-no-started": Variant(
        "A subscription is started",
        (_FORM, "ws: tracked events arrive with their ids, then it completes"),
        silent(lambda frame: _result(frame).get("type") == "started"),
    ),
    "ws-no-stopped": Variant(
        "A subscription that ends has stopped",
        (
            _FORM,
            "ws: tracked events arrive with their ids, then it completes",
            "ws wire: PONG comes behind what was sent before",
        ),
        silent(lambda frame: _result(frame).get("type") == "stopped"),
    ),
    "ws-tracked-id-once": Variant(
        "A tracked event has its id twice", (_FORM, _DROPPED, "ws: retryLink resumes after an error"), _told(_id_once)
    ),
    "ws-tracked-data-bare": Variant(
        "A tracked event is {id, data}",
        (_FORM, "ws: tracked events arrive with their ids, then it completes"),
        _told(_bare_tracked),
    ),
    "ws-error-behind-stopped": Variant(
        "An error comes before `stopped`",
        (
            "ws wire: a subscription that fails later says why, then stops",
            "ws: an error ends the subscription with its shape",
        ),
        frames(to_client=_error_behind_stopped),
    ),
    "ws-deaf-to-stop": Variant(
        "subscription.stop stops",
        ("ws wire: subscription.stop stops it", "ws: unsubscribing ends the subscription at the server"),
        frames(to_server=lambda text, flow: [] if "subscription.stop" in text else [text]),
    ),
    "ws-answers-any-stop": Variant(
        "Stopping what does not run is met with silence",
        ("ws wire: stopping what does not run is met with silence",),
        _stopped_at_once,
    ),
    "ws-same-id-again": Variant(
        "A running id is not taken twice",
        ("ws wire: a running id is not taken twice",),
        frames(to_client=_same_id_again),
    ),
    "ws-bad-frame-closes": Variant(
        "A bad frame is forgiven", ("ws wire: a frame that is none is answered and forgiven",), closing(_is_bad_frame)
    ),
    "ws-bad-frame-unanswered": Variant(
        "A bad frame is answered", ("ws wire: a frame that is none is answered and forgiven",), silent(_is_bad_frame)
    ),
    "ws-array-taken-apart": Variant(
        "An array stands or falls as one",
        ("ws wire: one bad element fails its whole array", "ws wire: a batch beyond the limit fails each id"),
        frames(to_server=_apart),
    ),
    "ws-null-id-unexplained": Variant(
        "An id of null is told so", ("ws wire: an id of null is told so",), _told(_null_id_like_any_other)
    ),
    "ws-last-event-id-unheard": Variant(
        "lastEventId in params resumes",
        ("ws wire: lastEventId in params resumes", _DROPPED),
        _resumed(lambda event_id: None),
    ),
    "ws-resume-repeats": Variant(
        "Resuming repeats nothing", (_DROPPED, "ws wire: lastEventId in params resumes"), _resumed(shifted(-1))
    ),
    "ws-resume-drops": Variant(
        "Resuming loses nothing", (_DROPPED, "ws wire: lastEventId in params resumes"), _resumed(shifted(1))
    ),
    "ws-listens-late": Variant(
        "Listening begins before `started`", ("ws: what happens right after onStarted arrives",), _started_too_early
    ),
    "ws-stopped-without-start": Variant(
        "A subscription that fails at once only says so",
        ("ws wire: a subscription that fails at once only says so",),
        frames(to_client=_stopped_behind_error),
    ),
    "ws-empty-array-answered": Variant(
        "An empty array is met with silence",
        ("ws wire: an empty array is met with silence",),
        frames(to_server=lambda text, flow: ["{}" if text == "[]" else text]),
    ),
    "ws-iterable-as-value": Variant(
        "An async iterable from a query is 415",
        ("ws wire: an async iterable from a query is 415",),
        _told(_iterable_as_value),
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
    "ws-id-used-up": Variant(
        "An id is free again once it stopped",
        ("ws wire: an id is free again once it stopped",),
        frames(to_server=_used_up),
    ),
}
