"""Answers that many ask for at once are read once, are of now, and nobody waits for a reader that left."""

from __future__ import annotations

import asyncio
import gc

import pytest

from perseus.web.shared import SHARED_FOR_S, Shared
from tests.support.clocks import ManualClock


class Source:
    """What is read: a number that counts the readings. While `gate` is closed, readings wait."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.gate = asyncio.Event()
        self.gate.set()
        self.readings = 0
        self.fault: Exception | None = None
        self.shared = Shared(self._read, clock=self.clock)

    async def _read(self, asked: str) -> bytes:
        self.readings += 1
        said = f"{asked}{self.readings}".encode()
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return said

    def asking(self, asked: str = "a") -> asyncio.Task[bytes]:
        """Somebody who asks."""
        return asyncio.create_task(self.shared.get(asked))


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_many_who_ask_at_once_share_one_reading() -> None:
    """A thousand pages poll every few seconds."""
    source = Source()
    source.gate.clear()
    asking = [source.asking() for _ in range(100)] + [source.asking("b")]
    await _turns()
    source.gate.set()
    assert await asyncio.gather(*asking) == [b"a1"] * 100 + [b"b2"]
    source.clock.advance(SHARED_FOR_S)
    assert await source.shared.get("a") == b"a1"
    source.clock.advance(0.01)
    assert await source.shared.get("a") == b"a3"


async def test_failure_is_everyones_who_waited_and_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    """The next one tries again: a store that is back is seen at once."""
    source = Source()
    source.gate.clear()
    source.fault = ValueError("away")
    asking = [source.asking() for _ in range(3)]
    await _turns()
    source.gate.set()
    assert [str(each) for each in await asyncio.gather(*asking, return_exceptions=True)] == ["away"] * 3
    assert source.readings == 1
    with pytest.raises(ValueError, match="away"):
        await source.shared.get("a")
    gc.collect()
    assert caplog.text == ""  # one that nobody else waited for is no "exception was never retrieved"
    source.fault = None
    assert await source.shared.get("a") == b"a3"


async def test_reader_that_leaves_takes_nobody_along() -> None:
    """The first of a hundred pages is closed while the database is slow."""
    source = Source()
    source.gate.clear()
    first, second = source.asking(), source.asking()
    await _turns()
    first.cancel()
    await _turns()
    source.gate.set()
    assert await second == b"a2"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_who_asks_after_a_change_sees_it() -> None:
    """Also where a reading began before it and ends after it."""
    source = Source()
    assert await source.shared.get("a") == b"a1"
    source.shared.forget()
    source.gate.clear()
    before = source.asking()
    await _turns()
    source.shared.forget()
    after = source.asking()
    await _turns()
    source.gate.set()
    assert (await before, await after) == (b"a2", b"a3")
    assert await source.shared.get("a") == b"a3"


async def test_answers_kept_are_few() -> None:
    """Whoever asks for a million different pages fills no memory."""
    source = Source()
    for n in range(1000):
        await source.shared.get(str(n))
    assert await source.shared.get("999") == b"9991000"
    assert await source.shared.get("0") == b"01001"
    assert len(source.shared._answers) <= 32
