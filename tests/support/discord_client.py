"""Our client and a Discord of our own, side by side, and what each of its troubles means to the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from perseus.clock import Clock, SystemClock
from perseus.notify.discord import Dead, Delivered, Discord, Later, Refused, user_agent
from perseus.webhooks import Webhook, parse_webhooks
from tests.support.discord import StandIn

TIMEOUT_S = 1.0
HELLO = {"content": "hello", "allowed_mentions": {"parse": []}}
EMBED = {"embeds": [{"title": "kraken is offline"}], "allowed_mentions": {"parse": []}}
# what each trouble means, and the beginning of what is said of it; whether Discord has taken the message all the same
MEANS: dict[str, tuple[type[Any], str]] = {
    "limited": (Later, "Discord wants nothing from this webhook for 0.5 s (429)"),
    "limited_shared": (Later, "Discord wants nothing from this webhook for 0.5 s (429)"),
    "limited_global": (Later, "Discord wants nothing for 0.5 s (429)"),
    "cloudflare": (Later, "Cloudflare keeps this host from Discord for 0.5 s (429)"),
    "cloudflare_bar": (Later, "Cloudflare keeps this host from Discord for 60 s (429)"),
    "unauthorized": (Dead, "Discord does not accept this webhook's token (401"),
    "forbidden": (Dead, "Discord forbids this webhook to post (403: Missing Access)"),
    "unknown_webhook": (Dead, "Discord does not know this webhook any more (404"),
    "blocked": (Later, "something before Discord answered 403"),
    "invalid": (Refused, "Discord refused the message (400: embeds.0.title Must be shorter.)"),
    "too_large": (Refused, "Discord refused the message (413: Request entity too large)"),
    "busy": (Later, "Discord answered 400: API resource is currently overloaded."),
    "error": (Later, "Discord answered 503"),
    "page": (Later, "a page came instead of Discord's answer (200)"),
    "redirect": (Later, "Discord's address answered with a redirect (302), which is not followed"),
    "echo": (Refused, "Discord refused the message (400: Cannot POST …"),
    "hang": (Later, "no answer within 1 s"),
    "reset": (Later, "the connection was reset"),
    "closed": (Later, "the connection was closed without an answer"),
    "garbage": (Later, "the answer is not HTTP"),
    "slow": (Delivered, ""),
    "hang_after": (Later, "no answer within 1 s"),
    "reset_after": (Later, "the connection was reset"),
    "half": (Delivered, ""),
    "trickle": (Delivered, ""),
    "empty": (Delivered, ""),
    "no_id": (Delivered, ""),
    "not_json": (Delivered, ""),
    "huge": (Delivered, ""),
}


@asynccontextmanager
async def discord_and_us(
    *, timeout_s: float = TIMEOUT_S, clock: Clock | None = None, **options: Any
) -> AsyncIterator[tuple[StandIn, Discord]]:
    """A Discord with a quicker bucket than the real one, and a client of it. `clock`: the client's."""
    async with (
        StandIn(**{"window_s": 0.2} | options) as stand_in,
        Discord(clock=clock or SystemClock(), user_agent=user_agent("1.0"), timeout_s=timeout_s) as us,
    ):
        yield stand_in, us


Both = tuple[StandIn, Discord]


def webhook(stand_in: StandIn, name: str = "ops", *, thread_id: str = "") -> Webhook:
    """A channel's webhook, as the settings give it to us."""
    return parse_webhooks(f"{name}={stand_in.url(name, thread_id=thread_id)}")[0]


async def until_delivered(us: Discord, where: Webhook, payload: dict[str, Any]) -> Delivered:
    """Post as the notifier does: again whenever it is time."""
    while isinstance(outcome := await us.post(where, payload), Later):
        await asyncio.sleep(min(outcome.after_s, 0.25))
    assert isinstance(outcome, Delivered), outcome
    return outcome
