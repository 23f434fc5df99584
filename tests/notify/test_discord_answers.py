"""What answers mean and what pace follows from them, without a network: the figures Discord and others may write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perseus.notify.answers import Answer, Dead, Delivered, Gone, Later, Refused, read
from perseus.notify.pace import LONGEST_ASKED_S, LONGEST_PAUSE_S, SLACK_S, Pace

VIA = {"via": "1.1 google"}
LIMIT_HEADERS = ("retry-after", "x-ratelimit-scope", "x-ratelimit-global", "via", "content-type", "x-ratelimit-bucket")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["code", "message", "errors", "_errors", "retry_after", "global", "id"]) | st.text(), inner
        )
    ),
)


class StoppedClock:
    """A clock that shows what it is set to."""

    def __init__(self) -> None:
        self.shown = 1000.0

    def now(self) -> float:
        """Seconds."""
        return self.shown

    def wall_ms(self) -> int:
        """Milliseconds."""
        return round(self.shown * 1000)

    async def sleep(self, seconds: float) -> None:
        """Nobody waits here."""
        raise AssertionError(seconds)


def limited(body: dict[str, Any] | None = None, **headers: str) -> Later:
    """What a 429 means."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    outcome = read(Answer(429, named, json.dumps(body).encode() if body is not None else b"<html>"), edits=False)
    assert isinstance(outcome, Later)
    return outcome


@given(
    status=st.integers(100, 999),
    headers=st.dictionaries(st.sampled_from(LIMIT_HEADERS), st.text() | st.floats().map(str)),
    body=st.none() | st.binary() | JSON.map(lambda value: json.dumps(value).encode()),
    edits=st.booleans(),
)
def test_any_answer_has_an_outcome(status: int, headers: dict[str, str], body: bytes | None, edits: bool) -> None:
    """What comes back is written by others, also by those between Discord and us; none of it may end the notifier."""
    outcome = read(Answer(status, headers, body), edits=edits)
    assert isinstance(outcome, Gone) <= edits
    assert isinstance(outcome, Delivered) <= (200 <= status < 300)
    if isinstance(outcome, Later):
        assert 0 <= outcome.after_s <= LONGEST_ASKED_S
    if not isinstance(outcome, Delivered | Gone):
        assert len(outcome.reason) < 500
        assert outcome.reason.isprintable()


def test_the_longer_of_two_times_is_kept() -> None:
    """Body and header differ by rounding, and where they do not, too early is what gets barred."""
    assert limited({"retry_after": 1336.57}, retry_after="1337", via="1.1 google").after_s == 1337
    assert limited({"retry_after": 64.57}, retry_after="3", via="1.1 google").after_s == 64.57


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (403, {}, b'{"code": 130000, "message": "API resource is currently overloaded"}'),
        (403, {"content-type": "text/html"}, b"<html>blocked</html>"),
        (200, {"content-type": "text/html"}, b"<html>sign in</html>"),
        (302, {"location": "https://elsewhere.example"}, b""),
        (503, {}, b""),
    ],
)
def test_trouble_without_a_time_is_tried_again_soon(status: int, headers: dict[str, str], body: bytes) -> None:
    """It may be over at once: the pause is the pace's, a second at first and longer each time."""
    outcome = read(Answer(status, headers, body), edits=False)
    assert isinstance(outcome, Later)
    assert outcome.after_s == 0


@pytest.mark.parametrize("figure", ["soon", "-3", "nan", "inf", "1e999", ""])
def test_time_that_is_none_counts_as_a_minute(figure: str) -> None:
    """It is neither asked again at once nor never."""
    assert limited(retry_after=figure).after_s == LONGEST_PAUSE_S


def test_time_far_away_is_asked_again_in_an_hour() -> None:
    """A wrong figure must not silence a channel until somebody restarts the server."""
    assert limited({"retry_after": 10**12, "global": True}).after_s == LONGEST_ASKED_S


def test_global_limit_is_one_however_it_is_said() -> None:
    """Discord says it in three ways, Cloudflare by not being Discord."""
    assert limited({"retry_after": 1, "global": True}, via="x").is_global
    assert limited({"retry_after": 1}, via="x", x_ratelimit_scope="global").is_global
    assert limited({"retry_after": 1}, via="x", x_ratelimit_global="true").is_global
    assert limited(None, retry_after="1").is_global
    assert not limited({"retry_after": 1}, via="x").is_global
    assert not limited({"retry_after": 1, "global": False}, x_ratelimit_scope="shared").is_global


