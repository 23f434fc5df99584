"""Calls over one WebSocket: side by side, answered by their id."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from perseus.web.trpc.calls import Call, Calls, discard, is_stream, iterator_of, uncancelled
from perseus.web.trpc.encoding import encode
from perseus.web.trpc.errors import TRPCError
from perseus.web.trpc.frames import STOP, FrameRequest, Params
from perseus.web.trpc.limits import Limits
from perseus.web.trpc.outgoing import ClientGone
from perseus.web.trpc.plans import with_last_event_id
from perseus.web.trpc.procedures import Router
from perseus.web.trpc.subscriptions import checked_id, pump
from perseus.web.trpc.values import Tracked

Write = Callable[[bytes], Awaitable[None]]
Context = Callable[[], Awaitable[tuple[Any, TRPCError | None]]]


class Running:
    """One call under way, which the client may stop if it is a subscription."""

    __slots__ = ("is_stoppable", "stopped", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.is_stoppable = False
        self.stopped = False

    def stop(self) -> None:
        """End the subscription; one whose task has not begun yet sees `stopped` when it does."""
        if not self.stopped:
            self.stopped = True
            if self.is_stoppable and self.task is not None:
                self.task.cancel()


class SocketCalls:
    """Everything one client has under way on one socket."""

    def __init__(self, router: Router, calls: Calls, limits: Limits, *, context: Context, write: Write) -> None:
        self._router = router
        self._calls = calls
        self._limits = limits
        self._context = context
        self._write = write
        self._subscriptions: dict[int | float | str, Running] = {}
        self.queries: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> list[asyncio.Task[None]]:
        """The tasks of all calls."""
        running = [subscription.task for subscription in self._subscriptions.values()]
        return [*self.queries, *(task for task in running if task is not None)]

    def take(self, request: FrameRequest, group: asyncio.TaskGroup) -> bytes | None:
        """Begin what the client asks for. Gives an answer if it is one that can be given at once."""
        if request.id is None:
            return request.error(TRPCError("PARSE_ERROR", "`id` is required"))
        if request.method == STOP or request.params is None:
            if (running := self._subscriptions.get(request.id)) is not None:
                running.stop()
            return None
        if request.method == "subscription":
            return self._take_subscription(request, request.id, request.params, group)
        return self._take_query(request, request.params, group)

    def _take_query(self, request: FrameRequest, params: Params, group: asyncio.TaskGroup) -> bytes | None:
        if len(self.queries) >= self._limits.socket_calls:
            return request.error(_too_many(f"{len(self.queries)} calls"), params.path)
        task = group.create_task(self._answer(request, params), name=f"{request.method} {params.path}")
        self.queries.add(task)
        task.add_done_callback(self.queries.discard)
        return None

    def _take_subscription(
        self, request: FrameRequest, request_id: float | str, params: Params, group: asyncio.TaskGroup
    ) -> bytes | None:
        if request_id in self._subscriptions:
            return request.error(TRPCError("BAD_REQUEST", f"Duplicate id {request_id}"), params.path)
        if len(self._subscriptions) >= self._limits.socket_subscriptions:
            return request.error(_too_many(f"{len(self._subscriptions)} subscriptions"), params.path)
        running = self._subscriptions[request_id] = Running()
        work = self._subscribe(request, request_id, params, running)
        running.task = group.create_task(work, name=f"subscription {params.path}")
        return None

    async def _value(self, request: FrameRequest, params: Params) -> Any:
        context, refusal = await self._context()
        if refusal is not None:
            raise refusal.again()
        procedure = self._router.get(params.path)
        if procedure is None or procedure.kind != request.method:
            raise TRPCError("NOT_FOUND", f'No "{request.method}"-procedure on path "{params.path}"')
        return await self._calls.value(Call(params.path, procedure, lambda: _raw_input(params)), context)

    async def _answer(self, request: FrameRequest, params: Params) -> None:
        """Run a query or a mutation and send its one answer."""
        try:
            value = await self._value(request, params)
            if is_stream(value):
                await discard(value)
                answer = request.error(_no_stream(request.method), params.path)
            else:
                answer = request.data(encode(value))
        except asyncio.CancelledError as error:
            answer = self._failed(uncancelled(error), request, params.path)
        except Exception as error:  # noqa: BLE001 - the client is told of each
            answer = self._failed(error, request, params.path)
        await self._write(answer)

    async def _subscribe(
        self, request: FrameRequest, request_id: float | str, params: Params, running: Running
    ) -> None:
        """Run a subscription to its end: `started`, values, an error if there was one, `stopped`."""
        started = False

        async def opened() -> None:
            nonlocal started
            started = True
            await self._write(request.notice("started"))

        async def emit(value: Any) -> None:
            await self._write(_event(request, value))

        failure: BaseException | None = None
        try:
            if not running.stopped:
                running.is_stoppable = True
                await pump(await iterator_of(await self._value(request, params), params.path), opened=opened, emit=emit)
        except asyncio.CancelledError as error:
            if not running.stopped:
                failure = uncancelled(error)
            elif running.task is not None and running.task.uncancel() > 0:
                raise
        except Exception as error:  # noqa: BLE001 - the client is told of each
            failure = error
        running.is_stoppable = False
        await self._finish(request, request_id, params.path, failure=failure, started=started)

    async def _finish(
        self, request: FrameRequest, request_id: float | str, path: str, *, failure: BaseException | None, started: bool
    ) -> None:
        """Free the id, then say how it ended: an error comes before `stopped`, and alone if nothing had started."""
        if isinstance(failure, ClientGone):
            raise failure
        del self._subscriptions[request_id]
        if failure is not None:
            await self._write(self._failed(failure, request, path))
        if failure is None or started:
            await self._write(request.notice("stopped"))

    def _failed(self, error: BaseException, request: FrameRequest, path: str) -> bytes:
        return request.error(self._calls.describe(error, path), path)


async def _raw_input(params: Params) -> Any:
    raw = bytes(params.input) or None
    if isinstance(params.last_event_id, str):
        return with_last_event_id(raw, params.last_event_id)
    return raw


def _event(request: FrameRequest, value: Any) -> bytes:
    if isinstance(value, Tracked):
        return request.data(encode(value.value), event_id=encode(checked_id(value)))
    return request.data(encode(value))


def _no_stream(method: str) -> TRPCError:
    message = f"Cannot return an async iterable or observable from a {method} procedure with WebSockets"
    return TRPCError("UNSUPPORTED_MEDIA_TYPE", message)


def _too_many(what: str) -> TRPCError:
    return TRPCError("TOO_MANY_REQUESTS", f"{what} are under way on this connection, which is the limit")
