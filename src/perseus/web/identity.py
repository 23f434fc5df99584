"""Who is asking: from what a request shows to an admin and the most they may do now.

What the database said is believed for `FRESH_S`, so that a client who asks every second costs one look-up in three. A
revoked token, an ended session or a disabled admin is out within `FRESH_S` and a look-up, on every host; at once in
the process that did it (`forget`). WebSockets and event streams are looked at again, and ended, by `watch`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Literal
from weakref import WeakValueDictionary

import msgspec
import structlog
from starlette.types import Scope

from perseus.clock import Clock, unix_ms
from perseus.database import sessions, tokens
from perseus.database.engine import Database
from perseus.database.refusals import Refusal, why_session_is_refused, why_token_is_refused
from perseus.errors import DatabaseUnavailable, NotSignedIn
from perseus.model import Role
from perseus.web.credentials import Credential, credential_of
from perseus.web.origins import OurNames
from perseus.web.proxies import client_key
from perseus.web.stays import Stay

FRESH_S = 3.0
IDLE_MS = 7 * 86_400_000
ABSOLUTE_MS = 30 * 86_400_000
_KEPT = 4096  # look-ups remembered; beyond that the oldest goes, and is looked up again
_log = structlog.get_logger()

_TOKEN_REFUSED: dict[Refusal, str] = {
    "unknown": "This token is not known here: see that it was copied completely and is meant for this server.",
    "expired": "This token has expired. Make a new one with `perseus admins token EMAIL`.",
    "revoked": "This token was revoked. Make a new one with `perseus admins token EMAIL`.",
    "disabled": "The admin this token belongs to is disabled.",
}
_SESSION_REFUSED: dict[Refusal, str] = {
    "unknown": "This session is not known here. Sign in again at /login.",
    "expired": "This session has expired. Sign in again at /login.",
    "revoked": "This session was ended. Sign in again at /login.",
    "disabled": "This admin is disabled.",
}


class Identity(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Somebody we know. `role` is the most they may do this way;

    `via` is what they showed: a token (`token_name`) or a session (`session_id`, the digest of its secret).
    """

    admin_id: int
    email: str
    display_name: str
    role: Role
    via: Literal["token", "session"]
    expires_at: str | None = None
    token_name: str | None = None
    session_id: str | None = None


class Caller:
    """Who makes a request, or all the calls of a WebSocket; `identity` is what was last known of them."""

    def __init__(self, credential: Credential, identity: Identity, *, scope: Scope) -> None:
        self.credential = credential
        self.identity = identity
        self.client = client_key(scope)
        self.address = str(scope["client"][0]) if scope.get("client") else "local"
        self.is_lasting = scope["type"] == "websocket"


