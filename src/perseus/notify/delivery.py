"""One channel brought up to date: what it should show next is sent, and remembered as shown, one after the other.

A webhook that is slow, refuses or is gone holds up nothing but itself. Each message is sent only when everything it
follows from is kept and the lease is ours; a kill between the sending and the next save doubles that one message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import structlog

from perseus.alerting import Tenure
from perseus.notify import queue, words
from perseus.notify.discord import Dead, Delivered, Discord, Gone, Later, Outcome, Refused
from perseus.notify.keeping import Keeping
from perseus.notify.lasting import finished
from perseus.notify.queue import Send
from perseus.notify.state import ANNOUNCED, ChannelState
from perseus.webhooks import Webhook

NOT_HELD_PAUSE_S = 0.25
EDITS_TOGETHER_S = 0.5  # what changes meanwhile goes into the same edit: Discord takes few, and new messages need them
FINISH_WITHIN_S = 1.0  # what is on its way when we are to end
log = structlog.get_logger()


class Announcing(NamedTuple):
    """What is announced, and where. `mention_role`: a role's id, mentioned in outages; `public_url`: for links.

    `is_simulated`: it is no real network.
    """

    webhooks: Sequence[Webhook] = ()
    kinds: Sequence[str] = ANNOUNCED
    mention_role: str = ""
    public_url: str = ""
    is_simulated: bool = False


class Delivery:
    """Brings one webhook's channel up to date, for as long as the tenure lasts."""

    def __init__(
        self, webhook: Webhook, *, announcing: Announcing, keeping: Keeping, tenure: Tenure, discord: Discord
    ) -> None:
        self._webhook, self._announcing = webhook, announcing
        self._keeping, self._tenure, self._discord = keeping, tenure, discord
        self._is_ending = False

    @property
    def _channel(self) -> ChannelState:
        return self._keeping.memory.channels[self._webhook.name]

    async def run(self) -> None:
        """Send whatever the channel does not show yet, for ever."""
        while True:
            seen = self._keeping.changes
            send = self._next()
            if send is None:
                await self._keeping.changed(seen)
                continue
            if send.edits:
                await self._rest(EDITS_TOGETHER_S, send)
                send = self._next() or send
            await self._keeping.settled()
            if not self._tenure.is_held:
                await asyncio.sleep(NOT_HELD_PAUSE_S)
                continue
            # what is on its way is remembered even if we are to end: else it comes twice
            pause_s = await finished(self._tell(send), within_s=FINISH_WITHIN_S, ending=self._end)
            if pause_s:
                await self._rest(pause_s, send)

    def _end(self) -> None:
        self._is_ending = True

    async def _tell(self, send: Send) -> float:
        """Send it, and remember what became of it; how long to wait before anything else is sent."""
        began_ms = self._tenure.store_time.now_ms()
        return self._take(send, await self._deliver(send), began_ms=began_ms)

    async def _rest(self, seconds: float, held: Send) -> None:
        """Wait before sending, or trying again; before a mere edit only until there is something new to be told."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    seen = self._keeping.changes
                    send = self._next()
                    if held.edits and send is not None and not send.edits:
                        return
                    await self._keeping.changed(seen)
        except TimeoutError:
            return

    def _next(self) -> Send | None:
        return queue.next_send(
            self._keeping.memory.state,
            self._channel,
            now_ms=self._tenure.store_time.now_ms(),
            announced=self._announcing.kinds,
        )

    async def _deliver(self, send: Send) -> Outcome:
        try:
            payload = words.payload(
                send,
                now_ms=self._tenure.store_time.now_ms(),
                mention_role=self._announcing.mention_role,
                public_url=self._announcing.public_url,
                is_simulated=self._announcing.is_simulated,
            )
        except Exception as error:  # a defect of ours over one message must not hold up those behind it
            log.exception("message_not_worded", key=send.message.key)
            return Refused(f"it could not be worded: {type(error).__name__}")
        outcome = await self._attempt(send, payload)
        if isinstance(outcome, Refused):
            log.warning("message_refused", channel=self._webhook.name, reason=outcome.reason, then="sent as plain text")
            outcome = await self._attempt(send, words.plain(payload))
        return outcome

    async def _attempt(self, send: Send, payload: dict[str, Any]) -> Outcome:
        if send.edits:
            return await self._discord.edit(self._webhook, send.edits, payload, may_send=self._may_send)
        return await self._discord.post(self._webhook, payload, may_send=self._may_send)

    def _may_send(self) -> bool:
        return self._tenure.is_held and not self._is_ending

    def _take(self, send: Send, outcome: Outcome, *, began_ms: int) -> float:
        """Remember what became of it; how long to wait if it is to be tried again, else 0."""
        now_ms, before = self._tenure.store_time.now_ms(), self._channel
        match outcome:
            case Delivered(message_id):
                channel = queue.settle(before, send, message_id=message_id, at_ms=now_ms)
            case Gone():  # somebody deleted it: they do not want to see it
                channel = queue.settle(before, send, message_id="", at_ms=now_ms)
            case Refused(reason):
                log.error("message_not_sent", channel=self._webhook.name, key=send.message.key, reason=reason)
                channel = queue.refused(before, send, reason=reason)
            case Dead(reason):
                if not before.dead_reason:
                    log.error("channel_dead", channel=self._webhook.name, reason=reason)
                channel = queue.died(before, send, reason=reason)
            case Later() if not self._may_send():
                return 0.0  # it was not sent, and that is not the channel's fault
            case Later(after_s, reason, _):
                if not before.failing_reason:
                    log.warning("channel_failing", channel=self._webhook.name, reason=reason)
                self._keeping.change_channel(queue.failed(before, reason=reason, at_ms=began_ms))
                return after_s
        if before.failing_reason and isinstance(outcome, Delivered):
            log.info("channel_working_again", channel=self._webhook.name)
        self._keeping.change_channel(channel)
        return 0.0
