"""Who is asking: from what a request shows to an admin and the most they may do now.

What the database said is believed for `FRESH_S`, so that a client who asks every second costs one look-up in three. A
revoked token, an ended session or a disabled admin is out within `FRESH_S` and a look-up, on every host; at once in
the process that did it (`forget`). WebSockets and event streams are looked at again, and ended, by `watch`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Literal
from weakref import WeakValueDictionary

import msgspec
import structlog
from starlette.types import Scope

from perseus.clock import Clock, unix_ms
from perseus.database import sessions, tokens
from perseus.database.engine import Database, Transaction
from perseus.database.refusals import Refusal, why_session_is_refused, why_token_is_refused
from perseus.database.sessions import LoggedIn
from perseus.database.tokens import Bearer
from perseus.errors import DatabaseUnavailable, NotSignedIn
from perseus.model import Role
from perseus.web.credentials import Credential, credential_of
from perseus.web.origins import OurNames
from perseus.web.proxies import client_key
from perseus.web.stays import Stay
from perseus.web.uses import Uses

FRESH_S = 3.0
IDLE_MS = 7 * 86_400_000
ABSOLUTE_MS = 30 * 86_400_000
_ASKED_AT_ONCE = 500  # credentials in one query
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

    def __init__(
        self, database: Database, uses: Uses, *, names: OurNames, clock: Clock, fresh_s: float = FRESH_S
    ) -> None:
        self._database, self._uses, self._names, self._clock = database, uses, names, clock
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
            stay.when_over = self._leave
        return caller

    async def look_again(self, caller: Caller) -> None:
        """Bring the caller's identity up to date, from memory while that is fresh. Raises: like `identify`."""
        caller.identity = await self._remembered(caller.credential)

    def _leave(self, stay: Stay) -> None:
        self._stays.pop(stay, None)

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
        shown = {credential for credential, _ in self._stays.values()}
        now = await self._look_up_all(shown)
        for stay, (credential, then) in list(self._stays.items()):
            if credential in shown and not (credential in now and _may_as_much(now[credential], then)):
                del self._stays[stay]
                stay.end()
        for credential in shown - now.keys():
            _log.info("identity_ended", reason=await self._why_refused(credential))

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
        try:
            found = await self._look_up_all([credential])
            if credential in found:
                return found[credential]
            why = await self._why_refused(credential)
        except DatabaseUnavailable as error:  # the client is told no more than that
            _log.warning("nobody_identified", error=str(error))
            raise
        raise NotSignedIn((_TOKEN_REFUSED if credential.kind == "token" else _SESSION_REFUSED)[why], reason=why)

    async def _look_up_all(self, credentials: Collection[Credential]) -> dict[Credential, Identity]:
        """Whose these are, as the database says now; nobody's are left out. What is found is remembered."""
        until = self._clock.now() + self._fresh_s  # from before the question: the answer may be long on its way
        times_forgotten = self._times_forgotten
        for credential in credentials:
            self._known.pop(credential, None)
        found: dict[Credential, Identity] = {}
        asked = list(credentials)
        async with self._database.reading() as connection:
            for begin in range(0, len(asked), _ASKED_AT_ONCE):
                some = asked[begin : begin + _ASKED_AT_ONCE]
                found |= await self._tokens(connection, some) | await self._sessions(connection, some)
        if times_forgotten != self._times_forgotten:  # what was read may be what was to be forgotten
            return found
        for credential, identity in found.items():
            while len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[credential] = (identity, until)
        return found

    async def _why_refused(self, credential: Credential) -> Refusal:
        now_ms = self._clock.wall_ms()
        why = why_token_is_refused if credential.kind == "token" else why_session_is_refused
        async with self._database.reading() as connection:
            return await why(connection, credential.secret, now_ms=now_ms)

    async def _tokens(self, connection: Transaction, asked: Collection[Credential]) -> dict[Credential, Identity]:
        now_ms = self._clock.wall_ms()
        shown = {credential.secret: credential for credential in asked if credential.kind == "token"}
        found = await tokens.find_all(connection, shown, now_ms=now_ms)
        for secret, bearer in found.items():
            if _is_due(bearer.token.last_used_at, now_ms=now_ms):
                self._uses.note(shown[secret], partial(tokens.note_use, token_id=bearer.token.id, now_ms=now_ms))
        return {shown[secret]: _of_token(bearer) for secret, bearer in found.items()}

    async def _sessions(self, connection: Transaction, asked: Collection[Credential]) -> dict[Credential, Identity]:
        now_ms = self._clock.wall_ms()
        shown = {credential.secret: credential for credential in asked if credential.kind == "session"}
        until_ms = {secret: self._uses.until_ms(credential) for secret, credential in shown.items()}
        found = await sessions.find_all(connection, until_ms, now_ms=now_ms)
        for secret, (session, _) in found.items():
            if _is_due(session.last_used_at, now_ms=now_ms):
                expires_ms = min(now_ms + IDLE_MS, unix_ms(session.created_at) + ABSOLUTE_MS)
                note = partial(sessions.note_use, session_id=session.id, now_ms=now_ms, expires_ms=expires_ms)
                self._uses.note(shown[secret], note, until_ms=expires_ms)
        return {shown[secret]: _of_session(logged_in) for secret, logged_in in found.items()}


def _of_token(bearer: Bearer) -> Identity:
    return Identity(
        admin_id=bearer.admin.id,
        email=bearer.admin.email,
        display_name=bearer.admin.display_name,
        role=bearer.role,
        via="token",
        expires_at=bearer.token.expires_at,
        token_name=bearer.token.name,
    )


def _of_session(logged_in: LoggedIn) -> Identity:
    session, admin = logged_in
    return Identity(
        admin_id=admin.id,
        email=admin.email,
        display_name=admin.display_name,
        role=admin.role,
        via="session",
        expires_at=session.expires_at,
        session_id=session.id,
    )


def _is_due(last_used_at: str | None, *, now_ms: int) -> bool:
    """Whether its use is to be written down again."""
    return last_used_at is None or unix_ms(last_used_at) < now_ms - sessions.COARSE_MS


def _may_as_much(now: Identity, then: Identity) -> bool:
    roles = list(Role)
    return roles.index(now.role) >= roles.index(then.role)
