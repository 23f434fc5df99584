"""Ways to put a fault around an ASGI application: in its requests, its answers, its streams or its frames."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]
Wrap = Callable[[App], App]

BLOCK_END = re.compile(r"\n\n+")


@dataclass(frozen=True, slots=True)
class Variant:
    """A server that breaks one rule, and the checks that must notice."""

    breaks: str
    caught_by: tuple[str, ...]
    wrap: Wrap


class Request:
    """What a client asked, to be changed before the application sees it."""

    def __init__(self, scope: Any) -> None:
        self.scope = dict(scope)
        self.headers: dict[str, str] = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.method: str = scope.get("method", "GET")
        self.raw_path: bytes = scope["raw_path"]
        self.query: dict[str, str] = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        self._query_before = dict(self.query)
        self.query_string: bytes = scope["query_string"]

    @property
    def path(self) -> str:
        """The path behind /trpc/, decoded."""
        return unquote_to_bytes(self.raw_path).decode("utf-8", "replace").removeprefix("/trpc/")

    @property
    def is_batch(self) -> bool:
        """Whether it is a batch."""
        return self.query.get("batch") == "1"

    @property
    def wants_lines(self) -> bool:
        """Whether it asks for JSONL."""
        asked = self.headers.get("trpc-accept") or self.headers.get("accept", "")
        return "application/jsonl" in asked

    def changed_scope(self) -> Any:
        """The scope with everything that was changed."""
        if self.query != self._query_before:
            self.query_string = urlencode(self.query, quote_via=quote).encode()
        return self.scope | {
            "method": self.method,
            "raw_path": self.raw_path,
            "path": unquote_to_bytes(self.raw_path).decode("utf-8", "replace"),
            "query_string": self.query_string,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in self.headers.items()],
        }


@dataclass(slots=True)
class Answer:
    """What the application answered; `body` is None where it streams."""

    request: Request
    status: int
    headers: dict[str, str]
    body: bytes | None = None

    @property
    def json(self) -> Any:
        """The body as a JSON value."""
        return json.loads(self.body or b"null")

    @json.setter
    def json(self, value: Any) -> None:
        self.body = dumps(value).encode()

    def change_errors(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the shape of each error in a body."""
        value = self.json if self.body else None
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict) and "error" in one:
                change(one["error"])
        if value is not None:
            self.json = value


