"""One connection to the store: every call is bounded in time, and every failure is one of four.

`StoreUnavailable`: no answer, so the outcome is unknown. `StoreRefused`: an error reply, nothing was done.
`StoreDenied`: our credentials or rights. `UnreadableKey`: a key of another type. The client library's own retries are
off: with its defaults one call on a frozen server raised after 59 s.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import redis.exceptions as rex
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from perseus.errors import BadConfiguration, StoreDenied, StoreRefused, StoreUnavailable, UnreadableKey
from perseus.settings import redacted
from perseus.store.scripts import Script
from perseus.store.url import check_url

_DENIED = ("NOAUTH", "NOPERM", "WRONGPASS")
# A right missing inside a script comes as a plain error: Valkey's words, then Redis 6 and 7's.
_DENIED_IN_SCRIPT = ("ACL failure in script", "The user executing the script")
_PLACE_IN_SCRIPT = re.compile(r" script: (\S+, )?on @user_script:\d+\.?$")


class Entry(NamedTuple):
    """One stream entry: `id` is `<ms>-<seq>`; fields and values are text."""

    id: str
    fields: dict[str, str]

    @property
    def order(self) -> tuple[int, int]:
        """The id as numbers: ids do not sort as text."""
        ms, _, seq = self.id.partition("-")
        return int(ms), int(seq or 0)


class Store:
    """Typed operations on one server. Not shared between event loops.

    Units: `timeout` in seconds bounds each call whole, connecting and authenticating included.
    """

    def __init__(self, url: str, *, timeout: float = 2.0) -> None:
        """Prepare a connection; nothing is sent yet. Raises: BadConfiguration for a URL that cannot be used."""
        self.url = redacted(url)
        self._timeout = timeout
        self._client = _client(url)
        self._waiting: Redis | None = None  # XREAD BLOCK holds its connection, so it gets its own client
        self._raw_url = url

    async def close(self) -> None:
        """Close every connection; further calls would open new ones."""
        for client in (self._client, self._waiting):
            if client is not None:
                await client.aclose()

    async def run(self, script: Script, *, keys: Sequence[str], args: Sequence[str | bytes | int | float]) -> list[Any]:
        """Run a script atomically; bulk strings in its reply are bytes. Loaded again when the server forgot it."""
        async with self._call(script.name, " ".join(keys)):
            try:
                reply = await self._execute("EVALSHA", script.sha, len(keys), *keys, *args)
            except rex.NoScriptError:
                reply = await self._execute("EVAL", script.text, len(keys), *keys, *args)
        return list(reply) if isinstance(reply, list) else [reply]

    async def time_ms(self) -> float:
        """The server's clock, Unix milliseconds."""
        async with self._call("TIME"):
            seconds, micros = await self._execute("TIME")
        return int(seconds) * 1000 + int(micros) / 1000

    async def get(self, key: str) -> bytes | None:
        """The string at `key`, or None. Raises: UnreadableKey if it is of another type."""
        async with self._call("GET", key):
            value: bytes | None = await self._execute("GET", key)
        return value

    async def pipeline(self, *commands: Sequence[str | bytes | int | float]) -> list[Any]:
        """Send commands together and return their replies in order; an error reply stands in its place as an exception.

        Not a transaction. For reads of one snapshot: one unreadable key must not hide the others.
        """
        async with self._call("pipeline"):
            pipe = self._client.pipeline(transaction=False)
            for command in commands:
                pipe.execute_command(*command)
            replies = await pipe.execute(raise_on_error=False)
        return [
            _translated(reply, str(command[0]), key=str(command[1]) if len(command) > 1 else "", url=self.url)
            if isinstance(reply, rex.RedisError)
            else reply
            for command, reply in zip(commands, replies, strict=True)
        ]

    async def append(self, key: str, fields: Mapping[str, str], *, min_id: str | None) -> str:
        """XADD with an id of the server's; trim entries older than `min_id` approximately. Returns the id."""
        trim = ("MINID", "~", min_id) if min_id else ()
        flat = [part for pair in fields.items() for part in pair]
        async with self._call("XADD", key):
            entry_id: bytes = await self._execute("XADD", key, *trim, "*", *flat)
        return entry_id.decode()

    async def entries(self, key: str, *, newest: str = "+", oldest: str = "-", count: int) -> list[Entry]:
        """XREVRANGE: at most `count` entries from `newest` down to `oldest`, newest first."""
        async with self._call("XREVRANGE", key):
            reply = await self._execute("XREVRANGE", key, newest, oldest, "COUNT", count)
        return parse_entries(reply)

    async def newest_id(self, key: str) -> str:
        """The id of the newest entry ever added, `0-0` for an empty or absent stream: where to read on from."""
        found = await self.entries(key, count=1)
        return found[0].id if found else "0-0"

    async def wait_entries(self, after: Mapping[str, str], *, block: float, count: int = 100) -> dict[str, list[Entry]]:
        """XREAD BLOCK: entries after the given ids by stream, waiting up to `block` seconds; {} if none came."""
        if self._waiting is None:
            self._waiting = _client(self._raw_url)
        async with self._call("XREAD", ",".join(after), extra=block):
            reply = await self._execute(
                "XREAD",
                "COUNT",
                count,
                "BLOCK",
                round(block * 1000),
                "STREAMS",
                *after.keys(),
                *after.values(),
                client=self._waiting,
            )
        return {key.decode(): parse_entries(entries) for key, entries in reply or ()}

    async def newest_members(self, key: str, count: int) -> list[bytes]:
        """The `count` highest-scored members of a sorted set, lowest first."""
        async with self._call("ZRANGE", key):
            members: list[bytes] = await self._execute("ZRANGE", key, -count, -1)
        return members

    async def info(self, *sections: str) -> dict[str, str]:
        """INFO, flattened to text by field. Raises: StoreDenied without the right to ask."""
        async with self._call("INFO"):
            texts = [await self._execute("INFO", section) for section in sections]
        return dict(_info_fields(texts))

    async def config(self, parameter: str) -> str | None:
        """One CONFIG parameter; None where CONFIG is denied or unknown (managed servers refuse it)."""
        try:
            async with self._call("CONFIG GET"):
                reply = await self._execute("CONFIG GET", parameter)
        except (StoreDenied, StoreRefused):
            return None
        return _text(reply[1]) if len(reply) > 1 else None

    async def _execute(self, *command: Any, client: Redis | None = None) -> Any:
        return await (client or self._client).execute_command(*command)  # type: ignore[no-untyped-call]  # as above

    @asynccontextmanager
    async def _call(self, what: str, key: str = "", *, extra: float = 0.0) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout + extra):
                yield
        except TimeoutError as error:
            raise StoreUnavailable(
                f"The store at {self.url} did not answer {what} within {self._timeout + extra:g} s; whether it was "
                f"done is unknown. Check that the server runs and is reachable, then `perseus doctor`."
            ) from error
        except (rex.RedisError, OSError) as error:
            raise _translated(error, what, key=key, url=self.url) from error


