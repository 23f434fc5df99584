"""What is asked for is counted, whatever becomes of it: else refused calls are free, and free calls a flood."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from perseus.web.trpc import ConnectionInfo, Router, Server, TRPCError, mutation, query, subscription
from tests.support.waiting import wait_until_async
from tests.trpc.app import LIMITS
from tests.trpc.wire import JSONL, Client, get, post, running, websocket


class Counting:
    """A server that counts calls, and has had enough after `most`."""

    def __init__(self, *, most: int = 10**9, refuses: bool = False, **limits: Any) -> None:
        self.counted, self._most, self._refuses = 0, most, refuses
        procedures = {"ask": query(self.ask), "change": mutation(self.ask), "follow": subscription(self.follow)}
        self.server = Server(
            Router(procedures), context=self._context, count=self._count, limits=replace(LIMITS, **limits)
        )

    def _count(self, _connection: ConnectionInfo) -> None:
        if self.counted >= self._most:
            raise TRPCError("TOO_MANY_REQUESTS", "Enough")
        self.counted += 1

    async def _context(self, _connection: ConnectionInfo) -> None:
        if self._refuses:
            raise TRPCError("UNAUTHORIZED", "Nobody may")

    async def ask(self, _context: None) -> str:
        return "answered"

    async def follow(self, _context: None) -> Any:
        yield "answered"
        await asyncio.Event().wait()


@pytest.fixture(params=[False, True], ids=["to somebody", "to nobody"])
def counting(request: pytest.FixtureRequest) -> Iterator[tuple[Counting, str]]:
    """A running server with its URL; one that knows its caller, and one that refuses everybody."""
    one = Counting(refuses=request.param)
    with running(one.server) as url:
        yield one, url


@pytest.mark.parametrize(
    ("target", "method", "calls"),
    [
        ("/ask", "GET", 1),
        ("/none", "GET", 1),
        ("/change", "GET", 1),
        ("/ask", "PUT", 1),
        ("/ask?connectionParams=%7B", "GET", 1),
        ("/%zz", "GET", 1),
        ("/ask,none,ask?batch=1", "GET", 3),
        ("/none,none?batch=1", "POST", 2),
        ("/ask,change?batch=1", "GET", 1),
        ("/" + ",".join(["ask"] * 50) + "?batch=1", "GET", 1),
    ],
)
async def test_every_request_counts(counting: tuple[Counting, str], target: str, method: str, calls: int) -> None:
    """Paths that do not exist, wrong methods and malformed batches cost work, too."""
    server, url = counting
    await (get(url, target) if method == "GET" else post(url, target, {}, method=method))
    assert server.counted == calls


FRAMES: list[tuple[str, int]] = [
    ('{"id":1,"method":"query","params":{"path":"ask"}}', 1),
    ('{"id":1,"method":"query","params":{"path":"none"}}', 1),
    ('{"id":1,"method":"mutation","params":{"path":"ask"}}', 1),
    ('{"id":null,"method":"query","params":{"path":"ask"}}', 1),
    ('[{"id":1,"method":"query","params":{"path":"ask"}},{"id":2,"method":"query","params":{"path":"none"}}]', 2),
    ("garbage", 1),
    ("", 1),
    ("[]", 1),
    ('[{"id":1}]', 1),
    (json.dumps([{"id": n, "method": "query"} for n in range(30)]), 30),
    ('{"id":1,"method":"subscription.stop"}', 1),
    ("PING", 1),
    ("PONG", 1),
]


@pytest.mark.parametrize(("frame", "calls"), FRAMES)
async def test_every_frame_counts(counting: tuple[Counting, str], frame: str, calls: int) -> None:
    """Whatever is sent must be read to be refused."""
    server, url = counting
    async with websocket(url) as client:
        await client.send(frame)
        await wait_until_async(lambda: server.counted >= calls, description=f"{calls} calls are counted")
        await client.socket.close()
    assert server.counted == calls


async def test_one_call_too_many_of_a_batch_is_refused_alone() -> None:
    """The answers of the others are still good."""
    with running(Counting(most=2).server) as url:
        answer = await get(url, "/ask,none,ask?batch=1")
        codes = [one.get("error", {}).get("data", {}).get("code") for one in answer.json]
        assert codes == [None, "NOT_FOUND", "TOO_MANY_REQUESTS"]
        lines = (await get(url, "/ask,none?batch=1", JSONL)).lines[1:]
        assert {line[2][0][0]["error"]["message"] for line in lines} == {"Enough"}
        assert (await get(url, "/ask")).error["message"] == "Enough"
        assert (await get(url, "/%zz")).status == 429


async def _flood(client: Client, frame: str | bytes) -> tuple[set[str], int | None]:
    """Send the same frame for ever; what is said to it, and how the socket is closed."""
    said = set[str]()

    async def listen() -> None:
        async for message in client.socket:
            if message.data in ("PING", "PONG"):
                said.add(message.data)
            else:
                said.add(json.loads(message.data)["error"]["data"]["code"])

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listen())
        while not listening.done():
            try:
                await (client.socket.send_bytes(frame) if isinstance(frame, bytes) else client.send(frame))
            except (aiohttp.ClientError, ConnectionError):
                break
            await asyncio.sleep(0)
    return said, client.socket.close_code


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ("garbage", {"PARSE_ERROR", "TOO_MANY_REQUESTS"}),
        (b"garbage", {"PARSE_ERROR", "TOO_MANY_REQUESTS"}),
        ('{"id":1,"method":"query","params":{"path":"no.such"}}', {"NOT_FOUND", "TOO_MANY_REQUESTS"}),
        ("[]", {"TOO_MANY_REQUESTS"}),
        ("PING", {"PONG"}),
        ('{"id":1,"method":"subscription.stop"}', set[str]()),
    ],
)
async def test_flood_is_told_and_then_closed(frame: str | bytes, says: set[str]) -> None:
    """Whoever goes on after being told costs work for nothing."""
    with running(Counting(most=20, socket_pauses=5, socket_pause_s=0.01).server) as url:
        async with websocket(url) as client:
            said, code = await _flood(client, frame)
    assert (said, code) == (says, 1008)


async def test_who_waits_after_being_told_goes_on() -> None:
    """A busy page is slowed down, not thrown out; what it follows goes on, and can be stopped."""
    with running(Counting(most=1, socket_pauses=5, socket_pause_s=0.01).server) as url:
        async with websocket(url) as client:
            await client.call("subscription", "follow", 1)
            assert [(await client.receive())["result"]["type"] for _ in range(2)] == ["started", "data"]
            for n in range(2, 6):
                await client.call("query", "ask", n)
                answer = await client.receive()
                assert (answer["id"], answer["error"]["data"]["path"]) == (n, "ask")
            await client.send({"id": 1, "method": "subscription.stop"})
            assert (await client.receive())["result"]["type"] == "stopped"


async def test_hopeless_batch_ends_the_socket() -> None:
    """Half a million calls fit into one frame; to answer them one by one took the server seconds."""
    with running(Counting().server) as url:
        async with websocket(url) as client:
            await client.send("[" + ",".join(["1"] * 500_000) + "]")
            assert (await client.receive())["error"]["data"]["code"] == "PAYLOAD_TOO_LARGE"
            assert await client.closed() == 1009
