"""A Discord that takes every request and never answers: alerts wait, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from perseus import alerting
from perseus.notify.discord import TIMEOUT_S
from perseus.store import Store
from tests.notify.teller import KRAKEN, Log
from tests.support.discord_control import StandInProcess
from tests.support.processes import PerseusProcess
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

HEARTBEATS = 4
TIMING = {"HEARTBEAT_INTERVAL": "1", "LEASE_TTL": "3"}
ENDS_WITHIN_S = TIMEOUT_S - 2  # of SIGTERM: whoever waited for Discord's answer would take longer


class Site(NamedTuple):
    """An instance, a server, and a Discord that hangs whatever it is asked for `ops`, but not for `dev`."""

    instance: PerseusProcess
    server: PerseusProcess
    discord: StandInProcess

    def asked(self) -> int:
        """How many requests Discord was sent."""
        return self.discord.verdict()["asked"]


@pytest.fixture
def site(valkey: Server, tmp_path: Path) -> Iterator[Site]:
    """All on hosts of their own."""
    with ExitStack() as running:
        discord = running.enter_context(StandInProcess())
        discord.play("hang", on="ops", times=0)
        settings = {"DISCORD_WEBHOOK_URLS": discord.setting("ops", "dev"), **TIMING}

        def started(*args: str, host: str) -> PerseusProcess:
            process = PerseusProcess(
                *args, data_dir=tmp_path / host, store_url=valkey.url, hostname=host, settings=settings
            )
            return running.enter_context(process)

        server = started("serve", "--port", "0", host="web-1")
        yield Site(started("run", "binance", "--idle", host="fra-1"), server, discord)


async def test_discord_that_hangs_delays_no_heartbeat_and_no_end(site: Site, store: Store) -> None:
    """Whoever watches must not harm what is watched, and no deployment may wait for a chat."""
    log, before = Log(store), site.instance.wait_for_state("idle")
    await wait_until_async(lambda: _is_told_by(store, "web-1"), description="there is a notifier", timeout=30)
    await log.start(KRAKEN)
    await log.die(KRAKEN)
    await wait_until_async(lambda: site.asked() > 1, description="Discord hangs", timeout=20)
    await wait_until_async(lambda: site.discord.messages("dev"), description="the other channel is told", timeout=20)
    renewed = (site.instance.status() or before)["rev"] + HEARTBEATS
    await wait_until_async(
        lambda: (site.instance.status() or {"rev": 0})["rev"] >= renewed, description="heartbeats go on", timeout=30
    )
    after = site.instance.status()
    assert after is not None
    assert after["claimId"] == before["claimId"], "the lease was lost on the way"
    site.discord.play("hang", on="dev", times=0)
    asked = site.asked()
    await alerting.request_test(store, channel="dev", by="test@here")
    await wait_until_async(lambda: site.asked() > asked, description="it hangs anew", timeout=20)
    assert site.server.stop_signal(timeout=ENDS_WITHIN_S) == 0
    assert (await alerting.read(store)).holder is None, "the next notifier would wait for a lease that nobody needs"
    assert site.instance.stop_signal(timeout=ENDS_WITHIN_S) == 0
    assert "Traceback" not in site.server.output + site.instance.output


async def _is_told_by(store: Store, host: str) -> bool:
    found = await alerting.read(store)
    return found.health is not None and found.holder is not None and found.holder.hostname == host
