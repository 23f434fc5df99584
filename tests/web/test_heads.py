"""Heads that never end, messages too long: somebody only wants to hold a connection, or fill the memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from perseus.web import heads
from tests.web.site import Site, fetch

START = b"GET /login HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = (
    b"POST /trpc/test.viewer.mutation HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


@asynccontextmanager
async def connected(site: Site) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A plain connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.url.rpartition(":")[2]))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, start: bytes, piece: bytes) -> bytes:
    """Send the start, then the same piece for ever; what is answered before the connection ends."""
    writer.write(start)
    try:
        async with asyncio.timeout(10):
            while not reader.at_eof():
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
    except ConnectionError:
        pass
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (START, b"x-header: " + b"y" * 1000 + b"\r\n"),
        (START + b"x: ", b"y" * 1000),
        (b"GET /", b"y" * 1000),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"x-trailer: " + b"y" * 1000 + b"\r\n"),
        (CHUNKED + b"1;", b"y" * 1000),
    ],
    ids=["headers", "one header", "URL", "trailers", "chunk extension"],
)
async def test_head_without_end_ends_the_connection(site: Site, start: bytes, piece: bytes) -> None:
    """The parser keeps whatever comes until the head is complete."""
    async with connected(site) as (reader, writer):
        answer = await flood(reader, writer, start, piece)
        assert answer[:10] in (b"", b"HTTP/1.1 4")


async def test_who_asks_nothing_is_let_go(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand connections that send a byte a minute would keep everybody else out."""
    monkeypatch.setattr(heads, "HEAD_WITHIN_S", 0.2)
    for sent in (b"", b"GET /log", START):
        async with connected(site) as (reader, writer), asyncio.timeout(5):
            writer.write(sent)
            assert await reader.read() == b""


async def test_empty_line_between_requests_holds_no_connection(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bytes that begin no request end uvicorn's wait for the next one."""
    monkeypatch.setattr(heads, "HEAD_WITHIN_S", 0.2)
    async with connected(site) as (reader, writer), asyncio.timeout(5):
        writer.write(START + b"\r\n")
        assert b"200 OK" in await reader.readuntil(b"</html>\n")
        writer.write(b"\r\n")
        assert await reader.read() == b""


async def test_half_a_later_request_holds_no_connection(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was answered once may stop in the middle of the next request like anybody else."""
    monkeypatch.setattr(heads, "HEAD_WITHIN_S", 0.2)
    for sent in (b"GET /log", START):
        async with connected(site) as (reader, writer), asyncio.timeout(5):
            writer.write(START + b"\r\n")
            assert b"200 OK" in await reader.readuntil(b"</html>\n")
            writer.write(sent)
            assert await reader.read() == b""


async def test_head_in_pieces_is_answered_and_then_forgotten(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock must not end the connection after it was complete."""
    monkeypatch.setattr(heads, "HEAD_WITHIN_S", 0.3)
    async with connected(site) as (reader, writer), asyncio.timeout(5):
        for _ in range(2):
            writer.write(START)
            await asyncio.sleep(0.05)  # so that the rest comes by itself
            writer.write(b"\r\n")
            assert b"200 OK" in await reader.readuntil(b"</html>\n")
            await asyncio.sleep(0.4)  # longer than a head may take


async def test_long_heads_that_end_are_answered(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches have long URLs, browsers many cookies; a connection serves many requests, and pauses between them."""
    monkeypatch.setattr(heads, "HEAD_WITHIN_S", 0.2)
    got = await fetch(site, "/login", headers={"cookie": "a=" + "b" * 30_000})
    assert got.status == 200
    async with connected(site) as (reader, writer), asyncio.timeout(5):
        for _ in range(3):
            writer.write(START + b"\r\n")
            assert b"200 OK" in await reader.readuntil(b"</html>\n")
            await asyncio.sleep(0.3)  # longer than a head may take: nothing is due between two requests


async def test_slow_body_and_open_stream_are_no_slow_head(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is on heads only."""
    monkeypatch.setattr(heads, "HEAD_WITHIN_S", 0.2)
    async with connected(site) as (reader, writer), asyncio.timeout(5):
        writer.write(b"POST /login HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: same-origin\r\n")
        writer.write(b"content-type: application/x-www-form-urlencoded\r\ncontent-length: 7\r\n\r\nem")
        await asyncio.sleep(0.3)  # the fact under test is that nothing happens meanwhile
        writer.write(b"ail=x")
        assert b" 401 " in await reader.readline()


async def test_nothing_a_client_compressed_is_unpacked(site: Site) -> None:
    """Two hundred kilobytes on one socket became as many megabytes before anyone asked whose they were."""
    async with site.http.ws_connect(f"{site.url}/trpc?connectionParams=1", compress=15) as ws:
        assert ws.compress == 0


async def test_long_message_is_refused_while_it_comes(site: Site) -> None:
    """Sixteen megabytes each, for ten seconds, on as many sockets as anyone likes to open."""
    async with site.http.ws_connect(f"{site.url}/trpc?connectionParams=1") as ws:
        await ws.send_str("x" * 3 * 2**20)
        assert (await ws.receive(timeout=5)).data == 1009  # and no answer to what was read first
