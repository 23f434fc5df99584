"""Connections to the exchange: opened again with growing, random pauses, and replaced before the exchange ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

from perseus.clock import Clock
from perseus.errors import ConnectionEnding, PerseusError, VenueRefused, VenueUnavailable
from perseus.exchanges.adapter import Adapter, CandleUpdate, Feed, Subscribed, Unreadable
from perseus.instances.backoff import doubled, spread
from perseus.model import Symbol, Trade

LONGEST_PAUSE_S = 60.0
UNREADABLE_EVERY_S = 60.0  # each such frame differs, so the log cannot tell that they are one fault
LIVED_S = 60.0  # a connection that lasted this long was a good one: the next failure starts counting anew
YIELD_EVERY = 256  # messages: a flood in the buffer must not keep the rest of the program waiting

OnMessage = Callable[[CandleUpdate | Trade], None]
OnError = Callable[[PerseusError], Awaitable[None]]


class Link:
    """One connection's worth of symbols and the state of their connection. Units: boot-time seconds."""

    def __init__(self, symbols: Sequence[Symbol]) -> None:
        self.symbols = tuple(symbols)
        self.subscriptions = 0  # rises with every subscription that followed an interruption
        self.is_up = False
        self.why_down = "connecting"
        self.reported = ""
        self.up_since = 0.0
        self.last_message = float("-inf")  # also set when it comes up
        self.has_heard = False  # a market message since it came up
        self.unreadable_since: float | None = None  # the first frame we could not read since the last market message
        self.last_unreadable = 0.0
        self.feed: Feed | None = None
        self.reading: asyncio.Task[PerseusError] | None = None

    def is_garbled(self, now: float, *, for_s: float) -> bool:
        """Whether for so long nothing but frames we cannot read has come."""
        since = self.unreadable_since
        return since is not None and self.last_unreadable - since > for_s and now - self.last_unreadable < for_s

    def drop(self, why: str) -> None:
        """Give this connection up and open another."""
        self.why_down = why
        self.is_up = False
        if self.reading is not None:
            self.reading.cancel()


class Links:
    """Every connection of one exchange. `run` keeps them open for ever."""

    def __init__(
        self, adapter: Adapter, symbols: Sequence[Symbol], *, clock: Clock, on_message: OnMessage, on_error: OnError
    ) -> None:
        size = adapter.symbols_per_connection
        self.links = [Link(symbols[at : at + size]) for at in range(0, len(symbols), size)]
        self._adapter = adapter
        self._clock = clock
        self._on_message = on_message
        self._on_error = on_error
        self._unreadable = 0  # frames not reported yet
        self._unreadable_at = float("-inf")  # when last reported

    async def run(self) -> None:
        """Keep every link connected. Raises: VenueRefused."""
        async with asyncio.TaskGroup() as tasks:
            for number, link in enumerate(self.links):
                tasks.create_task(self._keep_connected(link), name=f"{self._adapter.name} link {number}")

    async def _keep_connected(self, link: Link) -> NoReturn:
        attempt = 0
        while True:
            began = self._clock.now()
            error = await self._live(link)
            link.is_up, link.feed = False, None
            if link.reported != str(error):  # once an episode: an exchange that is away fails every attempt alike
                link.reported = str(error)
                await self._on_error(error)
            link.why_down = str(error).rstrip(".")
            if isinstance(error, VenueRefused):
                raise error
            attempt = 0 if self._clock.now() - began >= LIVED_S else attempt + 1
            if not (isinstance(error, ConnectionEnding) and attempt <= 1):
                await self._clock.sleep(spread(doubled(1.0, attempt, most_s=LONGEST_PAUSE_S)))

    async def _live(self, link: Link) -> PerseusError:
        """Hold the link up, replacing its connection before the exchange would; return why it is down."""
        async with asyncio.TaskGroup() as tasks:
            link.reading = tasks.create_task(self._read(link, asyncio.Event()))
            while True:
                await asyncio.wait({link.reading}, timeout=self._lifetime())
                if not link.reading.done() and await self._replaced(link, link.reading, tasks):
                    continue
                if link.reading.done():
                    break
        return VenueUnavailable(link.why_down) if link.reading.cancelled() else link.reading.result()

    async def _replaced(self, link: Link, reading: asyncio.Task[PerseusError], tasks: asyncio.TaskGroup) -> bool:
        """Open a second connection and close the first once both deliver: no message is missed."""
        ready = asyncio.Event()
        successor = tasks.create_task(self._read(link, ready))
        waiting = tasks.create_task(ready.wait())
        await asyncio.wait({reading, successor, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if successor.done() or reading.done():
            successor.cancel()
            return False  # the old one goes on while it can; its end leads to an ordinary reconnect
        reading.cancel()
        link.reading = successor
        return True

    async def _read(self, link: Link, ready: asyncio.Event) -> PerseusError:
        """Hand on one connection's messages; return why it ended."""
        try:
            async with self._adapter.connect(link.symbols) as feed:
                await self._hand_on(link, feed, ready)
        except (VenueUnavailable, VenueRefused) as error:
            return error
        return VenueUnavailable(f"The connection to {self._adapter.name} ended without a reason.")

    async def _hand_on(self, link: Link, feed: Feed, ready: asyncio.Event) -> None:
        count = 0
        async for message in feed:
            match message:
                case CandleUpdate() | Trade():
                    link.last_message = self._clock.now()
                    link.has_heard, link.unreadable_since = True, None
                    self._on_message(message)
                case Subscribed():
                    link.feed = feed
                    if not link.is_up:
                        link.is_up, link.has_heard, link.reported = True, False, ""
                        link.last_message = link.up_since = self._clock.now()
                        link.unreadable_since = None
                        link.subscriptions += 1
                    ready.set()
                case Unreadable():
                    await self._skip(link, message)
            count += 1
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _skip(self, link: Link, frame: Unreadable) -> None:
        """Report a frame we cannot read: the first at once, then one a minute with the number of those since."""
        now = link.last_unreadable = self._clock.now()
        link.unreadable_since = now if link.unreadable_since is None else link.unreadable_since
        self._unreadable += 1
        if now - self._unreadable_at < UNREADABLE_EVERY_S:
            return
        count, self._unreadable, self._unreadable_at = self._unreadable, 0, now
        what = "a frame that is" if count == 1 else f"{count} frames that are"
        await self._on_error(
            VenueUnavailable(
                f"{self._adapter.name} sent {what} not of its protocol, last: {frame.text!r} ({frame.reason}). "
                f"Such frames are skipped; the connection goes on."
            )
        )

    def _lifetime(self) -> float | None:
        """Spread over a twentieth, so that the connections of one address are not replaced at once."""
        lifetime = self._adapter.connection_lifetime_s
        return None if lifetime is None else lifetime - spread(lifetime / 20)
