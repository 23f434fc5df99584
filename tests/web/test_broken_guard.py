"""Guards broken on purpose, one in each way that matters: a test that should notice must notice.

Each function breaks one thing; above it stands the test that must fail then.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from perseus.database import admins, login_links, sessions, tokens
from perseus.web import credentials, guard, headers, identity, limits, login, origins, proxies
from perseus.web.access import Access
from perseus.web.identity import Identities
from tests.web import matrix, test_guard, test_identity, test_limits, test_login
from tests.web.site import Site, fetch, running_site

Patch = pytest.MonkeyPatch
Test = Callable[[Site], Awaitable[None]]
BROKEN: dict[str, tuple[Callable[[Patch], None], Test]] = {}


def caught_by(test: Test) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Register a broken guard with the test that must fail on it."""

    def register(broken: Callable[[Patch], None]) -> Callable[[Patch], None]:
        BROKEN[broken.__name__] = broken, test
        return broken

    return register


def table(only: str) -> Test:
    """The part of the access table with what is shown under such a name."""

    async def holds(site: Site) -> None:
        assert await matrix.faults(site, only=only) == []

    return holds


def rebound(host: str) -> Test:
    """The test against DNS rebinding with this name."""
    return lambda site: test_guard.test_page_of_a_rebound_name_reaches_nothing(site, host)


async def nothing(*_: object, **__: object) -> None:
    """Do nothing."""


@caught_by(table("viewer's token"))
def everybody_may_everything(patch: Patch) -> None:
    """The role is not looked at."""
    patch.setattr(Access, "_check", lambda *_: None)


@caught_by(table("who is viewer now"))
def token_keeps_the_role_it_was_made_with(patch: Patch) -> None:
    """A demoted admin's old token does what they no longer may."""
    _every_bearer(patch, lambda bearer: bearer._replace(role=bearer.token.role))


@caught_by(table("token of an owner for a viewer"))
def token_does_all_its_owner_may(patch: Patch) -> None:
    """The scope of a token is for show."""
    _every_bearer(patch, lambda bearer: bearer._replace(role=bearer.admin.role))


def _every_bearer(patch: Patch, changed: Callable[[tokens.Bearer], tokens.Bearer]) -> None:
    find_all = tokens.find_all

    async def broken(*args: Any, **named: Any) -> dict[str, tokens.Bearer]:
        return {secret: changed(bearer) for secret, bearer in (await find_all(*args, **named)).items()}

    patch.setattr(tokens, "find_all", broken)


@caught_by(table("viewer's expired token"))
def tokens_last_for_ever(patch: Patch) -> None:
    """Nobody looks at the clock."""
    find_all = tokens.find_all
    patch.setattr(tokens, "find_all", lambda connection, secrets, *, now_ms: find_all(connection, secrets, now_ms=0))


@caught_by(table("viewer's expired session"))
def sessions_last_for_ever(patch: Patch) -> None:
    """Nor at that of the cookie."""
    find_all = sessions.find_all
    patch.setattr(sessions, "find_all", lambda connection, shown, *, now_ms: find_all(connection, shown, now_ms=0))


@caught_by(table("viewer's session from another site"))
def cookies_count_from_everywhere(patch: Patch) -> None:
    """Any page somebody visits acts in their name."""
    patch.setattr(credentials, "counts_as_ours", lambda *_: True)


@caught_by(table("nobody knows where"))
def changes_need_no_origin(patch: Patch) -> None:
    """Whatever says nothing is believed, also where something changes."""
    whence = origins.OurNames.whence

    def trusting(self: origins.OurNames, scope: Any) -> origins.Came:
        came = whence(self, scope)
        return origins.Came.FROM_US if came is origins.Came.UNSAID else came

    patch.setattr(origins.OurNames, "whence", trusting)


@caught_by(test_identity.test_socket_of_a_foreign_page_cannot_use_the_cookie)
def handshakes_count_as_reading(patch: Patch) -> None:
    """A WebSocket is a GET, so its cookie is let through."""
    ours = credentials.counts_as_ours
    patch.setattr(
        credentials, "counts_as_ours", lambda scope, names: scope["type"] == "websocket" or ours(scope, names)
    )


@caught_by(table("session under a bad token"))
def bad_token_falls_back_to_the_cookie(patch: Patch) -> None:
    """Who shows a token that is no good is let in as somebody else."""
    token = credentials._token
    patch.setattr(
        credentials, "_token", lambda headers, params: None if "cookie" in headers else token(headers, params)
    )


@caught_by(rebound(test_guard.REBOUND))
def every_host_name_is_ours(patch: Patch) -> None:
    """DNS rebinding works."""
    patch.setattr(origins.OurNames, "know", lambda *_: True)


@caught_by(rebound("localhost.evil.example"))
def names_are_compared_by_their_beginning(patch: Patch) -> None:
    """`localhost.evil.example` is ours."""
    patch.setattr(origins.OurNames, "know", lambda _, scope: b"localhost" in dict(scope["headers"])[b"host"])


@caught_by(lambda site: test_guard.test_forms_of_other_sites_sign_nobody_in_or_out(site, "/login", {"origin": "null"}))
def forms_may_come_from_anywhere(patch: Patch) -> None:
    """Somebody else's page signs people in as somebody else."""
    patch.setattr(login.Login, "_check_origin", lambda *_: None)


@caught_by(test_limits.test_guessing_a_password_is_slowed_down)
def spellings_of_an_address_are_accounts(patch: Patch) -> None:
    """Each way to write an e-mail address is a new set of guesses."""
    patch.setattr(admins, "email_key", str)


