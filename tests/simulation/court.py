"""Everything the simulation knows of a schedule, and what of it must never be.

The judge of the fault tests judges here too (`tests/invariants.py`), on exact samples. What only a simulation can see
is checked at the very moment it happens: who believes to hold the exchange when another acquires it, and how long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgspec

from perseus import keys
from tests.invariants import History, Landed, Sample, violations
from tests.simulation.network import Client, Request
from tests.simulation.programs import SYMBOL, Believed
from tests.simulation.store_model import Stream, ZSet
from tests.simulation.world import BINANCE, Process, World

STATUS, LAST, LOG = keys.status(BINANCE.id), keys.last(BINANCE.id), keys.log(BINANCE.name)
_CANDLES = keys.candles(BINANCE.id, SYMBOL, "1m")


@dataclass(frozen=True)
class Released:
    """An epoch was given back."""

    epoch: int


@dataclass(frozen=True)
class _Seen:
    """A lease somebody was told of then, and that may run until then: by the boot-time clock of who was told."""

    holder: str
    epoch: int
    told_at: float
    until: float


class Court:
    """Watches one schedule. `keeps_time`: the store's wall clock was not stepped; `keeps_data`: it lost nothing."""

    def __init__(self, world: World, believed: Believed) -> None:
        self.world = world
        self.believed = believed
        self.keeps_time = True
        self.keeps_data = True
        self.stepped_back_s = 0.0
        self._lost_at = float("-inf")
        self.lost_at_epoch = 0  # the newest epoch when the store last lost data
        self.acquired = 0  # how often
        self._highest = 0
        self._until: dict[str, float] = {}  # by claim: how long it may be believed in, boot-time seconds of its host
        self._raw: Any = None  # what the status key held before this request, if its time is not over
        self._expires_ms = 0
        self._seen: dict[Client, _Seen] = {}
        self._acquired_at: dict[Client, float] = {}
        self._untold: set[int] = set()  # lapses that an instance could not tell of before it died
        world.network.on_done = self.hear
        world.network.on_answer = self._answered

    # -- as it happens ----------------------------------------------------------------------------------------------

    def hear(self, request: Request) -> None:
        """A request was carried out."""
        model = self.world.network.model
        for command, reply in zip(request.commands, request.replies, strict=True):
            script = model.script_name(command)
            if isinstance(reply, Exception):
                continue
            if script == "claim" and reply[0] == b"CLAIMED":
                self._claimed(request, claim_id=str(command[7]), epoch=int(reply[4]), ttl_s=int(command[9]))
            elif script == "renew" and reply[0] == b"RENEWED":
                self._confirmed(request, claim_id=str(command[5]), ttl_s=int(command[7]))
                self._not_hung(request)
            elif script == "record_loss" and reply[0] == b"RECORDED":
                self._recorded_loss(instance=str(command[4]), epoch=int(command[5]))
            elif script == "release" and reply[0] == b"RELEASED" and command[6]:
                self.world.network.record.append(Released(msgspec.json.decode(cast(bytes, command[6]))["epoch"]))
            elif script in ("write_value", "write_candles") and reply[0] == b"OK":
                self._written(str(command[5 if script == "write_value" else 3 + int(command[2])]))
        raw = model.value(STATUS)
        self._expires_ms = model.expires.get(STATUS, 0)
        if raw is not self._raw:
            self._raw = raw
            status = msgspec.json.decode(raw) if isinstance(raw, bytes) else None
            self.world.network.record.append(Sample(self.world.loop.now, self.world.loop.now, status))

    def _claimed(self, request: Request, *, claim_id: str, epoch: int, ttl_s: int) -> None:
        is_over = self._expires_ms < self.world.network.wall_us() // 1000
        held = msgspec.json.decode(self._raw) if isinstance(self._raw, bytes) and not is_over else {}
        if held.get("claimId") != claim_id:
            self.acquired += 1
            self._acquired_at[request.client] = self.world.loop.now
            self.world.note(f"{request.client.name} acquires, epoch …{epoch % 10**10}")
            if epoch <= self._highest and not (self.stepped_back_s and not self.keeps_data):
                self.world.violation(f"{request.client.name} acquired epoch {epoch}, not above {self._highest}")
            self._highest = max(self._highest, epoch)
            if self.keeps_time:
                self._nobody_else_holds(request)
            self._is_patient(request)
        elif held["epoch"] != epoch:
            self.world.violation(
                f"{request.client.name} began two tenures, {held['epoch']} and {epoch}, with one claim"
            )
        self._confirmed(request, claim_id=claim_id, ttl_s=ttl_s)

    def _is_patient(self, request: Request) -> None:
        """Whoever has seen a lease waits for its end by its own clock, unless it was given back or its holder ended."""
        seen = self._seen.get(request.client)
        if seen is None or not seen.told_at <= request.sent_boot < seen.until or not self.keeps_data:
            return
        if Released(seen.epoch) in self.world.network.record:
            return
        if any(each.name == seen.holder and each.is_alive for each in self.world.processes):
            early_s = seen.until - request.sent_boot
            self.world.violation(f"{request.client.name} claimed {early_s:.3f} s before the lease it has seen was over")

    def _answered(self, request: Request) -> None:
        """A client is told, perhaps of a lease; what it was told is as of when the store carried it out."""
        for n, (command, reply) in enumerate(zip(request.commands, request.replies, strict=True)):
            raw, pttl = None, 0
            if command[0] == "PTTL" and command[1] == STATUS:
                raw, pttl = request.replies[n - 1], reply
            elif self.world.network.model.script_name(command) == "claim" and isinstance(reply, list):
                raw, pttl = (reply[4], int(reply[5])) if reply[0] == b"HELD" else (None, 0)
            if not isinstance(raw, bytes) or pttl <= 0:
                continue
            holder = msgspec.json.decode(raw)
            if holder["instanceId"] != request.client.name:
                until = request.done_boot + pttl / 1000
                self._seen[request.client] = _Seen(
                    holder["instanceId"], holder["epoch"], request.client.boot_s(), until
                )

    def _not_hung(self, request: Request) -> None:
        client = request.client
        if isinstance(client, Process) and request.sent_at > client.hung_since + 1.1 * client.timing.interval_s + 0.1:
            self.world.violation(f"{client.name} renewed although its loop hung since {client.hung_since:.3f}")

    def _recorded_loss(self, *, instance: str, epoch: int) -> None:
        for process in self.world.processes:
            is_it = process.name == instance and process.holds and process.me and process.me.epoch == epoch
            if is_it and self.keeps_time:
                self.world.violation(f"the loss of {instance}, epoch {epoch}, was recorded while it held")

    def _nobody_else_holds(self, request: Request) -> None:
        for other in self.world.processes:
            if other is not request.client and other.holds:
                self.world.violation(f"{request.client.name} acquired while {other.name} still believed to hold")

    def _confirmed(self, request: Request, *, claim_id: str, ttl_s: int) -> None:
        client = request.client
        if not isinstance(client, Process) or (client.replicas and not request.acknowledged):
            self._until.setdefault(claim_id, 0.0)
            return
        end = request.sent_boot + ttl_s - client.timing.margin_s
        self._until[claim_id] = max(self._until.get(claim_id, 0.0), end)

    def believes(self, process: Process, claim_id: str) -> None:
        """A process is about to emit under this claim."""
        if process.boot_s() > self._until.get(claim_id, 0.0) + 1e-6:
            late_s = process.boot_s() - self._until.get(claim_id, 0.0)
            self.world.violation(f"{process.name} emits {late_s:.3f} s past the deadline of its last confirmed renewal")

    def _written(self, claim_id: str) -> None:
        raw = self.world.network.model.value(STATUS)
        holder = msgspec.json.decode(raw).get("claimId") if isinstance(raw, bytes) else None
        if holder != claim_id:
            self.world.violation(f"a write of claim {claim_id} was accepted while the key held {holder}")

    def ended(self, process: Process) -> None:
        """A process is gone, and with it what it had still to tell of a lapse or a loss, if it could not."""
        if process.me is None:
            return
        network, acquired_at = self.world.network, self._acquired_at.get(process, 0.0)
        is_unlucky = network.failed_at.get(process, -1.0) >= acquired_at
        ran_until = min(process.paused_at, self.world.loop.now)
        had_no_time = network.late_at.get(process, -1.0) >= acquired_at and ran_until - acquired_at < 2.0
        if not is_unlucky and not had_no_time:
            return
        queue = process.me._said._log._queue
        untold = [int(each.fields["epoch"]) for each in queue if each.fields["event"] == "lease_lapsed"]
        dead = process.me._claiming._unrecorded
        self._untold.update(untold, [dead.epoch or 0] if dead else [])

    def forget_failover(self, *, within_s: float) -> None:
        """A store that keeps everything restarts: what told of a failover shortly before is gone with its memory."""
        if self.world.loop.now - self._lost_at < within_s:
            self.keeps_time = False

    def lose_data(self) -> None:
        """The store is about to lose data, or may be."""
        self.keeps_data = False
        self._lost_at = self.world.loop.now
        self.lost_at_epoch = self._highest
        if self.world.network.model.denies_info:
            self.keeps_time = False  # a store that does not say for how long it is up may be back before anyone notices

    # -- in the end -------------------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Apply every rule to what was recorded. What breaks one is a violation of the world's."""
        if self.keeps_data or not self.stepped_back_s:  # else the store has neither its counter nor the time to go by
            for rule, found in violations(self.history()).items():
                for each in found:
                    self.world.violation(f"{rule}: {each}")
        for fault in self.world.loop.faults:
            self.world.violation(f"an exception nobody took: {fault}")

    def history(self) -> History:
        """The schedule as the judge wants it: of tenures that began after the store last lost data."""
        record = self.world.network.record
        samples = [each for each in record if isinstance(each, Sample)]
        writes = self._writes()
        now = self.world.loop.now
        return History(
            claims=self.believed.claims,
            writes=self.believed.writes,
            samples=[each for each in samples if each.status is None or self._is_told(each.status["epoch"])],
            landed=[Landed(now, now, writes)],
            entries=self.entries(),
            released=frozenset(each.epoch for each in record if isinstance(each, Released)),
            keeps_data=self.keeps_data,
            keeps_time=self.keeps_time,
        )

    def _is_told(self, epoch: int) -> bool:
        return epoch > self.lost_at_epoch and epoch not in self._untold

    def entries(self) -> list[dict[str, str]]:
        """The activity log, oldest first."""
        value = self.world.network.model.value(LOG)
        entries = value.entries if isinstance(value, Stream) else ()
        return [
            {name.decode(): text.decode() for name, text in zip(flat[::2], flat[1::2], strict=True)}
            for _, flat in entries
        ]

    def _writes(self) -> frozenset[tuple[int, int]]:
        value = self.world.network.model.value(_CANDLES)
        rows = [msgspec.json.decode(member) for member in value.scores] if isinstance(value, ZSet) else []
        return frozenset((int(row[1]), int(row[2])) for row in rows)
