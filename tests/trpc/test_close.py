"""The end of a server: nobody is kept waiting, and every client knows to come back."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from perseus.web.trpc import Server
from tests.support.system import die_with_parent
from tests.trpc.app import trpc_server
from tests.trpc.wire import Client, _Quiet, all_events, connect, events, get, inp, parse, websocket


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[str]:
    """Serve in this loop, so that the test can call the server's methods."""
    one = _Quiet(server)
    async with asyncio.TaskGroup() as group:
        group.create_task(one.serve())
        while not one.url:
            await asyncio.sleep(0.01)
        try:
            yield one.url
        finally:
            one.should_exit = True


async def test_close_ends_streams_and_sockets() -> None:
    """A stream ends without `return`, a socket with the notice and 1012: both clients connect again and resume."""
    server = trpc_server()
    async with serving(server) as url, events(url, "/demo.events") as stream, websocket(url) as client:
        assert (await anext(stream)).event == "connected"
        await client.call("subscription", "demo.events")
        assert (await client.receive())["result"]["type"] == "started"
        await server.close(within_s=5)
        assert [event.event async for event in stream if event.event != "ping"] == []
        assert await client.receive() == {"id": None, "method": "reconnect"}
        assert await client.closed() == 1012
        assert (await get(url, "/test.liveSubscribers")).data == 0


async def test_answers_under_way_are_given() -> None:
    """A mutation that was begun is answered before its connection ends."""
    server = trpc_server()
    async with serving(server) as url, websocket(url) as client:
        await client.call("query", "test.slow", input={"ms": 400})
        await _is_read(client)
        reader, writer = await connect(url)
        target = "/trpc/test.slow?batch=1&" + inp({"0": {"ms": 400}})[1:]
        request = f"GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntrpc-accept: application/jsonl\r\n\r\n"
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        await server.close(within_s=5)
        assert await client.receive() == {"id": None, "method": "reconnect"}
        assert (await client.receive())["result"]["data"] == {"ms": 400}
        assert parse(head + await reader.read()).lines[1] == [0, 0, [[{"result": {"data": {"ms": 400}}}]]]
        writer.close()


async def test_close_waits_no_longer_than_it_may() -> None:
    """What takes longer is cancelled."""
    server = trpc_server()
    async with serving(server) as url, websocket(url) as client:
        await client.call("query", "test.abortable", input={"key": "long", "ms": 60_000})
        await _is_read(client)
        async with asyncio.timeout(20):
            await server.close(within_s=0.2)
        await client.closed()
        assert (await get(url, "/test.wasAborted" + inp({"key": "long"}))).data is True


async def _is_read(client: Client) -> None:
    await client.send("PING")
    assert await client.text() == "PONG"


async def test_newcomers_are_sent_away_while_it_closes() -> None:
    """They would be cut off a moment later."""
    server = trpc_server()
    async with serving(server) as url:
        await server.close(within_s=0)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with websocket(url):
                pass
        last = (await all_events(url, "/demo.events"))[-1]
        assert last.json["data"]["code"] == "SERVICE_UNAVAILABLE"


async def test_cancelling_from_outside_ends_everything() -> None:
    """Whoever wraps the server may take back an identity: cancelling the application's task must be enough."""
    server = trpc_server()
    tasks: set[asyncio.Task[None]] = set()

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            async with asyncio.timeout(0.3 if b"events" in scope["raw_path"] or scope["type"] == "websocket" else None):
                await server({**scope, "root_path": "/trpc"}, receive, send)
        except TimeoutError:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await send({"type": "http.response.body", "body": b""})

    one = _Quiet(server)
    one.config.loaded_app = app
    one.config.app = app
    async with asyncio.TaskGroup() as group:
        group.create_task(one.serve())
        while not one.url:
            await asyncio.sleep(0.01)
        async with events(one.url, "/demo.events") as stream, websocket(one.url) as client:
            await client.call("subscription", "demo.events")
            assert (await client.receive())["result"]["type"] == "started"
            assert [event.event async for event in stream] == ["connected"]
            assert await client.closed() == 1008
        assert (await get(one.url, "/test.liveSubscribers")).data == 0
        one.should_exit = True


def test_the_test_application_is_a_program(tmp_path: Path) -> None:
    """Any conformance suite starts it, reads one line, and ends it by a signal."""
    app = Path(__file__).with_name("app.py")
    with subprocess.Popen(
        [sys.executable, str(app), "--port", "0", "--token", "T"],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
        preexec_fn=die_with_parent(),  # noqa: PLW1509 - nothing else runs in this process' threads that matters
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready http://127.0.0.1:")
        answer = asyncio.run(get(line.split()[1], "/demo.list", {"authorization": "Bearer T"}))
        assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in {0, -signal.SIGTERM}
