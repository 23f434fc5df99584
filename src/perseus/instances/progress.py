"""Warm-up progress: the `warmup` key, written through the lease check, a report when it is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import structlog

from perseus import keys
from perseus.clock import Clock, StoreTime, iso
from perseus.errors import StoreUnavailable
from perseus.model import WarmupProgress

WRITE_EVERY_S = 0.5

log = structlog.get_logger()


class Progress:
    """Counts symbols done and writes the `warmup` key at most twice a second. Units: symbols, seconds."""

    def __init__(
        self,
        exchange: str,
        *,
        write: Callable[[bytes, int], Awaitable[None]],
        clock: Clock,
        store_time: StoreTime,
        total: int,
    ) -> None:
        self._exchange = exchange
        self._write = write
        self._clock = clock
        self._store_time = store_time
        self._began = clock.now()
        self._written = float("-inf")
        self.value = WarmupProgress(
            percent=0.0,
            eta_seconds=None,
            current_symbol=None,
            done=0,
            total=total,
            started_at=iso(store_time.now_ms()),
        )

    async def begin(self) -> None:
        """Replace what the warm-up before has left: its numbers are not those of this one."""
        await self._told(keys.WARMUP_RUNNING_TTL_S)

    async def update(
        self,
        *,
        done: int,
        total: int,
        current_symbol: str | None = None,
        failures: tuple[str, ...] = (),
        candles_fetched: int = 0,
        candles_kept: int = 0,
    ) -> None:
        """Take the numbers so far; a `total` of 0: not known yet.

        Raises: LeaseLost, StaleEpoch, and what every call to the store raises."""
        elapsed = self._clock.now() - self._began
        self.value = msgspec.structs.replace(
            self.value,
            percent=round(100 * done / total, 1) if total else 0.0,
            eta_seconds=round(elapsed / done * (total - done), 1) if done else None,
            current_symbol=current_symbol,
            done=done,
            total=total,
            failures=failures,
            candles_fetched=candles_fetched,
            candles_kept=candles_kept,
        )
        if self._clock.now() - self._written >= WRITE_EVERY_S:
            self._written = self._clock.now()
            await self._write(msgspec.json.encode(self.value), keys.WARMUP_RUNNING_TTL_S)

    async def finish(self) -> None:
        """Leave the report: kept for 90 days."""
        self.value = msgspec.structs.replace(
            self.value,
            eta_seconds=0.0,
            current_symbol=None,
            finished_at=iso(self._store_time.now_ms()),
        )
        await self._told(keys.WARMUP_REPORT_TTL_S)

    async def _told(self, ttl_s: int) -> None:
        """Write it. With the store away only the report is lost: the lease has its own deadline."""
        try:
            await self._write(msgspec.json.encode(self.value), ttl_s)
        except StoreUnavailable as error:
            log.warning("warmup_report_not_written", exchange=self._exchange, error=str(error))
