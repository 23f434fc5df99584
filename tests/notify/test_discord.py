"""One webhook over real HTTP, against a Discord that does everything Discord, Cloudflare and a network can do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from perseus.notify.discord import Dead, Delivered, Discord, Gone, Later, Outcome, Refused
from perseus.webhooks import Webhook
from tests.support.clocks import StandingClock
from tests.support.discord_client import EMBED, HELLO, MEANS, Both, discord_and_us, until_delivered, webhook
from tests.support.discord_faults import AFTER, BEFORE
from tests.support.waiting import wait_until_async


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    """A stand-in and a client."""
    async with discord_and_us() as both:
        yield both


async def test_message_is_posted_and_its_id_known(both: Both) -> None:
    """Without the id it could never be edited, and Discord says it only when asked to wait."""
    stand_in, us = both
    outcome = await us.post(webhook(stand_in), EMBED)
    assert outcome == Delivered(stand_in.messages("ops")[0].id)
    assert stand_in.messages("ops")[0].payload == EMBED


async def test_thread_is_kept_in_posts_and_edits(both: Both) -> None:
    """An edit without the thread does not find the message."""
    stand_in, us = both
    where = webhook(stand_in, thread_id="77")
    posted = await us.post(where, HELLO)
    assert isinstance(posted, Delivered)
    assert await us.edit(where, posted.message_id, EMBED) == posted
    assert stand_in.messages("ops")[0].thread_id == "77"


async def test_edited_message_says_the_payload_and_nothing_else(both: Both) -> None:
    """Discord keeps what an edit leaves out: an outage that is over would still stand there."""
    stand_in, us = both
    posted = await us.post(webhook(stand_in), EMBED | {"flags": 4096, "username": "Perseus"})
    assert isinstance(posted, Delivered)
    assert await us.edit(webhook(stand_in), posted.message_id, HELLO | {"flags": 4096, "username": "Perseus"}) == posted
    [message] = stand_in.messages("ops")
    assert message.payload["content"] == "hello"
    assert message.payload["embeds"] == []
    await us.edit(webhook(stand_in), posted.message_id, EMBED)
    assert message.payload["content"] == ""
    assert message.payload["embeds"] == EMBED["embeds"]


async def test_message_a_person_deleted_is_gone(both: Both) -> None:
    """Whoever deleted it does not want it back, and the webhook is as alive as before."""
    stand_in, us = both
    posted = await us.post(webhook(stand_in), HELLO)
    assert isinstance(posted, Delivered)
    stand_in.delete(posted.message_id)
    assert await us.edit(webhook(stand_in), posted.message_id, HELLO) == Gone()
    assert isinstance(await us.post(webhook(stand_in), HELLO), Delivered)


@pytest.mark.parametrize("message_id", ["", "../../users/@me", "1/2", "12?a=b", "٣", "9" * 21])
async def test_what_is_no_message_id_is_never_part_of_an_address(both: Both, message_id: str) -> None:
    """It comes from the store, and must not lead a request elsewhere."""
    stand_in, us = both
    assert await us.edit(webhook(stand_in), message_id, HELLO) == Gone()
    assert stand_in.asked == []


@pytest.mark.parametrize("form", BEFORE + AFTER)
async def test_every_trouble_has_its_outcome(both: Both, form: str) -> None:
    """What is tried again, what is not, and what kills a channel decides whether alerts are lost or repeated."""
    stand_in, us = both
    stand_in.play(form)
    outcome = await us.post(webhook(stand_in), HELLO)
    kind, begins = MEANS[form]
    assert type(outcome) is kind, outcome
    if isinstance(outcome, Delivered):
        assert outcome.message_id == (stand_in.messages("ops")[0].id if form == "slow" else "")
    else:
        assert getattr(outcome, "reason", "").startswith(begins), outcome
    assert len(stand_in.messages("ops")) == (form in AFTER)


PASSING = [form for form in BEFORE + AFTER if MEANS[form][0] is Later and form != "cloudflare_bar"]  # it takes a minute


@pytest.mark.parametrize("form", PASSING)
async def test_message_tried_again_arrives(both: Both, form: str) -> None:
    """No passing trouble loses a message; only where Discord took it and said nothing it is there twice."""
    stand_in, us = both
    stand_in.play(form, retry_after=0.2)
    await until_delivered(us, webhook(stand_in), HELLO)
    assert len(stand_in.messages("ops")) == 1 + (form in AFTER)
    assert stand_in.premature == 0


async def test_error_in_an_edit_has_the_same_outcome(both: Both) -> None:
    """Edits go another way through Discord, and tell of the end of an outage."""
    stand_in, us = both
    posted = await us.post(webhook(stand_in), HELLO)
    assert isinstance(posted, Delivered)
    stand_in.play("error", status=502)
    assert isinstance(await us.edit(webhook(stand_in), posted.message_id, EMBED), Later)
    stand_in.play("half")
    assert await us.edit(webhook(stand_in), posted.message_id, EMBED) == posted
    stand_in.remove("ops")
    assert isinstance(await us.edit(webhook(stand_in), posted.message_id, EMBED), Dead)


async def test_what_discord_finds_wrong_is_told_by_its_path(both: Both) -> None:
    """A person who reads it must find the field."""
    stand_in, us = both
    long = EMBED | {"embeds": [{"title": "t" * 257, "fields": [{"name": "n", "value": "v" * 1025}]}]}
    outcome = await us.post(webhook(stand_in), long)
    assert isinstance(outcome, Refused)
    assert "embeds.0.title Must be 256 or fewer in length." in outcome.reason
    assert "embeds.0.fields.0.value Must be 1024" in outcome.reason


async def test_flood_keeps_within_the_limit(both: Both) -> None:
    """Discord restricts whoever keeps provoking 429: fifty at once must provoke none, and arrive in order."""
    stand_in, us = both
    outcomes = await asyncio.gather(*(us.post(webhook(stand_in), HELLO | {"content": str(n)}) for n in range(50)))
    assert all(isinstance(one, Delivered) for one in outcomes)
    assert [one.payload["content"] for one in stand_in.messages("ops")] == [str(n) for n in range(50)]
    assert (stand_in.provoked, stand_in.premature) == (0, 0)


async def test_flood_of_posts_and_edits_keeps_within_their_common_limit(both: Both) -> None:
    """Discord says by the bucket's name that two routes share one."""
    stand_in, us = both
    posted = await us.post(webhook(stand_in), HELLO)
    assert isinstance(posted, Delivered)
    for n in range(10):
        await us.post(webhook(stand_in), HELLO)
        await us.edit(webhook(stand_in), posted.message_id, HELLO | {"content": str(n)})
    assert (stand_in.provoked, stand_in.premature) == (0, 0)


