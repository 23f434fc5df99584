"""Binance's answers and frames, minimal, from its documentation; with PERSEUS_CAPTURES=DIR recorded ones too."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perseus.errors import InvalidSymbols
from perseus.exchanges import binance_parse as parse
from perseus.exchanges.adapter import CandleUpdate, Unreadable
from perseus.model import Candle, Symbol, Trade

MINUTE = 60_000
INFO: dict[str, Any] = {
    "rateLimits": [
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
    ],
    "symbols": [
        {"symbol": f"{base}{quote}", "status": status, "baseAsset": base, "quoteAsset": quote, **more}
        for base, quote, status, more in [
            ("BTC", "USDT", "TRADING", {"isSpotTradingAllowed": True}),
            ("ETH", "USDT", "TRADING", {"isSpotTradingAllowed": True}),
            ("ETH", "BTC", "TRADING", {"isSpotTradingAllowed": True}),
            ("OLD", "USDT", "BREAK", {"isSpotTradingAllowed": True}),
            ("DERIV", "USDT", "TRADING", {"isSpotTradingAllowed": False}),
            ("A:B", "USDT", "TRADING", {"isSpotTradingAllowed": True}),
            ("BTC", "USD", "TRADING", {"isSpotTradingAllowed": True}),
        ]
    ],
}
TICKERS = {"BTCUSDT": "500.5", "ETHUSDT": "900.25", "ETHBTC": "999999", "OLDUSDT": "77", "BTCUSD": "1200"}


def decoded(value: Any, kind: Any) -> Any:
    """What our typed decoder makes of a JSON value."""
    return msgspec.json.decode(json.dumps(value), type=kind)


def listed() -> list[Symbol]:
    """The tradable symbols of INFO, most traded first."""
    rows = [{"symbol": name, "quoteVolume": volume, "lastPrice": "1"} for name, volume in TICKERS.items()]
    return parse.tradable(decoded(INFO, parse.ExchangeInfo), decoded(rows, list[parse.TickerRow]))


def frame(data: dict[str, Any], stream: str = "btcusdt@kline_1m") -> str:
    """A frame of a combined connection."""
    return json.dumps({"stream": stream, "data": data})


def kline(**changed: Any) -> dict[str, Any]:
    """A kline event with some of `k` changed."""
    k = {"t": 120_000, "T": 179_999, "s": "BTCUSDT", "i": "1m", "f": 5, "L": 9, "o": "1.50", "c": "1.70", "h": "1.80"}
    k |= {"l": "1.40", "v": "12.00000000", "n": 5, "x": False, "q": "20.1", "V": "1", "Q": "1", "B": "0"}
    return {"e": "kline", "E": 150_000, "s": "BTCUSDT", "k": k | changed}


def test_kline_rows_become_candles_and_only_past_ones_are_closed() -> None:
    """The last row may still be forming; the venue does not mark it."""
    rows = [
        [t, "1.10", "1.30", "1.00", "1.20", "7.00000000", t + MINUTE - 1, "8.4", 3, "2", "2.4", "0"]
        for t in (0, MINUTE, 2 * MINUTE)
    ]
    asked = 2 * MINUTE + parse.CLOSED_AFTER_MS
    candles = parse.candles_of(decoded(rows, list[parse.KlineRow]), asked_ms=asked)
    assert [c.is_closed for c in candles] == [True, True, False]
    assert candles[0] == Candle(
        open_time=0,
        open=Decimal("1.10"),
        high=Decimal("1.30"),
        low=Decimal("1.00"),
        close=Decimal("1.20"),
        volume=Decimal("7.00000000"),
        is_closed=True,
    )


def test_a_row_that_ended_a_moment_ago_is_not_yet_final() -> None:
    """The last trades of a minute may still be on their way into the answer."""
    row = [0, "1", "1", "1", "1", "1", MINUTE - 1, "1", 1, "1", "1", "0"]
    [candle] = parse.candles_of(decoded([row], list[parse.KlineRow]), asked_ms=MINUTE + 1000)
    assert not candle.is_closed


def test_the_weight_limit_is_read_from_the_exchange() -> None:
    """The two venues differ by a factor of five, and either may change."""
    assert decoded(INFO, parse.ExchangeInfo).weight_a_minute == 6000
    assert decoded({"rateLimits": [], "symbols": []}, parse.ExchangeInfo).weight_a_minute is None


def test_only_what_trades_on_spot_is_offered() -> None:
    """A halted symbol is acknowledged on the stream and then silent for ever; a colon would break the key."""
    assert {symbol.native for symbol in listed()} == {"BTCUSDT", "ETHUSDT", "ETHBTC", "BTCUSD"}
    assert [symbol.name for symbol in listed() if symbol.quote == "USDT"] == ["ETH-USDT", "BTC-USDT"]


def test_the_most_traded_are_ranked_in_one_quote_currency() -> None:
    """999999 BTC of volume is not more than 900 USDT of it, as numbers go."""
    assert [s.native for s in parse.most_traded(listed(), 5, quotes=("USDT",))] == ["ETHUSDT", "BTCUSDT"]
    assert [s.native for s in parse.most_traded(listed(), 1, quotes=("USDT",))] == ["ETHUSDT"]


def test_of_two_dollar_currencies_the_more_traded_one_is_taken() -> None:
    """On binance.us the dollar pairs come and go; mixing both would list each market twice."""
    symbols = listed()
    assert [s.native for s in parse.most_traded(symbols, 5, quotes=("USD", "USDT"))] == ["ETHUSDT", "BTCUSDT"]
    richer = [s for s in symbols if s.native != "ETHUSDT"]
    assert [s.native for s in parse.most_traded(richer, 5, quotes=("USD", "USDT"))] == ["BTCUSD"]


def test_symbols_are_found_by_either_spelling_once() -> None:
    """People write BTC-USDT, the exchange BTCUSDT, and a list may hold both."""
    found = parse.named(listed(), ("BTCUSDT", "eth-usdt", "BTC-USDT"), exchange="binance")
    assert [symbol.name for symbol in found] == ["BTC-USDT", "ETH-USDT"]


def test_every_unknown_symbol_is_named_with_what_comes_near() -> None:
    """One round of corrections, not one for each mistake."""
    with pytest.raises(InvalidSymbols, match="BTC-USTD, NOPE") as invalid:
        parse.named(listed(), ("BTC-USTD", "ETH-USDT", "NOPE"), exchange="binance")
    assert invalid.value.unknown == ("BTC-USTD", "NOPE")
    assert "Near matches: " in str(invalid.value)
    assert "BTC-USDT" in str(invalid.value)


def test_a_kline_event_is_a_candle_update() -> None:
    """`x` is the only word that a minute is final."""
    said = parse.parse_frame(frame(kline(x=True)))
    assert isinstance(said, CandleUpdate)
    assert (said.symbol, said.last_trade_id, said.sent_at) == ("BTCUSDT", 9, 150_000)
    assert said.candle == Candle(
        open_time=120_000,
        open=Decimal("1.50"),
        high=Decimal("1.80"),
        low=Decimal("1.40"),
        close=Decimal("1.70"),
        volume=Decimal("12.00000000"),
        is_closed=True,
    )
    forming = parse.parse_frame(frame(kline()))
    assert isinstance(forming, CandleUpdate)
    assert not forming.candle.is_closed


def test_a_trade_event_is_a_trade() -> None:
    """Trades keep the forming candle current between the candle updates, and their ids tell of losses."""
    event = {"e": "trade", "E": 5, "s": "BNBBTC", "t": 12345, "p": "0.001", "q": "100", "T": 4, "m": True, "M": True}
    assert parse.parse_frame(frame(event, "bnbbtc@trade")) == Trade(
        symbol="BNBBTC", id=12345, price=Decimal("0.001"), quantity=Decimal(100), time=4, buyer_is_maker=True
    )


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ('{"result":null,"id":1}', parse.Acknowledged(1)),
        ('{"code":2,"msg":"Invalid request: x"}', parse.Denied(2, "Invalid request: x")),
        ('{"error":{"code":2,"msg":"Invalid request: x"},"id":3}', parse.Denied(2, "Invalid request: x")),
        ('{"e":"serverShutdown","E":1}', parse.Shutdown()),
        ('{"stream":"x","data":{"e":"serverShutdown","E":1}}', parse.Shutdown()),
        ('{"stream":"btcusdt@depth","data":{"e":"depthUpdate","E":1}}', parse.Nothing()),
    ],
)
def test_control_frames_mean_what_they_say(text: str, meaning: object) -> None:
    """Acknowledgements, refusals and the announcement of a shutdown each lead to something else."""
    assert parse.parse_frame(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        "CloudFlare WebSocket proxy restarting",
        "",
        "[1",
        '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1,"s":"BTCUSDT","k":{"t":"soon"}}}',
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"a lot","q":"1","T":1,"m":true}}',
    ],
)
def test_what_cannot_be_read_is_reported_not_raised(text: str) -> None:
    """One odd frame must not end the connection, and must not pass unnoticed."""
    said = parse.parse_frame(text)
    assert isinstance(said, Unreadable)
    assert said.text == " ".join(text.split())[:160] + ("…" if len(text) > 160 else "")


# --- recorded frames, where somebody has them ---


def captures(pattern: str) -> list[Path]:
    """Recorded files; a test over none of them is skipped."""
    folder = os.environ.get("PERSEUS_CAPTURES")
    found = sorted(Path(folder, "binance").glob(pattern)) if folder else []
    if not found:
        pytest.skip("no recorded frames: set PERSEUS_CAPTURES")
    return found


def recorded_answers(pattern: str) -> list[dict[str, Any]]:
    """`{url, status, body}` of every recorded answer."""
    answers = []
    for path in captures(pattern):
        content = json.loads(path.read_text())
        answers += content if isinstance(content, list) else [content]
    return answers


def test_recorded_exchange_infos_are_read() -> None:
    """Both venues, years apart: the fields we need have stayed."""
    for answer in recorded_answers("rest_exchangeInfo_*.json"):
        info = decoded(answer["body"], parse.ExchangeInfo)
        symbols = parse.tradable(info, ())
        assert info.weight_a_minute in (1200, 6000)
        assert len(info.symbols) == len(answer["body"]["symbols"])
        assert {s.native for s in symbols} <= {s["symbol"] for s in answer["body"]["symbols"]}


def test_recorded_klines_are_read_digit_for_digit() -> None:
    """Nothing of a price is lost between the wire and the candle."""
    count = 0
    for answer in recorded_answers("rest_klines.json"):
        rows = answer["body"]
        candles = parse.candles_of(decoded(rows, list[parse.KlineRow]), asked_ms=10**14)
        assert [[c.open_time, *(f"{x:f}" for x in (c.open, c.high, c.low, c.close, c.volume))] for c in candles] == [
            row[:6] for row in rows
        ]
        count += len(candles)
    assert count > 0


def test_recorded_tickers_are_read() -> None:
    """One symbol, several, all: an object or an array of them."""
    for answer in recorded_answers("rest_ticker24hr.json"):
        body = answer["body"] if isinstance(answer["body"], list) else [answer["body"]]
        rows = decoded(body, list[parse.TickerRow])
        assert [f"{row.quote_volume:f}" for row in rows] == [row["quoteVolume"] for row in body]


def test_recorded_frames_are_all_of_the_protocol() -> None:
    """What we subscribe to becomes candles and trades; every other stream's frames are passed over in silence."""
    lines = [line for path in captures("ws_*.jsonl") for line in path.read_text().splitlines()]
    frames = [json.loads(line)["data"] for line in lines if json.loads(line)["kind"] == "recv"]
    said = [parse.parse_frame(text) for text in frames]
    assert frames
    assert not [one for one in said if isinstance(one, Unreadable)]
    klines = [json.loads(text)["data"]["k"] for text in frames if "@kline_1m" in text]
    updates = [one for one in said if isinstance(one, CandleUpdate)]
    assert [(u.candle.open_time, f"{u.candle.close:f}", u.candle.is_closed) for u in updates] == [
        (k["t"], k["c"], k["x"]) for k in klines
    ]
    assert any(u.candle.is_closed for u in updates)