def _client(url: str) -> Redis:
    check_url(url)
    try:
        client = Redis.from_url(
            url,
            socket_timeout=None,  # each call is bounded whole, by asyncio.timeout
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,  # CLIENT SETINFO would cost a round trip and a right
        )
    except ValueError as error:
        raise BadConfiguration(f"STORE_URL {redacted(url)!r} cannot be used: {error}.") from error
    client.response_callbacks.clear()  # they turn replies into dictionaries of guessed types; we read what was sent
    return client


def _translated(error: Exception, what: str, *, key: str, url: str) -> Exception:
    text = _PLACE_IN_SCRIPT.sub("", str(error)).rstrip(". \n")
    denied = isinstance(error, rex.AuthenticationError | rex.NoPermissionError)
    if denied or text.startswith(_DENIED + _DENIED_IN_SCRIPT):
        return StoreDenied(
            f"The store at {url} refused us: {text}. Check user and password in STORE_URL, and the user's rights "
            f"(docs/store.md has the ACL line for each role)."
        )
    if isinstance(error, rex.ResponseError) and text.startswith("WRONGTYPE"):
        return UnreadableKey(f"Key {key!r} in the store is not of the expected type ({text}).", key=key, reason=text)
    if isinstance(error, rex.ResponseError | rex.BusyLoadingError | rex.ClusterError):
        return StoreRefused(f"The store at {url} refused {what}: {text}. Nothing was written.")
    return StoreUnavailable(
        f"The store at {url} cannot be reached: {text or type(error).__name__}. "
        f"Check that the server runs and STORE_URL names it, then `perseus doctor`."
    )


def parse_entries(reply: Any) -> list[Entry]:
    """Entries from an XRANGE-shaped reply. Undecodable bytes become U+FFFD: a feed must show the rest."""
    return [
        Entry(
            _text(entry_id),
            {_text(name): _text(value) for name, value in zip(fields[::2], fields[1::2], strict=True)},
        )
        for entry_id, fields in reply or ()
        if fields is not None
    ]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _info_fields(texts: Sequence[Any]) -> list[tuple[str, str]]:
    lines = [line for text in texts for line in _text(text).splitlines()]
    return [(name, value) for name, found, value in (line.partition(":") for line in lines) if found]
