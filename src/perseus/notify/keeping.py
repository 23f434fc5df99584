"""The notifier's memory: changed here, kept in the store, and nothing said before what it follows from is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import structlog

from perseus.alerting import Health, Tenure
from perseus.errors import PerseusError
from perseus.notify.state import ChannelState, Memory, State

RETRY_S = 0.25
log = structlog.get_logger()


class TenureOver(Exception):
    """Somebody else may be the notifier now: what we remember is no longer ours to act upon."""


class Kept(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is kept under `memory`. `saved_ms`: of two memories the later one is the one to go on from.

    It rises with every save, whatever the clock does: a clock that was ahead for an hour would else let what was kept
    then win over everything since.
    """

    saved_ms: int
    memory: Memory


class Ours(NamedTuple):
    """What a process remembers of a tenure that has ended, saved or not."""

    claim_id: str
    kept: Kept


class Keeping:
    """One tenure's memory. Changes are made at once, here; `settled` waits until the store has them."""

    def __init__(self, tenure: Tenure, kept: Kept, *, health: Callable[[Memory, int], Health]) -> None:
        """`health`: what to let everyone know of a memory at a moment of the store's clock."""
        self._tenure = tenure
        self._health = health
        self.kept = kept
        self.changes = 1  # counts them; the first save tells of us although nothing has happened yet
        self._saved = 0
        self._turn = asyncio.Event()
        self._is_failing = False

    @property
    def memory(self) -> Memory:
        """What is remembered now."""
        return self.kept.memory

    def change(self, memory: Memory) -> None:
        """Remember this, and wake whoever waits for a change. Never waits, so that no other change comes between."""
        self.kept = Kept(saved_ms=self.kept.saved_ms, memory=memory)
        self.keep_again()

    def keep_again(self) -> None:
        """Keep everything once more: the store lost it, or what is told of us beside it has changed."""
        self.changes += 1
        self._wake()

    @property
    def is_settled(self) -> bool:
        """Whether everything changed so far is kept."""
        return self._saved >= self.changes

    def change_state(self, state: State) -> None:
        """Remember this state, if it is another one."""
        if state is not self.memory.state:
            self.change(msgspec.structs.replace(self.memory, state=state))

    def change_channel(self, channel: ChannelState) -> None:
        """Remember this of one channel."""
        channels = {**self.memory.channels, channel.name: channel}
        self.change(msgspec.structs.replace(self.memory, channels=channels))

    async def changed(self, since: int) -> None:
        """Wait until there were more changes than `since`."""
        while self.changes <= since:
            await self._turn.wait()

    async def settled(self) -> None:
        """Wait until everything changed so far is kept."""
        wanted = self.changes
        while self._saved < wanted:
            await self._turn.wait()

    def _wake(self) -> None:
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()

    async def run(self) -> None:
        """Keep every change, for ever. Raises: TenureOver when the store refuses us."""
        while True:
            await self.changed(self._saved)
            try:
                await self.keep()
            except PerseusError as error:  # it may have been kept: later ones win, so it is simply tried again
                if not self._is_failing:
                    log.warning("alerts_not_kept", error=str(error), effect="nothing is sent until they can be")
                self._is_failing = True
                await asyncio.sleep(RETRY_S)
            else:
                self._is_failing = False

    async def keep(self) -> None:
        """Keep what is remembered now. Raises: TenureOver when the store refuses us; what every call to it raises."""
        changes, memory = self.changes, self.memory
        now_ms = self._tenure.store_time.now_ms()
        saved_ms = max(now_ms, self.kept.saved_ms + 1)
        fields = {"memory": msgspec.json.encode(Kept(saved_ms=saved_ms, memory=memory))}
        try:
            fields["health"] = msgspec.json.encode(self._health(memory, now_ms))
        except Exception:  # a defect of ours in what is shown of channels must not keep anything from being sent
            log.exception("health_not_told")
        if not await self._tenure.remember(fields):
            raise TenureOver
        self._saved = changes
        self.kept = Kept(saved_ms=saved_ms, memory=self.memory)
        self._wake()


async def recalled(tenure: Tenure, *, ours: Ours | None) -> Kept | None:
    """What to go on from: what is kept, or what this process knows that is newer.

    Ours is, if nobody kept anything since, for not all of it may have been kept; and if the store came back with old
    data.
    """
    raw, kept_by = await tenure.recall("memory")
    found: Kept | None = None
    if raw is not None:
        try:
            found = msgspec.json.decode(raw, type=Kept)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # of a release that remembers otherwise
            log.exception("alerts_forgotten", effect="what was announced before is not known")
    if ours is None:
        return found
    is_ours = found is None or kept_by == ours.claim_id or ours.kept.saved_ms > found.saved_ms
    return ours.kept if is_ours else found
