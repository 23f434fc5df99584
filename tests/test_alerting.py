"""The notifier's lease and memory: one at a time, nothing of a lost one is kept, and everyone can see how it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from perseus import alerting, keys
from perseus.alerting import Alerting, ChannelHealth, Health, Holder, Tenure
from perseus.clock import SystemClock, iso
from perseus.errors import UnreadableKey
from perseus.store import Store, scripts
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

RUNS_EVERYWHERE = True
NOW_MS = 1_795_378_000_000


async def claim(store: Store, *, name: str = "a", channels: int = 1) -> Tenure | None:
    """Try to be the notifier."""
    return await alerting.claim(
        store, clock=SystemClock(), instance_id=name, hostname=f"host-{name}", version="1", channels=channels
    )


async def held(store: Store, **how: Any) -> Tenure:
    """Be the notifier."""
    tenure = await claim(store, **how)
    assert tenure is not None
    return tenure


def health(*channels: ChannelHealth) -> bytes:
    """What a notifier lets everyone know."""
    return msgspec.json.encode(Health(saved_at=iso(NOW_MS), channels=channels, announced=["offline"]))


def channel(state: Any = "ok", **facts: Any) -> ChannelHealth:
    """One channel's health."""
    facts = {"name": "ops", "last_success_at": None, "queued": 0, "oldest_unsent_at": None, "reason": None} | facts
    return ChannelHealth(state=state, **facts)


async def test_only_one_is_the_notifier(store: Store) -> None:
    """Two would tell everything twice."""
    assert await claim(store, name="a") is not None
    assert await claim(store, name="b") is None


async def test_whoever_gives_it_back_is_followed_at_once(store: Store, valkey: Server) -> None:
    """An upgrade of one server must not silence alerts for a lease's time."""
    tenure = await held(store, name="a")
    assert 0 < valkey.call("PTTL", keys.notifier()) <= alerting.TTL_S * 1000
    await tenure.give_back()
    assert not tenure.is_held
    assert await claim(store, name="b") is not None


async def test_one_with_channels_replaces_one_without(store: Store) -> None:
    """A server somebody started without webhooks must not keep those silent that have them."""
    without = await held(store, name="a", channels=0)
    assert await claim(store, name="b", channels=0) is None
    with_channels = await held(store, name="c", channels=1)
    assert not await without.renew()
    assert not without.is_held
    assert await with_channels.renew()
    assert await claim(store, name="d", channels=2) is None


async def test_memory_is_kept_by_the_holder_alone(store: Store, connect: Callable[..., Store], valkey: Server) -> None:
    """One that was replaced while it was paused must learn it before it says anything further."""
    first = await held(store, name="a")
    assert await first.remember({"memory": b"1", "health": health()})
    valkey.call("DEL", keys.notifier())
    second = await held(connect(valkey.url), name="b")
    assert (await second.recall("memory"))[0] == b"1"
    assert await second.remember({"memory": b"2"})
    assert not await first.remember({"memory": b"3"})
    assert not first.is_held
    assert (await second.recall("memory"))[0] == b"2"
    assert not await first.renew()


async def test_lost_lease_is_never_renewed_into_being(store: Store, valkey: Server) -> None:
    """Somebody may have been the notifier in between and have said what we are about to say."""
    tenure = await held(store)
    valkey.call("DEL", keys.notifier())
    assert not await tenure.renew()
    assert valkey.call("EXISTS", keys.notifier()) == 0


async def test_late_copy_of_a_save_changes_nothing(store: Store) -> None:
    """A save whose answer was lost may arrive after the next one."""
    tenure = await held(store)
    claim_id = tenure._holder.claim_id
    await tenure.remember({"memory": b"1"})
    await tenure.remember({"memory": b"2"})
    keys_of = [keys.notifier(), keys.notifier_cursor()]
    late = await store.run(scripts.REMEMBER, keys=keys_of, args=[claim_id, 1, 60, "memory", b"1"])
    assert late == [b"SUPERSEDED"]
    assert (await tenure.recall("memory"))[0] == b"2"


