"""Pages shared among clients: one reading for all who ask for the same, and no answer that hides a failure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from perseus import keys
from perseus.errors import BadInput, NotCurrent, UnknownExchange
from perseus.network import shared_pages
from perseus.network.feed import Wanted
from perseus.network.shared_pages import SHARED_FOR_S, PageAsked
from perseus.store import Store
from tests.network.seeing import seeing
from tests.support.clocks import JumpingClock
from tests.support.proxy import FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until_async


async def append(store: Store, event: str) -> None:
    """One entry of binance."""
    await store.append(keys.log("binance"), {"event": event}, min_id=None)


def events(page: bytes) -> list[str]:
    """What happened, newest first."""
    return [entry["event"] for entry in json.loads(page)["entries"]]


async def test_page_is_a_second_old_at_most(store: Store) -> None:
    """Shared, but never for so long that a poller would miss what happened."""
    clock = JumpingClock()
    async with seeing(store, clock=clock) as seen:
        assert events(await seen.pages.page(PageAsked())) == []
        await append(store, "a")
        clock.jump(SHARED_FOR_S)
        assert events(await seen.pages.page(PageAsked())) == ["a"]


async def test_reader_that_leaves_lets_the_others_have_their_page(
    proxy: FaultProxy, connect: Callable[..., Store]
) -> None:
    """The client whose request happens to do the reading closes its page in the middle of it."""
    async with seeing(connect(proxy.url)) as seen:
        await seen.cards()
        await append(connect(proxy.url), "a")
        proxy.replies.delay = 0.1
        asking = [asyncio.create_task(seen.pages.page(PageAsked())) for _ in range(3)]
        await asyncio.sleep(0)
        asking[0].cancel()
        answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [events(answer) for answer in answers[1:] if isinstance(answer, bytes)] == [["a"], ["a"]]


async def test_clients_of_a_slow_store_share_a_reading(proxy: FaultProxy, connect: Callable[..., Store]) -> None:
    """A reading that took longer than it is kept for is good enough for all who waited for it: else they queue up."""
    clock = JumpingClock()
    async with seeing(connect(proxy.url), every_s=60.0, clock=clock) as seen:  # only pages read logs
        await seen.cards()
        await append(connect(proxy.url), "a")
        proxy.hold_requests(containing=b"XREVRANGE")
        asking = [asyncio.create_task(seen.pages.page(PageAsked())) for _ in range(10)]
        await wait_until_async(lambda: proxy.held_requests == 1, description="the reading waits for the store")
        clock.jump(2 * SHARED_FOR_S)
        proxy.release()
        answers = await asyncio.gather(*asking)
    assert [events(answer) for answer in answers] == [["a"]] * 10
    assert all(answer is answers[0] for answer in answers), "it was read more than once"


async def test_failure_reaches_everyone_and_is_not_kept(proxy: FaultProxy, connect: Callable[..., Store]) -> None:
    """All who waited are told, with when the network was last seen; who asks later tries anew."""
    async with seeing(connect(proxy.url)) as seen:
        await seen.cards()
        proxy.refuse()
        proxy.reset()
        asking = [seen.pages.page(PageAsked(count=n)) for n in (1, 1, 2)]
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(answer, NotCurrent) and answer.observed_at for answer in answers), answers
        proxy.accept()

        async def is_back() -> bool:
            try:
                return events(await seen.pages.page(PageAsked(count=1))) == []
            except NotCurrent:
                return False

        await wait_until_async(is_back, description="it is read again")


async def test_what_is_kept_is_bounded(store: Store, valkey: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks for something else each time must not fill the memory."""
    monkeypatch.setattr(shared_pages, "KEPT_BYTES", 2000)
    await append(store, "a" * 400)
    async with seeing(store) as seen:
        for count in range(1, 40):
            await seen.pages.page(PageAsked(count=count))
        assert await seen.pages.page(PageAsked()) is await seen.pages.page(PageAsked())
        assert len(seen.pages._pages) < 8


async def test_wrong_asking_is_refused_without_reading(proxy: FaultProxy, connect: Callable[..., Store]) -> None:
    """It is the client's mistake also when the store is away."""
    async with seeing(connect(proxy.url)) as seen:
        with pytest.raises(BadInput):
            await seen.pages.page(PageAsked(cursor="x"))
        with pytest.raises(UnknownExchange):
            await seen.pages.page(PageAsked(exchange_name="x"))


async def test_searches_take_turns(proxy: FaultProxy, connect: Callable[..., Store]) -> None:
    """Twenty different ones at once must not add up to one long pause for everybody else; a plain page passes by."""
    async with seeing(connect(proxy.url), every_s=60.0) as seen:  # only pages read logs
        await seen.cards()
        await append(connect(proxy.url), "a")
        proxy.hold_requests(containing=b"XREVRANGE")
        words = ["a", "b", "a", "c"]
        searches = [asyncio.create_task(seen.pages.page(PageAsked(wanted=Wanted(text=word)))) for word in words]
        await wait_until_async(lambda: proxy.held_requests == 1, description="the first one waits for the store")
        assert events(await seen.pages.page(PageAsked())) == ["a"]
        assert not any(search.done() for search in searches)
        proxy.release()
        assert [events(page) for page in await asyncio.gather(*searches)] == [["a"], [], ["a"], []]
