"""Webhook URLs: every form a person may copy is taken, nothing else is, and the token is never shown."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perseus.notify import state
from perseus.webhooks import KINDS, Webhook, parse_announced, parse_role, parse_webhooks, without_token

TOKEN = "to-KEN_of68letters" * 3
ID = "1140000000000000001"
NORMAL = f"https://discord.com/api/v10/webhooks/{ID}/{TOKEN}"


def one(text: str) -> Webhook:
    """The only webhook in this."""
    (webhook,) = parse_webhooks(text)
    return webhook


def fault(text: str) -> str:
    """Why this is refused."""
    with pytest.raises(ValueError) as caught:
        parse_webhooks(text)
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.mark.parametrize("host", ["discord.com", "discordapp.com", "canary.discord.com", "ptb.discordapp.com"])
@pytest.mark.parametrize("path", ["/api/webhooks", "/api/v6/webhooks", "/api/v10/webhooks"])
@pytest.mark.parametrize("end", ["", "/", "?wait=true"])
def test_every_form_of_discords_own_urls_is_the_same_webhook(host: str, path: str, end: str) -> None:
    """People copy them from clients of all ages; old versions of the API are switched off one day."""
    webhook = one(f"https://{host}{path}/{ID}/{TOKEN}{end}")
    assert (webhook.name, webhook.url) == ("discord", NORMAL)
    assert webhook.fingerprint == one(NORMAL).fingerprint


def test_thread_is_kept_and_is_another_channel() -> None:
    """A forum's webhook cannot post without it."""
    webhook = one(f"ops={NORMAL}?thread_id=123&wait=false")
    assert webhook.url == f"{NORMAL}?thread_id=123"
    assert webhook.fingerprint != one(NORMAL).fingerprint


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://proxy.example:8443", "https://proxy.example:8443"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("http://localhost:9000", "http://localhost:9000"),
        ("https://notdiscord.com", "https://notdiscord.com"),
        ("https://discord.com.example", "https://discord.com.example"),
    ],
)
def test_other_hosts_are_proxies_and_are_kept(given: str, kept: str) -> None:
    """Some hosts may reach Discord through one of their own only."""
    assert one(f"{given}/api/v7/webhooks/{ID}/{TOKEN}").url == f"{kept}/api/v10/webhooks/{ID}/{TOKEN}"


@pytest.mark.parametrize("between", [",", " ", ", ", "\n", " ,\n"])
def test_several_are_separated_by_commas_or_spaces(between: str) -> None:
    """An environment file cannot hold a list."""
    text = between.join(f"{name}={NORMAL}{number}" for number, name in enumerate(("ops", "dev_2", "night-shift")))
    assert [webhook.name for webhook in parse_webhooks(text)] == ["ops", "dev_2", "night-shift"]
    assert parse_webhooks(" , ") == ()


FAULTS = [
    (f"http://discord.com/api/webhooks/{ID}/{TOKEN}", "must begin with https://"),
    (f"http://10.0.0.1/api/webhooks/{ID}/{TOKEN}", "must begin with https://"),
    (f"http://localhost.example/api/webhooks/{ID}/{TOKEN}", "must begin with https://"),
    (f"{NORMAL}/slack", "leave /slack out"),
    (f"ops={NORMAL}/github", "the URL of `ops` ends in /github"),
    (f"{NORMAL}/messages/1", "something after its token"),
    (f"https://discord.com/api/webhooks/{ID}", "/api/webhooks/ID/TOKEN"),
    (f"https://discord.com/api/webhooks/{TOKEN}/{ID}", "/api/webhooks/ID/TOKEN"),
    (f"https://discord.com/api/webhooks/{ID}/{TOKEN}%20", "/api/webhooks/ID/TOKEN"),
    (f"https://discord.com/webhooks/{ID}/{TOKEN}", "/api/webhooks/ID/TOKEN"),
    (f"https://discord.com/api/webhooks/١٢٣/{TOKEN}", "/api/webhooks/ID/TOKEN"),
    (f"https://discord.com:99/api/webhooks/{ID}/{TOKEN}", "names a port"),
    (f"https://discord.com:port/api/webhooks/{ID}/{TOKEN}", "malformed host or port"),
    (f"https://[bad/api/webhooks/{ID}/{TOKEN}", "malformed host or port"),
    (f"https://me:{TOKEN}@discord.com/api/webhooks/{ID}/{TOKEN}", "carries a user name or password"),
    (f"{NORMAL}?thread_id={TOKEN}", "one thread by its id"),
    (f"{NORMAL}?thread_id=1&thread_id=2", "one thread by its id"),
    (f"{NORMAL}?with_components={TOKEN}", "options other than"),
    (f"{NORMAL}#{TOKEN}", "options other than"),
    (f"discord.com/api/webhooks/{ID}/{TOKEN}", "is not an https:// URL"),
    (f"ftp://discord.com/api/webhooks/{ID}/{TOKEN}", "is not an https:// URL"),
    (TOKEN, "is not an https:// URL"),
    (f"Ops={NORMAL}", "1 to 32 of a-z"),
    (f"{'o' * 33}={NORMAL}", "1 to 32 of a-z"),
    (f"={NORMAL}", "1 to 32 of a-z"),
    (f"ops={NORMAL},ops={NORMAL}x", "two webhooks named `ops`"),
    (f"{NORMAL} {NORMAL}x", "two webhooks named `discord`"),
    (f"ops={NORMAL},dev={NORMAL}?wait=true", "the same webhook as `ops` and as `dev`"),
    (f"ops={NORMAL},{NORMAL}x,dev=https://x/{TOKEN}", "the URL of `dev` is not a webhook's"),
]


