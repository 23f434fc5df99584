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

    __slots__ = ("_inputs", "calls", "headers", "incoming", "method", "plan", "response_headers")

    def __init__(self, method: str, plan: Plan, headers: dict[bytes, bytes], incoming: Incoming) -> None:
        self.method = method
        self.plan = plan
        self.headers = headers
        self.incoming = incoming
        self.calls: list[Call | TRPCError] = []
        self.response_headers: Headers = []
        self._inputs: dict[str, msgspec.Raw] | None = None

    async def raw_input(self, index: int) -> bytes | msgspec.Raw | None:
        """JSON of the input of a call, None if the client sent none. Raises: TRPCError if there is no reading it."""
        whole = self.plan.input if self.method == "GET" else await self.incoming.body()
        raw: bytes | msgspec.Raw | None = whole or None
        if whole and self.plan.is_batch:
            if self._inputs is None:
                self._inputs = batch_inputs(whole)
            raw = self._inputs.get(str(index))
        if self.plan.kind == "subscription" and (resumed := last_event_id(self.headers, self.plan)):
            raw = with_last_event_id(raw, resumed)
        return raw