@caught_by(test_limits.test_guesses_at_once_are_as_many_guesses)
def guesses_count_when_they_have_failed(patch: Patch) -> None:
    """A hundred at the same time are let through."""
    patch.setattr(limits.LoginLimit, "begin", lambda *_, **__: None)


@caught_by(test_login.test_link_is_used_by_its_button_only_and_once)
def looking_at_a_link_uses_it(patch: Patch) -> None:
    """A chat's preview signs in, its reader does not."""
    show = login.Login._show

    async def eager(self: login.Login, request: Any) -> Any:
        async with self._database.begin() as connection:
            token = request.query_params.get("token", "")
            await login_links.use(connection, token, address="", now_ms=self._clock.wall_ms())
        return await show(self, request)

    patch.setattr(login.Login, "_show", eager)


@caught_by(test_login.test_session_is_a_new_one_at_each_login)
def login_leaves_the_session_there_was(patch: Patch) -> None:
    """What somebody planted goes on working."""
    patch.setattr(login.Login, "_close_session", nothing)


@caught_by(lambda site: test_login.test_login_leads_to_our_own_pages_only(site, "//evil.example"))
def login_leads_anywhere(patch: Patch) -> None:
    """Our login page sends people to other sites."""
    patch.setattr(login, "local_path", lambda text: text if text.startswith("/") else "/")


@caught_by(test_login.test_logout_ends_the_session_at_the_server)
def logout_only_takes_the_cookie_away(patch: Patch) -> None:
    """A copied cookie goes on working."""
    patch.setattr(sessions, "close", nothing)


@caught_by(test_login.test_logout_ends_the_session_at_the_server)
def logout_is_noticed_later(patch: Patch) -> None:
    """What was just believed is believed for some seconds more."""
    patch.setattr(Identities, "forget", lambda _: None)


@caught_by(test_identity.test_revoked_token_is_refused_within_the_promised_time)
def what_was_known_stays_known(patch: Patch) -> None:
    """A revoked token works until the process ends."""
    patch.setattr(Identities, "_fresh", lambda self, credential: self._known.get(credential, (None, 0))[0])


@caught_by(test_identity.test_call_on_an_open_socket_is_judged_by_what_its_token_is_worth_now)
def sockets_keep_what_they_had(patch: Patch) -> None:
    """Who is connected stays, whatever is revoked."""
    patch.setattr(Identities, "look_again", nothing)


@caught_by(test_identity.test_what_is_remembered_is_bounded)
def refusals_are_remembered_without_end(patch: Patch) -> None:
    """Guessing fills the memory."""
    patch.setattr(identity, "WeakValueDictionary", dict)


@caught_by(test_identity.test_messages_never_repeat_what_was_shown)
def errors_quote_the_token(patch: Patch) -> None:
    """It ends up in logs and screenshots."""
    patch.setattr(credentials.Credential, "__repr__", lambda self: f"Credential({self.secret})")


@caught_by(test_guard.test_every_answer_has_the_security_headers)
def failures_have_no_headers(patch: Patch) -> None:
    """They can be framed, sniffed and cached."""
    real = headers.add_headers

    def lazy(message: Message, *, is_https: bool) -> None:
        if message.get("status", 0) < 500:
            real(message, is_https=is_https)

    patch.setattr(guard, "add_headers", lazy)


async def fails_silently(site: Site) -> None:
    """A failure is told by a reference only."""
    got = await fetch(site, "/crash")
    assert "nobody's business" not in got.text


@caught_by(fails_silently)
def failures_are_told_in_full(patch: Patch) -> None:
    """The text of an exception goes to whoever asked."""
    patch.setattr(guard, "_failed", lambda _: PlainTextResponse(str(sys.exc_info()[1]), 500))


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_guard_is_caught(site_database: str, tmp_path: Path, monkeypatch: Patch, name: str) -> None:
    """A test that cannot fail protects nothing."""
    broken, test = BROKEN[name]
    broken(monkeypatch)
    async with running_site(site_database, directory=tmp_path) as site:
        with pytest.raises(AssertionError):
            await test(site)


@pytest.mark.parametrize("name", ["_trusts", "_client"])
def test_forwarded_addresses_are_not_just_believed(monkeypatch: Patch, name: str) -> None:
    """Whoever writes X-Forwarded-For is as many clients as they like: of everyone, or left of what a proxy wrote."""
    believed: dict[str, Any] = {
        "_trusts": lambda *_: True,
        "_client": lambda _, peer, text: proxies.parsed_address(text.partition(",")[0]) or peer,
    }
    monkeypatch.setattr(proxies.TrustedProxies, name, believed[name])
    peer = "203.0.113.7" if name == "_trusts" else "127.0.0.1"
    client = "203.0.113.7" if name == "_trusts" else "1.2.3.4"
    with pytest.raises(AssertionError):
        test_limits.test_client_is_the_first_address_nobody_of_ours_vouches_for(peer, ["9.9.9.9, 1.2.3.4"], client)


def test_success_that_clears_the_address_is_caught(monkeypatch: Patch) -> None:
    """Somebody with an account would guess at others' for ever."""
    forgive = limits._Failures.forgive
    monkeypatch.setattr(
        limits._Failures, "forgive", lambda self, key, *, everything: forgive(self, key, everything=True)
    )
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_limits.test_success_clears_the_account_but_not_the_address()