def dumps(value: Any) -> str:
    """JSON as compact as a server's."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def asked(change: Callable[[Request], object]) -> Wrap:
    """Change requests (and the requests that open sockets)."""

    def wrap(app: App) -> App:
        async def changed(scope: Any, receive: Receive, send: Send) -> None:
            request = Request(scope)
            change(request)
            await app(request.changed_scope(), receive, send)

        return changed

    return wrap


def unheard(name: str, *, when: Callable[[Request], bool] = lambda request: True) -> Wrap:
    """Do not see a request header."""
    return asked(lambda request: request.headers.pop(name, None) if when(request) else None)


def answered(change: Callable[[Answer], object]) -> Wrap:
    """Change whole answers; of streams, status and headers only."""

    def wrap(app: App) -> App:
        async def changed(scope: Any, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            held: Answer | None = None

            async def hold(message: Message) -> None:
                nonlocal held
                if message["type"] == "http.response.start":
                    held = _started(Request(scope), message)
                    if _streams(held):
                        change(held)
                        await send(_start_of(held))
                    else:
                        held.body = b""
                elif held is not None and held.body is not None:
                    held.body += message.get("body", b"")
                    if not message.get("more_body"):
                        change(held)
                        await send_answer(held, send)
                else:
                    await send(message)

            await app(scope, receive, hold)

        return changed

    return wrap


def _started(request: Request, message: Message) -> Answer:
    return Answer(request, message["status"], {name.decode(): value.decode() for name, value in message["headers"]})


def _streams(answer: Answer) -> bool:
    kind = answer.headers.get("content-type", "")
    return answer.status == 200 and (
        kind.startswith("text/event-stream") or (answer.request.wants_lines and answer.request.is_batch)
    )


def _start_of(answer: Answer) -> Message:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    return {"type": "http.response.start", "status": answer.status, "headers": headers}


async def send_answer(answer: Answer, send: Send) -> None:
    """Send an answer as a whole."""
    body = answer.body or b""
    if "content-length" in answer.headers:
        answer.headers["content-length"] = str(len(body))
    await send(_start_of(answer))
    await send({"type": "http.response.body", "body": body})


@dataclass(slots=True)
class Flow:
    """What a change of a stream or a socket may remember from piece to piece."""

    request: Request
    memory: dict[str, Any] = field(default_factory=dict)


def streamed(change: Callable[[str, Flow], str], *, kind: str, end: re.Pattern[str]) -> Wrap:
    """Change a stream piece by piece; a piece keeps its end. "" drops it."""

    def wrap(app: App) -> App:
        async def changed(scope: Any, receive: Receive, send: Send) -> None:
            flow = Flow(Request(scope)) if scope["type"] == "http" else None
            rest = ""

            async def piecewise(message: Message) -> None:
                nonlocal rest, flow
                if (
                    message["type"] == "http.response.start"
                    and flow
                    and not _is_kind(_started(flow.request, message), kind)
                ):
                    flow = None
                if message["type"] != "http.response.body" or flow is None:
                    await send(message)
                    return
                text = rest + message.get("body", b"").decode()
                pieces, rest = _cut(text, end)
                last = not message.get("more_body")
                out = "".join(change(piece, flow) for piece in pieces) + (rest if last else "")
                await send({"type": "http.response.body", "body": out.encode(), "more_body": not last})

            await app(scope, receive, piecewise)

        return changed

    return wrap


def _is_kind(answer: Answer, kind: str) -> bool:
    return _streams(answer) and answer.headers.get("content-type", "").startswith(kind)


def _cut(text: str, end: re.Pattern[str]) -> tuple[list[str], str]:
    pieces, start = [], 0
    for found in end.finditer(text):
        pieces.append(text[start : found.end()])
        start = found.end()
    if text[start:].isspace():  # white space that keeps a stream alive
        pieces.append(text[start:])
        start = len(text)
    return pieces, text[start:]


def events(change: Callable[[str, Flow], str]) -> Wrap:
    """Change the events of server-sent streams, one block of lines at a time."""
    return streamed(change, kind="text/event-stream", end=BLOCK_END)


def lines(change: Callable[[str, Flow], str]) -> Wrap:
    """Change the lines of JSONL streams."""
    return streamed(change, kind="application/", end=re.compile(r"\n"))


def frames(
    *,
    to_server: Callable[[str, Flow], Iterable[str]] | None = None,
    to_client: Callable[[str, Flow], Iterable[str]] | None = None,
) -> Wrap:
    """Change WebSocket text frames: each becomes none, one or several."""

    def wrap(app: App) -> App:
        async def changed(scope: Any, receive: Receive, send: Send) -> None:
            if scope["type"] != "websocket":
                await app(scope, receive, send)
                return
            flow = Flow(Request(scope))
            waiting: list[Message] = []

            async def read() -> Message:
                while not waiting:
                    message = await receive()
                    text = message.get("text")
                    if to_server is None or message["type"] != "websocket.receive" or text is None:
                        return message
                    waiting.extend({"type": "websocket.receive", "text": one} for one in to_server(text, flow))
                return waiting.pop(0)

            async def write(message: Message) -> None:
                text = text_of(message)
                if to_client is None or text is None:
                    await send(message)
                    return
                for one in to_client(text, flow):
                    await send({"type": "websocket.send", "text": one})

            await app(scope, read, write)

        return changed

    return wrap


def text_of(message: Message) -> str | None:
    """The text of a frame that is sent, None for anything else."""
    if message["type"] != "websocket.send":
        return None
    text: str | None = message.get("text")
    return text


def each_frame(change: Callable[[dict[str, Any]], object]) -> Callable[[str, Flow], list[str]]:
    """Change a JSON object in place, in a frame of one or an array of them."""

    def one(text: str, _flow: Flow) -> list[str]:
        try:
            value = json.loads(text)
        except ValueError:
            return [text]
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                change(part)
        return [dumps(value)]

    return one
