"""A model of the store: the scripts and commands Perseus uses, on one server, as of a clock that is given.

`test_store_model.py` compares it with real servers, command by command. What the product does not depend on is left
out: pub/sub, hash slots, and what `MINID ~` and `MAXLEN ~` may trim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import redis.exceptions as rex

from perseus.store import scripts

_EPOCH_LIMIT = 9_007_199_254_740_000
_SCANNED = 5000
_PAGE = 100
_TERMINAL = {b"instance_lost", b"lease_lost", b"lease_lapsed", b"handoff_completed"}
_WRONG_TYPE = "Operation against a key holding the wrong kind of value"
_SPACE = b" \t\n\v\f\r"
NO_ID = "0" * 40

Id = tuple[int, int]


class Stream(NamedTuple):
    """Entries oldest first, each with its fields flat; the highest id ever given."""

    entries: tuple[tuple[Id, tuple[bytes, ...]], ...] = ()
    last: Id = (0, 0)


class ZSet(NamedTuple):
    """Scores by member."""

    scores: Mapping[bytes, float]


Value = bytes | Stream | ZSet


class Snapshot(NamedTuple):
    """Everything a server holds. Values are never changed in place, so this is cheap."""

    values: dict[str, Value]
    expires: dict[str, int]


class ScriptFailed(Exception):
    """The script raised an error: a reply of its own."""


HANDOVER_S = 4  # for how long an old primary may go on granting leases in a planned failover


class StoreModel:
    """One server. `now_us`: its wall clock, Unix microseconds; `uptime_s`, `run_id`, `replid`, `replid2`: as in INFO.

    `denies_info`: our user may not ask. `denied`: a command every call of which is refused with this reply.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self.now_us = now_us
        self.values: dict[str, Value] = {}
        self.expires: dict[str, int] = {}
        self.uptime_s: Callable[[], int] = lambda: 1_000_000
        self.run_id = "1" * 40
        self.replid = "a" * 40
        self.replid2 = NO_ID
        self.denies_info = False
        self.config: dict[str, str] = {"appendonly": "no", "appendfsync": "everysec"}
        self.known_scripts: set[str] = set()
        self.has_changed = False  # for whoever looks, and sets it back
        self._scripts = {
            getattr(scripts, name.upper()).sha: (name, getattr(self, f"_{name}"))
            for name in ("append", "claim", "look", "record_loss", "release", "renew", "write_candles", "write_value")
        }
        self._shas = {getattr(scripts, name.upper()).text: sha for sha, (name, _) in self._scripts.items()}

    # -- commands ---------------------------------------------------------------------------------------------------

    def execute(self, command: Sequence[str | bytes | int | float]) -> Any:
        """Carry out a command; its reply, as the client library would give it: errors are returned."""
        name, *given = command
        args = [_encoded(arg) for arg in given]
        try:
            return getattr(self, f"_do_{str(name).lower().replace(' ', '_')}")(*args)
        except (rex.ResponseError, ScriptFailed) as error:
            return rex.ResponseError(str(error)) if isinstance(error, ScriptFailed) else error

    def snapshot(self) -> Snapshot:
        """What is held now."""
        return Snapshot(dict(self.values), dict(self.expires))

    def restore(self, held: Snapshot) -> None:
        """Hold this, and nothing else."""
        self.values, self.expires = dict(held.values), dict(held.expires)

    def script_name(self, command: Sequence[Any]) -> str:
        """Which of our scripts a command runs; "" if none."""
        if command[0] not in ("EVALSHA", "EVAL"):
            return ""
        sha = str(command[1]) if command[0] == "EVALSHA" else self._shas[str(command[1])]
        return self._scripts[sha][0]

    def _do_evalsha(self, sha: bytes, count: bytes, *rest: bytes) -> Any:
        if sha.decode() not in self.known_scripts:
            return rex.NoScriptError("No matching script. Please use EVAL.")
        keys = [key.decode() for key in rest[: int(count)]]
        return self._scripts[sha.decode()][1](keys, list(rest[int(count) :]))

    def _do_eval(self, text: bytes, count: bytes, *rest: bytes) -> Any:
        sha = self._shas[text.decode()]
        self.known_scripts.add(sha)
        return self._do_evalsha(sha.encode(), count, *rest)

    def _do_time(self) -> list[bytes]:
        seconds, micros = divmod(self.now_us(), 1_000_000)
        return [b"%d" % seconds, b"%d" % micros]

    def _do_get(self, key: bytes) -> bytes | None:
        return self.string(key.decode())

    def _do_set(self, key: bytes, value: bytes, *options: bytes) -> bytes:
        name = key.decode()
        self._put(name, value)
        self.expires.pop(name, None)
        if options:
            factor = {b"EX": 1000, b"PX": 1}[options[0]]
            self.expires[name] = self._now_ms() + int(options[1]) * factor
        return b"OK"

    def _do_del(self, key: bytes) -> int:
        is_there = self.value(key.decode()) is not None
        self._delete(key.decode())
        return int(is_there)

    def _do_pexpire(self, key: bytes, ms: bytes) -> int:
        if self.value(key.decode()) is None:
            return 0
        if int(ms) <= 0:
            self._delete(key.decode())
        else:
            self.expires[key.decode()] = self._now_ms() + int(ms)
        return 1

    def _do_persist(self, key: bytes) -> int:
        is_there = self.value(key.decode()) is not None
        return int(is_there and self.expires.pop(key.decode(), None) is not None)

    def _do_pttl(self, key: bytes) -> int:
        name = key.decode()
        if self.value(name) is None:
            return -2
        return max(0, self.expires[name] - self._now_ms()) if name in self.expires else -1

    def _do_xadd(self, key: bytes, *rest: bytes) -> bytes:
        at = rest.index(b"*")
        stream = self._stream(key.decode())
        now_ms, (last_ms, last_seq) = self._now_ms(), stream.last
        entry_id = (now_ms, 0) if now_ms > last_ms else (last_ms, last_seq + 1)
        self._put(key.decode(), Stream((*stream.entries, (entry_id, tuple(rest[at + 1 :]))), entry_id))
        return _id_text(entry_id)

    def _do_xrevrange(self, key: bytes, newest: bytes, oldest: bytes, *count: bytes) -> list[Any]:
        entries = self._stream(key.decode()).entries
        upper, lower = _bound(newest, is_upper=True), _bound(oldest, is_upper=False)
        found = [[_id_text(at), list(fields)] for at, fields in reversed(entries) if lower <= at <= upper]
        return found[: int(count[1])] if count else found

    def _do_xread(self, *args: bytes) -> list[Any] | None:
        """As without BLOCK: who waits is the caller's affair."""
        count = int(args[args.index(b"COUNT") + 1])
        names = args[args.index(b"STREAMS") + 1 :]
        found = []
        for key, after in zip(names[: len(names) // 2], names[len(names) // 2 :], strict=True):
            entries = self._stream(key.decode()).entries
            later = [[_id_text(at), list(fields)] for at, fields in entries if at > _bound(after, is_upper=False)]
            if later:
                found.append([key, later[:count]])
        return found or None

    def _do_zrange(self, key: bytes, first: bytes, last: bytes) -> list[bytes]:
        members = sorted(self._zset(key.decode()).items(), key=lambda item: (item[1], item[0]))
        end = int(last)
        return [member for member, _ in members][int(first) : end + 1 if end != -1 else None]

    def _do_config_get(self, parameter: bytes) -> list[bytes]:
        value = self.config.get(parameter.decode())
        return [] if value is None else [parameter, value.encode()]

    # -- scripts ----------------------------------------------------------------------------------------------------

    def _claim(self, keys: list[str], args: list[bytes]) -> list[Any]:  # noqa: PLR0911  line by line as claim.lua
        claim_id, replaceable, ttl_s, floor, exchange, least_s, is_durable, seen, payload = args
        now = self.now_us()
        settled_s, server_id = self._settled(keys[3], now, is_durable=is_durable == b"1")
        shown_s = b"%d" % min(settled_s, _EPOCH_LIMIT)

        def reply(outcome: bytes, *rest: Any) -> list[Any]:
            return [outcome, b"%d" % now, shown_s, server_id.encode(), *rest]

        raw, status, fault = self._read(keys[0])
        if fault:
            return reply(b"UNREADABLE", keys[0].encode(), fault)
        raw_last, last, fault = self._read(keys[2])
        if fault:
            return reply(b"UNREADABLE", keys[2].encode(), fault)
        if status is not None and _text_of(status, "exchangeName") != exchange:
            return reply(b"MISNAMED", keys[0].encode(), raw)
        if last is not None and _text_of(last, "exchangeName") != exchange:
            return reply(b"MISNAMED", keys[2].encode(), raw_last)
        if status is not None and self._is_repeated(status, claim_id):
            self._expire(keys[0], int(ttl_s))
            return reply(b"CLAIMED", _integer(status.get("epoch")), raw_last or b"")
        if last is not None and _text_of(last, "claimId") == claim_id:
            return reply(b"OVER")
        if raw is not None and raw != replaceable:
            return reply(b"HELD", raw, b"%d" % self._do_pttl(keys[0].encode()))
        needed_s = int(least_s) + (HANDOVER_S if self.replid2 != NO_ID and not self.denies_info else 0)
        if int(least_s) > 0 and settled_s < needed_s:
            return reply(b"SETTLING", b"%d" % (needed_s - max(int(settled_s), 0)))
        stored = self.values.get(keys[1]) if self.value(keys[1]) is not None else None
        if stored is not None and not isinstance(stored, bytes):
            return reply(b"UNREADABLE", keys[1].encode(), f"WRONGTYPE {_WRONG_TYPE}".encode())
        if stored is not None and not (stored.isdigit() and int(stored) < _EPOCH_LIMIT):
            return reply(b"UNREADABLE", keys[1].encode(), b"not an integer below 2^53")
        if not self._is_unchanged(stored, seen):
            return reply(b"CHANGED")
        epoch = self._next_epoch(stored=int(stored) if stored is not None else None, now=now, floor=int(floor))
        if epoch >= _EPOCH_LIMIT:
            return reply(b"UNREADABLE", keys[1].encode(), b"the next epoch would pass 2^53")
        self._set(keys[1], b"%d" % epoch, None)
        self._set(keys[0], b'{"epoch":%d,' % epoch + payload, int(ttl_s))
        return reply(b"CLAIMED", b"%d" % epoch, raw_last or b"")

    def _is_unchanged(self, stored: bytes | None, seen: bytes) -> bool:
        return (stored or b"") == seen

    def _is_repeated(self, status: dict[str, Any], claim_id: bytes) -> bool:
        return _text_of(status, "claimId") == claim_id

    def _next_epoch(self, *, stored: int | None, now: int, floor: int) -> int:
        return max((stored or 0) + 1, now, floor + 1)

    def _settled(self, primary: str, now: int, *, is_durable: bool) -> tuple[float, str]:
        """For how long this server has been the primary, and its replication id; (-1, "") if it does not say."""
        if self.denies_info:
            return -1, ""
        if self.replid2 == NO_ID:
            return (math.inf if is_durable else self.uptime_s()), self.replid
        noted = self.value(primary)
        if noted is not None and not isinstance(noted, bytes):
            return -1, self.replid
        noted_id, _, since = (noted or b"").partition(b" ")
        if since.isdigit() and noted_id.decode() == self.replid and int(since) <= now:
            return (now - int(since)) // 1_000_000, self.replid
        self._set(primary, f"{self.replid} {now}".encode(), 7_776_000)
        return 0, self.replid

    def _renew(self, keys: list[str], args: list[bytes]) -> list[Any]:
        claim_id, rev, ttl_s, payload, last_ttl_s, *_ = args
        now = b"%d" % self.now_us()
        raw, status, fault = self._read(keys[0])
        if fault:
            return [b"UNREADABLE", now, keys[0].encode(), fault]
        if status is None:
            return self._renew_missing(now, keys, args)
        sent_epoch = msgspec.json.decode(payload).get("epoch") or status.get("epoch")
        if not self._is_holder(status, claim_id, sent_epoch):
            return [b"LOST", now, raw]
        if self._is_superseded(status, int(rev)):
            return [b"SUPERSEDED", now]
        self._set(keys[0], payload, int(ttl_s))
        self._set(keys[1], payload, int(last_ttl_s))
        return [b"RENEWED", now]

    def _renew_missing(self, now: bytes, _keys: list[str], _args: list[bytes]) -> list[Any]:
        return [b"MISSING", now]

    def _is_holder(self, status: dict[str, Any], claim_id: bytes, epoch: Any) -> bool:
        return _text_of(status, "claimId") == claim_id and status.get("epoch") == epoch

    def _is_superseded(self, status: dict[str, Any], rev: int) -> bool:
        return _number(status.get("rev")) >= rev

    def _release(self, keys: list[str], args: list[bytes]) -> list[Any]:
        claim_id, final, last_ttl_s, *_ = args
        raw, status, fault = self._read(keys[0])
        if fault:
            return [b"UNREADABLE", keys[0].encode(), fault]
        if status is None:
            return [b"MISSING"]
        if _text_of(status, "claimId") != claim_id:
            return [b"LOST", raw]
        if final:
            self._set(keys[1], final, int(last_ttl_s))
        self._delete(keys[0])
        return [b"RELEASED"]

    def _write_value(self, keys: list[str], args: list[bytes]) -> list[Any]:
        if (refused := self._refused(keys[0], args[0])) is not None:
            return [b"REFUSED", refused]
        self._set(keys[1], args[1], int(args[2]))
        return [b"OK"]

    def _write_candles(self, keys: list[str], args: list[bytes]) -> list[Any]:
        if (refused := self._refused(keys[0], args[0])) is not None:
            return [b"REFUSED", refused]
        kept, at = int(args[1]), 2
        for key in keys[1:]:
            scores = dict(self._zset(key))
            count, at = int(args[at]), at + 1
            for score, member in zip(args[at : at + 2 * count : 2], args[at + 1 : at + 2 * count : 2], strict=True):
                scores = {other: value for other, value in scores.items() if value != float(score)}
                scores[member] = float(score)
            at += 2 * count
            newest = sorted(scores.items(), key=lambda item: (item[1], item[0]))[-kept:] if kept else []
            if newest:
                self._put(key, ZSet(dict(newest)))
            else:
                self._delete(key)
        return [b"OK"]

    def _refused(self, key: str, claim_id: bytes) -> bytes | None:
        """What the status key held (`b""`: nothing readable) if the writer's claim is not in it."""
        raw = self.value(key)
        if not isinstance(raw, bytes):
            return b""
        status = _decoded(raw)
        if isinstance(status, dict) and _text_of(status, "claimId") == claim_id:
            return None
        return raw

    def _append(self, keys: list[str], args: list[bytes]) -> bytes:
        entry_id = self._do_xadd(keys[0].encode(), b"*", *args[2:])
        self._expire(keys[0], int(args[1]))
        return entry_id

    def _record_loss(self, keys: list[str], args: list[bytes]) -> list[Any]:
        instance, epoch, oldest, _min_id, *fields = args
        stream = self._stream(keys[0])
        lower, restarted = _bound(oldest, is_upper=False), -1.0
        for seen, (at, flat) in enumerate(reversed(stream.entries)):
            if at < lower or seen >= _SCANNED:
                break
            entry = dict(zip(flat[::2], flat[1::2], strict=True))
            if (entry.get(b"instanceId"), entry.get(b"epoch")) != (instance, epoch):
                continue
            if entry.get(b"event") in _TERMINAL:
                return [b"ALREADY", _id_text(at)]
            if entry.get(b"event") == b"state_transition":
                seq = entry.get(b"seq")
                if entry.get(b"toState") == b"stopped" and _number(seq and seq.decode()) > restarted:
                    return [b"ALREADY", _id_text(at)]
                if entry.get(b"toState") == b"starting":
                    restarted = max(restarted, _number(seq.decode()) if seq else math.inf)
        return [b"RECORDED", self._do_xadd(keys[0].encode(), b"*", *fields)]

    def _look(self, keys: list[str], _args: list[bytes]) -> list[Any]:
        reply: list[Any] = [b"%d" % self.now_us()]
        reply += [b"-1", b""] if self.denies_info else [b"%d" % self.uptime_s(), self.run_id.encode()]
        reply.append(self._do_pttl(keys[0].encode()))
        for key in keys:
            value = self.value(key)
            if value is not None and not isinstance(value, bytes):
                reply += [b"", f"WRONGTYPE {_WRONG_TYPE}".encode()]
            else:
                reply += [value or b"", b""]
        return reply

    # -- keys -------------------------------------------------------------------------------------------------------

    def value(self, key: str) -> Value | None:
        """What a key holds; None if there is no such key, or its time is over."""
        if self.expires.get(key, math.inf) < self._now_ms():
            self._delete(key)
        return self.values.get(key)

    def string(self, key: str) -> bytes | None:
        """The string at a key. Raises: the reply for a key of another type."""
        value = self.value(key)
        if value is not None and not isinstance(value, bytes):
            raise rex.ResponseError(f"WRONGTYPE {_WRONG_TYPE}")
        return value

    def _now_ms(self) -> int:
        return self.now_us() // 1000

    def _put(self, key: str, value: Value) -> None:
        self.values[key] = value
        self.has_changed = True

    def _set(self, key: str, value: bytes, ttl_s: int | None) -> None:
        self._put(key, value)
        self.expires.pop(key, None)
        if ttl_s is not None:
            self.expires[key] = self._now_ms() + ttl_s * 1000

    def _expire(self, key: str, ttl_s: int) -> None:
        self.expires[key] = self._now_ms() + ttl_s * 1000

    def _delete(self, key: str) -> None:
        self.has_changed |= self.values.pop(key, None) is not None
        self.expires.pop(key, None)

    def _stream(self, key: str) -> Stream:
        value = self.value(key)
        if value is not None and not isinstance(value, Stream):
            raise rex.ResponseError(f"WRONGTYPE {_WRONG_TYPE}")
        return value or Stream()

    def _zset(self, key: str) -> Mapping[bytes, float]:
        value = self.value(key)
        if value is not None and not isinstance(value, ZSet):
            raise rex.ResponseError(f"WRONGTYPE {_WRONG_TYPE}")
        return value.scores if value else {}

    def _read(self, key: str) -> tuple[bytes | None, dict[str, Any] | None, bytes]:
        """The bytes at a key, the object they are, and why it is none (`b""`: it is, or there is no key)."""
        value = self.value(key)
        if value is None:
            return None, None, b""
        if not isinstance(value, bytes):
            return None, None, f"WRONGTYPE {_WRONG_TYPE}".encode()
        status = _decoded(value)
        return (value, status, b"") if isinstance(status, dict) else (value, None, b"not a JSON object")


def _encoded(arg: str | bytes | int | float) -> bytes:
    if isinstance(arg, bytes):
        return arg
    return repr(arg).encode() if isinstance(arg, float) else str(arg).encode()


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _text_of(fields: dict[str, Any], name: str) -> bytes | None:
    value = fields.get(name)
    return value.encode() if isinstance(value, str) else None


def _number(value: Any) -> float:
    """As Lua's tonumber: text is read as a number, anything else counts as 0."""
    try:
        return float(value) if not isinstance(value, bool) and value is not None else 0.0
    except (TypeError, ValueError):
        return 0.0


def _integer(value: Any) -> bytes:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ScriptFailed("bad argument #2 to 'format' (number expected)")
    try:
        return b"%d" % round(float(value))
    except ValueError as error:
        raise ScriptFailed("bad argument #2 to 'format' (number expected)") from error


def _id_text(entry_id: Id) -> bytes:
    return b"%d-%d" % entry_id


def _bound(text: bytes, *, is_upper: bool) -> tuple[float, float]:
    if text in (b"+", b"-"):
        return (math.inf, math.inf) if text == b"+" else (0, 0)
    ms, has_seq, seq = text.partition(b"-")
    return int(ms), int(seq) if has_seq else (math.inf if is_upper else 0)
