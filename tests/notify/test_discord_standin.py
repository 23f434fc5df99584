"""The stand-in is as strict as Discord's documentation: what passes here is no accident."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.request import Request, urlopen

import aiohttp
import pytest

from perseus.notify.discord import user_agent
from tests.support.discord import StandIn, pinged
from tests.support.discord_control import StandInProcess
from tests.support.discord_faults import Fault
from tests.support.discord_limits import breaches, embed_length

HELLO = {"content": "hello"}
HEADERS = {"User-Agent": user_agent("1.0"), "Content-Type": "application/json"}


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    """A stand-in with Discord's own limits."""
    async with StandIn() as stand_in:
        yield stand_in


class Told:
    """An answer: status, headers, JSON (or None)."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        """The JSON in it."""
        return json.loads(self.body)


async def ask(method: str, url: str, payload: Any, **headers: str) -> Told:
    """One plain request, without our client."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=body, headers=HEADERS | headers, allow_redirects=False) as answer,
    ):
        return Told(answer.status, answer.headers, await answer.read())


def called(stand_in: StandIn, name: str = "ops", *, more: str = "?wait=true") -> str:
    """A webhook's URL with the API version, and what follows."""
    return stand_in.url(name).replace("/api/", "/api/v10/") + more


async def test_message_is_answered_only_when_waited_for(stand_in: StandIn) -> None:
    """Without `wait` there is no id, and nobody hears that a message was refused."""
    answer = await ask("POST", called(stand_in), HELLO)
    assert (answer.status, answer.json["id"]) == (200, stand_in.messages("ops")[0].id)
    assert (await ask("POST", called(stand_in, more=""), HELLO)).status == 204
    assert (await ask("POST", called(stand_in, more=""), {"content": "x" * 2001})).status == 204
    assert len(stand_in.messages("ops")) == 2


async def test_edit_changes_what_it_names_and_history_is_kept(stand_in: StandIn) -> None:
    """Tests ask when people saw what."""
    begun = time.time()
    posted = (await ask("POST", called(stand_in), {"content": "a", "embeds": [{"title": "t"}]})).json["id"]
    assert (await ask("PATCH", called(stand_in, more=f"/messages/{posted}"), {"content": "b"})).status == 200
    [message] = stand_in.messages("ops")
    assert [version.payload["content"] for version in message.versions] == ["a", "b"]
    assert message.payload["embeds"] == [{"title": "t"}]
    assert begun - 1 <= message.at <= message.versions[1].at


async def test_message_is_found_in_its_thread_only(stand_in: StandIn) -> None:
    """As Discord finds it, and only its own webhook's."""
    posted = (await ask("POST", called(stand_in, more="?wait=1&thread_id=5"), HELLO)).json["id"]
    for more in (f"/messages/{posted}", "/messages/12", f"/messages/{posted}?thread_id=6"):
        answer = await ask("PATCH", called(stand_in, more=more), HELLO)
        assert (answer.status, answer.json["code"]) == (404, 10008)
    assert (await ask("PATCH", called(stand_in, more=f"/messages/{posted}?thread_id=5"), HELLO)).status == 200
    assert (await ask("PATCH", called(stand_in, "dev", more=f"/messages/{posted}?thread_id=5"), HELLO)).status == 404


async def test_webhook_and_token_must_be_known(stand_in: StandIn) -> None:
    """A removed one is unknown; a wrong token is told from a wrong id."""
    assert (await ask("POST", called(stand_in, more="x?wait=true"), HELLO)).json["code"] == 50027
    unknown = called(stand_in).replace("/webhooks/", "/webhooks/9")
    assert (await ask("POST", unknown, HELLO)).json["code"] == 10015
    stand_in.remove("ops")
    answer = await ask("POST", called(stand_in), HELLO)
    assert (answer.status, answer.json["code"]) == (404, 10015)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"User-Agent": "Python/3.11 aiohttp/3"}, 403, 40333),
        ({"User-Agent": "DiscordBot (Perseus, 1.0)"}, 403, 40333),
        ({"Content-Type": "text/plain"}, 400, 50035),
        ({"Authorization": "Basic bWU6c2VjcmV0"}, 401, 0),
    ],
)
async def test_headers_must_be_right(stand_in: StandIn, change: dict[str, str], status: int, code: int) -> None:
    """Discord refuses or blocks who is not honest about these."""
    answer = await ask("POST", called(stand_in), HELLO, **change)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert stand_in.messages("ops") == []


