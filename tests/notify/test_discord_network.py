"""The network between a webhook and Discord: gone, lying, hung, behind a proxy; and what must never be told of it."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perseus.clock import SystemClock
from perseus.notify.discord import Delivered, Discord, Later, Refused, user_agent
from perseus.webhooks import Webhook, parse_webhooks
from tests.support.discord_client import HELLO, MEANS, TIMEOUT_S, Both, discord_and_us, until_delivered, webhook
from tests.support.discord_faults import AFTER, BEFORE
from tests.support.servers import missing
from tests.support.waiting import wait_until_async


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    """A stand-in and a client."""
    async with discord_and_us() as both:
        yield both


async def test_refused_connections_pass_when_discord_is_back(both: Both) -> None:
    """An unreachable Discord is waited for, and what was to be said is said then."""
    stand_in, us = both
    await us.post(webhook(stand_in), HELLO)
    await stand_in.refuse()
    outcomes = [await us.post(webhook(stand_in), HELLO) for _ in range(3)]
    for outcome in outcomes:
        assert isinstance(outcome, Later)
        assert outcome.reason in ("connection refused", "the connection was reset", _CLOSED)
    await stand_in.listen()
    await until_delivered(us, webhook(stand_in), HELLO)
    assert len(stand_in.messages("ops")) == 2


_CLOSED = "the connection was closed without an answer"


async def test_cancellation_passes_and_leaves_the_webhook_usable(both: Both) -> None:
    """A server that stops does not wait for Discord."""
    stand_in, us = both
    stand_in.play("hang")
    posting = asyncio.create_task(us.post(webhook(stand_in), HELLO))
    await wait_until_async(lambda: stand_in.asked, description="it is asked")
    posting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await posting
    assert isinstance(await us.post(webhook(stand_in), HELLO), Delivered)


async def test_address_without_a_server_of_its_kind_is_a_passing_trouble(both: Both) -> None:
    """No TLS where it should be, and no such name: what a broken network looks like."""
    stand_in, us = both
    [no_tls] = parse_webhooks(stand_in.url("ops").replace("http:", "https:"))
    outcome = await us.post(no_tls, HELLO)
    assert isinstance(outcome, Later)
    assert outcome.reason == "no TLS connection could be made"
    [no_name] = parse_webhooks("https://discord.invalid/api/webhooks/1/secret-token")
    outcome = await us.post(no_name, HELLO)
    assert isinstance(outcome, Later)
    assert outcome.reason in ("the host name in the webhook's URL could not be resolved", "no answer within 1 s")
    outcome = await us.post(Webhook("ops", f"https://{'x' * 64}.com/api/v10/webhooks/1/secret-token", "f"), HELLO)
    assert isinstance(outcome, Later)
    assert outcome.reason == "the host name in the webhook's URL could not be resolved"


async def test_certificate_nobody_vouches_for_gets_no_message(tmp_path: Path) -> None:
    """Whoever pretends to be Discord must not see the token."""
    if shutil.which("openssl") is None:
        missing("openssl", "apt-get install openssl")
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    subprocess.run([*request.split(), "-keyout", "key", "-out", "cert"], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    seen = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/webhooks/1/secret-token"
    async with server, Discord(clock=SystemClock(), user_agent=user_agent("1.0"), timeout_s=TIMEOUT_S) as us:
        outcome = await us.post(parse_webhooks(url)[0], HELLO)
    assert isinstance(outcome, Later)
    assert outcome.reason == "the TLS certificate is not valid"
    assert not seen


HUNG_LOOK_UP = """
import asyncio, socket, time
from perseus.clock import SystemClock
from perseus.notify.discord import Discord, user_agent
from perseus.webhooks import parse_webhooks

socket.getaddrinfo = lambda *_, **__: time.sleep(60)

async def main():
    [webhook] = parse_webhooks("https://discord.com/api/webhooks/1/secret-token")
    async with Discord(clock=SystemClock(), user_agent=user_agent("1.0"), timeout_s=0.2) as us:
        print(await us.post(webhook, {"content": "hello"}))

asyncio.run(main())
"""


def test_look_up_without_an_answer_does_not_keep_the_process() -> None:
    """A server told to stop while the network is down must not wait for it (asyncio's own look-ups are joined)."""
    done = subprocess.run([sys.executable, "-c", HUNG_LOOK_UP], capture_output=True, text=True, timeout=30, check=True)
    assert "no answer within 0.2 s" in done.stdout


async def test_proxy_of_the_environment_is_used_and_netrc_is_not(
    both: Both, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Hosts behind a proxy send alerts, too; a password kept for all other hosts is not for Discord."""
    stand_in, us = both
    (tmp_path / "netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{stand_in.port}")
    url = stand_in.url("ops").replace("/api/", "/api/v10/").replace(f"127.0.0.1:{stand_in.port}", "discord.invalid")
    assert isinstance(await us.post(Webhook("ops", url, "f"), HELLO), Delivered)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    outcome = await us.post(Webhook("ops", url, "f"), HELLO)
    assert isinstance(outcome, Later)
    assert outcome.reason == "no connection to the proxy"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert isinstance(await us.post(webhook(stand_in), HELLO), Delivered)


async def test_secret_is_in_no_reason_log_or_exception(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever has the URL can post in the channel; it must not be anywhere, however talkative logging is."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    async with discord_and_us(burst=1000, timeout_s=0.4) as (stand_in, us):
        where, told = webhook(stand_in), []
        for form in BEFORE + AFTER:
            if MEANS[form][1].startswith(("Cloudflare", "Discord wants nothing for")):
                continue  # the next would not be sent; nobody else's words are in their reasons, as asserted above
            stand_in.play(form, retry_after=0.0)
            told.append(repr(await us.post(where, HELLO)))
        await stand_in.refuse()
        told.append(repr(await us.post(where, HELLO)))
        with pytest.raises(TypeError) as unsendable:
            await us.post(where, {"content": object()})
        told.append(repr(unsendable.value))
    gc.collect()  # what was left behind would complain now
    out, error = capfd.readouterr()
    everything = "\n".join([*told, caplog.text, out, error, repr(where), repr(us)])
    for secret in (where.url, where.url.rpartition("/")[2], f"127.0.0.1:{stand_in.port}"):
        assert secret not in everything


async def test_it_is_used_inside_its_block_only() -> None:
    """One session for all, ended with the block."""
    us = Discord(clock=SystemClock(), user_agent=user_agent("1.0"))
    with pytest.raises(RuntimeError, match="outside"):
        await us.post(Webhook("ops", "http://127.0.0.1:1/api/v10/webhooks/1/x", "f"), HELLO)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 429 Slow\r\nRetry-After: soon\r\nContent-Length: 4\r\n\r\n[[[[",
        b"HTTP/1.1 429 Slow\r\nRetry-After: 1e999\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 99999 ?\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: \x01=\x02\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 400 No\r\nContent-Length: 100000\r\n\r\n" + b'{"errors":' * 10_000,
    ],
)
async def test_nothing_a_server_says_raises(answer: bytes) -> None:
    """The notifier's loop relies on outcomes: an exception from one channel would end all."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"hello")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Discord(clock=SystemClock(), user_agent=user_agent("1.0"), timeout_s=TIMEOUT_S) as us:
        outcome = await us.post(Webhook("ops", f"http://127.0.0.1:{port}/api/v10/webhooks/1/x", "f"), HELLO)
        assert isinstance(outcome, Delivered | Refused | Later)
