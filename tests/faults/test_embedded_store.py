"""The embedded store belongs to whoever started it: it dies with its owner and comes back with the next process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import psutil

from perseus import keys
from perseus.model import exchange_named
from perseus.store import Store
from perseus.store.embedded import url
from tests.support.trials import FeedProcess, Trial

Repeat = Callable[..., Awaitable[None]]


def servers(trial: Trial) -> list[int]:
    """The embedded servers of this trial that run now: their title names their socket, whoever their parent is."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        title = " ".join(process.info["cmdline"] or ())
        if "valkey.sock" in title and str(trial.directory) in title and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


async def entries(trial: Trial, exchange: str) -> list[dict[str, str]]:
    """An exchange's log in the embedded store, oldest first."""
    store = Store(url(trial.directory / "host-a"))
    try:
        found = await store.entries(keys.log(exchange), count=1000)
    finally:
        await store.close()
    return [entry.fields for entry in reversed(found)]


async def is_active(trial: Trial, feed: FeedProcess, exchange: str, *, above: int = 0) -> dict[str, Any]:
    """Wait until the feed says in the embedded store that it is active, at an epoch above `above`; its payload."""
    store = Store(url(trial.directory / "host-a"))

    async def active() -> dict[str, Any] | None:
        assert feed.is_running, feed.output[-3000:]
        try:
            raw = await store.get(keys.status(exchange_named(exchange).id))
        except Exception:  # noqa: BLE001  the store is away: that is the point of the test
            return None
        status = msgspec.json.decode(raw) if raw else {}
        is_so = status.get("pid") == feed.pid and status["connectionState"] == "active" and status["epoch"] > above
        return dict(status) if is_so else None

    try:
        found = await trial.until(active, description=f"{exchange} is active", timeout=40)
    finally:
        await store.close()
    return dict(found)


async def owner_killed(trial: Trial) -> None:
    """kill -9 the owner of a store that another instance of the same data directory uses."""
    owner = trial.feed(exchange="binance", store_url="embedded")
    first = await is_active(trial, owner, "binance")
    (before,) = servers(trial)
    other = trial.feed(exchange="kraken", store_url="embedded")
    await is_active(trial, other, "kraken")
    await asyncio.sleep(1 + trial.pause_s())  # `appendfsync everysec`: what is older than a second is on disk
    owner.kill9()
    await trial.until(lambda: before not in servers(trial), description="its server is gone")
    await trial.until(lambda: len(servers(trial)) == 1, description="the other brings the store back")
    await is_active(trial, other, "kraken")
    heir = trial.feed(exchange="binance", store_url="embedded")
    await is_active(trial, heir, "binance", above=first["epoch"])
    log = await entries(trial, "binance")
    assert [entry["toState"] for entry in log[:3]] == ["starting", "warming", "active"], "the data is there again"
    assert [entry["epoch"] for entry in log if entry["event"] == "instance_lost"] == [str(first["epoch"])]
    assert not [entry for entry in await entries(trial, "kraken") if entry["event"] == "instance_lost"]
    await trial.terminate(heir)
    await trial.terminate(other)
    assert servers(trial) == []


async def test_killed_owner_leaves_no_orphan_and_the_data_to_the_next(repeat: Repeat) -> None:
    """An orphaned server would keep the data directory from everyone; a lost one would lose the network's memory."""
    await repeat(owner_killed, judged=False)


async def only_process_killed(trial: Trial) -> None:
    """kill -9 the only process of a data directory, and start it again."""
    first = trial.feed(store_url="embedded")
    before = await is_active(trial, first, "binance")
    await asyncio.sleep(1 + trial.pause_s())
    first.kill9()
    await trial.until(lambda: servers(trial) == [], description="no server is left")
    second = trial.feed(store_url="embedded")
    after = await is_active(trial, second, "binance", above=before["epoch"])
    assert after["epoch"] > before["epoch"]
    lost = [entry for entry in await entries(trial, "binance") if entry["event"] == "instance_lost"]
    assert [entry["epoch"] for entry in lost] == [str(before["epoch"])]
    await trial.terminate(second)
    assert servers(trial) == []


async def test_store_comes_back_with_its_data(repeat: Repeat) -> None:
    """The user starts the same command again, and nothing is forgotten."""
    await repeat(only_process_killed, judged=False)
