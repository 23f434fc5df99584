"""Requests that are ended from outside: by whoever revokes an identity, by a server that stops, or by both."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from perseus.web.stays import Stay


async def _for_ever(_scope: Scope, _receive: Receive, _send: Send) -> None:
    await asyncio.get_running_loop().create_future()


async def _nothing() -> None:
    """No message comes, and none is taken."""


def _served(stay: Stay) -> asyncio.Task[None]:
    return asyncio.create_task(stay.serving(_for_ever, {}, _nothing, _nothing))


async def test_ended_stay_is_told_from_a_cancelled_request() -> None:
    """The guard answers the one with who is out, and leaves the other to whoever cancels."""
    ended, cancelled = Stay(), Stay()
    first, second = _served(ended), _served(cancelled)
    await asyncio.sleep(0)
    ended.end()
    ended.end()  # as two looks at the database in a row may
    second.cancel()
    with pytest.raises(TimeoutError):
        await first
    assert first.cancelling() == 0
    with pytest.raises(asyncio.CancelledError):
        await second
    assert (ended.was_ended, cancelled.was_ended) == (True, False)


async def test_server_that_stops_meanwhile_has_its_way() -> None:
    """A request of somebody who is out must not outlive the server."""
    stay = Stay()
    task = _served(stay)
    await asyncio.sleep(0)
    stay.end()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_whoever_waits_for_the_end_is_told_and_then_nothing_is_ended() -> None:
    """A task may serve something else by then."""
    stay, over = Stay(), list[Stay]()
    stay.when_over = over.append

    async def at_once(_scope: Scope, _receive: Receive, _send: Send) -> None:
        pass

    await stay.serving(at_once, {}, _nothing, _nothing)
    stay.end()
    await asyncio.sleep(0)  # a cancellation would arrive here
    assert over == [stay]
    assert not stay.was_ended
