"""What uvicorn has to say, in our log: when it first says it, and then once a minute how often it was said again.

Anybody can provoke most of it with a few bytes, so it must not fill a disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

EVERY_S = 60.0
_Place = tuple[str, int]  # in uvicorn's code: there are only so many, whatever the words are made of
_log = structlog.get_logger()


@contextmanager
def logged() -> Iterator[None]:
    """Log uvicorn's warnings and errors while the block runs, on the running event loop."""
    uvicorn, remarks = logging.getLogger("uvicorn.error"), _Remarks(asyncio.get_running_loop())
    uvicorn.addHandler(remarks)
    try:
        yield
    finally:
        uvicorn.removeHandler(remarks)
        remarks.close()


class _Remarks(logging.Handler):
    """Says each remark at once if it is new, else with the others when its minute is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(logging.WARNING)
        self._loop = loop
        self._repeated: dict[_Place, int] = {}
        self._due: dict[_Place, asyncio.TimerHandle] = {}

    def emit(self, record: logging.LogRecord) -> None:
        place = record.pathname, record.lineno
        if place in self._repeated:
            self._repeated[place] += 1
            return
        _log.log(record.levelno, "web_server_remark", says=record.getMessage().strip(), exc_info=record.exc_info)
        self._wait(place, record.levelno, record.getMessage().strip())

    def close(self) -> None:
        for timer in self._due.values():
            timer.cancel()
        super().close()

    def _wait(self, place: _Place, level: int, says: str) -> None:
        self._repeated[place] = 0
        self._due[place] = self._loop.call_later(EVERY_S, self._say_again, place, level, says)

    def _say_again(self, place: _Place, level: int, says: str) -> None:
        times = self._repeated.pop(place)
        del self._due[place]
        if times:
            _log.log(level, "web_server_remark", says=says, times=times)
            self._wait(place, level, says)
