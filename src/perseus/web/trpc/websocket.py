"""tRPC over one WebSocket: its context, its reader, its signs of life and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, MutableMapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from perseus.web.trpc.calls import Calls
from perseus.web.trpc.connection import ConnectionInfo, Scope, read_connection_params
from perseus.web.trpc.errors import TRPCError
from perseus.web.trpc.frames import FrameRequest, TooManyCalls, read_frames, unnumbered
from perseus.web.trpc.incoming import Receive
from perseus.web.trpc.limits import Limits
from perseus.web.trpc.outgoing import ClientGone, Outgoing, Send
from perseus.web.trpc.plans import parameters
from perseus.web.trpc.procedures import Router
from perseus.web.trpc.socket_calls import SocketCalls

# What tRPC's own server closes with; clients come back either way.
NO_CODE: Final = 1005
TOO_BIG: Final = 1009
RESTART: Final = 1012
POLICY_VIOLATION: Final = 1008
_RECONNECT: Final = b'{"id":null,"method":"reconnect"}'
_MALFORMED: Final = "Malformed TRPCConnectionParamsMessage"
# What a refused client sent right behind its connectionParams is still read and answered.
_REFUSAL_S: Final = 0.05
_FORGIVEN_S: Final = 2.0  # who asked too often and then kept quiet for so long has taken the hint


class _ClientLeft(Exception):
    """The reader is at its end."""


class Socket:
    """One connection, made by the task that serves it. `admitted` is told once it has a context."""

    def __init__(
        self, router: Router, calls: Calls, limits: Limits, scope: Scope, *, admitted: Callable[[], None]
    ) -> None:
        self._calls = calls
        self._limits = limits
        self._scope = scope
        self._router = router
        self._admitted = admitted
        self._info = ConnectionInfo(scope)
        self._is_too_much = False
        self._pauses = 0
        self._paused_at = 0.0
        self._context: asyncio.Task[tuple[Any, TRPCError | None]] | None = None
        self._end_code: int | None = None
        self._is_ending = False
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()

    async def serve(self, receive: Receive, send: Send) -> None:
        """Answer until the client leaves or the socket is ended."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("A socket is served by a task")
        self.task: asyncio.Task[Any] = task
        self._out = Outgoing(send, stall_s=self._limits.stall_timeout_s)
        self.calls = SocketCalls(self._router, self._calls, self._limits, context=self._made_context, write=self._write)
        try:
            await self._run(receive)
        except asyncio.CancelledError:
            if not self._is_ending or task.uncancel() > 0:
                raise
            await self._say_goodbye()

    def end(self, code: int | None) -> None:
        """Cancel everything and close with this code; without one the connection is cut."""
        if not self._is_ending:
            self._is_ending = True
            self._end_code = code
            self.task.cancel()

    def ask_to_reconnect(self) -> None:
        """Tell the client to open another connection, move over, and close this one."""
        if not self._is_ending:
            self._begin(self._write(_RECONNECT), name="reconnect notice")

    def _begin(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Have something done beside the calls, unless the socket is at its end."""
        try:
            self._group.create_task(work, name=name)
        except RuntimeError:
            work.close()

    async def _say_goodbye(self) -> None:
        if self._end_code is None:
            self._out.cut()
            return
        with suppress(ClientGone):
            code = None if self._end_code == NO_CODE else self._end_code
            await self._out.write({"type": "websocket.close", "code": code})

    async def _run(self, receive: Receive) -> None:
        expects_params = parameters(self._scope["query_string"]).get(b"connectionParams") == b"1"
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._keep_alive(), name="keep alive")
                if expects_params:
                    self._group.create_task(self._await_params(), name="await connectionParams")
                else:
                    self._make_context(None)
                await self._read(receive)
        except* (_ClientLeft, ClientGone):
            pass

    async def _read(self, receive: Receive) -> None:
        """Take frame after frame. Only this waits for them, and for no call: a stop or a PING is served at once.

        Raises: _ClientLeft, always: that ends everything of this socket.
        """
        while (message := await receive())["type"] != "websocket.disconnect":
            self._heard = self._loop.time()
            self._is_too_much = False
            await self._take(message, message.get("text"))
            # calls begin, and end, between the frames of a client that sends many
            await (self._pause() if self._is_too_much else asyncio.sleep(0))
        raise _ClientLeft

    def _one_too_many(self) -> TRPCError | None:
        """Count a call, or a frame that is none. What to say if it is one too many."""
        refusal = self._calls.one_too_many(self._info)
        self._is_too_much = self._is_too_much or refusal is not None
        return refusal

    async def _pause(self) -> None:
        """Let a client that asks too often wait, and close the socket of one that goes on all the same."""
        now = self._loop.time()
        self._pauses = 1 if now - self._paused_at > _FORGIVEN_S else self._pauses + 1
        self._paused_at = now
        if self._pauses > self._limits.socket_pauses:
            self.end(POLICY_VIOLATION)
        await asyncio.sleep(self._limits.socket_pause_s)

    async def _take(self, message: MutableMapping[str, Any], text: str | None) -> None:
        if len(text if text is not None else message["bytes"]) > self._limits.frame_bytes:
            await self._write(unnumbered(TRPCError("PAYLOAD_TOO_LARGE")))
            self.end(TOO_BIG)
        elif text in ("PING", "PONG"):
            self._one_too_many()
            if text == "PING":
                await self._write(b"PONG")
        elif self._context is None:
            self._make_context(message)
        elif text is None:
            fault = TRPCError("PARSE_ERROR", "Requests come as text, not as binary frames")
            await self._write(unnumbered(self._one_too_many() or fault))
        else:
            await self._take_requests(text)

    async def _take_requests(self, text: str) -> None:
        try:
            requests = read_frames(text, limit=self._limits.socket_batch_calls)
        except TooManyCalls as refused:
            for answer in refused.answers:
                self._one_too_many()
                await self._write(answer)
        except TRPCError as error:
            await self._write(unnumbered(self._one_too_many() or error))
            if error.code == "PAYLOAD_TOO_LARGE":
                self.end(TOO_BIG)
        else:
            for request in requests:
                if (immediate := self._begin_call(request)) is not None:
                    await self._write(immediate)
            if not requests and (refusal := self._one_too_many()) is not None:
                await self._write(unnumbered(refusal))

    def _begin_call(self, request: FrameRequest) -> bytes | None:
        """Begin what is asked for, and give an answer that can be given at once. A stop is never one too many."""
        refusal = self._one_too_many()
        if refusal is not None and request.params is not None:
            return request.error(refusal, request.params.path)
        return self.calls.take(request, self._group)

    async def _write(self, json: bytes) -> None:
        await self._out.write({"type": "websocket.send", "text": json.decode()})

    def _make_context(self, params_message: MutableMapping[str, Any] | None) -> None:
        self._context = self._group.create_task(self._context_or_refusal(params_message), name="context")

    async def _made_context(self) -> tuple[Any, TRPCError | None]:
        if self._context is None:
            raise RuntimeError("A call came before its context")
        return await asyncio.shield(self._context)

    async def _context_or_refusal(
        self, params_message: MutableMapping[str, Any] | None
    ) -> tuple[Any, TRPCError | None]:
        try:
            params = None if params_message is None else _connection_params(params_message)
            context, refusal = await self._calls.context(ConnectionInfo(self._scope, params))
        except TRPCError as fault:
            context, refusal = None, fault
        if refusal is not None:
            await self._write(unnumbered(refusal))
            self._begin(self._end_refused(), name="end of a refused socket")
        else:
            self._admitted()
        return context, refusal

    async def _end_refused(self) -> None:
        await asyncio.sleep(_REFUSAL_S)
        if under_way := self.calls.under_way:
            await asyncio.wait(under_way, timeout=self._limits.stall_timeout_s)
        self.end(NO_CODE)

    async def _await_params(self) -> None:
        await asyncio.sleep(self._limits.socket_params_s)
        if self._context is None:
            await self._write(unnumbered(TRPCError("TIMEOUT", "No connectionParams came")))
            self.end(NO_CODE)

    async def _keep_alive(self) -> None:
        """Send PING to a quiet client, and cut it off if it stays quiet."""
        while True:
            wait_s = self._heard + self._limits.socket_ping_s - self._loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
                continue
            asked = self._loop.time()
            await self._write(b"PING")
            await asyncio.sleep(self._limits.socket_pong_s)
            if self._heard < asked:
                self.end(None)
                return


def _connection_params(message: MutableMapping[str, Any]) -> Any:
    """The params of a client's first frame. Raises: TRPCError PARSE_ERROR."""
    try:
        if message.get("text") is None:
            raise TRPCError("PARSE_ERROR", _MALFORMED)
        fields = msgspec.json.decode(message["text"], type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError) as error:
        raise TRPCError("PARSE_ERROR", _MALFORMED) from error
    return read_connection_params(fields.get("data", b'""'), unreadable=_MALFORMED)
