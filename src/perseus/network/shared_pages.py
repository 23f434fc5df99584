"""Pages of the activity feed for any number of clients: who asks for the same within a second shares one reading."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import nullcontext
from typing import NamedTuple

import msgspec

from perseus.clock import Clock
from perseus.errors import BadUsage, PerseusError, UnreadableKey
from perseus.network.feed import EVERYTHING, Wanted, encode_page, parse_cursor
from perseus.network.feed_pages import read_page
from perseus.network.snapshot import Snapshot
from perseus.store import Store

SHARED_FOR_S = 1.0
KEPT_BYTES = 32_000_000


class PageAsked(msgspec.Struct, frozen=True, kw_only=True):
    """One page as a client asks for it; `exchange_name` None: of all exchanges."""

    exchange_name: str | None = None
    count: int = 50
    cursor: str | None = None
    wanted: Wanted = EVERYTHING


class _Page(NamedTuple):
    read_at: float
    encoded: bytes


class _Reading:
    """A page that is being read: since when, and what comes of it; None if its reader left."""

    def __init__(self) -> None:
        self.started = float("inf")  # it waits for its turn
        self.page: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()


class SharedPages:
    """Reads pages, each once for everyone who asks for it. Not shared between event loops."""

    def __init__(self, store: Store, *, snapshot: Snapshot, clock: Clock) -> None:
        self._store = store
        self._snapshot = snapshot
        self._clock = clock
        self._pages: OrderedDict[PageAsked, _Page] = OrderedDict()
        self._kept_bytes = 0
        self._reading: dict[PageAsked, _Reading] = {}
        self._searching = asyncio.Lock()  # pages of a filter read much to show little: one after the other

    async def page(self, asked: PageAsked) -> bytes:
        """The page as JSON (`FeedPageView`), begun to be read at most SHARED_FOR_S before this call.

        Raises: BadInput for a cursor that is none of ours; UnknownExchange; NotCurrent if the store cannot be read;
            UnreadableKey if no log asked for can be.
        """
        if asked.cursor is not None:
            parse_cursor(asked.cursor)
        oldest = self._clock.now() - SHARED_FOR_S
        while (page := self._kept(asked, oldest=oldest)) is None:
            reading = self._reading.get(asked)
            if reading is None:
                return await self._read(asked)
            encoded = await asyncio.shield(reading.page)  # raises what that one raises
            # from a slow store it may be too old to be kept, and yet all who came meanwhile share it
            if encoded is not None and reading.started >= oldest:
                return encoded
        return page.encoded

    def _kept(self, asked: PageAsked, *, oldest: float) -> _Page | None:
        while self._pages:
            first, page = next(iter(self._pages.items()))
            if self._kept_bytes <= KEPT_BYTES and self._clock.now() - page.read_at <= SHARED_FOR_S:
                break
            self._drop(first)
        kept = self._pages.get(asked)
        return kept if kept is not None and kept.read_at >= oldest else None

    def _drop(self, asked: PageAsked) -> None:
        page = self._pages.pop(asked, None)
        self._kept_bytes -= 0 if page is None else len(page.encoded)

    async def _read(self, asked: PageAsked) -> bytes:
        self._reading[asked] = reading = _Reading()
        try:
            async with nullcontext() if asked.wanted == EVERYTHING else self._searching:
                reading.started = self._clock.now()
                encoded = await self._read_alone(asked)
        except Exception as error:
            reading.page.set_exception(error)
            reading.page.exception()  # nobody may be waiting
            raise
        else:
            self._drop(asked)
            self._pages[asked] = _Page(reading.started, encoded)
            self._kept_bytes += len(encoded)
            reading.page.set_result(encoded)
            return encoded
        finally:
            del self._reading[asked]
            if not reading.page.done():
                reading.page.set_result(None)

    async def _read_alone(self, asked: PageAsked) -> bytes:
        self._snapshot.require_readable()
        exchanges = self._snapshot.exchanges
        exchanges.require_known()
        chosen = exchanges() if asked.exchange_name is None else (exchanges.named(asked.exchange_name),)
        try:
            page = await read_page(self._store, chosen, count=asked.count, cursor=asked.cursor, wanted=asked.wanted)
        except (BadUsage, UnreadableKey):
            raise
        except PerseusError as error:
            raise self._snapshot.not_current(error) from error
        return encode_page(page)
