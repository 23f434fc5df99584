"""One save of a notifier that remembers as much as it ever does: how big, and how long. In this process, real store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from perseus import alerting
from perseus.clock import SystemClock
from perseus.model import Exchange
from perseus.notify import queue, rules, words
from perseus.notify.keeping import Kept
from perseus.notify.queue import KEPT_MESSAGES, Send
from perseus.notify.state import ChannelState, LogEvent, Memory, State
from perseus.notify.turn import AT_ONCE
from perseus.store import Store
from tests.bench.api_records import network_of
from tests.bench.measure import OURS, Effort, Measure, by_subject, cost_of
from tests.support.servers import Server

EXCHANGES = 1000
NOW_MS = 1_800_000_000_000
APART_MS = 20_000  # two deaths: more than a burst


def remembering(store: Server, effort: Effort) -> Iterator[Measure]:
    """Keep the same memory again and again; then what else is done in one go, while nothing else is."""
    memory = full_memory()
    size = len(msgspec.json.encode(Kept(saved_ms=0, memory=memory)))
    encoding = [
        cost_of(lambda: msgspec.json.encode(Kept(saved_ms=0, memory=memory))).cpu * 1000
        for _ in range(effort.pick(20, 2))
    ]
    whole = asyncio.run(_saves(store.url, memory, count=effort.pick(100, 2)))
    what = f"memory of {KEPT_MESSAGES} messages, {EXCHANGES} exchanges"
    yield Measure(what=f"{what}: its size", unit="KiB", samples=by_subject({OURS: [size / 1024]}))
    yield Measure(what=f"{what}: encoded", unit="ms CPU", samples=by_subject({OURS: encoding}))
    yield Measure(what=f"{what}: encoded and kept in the store", unit="ms", samples=by_subject({OURS: whole}))
    for name, work in _in_one_go(memory).items():
        spent = [cost_of(work).cpu * 1000 for _ in range(effort.pick(10, 1))]
        yield Measure(what=f"in one go: {name}", unit="ms CPU", samples=by_subject({OURS: spent}))


def _in_one_go(memory: Memory) -> dict[str, Callable[[], object]]:
    """What keeps the event loop from everything else."""
    exchanges, now_ms = network_of(EXCHANGES), NOW_MS + 10 * APART_MS * KEPT_MESSAGES
    up = [_event(each, NOW_MS - APART_MS, "1", "active") for each in exchanges]
    down = [_event(each, now_ms, "2", "") for each in exchanges]

    def died(count: int) -> State:
        state = memory.state
        for event in down[:count]:
            state = rules.take(state, event, of=EXCHANGES, now_ms=now_ms)
        return state

    send = Send(died(EXCHANGES).messages[-1], None, (), is_late=False)
    say = partial(words.payload, send, now_ms=now_ms, mention_role="", public_url="")
    return {
        f"{AT_ONCE} deaths taken": partial(died, AT_ONCE),
        "a tick that closes messages": partial(rules.tick, memory.state, now_ms=now_ms),
        f"the words for {EXCHANGES} deaths": say,
        f"{EXCHANGES} entries of a first start": partial(rules.begin, up, of=EXCHANGES, now_ms=now_ms),
    }


def full_memory() -> Memory:
    """Outages of many exchanges, one after the other, each told with its end, in one channel."""
    exchanges, now_ms = network_of(EXCHANGES), NOW_MS
    state = State(of=EXCHANGES)
    for exchange in exchanges:
        state = rules.take(state, _event(exchange, now_ms - APART_MS, "1", "active"), of=EXCHANGES, now_ms=now_ms)
    for exchange in exchanges[: KEPT_MESSAGES // 2]:
        for epoch, to_state in (("1", ""), ("2", "active")):
            now_ms += APART_MS
            state = rules.take(state, _event(exchange, now_ms, epoch, to_state), of=EXCHANGES, now_ms=now_ms)
    channel = ChannelState(name="ops", fingerprint="0" * 16, since_ms=0)
    state = rules.recorded(state, {each.id: each.version for each in state.incidents.values()})
    for number, message in enumerate(state.messages[-KEPT_MESSAGES:]):
        send = Send(message, None, (), is_late=False)
        channel = queue.settle(channel, send, message_id=f"{10**18 + number}", at_ms=now_ms)
    positions = {each.name: f"{now_ms}-0" for each in exchanges}
    kept = msgspec.structs.replace(state, messages=state.messages[-KEPT_MESSAGES:])
    return Memory(positions=positions, state=kept, channels={"ops": channel})


def _event(exchange: Exchange, ms: int, epoch: str, to_state: str) -> LogEvent:
    """A transition to this state; a death for none."""
    fields = {
        "event": "state_transition" if to_state else "instance_lost",
        "fromState": "warming",
        "toState": to_state,
        "instanceId": f"{exchange.id:032x}",
        "epoch": epoch,
        "hostname": "fra-2",
        "ip": "203.0.113.7",
        "adminEmail": "ada@example.org",
    }
    return LogEvent(exchange.id, exchange.name, exchange.display_name, f"{ms}-0", fields)


async def _saves(url: str, memory: Memory, *, count: int) -> list[float]:
    """Units: ms."""
    store, clock = Store(url), SystemClock()
    try:
        tenure = await alerting.claim(
            store, clock=clock, instance_id="bench", hostname="bench", version="1", channels=1
        )
        assert tenure is not None
        took = []
        for _ in range(count):
            await tenure.renew()
            began = time.perf_counter()
            await tenure.remember({"memory": msgspec.json.encode(Kept(saved_ms=0, memory=memory))})
            took.append((time.perf_counter() - began) * 1000)
        return took
    finally:
        await store.close()
