"""`perseus serve`: how it starts, what it refuses, what it does while store or database are away, and how it ends."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.support.processes import PerseusProcess, run_perseus
from tests.support.servers import Server
from tests.support.system import free_port
from tests.support.waiting import wait_until, wait_until_async

INSTANCES = "network.getInstances"
LOG = "network.getActivityLog"  # the store is read when it is asked for, so a paused one keeps it waiting
Serve = Callable[..., PerseusProcess]


class Prepared(NamedTuple):
    """A SQLite database with an owner, and a token of theirs."""

    file: Path
    token: str


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Made once: each test takes a copy."""
    home = tmp_path_factory.mktemp("prepared")
    assert run_perseus("admins", "add", "ada@example.org", "--role", "owner", data_dir=home).returncode == 0
    made = run_perseus("admins", "token", "ada@example.org", "--name", "test", data_dir=home)
    assert made.returncode == 0, made.stderr
    return Prepared(home / "perseus.db", made.stdout.strip())


@pytest.fixture
def serve(data_dir: Path, prepared: Prepared) -> Iterator[Serve]:
    """Start `perseus serve ARGS` on a copy of the database: `serve(store_url, "--port", "0", **settings)`."""
    with ExitStack() as cleanup:

        def start(store_url: str, *args: str, **settings: str) -> PerseusProcess:
            home = data_dir / "web"
            home.mkdir(exist_ok=True)
            shutil.copy(prepared.file, home)
            process = PerseusProcess(
                "serve", *(args or ("--port", "0")), data_dir=home, store_url=store_url, settings=settings
            )
            return cleanup.enter_context(process)

        yield start


@pytest.fixture
async def http(prepared: Prepared) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with the token."""
    headers = {"authorization": f"Bearer {prepared.token}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(15)) as session:
        yield session


def url_of(process: PerseusProcess) -> str:
    """Where it listens, once it does."""

    def said() -> re.Match[str] | None:
        assert process.is_running, f"it ended with {process.process.returncode}:\n{process.output}"
        return re.search(r"url=(http://\S+)", process.output)

    found = wait_until(said, description="the server listens", timeout=20)
    assert found is not None
    return found[1]


async def asked(http: aiohttp.ClientSession, url: str, procedure: str) -> tuple[int, Any]:
    """Its answer."""
    async with http.get(f"{url}/trpc/{procedure}") as response:
        return response.status, await response.json()


async def ready(http: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    """The answer of `/readyz`."""
    async with http.get(f"{url}/readyz") as response:
        return response.status, await response.json()


async def ended(process: PerseusProcess) -> int:
    """Its exit code, when it has ended."""
    return await asyncio.to_thread(process.wait_exit)


# -- the end --------------------------------------------------------------------------------------------------------


async def test_end_under_load_completes_what_was_asked(
    serve: Serve, http: aiohttp.ClientSession, start_server: Callable[..., Server]
) -> None:
    """An upgrade must not show anyone half an answer, nor wait for a page that is left open for days."""
    store = start_server()
    process = serve(store.url)
    url = url_of(process)
    async with (
        http.get(f"{url}/trpc/network.onChange", headers={"accept": "text/event-stream"}) as events,
        http.ws_connect(f"{url}/trpc?connectionParams=1") as ws,
    ):
        assert (await events.content.readline()).startswith(b"event: connected")
        token = http.headers["authorization"].removeprefix("Bearer ")
        await ws.send_json({"method": "connectionParams", "data": {"token": token}})
        await ws.send_json({"id": 1, "method": "subscription", "params": {"path": "network.onChange"}})
        assert (await ws.receive_json())["result"]["type"] == "started"
        store.pause()
        readiness, asking = asyncio.create_task(ready(http, url)), asyncio.create_task(asked(http, url, LOG))
        await asyncio.sleep(0.3)  # they are under way: an answer needs the store
        process.process.send_signal(signal.SIGTERM)
        code = await ended(process)  # the stream and the socket are still open
        store.resume()
        assert code == 0, process.output
        assert await readiness == (503, {"store": "unavailable", "database": "ok"})
        status, answer = await asking
        assert (status, answer["error"]["data"]["code"]) == (503, "SERVICE_UNAVAILABLE")
        said = [json.loads(message.data) async for message in ws if message.type is aiohttp.WSMsgType.TEXT]
        assert {"id": None, "method": "reconnect"} in said
        assert ws.close_code in (1000, 1001, 1012, 1006, 1005)
        await events.content.read()  # the stream ends as a stream does, not in the middle of a chunk
    assert "Traceback" not in process.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal_ends_it_at_once(
    serve: Serve, http: aiohttp.ClientSession, start_server: Callable[..., Server], number: int
) -> None:
    """Whoever asks twice does not want to wait."""
    store = start_server()
    process = serve(store.url)
    url = url_of(process)
    store.pause()
    slow = asyncio.create_task(asked(http, url, LOG))
    try:
        await asyncio.sleep(0.3)
        process.process.send_signal(number)
        await asyncio.sleep(0.3)
        assert process.is_running, "there was an answer to wait for"
        process.process.send_signal(number)
        assert await ended(process) in (-number, 130)
        with pytest.raises(aiohttp.ClientError):  # the answer was not waited for
            await slow
    finally:
        store.resume()
        await asyncio.gather(slow, return_exceptions=True)


# -- the start ------------------------------------------------------------------------------------------------------


def test_server_that_tells_nobody_says_so_once(serve: Serve, valkey: Server, data_dir: Path) -> None:
    """Whoever set the webhook in the wrong place finds out at the start, and not at the first outage."""
    (data_dir / "web").mkdir()
    (data_dir / "web" / ".env").write_text("DISCORD_WEBHOOK_URLS=x\n")
    process = serve(valkey.url)
    says = "No alerts are sent from here: PERSEUS_DISCORD_WEBHOOK_URLS is not set (.env has it without PERSEUS_)"
    wait_until(lambda: says in process.output, description="it says so")
    assert process.output.count(says) == 1
    with_one = serve(valkey.url, DISCORD_WEBHOOK_URLS=f"http://127.0.0.1:9/api/webhooks/1/{'t' * 60}")
    url_of(with_one)
    assert with_one.stop_signal() == 0
    assert "No alerts" not in with_one.output


async def test_first_question_is_answered(serve: Serve, http: aiohttp.ClientSession, valkey: Server) -> None:
    """After an upgrade every dashboard asks at once, and would show an outage if it were told of one."""
    assert (await asked(http, url_of(serve(valkey.url)), INSTANCES))[0] == 200


async def test_use_of_a_token_is_written_while_it_runs(
    serve: Serve, http: aiohttp.ClientSession, valkey: Server
) -> None:
    """It is written behind the requests, by a task that somebody has to start."""
    process = serve(valkey.url)
    await asked(http, url_of(process), INSTANCES)

    def used() -> bool:
        told = run_perseus("admins", "tokens", "--json", data_dir=process.data_dir)
        return json.loads(told.stdout)["tokens"][0]["lastUsedAt"] is not None

    wait_until(used, description="the use is written")


def test_taken_port_that_was_asked_for_is_78(serve: Serve, valkey: Server) -> None:
    """Another port than the one told would be looked for in vain."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        process = serve(valkey.url, "--port", str(other.getsockname()[1]))
        assert process.wait_exit() == 78
    assert "Another program has it" in process.output


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--host", "no-such-host.invalid"), "cannot be resolved"),
        (("--host", "192.0.2.1"), "not one of this machine's"),
    ],
)
def test_address_that_cannot_be_is_78(serve: Serve, valkey: Server, args: tuple[str, ...], says: str) -> None:
    """Trying again will not help, so a supervisor must not."""
    process = serve(valkey.url, *args)
    assert process.wait_exit() == 78
    assert says in process.output
    assert "Traceback" not in process.output


