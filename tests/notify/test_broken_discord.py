"""Clients of Discord broken on purpose, one in each way that matters: a test that should notice must notice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from yarl import URL

from perseus.notify import answers, discord
from perseus.notify.answers import Answer, Delivered, Later, Outcome
from perseus.notify.discord import Discord
from perseus.notify.pace import Pace
from tests.notify import test_discord as tests
from tests.notify import test_discord_network as network
from tests.support.discord_client import HELLO, Both, discord_and_us, webhook

Patch = pytest.MonkeyPatch
Test = Callable[[Both], Awaitable[None]]
BROKEN: list[tuple[Callable[[Patch], None], Test]] = []


def caught_by(test: Test) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Register a broken client with the test that must fail on it."""

    def register(broken: Callable[[Patch], None]) -> Callable[[Patch], None]:
        BROKEN.append((broken, test))
        return broken

    return register


def trouble(form: str) -> Test:
    """The test of one trouble's outcome."""
    return lambda both: tests.test_every_trouble_has_its_outcome(both, form)


def global_limit(form: str) -> Test:
    """The test that every webhook is held."""
    return lambda _: tests.test_global_limit_holds_every_webhook(form)


async def own_limit(_: Both) -> None:
    """A 429 of one webhook, kept by it alone. That test brings its own Discord."""
    await tests.test_limit_of_one_webhook_is_kept_by_it_alone("limited")


async def shared_limit(_: Both) -> None:
    """One that the headers do not tell in other words."""
    await tests.test_limit_of_one_webhook_is_kept_by_it_alone("limited_shared")


async def isolation(_: Both) -> None:
    """That one, too."""
    await tests.test_trouble_of_one_webhook_never_delays_another()


async def held_while_waiting(_: Both) -> None:
    """That one, too."""
    await tests.test_global_limit_that_comes_while_another_waits_holds_it_too()


async def secrecy(both: Both) -> None:
    """What is told of every trouble contains no token; the whole test needs pytest's captures."""
    stand_in, us = both
    stand_in.burst, where = 1000, webhook(stand_in)
    told = []
    for form in ("echo", "garbage", "reset", "closed"):
        stand_in.play(form)
        told.append(str(await us.post(where, HELLO)))
    await stand_in.refuse()
    told.append(str(await us.post(where, HELLO)))
    for secret in (where.url.rpartition("/")[2][:40], f"127.0.0.1:{stand_in.port}", f"'127.0.0.1', {stand_in.port}"):
        assert secret not in "\n".join(told)


@caught_by(tests.test_flood_keeps_within_the_limit)
def headers_are_not_looked_at(patch: Patch) -> None:
    """It sends until Discord says 429."""
    patch.setattr(Pace, "observe", lambda *_: None)


@caught_by(tests.test_flood_keeps_within_the_limit)
def whole_seconds_only(patch: Patch) -> None:
    """Fractions are cut off."""
    observe = Pace.observe

    def cut(self: Pace, route: Any, headers: dict[str, str]) -> None:
        after = headers.get("x-ratelimit-reset-after", "0")
        observe(self, route, {**headers, "x-ratelimit-reset-after": after.partition(".")[0]})

    patch.setattr(Pace, "observe", cut)


@caught_by(tests.test_flood_of_posts_and_edits_keeps_within_their_common_limit)
def bucket_names_are_not_looked_at(patch: Patch) -> None:
    """Each route is its own bucket."""
    bucket = Pace._bucket
    patch.setattr(Pace, "_bucket", lambda self, route, _: bucket(self, route, route))


@caught_by(shared_limit)
def refused_for_now_is_sent_at_once(patch: Patch) -> None:
    """The time a 429 says is for the caller only."""
    patch.setattr(Pace, "block", lambda *_: None)


@caught_by(global_limit("limited_global"))
@caught_by(held_while_waiting)
def global_limit_is_for_one(patch: Patch) -> None:
    """The others go on."""
    _changed_limits(patch, lambda limit: Later(limit.after_s, limit.reason))


@caught_by(global_limit("cloudflare"))
def cloudflare_counts_as_discord(patch: Patch) -> None:
    """Who says 429 is not looked at."""
    limited = answers._limited
    patch.setattr(answers, "_limited", lambda answer: limited(answer._replace(headers={**answer.headers, "via": "x"})))


@caught_by(own_limit)
def every_limit_is_global(patch: Patch) -> None:
    """One webhook's limit holds all."""
    _changed_limits(patch, lambda limit: Later(limit.after_s, limit.reason, is_global=True))


@caught_by(trouble("limited"))
def time_a_limit_lasts_is_a_minute(patch: Patch) -> None:
    """What Discord says is not read."""
    patch.setattr(answers, "seconds", lambda _: None)


def _changed_limits(patch: Patch, changed: Callable[[Later], Later]) -> None:
    limited = answers._limited
    patch.setattr(answers, "_limited", lambda answer: changed(limited(answer)))


