"""A tRPC v11 server: HTTP, JSONL streams, server-sent events, WebSocket. Knows nothing of this product."""

from perseus.web.trpc.calls import Authorize, Count, DescribeError, MakeContext
from perseus.web.trpc.connection import ConnectionInfo
from perseus.web.trpc.errors import Code, TRPCError
from perseus.web.trpc.inputs import invalid_input
from perseus.web.trpc.limits import Limits
from perseus.web.trpc.procedures import Kind, Procedure, Router, mutation, query, subscription
from perseus.web.trpc.server import Server
from perseus.web.trpc.values import Deferred, Encoded, Returned, Tracked

__all__ = [
    "Authorize",
    "Code",
    "ConnectionInfo",
    "Count",
    "Deferred",
    "DescribeError",
    "Encoded",
    "Kind",
    "Limits",
    "MakeContext",
    "Procedure",
    "Returned",
    "Router",
    "Server",
    "TRPCError",
    "Tracked",
    "invalid_input",
    "mutation",
    "query",
    "subscription",
]
