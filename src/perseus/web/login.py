"""Signing in and out: the pages, the session cookie, one-time links. Nothing here needs a script, nothing is cached.

    routes = Login(database, identities, names=…, clock=…).routes()       # /login, /login.css, /logout, /session

Programs that send `accept: application/json` get JSON in place of pages and redirects.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from perseus.clock import Clock
from perseus.database import admins, login_links, passwords, sessions
from perseus.database.admins import Admin
from perseus.database.audit import Actor
from perseus.database.engine import Database
from perseus.errors import DatabaseUnavailable, NotSignedIn, TooOften
from perseus.web.credentials import cookie_name, cookie_of
from perseus.web.guard import CLIENT
from perseus.web.identity import ABSOLUTE_MS, IDLE_MS, Identities
from perseus.web.limits import LoginLimit, too_often
from perseus.web.origins import Came, OurNames
from perseus.web.pages import STYLE_PATH, link_page, password_page, style_sheet

LARGEST_FORM = 8192
_FORM_TIMEOUT_S = 10.0
_MOST_AT_ONCE = 16  # passwords being looked at; each takes 25 ms of one of two threads
_LOCAL_PATH = re.compile(r"/(?!/)[\x21-\x5b\x5d-\x7e]*")  # printable ASCII without the backslash, never `//host`
_LONGEST_PATH = 2048  # as no page of ours has a longer one: it comes back in the form
_FORM_TYPE = "application/x-www-form-urlencoded"
_NOT_TOGETHER = "This e-mail address and password do not belong together."
_NO_DATABASE = "Nobody can sign in right now: the database does not answer. Try again in a moment."
_USED_LINK = "This link is no longer valid: it works once, for 15 minutes. Ask for a new one, or use your password."
_ELSEWHERE = (
    "This form was not sent from Perseus' own page, so it was ignored. Open /login and sign in there. Behind a proxy, "
    "PERSEUS_PUBLIC_URL must be the address in your browser."
)
_log = structlog.get_logger()


class _Form(NamedTuple):
    """What the page sent: a one-time token, or e-mail address and password; and where to go afterwards."""

    email: str = ""
    password: str = ""
    token: str = ""
    next: str = "/"


class _Refused(Exception):
    """The form gets this answer."""

    def __init__(self, status: int, says: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(says)
        self.status, self.says, self.headers = status, says, headers or {}


class Login:
    """The routes around signing in."""

    def __init__(
        self,
        database: Database,
        identities: Identities,
        *,
        names: OurNames,
        clock: Clock,
        limit: LoginLimit | None = None,
        is_simulated: bool = False,
    ) -> None:
        self._database, self._identities, self._names, self._clock = database, identities, names, clock
        self._is_simulated = is_simulated
        self._limit = limit or LoginLimit(clock=clock)
        self._under_way = 0

    def routes(self) -> list[Route]:
        """What to serve, at the root of the site."""
        return [
            Route("/login", self._show, methods=["GET"]),
            Route("/login", self._sign_in, methods=["POST"]),
            Route("/logout", self._sign_out, methods=["POST"]),
            Route("/session", self._who, methods=["GET"]),
            Route(STYLE_PATH, _style, methods=["GET"]),
        ]

    async def _show(self, request: Request) -> Response:
        """The page to sign in with. A one-time link only shows a button: previews and scanners follow links, too."""
        next_path = local_path(request.query_params.get("next", "/"))
        if token := request.query_params.get("token"):
            return HTMLResponse(link_page(token=token, next_path=next_path, is_simulated=self._is_simulated))
        return HTMLResponse(password_page(next_path=next_path, is_simulated=self._is_simulated))

    async def _sign_in(self, request: Request) -> Response:
        form = _Form()
        try:
            self._check_origin(request)
            form = await _form(request)
            client = request.scope[CLIENT]
            if form.token:
                secret = await self._by_link(request, form.token, client=client)
            else:
                secret = await self._by_password(request, form, client=client)
        except _Refused as refusal:
            if _wants_json(request):
                return _json({"error": refusal.says}, refusal.status, refusal.headers)
            page = password_page(
                next_path=form.next, email=form.email, fault=refusal.says, is_simulated=self._is_simulated
            )
            return HTMLResponse(page, refusal.status, refusal.headers)
        # from where the page is, so that it also leads there under the path of a proxy
        response = _json({"next": form.next}) if _wants_json(request) else RedirectResponse(f".{form.next}", 303)
        self._set_cookie(request, response, secret)
        return response

    async def _by_link(self, request: Request, token: str, *, client: str) -> str:
        self._begin(client)
        async with _answering(), self._database.begin() as connection:
            now_ms = self._clock.wall_ms()
            admin = await login_links.use(connection, token, address=_address(request), now_ms=now_ms)
            if admin is None:
                _log.warning("login_refused", how="link", client=client)
                raise _Refused(401, _USED_LINK)
            secret = await self._open_session(connection, request, admin, how="link")
        self._limit.succeeded(address=client)
        return secret

    async def _by_password(self, request: Request, form: _Form, *, client: str) -> str:
        """Look at the password. Whether the e-mail address is known changes neither the answer nor the way to it."""
        account = admins.email_key(form.email)
        self._begin(client, account=account)
        async with _answering():
            async with self._database.reading() as connection:
                kept = await admins.password_hash(connection, form.email)
            with self._taking_turns():
                verdict = await passwords.verify(form.password, kept)
            async with self._database.begin() as connection:
                # somebody may have changed the password or disabled the admin meanwhile
                admin = await admins.by_email(connection, form.email)
                still = await admins.password_hash(connection, form.email)
                if admin is None or still is None or not verdict.is_right or still != kept:
                    _log.warning("login_refused", how="password", client=client)
                    raise _Refused(401, _NOT_TOGETHER)
                if verdict.new_hash is not None:
                    await admins.rehash(connection, old_hash=still, new_hash=verdict.new_hash)
                secret = await self._open_session(connection, request, admin, how="password")
        self._limit.succeeded(address=client, account=account)
        return secret

    async def _open_session(self, connection: Any, request: Request, admin: Admin, *, how: str) -> str:
        """Begin a new session, whatever the browser had before: a secret somebody planted becomes nobody's."""
        now_ms = self._clock.wall_ms()
        await self._close_session(connection, request)
        return await sessions.open_session(
            connection,
            admin,
            how=how,
            user_agent=request.headers.get("user-agent", ""),
            expires_ms=now_ms + IDLE_MS,
            address=_address(request),
            now_ms=now_ms,
        )

    async def _sign_out(self, request: Request) -> Response:
        try:
            self._check_origin(request)
            if await self._is_signed_in(request):  # else anybody could have everybody looked up anew
                async with _answering(), self._database.begin() as connection:
                    await self._close_session(connection, request)
                self._identities.forget()
        except _Refused as refusal:
            return _json({"error": refusal.says}, refusal.status, refusal.headers)
        response = Response(status_code=204) if _wants_json(request) else RedirectResponse("login", 303)
        self._set_cookie(request, response, "", max_age=0)
        return response

    async def _is_signed_in(self, request: Request) -> bool:
        secret = cookie_of(request.scope, self._names)
        if secret is None:
            return False
        async with _answering(), self._database.reading() as connection:
            return await sessions.find(connection, secret, now_ms=self._clock.wall_ms()) is not None

    async def _close_session(self, connection: Any, request: Request) -> None:
        now_ms = self._clock.wall_ms()
        secret = cookie_of(request.scope, self._names)
        found = await sessions.find(connection, secret, now_ms=now_ms) if secret else None
        if found is not None:
            by = Actor(name=found.admin.email, admin_id=found.admin.id, address=_address(request))
            await sessions.close(connection, found.session.id, by=by, now_ms=now_ms)

    async def _who(self, request: Request) -> Response:
        """Who the session or token belongs to, as JSON."""
        try:
            async with _answering():
                caller = await self._identities.identify(request.scope)
        except NotSignedIn as error:
            return _json({"error": str(error), "reason": error.reason}, 401)
        except _Refused as refusal:
            return _json({"error": refusal.says}, refusal.status, refusal.headers)
        return _json(caller.identity)

    def _check_origin(self, request: Request) -> None:
        if self._names.whence(request.scope) is not Came.FROM_US:
            raise _Refused(403, _ELSEWHERE)

    def _begin(self, client: str, *, account: str | None = None) -> None:
        try:
            self._limit.begin(address=client, account=account)
        except TooOften as error:
            _log.warning("login_limited", client=client, retry_after_s=error.retry_after_s)
            raise _refused_often(error) from error

    @contextmanager
    def _taking_turns(self) -> Iterator[None]:
        """Let only so many passwords wait to be looked at: whoever floods us must not fill a queue."""
        if self._under_way >= _MOST_AT_ONCE:
            raise _refused_often(too_often("Too many people are signing in.", 1))
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def _set_cookie(
        self, request: Request, response: Response, secret: str, *, max_age: int = ABSOLUTE_MS // 1000
    ) -> None:
        is_https = self._names.is_https(request.scope)
        response.set_cookie(
            cookie_name(is_https=is_https),
            secret,
            max_age=max_age,
            path="/",
            secure=is_https,
            httponly=True,
            samesite="strict",
        )