@caught_by(isolation)
def one_turn_for_all(patch: Patch) -> None:
    """Webhooks wait for each other."""
    turn = asyncio.Lock()
    patch.setattr(Pace, "turn", property(lambda _: turn, lambda *_: None), raising=False)


@caught_by(isolation)
def one_connection_for_all(patch: Patch) -> None:
    """As many connections as fit: one that hangs is the one."""
    session = aiohttp.ClientSession
    patch.setattr(
        aiohttp, "ClientSession", lambda **named: session(**named | {"connector": aiohttp.TCPConnector(limit=1)})
    )


@caught_by(trouble("page"))
def any_page_is_delivered(patch: Patch) -> None:
    """200 is 200."""
    patch.setattr(answers, "_taken", lambda _: Delivered(""))


@caught_by(trouble("half"))
def answer_that_breaks_off_is_sent_again(patch: Patch) -> None:
    """Discord has taken it: every message would be there twice while answers break off."""
    patch.setattr(answers, "_taken", lambda _: Later(1.0, "no id"))


@caught_by(trouble("redirect"))
def redirects_are_followed(patch: Patch) -> None:
    """The payload and the token go wherever they are sent."""
    _changed_requests(patch, lambda _, named: named.update(allow_redirects=True))


@caught_by(tests.test_message_is_posted_and_its_id_known)
def confirmation_is_not_waited_for(patch: Patch) -> None:
    """No id, and no word of what is wrong."""

    async def post(self: Discord, webhook: Any, payload: Any, **_: object) -> Outcome:
        url = URL(webhook.url)
        return await self._send("post", url, url, payload, may_send=lambda: True)

    patch.setattr(Discord, "post", post)


@caught_by(tests.test_edited_message_says_the_payload_and_nothing_else)
def edits_leave_things_out(patch: Patch) -> None:
    """What was there before stays."""
    patch.setattr(discord, "_edited", lambda payload: {k: v for k, v in payload.items() if k in ("content", "embeds")})


@caught_by(tests.test_message_a_person_deleted_is_gone)
def deleted_message_kills_the_channel(patch: Patch) -> None:
    """404 is 404."""
    patch.setattr(answers, "UNKNOWN_MESSAGE", -1)
    patch.setattr(answers, "_OF_THE_MESSAGE", frozenset())


@caught_by(trouble("blocked"))
def every_403_kills_the_channel(patch: Patch) -> None:
    """Whoever says it."""
    refused = answers._refused

    def believed(answer: Answer, *, edits: bool) -> Outcome:
        return refused(answer._replace(body=answer.body if answer.json else b'{"code": 0}'), edits=edits)

    patch.setattr(answers, "_refused", believed)


@caught_by(trouble("busy"))
def whatever_is_400_is_given_up(patch: Patch) -> None:
    """Also what Discord says is for now."""
    patch.setattr(answers, "_PASSING", frozenset())


@caught_by(tests.test_pauses_double_up_to_a_minute_and_begin_anew)
def it_keeps_asking(patch: Patch) -> None:
    """Once a second for hours."""
    patch.setattr(Pace, "failed", lambda _: 1.0)


@caught_by(tests.test_pauses_double_up_to_a_minute_and_begin_anew)
def trouble_is_never_over(patch: Patch) -> None:
    """After one outage every hiccup is a minute."""
    patch.setattr(Pace, "succeeded", lambda _: None)


@caught_by(secrecy)
def reasons_are_the_librarys(patch: Patch) -> None:
    """They name the host and port, and sometimes the URL."""
    patch.setattr(discord, "_why", lambda error, **_: repr(error))


@caught_by(secrecy)
def what_others_write_is_told(patch: Patch) -> None:
    """An error page that repeats the address."""
    patch.setattr(discord, "_without", lambda _, body: body)


@caught_by(network.test_refused_connections_pass_when_discord_is_back)
def unreachable_is_an_error(patch: Patch) -> None:
    """It raises where the network fails."""

    def raising(error: Exception, **_: object) -> str:
        raise error

    patch.setattr(discord, "_why", raising)


def _changed_requests(patch: Patch, changed: Callable[[Any, dict[str, Any]], object]) -> None:
    request = aiohttp.ClientSession.request

    def with_changes(self: aiohttp.ClientSession, *args: Any, **named: Any) -> Any:
        changed(self, named)
        return request(self, *args, **named)

    patch.setattr(aiohttp.ClientSession, "request", with_changes)


@pytest.mark.parametrize(("broken", "test"), BROKEN, ids=lambda one: getattr(one, "__name__", ""))
async def test_broken_client_is_caught(
    broken: Callable[[Patch], None], test: Test, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test that passes on it would let the real one break in the same way."""
    broken(monkeypatch)
    with pytest.raises((AssertionError, OSError, aiohttp.ClientError)):
        async with discord_and_us() as both:
            await test(both)


@pytest.mark.parametrize("test", [isolation, held_while_waiting, own_limit, secrecy], ids=lambda test: test.__name__)
async def test_whole_client_passes(test: Test) -> None:
    """What is made for this file only must not fail by itself."""
    async with discord_and_us() as both:
        await test(both)
