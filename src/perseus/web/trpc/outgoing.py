"""What goes to a client over a long-lived connection: bounded in time, with a sign of life when there is nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ClientGone(Exception):
    """A client left, or took nothing for so long that it was cut off."""


class Outgoing:
    """The sending side of a connection: one message at a time, so a client that reads slowly slows its writers down."""

    __slots__ = ("_last", "_lock", "_loop", "_send", "_stall_s")

    def __init__(self, send: Send, *, stall_s: float) -> None:
        self._send = send
        self._stall_s = stall_s
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()

    async def write(self, message: MutableMapping[str, Any]) -> None:
        """Send an ASGI message when those before it are sent.

        Raises: ClientGone.
        """
        async with self._lock:
            try:
                async with asyncio.timeout(self._stall_s):
                    await self._send(message)
            except TimeoutError:
                self.cut()
                raise ClientGone from None
            except OSError as error:
                raise ClientGone from error
            self._last = self._loop.time()

    async def part(self, body: bytes) -> None:
        """Send some of an HTTP body."""
        await self.write({"type": "http.response.body", "body": body, "more_body": True})

    def quiet_s(self) -> float:
        """Seconds since something was sent."""
        return self._loop.time() - self._last

    def cut(self) -> None:
        """Drop the connection and what waits in its buffer.

        ASGI has no message for that, so uvicorn's transport is asked. Does not promise: that it is within reach, where
        something wraps `send`; then the connection closes once the client reads or the kernel gives up.
        """
        transport = getattr(getattr(self._send, "__self__", None), "transport", None)
        if transport is not None and hasattr(transport, "abort"):
            transport.abort()


class Stream:
    """A streamed answer, made by the task that sends it, which the server can end."""

    __slots__ = ("_task", "ended")

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("A stream is sent by a task")
        self._task = task
        self.ended = False

    @property
    def task(self) -> asyncio.Task[Any]:
        """The task that sends it."""
        return self._task

    def end(self) -> None:
        """Stop sending, so that the client connects again."""
        if not self.ended:
            self.ended = True
            self._task.cancel()

    async def beat(self, out: Outgoing, body: bytes, *, every_s: float) -> None:
        """Send `body` whenever nothing was sent for so long, until cancelled. A client that is gone ends the stream."""
        try:
            while True:
                wait_s = every_s - out.quiet_s()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                else:
                    await out.part(body)
        except ClientGone:
            self.end()
