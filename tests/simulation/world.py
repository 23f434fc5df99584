"""Hosts and processes of the simulation: clocks, lock files, threads, and how a process ends or is held up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Self, cast

from perseus.clock import StoreTime
from perseus.errors import ExchangeClaimed, LeaseLost, StoreUnavailable
from perseus.instances.coordination import Coordination
from perseus.instances.fence import Fence
from perseus.instances.identity import Identity
from perseus.instances.instance import Instance
from perseus.instances.lockfile import LockFile
from perseus.model import InstanceStatus, exchange_named
from perseus.store import Store
from perseus.timing import LeaseTiming
from tests.simulation.network import EPOCH_US, Client, Link, Network
from tests.simulation.virtual_loop import Thread, ThreadLoop, VirtualLoop, current_thread

BINANCE = exchange_named("binance")
URL = "redis://simulated"
ALLOWED_ENDS = (ExchangeClaimed, LeaseLost, StoreUnavailable)

Program = Callable[["Process"], Awaitable[None]]


class Host:
    """A machine: its clocks, and the disk its processes share. `boot_id` is shared by containers on one kernel."""

    def __init__(self, loop: VirtualLoop, *, name: str, boot_id: str, rate: float, uptime_s: float) -> None:
        self.loop = loop
        self.name = name
        self.boot_id = boot_id
        self.rate = rate
        self.stepped_ms = 0
        self.disk = Disk(inode=f"1:{name}")
        self.processes: list[Process] = []
        self._uptime_s = uptime_s

    def now(self) -> float:
        """The boot-time clock: runs a little too fast or slow, and through every pause."""
        return self._uptime_s + self.rate * self.loop.now

    def wall_ms(self) -> int:
        """The wall clock."""
        return EPOCH_US // 1000 + int(self.loop.now * 1000) + self.stepped_ms

    async def sleep(self, seconds: float) -> None:
        """Wait by the boot-time clock."""
        await asyncio.sleep(max(0.0, seconds) / self.rate)


class Disk:
    """The lock file of the exchange on a host's disk."""

    def __init__(self, *, inode: str) -> None:
        self.inode = inode
        self.holder: Process | None = None
        self.epoch = 0
        self.holders: list[str] = []


class ModelLock(LockFile):
    """A lock file with the semantics of flock: given up when the process that holds it ends, however it ends."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._disk = process.host.disk
        self.is_held = False
        self.boot_id = process.host.boot_id
        self.identity = self._disk.inode

    def __enter__(self) -> Self:
        return self

    def acquire(self) -> bool:
        if self._disk.holder is None:
            self._disk.holder = self.process
        self.is_held = self._disk.holder is self.process
        return self.is_held

    def known_epoch(self) -> int:
        return self._disk.epoch

    def recent_holders(self) -> list[str]:
        return self._disk.holders

    def _write(self, epoch: int, holders: list[str]) -> None:
        self._disk.epoch, self._disk.holders = epoch, holders


class ModelTimer:
    """The kernel's timer of a fence: ends the process at a moment of its host's boot-time clock, even a paused one."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._timer: asyncio.TimerHandle | None = None

    def kill_at(self, boot_s: float) -> None:
        """End the process then."""
        self.cancel()
        host, network = self._process.host, self._process.world.network
        self._timer = network.later((boot_s - host.now()) / host.rate, self._process.end, "ended by its fence")

    def cancel(self) -> None:
        """End nothing."""
        if self._timer is not None:
            self._timer.cancel()


