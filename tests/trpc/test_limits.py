"""What one client may take: a client that does not read, does not send, or wants too much is refused or cut off."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from perseus.web.trpc import Encoded, Router, Server, query, subscription
from tests.support.waiting import wait_until_async
from tests.trpc.app import LIMITS, trpc_server
from tests.trpc.procedures import Context
from tests.trpc.wire import JSONL, Client, all_events, connect, events, exchange, get, running, websocket

TIGHT = replace(
    LIMITS,
    stall_timeout_s=0.5,
    body_timeout_s=0.5,
    sockets=2,
    event_streams=2,
    socket_subscriptions=2,
    socket_calls=2,
    socket_params_s=0.5,
    frame_bytes=1000,
)
FILLER = Encoded(json.dumps("x" * 100_000).encode())


class Fountain:
    """A server that sends as fast as clients take it, and knows for how many."""

    def __init__(self) -> None:
        self.open = 0
        self.sent = 0
        router = Router({"pour": subscription(self.pour), "stream": query(self.pour), "open": query(self.count)})
        self.server = Server(router, context=self._context, limits=TIGHT)

    async def _context(self, _: Any) -> None:
        return None

    async def count(self, context: Any) -> list[int]:
        return [self.open, self.sent]

    async def pour(self, context: Any) -> AsyncIterator[Encoded]:
        self.open += 1
        try:
            while True:
                yield FILLER
                self.sent += 1
        finally:
            self.open -= 1


@pytest.fixture(scope="module")
def tight_url() -> Iterator[str]:
    """The test application with limits that are soon reached."""
    with running(trpc_server(limits=TIGHT)) as url:
        yield url


def _masked(text: bytes) -> bytes:
    """A short text frame of a client, whose mask changes nothing."""
    return b"\x81" + bytes([128 + len(text)]) + bytes(4) + text


async def _silent_reader(url: str, request: bytes) -> socket.socket:
    """A connection whose client sends and never reads."""
    host, _, port = url.removeprefix("http://").removesuffix("/trpc").partition(":")
    silent = socket.socket()
    silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    silent.setblocking(False)
    await asyncio.get_running_loop().sock_connect(silent, (host, int(port)))
    await asyncio.get_running_loop().sock_sendall(silent, request)
    return silent


@pytest.mark.parametrize("kind", ["events", "lines", "socket"])
async def test_a_client_that_does_not_read_is_cut_off(kind: str) -> None:
    """What it does not take must not gather in memory, and what it listens to must end."""
    frame = b'{"id":1,"method":"subscription","params":{"path":"pour"}}'
    upgrade = (
        b"GET /trpc HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    )
    requests = {
        "events": b"GET /trpc/pour HTTP/1.1\r\nhost: x\r\n\r\n",
        "lines": b"GET /trpc/stream?batch=1 HTTP/1.1\r\nhost: x\r\ntrpc-accept: application/jsonl\r\n\r\n",
        "socket": upgrade + b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    }
    fountain = Fountain()
    with running(fountain.server) as url, ExitStack() as cleanup:
        silent = cleanup.enter_context(await _silent_reader(url, requests[kind]))
        if kind == "socket":
            assert b" 101 " in await asyncio.get_running_loop().sock_recv(silent, 4096)
            await asyncio.get_running_loop().sock_sendall(silent, _masked(frame))
        await wait_until_async(lambda: fountain.open == 1, description="the stream has begun")
        await wait_until_async(lambda: fountain.open == 0, description="the client was cut off", timeout=5)
        assert fountain.sent * 100_000 < 64 << 20
        assert (await get(url, "/open")).data[0] == 0


async def test_a_slow_reader_is_served(tight_url: str) -> None:
    """Slow is not silent: whoever takes something now and then gets everything."""
    fountain = Fountain()
    with running(fountain.server) as url:
        async with events(url, "/pour") as stream:
            for _ in range(5):
                assert (await anext(stream)).event in {"connected", "message"}
                await asyncio.sleep(0.2)


async def test_a_body_that_does_not_come(tight_url: str) -> None:
    """A request that never ends would hold its place for ever."""
    head = (
        b"POST /trpc/test.echoMutation HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    )
    answer = await exchange(tight_url, head + b"content-length: 5\r\n\r\n12")
    assert (answer.status, answer.error["data"]["code"]) == (408, "TIMEOUT")


async def test_leaving_in_the_middle_of_a_body(tight_url: str) -> None:
    """The server serves on, and logs no failure of its own."""
    head = b"POST /trpc/test.echoMutation HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    for _ in range(3):
        _, writer = await connect(tight_url)
        writer.write(head + b"content-length: 5\r\n\r\n12")
        await writer.drain()
        writer.close()
    assert (await get(tight_url, "/test.nan")).status == 200


async def test_sockets_over_the_limit_are_refused(tight_url: str) -> None:
    """Before they cost anything, with a status; who leaves makes room."""
    async with websocket(tight_url), websocket(tight_url):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with websocket(tight_url):
                pass
        assert refused.value.status == 503

    async def is_let_in() -> bool:
        try:
            async with websocket(tight_url) as client:
                await client.call("query", "test.nan")
                return bool((await client.receive())["result"])
        except aiohttp.WSServerHandshakeError:
            return False

    await wait_until_async(is_let_in, description="there is room again")


async def test_event_streams_over_the_limit_are_told_to_come_back(tight_url: str) -> None:
    """SERVICE_UNAVAILABLE is retryable: the client waits and connects again by itself."""
    async with events(tight_url, "/demo.events") as one, events(tight_url, "/demo.events") as two:
        await anext(one)
        await anext(two)
        last = (await all_events(tight_url, "/demo.events"))[-1]
        assert (last.event, last.json["data"]["code"]) == ("serialized-error", "SERVICE_UNAVAILABLE")


async def test_calls_and_subscriptions_over_the_limit_are_refused(tight_url: str) -> None:
    """One client's socket must not run thousands of calls at once; the connection goes on."""
    async with websocket(tight_url) as client:
        slow = [{"id": n, "method": "query", "params": {"path": "test.slow", "input": {"ms": 300}}} for n in range(3)]
        await client.send(slow)
        assert (await client.receive())["error"]["data"]["code"] == "TOO_MANY_REQUESTS"
        assert {(await client.receive())["id"] for _ in range(2)} == {0, 1}
        for n in range(3):
            await client.call("subscription", "demo.events", n)
        answers = [await client.receive() for _ in range(3)]
        assert [one["error"]["data"]["code"] for one in answers if "error" in one] == ["TOO_MANY_REQUESTS"]
        await client.call("query", "test.nan", 7)
        assert (await client.receive())["id"] == 7