class Identities:
    """Look-ups of credentials, remembered for `fresh_s`, and the requests that last."""

    def __init__(self, database: Database, *, names: OurNames, clock: Clock, fresh_s: float = FRESH_S) -> None:
        self._database, self._names, self._clock = database, names, clock
        self._fresh_s = fresh_s
        self._known: dict[Credential, tuple[Identity, float]] = {}
        self._looking: WeakValueDictionary[Credential, asyncio.Lock] = WeakValueDictionary()
        self._stays: dict[Stay, tuple[Credential, Identity]] = {}  # as whom they began
        self._forgot = asyncio.Event()
        self._times_forgotten = 0

    async def identify(self, scope: Scope, connection_params: Mapping[str, str] | None = None) -> Caller:
        """Who asks. A WebSocket or event stream is ended later if they must not be here any more.

        Raises: NotSignedIn; DatabaseUnavailable, for then nobody knows.
        """
        credential = credential_of(scope, self._names, connection_params)
        caller = Caller(credential, await self._remembered(credential), scope=scope)
        stay = Stay.of(scope)
        if stay is not None:
            self._stays[stay] = (credential, caller.identity)
            stay.when_over = partial(self._stays.pop, stay, None)
        return caller

    async def look_again(self, caller: Caller) -> None:
        """Bring the caller's identity up to date, from memory while that is fresh. Raises: like `identify`."""
        caller.identity = await self._remembered(caller.credential)

    def forget(self) -> None:
        """Somebody's rights changed in this process: believe nothing remembered, and look at lasting requests now."""
        self._known.clear()
        self._times_forgotten += 1
        self._forgot.set()

    async def watch(self) -> None:
        """End lasting requests of identities that are gone or may do less. Runs until cancelled.

        While the database is away lasting requests go on: that it cannot be asked says nothing about anybody.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._fresh_s):
                    await self._forgot.wait()
            self._forgot.clear()
            try:
                await self._end_those_out()
            except DatabaseUnavailable as error:
                _log.warning("identities_not_checked", error=str(error), lasting_requests=len(self._stays))

    async def _end_those_out(self) -> None:
        for credential in {credential for credential, _ in self._stays.values()}:
            try:
                now: Identity | None = await self._look_up(credential)
            except NotSignedIn as error:
                _log.info("identity_ended", reason=error.reason)
                now = None
            for stay, (shown, then) in list(self._stays.items()):
                if shown == credential and (now is None or not _may_as_much(now, then)):
                    del self._stays[stay]
                    stay.end()

    async def _remembered(self, credential: Credential) -> Identity:
        if (identity := self._fresh(credential)) is not None:
            return identity
        # of many requests with one credential the first asks the database
        lock = self._looking.setdefault(credential, asyncio.Lock())
        async with lock:
            return self._fresh(credential) or await self._look_up(credential)

    def _fresh(self, credential: Credential) -> Identity | None:
        identity, until = self._known.get(credential, (None, 0.0))
        return identity if self._clock.now() < until else None

    async def _look_up(self, credential: Credential) -> Identity:
        until = self._clock.now() + self._fresh_s  # from before the question: the answer may have been long on its way
        find = self._by_token if credential.kind == "token" else self._by_session
        times_forgotten = self._times_forgotten
        self._known.pop(credential, None)
        try:
            identity = await find(credential.secret)
        except DatabaseUnavailable as error:  # the client is told no more than that
            _log.warning("nobody_identified", error=str(error))
            raise
        if times_forgotten != self._times_forgotten:  # what was read may be what was to be forgotten
            return identity
        while len(self._known) >= _KEPT:
            self._known.pop(next(iter(self._known)))
        self._known[credential] = (identity, until)
        return identity

    async def _by_token(self, secret: str) -> Identity:
        now_ms = self._clock.wall_ms()
        async with self._database.reading() as connection:
            found = await tokens.find(connection, secret, now_ms=now_ms)
            if found is None:
                why = await why_token_is_refused(connection, secret, now_ms=now_ms)
                raise NotSignedIn(_TOKEN_REFUSED[why], reason=why)
        if _is_due(found.token.last_used_at, now_ms=now_ms):
            await self._note(partial(tokens.note_use, token_id=found.token.id, now_ms=now_ms))
        return Identity(
            admin_id=found.admin.id,
            email=found.admin.email,
            display_name=found.admin.display_name,
            role=found.role,
            via="token",
            expires_at=found.token.expires_at,
            token_name=found.token.name,
        )

    async def _by_session(self, secret: str) -> Identity:
        now_ms = self._clock.wall_ms()
        async with self._database.reading() as connection:
            found = await sessions.find(connection, secret, now_ms=now_ms)
            if found is None:
                why = await why_session_is_refused(connection, secret, now_ms=now_ms)
                raise NotSignedIn(_SESSION_REFUSED[why], reason=why)
        session, admin = found
        if _is_due(session.last_used_at, now_ms=now_ms):
            expires_ms = min(now_ms + IDLE_MS, unix_ms(session.created_at) + ABSOLUTE_MS)
            note = partial(sessions.note_use, session_id=session.id, now_ms=now_ms, expires_ms=expires_ms)
            await self._note(note)
        return Identity(
            admin_id=admin.id,
            email=admin.email,
            display_name=admin.display_name,
            role=admin.role,
            via="session",
            expires_at=session.expires_at,
            session_id=session.id,
        )

    async def _note(self, note: Callable[..., Awaitable[None]]) -> None:
        """Write down a use. A database that can be read but not written right now keeps nobody out."""
        try:
            async with self._database.begin() as connection:
                await note(connection)
        except DatabaseUnavailable as error:
            _log.warning("use_not_noted", error=str(error))


def _is_due(last_used_at: str | None, *, now_ms: int) -> bool:
    """Whether its use is to be written down again."""
    return last_used_at is None or unix_ms(last_used_at) < now_ms - sessions.COARSE_MS


def _may_as_much(now: Identity, then: Identity) -> bool:
    roles = list(Role)
    return roles.index(now.role) >= roles.index(then.role)
