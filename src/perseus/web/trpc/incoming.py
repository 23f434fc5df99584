"""What comes from the client during one HTTP request: a body, once, and the news that it has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from perseus.web.trpc.errors import TRPCError
from perseus.web.trpc.limits import Limits

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_PATIENCE_S: Final = 0.05
_DRAIN_S: Final = 2.0
_DRAINED_BODIES: Final = 8


class Incoming:
    """The receiving side of a request. Only this class calls `receive`, so that nobody takes another's message."""

    __slots__ = ("_body", "_fault", "_is_complete", "_left", "_length", "_limits", "_lock", "_receive")

    def __init__(self, receive: Receive, *, length: bytes | None, limits: Limits) -> None:
        self._receive = receive
        self._length = length
        self._limits = limits
        self._lock: asyncio.Lock | None = None
        self._body: bytes | None = None
        self._fault: TRPCError | None = None
        self._is_complete = False
        self._left = False

    async def body(self) -> bytes:
        """The whole body, read when first asked for.

        Raises: TRPCError PAYLOAD_TOO_LARGE, TIMEOUT if it does not come, CLIENT_CLOSED_REQUEST if the client left.
        """
        if self._body is None and self._fault is None:
            async with self._reading():
                if self._body is None and self._fault is None:
                    await self._read_once()
        if self._fault is not None:
            raise self._fault.again()
        return self._body or b""

    async def drain(self) -> None:
        """Take what is left of the body and forget it, within reason.

        A connection closed on bytes nobody read is reset, and the answer is lost with it.
        """
        size = 0
        if self._is_complete or (self._fault is not None and self._fault.code == "TIMEOUT"):
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S), self._reading():
                while not self._is_complete and size < _DRAINED_BODIES * self._limits.body_bytes:
                    size += len(await self._part())

    async def gone(self) -> None:
        """Return when the client has left, or its request was answered."""
        try:
            await self.body()
        except TRPCError as fault:
            if fault.code == "CLIENT_CLOSED_REQUEST":
                return
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _read_once(self) -> None:
        if self._length is not None and self._length.isdigit() and int(self._length) > self._limits.body_bytes:
            self._fault = TRPCError("PAYLOAD_TOO_LARGE")
            return
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                self._body = await self._read()
        except TimeoutError:
            self._fault = TRPCError("TIMEOUT", f"The body did not come within {self._limits.body_timeout_s:g} s")
        except TRPCError as fault:
            self._fault = fault

    async def _read(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            part = await self._part()
            if self._left:
                raise TRPCError("CLIENT_CLOSED_REQUEST")
            size += len(part)
            if size > self._limits.body_bytes:
                raise TRPCError("PAYLOAD_TOO_LARGE")
            parts.append(part)
            if self._is_complete:
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _part(self) -> bytes:
        message = await self._receive()
        self._left = message["type"] == "http.disconnect"
        self._is_complete = self._left or not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part

    def _reading(self) -> asyncio.Lock:
        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock


class Departure:
    """Cancels the task that makes it when the client leaves; `end` stops the watch."""

    __slots__ = ("_incoming", "_watch", "left", "task")

    def __init__(self, incoming: Incoming) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("A request is served by a task")
        self.left = False
        self.task = task
        self._incoming = incoming
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._watch = self.task.get_loop().create_task(self._until_gone(), name="client's departure")

    def end(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()

    async def _until_gone(self) -> None:
        await self._incoming.gone()
        self.left = True
        self.task.cancel()


class Departures:
    """Watches the clients of all calls that take longer than a moment: most end before anyone could leave.

    One timer serves them all; one for each call would cost more than the rest of the watch.
    """

    def __init__(self) -> None:
        self._young: set[Departure] = set()
        self._is_ticking = False

    def watch(self, incoming: Incoming) -> Departure:
        """Watch over the task that calls this, soon. `end` must follow."""
        departure = Departure(incoming)
        self._young.add(departure)
        if not self._is_ticking:
            self._is_ticking = True
            departure.task.get_loop().call_later(_PATIENCE_S, self._tick)
        return departure

    def end(self, departure: Departure) -> None:
        """Stop watching."""
        self._young.discard(departure)
        departure.end()

    def _tick(self) -> None:
        self._is_ticking = False
        young, self._young = self._young, set()
        for departure in young:
            departure.start()
