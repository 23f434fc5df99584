"""One schedule: from a seed, who runs where, what goes wrong and when, then a quiet time, then judgement."""

from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import structlog

from perseus import commands, keys, lease
from perseus.clock import unix_ms
from perseus.errors import PerseusError
from perseus.model import Command, ConnectionState
from perseus.store import Store
from perseus.timing import LeaseTiming
from tests.simulation.court import STATUS, Court
from tests.simulation.faults import FAULTS, PLOTS
from tests.simulation.network import Client, Link
from tests.simulation.programs import Believed, patient, served, watcher
from tests.simulation.store_model import StoreModel
from tests.simulation.world import BINANCE, URL, Host, Process, World

INTERVAL_S = 1.0
RESTART_S = (0.2, 3.0)


@dataclass
class Outcome:
    """What became of a schedule. `recovery_s`: virtual seconds from the end of the last fault to one active."""

    seed: int
    violations: list[str]
    timeline: list[str]
    steps: int
    virtual_s: float
    recovery_s: float
    tenures: int
    faults: list[str]


@dataclass(eq=False)
class Slot:
    """A place where a process is started again whenever it has ended."""

    host: Host
    program: str
    idle: bool = False
    count: int = 0
    process: Process | None = None


@dataclass
class Schedule:
    """The world of one seed, as the faults see it."""

    seed: int
    world: World
    court: Court
    believed: Believed
    timing: LeaseTiming
    replicas: int
    slots: list[Slot] = field(default_factory=list)
    is_quiet: bool = False
    sent: list[Command] = field(default_factory=list)

    @property
    def random(self) -> Random:
        """The one source of chance."""
        return self.world.random

    # -- processes --------------------------------------------------------------------------------------------------

    def launch(self, slot: Slot) -> None:
        """Start a process in a slot, if there is none."""
        if slot.process is not None or self.world.is_over:
            return
        slot.count += 1
        process = Process(
            self.world,
            slot.host,
            number=100 * (self.slots.index(slot) + 1) + slot.count,
            timing=self.timing,
            replicas=self.replicas,
            has_fence=slot.program == "served" and self.random.random() < 0.7,
            on_end=partial(self._ended, slot),
        )
        process.believes = partial(self.court.believes, process)
        slot.process = process
        match slot.program:
            case "served":
                process.start(partial(served, believed=self.believed, idle=slot.idle))
            case "patient":
                process.start(partial(patient, believed=self.believed))
            case _:
                process.start(watcher)

    def _ended(self, slot: Slot, process: Process) -> None:
        self.court.ended(process)
        if slot.process is process:
            slot.process = None
            delay_s = self.random.uniform(*RESTART_S)
            self.world.network.later(1.0 if self.is_quiet else delay_s, self.launch, slot)

    def processes(self) -> list[Process]:
        """Those that run (or are held up), watchers not."""
        return [slot.process for slot in self.slots if slot.process is not None and slot.program != "watcher"]

    def target(self) -> Process | None:
        """Whom the next fault strikes: mostly the holder."""
        living = self.processes()
        holders = [process for process in living if process.holds]
        if holders and self.random.random() < 0.75:
            return holders[0]
        return self.random.choice(living) if living else None

    def active(self) -> list[Process]:
        """Who believes to be active."""
        return [each for each in self.processes() if each.holds and each.me and each.me.state is ConnectionState.ACTIVE]

    async def command(self, kind: str) -> None:
        """Send a command to the holder, as an admin does."""
        store = Store(URL, topology=Link(self.world.network, Client()))
        try:
            raw = await store.get(STATUS)
            if raw is None:
                return
            target = lease.decode_status(raw, STATUS)
            now_ms = round(await store.time_ms())
            self.world.note(f"operator sends {kind} to {target.instance_id}")
            command = commands.compose(kind, target=target, issuer="operator", reason="", now_ms=now_ms)
            self.sent.append(command)
            await commands.send(store, BINANCE, command)
        except PerseusError as error:
            self.world.note(f"operator could not send {kind}: {type(error).__name__}")


def run_schedule(seed: int, *, model: type[StoreModel] | None = None) -> Outcome:
    """Run one schedule and judge it. `model`: the store, if not the true one."""
    world = World(seed)
    with _determined(world):
        gc_was_enabled = gc.isenabled()
        gc.disable()  # a collection in the middle would run code of dead tasks
        try:
            return world.loop.run(_run(seed, world, model))
        finally:
            if gc_was_enabled:
                gc.enable()


async def _run(seed: int, world: World, model: type[StoreModel] | None) -> Outcome:
    schedule = _composed(seed, world, model)
    struck: list[str] = []
    try:
        for slot in schedule.slots:
            world.network.later(schedule.random.uniform(0, 2), schedule.launch, slot)
        await _strike(schedule, struck)
        recovery_s = await _recover(schedule)
        _look_at_the_end(schedule)
        schedule.court.judge()
        return Outcome(
            seed,
            world.violations,
            world.timeline,
            world.loop.steps,
            world.loop.now,
            recovery_s,
            schedule.court.acquired,
            struck,
        )
    finally:
        await world.clear_away()


