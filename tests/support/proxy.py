"""A TCP proxy with faults: what a network does to a store client, on command and at an exact moment.

It runs on a thread of its own, so a test may drive it from sync or async code. A direction that has swallowed bytes
stays dead for that connection, as in a real network: a byte stream never loses its middle.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from tests.support.system import free_port

T = TypeVar("T")


class Direction:
    """Faults of one direction (`requests`: client to server, `replies`: server to client).

    `delay` and `trickle` are seconds (per chunk, per byte); `dropping` swallows everything; `holding` keeps it until
    `FaultProxy.release`. `chunks` counts what has come: of requests the round trips, if each waits for its answer.
    """

    def __init__(self) -> None:
        self.chunks = 0
        self.delay = 0.0
        self.trickle = 0.0
        self.dropping = False
        self.holding = False


class _Link:
    """One client connection and its counterpart to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.lose_reply = False
        self.hold_requests = False


class FaultProxy:
    """Listens on `url` and passes everything to the target, except for what a test has asked it to do."""

    def __init__(self, target_url: str) -> None:
        parts = urlsplit(target_url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self.port = free_port()
        credentials, at, _ = parts.netloc.rpartition("@")
        self.url = parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}").geturl()
        self.requests = Direction()
        self.replies = Direction()
        self.lost_replies = 0
        self.held_requests = 0
        self._lose: tuple[bytes, int] = (b"", 0)
        self._lose_after = 0
        self._hold: tuple[bytes, int] = (b"", 0)
        self._links: set[_Link] = set()
        self._released = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._on_loop(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._on_loop(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def lose_replies(self, count: int = 1, *, to: bytes = b"", after: int = 0) -> None:
        """Forward the next `count` requests containing `to`; swallow each one's reply and reset its connection.

        `after`: how many bytes of the reply get through. The server has done what was asked; the client cannot know.
        """
        self._lose, self._lose_after = (to, count), after

    def lead_to(self, target_url: str) -> None:
        """Pass everything to another server from now on; connections to the one before are reset."""
        parts = urlsplit(target_url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self.reset()

    def hold_requests(self, count: int = 1, *, containing: bytes = b"") -> None:
        """Keep the next `count` requests containing this until `release`, even if their client gives up meanwhile."""
        self._hold = (containing, count)

    def release(self) -> None:
        """Deliver everything held, in order, and hold no more."""

        async def release() -> None:
            self._hold = (b"", 0)
            self.requests.holding = self.replies.holding = False
            self._released.set()
            self._released = asyncio.Event()

        self._on_loop(release())

    def reset(self) -> None:
        """RST every connection now."""

        async def reset() -> None:
            for link in tuple(self._links):
                _reset(link)

        self._on_loop(reset())

    def refuse(self) -> None:
        """Close the listening port: new connections are refused, existing ones live on."""
        self._on_loop(self._stop_listening())

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._on_loop(self._listen())

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._links)

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _stop_listening(self) -> None:
        if self._server is not None:
            for door in self._server.sockets:
                self._loop.remove_reader(door.fileno())
            await asyncio.sleep(0)  # who is being accepted is accepted first: asyncio would lose that socket
            self._server.close()
            self._server = None

    async def _close(self) -> None:
        self._closing = True
        await self._stop_listening()
        for link in tuple(self._links):
            _reset(link)
        # Also what has just been accepted and has no task of ours yet: its socket would be left to the collector
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(others, timeout=0.1)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self._closing:
                await self._connect_through(reader, writer)
        except (asyncio.CancelledError, OSError):
            pass  # the proxy is closing, or the server is away: the client sees it in the abort below
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _connect_through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        link = _Link(writer, server_writer)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, server_writer, self.requests, partial(self._request, link)))
                both.create_task(self._pump(server_reader, writer, self.replies, partial(self._reply, link)))
        except* OSError:
            pass  # one side is gone; the other learns it from the abort
        finally:
            self._links.discard(link)
            server_writer.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        faults: Direction,
        passes: Callable[[bytes], Coroutine[Any, Any, bool]],
    ) -> None:
        dead = False
        while data := await reader.read(65536):
            faults.chunks += 1
            if faults.delay:
                await asyncio.sleep(faults.delay)
            while faults.holding:
                await self._released.wait()
            dead = dead or faults.dropping or not await passes(data)
            if dead:
                continue
            step = 1 if faults.trickle else len(data)
            for at in range(0, len(data), step):
                writer.write(data[at : at + step])
                await writer.drain()
                await asyncio.sleep(faults.trickle)
        if writer.can_write_eof():
            writer.write_eof()

    async def _request(self, link: _Link, data: bytes) -> bool:
        needle, count = self._hold
        if link.hold_requests or (count and needle in data):
            if not link.hold_requests:
                self._hold = (needle, count - 1)
            link.hold_requests = True
            self.held_requests += 1
            await self._released.wait()
            link.hold_requests = False
        needle, count = self._lose
        if count and needle in data:
            self._lose = (needle, count - 1)
            link.lose_reply = True
        return True

    async def _reply(self, link: _Link, data: bytes) -> bool:
        if link.lose_reply:
            self.lost_replies += 1
            if self._lose_after:
                link.client.write(data[: self._lose_after])
                await link.client.drain()
                await asyncio.sleep(0.01)  # else the reset overtakes it
            _reset(link)
            return False
        return True


def _reset(link: _Link) -> None:
    for writer in (link.client, link.server):
        sock = writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:  # else it is gone already, and the other side has yet to be told
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
