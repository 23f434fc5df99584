"""What the tests talk to the test application with: bytes on a socket, and aiohttp where a stream is long-lived."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from perseus.web.trpc import Server
from tests.support.waiting import wait_until
from tests.trpc.app import Serving

JSON = {"content-type": "application/json"}
JSONL = {"trpc-accept": "application/jsonl"}


class _Quiet(Serving):
    """Without signal handlers, which belong to the main thread."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def running(server: Server) -> Iterator[str]:
    """Serve it by uvicorn on a thread of its own; gives the URL of /trpc."""
    serving = _Quiet(server)

    def serve() -> None:
        with asyncio.Runner(loop_factory=serving.config.get_loop_factory()) as runner:
            runner.run(serving.serve())

    thread = threading.Thread(target=serve, name="tRPC test application")
    thread.start()
    try:
        wait_until(lambda: serving.started and serving.url, description="uvicorn listens")
        yield serving.url
    finally:
        serving.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "uvicorn did not end within 10 s"


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        """What a single successful call gave."""
        return self.json["result"]["data"]

    @property
    def error(self) -> Any:
        """The shape of a single failed call, or of a failed request."""
        return self.json["error"]

    @property
    def lines(self) -> list[Any]:
        """The body as JSONL."""
        return [json.loads(line) for line in self.body.decode().split("\n") if line]


def inp(value: Any) -> str:
    """`?input=` with a JSON value."""
    return "?input=" + quote(json.dumps(value), safe="")


async def get(url: str, target: str, headers: Mapping[str, str] | None = None, *, method: str = "GET") -> Answer:
    """Send a request without a body; the target stands below /trpc and is sent as it is."""
    return await exchange(url, _request(url, method, target, headers or {}, b""))


async def post(
    url: str, target: str, body: Any, headers: Mapping[str, str] | None = None, *, method: str = "POST"
) -> Answer:
    """Send JSON, or bytes as they are."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await exchange(url, _request(url, method, target, JSON if headers is None else headers, raw))


async def exchange(url: str, request: bytes, *, within_s: float = 10.0) -> Answer:
    """Send bytes and read the answer to its end."""
    reader, writer = await connect(url)
    try:
        writer.write(request)
        async with asyncio.timeout(within_s):
            return parse(await reader.read())
    finally:
        writer.close()


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TCP connection to the server."""
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 22)


def _request(url: str, method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
    fields = {"host": urlsplit(url).netloc, "connection": "close", **headers}
    if body or method == "POST":
        fields["content-length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} /trpc{target} HTTP/1.1\r\n{head}\r\n".encode() + body


def parse(raw: bytes) -> Answer:
    """An answer from all its bytes."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = ", ".join(filter(None, (headers.get(name.lower()), value.strip())))
    if headers.get("transfer-encoding") == "chunked":
        body = _dechunked(body)
    return Answer(int(first.split(" ")[1]), headers, body)


def _dechunked(raw: bytes) -> bytes:
    parts: list[bytes] = []
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        length = int(size, 16)
        parts.append(rest[:length])
        raw = rest[length + 2 :]
    return b"".join(parts)


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    event: str
    data: str
    id: str | None

    @property
    def json(self) -> Any:
        """Its data."""
        return json.loads(self.data)


@asynccontextmanager
async def events(
    url: str, target: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[AsyncIterator[Event]]:
    """The events of a subscription as they come, until the response ends."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}{target}", headers={"accept": "text/event-stream", **(headers or {})}) as response,
    ):
        assert response.status == 200
        assert response.headers["content-type"] == "text/event-stream"
        yield _events(response)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for raw in response.content:
        line = raw.decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield Event(fields.get("event", "message"), fields.get("data", ""), fields.get("id"))
            fields = {}


async def all_events(url: str, target: str, headers: Mapping[str, str] | None = None) -> list[Event]:
    """The events of a subscription that ends, without pings."""
    async with events(url, target, headers) as stream:
        return [event async for event in stream if event.event != "ping"]


class Client:
    """One WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, message: Any) -> None:
        """Send JSON, or text as it is."""
        await self.socket.send_str(message if isinstance(message, str) else json.dumps(message))

    async def call(self, method: str, path: str, request_id: Any = 1, **params: Any) -> None:
        """Send a request."""
        await self.send({"id": request_id, "method": method, "params": {"path": path, **params}})

    async def text(self, within_s: float = 5.0) -> str:
        """The next text frame, whatever it is."""
        return await self.socket.receive_str(timeout=within_s)

    async def receive(self) -> Any:
        """The next JSON frame, PING and PONG left out."""
        while (text := await self.text()) in {"PING", "PONG"}:
            pass
        return json.loads(text)

    async def closed(self, within_s: float = 5.0) -> int | None:
        """Wait for the end of the connection, and give its close code."""
        async with asyncio.timeout(within_s):
            async for _ in self.socket:
                pass
        return self.socket.close_code


@asynccontextmanager
async def websocket(url: str, query: str = "", **options: Any) -> AsyncIterator[Client]:
    """A WebSocket to the server."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}{query}", max_msg_size=0, **options) as socket,
    ):
        yield Client(socket)
