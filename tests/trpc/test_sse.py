"""Subscriptions as server-sent events: what comes, in which order, and how a client goes on after a break."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from perseus.web.trpc import Router, Server, subscription
from tests.support.waiting import wait_until_async
from tests.trpc.wire import JSON, all_events, events, get, inp, post, running

CONNECTED = ("connected", '{"reconnectAfterInactivityMs":3000}', None)
RETURN = ("return", "", None)


def told(seen: list[Any]) -> list[tuple[str, str, str | None]]:
    """Events as tuples."""
    return [(event.event, event.data, event.id) for event in seen]


async def test_tracked_values(url: str) -> None:
    """`connected` first, each value with its id, `return` last: without its data line a browser would come back."""
    seen = await all_events(url, "/test.ticks" + inp({"count": 2}))
    assert told(seen) == [CONNECTED, ("message", '{"n":1}', "1"), ("message", '{"n":2}', "2"), RETURN]
    raw = await get(url, "/test.ticks" + inp({"count": 0}))
    assert raw.body.endswith(b"event: return\ndata: \n\n")


async def test_headers(url: str) -> None:
    """No proxy may keep events back or change them."""
    answer = await get(url, "/test.ticks" + inp({"count": 0}), {"origin": "http://ui.example"})
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["vary"].startswith("trpc-accept, accept")
    assert answer.headers["access-control-allow-origin"] == "http://ui.example"


async def test_untracked_values_get_no_id(url: str) -> None:
    """A browser gives an event without one the last id, and the client would take it for tracked."""
    plain = told(await all_events(url, "/test.ticks" + inp({"count": 1, "mode": "plain"})))
    assert plain == [CONNECTED, ("message", '{"n":1}', None), RETURN]
    mixed = told(await all_events(url, "/test.ticks" + inp({"count": 2, "mode": "mixed"})))
    assert mixed[1:] == [
        ("message", '{"n":1}', "1"),
        ("message", '{"n":2}', ""),
        ("restore-id", "", "1"),
        RETURN,
    ]
    resumed = told(await all_events(url, "/test.ticks" + inp({"count": 1, "mode": "plain"}), {"last-event-id": "0"}))
    assert resumed[1:] == [("message", '{"n":1}', ""), ("restore-id", "", "0"), RETURN]


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/test.ticks" + inp({"count": 3}), {"last-event-id": "2"}),
        ("/test.ticks" + inp({"count": 3, "lastEventId": "0"}), {"last-event-id": "2"}),
        ("/test.ticks" + inp({"count": 3}) + "&lastEventId=2", {}),
        ("/test.ticks" + inp({"count": 3}) + "&Last-Event-Id=2", {}),
        ("/test.ticks" + inp({"count": 3, "lastEventId": "2"}), {}),
        ("/test.ticks" + inp({"count": 3, "lastEventId": "2"}), {"last-event-id": ""}),
    ],
)
async def test_resuming(url: str, target: str, headers: dict[str, str]) -> None:
    """A browser's own reconnect sends a header, the client's a new input; the header is the newer."""
    seen = await all_events(url, target, headers)
    assert [event.id for event in seen if event.event == "message"] == ["3"]


async def test_resuming_without_an_input(url: str) -> None:
    """An absent or null input becomes one with the id; any other is left to the procedure to judge."""
    for target in ("/demo.events", "/demo.events?input=null"):
        last = (await all_events(url, target, {"last-event-id": "no-id"}))[-1]
        assert last.json["message"] == "Unknown event id no-id"
    last = (await all_events(url, "/demo.events?input=7", {"last-event-id": "1"}))[-1]
    assert last.json["data"]["zodError"]["formErrors"]


async def test_post_with_a_body(url: str) -> None:
    """For clients that override the method."""
    answer = await post(url, "/test.ticks", {"count": 1})
    assert b'data: {"n":1}\nid: 1\n' in answer.body


async def test_events_between_connected_and_the_first_wait_are_not_lost(url: str) -> None:
    """A client that was told `connected` may change something and must see it."""
    async with events(url, "/demo.events" + inp({"exchangeId": 2})) as stream:
        assert (await anext(stream)).event == "connected"
        event_id = (await post(url, "/demo.mutate", {"exchangeId": 2, "command": "go"})).data["eventId"]
        first = await anext(stream)
        while first.event == "ping":
            first = await anext(stream)
        assert (first.id, first.json["command"]) == (event_id, "go")
    await post(url, "/demo.mutate", {"exchangeId": 2, "command": "while away"})
    async with events(url, "/demo.events", {"last-event-id": event_id}) as stream:
        assert (await anext(stream)).event == "connected"
        assert (await anext(stream)).json["command"] == "while away"


async def test_leaving_ends_the_subscription(url: str) -> None:
    """Its generator is closed, and with it what it listens to."""

    async def live() -> int:
        return int((await get(url, "/test.liveSubscribers")).data)

    await wait_until_async(lambda: _is_zero(live), description="no subscriber is left")
    async with events(url, "/demo.events") as stream:
        await anext(stream)
        assert await live() == 1
    await wait_until_async(lambda: _is_zero(live), description="the subscriber is gone")


async def _is_zero(count: Any) -> bool:
    return bool(await count() == 0)


async def test_a_quiet_stream_is_pinged(url: str) -> None:
    """More often than clients wait before they take it for dead; the data line makes a browser see it."""
    async with events(url, "/demo.events") as stream:
        assert [((await anext(stream)).event) for _ in range(2)] == ["connected", "ping"]


async def test_failing_later(url: str) -> None:
    """The values that came are kept, the error is the last event, and `return` does not follow."""
    seen = await all_events(url, "/test.ticks" + inp({"count": 3, "failAt": 2}))
    assert [event.event for event in seen] == ["connected", "message", "serialized-error"]
    assert seen[-1].json["data"] == {"code": "CONFLICT", "httpStatus": 409, "path": "test.ticks"}


@pytest.mark.parametrize(
    ("target", "headers", "code"),
    [
        ("/demo.events", {}, "UNAUTHORIZED"),
        ("/demo.events", {"authorization": "Bearer reject-me"}, "UNAUTHORIZED"),
        ("/test.ticks" + inp({"count": "x"}), {}, "BAD_REQUEST"),
        ("/test.ticks?input={nope", {}, "BAD_REQUEST"),
        ("/test.ticks", {}, "BAD_REQUEST"),
    ],
)
async def test_refusals_are_events(guarded_url: str, target: str, headers: dict[str, str], code: str) -> None:
    """An EventSource shows the body of no other answer, so the client would not know why."""
    seen = await all_events(guarded_url, target, headers)
    assert [event.event for event in seen] == ["connected", "serialized-error"]
    assert seen[-1].json["data"]["code"] == code
    assert seen[-1].json["data"]["path"] == target[1:].partition("?")[0]


async def test_a_wrong_method_is_an_event_too(url: str) -> None:
    """The path is that of a subscription, so the answer is a stream."""
    answer = await get(url, "/test.ticks", JSON, method="PUT")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    assert b"METHOD_NOT_SUPPORTED" in answer.body


async def test_faults_of_the_request_are_plain(url: str) -> None:
    """What was wrong before there was a procedure."""
    assert (await get(url, "/test.nope", {"accept": "text/event-stream"})).status == 404
    assert (await get(url, "/test.ticks?connectionParams=x")).status == 400


async def test_connection_params(guarded_url: str) -> None:
    """How a browser sends a token: an EventSource has no headers."""
    params = "?connectionParams=%7B%22token%22%3A%22open-sesame%22%7D"
    async with events(guarded_url, "/demo.events" + params) as stream:
        assert (await anext(stream)).event == "connected"
        assert (await anext(stream)).event == "ping"


async def _count(context: Any) -> AsyncIterator[int]:
    yield 1


async def _no_context(_: Any) -> None:
    return None


async def test_an_id_cannot_break_the_stream() -> None:
    """Resuming from an id with line breaks must not write events of the client's choice."""
    with running(Server(Router({"count": subscription(_count)}), context=_no_context)) as url:
        seen = await all_events(url, "/count?lastEventId=a%0Aevent:%20return%0Adata:%20")
        assert [event.event for event in seen] == ["connected", "message", "return"]
        seen = await all_events(url, "/count?lastEventId=a%20b")
        assert [(event.event, event.id) for event in seen[1:3]] == [("message", ""), ("restore-id", "a b")]
