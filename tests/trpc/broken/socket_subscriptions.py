"""Servers that break a rule of subscriptions over WebSockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

from tests.trpc.broken.sockets import Frame, calls_in, frame_of, heard, silent, told
from tests.trpc.broken.sse import shifted
from tests.trpc.broken.wrapping import (
    App,
    Flow,
    Message,
    Receive,
    Send,
    Variant,
    Wrap,
    dumps,
    frames,
    text_of,
)


def _result(frame: Any) -> Any:
    """The result of a frame, {} without one."""
    return frame.get("result", {}) if isinstance(frame, dict) else {}


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


def _id_once(frame: Frame) -> None:
    _result(frame).pop("id", None)


def _bare_tracked(frame: Frame) -> None:
    result = _result(frame)
    if "id" in result:
        result["data"] = result["data"]["data"]


_DROPPED = "ws: a dropped socket loses and repeats nothing"
_FORM = "ws wire: a subscription is started, tells and stops"


def _stopped_behind_error(text: str, flow: Flow) -> Iterable[str]:
    frame = frame_of(text)
    if isinstance(frame, dict) and "error" in frame and frame.get("id") is not None:
        return [text, dumps({"id": frame["id"], "result": {"type": "stopped"}})]
    return [text]


def _used_up(text: str, flow: Flow) -> Iterable[str]:
    """Refuse an id that a subscription had before."""
    frame = frame_of(text)
    if isinstance(frame, dict) and frame.get("method") == "subscription":
        if frame["id"] in flow.memory:
            frame["params"]["path"] = "no.such"
        flow.memory[frame["id"]] = True
        return [dumps(frame)]
    return [text]


def _subscriptions_noted(text: str, flow: Flow) -> Iterable[str]:
    for one in calls_in(text):
        if one.get("method") == "subscription":
            flow.memory[one["id"]] = "asked for"
    return [text]


def _unstarted_errors_dropped(text: str, flow: Flow) -> Iterable[str]:
    """Never tell why a subscription did not start."""
    frame = frame_of(text)
    if _result(frame).get("type") == "started":
        flow.memory[frame["id"]] = "started"
    return [] if "error" in frame and flow.memory.get(frame["id"]) == "asked for" else [text]


def _shared_id_dropped(text: str, flow: Flow) -> Iterable[str]:
    """Drop the answer of a call that has the id of a subscription."""
    frame = frame_of(text)
    result = _result(frame)
    of_call = result.get("type") == "data" and "id" not in result and frame["id"] in flow.memory
    return [] if of_call else [text]


def _tracked_by_force(frame: Frame) -> None:
    result = _result(frame)
    if isinstance(data := result.get("data"), dict) and data.keys() == {"n"}:
        frame["result"] = result | {"id": "0", "data": {"id": "0", "data": data}}


def _last_one_stopped(text: str, flow: Flow) -> Iterable[str]:
    """Stop a subscription when the next begins."""
    out = []
    for one in calls_in(text):
        if one.get("method") == "subscription":
            if "running" in flow.memory:
                out.append(dumps({"id": flow.memory["running"], "method": "subscription.stop"}))
            flow.memory["running"] = one["id"]
        out.append(dumps(one))
    return out or [text]


def _leaking(frame: Frame) -> None:
    if "error" in frame and frame["error"]["code"] == -32603:
        frame["error"]["message"] = "plain exception"


VARIANTS = {
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
        "A tracked event has its id twice", (_FORM, _DROPPED, "ws: retryLink resumes after an error"), told(_id_once)
    ),
    "ws-tracked-data-bare": Variant(
        "A tracked event is {id, data}",
        (_FORM, "ws: tracked events arrive with their ids, then it completes"),
        told(_bare_tracked),
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
    "ws-last-event-id-unheard": Variant(
        "lastEventId in params resumes",
        (
            "ws wire: lastEventId in params resumes",
            _DROPPED,
            "ws: a silent socket is replaced, and the subscription resumes",
        ),
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
    "ws-id-used-up": Variant(
        "An id is free again once it stopped",
        ("ws wire: an id is free again once it stopped",),
        frames(to_server=_used_up),
    ),
    "ws-subscription-fails-silently": Variant(
        "A subscription that fails at once says so",
        (
            "ws wire: a subscription that fails at once only says so",
            "ws: wrong input and an unknown procedure fail a subscription",
        ),
        frames(to_server=_subscriptions_noted, to_client=_unstarted_errors_dropped),
    ),
    "ws-untracked-as-tracked": Variant(
        "An untracked event is bare", ("ws: untracked and mixed events", _FORM), told(_tracked_by_force)
    ),
    "ws-one-subscription-a-socket": Variant(
        "A socket carries many subscriptions",
        ("ws: calls and many subscriptions share one socket", "ws: untracked and mixed events"),
        frames(to_server=_last_one_stopped),
    ),
    "ws-ids-are-for-one": Variant(
        "Calls may have any id",
        ("ws wire: a call may have the id of a running subscription",),
        frames(to_server=_subscriptions_noted, to_client=_shared_id_dropped),
    ),
    "ws-crash-leaks": Variant(
        "An exception's text stays inside",
        ("ws wire: a subscription that crashes tells its code only",),
        told(_leaking),
    ),
}
