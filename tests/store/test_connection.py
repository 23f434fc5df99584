"""The connection: typed operations, and each failure told apart, with the key or command it is about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from perseus.errors import BadConfiguration, StoreDenied, StoreRefused, StoreUnavailable, UnreadableKey
from perseus.store import Store, redacted, scripts
from perseus.store.url import Address, parse_url
from tests.store.calls import LAST, LOG, STATUS, claim, claimed_epoch, renew
from tests.support.proxy import FaultProxy
from tests.support.servers import BINARIES, Server
from tests.support.system import free_port

RUNS_EVERYWHERE = True

StartServer = Callable[..., Server]
Connect = Callable[..., Store]
BOTH = pytest.mark.parametrize("kind", sorted(BINARIES))


async def test_script_is_loaded_again_when_the_server_forgot_it(store: Store, server: Server) -> None:
    """A restarted or failed-over server knows no script; the holder must renew all the same."""
    await claimed_epoch(store)
    server.call("SCRIPT", "FLUSH")
    assert (await renew(store))[0] == b"RENEWED"


@pytest.mark.one_server
async def test_repeated_script_is_sent_by_its_hash(store: Store, server: Server) -> None:
    """A renewal is one round trip: sending a script's text each time would double the traffic."""
    await claimed_epoch(store)
    server.call("CONFIG", "RESETSTAT")
    for rev in range(2, 12):
        await renew(store, rev=rev)
    stats = server.call("INFO", "commandstats").decode()
    assert "cmdstat_evalsha:calls=10," in stats.replace("cmdstat_EVALSHA", "cmdstat_evalsha")
    assert "cmdstat_eval:calls=1," in stats  # `renew` itself, for the first time


async def test_time_is_the_servers(store: Store, server: Server) -> None:
    """All timestamps are the store's; it is Unix milliseconds with a fraction."""
    before = server.call("TIME")
    now = await store.time_ms()
    after = server.call("TIME")
    assert int(before[0]) * 1000 <= now <= int(after[0]) * 1000 + 1000


async def test_stream_is_read_newest_first_in_pages(store: Store) -> None:
    """The feed pages with the last id it saw, excluded."""
    ids = [await store.append(LOG, {"n": str(n)}, min_id=None) for n in range(5)]
    first = await store.entries(LOG, count=2)
    rest = await store.entries(LOG, newest=f"({first[-1].id}", count=10)
    assert [entry.id for entry in (*first, *rest)] == ids[::-1]
    assert first[0].fields == {"n": "4"}
    assert await store.newest_id(LOG) == ids[-1]
    assert await store.newest_id("logs:network:kraken") == "0-0"


async def test_entry_ids_order_as_numbers(store: Store, server: Server) -> None:
    """As text, 9-0 would come after 10-0, and 5-9 after 5-10."""
    for entry_id in ("9-0", "9-9", "9-10", "10-0"):
        server.call("XADD", LOG, entry_id, "n", "1")
    entries = await store.entries(LOG, count=10)
    assert [entry.id for entry in sorted(entries, key=lambda entry: entry.order)] == ["9-0", "9-9", "9-10", "10-0"]


async def test_undecodable_entry_does_not_hide_the_others(store: Store, server: Server) -> None:
    """Another program's bytes must not make a feed unreadable."""
    server.call("XADD", LOG, "*", b"event", b"\xff\xfe")
    await store.append(LOG, {"event": "error"}, min_id=None)
    assert [entry.fields["event"] for entry in await store.entries(LOG, count=5)] == ["error", "\ufffd\ufffd"]


async def test_append_trims_what_is_older_than_asked(store: Store) -> None:
    """LOG-04: retention is inline with each append."""
    for n in range(300):
        await store.append(LOG, {"n": str(n)}, min_id=None)
    newest = await store.append(LOG, {"n": "last"}, min_id=await store.newest_id(LOG))
    left = await store.entries(LOG, count=1000)
    assert left[0].id == newest
    assert len(left) < 150  # `~` trims whole nodes


async def test_waiting_for_entries_returns_what_came_or_nothing(store: Store, server: Server) -> None:
    """The instance listens for commands this way; an empty wait is no failure."""
    assert await store.wait_entries({LOG: "0"}, block=0.02) == {}
    entry_id = await store.append(LOG, {"n": "1"}, min_id=None)
    (found,) = (await store.wait_entries({LOG: "0"}, block=5))[LOG]
    assert (found.id, found.fields) == (entry_id, {"n": "1"})
    assert await store.wait_entries({LOG: entry_id}, block=0.02) == {}


async def test_one_unreadable_key_does_not_hide_the_others(store: Store, server: Server) -> None:
    """A snapshot of all exchanges: the broken one stands in its place, named."""
    await claimed_epoch(store)
    await store.append(LOG, {"n": "1"}, min_id=None)
    status, unreadable, missing = await store.pipeline(["GET", STATUS], ["GET", LOG], ["GET", LAST])
    assert isinstance(unreadable, UnreadableKey)
    assert unreadable.key == LOG
    assert (status is not None, missing) == (True, None)


