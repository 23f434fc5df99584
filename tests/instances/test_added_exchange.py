"""A program that serves an exchange which was added to the network: by its name and its id, and nobody else's."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import perseus
from perseus.errors import BadUsage, ExchangeClaimed
from perseus.settings import Settings, load_settings
from tests.support.instances import BINANCE
from tests.support.servers import Server


@pytest.fixture
def settings(valkey: Server, data_dir: Path) -> Settings:
    """What a program's environment would say."""
    environ = {"STORE_URL": valkey.url, "DATA_DIR": str(data_dir), "HOSTNAME": "host-a", "PUBLIC_IP_URLS": "off"}
    return load_settings(environ={f"PERSEUS_{name}": value for name, value in environ.items()}, directory=data_dir)


async def test_exchange_that_was_added_is_served_under_its_id(valkey: Server, settings: Settings) -> None:
    """Perseus need not know an exchange to keep its instance one."""
    async with perseus.instance("okx", id=7, settings=settings) as me, me.warming(symbol_count=1):
        assert (me.exchange.name, me.exchange.id) == ("okx", 7)
        with pytest.raises(ExchangeClaimed):
            async with perseus.instance("okx", id=7, settings=replace(settings, hostname="host-b")):
                pass
    async with perseus.instance("binance", id=2, settings=settings) as me:
        assert me.exchange == BINANCE


@pytest.mark.parametrize(
    ("name", "exchange_id", "says"),
    [
        ("okx", None, 'perseus.instance("okx", id=ID)'),
        ("okx", 2, '"binance" has the id 2'),
        ("binance", 7, '"binance" has the id 2'),
        ("okx", 0, "between 1 and"),
        ("O K", 7, "a-z, 0-9"),
    ],
)
async def test_exchange_a_program_cannot_mean_is_refused(
    settings: Settings, name: str, exchange_id: int | None, says: str
) -> None:
    """With the id of another it would take that one's lease; and who has no id is told where to find it."""
    with pytest.raises(BadUsage, match=re.escape(says)):
        async with perseus.instance(name, id=exchange_id, settings=settings):
            pass