def test_old_message_that_was_edited_too_often_is_no_dead_channel() -> None:
    """Long incidents are edited often; the channel must stay alive for the next one."""
    for status in (400, 403, 429):
        body = json.dumps({"code": 30046, "message": "Maximum number of edits to messages older than 1 hour reached"})
        assert isinstance(read(Answer(status, VIA, body.encode()), edits=True), Later)


def test_401_403_and_404_kill_a_channel_only_if_discord_says_them() -> None:
    """A sign-in page or filter between us and Discord says the same, and goes away again."""
    for status in (401, 403, 404):
        assert isinstance(read(Answer(status, VIA, b"<html>no</html>"), edits=False), Later)
        assert isinstance(read(Answer(status, VIA, b'{"message": "no", "code": 0}'), edits=False), Dead)


def test_message_that_is_unfit_kills_no_channel() -> None:
    """Discord says of some messages 403; the next one is welcome."""
    for status, code in ((403, 20009), (403, 50005), (400, 200000), (404, 10008)):
        body = json.dumps({"message": "no", "code": code}).encode()
        assert isinstance(read(Answer(status, VIA, body), edits=False), Refused)


def test_texts_are_cut_and_on_one_line() -> None:
    """They are shown on pages and in terminals."""
    errors = {str(n): {"_errors": [{"message": "long\x1b[31m\n" * 100}]} for n in range(50)}
    body = json.dumps({"code": 50035, "message": "Invalid Form Body", "errors": errors}).encode()
    outcome = read(Answer(400, VIA, body), edits=False)
    assert isinstance(outcome, Refused)
    assert len(outcome.reason) < 450
    assert outcome.reason.isprintable()


def answered(remaining: str, after: str, bucket: str = "b") -> dict[str, str]:
    """What an answer says of the rate limit."""
    return {"x-ratelimit-remaining": remaining, "x-ratelimit-reset-after": after, "x-ratelimit-bucket": bucket}


def test_empty_bucket_is_waited_for_to_the_millisecond() -> None:
    """Discord says fractions of a second; whole ones would waste half of what is allowed."""
    clock = StoppedClock()
    pace = Pace(clock)
    assert pace.wait_s("post") == 0
    pace.observe("post", answered("1", "0.7"))
    assert pace.wait_s("post") == 0
    pace.spend("post")
    assert pace.wait_s("post") == pytest.approx(0.7 + SLACK_S)
    clock.shown += 0.7 + SLACK_S + 0.001
    assert pace.wait_s("post") == 0


def test_request_without_an_answer_is_counted() -> None:
    """It may have arrived: the bucket has one less until an answer says otherwise."""
    pace = Pace(StoppedClock())
    pace.observe("post", answered("2", "9"))
    pace.spend("post")
    assert pace.wait_s("post") == 0
    pace.spend("post")
    assert pace.wait_s("post") > 9


def test_routes_share_a_bucket_by_its_name() -> None:
    """What posts used up, edits have not."""
    pace = Pace(StoppedClock())
    pace.observe("edit", answered("3", "2"))
    pace.observe("post", answered("0", "2"))
    assert pace.wait_s("edit") > 2
    pace.observe("edit", answered("3", "2", "another"))
    assert pace.wait_s("edit") == 0
    assert pace.wait_s("post") > 2


@pytest.mark.parametrize("figure", ["", "x", "-1", "nan", "inf"])
def test_unreadable_figures_change_nothing(figure: str) -> None:
    """A proxy that mangles them must not stop us."""
    pace = Pace(StoppedClock())
    pace.observe("post", answered("0", figure))
    pace.observe("post", answered(figure, "5"))
    assert pace.wait_s("post") == 0


def test_pauses_have_an_end_after_an_outage_of_days() -> None:
    """A power of two has none, and is no float at last."""
    pace = Pace(StoppedClock())
    for _ in range(5000):
        pause = pace.failed()
    assert LONGEST_PAUSE_S / 2 <= pause <= LONGEST_PAUSE_S
