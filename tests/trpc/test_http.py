"""HTTP: single calls and batches, by the byte."""

from __future__ import annotations

import asyncio
import typing
from typing import Any

import pytest

from perseus.web.trpc import Code
from perseus.web.trpc.errors import NUMBERS
from tests.support.waiting import wait_until_async
from tests.trpc.wire import JSON, JSONL, connect, exchange, get, inp, post

NO_STREAM = "Cannot use stream-like response in non-streaming request - use httpBatchStreamLink"
ALL_CODES: tuple[Code, ...] = typing.get_args(Code)


async def test_query_by_get(url: str) -> None:
    """The envelope, the status and both headers clients and caches rely on."""
    answer = await get(url, "/demo.byId" + inp({"exchangeId": 2}))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"].startswith("trpc-accept, accept")
    assert answer.json == {
        "result": {
            "data": {"exchangeId": 2, "exchangeName": "bèta-取引所", "status": "stopped", "latencyMs": None, "tags": []}
        }
    }


async def test_mutation_and_query_by_post(url: str) -> None:
    """A mutation comes by POST, and a long query may."""
    assert (await post(url, "/demo.mutate", {"exchangeId": 1, "command": "go"})).data["accepted"] is True
    assert (await post(url, "/demo.byId", {"exchangeId": 1})).data["exchangeName"] == "alpha"


async def test_undefined_is_no_null(url: str) -> None:
    """A procedure that returns nothing has no `data`; one that returns null has."""
    assert (await post(url, "/test.nothing", b"")).json == {"result": {}}
    assert (await get(url, "/test.echo")).json == {"result": {}}
    assert (await get(url, "/test.echo?input=")).json == {"result": {}}
    assert (await get(url, "/test.echo?input=null")).json == {"result": {"data": None}}


@pytest.mark.parametrize("code", ALL_CODES)
async def test_every_code_has_its_number_and_status(url: str, code: Code) -> None:
    """Clients choose what to do by the code, proxies by the status."""
    answer = await get(url, "/test.throwError" + inp({"code": code, "message": "so it is"}))
    number, status = NUMBERS[code]
    data = {"code": code, "httpStatus": status, "path": "test.throwError"}
    assert (answer.status, answer.error) == (status, {"message": "so it is", "code": number, "data": data})


async def test_an_unknown_exception_tells_nothing(url: str) -> None:
    """Its text could hold a secret: the client gets a reference to the log instead."""
    answer = await get(url, "/test.crash")
    assert answer.status == 500
    assert answer.error["data"] == {"code": "INTERNAL_SERVER_ERROR", "httpStatus": 500, "path": "test.crash"}
    assert "plain" not in answer.error["message"]
    assert "reference" in answer.error["message"]


@pytest.mark.parametrize(
    ("request_line", "headers", "status", "refusal"),
    [
        ("GET /no.such", {}, 404, 'NOT_FOUND: No procedure found on path "no.such"'),
        ("GET ", {}, 404, 'NOT_FOUND: No procedure found on path ""'),
        ("GET /demo.list,demo.list", {}, 404, 'NOT_FOUND: No procedure found on path "demo.list,demo.list"'),
        ("GET /demo.%zz", {}, 400, 'BAD_REQUEST: Invalid URL-encoding in path "demo.%zz"'),
        ("GET /demo.%ff", {}, 400, 'BAD_REQUEST: Invalid URL-encoding in path "demo.%ff"'),
        ("GET /__class__", {}, 404, 'NOT_FOUND: No procedure found on path "__class__"'),
        ("POST /demo.list", {}, 415, "UNSUPPORTED_MEDIA_TYPE: Missing content-type header"),
        ("OPTIONS /demo.list", {}, 415, "UNSUPPORTED_MEDIA_TYPE: Missing content-type header"),
        (
            "POST /no.such",
            {"content-type": "text/plain"},
            415,
            'UNSUPPORTED_MEDIA_TYPE: Unsupported content-type "text/plain',
        ),
        ("GET /demo.list?connectionParams=nope", {}, 400, "PARSE_ERROR: Not JSON-parsable query params"),
        ("GET /demo.list?connectionParams=[1]", {}, 400, "PARSE_ERROR: Invalid connection params shape"),
        ("GET /demo.list?connectionParams=%7B%22a%22:1%7D", {}, 400, "PARSE_ERROR: Invalid connection params shape"),
        ("GET /demo.list", JSONL, 400, "BAD_REQUEST: Streaming requests must be batched (you can do a batch of 1)"),
        (
            "GET /demo.list,test.nothing?batch=1",
            {},
            400,
            "BAD_REQUEST: Cannot mix procedure types in call: query, mutation",
        ),
        (
            "GET /" + ",".join(["demo.list"] * 21) + "?batch=1",
            {},
            400,
            "BAD_REQUEST: Batch call exceeds maximum size",
        ),
        ("GET /test.ticks?batch=1", {}, 400, "BAD_REQUEST: Cannot batch subscription calls"),
        (
            "GET /demo.mutate",
            {},
            405,
            'METHOD_NOT_SUPPORTED: Unsupported GET-request to mutation procedure at path "demo.mutate"',
        ),
        (
            "PUT /demo.list",
            JSON,
            405,
            'METHOD_NOT_SUPPORTED: Unsupported PUT-request to query procedure at path "demo.list"',
        ),
        (
            "PUT /demo.list",
            {"content-type": "multipart/form-data"},
            405,
            "METHOD_NOT_SUPPORTED: Only POST requests are supported for multipart/form-data requests",
        ),
        (
            "POST /test.upload",
            {"content-type": "multipart/form-data; boundary=x"},
            415,
            "UNSUPPORTED_MEDIA_TYPE: Uploads (multipart/form-data) are not supported here: send application/json",
        ),
        ("GET /test.stream" + inp({"count": 1}), {}, 415, f"UNSUPPORTED_MEDIA_TYPE: {NO_STREAM}"),
        ("GET /test.deferred", {}, 415, f"UNSUPPORTED_MEDIA_TYPE: {NO_STREAM}"),
    ],
)
async def test_refusals(url: str, request_line: str, headers: dict[str, str], status: int, refusal: str) -> None:
    """Each with the status, code and words of tRPC's own server."""
    method, target = request_line.split(" ", 1)
    answer = await get(url, target, headers, method=method)
    error = answer.json[0]["error"] if answer.body.startswith(b"[") else answer.error
    assert (answer.status, f"{error['data']['code']}: {error['message']}") == (status, refusal)
    assert answer.headers["content-type"] == "application/json"