def _composed(seed: int, world: World, model: type[StoreModel] | None) -> Schedule:
    random, believed = world.random, Believed()
    network = world.network
    if model is not None:
        network.use(model)
    network.rate = 1 + random.uniform(-0.05, 0.05)
    network.model.denies_info = random.random() < 0.1
    if random.random() < 0.1:
        network.model.config.update(appendonly="yes", appendfsync="always")
    schedule = Schedule(
        seed,
        world,
        Court(world, believed),
        believed,
        timing=LeaseTiming(INTERVAL_S, random.choice((3, 4))),
        replicas=1 if random.random() < 0.15 else 0,
    )
    hosts = [world.add_host("a")]
    hosts.append(world.add_host("b", boot_id="boot-a" if random.random() < 0.3 else ""))
    if random.random() < 0.3:
        hosts.append(world.add_host("c"))
    schedule.slots = [Slot(host, "patient" if random.random() < 0.2 else "served") for host in hosts]
    if random.random() < 0.3:
        schedule.slots.append(Slot(random.choice(hosts), "served"))
    if random.random() < 0.1:
        schedule.slots[0].idle = True
    if random.random() < 0.3:
        schedule.slots.append(Slot(random.choice(hosts), "watcher"))
    return schedule


async def _strike(schedule: Schedule, struck: list[str]) -> None:
    """Let faults happen one after another, some of them while others last, until all have ended."""
    random, world = schedule.random, schedule.world
    await asyncio.sleep(random.uniform(1, 6))
    lasting: list[asyncio.Task[None]] = []
    if random.random() < 0.25:
        plot = random.choice(sorted(PLOTS))
        struck.append(plot)
        await PLOTS[plot](schedule)
    else:
        names, weights = list(FAULTS), [weight for weight, _ in FAULTS.values()]
        for name in random.choices(names, weights, k=random.randint(2, 7)):
            struck.append(name)
            lasting.append(world.loop.create_task(FAULTS[name][1](schedule), name=name))
            await asyncio.sleep(random.choice((0.05, 1.0, 4.0)) * random.random() * 1.5)
    await asyncio.gather(*lasting)
    world.note("the last fault is over")
    while any(_is_pending(schedule, command) for command in schedule.sent):
        await asyncio.sleep(0.1)


def _is_pending(schedule: Schedule, command: Command) -> bool:
    """Whether a command may still take effect: sent to one who lives, not answered, not expired."""
    network = schedule.world.network
    is_answered = network.model.value(keys.reply(BINANCE.id, command.id)) is not None
    is_over = network.wall_us() // 1000 > unix_ms(command.expires_at)
    lives = any(each.name == command.target_instance and each.is_alive for each in schedule.world.processes)
    return lives and not is_answered and not is_over


def bound_s(schedule: Schedule) -> float:
    """Within how long one instance is active after the last fault.

    The end of a lease, then the time the store must settle, twice if it was found late, restarts, and what the
    settling is rounded up by; and for as long as the store's clock was stepped back a lease lasts longer.
    """
    return 3 * (schedule.timing.ttl_s + 1) + 8.0 + schedule.court.stepped_back_s


async def _recover(schedule: Schedule) -> float:
    """Wait until one instance is active and stays so for longer than a lease; how long it took to become so."""
    schedule.is_quiet = True
    world = schedule.world
    began = world.loop.now
    restarter = asyncio.ensure_future(_start_what_is_stopped(schedule))
    stays_s = schedule.timing.ttl_s + 1.5
    since, who = began, None
    while world.loop.now - since < stays_s:
        active = schedule.active()
        if len(active) != 1 or (who is not None and active[0] is not who):
            since, who = world.loop.now, None
        else:
            who = active[0]
        if since - began > bound_s(schedule):
            world.violation(
                f"{since - began:.1f} s after the last fault not exactly one is active: {_states(schedule)}"
            )
            break
        await asyncio.sleep(0.1)
    restarter.cancel()
    return since - began


def _states(schedule: Schedule) -> list[str]:
    return [
        f"{each.name} {each.me.state if each.me else 'attaching'}, {'holds' if each.holds else 'does not hold'}"
        for each in schedule.processes()
    ]


async def _start_what_is_stopped(schedule: Schedule) -> None:
    """An admin who wants the exchange to run."""
    while True:
        await asyncio.sleep(1)
        holders = [each for each in schedule.processes() if each.holds and each.me is not None]
        if holders and holders[0].me and holders[0].me.state in (ConnectionState.IDLE, ConnectionState.STOPPED):
            await schedule.command("start")


def _look_at_the_end(schedule: Schedule) -> None:
    active = schedule.active()
    if len(active) != 1:
        schedule.world.violation(f"in the end {[each.name for each in active]} are active, not exactly one")
    for process in schedule.processes():
        if process.shutdown.is_set() and process.told_at + 60 < schedule.world.loop.now:
            schedule.world.violation(f"{process.name} was told to end at {process.told_at:.3f} and never did")


@contextmanager
def _determined(world: World) -> Iterator[None]:
    """Let nothing but the seed decide: no random identifiers, nothing logged to the terminal."""
    bits = Random(world.random.random()).getrandbits
    uuid4: Callable[[], uuid.UUID] = uuid.uuid4
    logging: dict[str, Any] = structlog.get_config()
    setattr(uuid, "uuid4", lambda: uuid.UUID(int=bits(128)))  # noqa: B010  the machine's chance, not ours
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        yield
    finally:
        setattr(uuid, "uuid4", uuid4)  # noqa: B010
        structlog.configure(**logging)
