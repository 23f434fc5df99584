"""One call: authorised, its input read, its function run, and whatever happened told. The same for every transport."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog

from perseus.web.trpc.connection import ConnectionInfo
from perseus.web.trpc.encoding import encode, error_envelope, result_envelope
from perseus.web.trpc.errors import TRPCError
from perseus.web.trpc.procedures import Procedure
from perseus.web.trpc.values import Deferred

MakeContext = Callable[[ConnectionInfo], Awaitable[Any]]
Count = Callable[[ConnectionInfo], None]
Authorize = Callable[[Any, str, Procedure], Awaitable[None] | None]
DescribeError = Callable[[Exception], TRPCError | None]
RawInput = Callable[[], Awaitable[bytes | msgspec.Raw | None]]
OK: Final = 200
_NO_STREAM: Final = "Cannot use stream-like response in non-streaming request - use httpBatchStreamLink"

_log = structlog.get_logger()


class Call:
    """A path as the client named it, the procedure found there, and how to read its input when that is wanted."""

    __slots__ = ("path", "procedure", "raw_input")

    def __init__(self, path: str, procedure: Procedure, raw_input: RawInput) -> None:
        self.path = path
        self.procedure = procedure
        self.raw_input = raw_input


class Calls:
    """How calls are run: who may, and what the client is told of a failure."""

    def __init__(
        self,
        *,
        context: MakeContext,
        authorize: Authorize | None,
        describe_error: DescribeError | None,
        count: Count | None = None,
    ) -> None:
        self._context = context
        self._authorize = authorize
        self._count = count
        self._describe_error = describe_error

    def one_too_many(self, info: ConnectionInfo, path: str | None = None) -> TRPCError | None:
        """Count a call, whatever becomes of it. Gives the fault that stands in its place if it is one too many."""
        if self._count is None:
            return None
        try:
            self._count(info)
        except Exception as error:  # noqa: BLE001 - the client is told of it
            return self.describe(error, path)
        return None

    async def context(self, info: ConnectionInfo) -> tuple[Any, TRPCError | None]:
        """The context of a request or a socket, or why there is none."""
        try:
            return await self._context(info), None
        except asyncio.CancelledError as error:
            return None, self.describe(uncancelled(error), None)
        except Exception as error:  # noqa: BLE001 - each call is told of it
            return None, self.describe(error, None)

    async def value(self, call: Call, context: Any) -> Any:
        """What the procedure gives: a plain value, or an async iterator. Raises: whatever it or its guard raises."""
        procedure = call.procedure
        if self._authorize is not None:
            verdict = self._authorize(context, call.path, procedure)
            if verdict is not None:
                await verdict
        if procedure.decoder is None:
            started = procedure.function(context)
        else:
            started = procedure.function(context, procedure.decoder.read(await call.raw_input()))
        if procedure.iterates:
            return started
        value = await started
        return msgspec.UNSET if procedure.returns_nothing else value

    async def answer(self, call: Call, context: Any) -> tuple[int, bytes]:
        """Status and envelope of a call that has one answer."""
        try:
            value = await self.value(call, context)
            if is_stream(value):
                await discard(value)
                return self.failure(TRPCError("UNSUPPORTED_MEDIA_TYPE", _NO_STREAM), call.path)
            return OK, result_envelope(encode(value))
        except asyncio.CancelledError as error:
            return self.failure(uncancelled(error), call.path)
        except Exception as error:  # noqa: BLE001 - the client is told of each, and one call never fails another
            return self.failure(error, call.path)

    def failure(self, error: BaseException, path: str | None) -> tuple[int, bytes]:
        """Status and envelope of a call that failed."""
        told = self.describe(error, path)
        return told.status, error_envelope(told, path)

    def describe(self, error: BaseException, path: str | None) -> TRPCError:
        """What the client is told of an exception. Those nobody described are logged under the reference it is told."""
        if isinstance(error, TRPCError):
            return error
        described = self._described(error)
        if described is not None:
            return described
        reference = secrets.token_hex(4)
        _log.error("call_failed", path=path, reference=reference, exc_info=error)
        return TRPCError("INTERNAL_SERVER_ERROR", f"Internal server error (reference {reference})")

    def _described(self, error: BaseException) -> TRPCError | None:
        if self._describe_error is None or not isinstance(error, Exception):
            return None
        try:
            return self._describe_error(error)
        except Exception:  # noqa: BLE001 - then nobody described it, and the client is told so
            _log.exception("describe_error_failed")
            return None


def runnable(call: Call | TRPCError) -> Call:
    """The call. Raises: the fault that stands in its place."""
    if isinstance(call, TRPCError):
        raise call.again()
    return call


def uncancelled(error: asyncio.CancelledError) -> asyncio.CancelledError:
    """The same exception if the procedure raised it by itself. Raises: it, if we are the ones being cancelled."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise error
    return error


def is_stream(value: Any) -> bool:
    """Whether a value comes in parts, or has parts that come later."""
    return isinstance(value, Deferred) or hasattr(value, "__aiter__")


async def discard(value: Any) -> None:
    """Close what a procedure opened and nobody will read."""
    if isinstance(value, Deferred):
        for field in value.fields.values():
            await discard(field)
    elif hasattr(value, "aclose"):
        await value.aclose()
    elif hasattr(value, "close"):
        value.close()


async def iterator_of(value: Any, path: str) -> AsyncIterator[Any]:
    """The iterator of a subscription. Raises: TypeError if the procedure gave none."""
    if not hasattr(value, "__aiter__"):
        raise TypeError(f"Subscription {path} gave {type(value).__name__}, not an async iterator")
    iterator: AsyncIterator[Any] = aiter(value)
    return iterator