async def waits(posting: asyncio.Task[Outcome], clock: StandingClock) -> bool:
    """Whether a post sleeps until the time it was told, instead of being through at once."""
    await wait_until_async(lambda: posting.done() or clock.asleep, description="it is through, or sleeps")
    return not posting.done()


async def test_what_is_not_ours_any_more_after_the_wait_is_not_sent() -> None:
    """While it waited its turn, another server may have become the notifier and sent it."""
    clock, is_ours = StandingClock(), True
    async with discord_and_us(burst=1, window_s=4.0, clock=clock) as (stand_in, us):
        await us.post(webhook(stand_in), HELLO)
        posting = asyncio.create_task(us.post(webhook(stand_in), HELLO, may_send=lambda: is_ours))
        assert await waits(posting, clock)
        is_ours = False
        clock.advance(5)
        assert isinstance(await posting, Later)
        assert len(stand_in.asked) == 1


async def test_long_wait_is_the_callers() -> None:
    """Whoever asks is told at once, not held for longer than a few seconds."""
    clock = StandingClock()
    async with discord_and_us(burst=1, window_s=8.0, clock=clock) as (stand_in, us):
        await us.post(webhook(stand_in), HELLO)
        posting = asyncio.create_task(us.post(webhook(stand_in), HELLO))
        assert not await waits(posting, clock)
        outcome = await posting
        assert isinstance(outcome, Later)
        assert 8 <= outcome.after_s < 8.2  # by a clock that stands still
        assert len(stand_in.asked) == 1


@pytest.mark.parametrize("form", ["limited_global", "cloudflare"])
async def test_global_limit_holds_every_webhook(form: str) -> None:
    """Going on with the others is how an address gets barred for an hour."""
    clock = StandingClock()
    async with discord_and_us(clock=clock) as (stand_in, us):
        stand_in.play(form, retry_after=0.9)
        first = await us.post(webhook(stand_in), HELLO)
        assert isinstance(first, Later)
        assert first.is_global
        posting = asyncio.create_task(us.post(webhook(stand_in, "dev"), HELLO))
        assert await waits(posting, clock)
        assert clock.asleep == [pytest.approx(0.9, abs=0.1)]
        assert len(stand_in.asked) == 1
        posting.cancel()
        await asyncio.wait({posting})


async def test_long_global_limit_is_told_to_every_webhook(both: Both) -> None:
    """So that each channel can say why it waits."""
    stand_in, us = both
    stand_in.play("cloudflare", retry_after=30.0)
    await us.post(webhook(stand_in), HELLO)
    outcome = await us.post(webhook(stand_in, "dev"), HELLO)
    assert isinstance(outcome, Later)
    assert outcome.is_global
    assert "Cloudflare" in outcome.reason
    assert 15 < outcome.after_s <= 31  # the header rounds up
    assert len(stand_in.asked) == 1


