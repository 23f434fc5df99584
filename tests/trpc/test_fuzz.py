"""Nonsense of every kind: no failure of the server's, no hang, no growth."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.trpc.wire import connect, get, parse, post, websocket

SEED = int(os.environ.get("FUZZ_SEED", "20"))
ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "400"))
PATHS = (
    "demo.list",
    "demo.byId",
    "demo.paged",
    "demo.mutate",
    "test.echo",
    "test.echoMutation",
    "test.nan",
    "no.such",
    "",
)
HEADERS = (
    "content-type",
    "accept",
    "trpc-accept",
    "origin",
    "last-event-id",
    "authorization",
    "cookie",
    "content-length",
)
SCALARS: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e300, 2**53, 2**64, 10**30,
    "", "x", "\u2028", "\ud800", "😀", "__proto__", "\0", "1" * 300,
)  # fmt: skip
KEYS = (
    "exchangeId",
    "count",
    "cursor",
    "command",
    "0",
    "1",
    "",
    "__class__",
    "lastEventId",
    "id",
    "method",
    "params",
    "path",
)


class Nonsense:
    """A source of values, texts and requests, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int = 0) -> Any:
        """Something JSON can say."""
        kind = self.random.random()
        if depth > 3 or kind < 0.5:
            return self.random.choice(SCALARS)
        if kind < 0.75:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        return {self.random.choice(KEYS): self.value(depth + 1) for _ in range(self.random.randrange(5))}

    def text(self) -> bytes:
        """JSON, or what is left of it."""
        text = json.dumps(self.value(), ensure_ascii=self.random.random() < 0.8)
        raw = bytearray(text.encode("utf-8", "surrogatepass"))
        if self.random.random() < 0.4:
            for _ in range(self.random.randrange(1, 4)):
                self.random.choice((self._change, self._cut, self._repeat))(raw, self.random.randrange(len(raw)))
                raw = raw or bytearray(b"{")
        return bytes(raw)

    def _change(self, raw: bytearray, at: int) -> None:
        raw[at] = self.random.randrange(256)

    def _cut(self, raw: bytearray, at: int) -> None:
        del raw[at:]

    def _repeat(self, raw: bytearray, at: int) -> None:
        raw[at:at] = raw[at : at + 5] * self.random.randrange(50)

    def request(self) -> bytes:
        """An HTTP request with anything in any place."""
        method = self.random.choice(("GET", "GET", "POST", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"))
        path = ",".join(self.random.choice(PATHS) for _ in range(self.random.choice((1, 1, 1, 2, 5, 25))))
        path = self.random.choice((path, quote(path, safe=""), path + "%", path + "/" * 3, "%2e%2e/" + path))
        query = "&".join(
            f"{name}={self.random.choice((quote(self.text()), '1', '%', '+'))}"
            for name in self.random.sample(("batch", "input", "connectionParams", "lastEventId", "x"), 2)
        )
        body = self.text() if method in {"POST", "PUT", "PATCH"} else b""
        lines = [f"{method} /trpc/{path}?{query} HTTP/1.1", "host: x", "connection: close"]
        lines += [f"{self.random.choice(HEADERS[:-1])}: {self._header()}" for _ in range(self.random.randrange(4))]
        if body:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body

    def _header(self) -> str:
        known = (
            "application/json",
            "application/jsonl",
            "text/event-stream",
            "multipart/form-data",
            "Bearer x",
            "é",
            "",
        )
        return self.random.choice((*known, "x" * 500))

    def frame(self) -> str:
        """A text frame: a request with something wrong, or anything."""
        method = self.random.choice(("query", "mutation", "subscription", "subscription.stop", "nope"))
        params = {"path": self.random.choice(PATHS), "input": self.value(), "lastEventId": self.value(3)}
        frame = {"id": self.random.choice(SCALARS), "method": method, "params": params, "jsonrpc": "2.0"}
        for name in self.random.sample(list(frame), self.random.randrange(3)):
            frame[name] = self.value()
        made: tuple[Callable[[], Any], ...] = (lambda: frame, lambda: [frame] * self.random.randrange(4), self.value)
        return json.dumps(self.random.choice(made)())


@pytest.mark.parametrize("part", range(4))
async def test_http_requests(url: str, part: int) -> None:
    """Every one has an answer below 500, whatever stands in it."""
    nonsense = Nonsense(SEED * 100 + part)
    for number in range(ROUNDS // 4):
        request = nonsense.request()
        reader, writer = await connect(url)
        writer.write(request)
        async with asyncio.timeout(10):
            raw = await reader.read()
        writer.close()
        answer = parse(raw)
        assert answer.status < 500, f"seed {SEED}, part {part}, request {number}: {request!r} had {raw[:500]!r}"
        assert b"INTERNAL" not in answer.body, f"seed {SEED}, part {part}, request {number}: {request!r}"


async def test_bytes_instead_of_http(url: str) -> None:
    """The connection ends, the server does not."""
    nonsense = Nonsense(SEED)
    for _ in range(ROUNDS // 8):
        request = bytearray(nonsense.request())
        for _ in range(nonsense.random.randrange(1, 20)):
            request[nonsense.random.randrange(len(request))] = nonsense.random.randrange(256)
        reader, writer = await connect(url)
        writer.write(bytes(request))
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.05):
                await reader.read()
        writer.close()
    assert (await get(url, "/test.nan")).status == 200


async def test_frames(url: str) -> None:
    """The connection stays, and no frame is a failure of the server's."""
    nonsense = Nonsense(SEED)
    async with websocket(url) as client:
        for number in range(ROUNDS):
            await client.send(nonsense.frame())
            if number % 20 == 19:
                await client.send(f'{{"id":"mark {number}","method":"query","params":{{"path":"test.nan"}}}}')
                while (answer := await client.receive())["id"] != f"mark {number}":
                    assert "INTERNAL" not in json.dumps(answer), f"seed {SEED}, before frame {number}: {answer}"


async def test_first_frames(url: str) -> None:
    """Whatever stands for connectionParams is an answer or an end."""
    nonsense = Nonsense(SEED)
    for _ in range(ROUNDS // 10):
        async with websocket(url, "?connectionParams=1") as client:
            await client.send(nonsense.text().decode("utf-8", "replace"))
            await client.call("query", "test.whoami", 1)
            seen = [message.data async for message in client.socket if await _is_answer(client, message)]
            assert "INTERNAL" not in json.dumps(seen)


async def _is_answer(client: Any, message: aiohttp.WSMessage) -> bool:
    if message.type is aiohttp.WSMsgType.TEXT and json.loads(message.data).get("id") == 1:
        await client.socket.close()
    return True


async def test_nothing_is_left_behind(url: str) -> None:
    """After hundreds of faulty calls as many objects live as before: the server runs in this process."""

    async def faults(count: int) -> None:
        for number in range(count):
            await post(url, f"/no.such{number},demo.byId?batch=1", b'{"1":{"exchangeId":"x"}}')
            await get(url, f"/test.ticks?input=%7B%22count%22%3A{number % 3}%7D")

    await faults(50)
    gc.collect()
    before = len(gc.get_objects())
    await faults(200)
    gc.collect()
    assert len(gc.get_objects()) - before < 1000