async def test_frame_over_the_limit(tight_url: str) -> None:
    """It closes the connection: its calls cannot be answered, and their client must not wait for them."""
    async with websocket(tight_url) as client:
        await client.send({"id": 1, "method": "query", "params": {"path": "test.echo", "input": "x" * 1000}})
        assert (await client.receive())["error"]["data"]["code"] == "PAYLOAD_TOO_LARGE"
        assert await client.closed() == 1009


async def test_connection_params_that_do_not_come(tight_url: str) -> None:
    """A socket without a context serves nobody."""
    async with websocket(tight_url, "?connectionParams=1") as client:
        assert (await client.receive())["error"]["data"]["code"] == "TIMEOUT"
        await client.closed()


async def test_many_frames_at_once(url: str) -> None:
    """Hundreds of calls in one packet are a busy page, no attack: each is answered."""
    async with websocket(url) as client:
        connection = client.socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.write(
            b"".join(_masked(b'{"id":%d,"method":"query","params":{"path":"test.nan"}}' % n) for n in range(500))
        )
        answers = [await client.receive() for _ in range(500)]
        assert {one["id"] for one in answers if "result" in one} == set(range(500))


async def test_jsonl_is_no_way_around(url: str) -> None:
    """The limits of a batch hold for streams."""
    answer = await get(url, "/" + ",".join(["test.nan"] * 21) + "?batch=1", JSONL)
    assert answer.status == 400


async def test_who_says_nothing_keeps_nobody_else_out() -> None:
    """Sockets that wait for connectionParams are one client's own trouble: others get in, and so does who is known."""
    limits = replace(LIMITS, sockets_waiting=5, client_sockets_waiting=3)
    procedures = trpc_server(limits=limits).router

    async def context(_: Any) -> Context:
        return Context(None)

    server = Server(
        procedures, context=context, limits=limits, client_of=lambda scope: dict(scope["headers"]).get(b"x-client")
    )

    async def refused(url: str, who: str) -> int:
        try:
            async with websocket(url, "?connectionParams=1", headers={"x-client": who}) as client:
                await client.send({"method": "connectionParams", "data": None})
                await client.call("query", "test.nan")
                assert "result" in await client.receive()
                return 0
        except aiohttp.WSServerHandshakeError as error:
            return error.status

    with running(server) as url:
        async with AsyncExitStack() as stack:

            async def wait_as(who: str) -> Client:
                waiting = websocket(url, "?connectionParams=1", headers={"x-client": who})
                return await stack.enter_async_context(waiting)

            mallory = [await wait_as("mallory") for _ in range(3)]
            assert await refused(url, "mallory") == 429
            assert await refused(url, "ada") == 0
            await mallory[0].send({"method": "connectionParams", "data": None})
            await mallory[0].call("query", "test.nan")
            await mallory[0].receive()
            assert await refused(url, "mallory") == 0
            await wait_as("mallory")
            for _ in range(2):
                await wait_as("eve")
            assert await refused(url, "ada") == 503
            await mallory[1].socket.close()

            async def is_let_in() -> bool:
                return await refused(url, "ada") == 0

            await wait_until_async(is_let_in, description="who leaves makes room")