async def test_405_names_what_is_allowed(url: str) -> None:
    """RFC 9110 wants it, and the client's developer too."""
    assert (await get(url, "/demo.mutate")).headers["allow"] == "POST"
    assert (await get(url, "/demo.list", JSON, method="PUT")).headers["allow"] == "GET, POST"


async def test_head_is_answered_without_looking_anything_up(url: str) -> None:
    """It warms up servers; a path that does not exist makes no difference."""
    for target in ("/demo.list", "/no.such", "/%zz"):
        answer = await get(url, target, method="HEAD")
        assert (answer.status, answer.body) == (204, b"")
        assert "vary" not in answer.headers


@pytest.mark.parametrize("value", ["application/json; charset=utf-8", "APPLICATION/JSON", " application/json ;x"])
async def test_media_type_counts_alone(url: str, value: str) -> None:
    """Parameters and case say nothing about what the body is."""
    assert (await post(url, "/test.echoMutation", b"7", {"content-type": value})).data == 7


async def test_a_get_may_claim_any_content_type(url: str) -> None:
    """Browsers and proxies send all kinds."""
    assert (await get(url, "/test.echo?input=1", {"content-type": "text/plain"})).data == 1


@pytest.mark.parametrize("target", ["/demo.list/", "//demo.list", "/demo%2Elist", "/demo.list?batch=2&unknown=%ff&&="])
async def test_paths_and_queries_are_read_as_urls(url: str, target: str) -> None:
    """One slash at either end is no part of a path; escapes are; unknown parameters are ignored."""
    answer = await get(url, target)
    assert answer.status == (404 if target.startswith("//") else 200)


async def test_escapes_are_decoded_before_the_batch_is_split(url: str) -> None:
    """Some clients escape the commas, and tRPC's own server decodes first."""
    assert len((await get(url, "/demo.list%2Cdemo.list?batch=1")).json) == 2


async def test_plus_in_the_query_is_a_space(url: str) -> None:
    """URLSearchParams reads it so; the first of a repeated parameter counts."""
    assert (await get(url, "/test.echo?input=%22a+b%2Bc%22&input=2")).data == "a b+c"


async def test_batch(url: str) -> None:
    """Answers in the order of the calls, each with its own fate; absent inputs are undefined."""
    target = "/demo.list,demo.byId,demo.byId,test.crash,test.echo?batch=1&input="
    answer = await get(url, target + inp({"1": {"exchangeId": 2}, "2": {"exchangeId": 99}, "7": 1})[7:])
    first, second, third, fourth, fifth = answer.json
    assert answer.status == 207
    assert [card["exchangeId"] for card in first["result"]["data"]] == [1, 2]
    assert second["result"]["data"]["exchangeId"] == 2
    assert third["error"]["data"]["path"] == "demo.byId"
    assert fourth["error"]["data"]["code"] == "INTERNAL_SERVER_ERROR"
    assert fifth == {"result": {}}


async def test_batch_of_one_kind_of_status_has_that_status(url: str) -> None:
    """207 only where the calls differ."""
    assert (await get(url, "/no.a,no.b?batch=1")).status == 404
    assert (await get(url, "/demo.list?batch=1")).status == 200
    assert (await get(url, "/demo.list?batch=1")).json[0]["result"]


