"""Values of a subscription, from the procedure's iterator to whoever sends them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog

from perseus.web.trpc.calls import discard
from perseus.web.trpc.values import Tracked

_UNFIT_ID: Final = re.compile(r"[\0\r\n]")
_log = structlog.get_logger()


async def pump(
    iterator: AsyncIterator[Any],
    *,
    opened: Callable[[], Coroutine[Any, Any, None]],
    emit: Callable[[Any], Awaitable[None]],
) -> None:
    """Tell the client that it is connected once the iterator first waits, then pass on value by value, and close it.

    By then a generator listens for what it sends, so no event falls between. It runs in the calling task throughout.
    """
    opening = asyncio.create_task(opened(), name="tell that it is open")
    try:
        async for value in iterator:
            await opening
            await emit(value)
        await opening
    except asyncio.CancelledError:
        opening.cancel()
        raise
    except Exception:
        await opening  # a client hears that it was connected before it hears that it failed
        raise
    finally:
        await _close(iterator)


async def _close(iterator: AsyncIterator[Any]) -> None:
    try:
        await discard(iterator)
    except Exception:  # noqa: BLE001 - the client has been told how it ended
        _log.exception("subscription_close_failed")


def is_fit_id(event_id: str) -> bool:
    """Whether clients can keep an id and send it back."""
    return bool(event_id) and not _UNFIT_ID.search(event_id)


def checked_id(value: Tracked[Any]) -> str:
    """The id of a tracked value. Raises: ValueError if no client could resume from it."""
    if not is_fit_id(value.id):
        raise ValueError(f"The id {value.id!r} of a tracked value is empty or has a NUL, CR or LF")
    return value.id