async def test_key_of_another_type_is_unreadable_and_named(store: Store) -> None:
    """The person who must look at it needs the key."""
    await store.append(LOG, {"n": "1"}, min_id=None)
    with pytest.raises(UnreadableKey, match=LOG) as caught:
        await store.get(LOG)
    assert caught.value.key == LOG
    assert caught.value.reason.startswith("WRONGTYPE")


async def test_server_answers_questions_about_itself(store: Store) -> None:
    """What start-up checks read: version, policy, role."""
    info = await store.info("server", "memory", "replication")
    assert {"redis_version", "uptime_in_seconds", "maxmemory_policy", "role"} <= set(info)
    assert await store.config("maxmemory-policy") == "noeviction"
    assert await store.config("no-such-parameter") is None


@BOTH
async def test_wrong_credentials_are_denied_without_printing_them(
    start_server: StartServer, kind: str, connect: Connect
) -> None:
    """A password in an error ends up in a log or a chat."""
    server = start_server(kind, password="right-password")
    for url in (server.url_for("", "wrong-secret"), server.url_for("nobody", "wrong-secret")):
        store = connect(url)
        with pytest.raises(StoreDenied, match="STORE_URL") as caught:
            await store.time_ms()
        assert "wrong-secret" not in str(caught.value)
    store = connect(f"redis://127.0.0.1:{server.port}")
    with pytest.raises(StoreDenied):
        await store.time_ms()


@BOTH
async def test_missing_rights_are_denied_also_inside_a_script(
    start_server: StartServer, kind: str, connect: Connect
) -> None:
    """Retrying will not help: a person must change the ACL."""
    server = start_server(kind, acl=["narrow on >secret ~exchange:* ~{exchange:* &* +@all -set -get -config"])
    store = connect(server.url_for("narrow", "secret"))
    with pytest.raises(StoreDenied):
        await store.get(STATUS)
    with pytest.raises(StoreDenied):
        await store.append(LOG, {"n": "1"}, min_id=None)  # a key we may not touch
    with pytest.raises(StoreDenied):
        await store.run(scripts.RECORD_LOSS, keys=[LOG], args=["i1", "1", "0", "", "event", "instance_lost"])
    assert await store.config("maxmemory-policy") is None


@BOTH
async def test_script_that_may_not_write_is_denied(start_server: StartServer, kind: str, connect: Connect) -> None:
    """A script reads before it writes: the refusal comes from inside it."""
    server = start_server(kind, acl=["narrow on >secret ~* &* +@all -set"])
    store = connect(server.url_for("narrow", "secret"))
    with pytest.raises(StoreDenied, match="refused us"):
        await claim(store)


@BOTH
async def test_full_store_refuses_and_says_so(start_server: StartServer, kind: str, connect: Connect) -> None:
    """Out of memory is an answer: nothing was done, unlike silence."""
    server = start_server(kind, config={"maxmemory": "1"})
    store = connect(server.url)
    with pytest.raises(StoreRefused, match="claim: command not allowed when used memory"):
        await claim(store)
    with pytest.raises(StoreRefused, match="XADD: command not allowed when used memory"):
        await store.append(LOG, {"n": "1"}, min_id=None)


@BOTH
async def test_replica_refuses_and_says_so(start_server: StartServer, kind: str, connect: Connect) -> None:
    """After a failover the old primary is a replica: its refusal must not count as a renewal."""
    server = start_server(kind)
    store = connect(server.url)
    await claimed_epoch(store)
    server.call("REPLICAOF", "127.0.0.1", free_port())
    with pytest.raises(StoreRefused, match="read only replica"):
        await renew(store)


async def test_unreachable_store_is_unavailable_at_once(connect: Connect) -> None:
    """A refused connection needs no timeout, and the message names the address."""
    port = free_port()
    store = connect(f"redis://:secret@127.0.0.1:{port}", timeout=5)
    with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{port}") as caught:
        await store.time_ms()
    assert not isinstance(caught.value, StoreRefused)
    assert "secret" not in str(caught.value)


async def test_connection_recovers_by_itself(store: Store, server: Server, proxy: FaultProxy, connect: Connect) -> None:
    """The instance lives through an outage with the store object it has."""
    through = connect(proxy.url, timeout=1)
    await through.time_ms()
    proxy.refuse()
    proxy.reset()
    with pytest.raises(StoreUnavailable):
        await through.time_ms()
    proxy.accept()
    assert await through.time_ms() > 0