async def test_other_versions_and_methods_are_refused(stand_in: StandIn) -> None:
    """Without a version Discord takes a deprecated one; we must always say ours."""
    for url in (stand_in.url("ops"), stand_in.url("ops").replace("/api/", "/api/v5/")):
        assert (await ask("POST", url, HELLO)).status == 400
    assert (await ask("PUT", called(stand_in), HELLO)).status == 405
    assert (await ask("POST", called(stand_in), b"{nothing")).json["code"] == 50109


async def test_sixth_request_of_two_seconds_is_one_too_many(stand_in: StandIn) -> None:
    """And every answer says what is left, in fractions."""
    answers = [await ask("POST", called(stand_in), HELLO) for _ in range(6)]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers[:5]] == ["4", "3", "2", "1", "0"]
    assert all(0 < float(answer.headers["X-RateLimit-Reset-After"]) <= 2 for answer in answers[:5])
    assert answers[5].status == 429
    assert 0 < answers[5].json["retry_after"] <= 2
    assert (stand_in.provoked, len(stand_in.messages("ops"))) == (1, 5)
    assert (await ask("POST", called(stand_in, "dev"), HELLO)).status == 200


@pytest.mark.parametrize("form", ["limited", "limited_shared", "limited_global", "cloudflare", "cloudflare_bar"])
async def test_who_does_not_wait_is_noticed(stand_in: StandIn, form: str) -> None:
    """A limit is one until its time is over, for whom it is meant, and says what Discord says."""
    stand_in.play(form, on="ops", retry_after=30)
    first = await ask("POST", called(stand_in), HELLO)
    assert first.status == (await ask("POST", called(stand_in), HELLO)).status == 429
    assert stand_in.premature == 1
    is_global = form not in ("limited", "limited_shared")
    assert (await ask("POST", called(stand_in, "dev"), HELLO)).status == (429 if is_global else 200)
    assert ("Via" in first.headers) == form.startswith("limited")
    scopes = {"limited": "user", "limited_shared": "shared", "limited_global": "global"}
    assert first.headers.get("X-RateLimit-Scope") == scopes.get(form)


def embed(**of: Any) -> dict[str, Any]:
    """A message of one embed."""
    return {"embeds": [{"title": "t"} | of]}


TOO_MUCH: dict[str, tuple[Any, str]] = {
    "content": ({"content": "x" * 2001}, "content"),
    "nothing": ({}, ""),
    "blank": ({"content": " \n"}, ""),
    "embeds": ({"embeds": [{"title": "t"}] * 11}, "embeds"),
    "title": (embed(title="x" * 257), "embeds.0.title"),
    "description": (embed(description="x" * 4097), "embeds.0.description"),
    "footer": (embed(footer={"text": "x" * 2049}), "embeds.0.footer.text"),
    "author": (embed(author={"name": "x" * 257}), "embeds.0.author.name"),
    "fields": (embed(fields=[{"name": "n", "value": "v"}] * 26), "embeds.0.fields"),
    "field name": (embed(fields=[{"name": "x" * 257, "value": "v"}]), "embeds.0.fields.0.name"),
    "field value": (embed(fields=[{"name": "n", "value": "x" * 1025}]), "embeds.0.fields.0.value"),
    "empty value": (embed(fields=[{"name": "n", "value": " "}]), "embeds.0.fields.0.value"),
    "all together": ({"embeds": [{"description": "x" * 3001}] * 2}, "embeds"),
    "colour": (embed(color=1 << 24), "embeds.0.color"),
    "moment": (embed(timestamp="yesterday"), "embeds.0.timestamp"),
    "link": (embed(url="javascript:alert(1)"), "embeds.0.url"),
    "empty embed": ({"embeds": [{}]}, "embeds.0"),
    "unknown key": (embed(colour=1), "embeds.0.colour"),
    "another key": (HELLO | {"silent": True}, "silent"),
    "flag": (HELLO | {"flags": 1 << 6}, "flags"),
    "username": (HELLO | {"username": "Discord"}, "username"),
    "parse": (HELLO | {"allowed_mentions": {"parse": ["all"]}}, "allowed_mentions.parse"),
    "role": (HELLO | {"allowed_mentions": {"roles": ["admins"]}}, "allowed_mentions.roles"),
    "both": (HELLO | {"allowed_mentions": {"parse": ["roles"], "roles": ["1"]}}, "allowed_mentions"),
    "no object": ([1], ""),
}