def test_public_address_without_anybody_who_can_sign_in_is_78(valkey: Server, data_dir: Path) -> None:
    """An open door is worse than none."""
    done = run_perseus("serve", "--host", "0.0.0.0", "--port", "0", data_dir=data_dir, store_url=valkey.url)
    assert done.returncode == 78
    assert "perseus admins add" in done.stderr


async def test_store_that_is_away_at_the_start_is_waited_for(
    serve: Serve, http: aiohttp.ClientSession, start_server: Callable[..., Server]
) -> None:
    """Both restart after a power cut, in any order; who looks meanwhile is told the truth."""
    store = start_server()
    store.stop()
    process = serve(store.url)
    url = url_of(process)
    status, answer = await asked(http, url, INSTANCES)
    assert status == 503
    assert answer["error"]["data"]["code"] == "SERVICE_UNAVAILABLE"
    assert answer["error"]["data"]["observedAt"] is None
    async with http.get(f"{url}/healthz") as alive:
        assert alive.status == 200
    assert await ready(http, url) == (503, {"store": "unavailable", "database": "ok"})
    store.start()

    async def is_back() -> bool:
        return (await asked(http, url, INSTANCES))[0] == 200

    async def is_ready() -> bool:
        return (await ready(http, url))[0] == 200

    await wait_until_async(is_back, description="it answers", timeout=15)
    await wait_until_async(is_ready, description="it says so")


def test_database_that_is_away_at_the_start_is_2(valkey: Server, data_dir: Path) -> None:
    """Nobody can be let in without it: it ends, and whoever supervises it starts it again until it is there."""
    nobody = f"postgresql://perseus@127.0.0.1:{free_port()}/perseus"
    done = run_perseus(
        "serve", "--port", "0", data_dir=data_dir, store_url=valkey.url, settings={"DATABASE_URL": nobody}
    )
    assert done.returncode == 2
    assert "perseus doctor" in done.stderr
    assert "Traceback" not in done.stderr
