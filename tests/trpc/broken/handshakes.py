"""Servers that break a rule of how WebSockets begin, are kept alive and end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from tests.trpc.broken.sockets import Frame, closing, heard, sent_as, silent
from tests.trpc.broken.wrapping import (
    App,
    Flow,
    Message,
    Receive,
    Request,
    Send,
    Variant,
    Wrap,
    asked,
    frames,
    text_of,
)


def _late_pong(app: App) -> App:
    """Answer PING after a second."""

    async def late(scope: Any, receive: Receive, send: Send) -> None:
        async def write(message: Message) -> None:
            if text_of(message) == "PONG":
                await asyncio.sleep(1)
            await send(message)

        await app(scope, receive, write)

    return late


def _never_closing(app: App) -> App:
    async def clinging(scope: Any, receive: Receive, send: Send) -> None:
        async def write(message: Message) -> None:
            if message["type"] != "websocket.close":
                await send(message)

        await app(scope, receive, write)
        if scope["type"] == "websocket":
            await asyncio.sleep(20)

    return clinging


def _patience(seconds: float) -> Wrap:
    """Close a socket so long after it opened, whatever comes, unless PONG does."""

    def wrap(app: App) -> App:
        async def impatient(scope: Any, receive: Receive, send: Send) -> None:
            if scope["type"] != "websocket":
                await app(scope, receive, send)
                return
            ponged = asyncio.Event()

            async def read() -> Message:
                message = await receive()
                if message.get("text") == "PONG":
                    ponged.set()
                return message

            async def watch() -> None:
                try:
                    await asyncio.wait_for(ponged.wait(), seconds)
                except TimeoutError:
                    await send({"type": "websocket.close", "code": 1000})

            watching = asyncio.create_task(watch())
            try:
                await app(scope, read, send)
            finally:
                watching.cancel()

        return impatient

    return wrap


def _params_not_awaited(app: App) -> App:
    """Run calls without waiting for connectionParams, and never look at them."""
    heedless = frames(to_server=lambda text, flow: [] if _has_params(text, flow.request) else [text])

    async def deaf(scope: Any, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if scope["type"] == "websocket":
            request.query.pop("connectionParams", None)
        await app(request.changed_scope(), receive, send)

    return heedless(deaf)


def _has_params(text: str, request: Request) -> bool:
    return request.query.get("connectionParams") == "1" and '"method"' in text and '"params"' not in text


def _params_lost(frame: Frame) -> None:
    if frame.get("method") == "connectionParams":
        frame["data"] = None


def _params_repaired(text: str, flow: Flow) -> Iterable[str]:
    """Take whatever comes first for connectionParams."""
    if flow.memory.setdefault("first", True) and text != "PING":
        flow.memory["first"] = False
        if flow.request.query.get("connectionParams") == "1" and '"token":"' not in text:
            return ['{"data":null}']
    return [text]


def _is_rejection(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("id", 1) is None and "UNAUTHORIZED" in str(frame.get("error"))


def _is_notice(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("method") == "reconnect"


def _params_by_name(text: str, flow: Flow) -> Iterable[str]:
    """Take nothing for connectionParams that is not called so, or has none."""
    if text != "PING" and flow.memory.setdefault("first", True):
        flow.memory["first"] = False
        if flow.request.query.get("connectionParams") == "1" and not _is_named_object(text):
            return ['{"data":3}']
    return [text]


def _is_named_object(text: str) -> bool:
    return '"method":"connectionParams"' in text and '"data":{' in text


def _closing_with(code: int) -> Wrap:
    def wrap(app: App) -> App:
        async def coded(scope: Any, receive: Receive, send: Send) -> None:
            async def write(message: Message) -> None:
                await send({**message, "code": code} if message["type"] == "websocket.close" else message)

            await app(scope, receive, write)

        return coded

    return wrap


def _once_only(app: App) -> App:
    """Refuse every socket once one is gone."""
    gone = asyncio.Event()

    async def resentful(scope: Any, receive: Receive, send: Send) -> None:
        async def read() -> Message:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                gone.set()
            return message

        if scope["type"] == "websocket" and gone.is_set():
            await receive()
            await send({"type": "websocket.close", "code": 1013})
        else:
            await app(scope, read, send)

    return resentful


_REFUSED = "ws wire: a refused context says so, then closes"

VARIANTS = {
    "ws-no-pong": Variant(
        "PING is answered",
        ("ws: the keep-alive of the client is answered", "ws wire: PING is answered at once and in order"),
        silent(lambda frame: frame == "PONG"),
    ),
    "ws-late-pong": Variant("PONG comes at once", ("ws: the keep-alive of the client is answered",), _late_pong),
    "ws-pong-waits-for-params": Variant(
        "PING is answered before connectionParams, too",
        ("ws wire: with connectionParams nothing runs before them",),
        frames(
            to_server=_params_repaired,
            to_client=lambda text, flow: [] if text == "PONG" and flow.memory.get("first", True) else [text],
        ),
    ),
    "ws-subprotocol": Variant(
        "No subprotocol", ("wsLink: a query without input", "ws wire: no subprotocol is chosen"), sent_as("subprotocol")
    ),
    "ws-params-unheard": Variant(
        "connectionParams reach the context",
        ("ws: the token comes in connectionParams", "wsLink: the token reaches the context"),
        heard(_params_lost),
    ),
    "ws-params-not-awaited": Variant(
        "Nothing runs before connectionParams",
        ("ws wire: with connectionParams nothing runs before them",),
        _params_not_awaited,
    ),
    "ws-params-unchecked": Variant(
        "connectionParams are null or an object of strings",
        ("ws wire: connectionParams that are none close the socket",),
        frames(to_server=_params_repaired),
    ),
    "ws-params-always-awaited": Variant(
        "Without connectionParams the context is there at once",
        ("ws wire: without connectionParams the context is there at once",),
        asked(lambda r: r.query.update(connectionParams="1") if r.scope["type"] == "websocket" else None),
    ),
    "ws-refused-stays-open": Variant(
        "A refused socket is closed, and a dead one",
        (
            _REFUSED,
            "ws: a refused connection is tried again",
            "ws wire: a refused header closes at once",
            "ws wire: a quiet socket is sent PING, and ended without PONG",
        ),
        _never_closing,
    ),
    "ws-refused-without-a-word": Variant(
        "A refused socket is told why",
        (_REFUSED, "ws wire: a refused header closes at once"),
        closing(_is_rejection, first=False),
    ),
    "ws-refused-calls-unanswered": Variant(
        "Calls that had come learn of the refusal",
        ("ws wire: a refused context answers every call that had come",),
        closing(_is_rejection),
    ),
    "ws-no-server-ping": Variant(
        "A quiet socket is pinged",
        ("ws wire: a quiet socket is sent PING, and ended without PONG",),
        silent(lambda frame: frame == "PING"),
    ),
    "ws-only-pong-is-life": Variant(
        "Any message counts as life", ("ws wire: any message counts as life",), _patience(4)
    ),
    "ws-no-reconnect-notice": Variant(
        "The reconnect notice is broadcast",
        (
            "ws wire: the reconnect notice reaches every socket",
            "ws: the reconnect notice moves a subscription without loss",
        ),
        silent(_is_notice),
    ),
    "ws-notice-closes": Variant(
        "The old socket is served until the client closes it",
        ("ws: the reconnect notice lets calls under way finish",),
        closing(_is_notice),
    ),
    "ws-pong-is-a-bad-frame": Variant(
        "PONG needs no answer",
        ("ws wire: PING is answered at once and in order",),
        frames(to_server=lambda text, flow: ["nope" if text == "PONG" else text]),
    ),
    "ws-deaf-to-pong": Variant(
        "PONG is life",
        ("ws: a client that answers PING stays connected",),
        frames(to_server=lambda text, flow: [] if text == "PONG" else [text]),
    ),
    "ws-params-by-name-only": Variant(
        "connectionParams may be null, in a frame of any name",
        ("ws wire: connectionParams may be null, their method anything",),
        frames(to_server=_params_by_name),
    ),
    "ws-refused-with-a-code": Variant(
        "A refused socket is closed without a code",
        ("ws wire: a refused socket closes without a code",),
        _closing_with(1008),
    ),
    "ws-close-is-for-ever": Variant(
        "Who closed a socket may open another", ("ws: a lazy client closes and opens as needed",), _once_only
    ),
    "ws-drop-is-for-ever": Variant(
        "Who lost a socket may open another",
        ("ws: a call under way fails when the socket drops, and the next works",),
        _once_only,
    ),
}