@pytest.mark.parametrize(("text", "words"), FAULTS)
def test_what_is_no_webhook_is_refused_without_showing_it(text: str, words: str) -> None:
    """The fault lands in terminals, logs and tickets, and one wrong letter does not make a token less secret."""
    told = fault(text)
    assert words in told
    assert TOKEN not in told


@given(st.text(alphabet="ab1/:=?@#%[]., _-\n\\h\u0661", max_size=60))
def test_any_text_is_taken_or_refused_with_a_reason(text: str) -> None:
    """A traceback would quote it."""
    try:
        webhooks, told = parse_webhooks(text), ""
    except ValueError as error:
        webhooks, told = (), str(error)
    assert not told or told.startswith(("cannot be used: ", "has "))
    assert all("/api/v10/webhooks/" in webhook.url for webhook in webhooks)


def test_webhook_is_never_shown_with_its_token() -> None:
    """It ends up in reprs, logs and f-strings without anybody thinking of it."""
    webhook = one(f"ops={NORMAL}?thread_id=5")
    for shown in (repr(webhook), str(webhook), f"{webhook}", f"{[webhook]}", "%s" % webhook):  # noqa: UP031
        assert TOKEN not in shown
    assert str(webhook) == f"ops=https://discord.com/api/webhooks/{ID}/***?thread_id=5"
    assert TOKEN not in webhook.fingerprint
    assert pickle.loads(pickle.dumps(webhook)) == webhook


@pytest.mark.parametrize(
    "text",
    [
        f"POST {NORMAL}?wait=true failed",
        f"'{NORMAL}'",
        f"https://proxy/api/webhooks/{ID}/{TOKEN}/messages/5, and more",
        f"https://discord.com/api/Webhooks//{ID}//{TOKEN}",
        f"/api/webhook/{ID}/{TOKEN}",
    ],
)
def test_token_is_masked_anywhere_in_a_text(text: str) -> None:
    """Libraries put URLs into their errors."""
    assert TOKEN not in without_token(text)
    assert ID in without_token(text)


def test_kinds_are_those_of_the_rules() -> None:
    """The settings cannot import the notifier's vocabulary: they must load fast, and stand below it."""
    assert KINDS == state.ANNOUNCED


@pytest.mark.parametrize(
    ("text", "kinds"),
    [("all", KINDS), ("none", ()), ("offline", ("offline",)), ("Recovered, offline", ("offline", "recovered"))],
)
def test_kinds_are_read(text: str, kinds: tuple[str, ...]) -> None:
    """In the order of the documentation, however they were written."""
    assert parse_announced(text) == kinds


@pytest.mark.parametrize("text", ["", "offlin", "all, offline", "test", "reminder"])
def test_unknown_kind_is_refused(text: str) -> None:
    """A misspelt one would never be told."""
    with pytest.raises(ValueError, match="must be `all`, `none`, or some of started"):
        parse_announced(text)


def test_role_is_an_id() -> None:
    """Anything else in its place would be refused by Discord with every outage."""
    assert (parse_role(""), parse_role(" 123 ")) == ("", "123")
    for text in ("@ops", "<@&123>", "١٢٣", "1" * 21):
        with pytest.raises(ValueError, match="is no role's id"):
            parse_role(text)