class World:
    """Everything there is in one schedule. `timeline` is told to people; `violations` are what must not happen."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.loop = VirtualLoop()
        self.network = Network(self.loop, self.random)
        self.hosts: list[Host] = []
        self.processes: list[Process] = []
        self.timeline: list[str] = []
        self.violations: list[str] = []
        self.is_over = False

    def note(self, text: str) -> None:
        """Add a line to the timeline."""
        self.timeline.append(f"{self.loop.now:8.3f}  {text}")

    def violation(self, text: str) -> None:
        """Something happened that must not."""
        self.violations.append(f"at {self.loop.now:.3f}: {text}")
        self.note(f"VIOLATION: {text}")

    def add_host(self, name: str, *, boot_id: str = "") -> Host:
        """A machine whose boot-time clock is off by up to 5 %; with a `boot_id`: a container beside others."""
        twin = next((host for host in self.hosts if host.boot_id == boot_id), None)
        rate = twin.rate if twin else 1 + self.random.uniform(-0.05, 0.05)
        uptime_s = twin.now() if twin else self.random.uniform(100, 100_000)
        self.hosts.append(Host(self.loop, name=name, boot_id=boot_id or f"boot-{name}", rate=rate, uptime_s=uptime_s))
        return self.hosts[-1]

    async def until(self, reached: Callable[[], bool], *, within_s: float, every_s: float = 0.1) -> bool:
        """Let time pass until this is so; False if it is not within these virtual seconds."""
        end = self.loop.now + within_s
        while not reached():
            if self.loop.now >= end:
                return False
            await asyncio.sleep(every_s)
        return True

    async def clear_away(self) -> None:
        """End every task there still is, so that nothing of this schedule runs in the next."""
        self.is_over = True
        mine = asyncio.current_task()
        for process in self.processes:
            process.clear_away()
        for _ in range(100):
            rest = [task for task in asyncio.all_tasks() if task is not mine]
            if not rest:
                return
            for task in sorted(rest, key=hash):
                task.cancel()
            await asyncio.wait(rest, timeout=1)
        raise RuntimeError(f"cannot be ended: {rest}")


class Process(Client):
    """A process on a host: two threads, connections to the store, an instance. It runs its program until it ends."""

    def __init__(
        self,
        world: World,
        host: Host,
        *,
        number: int,
        timing: LeaseTiming,
        replicas: int,
        has_fence: bool,
        on_end: Callable[[Process], None],
    ) -> None:
        self.world = world
        self.host = host
        self.name = f"{host.name}/{number}"
        self.number = number
        self.timing = timing
        self.replicas = replicas
        self.has_fence = has_fence
        self.is_alive = True
        self.is_ghost = False
        self.shutdown = asyncio.Event()
        self.feed, self.coordination = Thread("feed"), Thread("coordination")
        self.feed.other, self.coordination.other = self.coordination, self.feed
        self.feed.owner = self.coordination.owner = self
        self.me: Instance | None = None
        self.error: BaseException | None = None
        self.told_at = 0.0  # when it was last told to end
        self.paused_at = float("inf")  # when it was last stopped, if it still is, true virtual seconds
        self.hung_since = float("inf")  # when its feed's loop was blocked, true virtual seconds
        self.believes: Callable[[str], None] = lambda _claim_id: None  # told before each write
        self._on_end = on_end
        self.lock_file = ModelLock(self)
        world.processes.append(self)
        host.processes.append(self)

    @property
    def threads(self) -> tuple[Thread, Thread]:
        """Both."""
        return self.feed, self.coordination

    @property
    def holds(self) -> bool:
        """Whether it believes to hold the exchange at this moment, should it look at its clock."""
        return self.is_alive and self.me is not None and self.me.holds

    def boot_s(self) -> float:
        return self.host.now()

    def start(self, program: Program) -> None:
        """Begin to run."""
        self.world.note(f"{self.name} starts")
        self.world.loop.call_soon(self._begin, program, context=self.feed.context)

    def _begin(self, program: Program) -> None:
        self.world.loop.create_task(self._live(program), name=self.name)

    async def _live(self, program: Program) -> None:
        try:
            await program(self)
        except ALLOWED_ENDS as error:
            self.error = error
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  whatever it is, a process must not end by it
            self.error = error
            self.world.violation(f"{self.name} ended by {error!r}")
        if not self.is_ghost:
            self.end(f"ends: {_told(self.error)}")

    async def attach(self) -> Instance:
        """An instance with its connections, as `attached` makes it."""
        loop, network = self.world.loop, self.world.network
        store = Store(URL, topology=Link(network, self))
        renewing = Store(URL, timeout=self.timing.attempt_timeout_s, topology=Link(network, self))
        store_time = StoreTime(self.host)
        store_time.observe(await store.time_ms())
        self.me = Instance(
            exchange=BINANCE,
            identity=Identity(
                hostname=self.host.name,
                instance_id=self.name,
                pid=self.number,
                boot_id=self.host.boot_id,
                version="0",
            ),
            timing=self.timing,
            store=store,
            coordination=Coordination(cast(asyncio.AbstractEventLoop, ThreadLoop(loop, self.coordination)), renewing),
            clock=self.host,
            store_time=store_time,
            lock_file=self.lock_file,
            store_is_local=False,
            replicas=self.replicas,
            fence=Fence(ModelTimer(self)) if self.has_fence else None,  # type: ignore[arg-type]  # the kernel's part
        )
        return self.me

    # -- what may happen to it --------------------------------------------------------------------------------------

    def end(self, how: str) -> None:
        """The process is gone. What it has sent may still arrive."""
        if not self.is_alive:
            return
        self.world.note(f"{self.name} {how}")
        self.is_alive = False
        for thread in self.threads:
            self.world.loop.hold(thread, "dead")
        if self.host.disk.holder is self:
            self.host.disk.holder = None
        self._on_end(self)

    def pause(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        self.paused_at = self.world.loop.now
        self._hold(self.threads, f"paused for {seconds:.2f} s", seconds)
        self.world.network.later(seconds, self._resumed)

    def _resumed(self) -> None:
        """A hung loop shows only while the process runs: what it was about to send, it sends now."""
        self.paused_at = float("inf")
        if self.hung_since < float("inf"):
            self.hung_since = self.world.loop.now

    def block(self, seconds: float) -> None:
        """Its feed's loop hangs; the coordination thread goes on."""
        self.hung_since = min(self.hung_since, self.world.loop.now)
        self._hold((self.feed,), f"blocked for {seconds:.2f} s", seconds)
        self.world.network.later(seconds, self._unhung)

    def _unhung(self) -> None:
        self.hung_since = float("inf")

    def _hold(self, threads: tuple[Thread, ...], why: str, seconds: float) -> None:
        self.world.note(f"{self.name} is {why}")
        loop = self.world.loop
        for thread in threads:
            loop.hold(thread, why)
            self.world.network.later(seconds, loop.resume, thread, why)

    def terminate(self) -> None:
        """SIGTERM."""
        self.world.note(f"{self.name} is told to end")
        self.told_at = self.world.loop.now
        self.world.loop.call_soon(self.shutdown.set, context=self.feed.context)

    def clear_away(self) -> None:
        """Let what is left of it run to its end, reaching nobody."""
        self.is_alive, self.is_ghost = False, True
        for thread in self.threads:
            for why in list(thread.held_by):
                self.world.loop.resume(thread, why)


def suspend(host: Host, seconds: float) -> None:
    """The host sleeps: nothing on it runs, its timers stand still, its boot-time clock does not."""
    world = host.processes[0].world if host.processes else None
    if world is None:
        return
    world.note(f"{host.name} is suspended for {seconds:.2f} s")
    threads = [thread for process in host.processes if process.is_alive for thread in process.threads]
    world.loop.postpone(set(threads), by_s=seconds)
    for thread in threads:
        world.loop.hold(thread, "suspended")
        world.network.later(seconds, world.loop.resume, thread, "suspended")


def current_process() -> Process:
    """Whose code is running."""
    thread = current_thread()
    assert thread is not None, "no process is running"
    assert isinstance(thread.owner, Process)
    return thread.owner


def is_dead_by_pid(process: Process, holder: InstanceStatus) -> bool:
    """Whether the holder's process id, on this kernel, is not among the ids this host's processes can see."""
    alive = {other.number for other in process.host.processes if other.is_alive}
    return holder.boot_id == process.host.boot_id and holder.pid not in alive


def _told(error: Any) -> str:
    return "in order" if error is None else f"{type(error).__name__} ({str(error)[:100]})"
