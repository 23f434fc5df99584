"""The peer: what a team writes in an afternoon. `python -m tests.bench.alert_polling ORDER` polls and posts for ever.

Every five seconds it reads all status keys with one MGET, and posts the names of those that are gone since the last
look to a webhook, waiting where Discord asks for it. It remembers nothing, edits nothing, and knows no reason: a
release looks like a death, a process that dies tells nobody, and its own end loses what it had not posted.
"""

from __future__ import annotations

import asyncio
import sys
import textwrap

import aiohttp
import msgspec
import redis.asyncio

from tests.bench.children import module

PEER = "polling and posting"
EVERY_S = 5.0
LONGEST = 2000  # characters of a message


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to watch, and where to tell. `names` by status key."""

    store_url: str
    webhook_url: str
    names: dict[str, str]
    every_s: float = EVERY_S

    @property
    def command(self) -> list[str]:
        """The process that does this."""
        return module("tests.bench.alert_polling", msgspec.json.encode(self).decode())


async def watch(order: Order) -> None:
    """Poll and post for ever."""
    store = redis.asyncio.Redis.from_url(order.store_url)
    up: set[str] = set()
    async with aiohttp.ClientSession(headers={"User-Agent": "DiscordBot (https://polling.example, 1)"}) as session:
        while True:
            values = await store.mget(list(order.names))
            now = {name for name, value in zip(order.names.values(), values, strict=True) if value is not None}
            if down := sorted(up - now):
                for text in textwrap.wrap(f"Offline: {', '.join(down)}", LONGEST, break_long_words=False):
                    await _post(session, order.webhook_url, text)
            up = now
            await asyncio.sleep(order.every_s)


async def _post(session: aiohttp.ClientSession, url: str, text: str) -> None:
    while True:
        async with session.post(url, json={"content": text}) as answer:
            if answer.status != 429:
                answer.raise_for_status()
                return
            wait_s = (await answer.json())["retry_after"]
        await asyncio.sleep(wait_s)


if __name__ == "__main__":
    asyncio.run(watch(msgspec.json.decode(sys.argv[1], type=Order)))
