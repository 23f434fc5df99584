"""Batches as JSONL: what each line says, and when it comes."""

from __future__ import annotations

import json

from tests.support.waiting import wait_until_async
from tests.trpc.wire import JSONL, connect, get, inp

ACCEPT = {"accept": "text/html, application/jsonl"}


async def test_one_line_for_each_call(url: str) -> None:
    """The head announces a promise a call; failures are values, and the status is always 200."""
    answer = await get(url, "/demo.byId,no.such,test.echo?batch=1&" + inp({"0": {"exchangeId": 1}})[1:], JSONL)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert "content-length" not in answer.headers
    head, *lines = answer.lines
    assert head == {str(n): [[0], [None, 0, n]] for n in range(3)}
    by_id = {chunk: (status, value) for chunk, status, [[value]] in lines}
    assert by_id[0][1]["result"]["data"]["exchangeName"] == "alpha"
    assert by_id[1][1]["error"]["data"]["path"] == "no.such"
    assert by_id[2] == (0, {"result": {}})


async def test_accept_header_asks_for_it_too(url: str) -> None:
    """`trpc-accept` forces a preflight, `accept` does not; where both stand, the former counts."""
    assert (await get(url, "/test.nan?batch=1", ACCEPT)).lines[0] == {"0": [[0], [None, 0, 0]]}
    assert (await get(url, "/test.nan?batch=1", {**ACCEPT, "trpc-accept": "application/json"})).json[0]["result"]


async def test_faults_of_the_request_are_plain(url: str) -> None:
    """The client reads one envelope and gives it to every call."""
    answer = await get(url, "/" + ",".join(["test.nan"] * 21) + "?batch=1", JSONL)
    assert answer.status == 400
    assert answer.error["message"] == "Batch call exceeds maximum size"


async def test_lines_come_as_calls_end(url: str) -> None:
    """A slow call holds up no other, and white space keeps the connection alive meanwhile."""
    reader, writer = await connect(url)
    calls = inp({"0": {"ms": 2000}, "1": {"ms": 10}})[1:]
    request = (
        f"GET /trpc/test.slow,test.slow?batch=1&{calls} HTTP/1.1\r\nhost: x\r\ntrpc-accept: application/jsonl\r\n\r\n"
    )
    writer.write(request.encode())
    seen = b""
    while b'"ms":10' not in seen:
        seen += await reader.read(4096)
    assert b'"ms":2000' not in seen
    while b"\n0\r\n\r\n" not in seen and not seen.endswith(b"0\r\n\r\n"):
        seen += await reader.read(4096)
    assert b"\r\n1\r\n \r\n" in seen
    writer.close()


async def test_async_iterator(url: str) -> None:
    """Each value as it comes, then what it returned."""
    answer = await get(url, "/test.stream?batch=1&" + inp({"0": {"count": 2}})[1:], JSONL)
    assert answer.lines == [
        {"0": [[0], [None, 0, 0]]},
        [0, 0, [[{"result": 0}], ["result", 0, 1]]],
        [1, 0, [[{"data": 0}], ["data", 0, 2]]],
        [2, 0, [[0], [None, 1, 3]]],
        [3, 1, [[0]]],
        [3, 1, [[1]]],
        [3, 0, [["done"]]],
    ]


async def test_async_iterator_that_fails(url: str) -> None:
    """The client's loop throws after the values that came."""
    lines = (await get(url, "/test.stream?batch=1&" + inp({"0": {"count": 2, "failAt": 1}})[1:], JSONL)).lines
    chunk, status, shape = lines[-1]
    assert (chunk, status, shape["data"]["code"], shape["data"]["path"]) == (3, 2, "CONFLICT", "test.stream")


async def test_value_that_comes_later(url: str) -> None:
    """An object is sent at once, with a promise in the place of what is not there yet."""
    lines = (await get(url, "/test.deferred?batch=1", JSONL)).lines
    assert lines[-2:] == [[2, 0, [[{"now": 1, "later": 0}], ["later", 0, 3]]], [3, 0, [[2]]]]


async def test_leaving_cancels_every_call(url: str) -> None:
    """A stream is a request like any other."""
    reader, writer = await connect(url)
    target = "/trpc/test.abortable?batch=1&" + inp({"0": {"key": "jsonl", "ms": 60_000}})[1:]
    writer.write(f"GET {target} HTTP/1.1\r\nhost: x\r\ntrpc-accept: application/jsonl\r\n\r\n".encode())
    assert b"200" in await reader.readuntil(b"\r\n\r\n")
    writer.close()

    async def aborted() -> bool:
        return bool((await get(url, "/test.wasAborted" + inp({"key": "jsonl"}))).data)

    await wait_until_async(aborted, description="the call was cancelled")


async def test_lines_are_lines(url: str) -> None:
    """A client splits at LF only; a separator of Unicode is part of a string."""
    answer = await get(url, "/test.echo?batch=1&" + inp({"0": "a\u2028b\nc\r"})[1:], JSONL)
    assert answer.lines[1] == [0, 0, [[{"result": {"data": "a\u2028b\nc\r"}}]]]
    assert json.loads(answer.body.decode().split("\n")[1])
