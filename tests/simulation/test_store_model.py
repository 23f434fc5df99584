"""The model of the store answers as real servers do, command by command, and leaves the same keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
import redis.exceptions as rex
from hypothesis import HealthCheck, given, settings

from perseus import keys
from perseus.store import scripts
from tests.simulation.store_model import NO_ID, StoreModel, Stream, ZSet
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

ID = 2
STATUS, EPOCH, LAST, PRIMARY = keys.status(ID), keys.epoch(ID), keys.last(ID), keys.primary(ID)
LOG, COMMANDS, WARMUP = keys.log("binance"), keys.commands(ID), keys.warmup(ID)
CANDLES = keys.candles(ID, "BTC-USDT", "1m")
ALL = (STATUS, EPOCH, LAST, PRIMARY, LOG, COMMANDS, WARMUP, CANDLES)
PRESENT_EPOCH = "what the epoch key holds"
CLAIMS = ("c1", "c2")
Command = tuple[Any, ...]

pytestmark = pytest.mark.foreign_keys


def status_text(claim_id: str, instance_id: str, rev: int, exchange: str) -> str:
    """A payload with what the scripts look at."""
    fields = {"exchangeName": exchange, "claimId": claim_id, "instanceId": instance_id, "rev": rev, "epoch": 5}
    return json.dumps(fields, separators=(",", ":"))


names = st.sampled_from(("binance", "binance", "binance", "kraken"))
payloads = st.builds(status_text, st.sampled_from(CLAIMS), st.sampled_from(("i1", "i2")), st.integers(0, 3), names)
foreign = st.sampled_from(
    (
        "not json",
        "",
        "[1]",
        "7",
        '"text"',
        "{}",
        '  {"exchangeName":"binance","rev":"2"}',
        '{"exchangeName":null}',
        "null",
    )
)
values = st.one_of(payloads, foreign)


def script(name: str, names: Sequence[str], *args: Any) -> Command:
    """A script as it is sent; every server knows it."""
    return ("EVALSHA", getattr(scripts, name).sha, len(names), *names, *args)


@st.composite
def claims(draw: st.DrawFn) -> Command:
    """A claim, perhaps replacing a value that may be there."""
    claim_id = draw(st.sampled_from(CLAIMS))
    floor = draw(st.sampled_from((0, 7, 2_000_000_000_000_000, 9_007_199_254_740_000)))
    least, durable = draw(st.sampled_from((0, 0, 10**6))), draw(st.integers(0, 1))
    text = status_text(claim_id, draw(st.sampled_from(("i1", "i2"))), 0, "binance")
    body = text.replace(',"epoch":5', "")[1:]
    replaceable = draw(st.one_of(st.just(""), values))
    seen = draw(st.sampled_from((PRESENT_EPOCH, PRESENT_EPOCH, PRESENT_EPOCH, "", "5")))
    return script(
        "CLAIM",
        (STATUS, EPOCH, LAST, PRIMARY),
        claim_id, replaceable, draw(st.sampled_from((45, 60))), floor, draw(names), least, durable, seen, body,
    )  # fmt: skip


def renewals() -> st.SearchStrategy[Command]:
    """Renewals, their payloads not always of their own claim."""
    return st.builds(
        lambda claim_id, rev, text: script("RENEW", (STATUS, LAST), claim_id, rev, 45, text, 100, "wake", "{}"),
        st.sampled_from(CLAIMS),
        st.integers(0, 4),
        st.one_of(payloads, payloads.map(lambda text: text.replace(',"epoch":5', ""))),
    )


def releases() -> st.SearchStrategy[Command]:
    """Releases with and without a last word."""
    return st.builds(
        lambda claim_id, text: script("RELEASE", (STATUS, LAST), claim_id, text, 100, "wake", "{}"),
        st.sampled_from(CLAIMS),
        st.one_of(st.just(""), payloads),
    )


@st.composite
def entries(draw: st.DrawFn) -> Command:
    """An entry of the log, or the record of a loss."""
    instance, epoch = draw(st.sampled_from(("i1", "i1", "i1", "i2"))), draw(st.sampled_from(("1", "1", "1", "2")))
    fields = ["instanceId", instance, "epoch", epoch]
    if draw(st.booleans()):
        oldest = draw(st.sampled_from(("0", "0", "99999999999999")))
        return script("RECORD_LOSS", (LOG,), instance, epoch, oldest, "0", "event", "instance_lost", *fields)
    event = draw(st.sampled_from(("state_transition", "lease_lost", "error")))
    to_state = draw(st.sampled_from(("starting", "stopped", "active")))
    seq = draw(st.sampled_from(((), ("seq", 1), ("seq", 2), ("seq", 3))))
    return ("XADD", LOG, "MINID", "~", "0", "*", "event", event, *fields, "toState", to_state, *seq)


def data() -> st.SearchStrategy[Command]:
    """Writes beside the status key, and commands."""
    row = st.tuples(st.integers(1, 4), st.sampled_from(("[1]", "[2]", "[3]")))
    candles = st.builds(
        lambda claim_id, kept, rows: script(
            "WRITE_CANDLES", (STATUS, CANDLES), claim_id, kept, len(rows), *(part for each in rows for part in each)
        ),
        st.sampled_from(CLAIMS),
        st.integers(1, 3),
        st.lists(row, min_size=1, max_size=3),
    )
    value = st.builds(
        lambda claim_id: script("WRITE_VALUE", (STATUS, WARMUP), claim_id, "v", 100), st.sampled_from(CLAIMS)
    )
    return st.one_of(candles, value, st.just(script("APPEND", (COMMANDS,), 1000, 100, "command", "{}")))


def others() -> st.SearchStrategy[Command]:
    """What other programs, and time, do to our keys."""
    strings = st.sampled_from((STATUS, LAST, EPOCH, LOG, WARMUP, CANDLES, PRIMARY))
    return st.one_of(
        st.builds(lambda key, value: ("SET", key, value), strings, values),
        st.builds(lambda value: ("SET", EPOCH, value), st.sampled_from(("3", "-1", "x", "9007199254740000", "007"))),
        st.builds(lambda key: ("DEL", key), st.sampled_from(ALL)),
        st.builds(lambda key, ms: ("PEXPIRE", key, ms), st.sampled_from(ALL), st.sampled_from((0, 50_000))),
        st.builds(lambda key: ("PERSIST", key), st.sampled_from(ALL)),
        st.just(("XADD", STATUS, "*", "a", "b")),
    )


def questions() -> st.SearchStrategy[Command]:
    """What is only read."""
    return st.one_of(
        st.just(script("LOOK", (STATUS, LAST))),
        st.builds(lambda key: ("GET", key), st.sampled_from(ALL)),
        st.builds(lambda key: ("PTTL", key), st.sampled_from(ALL)),
        st.sampled_from(
            (("XREVRANGE", LOG, "+", "-", "COUNT", 1), ("XREVRANGE", COMMANDS, "+", "-"), ("ZRANGE", CANDLES, -2, -1))
        ),
        st.just(("XREAD", "COUNT", 2, "STREAMS", LOG, "0-0")),
    )


anything = st.one_of(claims(), claims(), renewals(), renewals(), releases(), entries(), data(), others(), questions())
of_the_lease = st.one_of(
    claims(), renewals(), renewals(), releases(), st.builds(lambda text: ("SET", STATUS, text), payloads)
)
# what takes several commands of one kind to show would hardly ever come up among all of them
sequences = st.one_of(
    st.lists(anything, min_size=1, max_size=14),
    st.lists(of_the_lease, min_size=3, max_size=10),
    st.lists(entries(), min_size=3, max_size=10),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commands=sequences)
def test_model_answers_as_a_server_does(server: Server, commands: list[Command]) -> None:
    """What holds on a store that does not exist would prove nothing."""
    server.call("FLUSHALL")
    for name in ("APPEND", "CLAIM", "LOOK", "RECORD_LOSS", "RELEASE", "RENEW", "WRITE_CANDLES", "WRITE_VALUE"):
        server.call("SCRIPT", "LOAD", getattr(scripts, name).text)
    twin = Twin(server)
    for command in commands:
        expected, answered = twin.execute(command)
        assert is_same(answered, expected), f"{command} after {commands}: model {answered}, server {expected}"
    assert twin.contents() == {key: found for key in ALL if (found := content_of(server, key)) is not None}


def test_model_times_out_as_a_server_does(server: Server) -> None:
    """A lease ends in both at the same millisecond of the clock given."""
    now_us = 1_000_000_000_000
    model = StoreModel(lambda: now_us)
    model.execute(("SET", STATUS, "x", "PX", 50))
    assert model.execute(("PTTL", STATUS)) == 50
    now_us += 50_000
    assert model.execute(("GET", STATUS)) == b"x"
    now_us += 1_000
    assert model.execute(("PTTL", STATUS)) == -2
    server.call("SET", STATUS, "x", "PX", 50)
    assert 0 <= server.call("PTTL", STATUS) <= 50


async def test_model_settles_as_a_promoted_server_does(start_server: Callable[..., Server]) -> None:
    """The rule after a failover reads INFO, which no sequence of commands changes."""
    primary, replica = start_server("valkey9"), start_server("valkey9")
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    await wait_until_async(
        lambda: b"master_link_status:up" in replica.call("INFO", "replication"), description="the replica is connected"
    )
    replica.call("REPLICAOF", "NO", "ONE")
    replica.call("SCRIPT", "LOAD", scripts.CLAIM.text)
    twin = Twin(replica)
    replid = twin.model.replid
    assert twin.model.replid2 != NO_ID
    body = status_text("c1", "i1", 0, "binance")[1:]
    for note in ("", f"{replid} 1000000", f"{replid} 9000000000000000", f"{'0' * 40} 1000000", "nonsense"):
        twin.execute(("SET", PRIMARY, note))
        command = script("CLAIM", (STATUS, EPOCH, LAST, PRIMARY), "c1", "", 45, 0, "binance", 10**6, 1, "", body)
        expected, answered = twin.execute(command)
        assert is_same(answered, expected), f"with note {note!r}: model {answered}, server {expected}"
        assert twin.contents() == {key: found for key in ALL if (found := content_of(replica, key)) is not None}


class Twin:
    """A server and a model of it, given the same commands at the same moment: the one the server's answer tells."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._now_us = self._uptime_s = 0
        self.model = StoreModel(lambda: self._now_us)
        self.model.uptime_s = lambda: self._uptime_s
        lines = server.call("INFO").decode().splitlines()
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        self.model.run_id = found["run_id"]
        self.model.replid, self.model.replid2 = found["master_replid"], found["master_replid2"]
        self.model.known_scripts = {each.sha for each in vars(scripts).values() if isinstance(each, scripts.Script)}

    def execute(self, command: Command) -> tuple[Any, Any]:
        """What the server answers, and the model; an error reply is returned."""
        epoch = self.model.value(EPOCH)
        present = epoch if isinstance(epoch, bytes) else b""
        command = tuple(present if part == PRESENT_EPOCH else part for part in command)
        try:
            reply = self._server.call(*command)
        except rex.ResponseError as error:
            reply = error
        self._set_clock(command, reply)
        return reply, self.model.execute(command)

    def contents(self) -> dict[str, Any]:
        """What the model holds: values, and whether they have a TTL."""
        found: dict[str, Any] = {}
        for key in ALL:
            value = self.model.value(key)
            if isinstance(value, bytes):
                found[key] = (value, key in self.model.expires)
            elif isinstance(value, Stream):
                found[key] = ([list(fields) for _, fields in value.entries], key in self.model.expires)
            elif isinstance(value, ZSet):
                found[key] = (self.model.execute(("ZRANGE", key, 0, -1)), key in self.model.expires)
        return found

    def _set_clock(self, command: Command, reply: Any) -> None:
        name = self.model.script_name(command)
        answer = reply if isinstance(reply, list) else [reply]
        if name in ("claim", "renew") and isinstance(reply, list):
            self._now_us = int(answer[1])
            self._uptime_s = int(answer[2]) if name == "claim" else 0
        elif name == "look":
            self._now_us, self._uptime_s = int(answer[0]), int(answer[1])
        elif (name in ("append", "record_loss") or command[0] == "XADD") and isinstance(answer[-1], bytes):
            self._now_us = 1000 * int(answer[-1].partition(b"-")[0])
        else:
            self._now_us = int(b"%d%06d" % tuple(int(part) for part in self._server.call("TIME")))