@pytest.mark.parametrize("name", TOO_MUCH)
async def test_whatever_discord_refuses_is_refused_at_its_place(stand_in: StandIn, name: str) -> None:
    """Each documented limit, one beyond."""
    payload, path = TOO_MUCH[name]
    assert path in {".".join(one.path) for one in breaches(payload)}
    answer = await ask("POST", called(stand_in), payload)
    assert answer.status == 400
    node = answer.json.get("errors", {})
    for part in path.split(".") if path else ():
        node = node[part]
    assert node.get("_errors") or answer.json["code"] == 50006
    assert stand_in.messages("ops") == []


def test_whatever_is_just_allowed_is_allowed() -> None:
    """Limits count inclusively, in code points, after trimming."""
    full = {"title": "x" * 256, "footer": {"text": "x" * 1000}, "author": {"name": "x" * 256}}
    fields = [{"name": "n", "value": "😀" * 100} for _ in range(25)]
    payload = {
        "content": " " + "😀" * 2000 + "\n",
        "embeds": [full | {"description": "x" * 1963, "fields": fields}],
        "flags": 1 << 12,
        "allowed_mentions": {"parse": [], "roles": ["1" * 20]},
    }
    assert embed_length(payload["embeds"][0]) == 6000  # type: ignore[index]  # a list
    assert breaches(payload) == []
    assert breaches({"embeds": [{"description": "x" * 4096}]}) == []


def test_edit_may_say_less() -> None:
    """It may leave out everything, but cannot be silent: it never sounds."""
    assert breaches({"content": "", "embeds": []}, edits=True) == []
    assert [one.path for one in breaches({"flags": 1 << 12}, edits=True)] == [("flags",)]


def test_whom_a_message_notifies_is_what_it_allows() -> None:
    """Without `allowed_mentions` every name in a text pings."""
    text = "@everyone <@&1> <@2>"
    assert pinged({"content": text}) == ("1", "2", "everyone")
    assert pinged({"content": text, "allowed_mentions": {"parse": []}}) == ()
    assert pinged({"content": text, "allowed_mentions": {"parse": [], "roles": ["1"]}}) == ("1",)
    assert pinged({"content": "hi", "allowed_mentions": {"parse": [], "roles": ["1"]}}) == ()


async def test_fault_happens_as_often_as_asked_and_to_whom(stand_in: StandIn) -> None:
    """So that a test knows what was hit."""
    fault = stand_in.play("error", on="ops", method="PATCH", times=2, status=500)
    assert (await ask("POST", called(stand_in), HELLO)).status == 200
    edit = called(stand_in, more="/messages/1")
    assert [(await ask("PATCH", edit, HELLO)).status for _ in range(3)] == [500, 500, 404]
    assert fault.played == 2
    assert [one.form for one in stand_in.asked] == ["", "error", "error", ""]
    with pytest.raises(ValueError, match="no such fault"):
        Fault("sunshine")


async def test_listener_comes_back_on_its_port(stand_in: StandIn) -> None:
    """An outage of Discord's: refused, with everything kept."""
    await ask("POST", called(stand_in), HELLO)
    await stand_in.refuse()
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask("POST", called(stand_in), HELLO)
    await stand_in.listen()
    assert (await ask("POST", called(stand_in), HELLO)).status == 200
    assert len(stand_in.messages("ops")) == 2


def test_process_is_told_what_to_do() -> None:
    """Tests with processes and browsers use it from outside."""
    with StandInProcess() as stand_in:
        url = stand_in.setting("ops").removeprefix("ops=").replace("/api/", "/api/v10/") + "?wait=true"
        assert _posted(url)
        stand_in.play("error", status=502)
        assert not _posted(url)
        [message] = stand_in.messages("ops")
        assert (message.payload, message.is_silent, message.channel) == (HELLO, False, "ops")
        stand_in.refuse()
        assert not _posted(url)
        stand_in.listen()
        stand_in.delete(message.id)
        assert stand_in.messages("ops") == []
        stand_in.remove("ops")
        assert not _posted(url)
        assert stand_in.verdict() == {"provoked": 0, "premature": 0, "asked": 2}


def _posted(url: str) -> bool:
    try:
        with urlopen(Request(url, json.dumps(HELLO).encode(), HEADERS), timeout=5) as answer:
            return bool(json.load(answer)["id"])
    except OSError as error:
        if hasattr(error, "close"):
            error.close()
        return False
