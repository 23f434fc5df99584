"""`--symbols`: the spellings people use."""

from __future__ import annotations

import pytest

from perseus.cli.run import parse_symbols
from perseus.errors import BadUsage


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("25", 25),
        ("BTC-USDT,ETH-USDT", ("BTC-USDT", "ETH-USDT")),
        ("btc/usdt, eth_usdt,", ("BTC-USDT", "ETH-USDT")),
        ("BTCUSDT,BTCUSDT", ("BTCUSDT",)),
        ("币安人生-USDT", ("币安人生-USDT",)),
    ],
)
def test_symbols_are_taken_in_every_usual_spelling(text: str, meant: object) -> None:
    """Copied from an exchange's page, a chart or a file: none of these is worth a refusal."""
    assert parse_symbols(text) == meant


@pytest.mark.parametrize("text", [",", "BTC USDT", "a;b", "0", "-3", ""])
def test_what_cannot_be_a_symbol_is_refused_before_anything_starts(text: str) -> None:
    """A typing error must not cost a claim and a warm-up."""
    with pytest.raises(BadUsage, match="--symbols"):
        parse_symbols(text)