async def test_global_limit_that_comes_while_another_waits_holds_it_too() -> None:
    """A request whose turn comes must look again at what was said meanwhile."""
    async with discord_and_us(burst=1, window_s=0.4) as (stand_in, us):
        await us.post(webhook(stand_in, "dev"), HELLO)
        waiting = asyncio.create_task(us.post(webhook(stand_in, "dev"), HELLO))
        stand_in.play("limited_global", on="ops", retry_after=0.8)
        await us.post(webhook(stand_in), HELLO)
        assert isinstance(await waiting, Delivered)
        assert (stand_in.provoked, stand_in.premature) == (0, 0)


@pytest.mark.parametrize("form", ["limited", "limited_shared"])
async def test_limit_of_one_webhook_is_kept_by_it_alone(form: str) -> None:
    """The others have alerts to send, too."""
    clock = StandingClock()
    async with discord_and_us(clock=clock) as (stand_in, us):
        stand_in.play(form, on="ops", retry_after=0.9)
        first = await us.post(webhook(stand_in), HELLO)
        assert isinstance(first, Later)
        assert not first.is_global
        other = asyncio.create_task(us.post(webhook(stand_in, "dev"), HELLO))
        assert not await waits(other, clock)
        assert isinstance(await other, Delivered)
        posting = asyncio.create_task(us.post(webhook(stand_in), HELLO))
        assert await waits(posting, clock)
        assert clock.asleep == [pytest.approx(0.9, abs=0.1)]
        assert len(stand_in.asked) == 2
        posting.cancel()
        await asyncio.wait({posting})


async def test_limited_edits_do_not_hold_new_messages(both: Both) -> None:
    """Discord limits edits of old messages by themselves; an outage must not wait for one."""
    stand_in, us = both
    posted = await us.post(webhook(stand_in), HELLO)
    assert isinstance(posted, Delivered)
    stand_in.play("limited_shared", method="PATCH", retry_after=20.0)
    assert isinstance(await us.edit(webhook(stand_in), posted.message_id, HELLO), Later)
    assert isinstance(await us.post(webhook(stand_in), HELLO), Delivered)
    again = await us.edit(webhook(stand_in), posted.message_id, HELLO)
    assert isinstance(again, Later)
    assert again.after_s > 15
    assert stand_in.premature == 0


HANG = ("hang", "hang_after")
TROUBLES = (*HANG, "trickle", "error", "reset", "limited", "unauthorized", "unknown_webhook", "huge")


async def test_trouble_of_one_webhook_never_delays_another() -> None:
    """A dead channel must not be what the living one waits for: beside a post that hangs, others come and go."""
    async with discord_and_us(burst=1000, timeout_s=5.0) as (stand_in, us):
        for trouble in TROUBLES:
            stand_in.play(trouble, on="ops", times=0, retry_after=0.1)
            before = len(stand_in.asked)
            async with asking_without_end(us, webhook(stand_in)) as outcomes:
                await wait_until_async(lambda: len(stand_in.asked) > before, description="it asks")  # noqa: B023
                for _ in range(5):
                    assert isinstance(await us.post(webhook(stand_in, "dev"), HELLO), Delivered)
                assert trouble not in HANG or outcomes == [], f"{trouble} was waited for"
            stand_in.stop_playing()


@asynccontextmanager
async def asking_without_end(us: Discord, where: Webhook) -> AsyncIterator[list[Outcome]]:
    """Somebody posts here for the block, whatever comes of it: that."""
    outcomes: list[Outcome] = []

    async def ask() -> None:
        while True:
            outcomes.append(await us.post(where, HELLO))
            await asyncio.sleep(0.01)

    asking = asyncio.create_task(ask())
    try:
        yield outcomes
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_pauses_double_up_to_a_minute_and_begin_anew(both: Both) -> None:
    """A Discord that is down for hours is asked once a minute, and one that hiccups once is asked at once again."""
    stand_in, us = both
    stand_in.burst = 1000
    stand_in.play("error", times=9)
    pauses = [_pause(await us.post(webhook(stand_in), HELLO)) for _ in range(9)]
    for times, pause in enumerate(pauses):
        most = min(60.0, 2.0**times)
        assert most / 2 <= pause <= most
    assert isinstance(await us.post(webhook(stand_in), HELLO), Delivered)
    stand_in.play("error")
    assert _pause(await us.post(webhook(stand_in), HELLO)) <= 1


def _pause(outcome: Outcome) -> float:
    assert isinstance(outcome, Later)
    return outcome.after_s
