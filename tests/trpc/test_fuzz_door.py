"""What nobody meant to send: bytes, JSON shapes, batches, frames and event ids, against the application in a process.

A small fixed number each; `PERSEUS_FUZZ=50` multiplies it, `PERSEUS_FUZZ_SEED=7` begins elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_socket

from tests.support.waiting import wait_until
from tests.trpc.conformance import TOKEN, serving
from tests.trpc.wire import connect, exchange

STRENGTH = int(os.environ.get("PERSEUS_FUZZ", "1"))
SEED = int(os.environ.get("PERSEUS_FUZZ_SEED", "1"))
INTERNAL = -32603
MEMORY_REQUESTS = 1000
MAY_GROW_BYTES = 4 << 20
SAFE = settings(
    max_examples=60 * STRENGTH,
    derandomize=STRENGTH == 1,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
QUERIES = ("demo.list", "demo.byId", "demo.paged", "test.echo", "test.nan", "test.whoami", "test.wasAborted")
MUTATIONS = ("demo.mutate", "test.echoMutation", "test.nothing")
BEARER = {"authorization": f"Bearer {TOKEN}"}
FIELDS = (
    "exchangeId",
    "exchangeName",
    "count",
    "cursor",
    "command",
    "key",
    "lastEventId",
    "0",
    "1",
    "mode",
    "__proto__",
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS | st.sampled_from(["", "1", "alpha", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


class Door:
    """The test application in a process of its own."""

    def __init__(self, url: str, process: psutil.Process) -> None:
        self.url = url
        self.process = process
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=10)

    def ask(
        self, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One request on a connection that is kept; status and body."""
        try:
            response = self._send(method, target, body, headers or {})
        except (ConnectionError, HTTPException):  # the server closed it behind the last answer, as it may
            self._connection.close()
            response = self._send(method, target, body, headers or {})
        return response.status, response.read()

    def _send(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> HTTPResponse:
        sent = {"content-type": "application/json", **BEARER, **headers}
        self._connection.request(method, f"/trpc/{target}", body, sent)
        return self._connection.getresponse()

    def close(self) -> None:
        """Leave."""
        self._connection.close()

    def rss(self) -> int:
        """Bytes of memory it holds."""
        return int(self.process.memory_info().rss)

    def is_well(self) -> bool:
        """Whether it answers, and holds nothing open for clients that left."""
        return self.ask("GET", "test.liveSubscribers") == (200, b'{"result":{"data":0}}')


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The application; at the end its log must tell of no exception."""
    log = tmp_path_factory.mktemp("fuzz") / "log"
    with serving(sys.executable, "-m", "tests.trpc.app", "--port", "0", "--token", TOKEN, log=log) as (url, process):
        asked = Door(url, psutil.Process(process.pid))
        yield asked
        asked.close()
        assert process.poll() is None, log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(autouse=True)
def _still_well(door: Door) -> Iterator[None]:
    yield
    wait_until(door.is_well, description="the server answers and has let go of every client")


def assert_answered(status: int, body: bytes) -> None:
    """tRPC's answer, not a fault of the server."""
    assert status < 500, body
    answers = json.loads(body)
    for answer in answers if isinstance(answers, list) else [answers]:
        assert set(answer) in ({"result"}, {"error"}), body
        assert answer.get("error", {}).get("code") != INTERNAL, body


def escaped(text: str) -> str:
    """Text as it stands in a URL; half a surrogate pair as a question mark."""
    return quote(text.encode("utf-8", "replace"), safe="")


@SAFE
@given(path=st.sampled_from(QUERIES + MUTATIONS), value=VALUES)
def test_any_json_is_an_answer_or_bad_request(door: Door, path: str, value: Any) -> None:
    """What a client takes for an input must not reach a procedure as something else, nor end in a 500."""
    text = json.dumps(value)
    if path not in MUTATIONS:
        assert_answered(*door.ask("GET", f"{path}?input={escaped(text)}"))
    assert_answered(*door.ask("POST", path, text.encode()))


@SAFE
@given(
    path=st.sampled_from(QUERIES + MUTATIONS),
    body=st.binary(max_size=60),
    kind=st.sampled_from(["application/json", "text/plain", "", "application/json;", "multipart/form-data"]),
)
def test_any_body_is_an_answer_or_an_error(door: Door, path: str, body: bytes, kind: str) -> None:
    """Bytes that are no JSON, not even text."""
    assert_answered(*door.ask("POST", path, body, {"content-type": kind}))


@SAFE
@given(
    paths=st.lists(st.sampled_from(QUERIES + MUTATIONS) | st.text(max_size=8), max_size=24),
    inputs=VALUES | st.dictionaries(st.sampled_from(["0", "1", "2", "-1", "00", "x"]), VALUES),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    streams=st.booleans(),
)
def test_any_batch_is_answered(door: Door, paths: list[str], inputs: Any, method: str, streams: bool) -> None:
    """Paths known and unknown, in any number, with inputs for others; streamed or not."""
    text = json.dumps(inputs)
    target = ",".join(map(escaped, paths)) + "?batch=1" + (f"&input={escaped(text)}" if method == "GET" else "")
    body = None if method == "GET" else text.encode()
    status, answer = door.ask(method, target, body, {"trpc-accept": "application/jsonl"} if streams else {})
    if not streams or status != 200:
        assert_answered(status, answer)
        return
    for line in answer.decode().split("\n")[:-1]:
        assert f'"code": {INTERNAL}' not in json.dumps(json.loads(line)), answer


@SAFE
@given(
    query=st.text(alphabet=st.characters(max_codepoint=255), max_size=40)
    | st.from_regex(r"((input|batch|connectionParams|lastEventId)=[ -~]{0,12}&){1,4}", fullmatch=True)
)
def test_any_query_is_answered(door: Door, query: str) -> None:
    """Percent signs, plus signs, nothing, everything twice."""
    assert_answered(*door.ask("GET", "demo.byId?" + quote(query.encode(), safe="=&%+;")))


IDS = st.fixed_dictionaries(
    {"mode": st.sampled_from(["tracked", "plain", "mixed"])},
    optional={
        "input": VALUES,
        "header": st.from_regex(r"[ -~]{0,12}", fullmatch=True),
        "query": st.text(max_size=12),
        "params": VALUES,
    },
)


@SAFE
@given(said=IDS)
def test_any_last_event_id_ends_in_a_stream_or_an_error(door: Door, said: dict[str, Any]) -> None:
    """An id is the client's word: it must neither crash the stream nor write into it."""
    value = {"count": 3, "intervalMs": 0, "mode": said["mode"]}
    if "input" in said:
        value["lastEventId"] = said["input"]
    target = f"test.ticks?input={escaped(json.dumps(value))}"
    if "query" in said:
        target += f"&lastEventId={escaped(said['query'])}"
    if "params" in said:
        target += f"&connectionParams={escaped(json.dumps(said['params']))}"
    status, body = door.ask("GET", target, None, {"last-event-id": said["header"]} if "header" in said else {})
    if status != 200:
        assert_answered(status, body)
        return
    fields = {line.split(b":")[0] for line in body.split(b"\n")}
    assert fields <= {b"", b"event", b"data", b"id"}, body
    assert f'"code":{INTERNAL}'.encode() not in body


CALLS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from([0, 1, "a", None, 1.5, True, [], -1]),
        "jsonrpc": st.sampled_from(["2.0", "1.0", 2, None]),
        "method": st.sampled_from(["query", "mutation", "subscription", "subscription.stop", "connectionParams", 3]),
        "params": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "path": st.sampled_from([*QUERIES, *MUTATIONS, "test.ticks", "demo.events", "", 3]),
                "input": VALUES | st.fixed_dictionaries({"count": st.integers(0, 3)}),
                "lastEventId": st.none() | st.text(max_size=4) | st.integers(),
            },
        ),
        "data": VALUES,
    },
)
FRAMES: st.SearchStrategy[str | bytes] = st.one_of(
    st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace").decode()),
    st.binary(max_size=30),
    VALUES.map(json.dumps),
    CALLS.map(json.dumps),
    st.lists(CALLS, max_size=24).map(json.dumps),
)