async def test_lease_ends_on_the_holders_own_clock_before_it_ends_in_the_store(store: Store) -> None:
    """A notifier that cannot renew stops before another can begin."""
    clock = StoppedClock()
    tenure = await alerting.claim(store, clock=clock, instance_id="a", hostname="a", version="1", channels=1)
    assert tenure is not None
    assert tenure.is_held
    clock.at += alerting.TTL_S - alerting.MARGIN_S - 0.1
    assert tenure.is_held
    clock.at += 0.1
    assert not tenure.is_held


class StoppedClock(SystemClock):
    """A clock that stands until it is set."""

    at = 1000.0

    def now(self) -> float:
        """Where it was set."""
        return self.at


async def test_test_message_reaches_the_notifier(store: Store, valkey: Server) -> None:
    """The button is pressed on any server; the notifier may be another's."""
    request_id = await alerting.request_test(store, channel="ops", by="ada@example.com")
    (entry,) = await store.entries(keys.notifier_requests(), count=10)
    now_ms = int(await store.time_ms(keys.notifier_requests()))
    request = alerting.request_of(entry.id, entry.fields, now_ms=now_ms)
    assert request == (request_id, "ops", "ada@example.com")
    assert alerting.request_of(entry.id, entry.fields, now_ms=now_ms + alerting.REQUEST_VALID_MS + 1) is None
    assert 0 < valkey.call("TTL", keys.notifier_requests()) <= keys.NOTIFIER_REQUESTS_TTL_S


async def test_everyone_reads_how_alerts_are(store: Store) -> None:
    """Page, command line and doctor say the same, whoever the notifier is."""
    assert (await alerting.read(store)).word == "none"
    tenure = await held(store, name="a")
    await tenure.remember({"memory": b"1", "health": health(channel("ok"))})
    found = await alerting.read(store)
    assert (found.word, found.why) == ("sent", None)
    assert found.holder is not None
    assert found.holder.hostname == "host-a"


@pytest.mark.foreign_keys
async def test_key_of_another_program_is_no_notifier_and_is_left_alone(store: Store, valkey: Server) -> None:
    """Never a guess, and nothing of somebody else's is overwritten."""
    valkey.call("SET", keys.notifier(), "hello", "EX", "60")
    found = await alerting.read(store)
    assert found.word == "none"
    assert found.why is not None
    assert f"redis-cli DEL {keys.notifier()}" in found.why
    with pytest.raises(UnreadableKey, match="redis-cli DEL network:notifier"):
        await claim(store)
    assert valkey.call("GET", keys.notifier()) == b"hello"


@pytest.mark.foreign_keys
async def test_no_lease_is_taken_beside_a_memory_that_is_none(store: Store, valkey: Server) -> None:
    """It would be of no use, and everyone would see a notifier that tells nobody anything."""
    valkey.call("SET", keys.notifier_cursor(), "hello", "EX", "60")
    with pytest.raises(UnreadableKey, match=r"redis-cli DEL \{network:notifier\}:cursor"):
        await claim(store)
    assert valkey.call("GET", keys.notifier()) is None
    found = await alerting.read(store)
    assert found.why is not None
    assert f"redis-cli DEL {keys.notifier_cursor()}" in found.why
    valkey.call("DEL", keys.notifier_cursor())
    assert await claim(store) is not None


@pytest.mark.foreign_keys
async def test_holder_keeps_its_lease_beside_a_memory_that_is_none(store: Store, valkey: Server) -> None:
    """Nobody else knows what was said, so it waits for the key to be free."""
    tenure = await held(store)
    await tenure.remember({"memory": b"1", "health": health()})
    valkey.call("SET", keys.notifier_cursor(), "hello", "EX", "60")
    assert await tenure.renew()
    assert not tenure.is_memory_kept
    with pytest.raises(UnreadableKey, match=r"redis-cli DEL \{network:notifier\}:cursor"):
        await tenure.remember({"memory": b"2", "health": health()})
    found = await alerting.read(store)
    assert (found.holder is not None, found.word) == (True, "none")
    valkey.call("DEL", keys.notifier_cursor())
    assert await tenure.remember({"memory": b"2", "health": health()})


