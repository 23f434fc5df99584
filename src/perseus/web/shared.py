"""Answers many ask for at once: read once for everyone who asks for the same within a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from perseus.clock import Clock

SHARED_FOR_S = 1.0
_KEPT = 32  # answers; beyond that the oldest goes, and is read again

Asked = TypeVar("Asked", bound=Hashable)


class _Answer(NamedTuple):
    begun_at: float
    encoded: bytes


class _Reading(NamedTuple):
    """What is being read: since when, and what comes of it; None if its reader left."""

    begun_at: float
    answer: asyncio.Future[bytes | None]


class Shared(Generic[Asked]):
    """Answers in JSON, by what is asked for. Not shared between event loops."""

    def __init__(self, read: Callable[[Asked], Awaitable[bytes]], *, clock: Clock) -> None:
        self._read, self._clock = read, clock
        self._answers: dict[Asked, _Answer] = {}
        self._readings: dict[Asked, _Reading] = {}

    async def get(self, asked: Asked) -> bytes:
        """The answer, begun to be read at most SHARED_FOR_S before this call. Raises: what reading raises."""
        oldest = self._clock.now() - SHARED_FOR_S
        while True:
            answer = self._answers.get(asked)
            if answer is not None and answer.begun_at >= oldest:
                return answer.encoded
            reading = self._readings.get(asked)
            if reading is None:
                return await self._read_alone(asked)
            encoded = await asyncio.shield(reading.answer)
            if encoded is not None and reading.begun_at >= oldest:
                return encoded

    def forget(self) -> None:
        """What is true has changed: whoever asks from here on gets nothing that was begun to be read before."""
        self._answers.clear()
        self._readings.clear()

    async def _read_alone(self, asked: Asked) -> bytes:
        reading = _Reading(self._clock.now(), asyncio.get_running_loop().create_future())
        self._readings[asked] = reading
        try:
            encoded = await self._read(asked)
        except Exception as error:
            reading.answer.set_exception(error)
            reading.answer.exception()  # nobody may be waiting
            raise
        else:
            if self._readings.get(asked) is reading:
                self._keep(asked, _Answer(reading.begun_at, encoded))
            reading.answer.set_result(encoded)
            return encoded
        finally:
            if self._readings.get(asked) is reading:
                del self._readings[asked]
            if not reading.answer.done():
                reading.answer.set_result(None)

    def _keep(self, asked: Asked, answer: _Answer) -> None:
        self._answers.pop(asked, None)
        while len(self._answers) >= _KEPT:
            del self._answers[next(iter(self._answers))]
        self._answers[asked] = answer
