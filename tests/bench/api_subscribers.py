"""So many dashboards in one process: `python -m tests.bench.api_subscribers PORT COUNT`, the token in BENCH_TOKEN.

Says one line once each of them has the cards. Told a line of entry ids, it waits until each has been told of exactly
those, in that order, and says when the last of them was.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import httptools
import msgspec
import uvloop

_LONGEST_S = 15.0


class _Entry(msgspec.Struct):
    id: str


class _Change(msgspec.Struct):
    kind: str
    entry: _Entry | None = None


_decoder = msgspec.json.Decoder(_Change)


class _Dashboard(asyncio.Protocol):
    """One event stream."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self.has_cards = False
        self.told: list[tuple[str, float]] = []  # ids, and when

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls `on_body`."""
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        """Take the whole events in it."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            if event.lstrip().startswith(b"data: {"):
                self._take(event)
            elif b"serialized-error" in event:
                raise AssertionError(event)

    def _take(self, event: bytes) -> None:
        (data,) = (line[6:] for line in event.split(b"\n") if line.startswith(b"data: "))
        change = _decoder.decode(data)
        if change.entry is not None:
            self.told.append((change.entry.id, time.time()))
        self.has_cards = self.has_cards or change.kind == "instances"


async def _main() -> None:
    port, count = int(sys.argv[1]), int(sys.argv[2])
    request = (
        f"GET /trpc/network.onChange HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: text/event-stream\r\n"
        f"authorization: Bearer {os.environ['BENCH_TOKEN']}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    dashboards = []
    for _ in range(count):
        transport, dashboard = await loop.create_connection(_Dashboard, "127.0.0.1", port)
        transport.write(request)
        dashboards.append(dashboard)
    async with asyncio.timeout(_LONGEST_S):
        while not all(each.has_cards for each in dashboards):
            await asyncio.sleep(0.02)
    print(json.dumps({"ready": count}), flush=True)
    ids = (await loop.run_in_executor(None, sys.stdin.readline)).split()
    async with asyncio.timeout(_LONGEST_S):
        while not all(len(each.told) >= len(ids) for each in dashboards):
            await asyncio.sleep(0.02)
    for each in dashboards:
        assert [entry_id for entry_id, _ in each.told] == ids, f"told {each.told} instead of {ids}"
    last = [max(each.told[at][1] for each in dashboards) for at in range(len(ids))]
    waits_ms = [at * 1000 - int(entry_id.partition("-")[0]) for at, entry_id in zip(last, ids, strict=True)]
    print(json.dumps({"waitsMs": waits_ms}), flush=True)


if __name__ == "__main__":
    uvloop.run(_main())