async def test_unix_socket_works(start_server: StartServer, data_dir: Path, connect: Connect) -> None:
    """The embedded store is reached this way."""
    start_server(config={"unixsocket": str(data_dir / "s")})
    store = connect(f"unix://{data_dir / 's'}")
    assert await store.time_ms() > 0


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://localhost:6379", "does not begin with"),
        ("localhost:6379", "does not begin with"),
        ("redis:localhost", "does not begin with"),
        ("", "does not begin with"),
        ("redis+other://h", "does not begin with"),
        ("unix+cluster://h", "does not begin with"),
        ("redis+cluster://", "names no host"),
        ("redis+cluster://u:p@,", "names no host"),
        ("redis+cluster://h1:port,h2", "not a URL"),
        ("redis+cluster://:7000", "a port without a host"),
        ("redis+cluster://h1,h2/1", "names a database"),
        ("redis+cluster://h1?ssl_ca_certs=x", "option 'ssl_ca_certs' is not known"),
        ("rediss+cluster://h1?db=1", "option 'db' is not known"),
        ("redis+sentinel://h1,h2", "names no service"),
        ("redis+sentinel://h1/mymaster/one", "not a database number"),
        ("redis+sentinel://h1/mymaster?sentinel_user=x", "option 'sentinel_user' is not known"),
        ("redis://h:port", "not a URL"),
        ("redis://h:99999", "not a URL"),
        ("redis://[::1", "not a URL"),
        ("redis://h/db", "not a database number"),
        ("redis://h?socket_timeout=60", "option 'socket_timeout' is not known"),
        ("redis://h?decode_responses=1", "option 'decode_responses' is not known"),
        ("rediss://h?ssl_cert=x", "option 'ssl_cert' is not known"),
        ("unix://", "names no socket"),
    ],
)
def test_url_that_cannot_be_used_is_refused_with_its_reason(url: str, reason: str) -> None:
    """Before anything starts, with what to write instead."""
    with pytest.raises(BadConfiguration, match=reason):
        Store(url)


@pytest.mark.parametrize(
    ("url", "kind", "node", "sentinel"),
    [
        ("redis+cluster://a,b:7001", "cluster", "redis://n:1", None),
        (
            "rediss+cluster://u:p%2F@a/?ssl_ca_certs=/c.pem",
            "cluster",
            "rediss://u:p%2F@n:1?ssl_ca_certs=%2Fc.pem",
            None,
        ),
        ("redis+cluster://[::1]:7000,[::2]", "cluster", "redis://n:1", None),
        ("redis+sentinel://a,b:2/main", "sentinel", "redis://n:1", "redis://s:2"),
        (
            "rediss+sentinel://u:p@a/main/3?sentinel_username=w&sentinel_password=p%40&ssl_cert_reqs=none",
            "sentinel",
            "rediss://u:p@n:1/3?ssl_cert_reqs=none",
            "rediss://w:p%40@s:2?ssl_cert_reqs=none",
        ),
        ("redis+sentinel://:p@a/main?sentinel_password=q", "sentinel", "redis://:p@n:1", "redis://:q@s:2"),
    ],
)
def test_url_of_several_hosts_says_how_each_is_reached(url: str, kind: str, node: str, sentinel: str | None) -> None:
    """Credentials and encryption hold for whatever nodes turn up; Sentinels have users of their own."""
    target = parse_url(url)
    assert (target.kind, target.node_url(Address("n", 1))) == (kind, node)
    if sentinel is not None:
        assert target.sentinel_url(Address("s", 2)) == sentinel


def test_url_names_its_hosts_with_the_usual_ports() -> None:
    """6379 for nodes, 26379 for Sentinels, brackets around IPv6."""
    assert list(map(str, parse_url("redis+cluster://a,b:7001,[::1]").addresses)) == ["a:6379", "b:7001", "[::1]:6379"]
    target = parse_url("redis+sentinel://a,b:7001/my%20master")
    assert (list(map(str, target.addresses)), target.service) == (["a:26379", "b:7001"], "my master")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://me@h:1/0", "redis://me@h:1/0"),
        ("redis://me:hunter2@h:1/0", "redis://me:***@h:1/0"),
        ("redis://:hunter2@h", "redis://:***@h"),
        ("redis://:hun@ter2@h", "redis://:***@h"),
        ("redis://:hun?ter2@h", "redis://:***@h"),
        ("redis://:hun/ter2@h:x", "redis://:***@h:x"),
        ("me:hunter2@h:1", "***@h:1"),
        ("redis://h?password=hunter2", "redis://h"),
        ("redis+cluster://me:hunter2@h1:1,h2", "redis+cluster://me:***@h1:1,h2"),
        ("redis+sentinel://:hunter2@h1,h2/s?sentinel_password=hunter2", "redis+sentinel://:***@h1,h2/s"),
        ("rediss://h?ssl_cert_reqs=none", "rediss://h"),
    ],
)
def test_password_is_never_shown(url: str, shown: str) -> None:
    """Not even for a URL that is mistyped: that is when it is printed."""
    assert redacted(url) == shown
