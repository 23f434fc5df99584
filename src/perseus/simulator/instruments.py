"""What the simulated venues list: realistic names, tick sizes and activity, fixed prices and volumes around them.

A few markets are not trading, a few are quiet (most minutes pass without a trade), as on the real venues.
"""

from __future__ import annotations

from typing import NamedTuple

LISTED_MS = 1_609_459_200_000
"""2021-01-01T00:00Z, Unix ms: every market's first candle."""


STABLE = {"USD", "USDT", "USDC", "FDUSD"}


class Instrument(NamedTuple):
    """One market. `price` is the level its price wanders around, in ticks; `lots` the volume of an average day.

    `trades` is the number of trades of every day, `minutes` how many minutes of each hour have any.
    Price and lot decimals add up to at most eight, so that a quote volume is exact with the venue's eight decimals.
    """

    base: str
    quote: str
    price: int
    price_decimals: int
    lots: int
    lot_decimals: int
    trades: int
    minutes: int = 60
    status: str = "TRADING"

    @property
    def sway(self) -> float:
        """How widely the price wanders: a stablecoin priced in another one hardly moves."""
        return 0.005 if self.base in STABLE and self.quote in STABLE else 1.0

    @property
    def native(self) -> str:
        """The venue's own id, `BTCUSDT`."""
        return self.base + self.quote


def _market(  # noqa: PLR0917 (the tables below read as columns)
    pair: str,
    price: str,
    lot_decimals: int,
    volume: int,
    per_minute: int,
    minutes: int = 60,
    status: str = "TRADING",
) -> Instrument:
    base, quote = pair.split("/")
    whole, _, decimals = price.partition(".")
    return Instrument(
        base=base,
        quote=quote,
        price=int(whole + decimals),
        price_decimals=len(decimals),
        lots=volume * 10**lot_decimals,
        lot_decimals=lot_decimals,
        trades=per_minute * 24 * minutes,
        minutes=minutes,
        status=status,
    )


# pair, price (its decimals are the tick), lot decimals, volume a day, trades in a minute that has any,
# how many such minutes an hour has
BINANCE = (
    _market("BTC/USDT", "97000.00", 5, 26_000, 300),
    _market("ETH/USDT", "3400.00", 4, 520_000, 240),
    _market("SOL/USDT", "190.00", 3, 6_400_000, 150),
    _market("XRP/USDT", "2.3000", 1, 420_000_000, 120),
    _market("BNB/USDT", "890.00", 3, 620_000, 90),
    _market("DOGE/USDT", "0.16000", 0, 3_100_000_000, 90),
    _market("ADA/USDT", "0.5200", 1, 520_000_000, 60),
    _market("SUI/USDT", "2.1000", 1, 95_000_000, 60),
    _market("LINK/USDT", "15.000", 2, 9_800_000, 50),
    _market("AVAX/USDT", "17.200", 2, 7_400_000, 50),
    _market("LTC/USDT", "98.00", 3, 1_050_000, 45),
    _market("TRX/USDT", "0.2900", 1, 310_000_000, 45),
    _market("BCH/USDT", "520.0", 3, 150_000, 40),
    _market("DOT/USDT", "3.100", 2, 22_000_000, 40),
    _market("UNI/USDT", "7.900", 2, 7_900_000, 40),
    _market("NEAR/USDT", "2.500", 2, 22_000_000, 40),
    _market("APT/USDT", "3.100", 2, 15_500_000, 35),
    _market("ARB/USDT", "0.2600", 1, 160_000_000, 35),
    _market("OP/USDT", "0.4100", 2, 86_000_000, 35),
    _market("AAVE/USDT", "185.00", 3, 170_000, 30),
    _market("SHIB/USDT", "0.00000950", 0, 3_000_000_000_000, 30),
    _market("PEPE/USDT", "0.00000520", 0, 5_200_000_000_000, 30),
    _market("FIL/USDT", "1.900", 2, 13_000_000, 30),
    _market("ATOM/USDT", "2.900", 2, 7_900_000, 14, 50),
    _market("ETC/USDT", "15.40", 2, 1_400_000, 14, 44),
    _market("XLM/USDT", "0.2700", 0, 76_000_000, 12, 40),
    _market("ALGO/USDT", "0.1700", 0, 95_000_000, 12, 30),
    _market("ICP/USDT", "4.900", 2, 2_600_000, 10, 12),
    _market("ZRX/USDT", "0.2100", 0, 9_500_000, 8, 6),
    _market("LUNA/USDT", "0.1200", 0, 60_000_000, 30, status="BREAK"),
    _market("MATIC/USDT", "0.3800", 1, 400_000_000, 60, status="BREAK"),
    _market("BTC/USDC", "97000.00", 5, 5_200, 90),
    _market("ETH/USDC", "3400.00", 4, 88_000, 75),
    _market("SOL/USDC", "190.00", 3, 720_000, 45),
    _market("XRP/USDC", "2.3000", 1, 31_000_000, 30),
    _market("ETH/BTC", "0.03500", 3, 62_000, 45),
    _market("SOL/BTC", "0.00196", 3, 92_000, 20),
    _market("BNB/BTC", "0.00918", 3, 41_000, 20),
    _market("LTC/BTC", "0.00101", 3, 24_000, 12, 30),
    _market("LINK/ETH", "0.00441", 2, 41_000, 8, 10),
    _market("USDC/USDT", "0.9998", 0, 900_000_000, 40),
    _market("FDUSD/USDT", "0.9990", 0, 210_000_000, 20),
)

BINANCE_US = (
    _market("BTC/USD", "97000.00", 5, 600, 60),
    _market("ETH/USD", "3400.00", 4, 4_100, 45),
    _market("SOL/USD", "190.00", 3, 36_000, 30),
    _market("XRP/USD", "2.3000", 1, 1_900_000, 20),
    _market("ADA/USD", "0.5200", 1, 2_300_000, 12, 40),
    _market("BTC/USDT", "97000.00", 5, 900, 80),
    _market("ETH/USDT", "3400.00", 4, 6_200, 60),
    _market("SOL/USDT", "190.00", 3, 51_000, 40),
    _market("XRP/USDT", "2.3000", 1, 2_900_000, 30),
    _market("DOGE/USDT", "0.16000", 0, 14_000_000, 20),
    _market("BNB/USDT", "890.00", 3, 9_000, 15, 45),
    _market("LTC/USDT", "98.00", 3, 9_900, 12, 30),
    _market("ETH/BTC", "0.03500", 3, 1_400, 10, 12),
    _market("USDT/USD", "0.9990", 0, 11_000_000, 12, 40),
    _market("BAT/USDT", "0.2100", 0, 8_000_000, 10, status="BREAK"),
)

INSTRUMENTS_BY_VENUE = {"binance": BINANCE, "binance_us": BINANCE_US}
