"""The load generator of the API bench, a process of its own: `python -m tests.bench.api_load`.

It takes orders as JSON lines and answers each with one. Every answer of a server is read whole, parsed and compared
with what it must hold; one that is not right ends the bench.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import httptools
import msgspec
import uvloop


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask of whom. `every_s`: each client asks so often; 0: again as soon as it has its answer.

    `ids`: what the answer must hold, in this order: exchange ids, or ids of log entries.
    """

    port: int
    token: str
    kind: Literal["getInstances", "getActivityLog"]
    clients: int
    seconds: float
    ids: list[int | str]
    every_s: float = 0.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. Units: milliseconds, bytes."""

    answers: int
    p50_ms: float
    p99_ms: float
    bytes: int


class _Instance(msgspec.Struct, rename="camel"):
    exchange_id: int
    exchange_name: str
    display_name: str
    online: bool
    status: dict[str, Any]


class _Instances(msgspec.Struct, rename="camel"):
    instances: list[_Instance]
    server_time: str

    def ids(self) -> list[int | str]:
        """The exchanges, in order; each must be served by whom its status says."""
        assert all(each.online and each.status["exchangeId"] == each.exchange_id for each in self.instances)
        return [each.exchange_id for each in self.instances]


class _Entry(msgspec.Struct, rename="camel"):
    id: str
    event: Literal["state_transition"]
    timestamp: str
    from_state: Literal["warming"]
    to_state: Literal["active"]
    exchange_id: str
    exchange_name: str
    hostname: str
    ip: str
    admin_email: str


class _Page(msgspec.Struct, rename="camel"):
    entries: list[_Entry]
    next_cursor: str

    def ids(self) -> list[int | str]:
        """The entries, in order."""
        return [entry.id for entry in self.entries]


class _Result(msgspec.Struct):
    data: msgspec.Raw


class _Envelope(msgspec.Struct):
    result: _Result


_INPUT = "?input=%7B%22count%22%3A50%7D"
_envelope = msgspec.json.Decoder(_Envelope)
_bodies: dict[str, msgspec.json.Decoder[_Instances] | msgspec.json.Decoder[_Page]] = {
    "getInstances": msgspec.json.Decoder(_Instances),
    "getActivityLog": msgspec.json.Decoder(_Page),
}


class _Client(asyncio.Protocol):
    """One connection that stays open; `ask` one at a time."""

    def __init__(self, request: bytes, check: Callable[[int, bytes], None]) -> None:
        self._request = request
        self._check = check
        self._answered: asyncio.Future[None] | None = None
        self._await_answer()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the methods below."""
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """No server may close the connection while it is asked."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError(f"the server closed the connection: {exc}"))

    def on_body(self, data: bytes) -> None:
        """A piece of the answer."""
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        assert self._answered is not None
        self._answered.set_result(None)

    def _await_answer(self) -> None:
        self._pieces: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    async def ask(self, transport: asyncio.WriteTransport) -> tuple[float, int]:
        """Seconds until the answer was there, and its length."""
        self._answered = asyncio.get_running_loop().create_future()
        self._await_answer()
        began = time.perf_counter()
        transport.write(self._request)
        await self._answered
        took = time.perf_counter() - began
        body = b"".join(self._pieces)
        self._check(self._parser.get_status_code(), body)
        return took, len(body)


def checked(order: Order) -> Callable[[int, bytes], None]:
    """What raises AssertionError for an answer that is not complete and right."""
    decoder = _bodies[order.kind]

    def check(status: int, body: bytes) -> None:
        assert status == 200, (status, body[:500])
        found = decoder.decode(_envelope.decode(body).result.data)
        assert found.ids() == order.ids, f"{order.kind} is not complete: {body[:500]!r}"

    return check


async def carried_out(order: Order) -> Report:
    """Ask, for `seconds`, with as many connections as there are clients; each finishes what it has begun."""
    path = f"/trpc/network.{order.kind}{_INPUT if order.kind == 'getActivityLog' else ''}"
    request = (
        f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{order.port}\r\nauthorization: Bearer {order.token}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    check = checked(order)
    made = [
        await loop.create_connection(lambda: _Client(request, check), "127.0.0.1", order.port)
        for _ in range(order.clients)
    ]
    found: list[tuple[float, int]] = []
    until = time.perf_counter() + order.seconds

    async def keep_asking(transport: asyncio.WriteTransport, client: _Client, offset_s: float) -> None:
        await asyncio.sleep(offset_s)
        while time.perf_counter() < until:
            began = time.perf_counter()
            found.append(await client.ask(transport))
            if order.every_s:
                await asyncio.sleep(max(0.0, order.every_s - (time.perf_counter() - began)))

    async with asyncio.TaskGroup() as tasks:
        for at, (transport, client) in enumerate(made):
            tasks.create_task(keep_asking(transport, client, order.every_s * at / order.clients))
    for transport, _ in made:
        transport.close()
    took_ms = sorted(seconds * 1000 for seconds, _ in found)
    return Report(
        answers=len(found),
        p50_ms=statistics.median(took_ms),
        p99_ms=took_ms[min(len(took_ms) - 1, int(len(took_ms) * 0.99))],
        bytes=max(length for _, length in found),
    )


async def _main() -> None:
    decoder = msgspec.json.Decoder(Order)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        report = await carried_out(decoder.decode(line))
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_main())
