"""Samples what the status key holds, all the time, on a connection of its own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from perseus import keys
from perseus.clock import SystemClock
from tests.invariants import Sample

SAMPLE_EVERY_S = 0.02


class Recorder:
    """Keeps a sample of an exchange's status key whenever it differs from the one before."""

    def __init__(self, url: str, exchange_id: int) -> None:
        self._clock = SystemClock()
        self._client = _client(url)
        self._read = ("MGET", keys.status(exchange_id), keys.last(exchange_id))  # a wrong type reads as nothing
        self.samples: list[Sample] = []
        self.released: set[int] = set()
        self.latest: Sample | None = None
        self.is_answered = False

    async def run(self) -> None:
        """Sample for ever; a store that does not answer is tried again."""
        before: object = ()
        while True:
            sent = self._clock.now()
            try:
                async with asyncio.timeout(1):
                    raw, last = await self._client.execute_command(*self._read)  # type: ignore[no-untyped-call]
            except (redis.RedisError, OSError):
                self.is_answered = False
            else:
                self.is_answered = True
                self.latest = Sample(sent, self._clock.now(), _decoded(raw))
                if raw != before:
                    before = raw
                    self.samples.append(self.latest)
                    self._note_release(_decoded(last) or {})
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def follow(self, url: str) -> None:
        """Look at another server from now on: the one before is not the primary any more."""
        before, self._client = self._client, _client(url)
        await before.aclose()

    async def close(self) -> None:
        """Give the connection back."""
        await self._client.aclose()

    def _note_release(self, last: dict[str, Any]) -> None:
        if last.get("releasedAt"):
            self.released.add(last["epoch"])


def _client(url: str) -> Redis:
    # no timeout of the library's: with one, this version swallowed 226 of 300 cancellations
    client = Redis.from_url(
        url, socket_timeout=None, socket_connect_timeout=None, retry=Retry(NoBackoff(), 0), protocol=2
    )
    client.response_callbacks.clear()
    return client


def _decoded(raw: bytes | None) -> dict[str, Any] | None:
    if raw is None:
        return None
    try:
        value = json.loads(raw)
    except ValueError:
        return {"unreadable": raw.decode(errors="replace")}
    return value if isinstance(value, dict) else {"unreadable": value}
