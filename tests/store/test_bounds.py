"""No call outlasts its timeout, whatever the network does, and a late answer is never taken for another's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from perseus.errors import StoreUnavailable
from perseus.store import Store, scripts
from tests.store.calls import LOG, STATUS, claim, claimed_epoch, json_at, renew
from tests.support.proxy import FaultProxy
from tests.support.servers import BINARIES, Server
from tests.support.waiting import wait_until_async

StartServer = Callable[..., Server]
Connect = Callable[..., Store]
BOTH = pytest.mark.parametrize("kind", sorted(BINARIES))
TIMEOUT_S = 0.3
# `Store` promises that its timeout bounds each call whole, and deadlines are reckoned from that. What breaks it takes
# seconds: a library's own timeouts, or its attempts one after the other.
GRACE_S = 1.5


@contextmanager
def bounded() -> Iterator[None]:
    """The body must fail as unavailable, within the timeout."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        yield
    assert time.monotonic() - began < TIMEOUT_S + GRACE_S


@pytest.fixture
def through(proxy: FaultProxy, connect: Connect) -> Store:
    """A connection through the faulty network."""
    return connect(proxy.url, timeout=TIMEOUT_S)


@BOTH
async def test_frozen_server_costs_one_timeout_and_its_late_answer_is_nobodys(
    start_server: StartServer, kind: str, connect: Connect
) -> None:
    """A client library's defaults blocked one call for 59 s, and reading a late reply would renew a lost lease."""
    server = start_server(kind)
    store = connect(server.url, timeout=TIMEOUT_S)
    await claimed_epoch(store)
    server.pause()
    for _ in range(3):
        with bounded():
            await store.time_ms()
    server.resume()
    assert await json_at(store, STATUS) is not None


@BOTH
async def test_connecting_to_a_frozen_server_is_bounded(start_server: StartServer, kind: str, connect: Connect) -> None:
    """The kernel accepts for it: the connection opens, and nothing ever answers AUTH."""
    server = start_server(kind, password="secret")
    server.pause()
    store = connect(server.url, timeout=TIMEOUT_S)
    with bounded():
        await store.time_ms()
    server.resume()
    assert await store.time_ms() > 0


@pytest.mark.parametrize("direction", ["requests", "replies"])
async def test_black_holed_connection_is_bounded(proxy: FaultProxy, through: Store, direction: str) -> None:
    """Half-open connections give no error at all."""
    await through.time_ms()
    getattr(proxy, direction).dropping = True
    for _ in range(2):
        with bounded():
            await through.time_ms()
    getattr(proxy, direction).dropping = False
    assert await through.time_ms() > 0


async def test_trickling_reply_is_bounded(proxy: FaultProxy, through: Store, store: Store) -> None:
    """A timeout per read never ends while bytes come: the call as a whole is what counts."""
    await store.append(LOG, {"text": "x" * 500}, min_id=None)
    proxy.replies.trickle = 0.05
    with bounded():
        await through.entries(LOG, count=10)
    proxy.replies.trickle = 0.0
    assert len(await through.entries(LOG, count=10)) == 1


async def test_trickling_request_is_bounded(proxy: FaultProxy, through: Store) -> None:
    """The same for what we send."""
    proxy.requests.trickle = 0.02
    with bounded():
        await claim(through)


async def test_lost_reply_of_a_claim_is_made_good_by_asking_again(
    server: Server, proxy: FaultProxy, through: Store
) -> None:
    """The server did it and we cannot know: the same claim again must find itself."""
    server.call("SCRIPT", "LOAD", scripts.CLAIM.text)
    proxy.lose_replies(1, to=b"EVALSHA")
    with bounded():
        await claim(through)
    assert proxy.lost_replies == 1
    before = await json_at(through, STATUS)
    assert before is not None
    assert await claimed_epoch(through) == before["epoch"]


async def test_delayed_older_write_does_not_land_after_a_newer_one(
    proxy: FaultProxy, through: Store, store: Store
) -> None:
    """A renewal stuck in the network must not turn `stopping` back into `active`."""
    await claimed_epoch(through)
    await renew(through, rev=2)
    proxy.hold_requests(1, containing=b'"rev": 3')
    with bounded():
        await renew(through, rev=3, connectionState="active")
    assert (await renew(through, rev=4, connectionState="stopping"))[0] == b"RENEWED"
    held = await store.get(STATUS)
    sent = _evalsha_calls(await store.info("commandstats"))
    proxy.release()
    await wait_until_async(lambda: _has_more_calls(store, sent), description="the held renewal has reached the server")
    assert await store.get(STATUS) == held


async def test_cancelled_call_leaves_no_answer_behind(proxy: FaultProxy, through: Store, store: Store) -> None:
    """Cancelling a scope mid-call is how work ends here; the next call must get its own answer."""
    await claimed_epoch(store)
    await through.time_ms()
    proxy.replies.holding = True
    call = asyncio.create_task(through.time_ms())
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    proxy.release()
    assert await through.get(STATUS) == await store.get(STATUS)


@BOTH
async def test_connection_cut_off_while_logging_in_is_not_used_again(
    start_server: StartServer, kind: str, connect: Connect
) -> None:
    """The late `+OK` of AUTH would be read as the answer to the next question, and so on for ever."""
    server = start_server(kind, password="secret")
    with FaultProxy(server.url) as proxy:
        through = connect(proxy.url, timeout=TIMEOUT_S)
        proxy.replies.holding = True
        with bounded():
            await through.get(STATUS)
        call = asyncio.create_task(through.get(STATUS))
        await wait_until_async(lambda: proxy.connections == 2, description="the second call has connected")
        proxy.release()
        assert await call is None
        assert await through.time_ms() > 0
        assert await through.get(STATUS) is None


async def test_waiting_for_entries_does_not_hold_up_other_calls(store: Store, server: Server) -> None:
    """A blocked read keeps its connection; renewals must not queue behind it."""
    waiting = asyncio.create_task(store.wait_entries({LOG: "0"}, block=30))
    await wait_until_async(lambda: b"cmd=xread" in server.call("CLIENT", "LIST"), description="the read blocks")
    await store.time_ms()
    assert not waiting.done()
    await store.append(LOG, {"n": "1"}, min_id=None)
    assert [entry.fields for entry in (await waiting)[LOG]] == [{"n": "1"}]


@BOTH
async def test_waiting_on_a_frozen_server_ends(start_server: StartServer, kind: str, connect: Connect) -> None:
    """The wait is bounded by its own length plus one timeout."""
    server = start_server(kind)
    store = connect(server.url, timeout=TIMEOUT_S)
    await store.wait_entries({LOG: "0"}, block=0.01)
    server.pause()
    with bounded():
        await store.wait_entries({LOG: "0"}, block=0.1)
    server.resume()


async def _has_more_calls(store: Store, than: int) -> bool:
    return _evalsha_calls(await store.info("commandstats")) > than


def _evalsha_calls(stats: dict[str, str]) -> int:
    return int(stats["cmdstat_evalsha"].split(",")[0].removeprefix("calls="))
