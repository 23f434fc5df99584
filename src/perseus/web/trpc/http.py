"""tRPC over HTTP: single calls and batches; streams are handed on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Final

from perseus.web.trpc.calls import Call, Calls
from perseus.web.trpc.connection import ConnectionInfo, Scope, read_connection_params
from perseus.web.trpc.cors import Headers, Origins
from perseus.web.trpc.encoding import error_envelope
from perseus.web.trpc.errors import TRPCError
from perseus.web.trpc.incoming import Departures, Incoming, Receive
from perseus.web.trpc.limits import Limits
from perseus.web.trpc.outgoing import Send
from perseus.web.trpc.plans import Plan, check_content_type, decoded_path, read_plan, wants_jsonl
from perseus.web.trpc.procedures import Kind, Procedure, Router
from perseus.web.trpc.request import Request

_MULTI_STATUS: Final = 207
_JSON: Final = (b"content-type", b"application/json")
_METHODS: Final[Mapping[Kind, tuple[str, ...]]] = {"query": ("GET",), "mutation": ("POST",), "subscription": ("GET",)}
_METHODS_WITH_OVERRIDE: Final[Mapping[Kind, tuple[str, ...]]] = {
    "query": ("GET", "POST"),
    "mutation": ("POST",),
    "subscription": ("GET", "POST"),
}
# Plans of URLs are kept, except of long ones and those that carry a secret.
_KEPT_PLANS: Final = 512
_KEPT_BYTES: Final = 1024


class HttpDoor:
    """Answers HTTP requests: an ASGI application."""

    def __init__(
        self,
        router: Router,
        calls: Calls,
        *,
        limits: Limits,
        origins: Origins,
        batching: bool,
        method_override: bool,
        stream: Callable[..., Awaitable[None]],
        subscribe: Callable[..., Awaitable[None]],
    ) -> None:
        self._calls = calls
        self._limits = limits
        self._origins = origins
        self._batching = batching
        self._methods = _METHODS_WITH_OVERRIDE if method_override else _METHODS
        self._departures = Departures()
        self._stream = stream
        self._subscribe = subscribe
        self._plan = partial(read_plan, router, limits)
        self._kept_plan = lru_cache(_KEPT_PLANS)(self._plan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        method: str = scope["method"]
        if method == "HEAD":
            await reply(send, 204, b"", [])
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        cors = self._origins.headers(headers.get(b"origin"))
        if method == "OPTIONS" and (preflight := self._origins.preflight(headers)) is not None:
            await reply(send, 204, b"", preflight)
            return
        incoming = Incoming(receive, length=headers.get(b"content-length"), limits=self._limits)
        info = ConnectionInfo(scope)
        try:
            request = self._read(scope, method, headers, incoming)
            info.connection_params = self._connection_params(request.plan)
            self._check_batch(request)
        except TRPCError as fault:
            error = self._calls.one_too_many(info) or fault
            if method != "GET":
                await incoming.drain()
            await reply(send, error.status, error_envelope(error), [_JSON, *cors])
            return
        self._find_calls(request, info)
        request.response_headers += cors
        departure = self._departures.watch(incoming)
        try:
            answer = await self._answer(request, info, send)
        except asyncio.CancelledError:
            if not departure.left or departure.task.uncancel() > 0:
                raise
            return
        finally:
            self._departures.end(departure)
        if answer is not None:
            status, body = answer
            if method != "GET":
                await incoming.drain()
            await reply(send, status, body, [_JSON, *request.response_headers])

    def _read(self, scope: Scope, method: str, headers: dict[bytes, bytes], incoming: Incoming) -> Request:
        query: bytes = scope["query_string"]
        path = decoded_path(scope)
        check_content_type(method, headers.get(b"content-type"))
        size = len(path) + len(query)
        if size > self._limits.url_bytes:
            raise TRPCError("PAYLOAD_TOO_LARGE", f"The URL is longer than {self._limits.url_bytes} bytes; use POST")
        keep = size <= _KEPT_BYTES and b"connectionParams" not in query
        plan = (self._kept_plan if keep else self._plan)(path, query)
        return Request(method, plan, headers, incoming)

    def _connection_params(self, plan: Plan) -> Mapping[str, str] | None:
        if plan.connection_params is None:
            return None
        return read_connection_params(plan.connection_params, unreadable="Not JSON-parsable query params")

    def _check_batch(self, request: Request) -> None:
        if request.plan.is_batch:
            if not self._batching:
                raise TRPCError("BAD_REQUEST", "Batching is not enabled on the server")
        elif wants_jsonl(request.headers):
            raise TRPCError("BAD_REQUEST", "Streaming requests must be batched (you can do a batch of 1)")

    def _find_calls(self, request: Request, info: ConnectionInfo) -> None:
        plan = request.plan
        for index, (path, procedure) in enumerate(zip(plan.paths, plan.procedures, strict=True)):
            fault = self._calls.one_too_many(info, path) or self._fault(request, path, procedure)
            if fault is None and procedure is not None:
                request.calls.append(Call(path, procedure, partial(request.inputs.of, index)))
            elif fault is not None:
                request.calls.append(fault)

    def _fault(self, request: Request, path: str, procedure: Procedure | None) -> TRPCError | None:
        if procedure is None:
            return TRPCError("NOT_FOUND", f'No procedure found on path "{path}"')
        accepted = self._methods[procedure.kind]
        if request.method not in accepted:
            request.response_headers = [(b"allow", ", ".join(accepted).encode())]
            message = f'Unsupported {request.method}-request to {procedure.kind} procedure at path "{path}"'
            return TRPCError("METHOD_NOT_SUPPORTED", message)
        if procedure.kind == "subscription" and request.plan.is_batch:
            return TRPCError("BAD_REQUEST", "Cannot batch subscription calls")
        return None

    async def _answer(self, request: Request, info: ConnectionInfo, send: Send) -> tuple[int, bytes] | None:
        """Status and body; None if a stream was sent."""
        context, refusal = await self._calls.context(info)
        if not request.plan.is_batch:
            if request.plan.kind != "subscription":
                return await self._one(request, 0, context, refusal)
            await self._subscribe(request, context, refusal, send)
            return None
        if wants_jsonl(request.headers):
            await self._stream(request, context, refusal, send)
            return None
        async with asyncio.TaskGroup() as group:
            count = len(request.calls)
            others = [group.create_task(self._one(request, index, context, refusal)) for index in range(1, count)]
            first = await self._one(request, 0, context, refusal)
        answers = [first, *(task.result() for task in others)]
        statuses = {status for status, _ in answers}
        status = statuses.pop() if len(statuses) == 1 else _MULTI_STATUS
        return status, b"".join((b"[", b",".join([body for _, body in answers]), b"]"))

    async def _one(self, request: Request, index: int, context: Any, refusal: TRPCError | None) -> tuple[int, bytes]:
        call = request.calls[index]
        if isinstance(call, TRPCError):
            return self._calls.failure(call, request.plan.paths[index])
        if refusal is not None:
            return self._calls.failure(refusal, call.path)
        return await self._calls.answer(call, context)


async def reply(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a whole answer."""
    if status != 204:  # which has no body, and so no length
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
