"""Which exchanges there are: the database's, read again every few seconds, so that a change needs no restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from perseus.clock import Clock
from perseus.errors import NotCurrent, PerseusError, UnknownExchange
from perseus.model import SEEDED_EXCHANGES, Exchange

Load = Callable[[], Awaitable[Sequence[Exchange]]]

LOAD_EVERY_S = 3.0
LOAD_WITHIN_S = 5.0

log = structlog.get_logger()


class ExchangeList:
    """The exchanges by id, those switched off included; their logs are still read.

    `load` reads them from the database; without it they are the seeded ones. While the database is away the list stays
    as it was, and the log says so.
    """

    def __init__(self, load: Load | None = None, *, clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._loaded = asyncio.Event()
        self._fault = ""
        self._exchanges: tuple[Exchange, ...] = ()
        if load is None:
            self._take(SEEDED_EXCHANGES)

    def __call__(self) -> tuple[Exchange, ...]:
        """The exchanges as last read; empty before the first time."""
        return self._exchanges

    @property
    def is_known(self) -> bool:
        """Whether they have ever been read."""
        return self._loaded.is_set()

    def with_id(self, exchange_id: int) -> Exchange:
        """The exchange of this id. Raises: UnknownExchange, naming those that exist; NotCurrent before the first."""
        return self._one(lambda exchange: exchange.id == exchange_id, str(exchange_id), field="exchangeId")

    def named(self, name: str) -> Exchange:
        """The exchange of this name. Raises: UnknownExchange, naming those that exist; NotCurrent before the first."""
        return self._one(lambda exchange: exchange.name == name, name, field="exchangeName")

    def _one(self, matches: Callable[[Exchange], bool], asked: str, *, field: str) -> Exchange:
        self.require_known()
        for exchange in self._exchanges:
            if matches(exchange):
                return exchange
        known = ", ".join(f"{exchange.name} ({exchange.id})" for exchange in self._exchanges[:20])
        raise UnknownExchange(
            f'There is no exchange "{asked[:80]}". Known exchanges: {known}.', name=asked, field=field
        )

    def require_known(self) -> None:
        """Raises: NotCurrent if the exchanges have never been read."""
        if not self.is_known:
            raise NotCurrent(f"It is not known yet which exchanges there are: {self._fault or 'they are being read'}")

    async def wait_known(self) -> None:
        """Wait until the exchanges have been read once."""
        await self._loaded.wait()

    async def run(self) -> None:
        """Read them again every few seconds, for ever."""
        while self._load is not None:
            await self.refresh()
            await self._clock.sleep(LOAD_EVERY_S if self.is_known else 1.0)

    async def refresh(self) -> None:
        """Read them now. A failure is logged when it begins and when it ends; the list stays as it was."""
        if self._load is None:
            return
        try:
            async with asyncio.timeout(LOAD_WITHIN_S):
                exchanges = await self._load()
        except TimeoutError:
            self._failed(f"the database did not answer within {LOAD_WITHIN_S:g} s")
        except PerseusError as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001  a driver's own exception must not end the reading of the store
            self._failed(f"{type(error).__name__}: {error}")
        else:
            if self._fault:
                log.info("exchanges_read_again", count=len(exchanges))
            self._fault = ""
            self._take(exchanges)

    def _take(self, exchanges: Sequence[Exchange]) -> None:
        self._exchanges = tuple(sorted(exchanges, key=lambda exchange: exchange.id))
        self._loaded.set()

    def _failed(self, why: str) -> None:
        if not self._fault:
            kept = [exchange.name for exchange in self._exchanges]
            log.warning("exchanges_not_read", error=why, kept=kept)
        self._fault = why
