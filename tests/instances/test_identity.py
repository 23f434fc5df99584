"""The public IP address: asked of several services, never waited for, unknown until one says it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from perseus.instances.identity import Identity, find_public_ip, fresh_status
from perseus.model import exchange_named
from perseus.timing import LeaseTiming


@asynccontextmanager
async def service(answer: bytes | None) -> AsyncIterator[str]:
    """A service that answers every request with these bytes, or with None takes it and stays silent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await reader.read()  # until the client gives up
        else:
            head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(answer)
            writer.write(head + answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize(("answer", "address"), [(b"203.0.113.7\n", "203.0.113.7"), (b"2001:db8::7", "2001:db8::7")])
async def test_first_service_that_answers_is_believed(answer: bytes, address: str) -> None:
    """Services answer with plain text, some with a line end."""
    async with service(answer) as url:
        assert await find_public_ip([url]) == address


async def test_silent_and_babbling_services_are_passed_over() -> None:
    """One broken service must not hide the address, nor cost more than its two seconds."""
    async with service(None) as silent, service(b"<html>no") as babbling, service(b"203.0.113.7") as good:
        async with asyncio.timeout(10):  # the silent one is left after two
            assert await find_public_ip(["http://127.0.0.1:9/", silent, babbling, good]) == "203.0.113.7"


async def test_address_nobody_says_is_unknown() -> None:
    """Unknown is null, never a guess."""
    async with service(b"not an address") as url:
        assert await find_public_ip([url]) is None
    assert await find_public_ip([]) is None
    status = fresh_status(exchange_named("binance"), Identity(), LeaseTiming(), now="2026-02-10T14:02:11.000Z")
    assert status.ip_address is None
    assert status.hostname
