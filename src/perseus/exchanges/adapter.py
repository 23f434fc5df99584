"""What every exchange's adapter offers: symbols, history, and connections that deliver messages.

An adapter knows one venue's protocol and limits and nothing of leases, stores or folding. Ours is the reconnecting,
merging and gap filling (`instances/ingest.py`), the same for all venues; theirs is one connection's life.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import msgspec

from perseus.model import Candle, Symbol, Timeframe, Trade


class NativeFetch(NamedTuple):
    """History asked of the exchange itself: the newest `depth` candles of `timeframe`."""

    timeframe: Timeframe
    depth: int


class HistoryPlan(NamedTuple):
    """How six timeframes come from few requests: what is fetched, and what is folded from what.

    `folded` maps a timeframe to the fetched one it is made of.
    """

    native: tuple[NativeFetch, ...]
    folded: dict[Timeframe, Timeframe]


class Subscribed(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange has acknowledged every subscription of this connection."""

    symbols: tuple[str, ...]  # native


class CandleUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A 1m candle as the stream has it now. `last_trade_id`: the newest trade it counts, None if the venue does not
    say. `sent_at`: Unix ms by the exchange.
    """

    symbol: str  # native
    candle: Candle
    last_trade_id: int | None
    sent_at: int


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A frame that is not of the documented protocol. The connection goes on."""

    text: str  # cut to what an error message can carry
    reason: str


Message = Subscribed | CandleUpdate | Trade | Unreadable


class Feed(Protocol):
    """One open connection. Iterating ends only by an exception: VenueUnavailable says why the connection is gone."""

    def __aiter__(self) -> AsyncIterator[Message]:
        """The messages in the order of arrival, those before the acknowledgement included."""
        ...

    async def resubscribe(self, symbols: Sequence[Symbol]) -> None:
        """Subscribe again to what has gone silent on a connection that is otherwise alive."""
        ...


class Adapter(Protocol):
    """One venue. Used inside `async with`; not shared between event loops."""

    name: str
    plan: HistoryPlan
    symbols_per_connection: int
    connection_lifetime_s: float | None
    """After this long a replacement is opened and the old connection closed; None where the venue sets no limit."""

    @property
    def doubts_time(self) -> bool:
        """Whether the stream contradicts `now_ms`: `synchronize` settles it."""
        ...

    async def __aenter__(self) -> Self:
        """Open the HTTP session; nothing is sent yet."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the HTTP session and whatever is still open."""
        ...

    async def synchronize(self) -> None:
        """Ask the exchange for its time. Raises: VenueUnavailable, VenueRefused."""
        ...

    def now_ms(self) -> int:
        """The exchange's time now, Unix ms, carried by our boot-time clock: never the host's wall clock."""
        ...

    async def symbols(self, wanted: int | tuple[str, ...]) -> list[Symbol]:
        """The symbols to serve: the `wanted` most traded of one quote currency, or those named.

        Raises: InvalidSymbols naming those the exchange does not trade; VenueUnavailable; VenueRefused.
        """
        ...

    async def trading(self) -> frozenset[str]:
        """The native names of all symbols that trade now. Raises: VenueUnavailable; VenueRefused."""
        ...

    async def history(self, symbol: Symbol, timeframe: Timeframe, *, start: int, end: int) -> list[Candle]:
        """The candles with open times from `start` to `end`, both included, ascending; the newest may be forming.

        Units: Unix ms. Asks in as many requests as the venue needs and waits for its rate limit. A time without
        trades is missing where the venue leaves it out.
        Raises: InvalidSymbols if the venue does not know the symbol (any more); VenueUnavailable; VenueRefused.
        """
        ...

    def connect(self, symbols: Sequence[Symbol]) -> AbstractAsyncContextManager[Feed]:
        """Open a connection and subscribe to 1m candles and trades of at most `symbols_per_connection` symbols.

        Raises: VenueUnavailable; VenueRefused.
        """
        ...