@pytest.mark.parametrize("spoil", [("PERSIST",), ("EXPIRE", "600")])
async def test_lease_of_the_dead_ends_however_long_it_was_to_last(
    store: Store, valkey: Server, spoil: tuple[str, ...]
) -> None:
    """The server's clock was stepped back, or somebody took its end away; a living holder goes on."""
    tenure = await held(store, name="a")
    command, *how = spoil
    valkey.call(command, keys.notifier(), *how)
    assert await claim(store, name="b") is None
    assert 0 < valkey.call("PTTL", keys.notifier()) <= alerting.TTL_S * 1000
    assert await tenure.renew()


@pytest.mark.one_server
async def test_store_that_takes_no_writes_is_said_to_be_why(
    start_server: Callable[..., Server], connect: Callable[..., Store]
) -> None:
    """To look for a server that does not run would be a waste of time."""
    server = start_server()
    store = connect(server.url)
    assert "no notifier runs" in ((await alerting.read(store)).why or "")
    server.call("CONFIG", "SET", "maxmemory", "1")
    found = await alerting.read(store)
    assert found.word == "none"
    assert found.why is not None
    assert "takes no writes (" in found.why
    assert "maxmemory" in found.why


async def test_expired_lease_is_free(store: Store, valkey: Server) -> None:
    """A killed notifier is followed within its lease."""
    await held(store, name="a")
    valkey.call("PEXPIRE", keys.notifier(), "50")
    await wait_until_async(lambda: claim(store, name="b"), description="another one is the notifier")


HOLDER = Holder(claim_id="c", instance_id="i", hostname="fra-2", since=iso(NOW_MS), version="1", channels=1)


@pytest.mark.one_server
@pytest.mark.parametrize(
    ("holder", "channels", "word", "says"),
    [
        (None, [channel()], "none", "no notifier runs"),
        (msgspec.structs.replace(HOLDER, channels=0), [], "none", "no Discord webhook is set on fra-2"),
        (HOLDER, [], "sent", None),
        (HOLDER, [channel("dead", reason="404")], "none", "every channel is dead (ops: 404)"),
        (HOLDER, [channel("dead", reason="404"), channel(name="b")], "sent", "sent to b, but not to ops: 404. Make a"),
        (HOLDER, [channel("failing", reason="503"), channel("unused", name="b")], "sent", "to b, but not to ops: 503."),
        (HOLDER, [channel("failing", reason="503")], "failing", "cannot be delivered at the moment: ops: 503."),
        (HOLDER, [channel("failing"), channel("dead", name="b")], "failing", "ops and b: why is not known."),
        (HOLDER, [channel("waiting", reason="503")], "sent", None),
        (HOLDER, [channel("unused")], "sent", None),
    ],
)
def test_why_nobody_is_told_is_said(
    holder: Holder | None, channels: list[ChannelHealth], word: str, says: str | None
) -> None:
    """Silence must never look like peace."""
    found = Alerting(holder, Health(saved_at=iso(NOW_MS), channels=channels), NOW_MS)
    assert found.word == word
    assert (found.why is None) if says is None else (says in (found.why or ""))


@pytest.mark.one_server
@pytest.mark.parametrize("seen_at_ms", [NOW_MS, NOW_MS + 3_600_000])
def test_dead_and_failing_channels_are_told_apart_each_with_what_to_do(seen_at_ms: int) -> None:
    """Who waits for a dead one to recover waits for ever; who replaces one that only fails does it for nothing."""
    channels = [
        channel("dead", name="ops", reason="not known (404)"),
        channel("failing", name="night", reason="answered 503", queued=2),
        channel("dead", name="boss", reason="not known (404)"),
        channel("failing", name="odd", reason="refused the message (400)"),
        channel("ok", name="dev"),
    ]
    found = Alerting(HOLDER, Health(saved_at=iso(NOW_MS), channels=channels), seen_at_ms)
    assert found.word == "sent"
    assert found.why == (
        "Alerts are sent to dev, but not to ops, night, boss and odd: ops and boss: not known (404); night: answered "
        "503; odd: refused the message (400). Make new webhooks for ops and boss, set their URLs in "
        "PERSEUS_DISCORD_WEBHOOK_URLS on fra-2, then start `perseus serve` or `perseus up` there again. Messages for "
        "night are kept, and sent as soon as they get through; if this lasts, see whether fra-2 can reach Discord. A "
        "test message shows whether odd can be told again."
    )
    assert found.view().why == found.why
