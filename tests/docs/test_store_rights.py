"""The `ACL SETUSER` lines of docs/store.md give each role what it needs, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from perseus import activity, alerting, candles, commands, keys
from perseus.clock import SystemClock
from perseus.errors import StoreDenied
from perseus.instances.instance import Instance
from perseus.instances.run import run_instance, setup_from
from perseus.model import Candle, ConnectionState, InstanceStatus, Timeframe, exchange_named
from perseus.network.exchange_list import ExchangeList
from perseus.network.losses import LossWatch
from perseus.network.observe import Network
from perseus.network.shared_pages import PageAsked, SharedPages
from perseus.network.snapshot import Snapshot
from perseus.settings import load_settings
from perseus.store import Store
from perseus.store.check import check_store, check_usable
from perseus.store.findings import Severity
from perseus.timing import LeaseTiming
from tests.support.cluster import Cluster
from tests.support.rights import documented_users
from tests.support.sentinel import SentinelTrio
from tests.support.servers import BINARIES, Server, valkey_binary
from tests.support.waiting import wait_until_async

BINANCE = exchange_named("binance")
MINUTE = Candle(
    open_time=1_795_378_140_000,
    open=Decimal(1),
    high=Decimal(1),
    low=Decimal(1),
    close=Decimal(1),
    volume=Decimal(1),
    is_closed=True,
)


@pytest.fixture(params=[*sorted(BINARIES), "cluster", "sentinel"])
def guarded(
    request: pytest.FixtureRequest, start_server: Callable[..., Server], tmp_path: Path
) -> Iterator[Server | Cluster | SentinelTrio]:
    """A server that knows the documented users, then a Cluster and a trio behind Sentinels that do."""
    *users, sentinel_user = documented_users()
    if request.param in BINARIES:
        yield start_server(request.param, acl=users)
        return
    found = (
        Cluster(valkey_binary(), tmp_path, acl=users)
        if request.param == "cluster"
        else SentinelTrio(valkey_binary(), tmp_path, acl=users, sentinel_acl=[sentinel_user])
    )
    try:
        yield found.start()
    finally:
        found.kill()


async def feed(me: Instance) -> None:
    """Do everything a feed does to the store."""
    async with me.warming(symbol_count=1) as progress:
        await progress.update(done=1, total=1)
        rows = {("BTC-USDT", Timeframe.M1): [MINUTE]}
        await candles.write(me.store, me.exchange.id, claim_id=me.claim_id, epoch=me.epoch, rows=rows, kept=10)
    async with me.active():
        await me.report_error("an error to be logged")
        await asyncio.Event().wait()


async def watch_as_the_web_server_does(url: str, *, living: InstanceStatus) -> None:
    """Read everything that `perseus serve` reads, and put a loss on record."""
    clock, store = SystemClock(), Store(url)
    snapshot = Snapshot(store, exchanges=ExchangeList(clock=clock), clock=clock)
    reading = asyncio.create_task(snapshot.run())
    troubles: list[str] = []
    watch = LossWatch(store, clock=clock, detected_by="test", on_record=lambda _: None, on_trouble=troubles.append)
    try:
        assert b'"stopped"' in await snapshot.instances()
        page = await SharedPages(store, snapshot=snapshot, clock=clock).page(PageAsked())
        assert b"state_transition" in page
        await wait_until_async(lambda: snapshot.tail.n > 0, description="the log is followed")
        await watch.look()
        assert troubles == []
        dead = msgspec.structs.replace(living, instance_id="another")
        now_ms = int(await store.time_ms())
        assert await activity.record_loss(
            store, dead=dead, detected_by="test", store_ms=now_ms, host_ms=clock.wall_ms()
        )
        for forbidden in (("SET", keys.status(BINANCE.id), "forged"), ("DEL", keys.last(BINANCE.id))):
            assert isinstance((await store.pipeline(forbidden))[0], StoreDenied)
        await be_the_notifier(store, clock)
    finally:
        reading.cancel()
        await asyncio.wait({reading})
        await store.close()


async def be_the_notifier(store: Store, clock: SystemClock) -> None:
    """Do everything a notifier does to the store beside following the logs."""
    for _ in range(2):
        tenure = await alerting.claim(store, clock=clock, instance_id="a", hostname="a", version="1", channels=1)
        assert tenure is not None
        assert await tenure.renew()
        assert await tenure.remember({"memory": b"1"})
        assert await tenure.recall("memory") == (b"1", tenure.claim_id)
        await alerting.request_test(store, channel="ops", by="ada@example.com")
        after = {keys.notifier_requests(): "0-0", keys.log(BINANCE.name): "$"}
        assert await store.wait_entries(after, block=1)
        await tenure.give_back()


async def test_documented_rights_leave_nothing_unknown(guarded: Server | Cluster | SentinelTrio) -> None:
    """Whoever follows the page and asks `perseus doctor` must not be sent back to grant more."""
    url = guarded.url_for("perseus-instance", "secret")
    if isinstance(guarded, SentinelTrio):
        url += "?sentinel_username=perseus-sentinel&sentinel_password=secret"
    store = Store(url)
    try:
        findings = await check_usable(store, clock=SystemClock(), timing=LeaseTiming(), replicas=0)
    finally:
        await store.close()
    assert [each for each in findings if each.severity in (Severity.UNKNOWN, Severity.REFUSE)] == []
    assert {each.name for each in findings if each.severity is not Severity.OK} <= {"persistence", "replicas"}


async def test_each_role_can_do_its_work_with_the_documented_rights(
    guarded: Server | Cluster | SentinelTrio, data_dir: Path
) -> None:
    """Rights copied from the page must be enough: whoever follows it must not meet NOPERM in production."""
    settings = load_settings(
        flags={"STORE_URL": guarded.url_for("perseus-instance", "secret"), "DATA_DIR": str(data_dir)},
        environ={"PERSEUS_PUBLIC_IP_URLS": "off", "PERSEUS_HEARTBEAT_INTERVAL": "1", "PERSEUS_LEASE_TTL": "3"},
        directory=data_dir,
    )
    shutdown = asyncio.Event()
    running = asyncio.create_task(run_instance(setup_from(settings, BINANCE), feed, idle=False, shutdown=shutdown))
    viewer = Store(guarded.url_for("perseus-viewer", "secret"))
    control = Store(guarded.url_for("perseus-control", "secret"))
    network = Network(viewer, exchanges=[BINANCE])
    try:

        async def is_active() -> bool:
            status = (await network.observe()).cards[0].status
            return status is not None and status.connection_state is ConnectionState.ACTIVE

        await wait_until_async(is_active, description="the instance is active", timeout=20)
        assert (await alerting.read(viewer)).word == "none"
        assert await candles.read(viewer, BINANCE.id, "BTC-USDT", Timeframe.M1, last=5) == [MINUTE]
        card = (await Network(control, exchanges=[BINANCE]).observe()).cards[0]
        assert card.status is not None
        now_ms = int(await control.time_ms())
        command = commands.compose("stop", target=card.status, issuer="a@example.org", reason="test", now_ms=now_ms)
        await commands.send(control, BINANCE, command)
        answers = [
            answer.state
            async for answer in commands.follow_replies(control, BINANCE, command.id, clock=SystemClock(), wait_s=10)
        ]
        assert answers == ["accepted", "running", "done"]
        page = await network.feed()
        assert {entry.fields["event"] for entry in page.entries} == {"state_transition", "error", "command"}
        with pytest.raises(StoreDenied):
            await viewer.append(keys.log("binance"), {"event": "forged"}, min_id=None)
        with pytest.raises(StoreDenied):
            await control.append(keys.log("binance"), {"event": "forged"}, min_id=None)
        await watch_as_the_web_server_does(guarded.url_for("perseus-web", "secret"), living=card.status)
        findings = await check_store(viewer, clock=SystemClock(), timing=LeaseTiming(1, 3), replicas=0)
        assert not [finding for finding in findings if finding.severity is Severity.REFUSE]
    finally:
        shutdown.set()
        await asyncio.wait({running})
        await viewer.close()
        await control.close()
    await running
