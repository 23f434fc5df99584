"""Wait for a fact, never for a time: what a test does instead of sleeping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


class NeverHappened(AssertionError):
    """What a test waited for did not come true in time."""


def wait_until(predicate: Callable[[], T], *, description: str, timeout: float = 10.0, every: float = 0.02) -> T:
    """Call `predicate` until it is true, and return what it said. It blocks: in async code use `wait_until_async`.

    Units: seconds. Raises: NeverHappened with the description and the last value; whatever the predicate raises.
    """
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= end:
            raise NeverHappened(_complaint(description, timeout, value))
        time.sleep(every)


@overload
async def wait_until_async(
    predicate: Callable[[], Awaitable[T]], *, description: str, timeout: float = ..., every: float = ...
) -> T: ...
@overload
async def wait_until_async(
    predicate: Callable[[], T], *, description: str, timeout: float = ..., every: float = ...
) -> T: ...
async def wait_until_async(
    predicate: Callable[[], Any], *, description: str, timeout: float = 10.0, every: float = 0.02
) -> Any:
    """Like `wait_until`, leaving the event loop free. The predicate may be a plain or an async function."""
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() >= end:
            raise NeverHappened(_complaint(description, timeout, value))
        await asyncio.sleep(every)


def _complaint(description: str, timeout: float, value: object) -> str:
    return f"waited {timeout:g} s until {description}; last value: {value!r}"
