"""Batches answered line by line (JSONL): each call as soon as it is done, and values that come later after it."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import msgspec

from perseus.web.trpc.calls import Call, Calls, discard, is_stream, runnable, uncancelled
from perseus.web.trpc.encoding import encode, encode_shape, error_envelope, result_envelope
from perseus.web.trpc.errors import TRPCError
from perseus.web.trpc.limits import Limits
from perseus.web.trpc.outgoing import ClientGone, Outgoing, Send, Stream
from perseus.web.trpc.request import Request
from perseus.web.trpc.values import Deferred, Returned

_PROMISE: Final = 0
_ITERABLE: Final = 1
# Status of a line. A promise: fulfilled, rejected. An iterable: returned, yielded, failed.
_FULFILLED, _REJECTED = 0, 1
_RETURNED, _YIELDED, _FAILED = 0, 1, 2


class JsonlStreams:
    """Answers batches as streams, and knows which are open."""

    def __init__(self, calls: Calls, limits: Limits) -> None:
        self._calls = calls
        self._limits = limits
        self.open: set[Stream] = set()

    async def __call__(self, request: Request, context: Any, refusal: TRPCError | None, send: Send) -> None:
        """Answer one batch until every value came, the client leaves, or the server ends it."""
        stream, out = Stream(), Outgoing(send, stall_s=self._limits.stall_timeout_s)
        self.open.add(stream)
        try:
            headers = [(b"content-type", b"application/json"), *request.response_headers]
            await out.write({"type": "http.response.start", "status": 200, "headers": headers})
            with suppress(ClientGone):
                await self._send_all(request, context, refusal, stream, out)
        except asyncio.CancelledError:
            # Broken off, not completed: a client must not take half an answer for a whole one.
            if not stream.ended or stream.task.uncancel() > 0:
                raise
        finally:
            self.open.discard(stream)

    async def _send_all(
        self, request: Request, context: Any, refusal: TRPCError | None, stream: Stream, out: Outgoing
    ) -> None:
        beat = asyncio.create_task(stream.beat(out, b" ", every_s=self._limits.jsonl_ping_s), name="white space")
        try:
            lines = Lines(out, self._calls, first_id=len(request.calls))
            await out.part(_head(len(request.calls)))
            async with asyncio.TaskGroup() as group:
                for index, call in enumerate(request.calls):
                    path = request.plan.paths[index]
                    group.create_task(self._call(index, path, refusal or call, context, lines))
        except* ClientGone as gone:
            raise ClientGone from gone
        finally:
            beat.cancel()
        await out.write({"type": "http.response.body", "body": b""})

    async def _call(self, index: int, path: str, call: Call | TRPCError, context: Any, lines: Lines) -> None:
        """Send what comes of one call. A failure is a value too: the call's promise is fulfilled with it."""
        try:
            value = await self._calls.value(runnable(call), context)
            if is_stream(value):
                await lines.send_chain(index, value, path)
            else:
                await lines.send(index, _FULFILLED, b"[[" + result_envelope(encode(value)) + b"]]")
        except ClientGone:
            raise
        except asyncio.CancelledError as error:
            await lines.send(index, _FULFILLED, self._failed(uncancelled(error), path))
        except Exception as error:  # noqa: BLE001 - the client is told of each
            await lines.send(index, _FULFILLED, self._failed(error, path))

    def _failed(self, error: BaseException, path: str) -> bytes:
        return b"[[" + error_envelope(self._calls.describe(error, path), path) + b"]]"


class Lines:
    """The lines of one response and the numbers of what is still to come."""

    def __init__(self, out: Outgoing, calls: Calls, *, first_id: int) -> None:
        self._out = out
        self._calls = calls
        self._ids = itertools.count(first_id)

    async def send(self, chunk_id: int, status: int, payload: bytes) -> None:
        """Send `[chunkId, status, payload]`."""
        await self._out.part(b"[%d,%d,%s]\n" % (chunk_id, status, payload))

    async def send_chain(self, chunk_id: int, value: Any, path: str) -> None:
        """Send a call's result whose data comes in parts: the client awaits `result`, then `data`, then the parts."""
        result_id, data_id = next(self._ids), next(self._ids)
        await self.send(chunk_id, _FULFILLED, b'[[{"result":0}],["result",0,%d]]' % result_id)
        await self.send(result_id, _FULFILLED, b'[[{"data":0}],["data",0,%d]]' % data_id)
        try:
            await self._send_value(data_id, _FULFILLED, value, path)
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - the client is told of each
            await self.send(data_id, _REJECTED, self._shape(error, path))

    async def _send_value(self, chunk_id: int, status: int, value: Any, path: str) -> None:
        """Send a value that may have parts to come, then those parts."""
        announced, parts = self._encoded(value, path)
        try:
            await self.send(chunk_id, status, announced)
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        finally:
            await discard(value)

    def _encoded(self, value: Any, path: str) -> tuple[bytes, list[Callable[[], Coroutine[Any, Any, None]]]]:
        """`[[value], ...definitions]` with 0 for what comes later, and how to send that."""
        if isinstance(value, Deferred):
            definitions, parts, plain = [], [], {}
            for key, field in value.fields.items():
                if (part := self._part(field, path)) is None:
                    plain[key] = field
                    continue
                plain[key] = 0
                definitions.append(b",[%s,%d,%d]" % (encode(key), part[0], part[1]))
                parts.append(part[2])
            return b"[[%s]%s]" % (encode(plain), b"".join(definitions)), parts
        if (part := self._part(value, path)) is not None:
            return b"[[0],[null,%d,%d]]" % part[:2], [part[2]]
        return b"[[%s]]" % encode(value), []

    def _part(self, value: Any, path: str) -> tuple[int, int, Callable[[], Coroutine[Any, Any, None]]] | None:
        """Type and number of a value that comes later, and how to send it; None for any other."""
        if hasattr(value, "__aiter__"):
            chunk_id = next(self._ids)
            return _ITERABLE, chunk_id, lambda: self._iterate(chunk_id, aiter(value), path)
        if inspect.isawaitable(value):
            chunk_id = next(self._ids)
            return _PROMISE, chunk_id, lambda: self._await(chunk_id, value, path)
        return None

    async def _await(self, chunk_id: int, value: Awaitable[Any], path: str) -> None:
        try:
            await self._send_value(chunk_id, _FULFILLED, await value, path)
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - the client is told of each
            await self.send(chunk_id, _REJECTED, self._shape(error, path))

    async def _iterate(self, chunk_id: int, values: AsyncIterator[Any], path: str) -> None:
        returned: Any = msgspec.UNSET
        try:
            async for value in values:
                if isinstance(value, Returned):
                    returned = value.value
                    break
                await self._send_value(chunk_id, _YIELDED, value, path)
            await self._send_value(chunk_id, _RETURNED, returned, path)
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - the client is told of each
            await self.send(chunk_id, _FAILED, self._shape(error, path))
        finally:
            await discard(values)

    def _shape(self, error: Exception, path: str) -> bytes:
        return encode_shape(self._calls.describe(error, path), path)


def _head(count: int) -> bytes:
    """The first line: a promise for each call."""
    return b"{%s}\n" % b",".join(b'"%d":[[0],[null,0,%d]]' % (index, index) for index in range(count))
