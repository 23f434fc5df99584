"""Connections that come back, and connections replaced before the exchange ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from perseus.clock import SystemClock
from perseus.errors import PerseusError, VenueRefused, VenueUnavailable
from perseus.exchanges import open_adapter
from perseus.exchanges.adapter import Adapter, CandleUpdate
from perseus.instances.links import LONGEST_PAUSE_S, Links
from perseus.model import Symbol, Trade
from perseus.simulator.server import Simulator
from tests.support.clocks import ManualClock
from tests.support.system import free_port
from tests.support.venue import adapter_of, move_socket, running_simulator, strike
from tests.support.waiting import wait_until_async


class Heard:
    """What links delivered."""

    def __init__(self) -> None:
        self.trade_ids: list[int] = []
        self.errors: list[PerseusError] = []

    def take(self, message: CandleUpdate | Trade) -> None:
        """Keep a trade's id."""
        if isinstance(message, Trade):
            self.trade_ids.append(message.id)

    async def fail(self, error: PerseusError) -> None:
        """Keep an error."""
        self.errors.append(error)

    @property
    def lost(self) -> int:
        """Trades missing between the first and the last heard."""
        return max(self.trade_ids) - min(self.trade_ids) + 1 - len(set(self.trade_ids))


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulator on the host's time."""
    async with running_simulator() as running:
        yield running


@asynccontextmanager
async def linked(
    simulator: Simulator, heard: Heard, *, prepare: Callable[[Adapter], None] = lambda _: None
) -> AsyncIterator[Links]:
    """Links to BTC-USDT for the block."""
    async with adapter_of(simulator) as adapter:
        symbols = await adapter.symbols(("BTC-USDT",))
        prepare(adapter)
        links = Links(adapter, symbols, clock=SystemClock(), on_message=heard.take, on_error=heard.fail)
        running = asyncio.create_task(links.run())
        try:
            yield links
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError, BaseExceptionGroup):
                await running


async def test_a_connection_is_replaced_without_losing_a_trade(simulator: Simulator) -> None:
    """The exchange cuts every connection after a day; the next one is open before the old one is given up."""
    heard = Heard()

    def live_briefly(adapter: Adapter) -> None:
        adapter.connection_lifetime_s = 1.0

    async with linked(simulator, heard, prepare=live_briefly) as links:
        [link] = links.links
        await wait_until_async(lambda: link.is_up, description="it is up")
        feeds = []
        for number in (1, 2):
            feeds.append(link.feed)
            await wait_until_async(lambda: link.feed not in feeds, description=f"replacement {number} is in use")
        await wait_until_async(lambda: len(heard.trade_ids) > 10, description="trades have come")
        assert link.is_up
        assert link.subscriptions == 1
        assert heard.lost == 0
        assert heard.errors == []


async def test_it_comes_back_after_a_reset_and_says_that_there_was_an_interruption(simulator: Simulator) -> None:
    """Who follows must know that messages are missing."""
    heard = Heard()
    async with linked(simulator, heard) as links:
        [link] = links.links
        await wait_until_async(lambda: link.has_heard, description="the first message has come")
        await strike(simulator, "reset")
        await wait_until_async(lambda: link.subscriptions == 2, description="it is subscribed again")
        await wait_until_async(lambda: link.has_heard, description="messages come again")
        assert "was reset" in str(heard.errors[0])


async def test_an_exchange_that_stays_away_is_reported_once_an_episode(simulator: Simulator) -> None:
    """Every attempt fails alike; the log must not fill with it."""
    heard = Heard()
    async with linked(simulator, heard) as links:
        [link] = links.links
        await wait_until_async(lambda: link.is_up, description="it is up")
        await strike(simulator, "refuse", count=3)
        await strike(simulator, "reset")
        await wait_until_async(lambda: link.subscriptions == 2, description="it is subscribed again", timeout=40)
        texts = [str(error) for error in heard.errors]
        assert len(texts) == len(set(texts)) == 2


async def test_a_location_that_is_refused_is_not_tried_again(simulator: Simulator) -> None:
    """Hammering an exchange that has said never leads to a ban."""
    heard = Heard()
    urls = {"rest_url": f"{simulator.url}/binance", "ws_url": f"{simulator.ws_url}/nowhere"}
    async with open_adapter("binance", clock=SystemClock(), **urls) as adapter:
        symbols = await adapter.symbols(("BTC-USDT",))
        links = Links(adapter, symbols, clock=SystemClock(), on_message=heard.take, on_error=heard.fail)
        with pytest.raises(BaseExceptionGroup) as refused:
            await links.run()
        assert refused.group_contains(VenueRefused)
        assert "HTTP 404" in str(heard.errors[0])
        assert len(heard.errors) == 1


async def test_an_outage_of_days_does_not_end_the_attempts() -> None:
    """The pause doubles with each of them: by the thousandth it must still be a number."""
    heard, clock = Heard(), ManualClock()
    url = f"http://127.0.0.1:{free_port()}"
    symbol = Symbol(name="BTC-USDT", native="BTCUSDT", base="BTC", quote="USDT")
    async with open_adapter("binance", clock=SystemClock(), rest_url=url, ws_url=url) as adapter:
        links = Links(adapter, [symbol], clock=clock, on_message=heard.take, on_error=heard.fail)
        running = asyncio.create_task(links.run())
        await wait_until_async(
            lambda: running.done() or len(clock.slept) > 1100, description="it has tried 1100 times", timeout=60
        )
        assert not running.done()
        assert max(clock.slept) <= LONGEST_PAUSE_S
        running.cancel()
        with suppress(asyncio.CancelledError, BaseExceptionGroup):
            await running


@asynccontextmanager
async def mute_server() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The URL of a server that accepts connections and answers nothing, and whether one has come."""
    has_come = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        has_come.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", has_come


async def test_a_connection_that_dies_while_its_successor_is_awaited_is_down_at_once(simulator: Simulator) -> None:
    """The successor may take a quarter of a minute to fail: nobody may be told meanwhile that the data flows."""
    heard = Heard()

    def live_briefly(adapter: Adapter) -> None:
        adapter.connection_lifetime_s = 2.0
        adapters.append(adapter)

    adapters: list[Adapter] = []
    async with mute_server() as (url, has_come), linked(simulator, heard, prepare=live_briefly) as links:
        [link] = links.links
        await wait_until_async(lambda: link.is_up, description="it is up")
        move_socket(adapters[0], to=url)
        await wait_until_async(has_come.is_set, description="the successor is awaited")
        await strike(simulator, "reset")
        await wait_until_async(lambda: not link.is_up, description="it is down")


async def test_a_url_that_has_worked_is_not_called_wrong_later(simulator: Simulator) -> None:
    """A load balancer that answers 404 for a minute must not end the instance for good."""
    async with adapter_of(simulator) as adapter:
        symbols = await adapter.symbols(("BTC-USDT",))
        async with adapter.connect(symbols):
            pass
        move_socket(adapter, to=f"{simulator.ws_url}/nowhere")
        with pytest.raises(VenueUnavailable, match="HTTP 404"):
            async with adapter.connect(symbols):
                raise AssertionError("it was opened")