def is_same(answered: Any, expected: Any) -> bool:
    """Whether two replies say the same; of errors the kind counts, what is left of a TTL may differ by a moment."""
    if isinstance(expected, list):
        both = isinstance(answered, list) and len(answered) == len(expected)
        return both and all(is_same(*each) for each in zip(answered, expected, strict=True))
    if isinstance(expected, Exception):
        return isinstance(answered, Exception) and ("WRONGTYPE" in str(answered)) == ("WRONGTYPE" in str(expected))
    if isinstance(expected, bytes) and isinstance(answered, bytes):
        if expected.startswith(b"WRONGTYPE") and answered.startswith(b"WRONGTYPE"):
            return True
        if expected.isdigit() and answered.isdigit() and 1000 < int(expected) < 200_000:
            return is_same(int(answered), int(expected))
    if isinstance(expected, int) and isinstance(answered, int) and expected > 1000:
        return abs(expected - answered) < 1000
    return bool(answered == expected)


def content_of(server: Server, key: str) -> Any:
    """The same of a server; None without the key."""
    kind, has_ttl = server.call("TYPE", key), server.call("PTTL", key) >= 0
    match kind:
        case b"string":
            return server.call("GET", key), has_ttl
        case b"stream":
            return [fields for _, fields in server.call("XRANGE", key, "-", "+")], has_ttl
        case b"zset":
            return server.call("ZRANGE", key, 0, -1), has_ttl
        case _:
            return None