@settings(SAFE, max_examples=40 * STRENGTH)
@given(frames=st.lists(FRAMES, max_size=8), waits=st.booleans())
def test_any_frame_is_forgiven(door: Door, frames: list[str | bytes], waits: bool) -> None:
    """A socket carries many calls: nothing that comes over it may end it, or hold up what comes behind."""
    url = door.url.replace("http", "ws", 1) + ("?connectionParams=1" if waits else "")
    with connect_socket(url, additional_headers=BEARER, open_timeout=10, close_timeout=2, ping_interval=None) as socket:
        if waits:
            socket.send('{"data":null}')
        for frame in frames:
            socket.send(frame)
        socket.send(json.dumps({"id": "last", "method": "query", "params": {"path": "test.nan"}}))
        _assert_reaches_the_last(socket)


def _assert_reaches_the_last(socket: ClientConnection) -> None:
    while True:
        text = socket.recv(timeout=10)
        if text in ("PING", "PONG"):
            continue
        frame = json.loads(text)
        assert frame.get("error", {}).get("code") != INTERNAL, frame
        if frame["id"] == "last":
            return


def _whole(start: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([start + b" HTTP/1.1", b"host: x", *headers, b"", body])


_JSON = b"content-type: application/json"
SEEDS = (
    _whole(b"GET /trpc/demo.list"),
    _whole(b"GET /trpc/test.echo?input=%7B%22a%22%3A1%7D", b"accept: */*"),
    _whole(b"GET /trpc/demo.list,demo.byId?batch=1&input=%7B%7D", b"trpc-accept: application/jsonl"),
    _whole(b"POST /trpc/test.echoMutation", _JSON, b"content-length: 7", body=b'{"a":1}'),
    _whole(b"POST /trpc/test.nothing", _JSON, b"transfer-encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
    _whole(b"GET /trpc/test.ticks?input=%7B%22count%22%3A2%7D", b"last-event-id: 1"),
    _whole(
        b"GET /trpc",
        b"connection: Upgrade",
        b"upgrade: websocket",
        b"sec-websocket-version: 13",
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        body=b"\x81\x84\x00\x00\x00\x00PING",
    ),
    _whole(b"OPTIONS /trpc/demo.list", b"origin: http://ui.example", b"access-control-request-method: POST"),
)
MORSELS = (
    b"\r\n",
    b"\0",
    b"%",
    b",",
    b"\xff",
    b"HTTP/1.1",
    b": ",
    b"batch=1",
    b"input=",
    b"\x81\xff",
    b"%2C",
    b"9" * 20,
)


def damaged(dice: random.Random) -> bytes:
    """A request with some bytes changed, lost, doubled or put in."""
    request = bytearray(dice.choice(SEEDS))
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(request) + 1)
        end = min(len(request), at + dice.randint(1, 12))
        match dice.randrange(4):
            case 0:
                request[at:end] = dice.randbytes(end - at)
            case 1:
                del request[at:end]
            case 2:
                request[at:at] = request[at:end]
            case _:
                request[at:at] = dice.choice(MORSELS)
    return bytes(request)


async def _answer_to(url: str, raw: bytes) -> bytes:
    """What comes back for these bytes within a moment; to half a request nothing may."""
    reader, writer = await connect(url)
    try:
        writer.write(raw)
        async with asyncio.timeout(0.3):
            return await reader.read(1 << 16)
    except (TimeoutError, ConnectionError):
        return b""
    finally:
        writer.transport.abort()


async def test_any_bytes_are_survived(door: Door) -> None:
    """Requests damaged on their way, or made to damage: an answer below 500, or a closed connection."""
    dice = random.Random(SEED)
    requests = [damaged(dice) for _ in range(500 * STRENGTH)] + [
        dice.randbytes(dice.randint(1, 200)) for _ in range(50)
    ]
    for start in range(0, len(requests), 50):
        some = requests[start : start + 50]
        answers = await asyncio.gather(*(_answer_to(door.url, raw) for raw in some))
        for raw, answer in zip(some, answers, strict=True):
            assert not answer.startswith(b"HTTP/1.1 5"), f"seed {SEED}: {raw!r} was answered {answer!r}"


async def test_half_requests_do_not_hold_up_others(door: Door) -> None:
    """A client that never finishes costs the server a socket, not its attention."""
    idle = [await connect(door.url) for _ in range(100)]
    for index, (_, writer) in enumerate(idle):
        writer.write(SEEDS[3][: 20 + index % 80])
    whole = _whole(b"GET /trpc/test.echo?input=1", b"connection: close")
    answers = await asyncio.gather(*(exchange(door.url, whole, within_s=5) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    for _, writer in idle:
        writer.transport.abort()


async def test_memory_does_not_grow(door: Door) -> None:
    """Whatever was asked is forgotten: paths, inputs, tokens and ids that never come again, errors and streams."""
    await _ask_all(door, range(MEMORY_REQUESTS))
    before = door.rss()
    last = MEMORY_REQUESTS * (1 + STRENGTH)
    await _ask_all(door, range(MEMORY_REQUESTS, last))
    grown = door.rss() - before
    assert grown < MAY_GROW_BYTES, f"{grown / 1024:.0f} KiB more after {last - MEMORY_REQUESTS} requests"


async def _ask_all(door: Door, numbers: range) -> None:
    for start in range(numbers.start, numbers.stop, 50):
        await asyncio.gather(*(_ask_junk(door, number) for number in range(start, start + 50)))


async def _ask_junk(door: Door, number: int) -> None:
    junk = f"{number}-{'x' * 200}"
    targets = (
        f"demo.{junk}",
        f"test.echo?input=%22{junk}%22",
        f"demo.byId?input=%22{junk}%22&{junk}",
        f"demo.list,test.echo?batch=1&input=%7B%221%22:%22{junk}%22%7D",
        f"test.wasAborted?input=%7B%22key%22:%22{junk}%22%7D",
        f"test.ticks?input=%7B%22count%22:1%7D&lastEventId={junk}",
        f"demo.list?connectionParams=%7B%22token%22:%22{junk}%22%7D",
    )
    start = f"GET /trpc/{targets[number % len(targets)]}".encode()
    answer = await exchange(door.url, _whole(start, b"connection: close", f"x-{number}: {junk}".encode()))
    assert answer.status < 500


def test_the_fuzzer_reads_answers() -> None:
    """A fuzzer that takes everything for an answer finds nothing."""
    for status, body in (
        (500, b"{}"),
        (200, b'{"error":{"code":-32603}}'),
        (200, b'{"detail":1}'),
        (200, b'[{"x":1}]'),
    ):
        with pytest.raises(AssertionError):
            assert_answered(status, body)