@pytest.mark.parametrize("body", [b"", b"{}"])
async def test_batch_without_any_input(url: str, body: bytes) -> None:
    """Both are how clients say that every input is undefined."""
    assert (await post(url, "/test.nothing,test.echoMutation?batch=1", body)).json == [{"result": {}}] * 2


@pytest.mark.parametrize("whole", ["[1]", "null", "1", '"x"'])
async def test_batch_input_is_an_object(url: str, whole: str) -> None:
    """The calls that read it fail, the others do not."""
    answer = await get(url, f"/test.echo,test.nan?batch=1&input={whole}")
    assert answer.json[0]["error"]["message"] == '"input" needs to be an object when doing a batch call'
    assert "result" in answer.json[1]


async def test_calls_of_a_batch_run_side_by_side(url: str) -> None:
    """A slow one does not hold up the others, and twenty take as long as one."""
    slow = {str(n): {"ms": 1000} for n in range(20)}
    async with asyncio.timeout(10):  # one after the other they take twenty
        answer = await post(url, "/" + ",".join(["test.slow"] * 20) + "?batch=1", slow)
    assert len(answer.json) == 20


async def test_input_is_read_only_where_it_is_wanted(url: str) -> None:
    """So a 404, a 405 or a procedure without an input never fails for the input's sake."""
    big = b'"' + b"x" * (1 << 20) + b'"'
    assert (await post(url, "/test.nothing", big)).status == 200
    assert (await post(url, "/no.such", b"{nope")).status == 404
    assert (await get(url, "/demo.mutate?input={nope")).status == 405
    assert (await get(url, "/test.nan?input={nope")).status == 200


async def test_body_over_the_limit(url: str) -> None:
    """Of a stated length it is not read at all; of an unstated one no further than the limit."""
    big = b'"' + b"x" * (1 << 20) + b'"'
    stated = await post(url, "/test.echoMutation", big)
    chunked = b"POST /trpc/test.echoMutation HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    chunked += b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    unstated = await exchange(url, chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(big), big))
    for answer in (stated, unstated):
        assert (answer.status, answer.error["code"], answer.error["data"]["path"]) == (413, -32013, "test.echoMutation")


async def test_url_over_the_limit(url: str) -> None:
    """It would be kept whole in memory while it is read."""
    assert (await get(url, "/test.echo?input=" + "1" * (32 << 10))).status == 413


async def test_leaving_cancels_every_call(url: str) -> None:
    """Otherwise clients that come and go pile up work nobody waits for."""
    reader, writer = await connect(url)
    target = "/trpc/test.abortable,test.abortable?batch=1&" + inp(
        {"0": {"key": "one", "ms": 60_000}, "1": {"key": "two", "ms": 60_000}}
    ).removeprefix("?")
    writer.write(f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    await writer.drain()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.read(1)
    writer.close()

    async def both() -> bool:
        answers: list[Any] = [await get(url, "/test.wasAborted" + inp({"key": key})) for key in ("one", "two")]
        return all(answer.data for answer in answers)

    await wait_until_async(both, description="both calls were cancelled")


async def test_other_origins(url: str) -> None:
    """Errors and refusals too must be readable by a page of an allowed origin, and by no other."""
    allowed = {"origin": "http://ui.example"}
    for target in ("/demo.list", "/no.such", "/%zz"):
        assert (await get(url, target, allowed)).headers["access-control-allow-origin"] == "http://ui.example"
        assert "access-control-allow-origin" not in (await get(url, target, {"origin": "http://evil.example"})).headers
        assert "origin" in (await get(url, target)).headers["vary"]
    asked = {**allowed, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    preflight = await get(url, "/demo.list", asked, method="OPTIONS")
    assert preflight.status == 204
    assert {"GET", "POST"} <= set(preflight.headers["access-control-allow-methods"].split(", "))
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in preflight.headers


async def test_context_that_refuses_fails_each_call(guarded_url: str) -> None:
    """An unknown path stays unknown, every other call has the refusal with its own path."""
    answer = await get(guarded_url, "/demo.list,test.nan,no.such?batch=1", {"authorization": "Bearer reject-me"})
    paths = [(one["error"]["data"]["code"], one["error"]["data"]["path"]) for one in answer.json]
    assert paths == [("UNAUTHORIZED", "demo.list"), ("UNAUTHORIZED", "test.nan"), ("NOT_FOUND", "no.such")]


async def test_who_may_not_call_does_not_have_its_input_read(guarded_url: str) -> None:
    """Guests learn nothing about inputs, and cost no parsing."""
    assert (await get(guarded_url, "/demo.byId?input={nope")).status == 401
    assert (await get(guarded_url, "/demo.list", {"authorization": "Bearer open-sesame"})).status == 200
    assert (await get(guarded_url, "/demo.list?connectionParams=%7B%22token%22:%22open-sesame%22%7D")).status == 200
