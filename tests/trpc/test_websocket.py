"""WebSocket: frames in, frames out, side by side, and how a connection ends."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from perseus.web.trpc import ConnectionInfo, Server
from tests.support.waiting import wait_until_async
from tests.trpc.procedures import Context, Procedures
from tests.trpc.wire import Client, get, inp, post, running, websocket

REJECTED = {"token": "reject-me"}


async def test_query_and_mutation(url: str) -> None:
    """Answered by their id, which keeps its type; an absent `data` is undefined."""
    async with websocket(url) as client:
        for request_id in (0, -1, 1.5, "a", "1"):
            await client.call("query", "demo.byId", request_id, input={"exchangeId": 1})
            answer = await client.receive()
            assert (answer["id"], answer["result"]["type"]) == (request_id, "data")
            assert type(answer["id"]) is type(request_id)
        await client.call("mutation", "test.nothing")
        assert await client.receive() == {"id": 1, "result": {"type": "data"}}
        await client.call("query", "test.echo", input=None)
        assert await client.receive() == {"id": 1, "result": {"type": "data", "data": None}}
        await client.send({"id": 2, "jsonrpc": "2.0", "method": "query", "params": {"path": "test.echo"}})
        assert await client.receive() == {"id": 2, "jsonrpc": "2.0", "result": {"type": "data"}}


async def test_calls_run_side_by_side(url: str) -> None:
    """Answers come as calls end, each in a frame of its own, never in an array."""
    async with websocket(url) as client:
        call = {"method": "query", "params": {"path": "test.slow", "input": {"ms": 300}}}
        quick = {"method": "query", "params": {"path": "test.slow", "input": {"ms": 1}}}
        await client.send([{"id": 1, **call}, {"id": 2, **quick}])
        assert [(await client.receive())["id"] for _ in range(2)] == [2, 1]


@pytest.mark.parametrize(
    ("method", "path", "code", "message"),
    [
        ("query", "no.such", "NOT_FOUND", 'No "query"-procedure on path "no.such"'),
        ("mutation", "demo.list", "NOT_FOUND", 'No "mutation"-procedure on path "demo.list"'),
        ("subscription", "demo.list", "NOT_FOUND", 'No "subscription"-procedure on path "demo.list"'),
        ("query", "test.throwError", "BAD_REQUEST", None),
        ("query", "test.crash", "INTERNAL_SERVER_ERROR", None),
        (
            "query",
            "test.deferred",
            "UNSUPPORTED_MEDIA_TYPE",
            "Cannot return an async iterable or observable from a query procedure with WebSockets",
        ),
    ],
)
async def test_calls_that_fail(url: str, method: str, path: str, code: str, message: str | None) -> None:
    """With the id and the path; nothing has started, so nothing is stopped."""
    async with websocket(url) as client:
        await client.call(method, path)
        answer = await client.receive()
        assert (answer["id"], answer["error"]["data"]["code"], answer["error"]["data"]["path"]) == (1, code, path)
        assert message in (None, answer["error"]["message"])
        assert "plain exception" not in answer["error"]["message"]
        await is_alive(client)


async def is_alive(client: Client) -> None:
    """The connection serves on, and nothing else was waiting to be read."""
    await client.send("PING")
    assert await client.text() == "PONG"


async def test_subscription(url: str) -> None:
    """started, values, stopped; a tracked value has its id twice."""
    async with websocket(url) as client:
        await client.call("subscription", "test.ticks", 7, input={"count": 2, "mode": "mixed"})
        assert [await client.receive() for _ in range(4)] == [
            {"id": 7, "result": {"type": "started"}},
            {"id": 7, "result": {"type": "data", "data": {"id": "1", "data": {"n": 1}}, "id": "1"}},
            {"id": 7, "result": {"type": "data", "data": {"n": 2}}},
            {"id": 7, "result": {"type": "stopped"}},
        ]
        await client.send({"id": 7, "method": "subscription.stop"})
        await is_alive(client)


async def test_subscription_that_fails_later(url: str) -> None:
    """The error comes before `stopped`: after it a client would not hear it."""
    async with websocket(url) as client:
        await client.call("subscription", "test.ticks", input={"count": 2, "failAt": 1})
        started, error, stopped = [await client.receive() for _ in range(3)]
        assert (started["result"]["type"], stopped["result"]["type"]) == ("started", "stopped")
        assert error["error"]["data"]["code"] == "CONFLICT"


async def test_subscription_that_never_starts(url: str) -> None:
    """Only an error, and the id is free again."""
    async with websocket(url) as client:
        for _ in range(2):
            await client.call("subscription", "test.ticks", input={"count": "x"})
            assert (await client.receive())["error"]["data"]["code"] == "BAD_REQUEST"
        await is_alive(client)


async def test_stopping(url: str) -> None:
    """`stopped` once it is closed, and silence for an id nobody knows; also when both come in one frame."""
    async with websocket(url) as client:
        await client.call("subscription", "demo.events", 1)
        assert (await client.receive())["result"]["type"] == "started"
        await client.send({"id": 1, "method": "subscription.stop"})
        assert await client.receive() == {"id": 1, "result": {"type": "stopped"}}
        start = {"id": 1, "method": "subscription", "params": {"path": "demo.events"}}
        stop = {"id": 1, "method": "subscription.stop"}
        await client.send([start, stop, stop, {"id": "none", "method": "subscription.stop"}])
        assert await client.receive() == {"id": 1, "result": {"type": "stopped"}}
        await is_alive(client)


async def test_running_id_cannot_be_taken(url: str) -> None:
    """The first subscription goes on."""
    async with websocket(url) as client:
        await client.call("subscription", "demo.events", 2)
        await client.receive()
        await client.call("subscription", "demo.events", 2)
        error = (await client.receive())["error"]
        assert (error["message"], error["data"]["code"]) == ("Duplicate id 2", "BAD_REQUEST")
        await post(url, "/demo.mutate", {"exchangeId": 1, "command": "go"})
        assert (await client.receive())["result"]["data"]["data"]["command"] == "go"


async def test_resuming(url: str) -> None:
    """`lastEventId` stands beside the input and goes into it."""
    async with websocket(url) as client:
        await client.call("subscription", "test.ticks", input={"count": 3}, lastEventId="2")
        assert [(await client.receive())["result"].get("id") for _ in range(3)] == [None, "3", None]
        await client.call("subscription", "demo.events", 2, lastEventId="no-id")
        assert (await client.receive())["result"]["type"] == "started"
        assert (await client.receive())["error"]["message"] == "Unknown event id no-id"


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "nope",
        "7",
        "null",
        '"x"',
        "[7]",
        "{}",
        "ping",
        "[" * 100_000,
        '{"id":1,"method":"query"}',
        '{"id":1,"method":"query","params":7}',
        '{"id":1,"method":"query","params":{"path":7}}',
        '{"id":1,"method":"query","params":{"input":7}}',
        '{"id":1,"method":"nope","params":{"path":"test.nan"}}',
        '{"id":true,"method":"query","params":{"path":"test.nan"}}',
        '{"id":null,"method":"query","params":{"path":"test.nan"}}',
        '{"method":"query","params":{"path":"test.nan"}}',
        '{"id":1,"jsonrpc":"1.0","method":"query","params":{"path":"test.nan"}}',
        '{"id":1,"method":"subscription","params":{"path":"test.ticks","lastEventId":7}}',
        '[{"id":1,"method":"query","params":{"path":"test.nan"}},{"id":2}]',
    ],
)
async def test_bad_frames(url: str, frame: str) -> None:
    """One PARSE_ERROR without id and path, nothing of the frame is done, and the connection stays."""
    async with websocket(url) as client:
        await client.send(frame)
        answer = json.loads(await client.text())
        assert (answer["id"], answer["error"]["code"]) == (None, -32700)
        assert "path" not in answer["error"]["data"]
        await is_alive(client)


async def test_binary_frames_and_empty_arrays(url: str) -> None:
    """The former are no requests, the latter have none."""
    async with websocket(url) as client:
        await client.socket.send_bytes(b'{"id":1,"method":"query","params":{"path":"test.nan"}}')
        assert (await client.receive())["error"]["code"] == -32700
        await client.send([])
        await is_alive(client)


async def test_batch_over_the_limit(url: str) -> None:
    """Every call in it is answered, or its client would wait for ever."""
    async with websocket(url) as client:
        calls = [{"id": n, "method": "query", "params": {"path": "test.nan"}} for n in range(20)]
        await client.send([*calls, {"id": 99, "method": "subscription.stop"}])
        refused = [await client.receive() for _ in range(20)]
        assert {one["error"]["message"] for one in refused} == {"Batch call exceeds maximum size"}
        assert {one["id"] for one in refused} == set(range(20))


async def test_server_pings_a_quiet_client_and_cuts_off_a_dead_one(url: str) -> None:
    """A client that answers is kept; one that does not holds resources for nobody."""
    async with websocket(url) as client, websocket(url) as dead:
        assert await client.text() == "PING"
        await client.send("PONG")
        await dead.closed(5)
        await is_alive(client)


async def test_reconnect_notice(url: str) -> None:
    """Old and new connection are served at once: a client moves its subscriptions over before it leaves."""
    async with websocket(url) as old, websocket(url) as new:
        await old.call("subscription", "demo.events", 1)
        assert (await old.receive())["result"]["type"] == "started"
        await old.call("mutation", "test.reconnectAll", 2)
        seen = [await old.receive() for _ in range(2)]
        assert {"id": None, "method": "reconnect"} in seen
        assert await new.receive() == {"id": None, "method": "reconnect"}
        await new.call("subscription", "demo.events", 1)
        assert (await new.receive())["result"]["type"] == "started"
        await old.send({"id": 1, "method": "subscription.stop"})
        assert (await old.receive())["result"]["type"] == "stopped"


async def test_leaving_ends_every_subscription(url: str) -> None:
    """Whether the client said goodbye or not."""

    async def is_left() -> bool:
        return bool((await get(url, "/test.liveSubscribers")).data == 0)

    for say_goodbye in (True, False):
        async with websocket(url) as client:
            for n in range(3):
                await client.call("subscription", "demo.events", n)
                await client.receive()
            await client.call("query", "test.abortable", 9, input={"key": f"ws {say_goodbye}", "ms": 60_000})
            await is_alive(client)
            if not say_goodbye:
                transport = client.socket._response.connection.transport  # type: ignore[union-attr]
                assert transport is not None
                transport.abort()
        await wait_until_async(is_left, description="no subscriber is left")
        assert (await get(url, "/test.wasAborted" + inp({"key": f"ws {say_goodbye}"}))).data is True


async def test_connection_params(guarded_url: str) -> None:
    """The first frame makes the context; PING is answered before it, calls behind it wait for it."""
    async with websocket(guarded_url, "?connectionParams=1") as client:
        await is_alive(client)
        await client.send({"method": "connectionParams", "data": {"token": "open-sesame"}})
        await client.call("query", "demo.list")
        assert (await client.receive())["result"]["data"]
    async with websocket(guarded_url, "?connectionParams=1") as client:
        await client.send({"data": None})
        await client.call("query", "demo.list")
        assert (await client.receive())["error"]["data"]["code"] == "UNAUTHORIZED"


async def test_header_instead_of_connection_params(guarded_url: str) -> None:
    """A program can send headers; `connectionParams=0` expects no first frame."""
    headers = {"authorization": "Bearer open-sesame"}
    async with websocket(guarded_url, "?connectionParams=0", headers=headers) as client:
        await client.call("query", "demo.list")
        assert (await client.receive())["result"]["data"]


@pytest.mark.parametrize(
    ("first", "code", "message"),
    [
        ({"method": "connectionParams", "data": REJECTED}, "UNAUTHORIZED", "Token rejected"),
        ("nope", "PARSE_ERROR", "Malformed TRPCConnectionParamsMessage"),
        ([], "PARSE_ERROR", "Malformed TRPCConnectionParamsMessage"),
        ({"data": {"token": 7}}, "PARSE_ERROR", "Invalid connection params shape"),
        ({}, "PARSE_ERROR", "Invalid connection params shape"),
    ],
)
async def test_refused_context(url: str, first: Any, code: str, message: str) -> None:
    """The reason without id, then with the id of each call that had come, then the end."""
    async with websocket(url, "?connectionParams=1") as client:
        await client.send(first)
        await client.call("query", "test.whoami", 5)
        connection, call = await client.receive(), await client.receive()
        assert (connection["id"], connection["error"]["data"]["code"]) == (None, code)
        assert connection["error"]["message"] == message
        assert "path" not in connection["error"]["data"]
        assert (call["id"], call["error"]["message"], call["error"]["data"]["path"]) == (5, message, "test.whoami")
        await client.closed()


async def test_refused_context_without_params_closes_at_once(url: str) -> None:
    """Nobody has to call before the refusal is told."""
    async with websocket(url, headers={"authorization": "Bearer reject-me"}) as client:
        assert (await client.receive())["error"]["message"] == "Token rejected"
        await client.closed()


async def test_stopping_one_call_leaves_the_context_to_the_others() -> None:
    """They wait for the same one; cancelling a waiter must not cancel what is waited for."""
    may_go = threading.Event()

    async def context(_: ConnectionInfo) -> Context:
        while not may_go.is_set():
            await asyncio.sleep(0.01)
        return Context("late")

    with running(Server(Procedures().router(), context=context)) as url:
        async with websocket(url) as client:
            await client.call("subscription", "demo.events", 1)
            await client.call("query", "test.whoami", 2)
            await client.send({"id": 1, "method": "subscription.stop"})
            assert await client.receive() == {"id": 1, "result": {"type": "stopped"}}
            may_go.set()
            assert await client.receive() == {"id": 2, "result": {"type": "data", "data": {"token": "late"}}}
