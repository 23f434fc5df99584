"""What Discord is sent: words a person understands at 3 am, of lengths Discord takes, without anybody else's marks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from perseus.notify import lengths, markdown, words
from perseus.notify.headlines import headline, lasting
from perseus.notify.queue import Send
from perseus.notify.state import Kind, Line, Message, Phase
from tests.support.discord_limits import SUPPRESS_NOTIFICATIONS, breaches

NOW_MS = 1_764_000_000_000
PAGE = "https://perseus.example"
NASTY = [
    "@everyone @here <@1> <@!1> <@&1> <#1> </ban:1> <id:customize>",
    "<t:1:R> <:evil:1> <a:evil:1> :smile: https://evil.example <https://evil.example> discord://x mailto:a@b",
    "[click](https://evil.example) *a* **b** _c_ __d__ ~~e~~ ||f|| `g` ```h``` ***i*** snake__case__x a_b_c _",
    "# header\n## header\n-# sub\n- list\n* list\n1. list\n> quote\n>>> quote",
    "- list",
    "12. list",
    "+ ",
    "\\ \\* \\\\* \\",
    "a\u200bb\u202ec\u2066d\ufeffe\u00adf\x00g\x1b[31mh\u2028i\ue000j\u3164k\u2800l\U000e0041m",
    "e" + "\u0301" * 50,
    "\ud800 half",
    "😀" * 300,
    "x" * 3000,
    "*" * 3000,
]
TEXTS = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=20),
    st.text(alphabet="*_~|`<>[]()@#:\\-+.>1 \n\tat😀\u200b/", max_size=30),
    st.integers(100, 300).map(lambda times: "*😀" * times),
)
MOMENTS = st.integers(0, 4_102_444_800_000)
LINES = st.builds(
    Line,
    exchange_id=st.integers(1, 400),
    exchange_name=TEXTS,
    display_name=TEXTS,
    phase=st.sampled_from(get_args(Phase)),
    since_ms=MOMENTS,
    until_ms=st.none() | MOMENTS,
    hostname=TEXTS,
    ip=TEXTS,
    admin_email=TEXTS,
    next_hostname=TEXTS,
    next_phase=st.sampled_from(["", "starting", "warming", "else"]),
    last_state=TEXTS,
    detail=TEXTS,
    count=st.integers(0, 10**6),
    is_up=st.booleans(),
    acknowledged_by=TEXTS,
    muted_until_ms=st.none() | MOMENTS,
)
MESSAGES = st.builds(
    Message,
    key=st.just("key"),
    kind=st.sampled_from(get_args(Kind)),
    opened_ms=MOMENTS,
    is_loud=st.booleans(),
    of=st.integers(0, 400),
    lines=st.lists(LINES, max_size=5).map(tuple),
    asked_by=TEXTS,
)
# What Discord makes something of, were it not escaped: by its clients' rules, found in plain text.
ACTIVE = re.compile(
    r"""
      [*~`]|\|\||__                               # emphasis, code, spoilers
    | \b_[^_]+_\b                                 # slanted
    | <(?:@[!&]?|\#|/|:|a:|t:|id:)                # mentions, channels, commands, emoji, times
    | @(?:everyone|here)
    | \w+://\S | mailto: | tel: | :\w+:           # links, emoji
    | \[[^]]*\]\(                                 # masked links
    | ^\s*(?:\#{1,3}\s|-\#\s|[-*+]\s|\d+\.\s|>)   # at the beginning of a line
    """,
    re.VERBOSE | re.MULTILINE,
)
OURS = re.compile(r"<t:-?\d+:[fR]>|<@&42>|\*\*(?=\S)|(?<=\S)\*\*")


def send(message: Message, *, edits: str | None = None, is_late: bool = False) -> Send:
    """The message as the queue gives it."""
    return Send(message, edits, (), is_late)


def payload(message: Message, *, edits: str | None = None, is_late: bool = False, role: str = "42") -> dict[str, Any]:
    """What is sent of it, two minutes after it was opened."""
    what = send(message, edits=edits, is_late=is_late)
    return words.payload(what, now_ms=message.opened_ms + 120_000, mention_role=role, public_url=PAGE)


def texts(body: dict[str, Any]) -> Iterator[str]:
    """Every text people see of it."""
    yield body["content"]
    for embed in body["embeds"]:
        yield from (embed[key] for key in ("title", "description") if key in embed)
        yield from (text for field in embed.get("fields", ()) for text in (field["name"], field["value"]))


def shown(text: str) -> str:
    """An escaped text as Discord shows it."""
    return re.sub(r"\\([^0-9A-Za-z\s])", r"\1", text)


def line(name: str, phase: Phase = "offline", **facts: Any) -> Line:
    """A line about an exchange, down for three minutes and twelve seconds if it is down no more."""
    known = {
        "exchange_id": 1,
        "exchange_name": name.lower(),
        "display_name": name,
        "since_ms": NOW_MS - 192_000,
        "hostname": "fra-1",
        "ip": "203.0.113.7",
        "admin_email": "ada@example.org",
    }
    return Line(phase=phase, **{**known, **facts})


def message(kind: Kind, *lines: Line, of: int = 8) -> Message:
    """A message of these lines."""
    is_loud = kind in ("offline", "lease_lost", "flapping", "reminder")
    return Message(key="key", kind=kind, opened_ms=NOW_MS, lines=lines, of=of, is_loud=is_loud, asked_by="ada")


BACK: dict[str, Any] = {"until_ms": NOW_MS}
HEADLINES: list[tuple[str, Message, str]] = [
    ("one", message("offline", line("Kraken")), "Kraken is offline, last on fra-1"),
    (
        "several",
        message("offline", line("Kraken"), line("Binance"), line("Coinbase")),
        "3 of 8 exchanges are offline: Kraken, Binance, Coinbase",
    ),
    ("all", message("offline", line("Kraken"), line("Binance"), of=2), "All 2 exchanges are offline: Kraken, Binance"),
    ("unknown how many", message("offline", line("Kraken"), line("OKX"), of=0), "2 exchanges are offline: Kraken, OKX"),
    (
        "somebody comes",
        message("offline", line("Kraken", next_hostname="fra-2", next_phase="warming")),
        "Kraken is offline, last on fra-1; fra-2 is warming up",
    ),
    (
        "some are back",
        message("offline", line("Kraken"), line("Binance"), line("OKX", **BACK)),
        "2 of 8 exchanges are offline: Kraken, Binance; OKX is back",
    ),
    (
        "one is left",
        message("offline", line("Kraken"), line("OKX", **BACK)),
        "Kraken is offline, last on fra-1; OKX is back",
    ),
    ("over", message("offline", line("Kraken", **BACK)), "Kraken was down 3m12s"),
    ("meant", message("offline", line("Kraken", "stopped", **BACK)), "Kraken was down 3m12s, then stopped"),
    (
        "all over",
        message("offline", line("Kraken", **BACK), line("OKX", **BACK)),
        "2 of 8 exchanges were down: Kraken, OKX",
    ),
    ("lease", message("lease_lost", line("Kraken", "lease_lost")), "Kraken has lost its lease"),
    (
        "mixed",
        message("offline", line("Kraken"), line("OKX", "lease_lapsed")),
        "2 of 8 exchanges are down: Kraken, OKX",
    ),
    ("recovered", message("recovered", line("Kraken", "recovered", **BACK)), "Kraken is active again after 3m12s"),
    ("stable", message("recovered", line("Kraken", "stable", **BACK)), "Kraken is stable again"),
    ("flapping", message("flapping", line("Kraken", "flapping", count=5)), "Kraken is flapping (5 changes), down now"),
    ("flapped", message("flapping", line("Kraken", count=5, **BACK)), "Kraken was flapping for 3m12s"),
    ("reminder", message("reminder", line("Kraken")), "Kraken is still offline after 3m12s"),
    (
        "reminder of several",
        message("reminder", line("Kraken"), line("OKX")),
        "2 of 8 exchanges are still offline: Kraken, OKX",
    ),
    ("started", message("started", line("Kraken", "warming")), "Kraken is warming up on fra-1"),
    (
        "several started",
        message("started", line("Kraken", "active"), line("OKX", "active"), line("Gate", "starting")),
        "2 exchanges are active: Kraken, OKX; Gate is starting on fra-1",
    ),
    ("lost early", message("started", line("Kraken")), "Kraken went offline while starting or stopping"),
    ("stopped", message("stopped", line("Kraken", "stopped")), "Kraken is stopped"),
    ("error", message("error", line("Kraken", "error", count=1)), "Kraken reports an error"),
    ("errors", message("error", line("Kraken", "error", count=12)), "Kraken reports 12 errors"),
    ("promoted", message("promoted", line("Kraken", "promoted")), "Kraken is served by fra-1 now, its standby"),
    (
        "handed over",
        message("handed_over", line("Kraken", "handed_over", next_hostname="fra-2")),
        "Kraken was handed over to fra-2",
    ),
    ("test", message("test"), "Test message: alerts from Perseus arrive here"),
]


@pytest.mark.parametrize(("told", "expected"), [case[1:] for case in HEADLINES], ids=[case[0] for case in HEADLINES])
def test_headline_says_plainly_what_is_the_matter(told: Message, expected: str) -> None:
    """It is all a phone shows."""
    assert headline(told, is_late=False) == expected


def test_outage_told_late_says_so() -> None:
    """Nobody should look for an outage that is over."""
    body = payload(message("offline", line("Kraken", **BACK)), is_late=True)
    assert body["content"] == "Kraken was down 3m12s, delivered late"
    assert "Delivered 2m0s late" in body["embeds"][0]["description"]
    assert body["flags"] == SUPPRESS_NOTIFICATIONS


@pytest.mark.parametrize(
    ("ms", "text"),
    [(-5, "0s"), (999, "0s"), (59_999, "59s"), (192_000, "3m12s"), (15_780_000, "4h23m"), (187_200_000, "2d4h")],
)
def test_durations_are_short(ms: int, text: str) -> None:
    """Two units are enough."""
    assert lasting(ms) == text


def test_outage_has_everything_a_person_needs() -> None:
    """Whose it is, where it ran, since when, why, who is on it."""
    facts: dict[str, Any] = {
        "last_state": "active",
        "detail": "reset by peer",
        "acknowledged_by": "grace",
        "next_hostname": "fra-2",
    }
    told = line("Kraken", muted_until_ms=NOW_MS, next_phase="starting", **facts)
    (embed,) = payload(message("offline", told))["embeds"]
    assert (embed["title"], embed["url"], embed["color"]) == ("Kraken", f"{PAGE}/network/kraken", 0xA7252A)
    assert embed["timestamp"] == "2025-11-24T16:00:00.000Z"
    assert embed["description"] == "Last heartbeat <t:1763999808:f> (<t:1763999808:R>). No instance serves it."
    assert {field["name"]: shown(field["value"]) for field in embed["fields"]} == {
        "Host": "fra-1",
        "IP": "203.0.113.7",
        "Admin": "ada@example.org",
        "State before": "active",
        "Coming back": "fra-2 is starting",
        "Muted until": "<t:1764000000:f> (<t:1764000000:R>)",
        "Acknowledged by": "grace",
        "Reason": "reset by peer",
    }


def test_several_outages_have_a_line_each_those_going_on_first() -> None:
    """One glance for what is left to do."""
    told = message("offline", line("OKX", **BACK), line("Kraken", next_hostname="fra-2", next_phase="starting"))
    (embed,) = payload(told)["embeds"]
    first, second = embed["description"].split("\n")
    assert first.startswith("**Kraken** is offline, last heartbeat <t:1763999808:R> · fra-1 · 203.0.113.7")
    assert first.endswith("fra-2 is starting")
    assert second.startswith("**OKX** was down 3m12s · fra-1")
    assert (embed["title"], embed["url"]) == ("2 exchanges", f"{PAGE}/network")


def test_200_exchanges_offline_at_once_can_still_be_read() -> None:
    """That is when it matters most."""
    lines = [line(f"Exchange {number}", detail="connection refused") for number in range(200)]
    body = payload(message("offline", *lines, of=200))
    assert breaches(body) == []
    assert body["content"].startswith("All 200 exchanges are offline: Exchange 0, Exchange 1, ")
    assert re.search(r", … and 18\d more <@&42>$", body["content"])
    described = body["embeds"][0]["description"].split("\n")
    assert len(described) == 26
    assert described[-1] == "… and 175 more"
    plain = words.plain(body)
    assert breaches(plain) == []
    assert plain["content"].startswith(body["content"] + "\n**Exchange 0** is offline")
    assert re.search(r"(… and 175 more|fra-1\n…)$", plain["content"])


@pytest.mark.parametrize(
    ("told", "is_mentioned", "is_silent"),
    [
        (message("offline", line("Kraken")), True, False),
        (message("reminder", line("Kraken")), True, False),
        (message("offline", line("Kraken", **BACK)), False, True),
        (message("recovered", line("Kraken", "recovered", **BACK)), False, True),
        (message("started", line("Kraken", "active")), False, True),
        (message("test"), False, False),
    ],
)
def test_only_what_somebody_should_wake_for_makes_a_sound(told: Message, is_mentioned: bool, is_silent: bool) -> None:
    """People switch off what wakes them for nothing."""
    body = payload(told)
    assert body["allowed_mentions"] == ({"parse": [], "roles": ["42"]} if is_mentioned else {"parse": []})
    assert ("<@&42>" in body["content"]) == is_mentioned
    assert body.get("flags", 0) == (SUPPRESS_NOTIFICATIONS if is_silent else 0)
    assert "flags" not in payload(told, edits="1"), "Discord refuses an edit that says anything of it"
    assert payload(told, role="")["allowed_mentions"] == {"parse": []}


@pytest.mark.parametrize(
    ("told", "colour"),
    [
        (message("offline", line("Kraken"), line("OKX", **BACK)), 0xA7252A),
        (message("offline", line("Kraken", **BACK)), 0x2DA675),
        (message("offline", line("Kraken", "stopped", **BACK)), 0x676B79),
        (message("started", line("Kraken", "active"), line("OKX", "warming")), 0x0064E3),
        (message("started", line("Kraken", "active")), 0x2DA675),
        (message("stopped", line("Kraken", "stopped")), 0x676B79),
        (message("error", line("Kraken", "error")), 0xBF8717),
        (message("recovered", line("Kraken", "recovered", **BACK)), 0x2DA675),
    ],
)
def test_colour_means_what_it_means_on_the_page(told: Message, colour: int) -> None:
    """Red is kept for an outage that goes on."""
    assert payload(told)["embeds"][0]["color"] == colour


def test_every_phase_and_kind_has_words_and_a_colour() -> None:
    """One that was forgotten would end the notifier when it is needed."""
    for kind in get_args(Kind):
        for phase in get_args(Phase):
            for until_ms in (None, NOW_MS):
                one = line("Kraken", phase, until_ms=until_ms)
                for lines in ((one,), (one, replace(one, exchange_id=2))):
                    assert breaches(payload(message(kind, *lines))) == []


@pytest.mark.parametrize("public_url", ["", "http://localhost:8777", "http://perseus", "http://[::1]:8777"])
def test_address_that_discord_refuses_is_left_out(public_url: str) -> None:
    """It would refuse the whole message, and an alert without a link is better than none."""
    told = send(message("offline", line("Kraken")))
    body = words.payload(told, now_ms=NOW_MS, mention_role="", public_url=public_url)
    assert "url" not in body["embeds"][0]


@settings(max_examples=100, deadline=None)
@given(MESSAGES, st.booleans(), st.booleans())
@example(message("offline", line("Kraken", exchange_name="\ud800/../?")), False, False)
@example(message("offline", line("Kraken", exchange_name="x" * 3000)), False, False)
def test_discord_takes_every_message(told: Message, is_edit: bool, is_late: bool) -> None:
    """A message it refuses for its length is an alert that nobody gets."""
    body = payload(told, edits="1" if is_edit else None, is_late=is_late)
    for each in (body, words.plain(body)):
        assert breaches(each, edits=is_edit) == []
        assert breaches(in_utf_16_units(each), edits=is_edit) == [], "whoever counts otherwise takes it too"
        assert each["allowed_mentions"]["parse"] == []
        assert set(each["allowed_mentions"].get("roles", ["42"])) == {"42"}


def in_utf_16_units(body: dict[str, Any]) -> dict[str, Any]:
    """The same body, of as many code points as it has UTF-16 units now."""

    def widened(value: Any) -> Any:
        if isinstance(value, str):
            return re.sub("[\U00010000-\U0010ffff]", "xx", value)
        if isinstance(value, dict):
            return {key: widened(each) for key, each in value.items()}
        return [widened(each) for each in value] if isinstance(value, list) else value

    widened_body: dict[str, Any] = widened(body)
    return widened_body


@settings(max_examples=100, deadline=None)
@given(MESSAGES)
def test_nothing_foreign_means_anything_to_discord(told: Message) -> None:
    """An exchange's error text must not mention everybody, or put a link behind our words."""
    body = payload(told)
    for each in (*texts(body), words.plain(body)["content"]):
        assert not re.search(r"(?<!\\)(?:\\\\)*\\$", each), "cut in the middle of an escape"
        plain = re.sub(r"\\[^0-9A-Za-z\s]", "\u2022", OURS.sub("", each))
        assert ACTIVE.search(plain) is None, plain
        assert all(unicodedata.category(one) not in ("Cf", "Cc", "Cs", "Co") for one in each.replace("\n", ""))


@given(TEXTS)
@example("a_b _c_ d__e__f")
def test_foreign_text_is_shown_letter_by_letter(text: str) -> None:
    """Whoever reads an error must be able to search for it."""
    expected = markdown.cleaned(text)
    if len(expected) <= 3000:
        assert shown(markdown.escaped(text, 3000)) == expected
    assert len(markdown.cleaned(markdown.escaped(text, 50))) <= 100


def test_what_is_not_seen_is_taken_out() -> None:
    """A text that reads otherwise than it is searched for is a trap."""
    assert markdown.cleaned(NASTY[8]) == "abcdef g [31mh ijklm"
    assert markdown.cleaned("e" + "\u0301" * 50) == "e\u0301\u0301"
    assert markdown.cleaned("a\r\n\t b") == "a b"
    assert markdown.cleaned("\ud800") == "\ufffd"


@given(st.text(alphabet="ab*😀\\ <t:1R>", max_size=80).map(markdown.escaped), st.integers(8, 60))
def test_cut_keeps_whole_characters_escapes_and_times(text: str, limit: int) -> None:
    """Half an escape shows a backslash, half a time shows `<t:17`, half a character is refused."""
    text = f"<t:1764000000:R>{text}<t:-5:f>"
    kept = lengths.cut(text, limit)
    assert lengths.units(kept) == len(kept.encode("utf-16-le")) // 2 <= limit
    if kept != text:
        assert kept.endswith("…")
        body = kept[:-1]
        assert text.startswith(body)
        atoms = re.findall(r"<t:-?\d+:\w>|\\.|.", text)
        whole = {"".join(atoms[:count]).rstrip() for count in range(len(atoms) + 1)}
        assert body in whole


@given(st.lists(st.text(alphabet="ab😀", min_size=1, max_size=20), min_size=1, max_size=40), st.integers(40, 200))
@example(["a" * 30, "b" * 20], 40)
def test_list_that_is_too_long_says_how_many_are_missing(parts: list[str], limit: int) -> None:
    """Whoever is not named is counted at least."""
    text = lengths.joined(parts, limit, between="\n")
    assert lengths.units(text) <= limit
    kept, _, rest = text.partition("\n… and ")
    if rest:
        named = parts[: len(parts) - int(rest.removesuffix(" more"))]
        assert kept.split("\n") == named or (len(named) == 1 and parts[0].startswith(kept.removesuffix("…")))
    else:
        assert text == "\n".join(parts)


def test_simulated_outage_says_so_and_mentions_nobody() -> None:
    """Whoever tries Perseus with its simulator must wake nobody, and frighten nobody who reads along."""
    line = Line(exchange_id=2, exchange_name="binance", display_name="Binance", phase="offline", since_ms=NOW_MS)
    message = Message(key="a", kind="offline", opened_ms=NOW_MS, is_loud=True, lines=(line,))
    send = Send(message, None, (), is_late=False)
    real = words.payload(send, now_ms=NOW_MS, mention_role="7", public_url="")
    simulated = words.payload(send, now_ms=NOW_MS, mention_role="7", public_url="", is_simulated=True)
    assert real["content"].endswith("<@&7>")
    assert simulated["content"].startswith("Simulated: ")
    assert "<@&" not in simulated["content"]
    assert simulated["allowed_mentions"] == {"parse": []}


def test_whoever_has_it_is_named_with_what_they_said() -> None:
    """The next one to wake up need not ask."""
    line = Line(
        exchange_id=2,
        exchange_name="binance",
        display_name="Binance",
        phase="offline",
        since_ms=NOW_MS,
        acknowledged_by="Ada",
        acknowledged_reason="looking at it",
    )
    message = Message(key="a", kind="offline", opened_ms=NOW_MS, lines=(line,))
    said = words.payload(Send(message, None, (), is_late=False), now_ms=NOW_MS, mention_role="", public_url="")
    assert {"name": "Acknowledged by", "value": "Ada: looking at it", "inline": False} in said["embeds"][0]["fields"]