def local_path(text: str) -> str:
    """The path to go to after signing in, if it is one of ours; else the start page."""
    return text if len(text) <= _LONGEST_PATH and _LOCAL_PATH.fullmatch(text) else "/"


async def _form(request: Request) -> _Form:
    """Read what the page sent. Raises: _Refused for what no page of ours sends."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise _Refused(415, f"Send the form as {_FORM_TYPE}.")
    body = bytearray()
    try:
        async with asyncio.timeout(_FORM_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST_FORM:
                    raise _Refused(413, f"The form is longer than {LARGEST_FORM} bytes.")
        fields = dict(parse_qsl(body.decode("ascii"), max_num_fields=10, errors="strict"))
    except TimeoutError as error:
        raise _Refused(408, f"The form did not arrive within {_FORM_TIMEOUT_S:g} s.") from error
    except ValueError as error:
        raise _Refused(400, "The form cannot be read.") from error
    return _Form(
        email=fields.get("email", ""),
        password=fields.get("password", ""),
        token=fields.get("token", ""),
        next=local_path(fields.get("next", "/")),
    )


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """Turn a database that is away into an answer."""
    try:
        yield
    except DatabaseUnavailable as error:
        _log.error("login_impossible", error=str(error))
        raise _Refused(503, _NO_DATABASE, headers={"retry-after": "5"}) from error


def _refused_often(error: TooOften) -> _Refused:
    return _Refused(429, str(error), headers={"retry-after": str(error.retry_after_s)})


def _address(request: Request) -> str:
    return request.client.host if request.client else "local"


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


async def _style(_: Request) -> Response:
    return Response(style_sheet(), media_type="text/css", headers={"cache-control": "public, max-age=3600"})
