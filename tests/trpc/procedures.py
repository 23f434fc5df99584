"""The procedures of the test application: no product meaning, one for each thing a client can meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from perseus.web.trpc import (
    Code,
    Deferred,
    Encoded,
    Procedure,
    Returned,
    Router,
    Server,
    Tracked,
    TRPCError,
    mutation,
    query,
    subscription,
)


class Card(Struct, rename="camel"):
    exchange_id: int
    exchange_name: str
    status: str


class Details(Card):
    latency_ms: float | None
    tags: list[str]


class Row(Struct, rename="camel"):
    id: str
    exchange_name: str
    level: str
    message: str
    at: str


class Page(Struct, rename="camel"):
    items: list[Row]
    next_cursor: str | None


class ById(Struct, rename="camel"):
    exchange_id: int


class Paging(Struct, rename="camel"):
    exchange_name: str | None = None
    count: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: str | None = None


class Command(Struct, rename="camel"):
    exchange_id: int
    command: Annotated[str, Meta(min_length=1)]


class Accepted(Struct, rename="camel"):
    accepted: bool
    event_id: str


class Event(Struct, rename="camel"):
    type: Literal["command"]
    exchange_id: int
    command: str


class EventsWanted(Struct, rename="camel"):
    exchange_id: int | None = None
    last_event_id: str | None = None


class Thrown(Struct):
    code: Code
    message: str | None = None


class Pause(Struct):
    ms: float


class Key(Struct):
    key: str


class KeyedPause(Struct):
    key: str
    ms: float


class Failures(Struct):
    key: str
    failures: int


class Counting(Struct, rename="camel"):
    count: int
    fail_at: int | None = None


class Deferring(Struct):
    fails: bool = False


class Ticking(Struct, rename="camel"):
    count: int
    interval_ms: float = 10
    mode: Literal["tracked", "plain", "mixed"] = "tracked"
    fail_at: int | None = None
    fail_code: Code | Literal["CRASH"] = "CONFLICT"
    last_event_id: str | None = None


class Tick(Struct):
    n: int


@dataclass
class Context:
    """What `demo.*` is judged by."""

    token: str | None


DETAILS = (
    Details(1, "alpha", "running", 12.5, ["spot", "perp"]),
    Details(2, "bèta-取引所", "stopped", None, []),
)
CARDS = [Card(one.exchange_id, one.exchange_name, one.status) for one in DETAILS]
ROWS = [
    Row(str(250 - n), DETAILS[n % 2].exchange_name, "info", f"row {250 - n}", at.isoformat())
    for n in range(250)
    for at in [datetime(2023, 11, 14, tzinfo=UTC) - timedelta(seconds=n)]
]
CODES = frozenset(get_args(Code))


@dataclass
class Procedures:
    """The functions and what they remember; each application has its own."""

    events: list[Event] = field(default_factory=list)
    listeners: set[asyncio.Event] = field(default_factory=set)
    aborted: set[str] = field(default_factory=set)
    attempts: dict[str, int] = field(default_factory=dict)
    server: Server | None = None

    async def list_cards(self, context: Context) -> Encoded:
        return Encoded(msgspec.json.encode(CARDS))

    async def by_id(self, context: Context, input: ById) -> Details:
        return _details(input.exchange_id)

    async def paged(self, context: Context, input: Paging) -> Page:
        rows = [row for row in ROWS if not input.exchange_name or row.exchange_name == input.exchange_name]
        start = next((at for at, row in enumerate(rows) if row.id == input.cursor), None) if input.cursor else 0
        if start is None:
            raise TRPCError("BAD_REQUEST", f"Unknown cursor {input.cursor}")
        end = start + input.count
        return Page(rows[start:end], rows[end].id if end < len(rows) else None)

    async def mutate(self, context: Context, input: Command) -> Accepted:
        _details(input.exchange_id)
        self.events.append(Event("command", input.exchange_id, input.command))
        for listener in self.listeners:
            listener.set()
        return Accepted(True, str(len(self.events)))

    async def on_events(self, context: Context, input: EventsWanted = EventsWanted()) -> AsyncIterator[Tracked[Event]]:  # noqa: B008 - never changed
        news = asyncio.Event()
        self.listeners.add(news)
        try:
            sent = _resumed(input.last_event_id, otherwise=len(self.events))
            while True:
                news.clear()
                while sent < len(self.events):
                    sent += 1
                    event = self.events[sent - 1]
                    if input.exchange_id in (None, event.exchange_id):
                        yield Tracked(str(sent), event)
                await news.wait()
        finally:
            self.listeners.discard(news)

    async def throw_error(self, context: Context, input: Thrown) -> None:
        raise TRPCError(input.code, input.message)

    async def crash(self, context: Context) -> None:
        raise RuntimeError("plain exception")

    async def echo(self, context: Context, input: Any = msgspec.UNSET) -> Any:
        return input

    async def nothing(self, context: Context) -> None:
        pass

    async def nan(self, context: Context) -> dict[str, float]:
        return {"nan": float("nan"), "inf": float("inf"), "ninf": float("-inf")}

    async def slow(self, context: Context, input: Pause) -> Pause:
        await asyncio.sleep(input.ms / 1000)
        return input

    async def abortable(self, context: Context, input: KeyedPause) -> KeyedPause:
        try:
            await asyncio.sleep(input.ms / 1000)
        except asyncio.CancelledError:
            self.aborted.add(input.key)
            raise
        return input

    async def was_aborted(self, context: Context, input: Key) -> bool:
        return input.key in self.aborted

    async def flaky(self, context: Context, input: Failures) -> dict[str, int]:
        attempts = self.attempts[input.key] = self.attempts.get(input.key, 0) + 1
        if attempts <= input.failures:
            raise TRPCError("SERVICE_UNAVAILABLE", f"attempt {attempts}")
        return {"attempts": attempts}

    async def stream(self, context: Context, input: Counting) -> AsyncIterator[int | Returned[str]]:
        for n in range(input.count):
            if n == input.fail_at:
                raise TRPCError("CONFLICT", f"stream broke at {n}")
            yield n
            await asyncio.sleep(0.015)
        yield Returned("done")

    async def deferred(self, context: Context, input: Deferring = Deferring()) -> Deferred:  # noqa: B008 - never changed
        return Deferred({"now": 1, "later": _failing_later() if input.fails else asyncio.sleep(0.03, 2)})

    async def whoami(self, context: Context) -> dict[str, str | None]:
        return {"token": context.token}

    async def ticks(self, context: Context, input: Ticking) -> AsyncIterator[Tick | Tracked[Tick]]:
        for n in range(_resumed(input.last_event_id, otherwise=0) + 1, input.count + 1):
            if n == input.fail_at and not input.last_event_id:
                if input.fail_code == "CRASH":
                    raise RuntimeError("plain exception")
                raise TRPCError(input.fail_code, f"ticks broke at {n}")
            is_tracked = input.mode == "tracked" or (input.mode == "mixed" and n % 2 == 1)
            yield Tracked(str(n), Tick(n)) if is_tracked else Tick(n)
            await asyncio.sleep(input.interval_ms / 1000)

    async def live_subscribers(self, context: Context) -> int:
        return len(self.listeners)

    async def reconnect_all(self, context: Context) -> None:
        if self.server is not None:
            self.server.reconnect_all()

    def router(self) -> Router:
        """Every procedure by its path."""
        demo: dict[str, Procedure] = {
            "list": query(self.list_cards, output=list[Card]),
            "byId": query(self.by_id),
            "paged": query(self.paged),
            "mutate": mutation(self.mutate),
            "events": subscription(self.on_events),
        }
        test: dict[str, Procedure] = {
            "throwError": query(self.throw_error),
            "crash": query(self.crash),
            "echo": query(self.echo),
            "echoMutation": mutation(self.echo),
            "nothing": mutation(self.nothing),
            "nan": query(self.nan),
            "slow": query(self.slow),
            "abortable": query(self.abortable),
            "wasAborted": query(self.was_aborted),
            "flaky": query(self.flaky),
            "stream": query(self.stream),
            "deferred": query(self.deferred),
            "whoami": query(self.whoami),
            "ticks": subscription(self.ticks),
            "liveSubscribers": query(self.live_subscribers),
            "reconnectAll": mutation(self.reconnect_all),
        }
        return Router({f"demo.{name}": one for name, one in demo.items()} | {f"test.{n}": p for n, p in test.items()})


async def _failing_later() -> None:
    await asyncio.sleep(0.03)
    raise TRPCError("CONFLICT", "broke later")


def _details(exchange_id: int) -> Details:
    for one in DETAILS:
        if one.exchange_id == exchange_id:
            return one
    raise TRPCError("NOT_FOUND", f"No exchange {exchange_id}")


def _resumed(last_event_id: str | None, *, otherwise: int) -> int:
    if not last_event_id:
        return otherwise
    if not last_event_id.isdecimal() or len(last_event_id) > 15:
        raise TRPCError("BAD_REQUEST", f"Unknown event id {last_event_id}")
    return int(last_event_id)
