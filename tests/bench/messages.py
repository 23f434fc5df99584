"""From frame to candle: what a message costs, one at a time, through the pipeline, and in a running instance."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import redis

from perseus import keys
from perseus.exchanges.adapter import CandleUpdate
from perseus.exchanges.binance_parse import parse_frame
from perseus.instances.ingest import CLOSED_TOGETHER_S, FLUSH_EVERY_S
from perseus.instances.instance import Instance
from perseus.instances.run import instance
from perseus.model import Timeframe, Trade
from perseus.settings import load_settings
from perseus.store.embedded import socket_path
from tests.bench.children import Child, module, perseus
from tests.bench.followers import PLAIN, PYTHON_BINANCE, handling_of
from tests.bench.measure import OURS, Effort, Measure, Section, by_subject, cost_of, interleaved
from tests.bench.recording import SYMBOLS, Recording, recorded
from tests.support.system import free_port, short_directory
from tests.support.waiting import wait_until

PEERS = (PLAIN, PYTHON_BINANCE)


def bench(effort: Effort) -> Section:
    """Single frames and the pipeline on a recording, then whole processes following the simulator live."""
    with short_directory() as directory:
        measures, mix = asyncio.run(_replayed(directory, effort=effort))
    measures.append(_live(effort))
    return Section(
        title="Messages",
        measures=measures,
        notes=(
            f"Recorded from the bundled simulator at run time, raw: {mix}.",
            "Through the pipeline: decoding, folding into six timeframes, candles written through the lease check. At "
            f"the live pace they are written every {FLUSH_EVERY_S:g} s of the market and when a minute closes, so most "
            "of the time goes into writing; in a flood they are written no more often than that by the clock, so it "
            "goes into the messages. The store's own processor time is not included.",
            "The peers only decode: `json.loads` and the same numbers as `Decimal`; python-binance's own handling of a "
            "frame, which leaves the numbers as text. They fold nothing and write nothing.",
            f"Following live: whole processes on the same {SYMBOLS} symbols of the same simulator at the same time, "
            "about 40 messages a second; ours with heartbeat, upkeep and writes, without the store's own share.",
        ),
    )


async def _replayed(directory: Path, *, effort: Effort) -> tuple[list[Measure], str]:
    settings = load_settings(
        environ={
            "PERSEUS_DATA_DIR": str(directory),
            "PERSEUS_PUBLIC_IP_URLS": "off",
            "PERSEUS_HEARTBEAT_INTERVAL": "1",
            "PERSEUS_LEASE_TTL": "4",
        },
        directory=directory,
    )
    async with (
        instance("binance", settings=settings) as me,
        recorded(me, market_seconds=effort.pick(75, 2)) as recording,
    ):
        rounds = effort.pick(7, 1)
        live = [await _through(me, recording, flood=False) for _ in range(rounds)]
        flood = [await _through(me, recording, flood=True) for _ in range(rounds)]
    single = _single(recording, rounds=effort.pick(9, 1))  # the lease is given back: this blocks the loop
    count = len(recording.frames)
    decoded = {peer: [count / s for s in single[peer]] for peer in PEERS}

    def rate(what: str, seconds: list[float]) -> Measure:
        samples = by_subject({OURS: [count / s for s in seconds]} | decoded)
        return Measure(what=what, unit="messages a CPU second", samples=samples, more_is_better=True)

    one = by_subject({subject: [s / count * 1e6 for s in seconds] for subject, seconds in single.items()})
    return [
        Measure(what="decoding one frame", unit="µs", samples=one),
        rate("decode, fold and write at the live pace", live),
        rate("decode, fold and write in a flood", flood),
    ], f"{recording.mix}; {_merged(recording)} of the trades are newer than the history they are merged into"


def _single(recording: Recording, *, rounds: int) -> dict[str, list[float]]:
    """Seconds of processor time for decoding every frame, by subject."""

    def decode(handle: Callable[[str], Any]) -> float:
        def all_frames() -> None:
            for frame in recording.frames:
                handle(frame)

        return cost_of(all_frames).cpu

    handlers: dict[str, Callable[[str], Any]] = {OURS: parse_frame}
    handlers |= {peer: handling_of(peer) for peer in PEERS}
    return interleaved({subject: partial(decode, handle) for subject, handle in handlers.items()}, rounds=rounds)


async def _through(me: Instance, recording: Recording, *, flood: bool) -> float:
    """Seconds of processor time for the whole recording, as `instances/ingest.py` takes it, from the warm state on."""
    followed = copy.deepcopy(recording.followed)
    now = me.clock.now()
    due_ms = 0.0
    gc.collect()
    began = time.process_time()
    flushed = began
    for frame in recording.frames:
        message = parse_frame(frame)
        me.saw_message()
        if isinstance(message, Trade):
            at_ms = message.time
            followed[message.symbol].see_trade(message, now=now)
        else:
            assert isinstance(message, CandleUpdate), f"a recorded frame could not be read: {message}"
            at_ms = message.sent_at
            if followed[message.symbol].see_candle(message, now=now) and not flood:
                due_ms = min(due_ms, at_ms + CLOSED_TOGETHER_S * 1000)
        if (time.process_time() - flushed >= FLUSH_EVERY_S) if flood else at_ms >= due_ms:
            await recording.writer.flush(followed.values())
            due_ms, flushed = at_ms + FLUSH_EVERY_S * 1000, time.process_time()
    await recording.writer.flush(followed.values())
    return time.process_time() - began


def _merged(recording: Recording) -> int:
    """How many trades of the recording continue the history: the others are older and cost almost nothing."""
    followed = copy.deepcopy(recording.followed)
    count = 0
    for message in map(parse_frame, recording.frames):
        if isinstance(message, Trade):
            one, minute = followed[message.symbol], Timeframe.M1.open_of(message.time)
            before = one.folder.minute(minute)
            one.see_trade(message, now=0.0)
            count += one.folder.minute(minute) is not before
        elif isinstance(message, CandleUpdate):
            followed[message.symbol].see_candle(message, now=0.0)
    assert count, "no trade of the recording continues the history: the pipeline was not measured"
    return count


def _live(effort: Effort) -> Measure:
    """Processor time per second of following, whole processes side by side."""
    port = free_port()
    url = f"127.0.0.1:{port}/binance"
    with short_directory() as directory, ExitStack() as ending:
        start = ending.enter_context
        start(Child(perseus("simulate", "--port", port), talks=False, directory=directory))
        settings = {
            "PERSEUS_EXCHANGE_BINANCE_REST_URL": f"http://{url}",
            "PERSEUS_EXCHANGE_BINANCE_WS_URL": f"ws://{url}",
        }
        command = perseus("run", "binance", "--symbols", SYMBOLS, "--data-dir", directory / "data")
        ours = start(Child(command, settings=settings, talks=False, directory=directory))
        ending.callback(ours.stop)
        wait_until(lambda: _symbols_of_active(directory / "data"), description="binance is active", timeout=60)
        streams = _streams(directory / "data")
        peers = {peer: start(Child(module("tests.bench.followers", peer, f"ws://{url}", *streams))) for peer in PEERS}
        for peer in peers.values():
            peer.answers(1)
        samples = _cpu_per_second({OURS: ours} | peers, seconds=effort.pick(4, 1), rounds=effort.pick(5, 1))
    return Measure(what="following live, one second", unit="ms CPU", samples=by_subject(samples))


def _cpu_per_second(children: dict[str, Child], *, seconds: int, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {subject: [] for subject in children}
    for _ in range(rounds):
        before = {subject: child.cpu for subject, child in children.items()}
        began = time.monotonic()
        time.sleep(seconds)  # the stretch that is measured, not a wait for something
        for subject, child in children.items():
            assert child.is_running, f"{subject} ended while it was measured"
            found[subject].append((child.cpu - before[subject]) / (time.monotonic() - began) * 1000)
    return found


def _symbols_of_active(data_dir: Path) -> int:
    """How many symbols the instance follows; 0 until it is active."""
    with redis.Redis(unix_socket_path=str(socket_path(data_dir))) as client:
        try:
            raw = client.get(keys.status(2))
        except redis.ConnectionError:
            return 0
    status = json.loads(raw) if raw else {}
    return int(status["symbolCount"]) if status.get("connectionState") == "active" else 0


def _streams(data_dir: Path) -> list[str]:
    """The streams it subscribed to, from the candles it keeps."""
    with redis.Redis(unix_socket_path=str(socket_path(data_dir))) as client:
        names = {key.decode().split(":")[-2] for key in client.scan_iter("*:candles:*:1m", count=1000)}
    natives = sorted(name.replace("-", "").lower() for name in names)
    return [f"{native}@{kind}" for native in natives for kind in ("kline_1m", "trade")]
