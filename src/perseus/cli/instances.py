"""One instance under `perseus up`: started, waited for, its end explained. Never restarted once it has served."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from perseus.cli.output import SENDERS_OF_SIGKILL
from perseus.cli.processes import Child, how_it_ended
from perseus.clock import unix_ms
from perseus.errors import BadConfiguration, BadUsage, ExchangeClaimed, LeaseLost, StoreUnavailable
from perseus.lease import FOREIGN_TTL_MS
from perseus.model import Exchange
from perseus.network.cards import Card
from perseus.network.observe import Network

RETRY_S = 1.0
SLACK_S = 5.0  # past the end of a dead instance's lease, before we believe that its holder lives


class Supervised:
    """The process of one exchange. `note` is told what a person should know; `again`: options to start it by hand."""

    def __init__(
        self, exchange: Exchange, child: Child, network: Network, note: Callable[[str], None], *, again: str
    ) -> None:
        self.exchange = exchange
        self.child = child
        self._network = network
        self._note = note
        self._again = f"perseus run {exchange.name}{again}"

    async def look_after(self) -> int | None:
        """Start the process and wait for its end, starting it again only while a previous lease runs out.

        Returns its code if it refused to start for its settings or arguments, None otherwise.
        """
        code = await self._run()
        if code == ExchangeClaimed.exit_code:
            code = await self._wait_for_lease(code)
        words = self.child.last_words() if code > 0 else ""
        if code in (BadUsage.exit_code, BadConfiguration.exit_code):
            self._note(f"{self.exchange.name} was not started: {words}")
            return code
        why = f": {words}" if words else "."
        if code == -signal.SIGKILL:
            why = f": by {SENDERS_OF_SIGKILL}."
        if code == LeaseLost.exit_code:
            why = f", because another instance has taken over{why}"
        self._note(
            f"{self.exchange.name}: its process (pid {self.child.pid}) {how_it_ended(code)}{why} The rest goes on. "
            f"Start it again: `{self._again}`. Its log: {self.child.log}"
        )
        return None

    async def _run(self) -> int:
        await self.child.start()
        return await self.child.wait()

    async def _wait_for_lease(self, code: int) -> int:
        """Start it again when the lease of an instance that is dead has run out; give up if its holder lives.

        A dead one of this data directory is succeeded at once where that can be proven, so this is for all others.
        """
        first = await self._card()
        ttl_ms = first.status.ttl_ms if first and first.status else None
        until = asyncio.get_running_loop().time() + (ttl_ms or FOREIGN_TTL_MS) / 1000 + SLACK_S
        told = False
        while code == ExchangeClaimed.exit_code and asyncio.get_running_loop().time() < until:
            card = await self._card()
            if first and card and _has_renewed(first, card):
                break
            left_s = _left_s(card)
            if not told:
                before = f"{self.exchange.name}: the lease of the instance before has not run out"
                self._note(f"{before}; starting in {left_s:.0f} s.")
                told = True
            await asyncio.sleep(min(left_s, RETRY_S))
            if left_s <= RETRY_S:
                code = await self._run()
        return code

    async def _card(self) -> Card | None:
        try:
            cards = (await self._network.observe()).cards
        except StoreUnavailable:
            return None
        return next((card for card in cards if card.exchange.id == self.exchange.id), None)


def _left_s(card: Card | None) -> float:
    """Seconds until the lease before is over, as far as can be told."""
    if card is None:
        return RETRY_S
    if card.expires_in_ms is not None:
        return card.expires_in_ms / 1000 + 0.1
    known = card.last_known
    if known is None or known.last_heartbeat is None:
        return RETRY_S
    ends_ms = unix_ms(known.last_heartbeat) + (known.ttl_ms or FOREIGN_TTL_MS)
    return max(RETRY_S, (ends_ms - card.observed_ms) / 1000)


def _has_renewed(before: Card, now: Card) -> bool:
    """Whether a live instance holds the exchange: the same tenure has sent another heartbeat, or a new one began."""
    if before.status is None or now.status is None:
        return False
    same = (before.status.instance_id, before.status.last_heartbeat)
    return same != (now.status.instance_id, now.status.last_heartbeat)
