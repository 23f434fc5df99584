"""Tells people what happened. START HERE: log entries → rules → messages → channels, by whoever holds the lease.

Any number of servers run this. The one that holds `network:notifier` follows the logs from where the last one left
off; what it is going to say is kept in the store before it is said, and what was said after. So nothing is lost
while all are down, and a kill doubles at most the message that was just being sent.

`turn.py`: one tenure at work. `rules.py`: what is said, pure. `words.py`: how, pure. `queue.py`: what a channel is to
be sent next, pure. `discord.py`: the sending. `ledger.py`: incidents in the database.
"""

from __future__ import annotations

import asyncio
import uuid

import structlog

from perseus import alerting
from perseus.alerting import Tenure
from perseus.errors import PerseusError
from perseus.notify.delivery import Announcing
from perseus.notify.keeping import Keeping, Ours, TenureOver, recalled
from perseus.notify.lasting import is_cancelled
from perseus.notify.logs import begun
from perseus.notify.turn import Surroundings, Turn

CLAIM_EVERY_S = 0.5
GIVE_BACK_WITHIN_S = 1.0
log = structlog.get_logger()


class Notifier:
    """One process's notifier: it waits for its turn, and tells people while it has it."""

    def __init__(self, around: Surroundings, *, announcing: Announcing, hostname: str) -> None:
        self._around, self._announcing, self._hostname = around, announcing, hostname
        self._instance_id = uuid.uuid4().hex
        self._ours: Ours | None = None  # what we remembered when our last tenure ended
        self._waits_for: type[PerseusError] | None = None

    async def run(self) -> None:
        """Become the notifier whenever nobody is, and be it until the lease is lost. For ever."""
        while True:
            try:
                tenure = await self._claim()
                if tenure is not None:
                    await self._work(tenure)
            except PerseusError as error:
                if type(error) is not self._waits_for:
                    log.warning("notifier_waits", error=str(error))
                self._waits_for = type(error)
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                log.exception("notifier_failed", again_in_s=CLAIM_EVERY_S)
            except Exception:  # a defect of ours must not end the web server beside us, and is not to be hidden
                log.exception("notifier_failed", again_in_s=CLAIM_EVERY_S)
            else:
                self._waits_for = None
            await self._around.clock.sleep(CLAIM_EVERY_S)

    async def _claim(self) -> Tenure | None:
        if not self._around.exchanges():
            return None  # not known yet: there would be nothing to follow
        return await alerting.claim(
            self._around.store,
            clock=self._around.clock,
            instance_id=self._instance_id,
            hostname=self._hostname,
            version=self._around.version,
            channels=len(self._announcing.webhooks),
        )

    async def _work(self, tenure: Tenure) -> None:
        """Be the notifier until the lease is lost. Raises: what the store raises before the work has begun."""
        log.info("notifier_started", channels=[webhook.name for webhook in self._announcing.webhooks])
        keeping: Keeping | None = None
        try:
            kept = await recalled(tenure, ours=self._ours) or await begun(
                tenure, self._around.store, self._around.exchanges()
            )
            turn = Turn(tenure, kept, around=self._around, announcing=self._announcing)
            keeping = turn.keeping
            await turn.run()
        except* TenureOver:
            log.warning("notifier_replaced")
        finally:
            if keeping is not None:
                self._ours = Ours(tenure.claim_id, keeping.kept)
            await _give_back(tenure, keeping)


async def _give_back(tenure: Tenure, keeping: Keeping | None) -> None:
    """Keep what was said last, and let the next one begin at once, if the store answers."""
    try:
        async with asyncio.timeout(GIVE_BACK_WITHIN_S):
            if keeping is not None and not keeping.is_settled and tenure.is_held:
                await keeping.keep()
            await tenure.give_back()
    except TenureOver:
        log.warning("notifier_replaced")
    except (PerseusError, TimeoutError) as error:
        log.warning("notifier_lease_not_given_back", error=str(error) or type(error).__name__, ends_in_s=alerting.TTL_S)
