"""One HTTP request: its calls, and how to read their inputs."""

from __future__ import annotations

import msgspec

from perseus.web.trpc.calls import Call
from perseus.web.trpc.cors import Headers
from perseus.web.trpc.errors import TRPCError
from perseus.web.trpc.incoming import Incoming
from perseus.web.trpc.plans import Plan, batch_inputs, last_event_id, with_last_event_id


class Request:
    """One HTTP request as calls: each a `Call` to run, or the fault it has before it could run."""

    __slots__ = ("calls", "headers", "incoming", "inputs", "method", "plan", "response_headers")

    def __init__(self, method: str, plan: Plan, headers: dict[bytes, bytes], incoming: Incoming) -> None:
        self.method = method
        self.plan = plan
        self.headers = headers
        self.incoming = incoming
        self.inputs = Inputs(method, plan, headers, incoming)
        self.calls: list[Call | TRPCError] = []
        self.response_headers: Headers = []


class Inputs:
    """The inputs of a request's calls, read when first asked for.

    They know nothing of the calls, which hold them: what refers to itself waits for the garbage collector.
    """

    __slots__ = ("_by_index", "_headers", "_incoming", "_method", "_plan")

    def __init__(self, method: str, plan: Plan, headers: dict[bytes, bytes], incoming: Incoming) -> None:
        self._method, self._plan, self._headers, self._incoming = method, plan, headers, incoming
        self._by_index: dict[str, msgspec.Raw] | None = None

    async def of(self, index: int) -> bytes | msgspec.Raw | None:
        """JSON of the input of a call, None if the client sent none. Raises: TRPCError if there is no reading it."""
        whole = self._plan.input if self._method == "GET" else await self._incoming.body()
        raw: bytes | msgspec.Raw | None = whole or None
        if whole and self._plan.is_batch:
            if self._by_index is None:
                self._by_index = batch_inputs(whole)
            raw = self._by_index.get(str(index))
        if self._plan.kind == "subscription" and (resumed := last_event_id(self._headers, self._plan)):
            raw = with_last_event_id(raw, resumed)
        return raw
