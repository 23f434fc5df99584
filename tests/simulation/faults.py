"""What goes wrong in a schedule: single faults with their weights, and plots of several that belong together.

A fault returns when it is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from perseus import keys
from tests.simulation.network import Weather
from tests.simulation.world import BINANCE, Disk, Process, suspend

if TYPE_CHECKING:
    from tests.simulation.schedule import Schedule

Fault = Callable[["Schedule"], Awaitable[None]]
STATUS, LAST = keys.status(BINANCE.id), keys.last(BINANCE.id)


async def kill(schedule: Schedule) -> None:
    """kill -9."""
    if target := schedule.target():
        target.end("is killed")


async def terminate(schedule: Schedule) -> None:
    """SIGTERM."""
    if target := schedule.target():
        target.terminate()


async def pause(schedule: Schedule) -> None:
    """SIGSTOP, SIGCONT."""
    if target := schedule.target():
        seconds = schedule.random.uniform(0.2, 2.2 * schedule.timing.ttl_s)
        target.pause(seconds)
        await asyncio.sleep(seconds)


async def block(schedule: Schedule) -> None:
    """The feed's event loop hangs."""
    if target := schedule.target():
        seconds = schedule.random.uniform(0.2, 2.2 * schedule.timing.ttl_s)
        target.block(seconds)
        await asyncio.sleep(seconds)


async def sleep_host(schedule: Schedule) -> None:
    """A host is suspended."""
    if target := schedule.target():
        seconds = schedule.random.uniform(0.2, 2.2 * schedule.timing.ttl_s)
        suspend(target.host, seconds)
        await asyncio.sleep(seconds)


async def partition(schedule: Schedule) -> None:
    """Nothing passes between one process and the store."""
    if target := schedule.target():
        await cut_off(schedule, target, schedule.random.uniform(0.2, 2.5 * schedule.timing.ttl_s))


async def cut_off(schedule: Schedule, target: Process, seconds: float) -> None:
    """Cut one process off for a while."""
    network = schedule.world.network
    schedule.world.note(f"{target.name} is cut off for {seconds:.2f} s")
    network.cut(target)
    await asyncio.sleep(seconds)
    network.join(target)


async def bad_weather(schedule: Schedule) -> None:
    """The network loses, delays and repeats for a while."""
    random, weather = schedule.random, schedule.world.network.weather
    seconds = random.uniform(1, 10)
    kind = random.choice(("lost requests", "lost replies", "slow", "repeated", "everything"))
    schedule.world.note(f"the network is bad for {seconds:.2f} s: {kind}")
    if kind in ("lost requests", "everything"):
        weather.loses_request = random.uniform(0.05, 0.5)
    if kind in ("lost replies", "everything"):
        weather.loses_reply = random.uniform(0.05, 0.6)
    if kind in ("repeated", "everything"):
        weather.repeats = random.uniform(0.05, 0.5)
    if kind in ("slow", "everything"):
        weather.delay_s = random.choice((0.05, 0.12, 0.2, 0.6))
    await asyncio.sleep(seconds)
    schedule.world.network.weather = Weather()


async def stop_command(schedule: Schedule) -> None:
    """An admin stops the exchange."""
    await schedule.command("stop")


async def start_command(schedule: Schedule) -> None:
    """An admin starts the exchange."""
    await schedule.command("start")


async def restart_store(schedule: Schedule) -> None:
    """The store goes away and comes back with everything, with old data, or empty."""
    random, timing = schedule.random, schedule.timing
    holding = random.choice(("everything", "old data", "nothing"))
    await restarted(schedule, holding, random.choice((0.0, 1.0, 2.0 * timing.ttl_s)) * random.random())


async def restarted(schedule: Schedule, holding: str, away_s: float) -> None:
    """The store is away for a while and comes back holding this much."""
    network = schedule.world.network
    if not network.is_up:
        return
    if network.model.config["appendonly"] == "yes":
        holding = "everything"
        schedule.court.forget_failover(within_s=2 * (schedule.timing.ttl_s + 1))
    schedule.world.note(f"the store is away for {away_s:.2f} s, then holds {holding}")
    network.stop()
    await asyncio.sleep(away_s)
    if holding != "everything":
        schedule.court.lose_data()
    network.start(holding=holding)


async def save(schedule: Schedule) -> None:
    """The store saves what it holds."""
    if schedule.world.network.is_up:
        schedule.world.note("the store saves")
        schedule.world.network.save()


async def freeze(schedule: Schedule) -> None:
    """The server is stopped with SIGSTOP."""
    seconds = schedule.random.uniform(0.3, 2 * schedule.timing.ttl_s)
    schedule.world.note(f"the store is frozen for {seconds:.2f} s")
    schedule.world.network.freeze()
    await asyncio.sleep(seconds)
    schedule.world.network.thaw()


async def failover(schedule: Schedule) -> None:
    """A replica takes over."""
    network = schedule.world.network
    if not network.is_up:
        return
    schedule.court.lose_data()
    schedule.world.note("the store fails over")
    network.fail_over()


async def lose_replica(schedule: Schedule) -> None:
    """The replica is disconnected for a while; perhaps it then takes over."""
    random, network = schedule.random, schedule.world.network
    seconds = random.uniform(0.5, 2 * schedule.timing.ttl_s)
    schedule.world.note(f"the replica is disconnected for {seconds:.2f} s")
    network.is_replicated = False
    await asyncio.sleep(seconds)
    if random.random() < 0.5:
        await failover(schedule)
    network.is_replicated = True


async def step_store_clock(schedule: Schedule) -> None:
    """The store's wall clock is stepped."""
    seconds = schedule.random.choice((-10, -2, 2, 10, 100)) * schedule.random.uniform(0.5, 1)
    schedule.world.note(f"the store's clock is stepped by {seconds:.2f} s")
    schedule.court.keeps_time = False
    schedule.court.stepped_back_s += max(0.0, -seconds)
    schedule.world.network.stepped_us += int(seconds * 1e6)


async def step_host_clock(schedule: Schedule) -> None:
    """A host's wall clock is stepped, by seconds or by days."""
    random = schedule.random
    host = random.choice(schedule.world.hosts)
    host.stepped_ms += int(random.choice((-10.0, 10.0, -9e6, 9e6)) * 1000)
    schedule.world.note(f"the wall clock of {host.name} is off by {host.stepped_ms / 1000:.0f} s")


async def delete_status(schedule: Schedule) -> None:
    """Somebody deletes the status key of a holder that has renewed it; of one that has not, nothing else tells."""
    network = schedule.world.network
    if network.is_up and not network.is_frozen and network.model.value(STATUS) == network.model.value(LAST):
        schedule.world.note("the status key is deleted")
        network.model.execute(("DEL", STATUS))
        schedule.court.keeps_time &= not network.has_late_copies  # a late claim would get in while the holder believes


async def new_disk(schedule: Schedule) -> None:
    """A data directory is deleted and made again: another lock file of the same name."""
    host = schedule.random.choice(schedule.world.hosts)
    schedule.world.note(f"the data directory of {host.name} is made anew")
    host.disk = Disk(inode=f"{host.disk.inode}'")


FAULTS: dict[str, tuple[float, Fault]] = {
    "kill": (4, kill),
    "terminate": (2, terminate),
    "pause": (4, pause),
    "block": (2, block),
    "suspend": (1, sleep_host),
    "partition": (4, partition),
    "bad weather": (4, bad_weather),
    "stop": (1, stop_command),
    "start": (1, start_command),
    "restart store": (2, restart_store),
    "save": (1, save),
    "freeze": (1.5, freeze),
    "failover": (1, failover),
    "lose replica": (1, lose_replica),
    "step store clock": (0.7, step_store_clock),
    "step host clock": (0.5, step_host_clock),
    "new disk": (0.3, new_disk),
    "delete status": (0.7, delete_status),
}


async def two_restarts(schedule: Schedule) -> None:
    """The store loses everything twice; who lost its tenure the first time is cut off until the second."""
    if target := schedule.target():
        random, timing, network = schedule.random, schedule.timing, schedule.world.network
        await restarted(schedule, "nothing", 0.0)
        await schedule.world.until(lambda: not target.holds, within_s=1.2, every_s=0.001)
        await asyncio.sleep(random.uniform(0, 0.015))  # it claims again
        schedule.world.note(f"{target.name} is cut off")
        network.cut(target)
        await asyncio.sleep(timing.ttl_s + random.uniform(2, 6))
        await restarted(schedule, "nothing", 0.0)
        await asyncio.sleep(random.uniform(0, 0.3))
        network.join(target)


async def hands_change_then_data_is_lost(schedule: Schedule) -> None:
    """One holder dies, another begins, and the store forgets it: by a failover, or with old data."""
    if target := schedule.target():
        random, timing = schedule.random, schedule.timing
        schedule.world.network.save()
        if random.random() < 0.5:
            await cut_off(schedule, target, random.uniform(1, 2) * timing.ttl_s)
        else:
            target.end("is killed")
        await asyncio.sleep(random.uniform(0, 2) * timing.ttl_s)
        await (failover(schedule) if random.random() < 0.5 else restarted(schedule, "old data", random.random()))


async def slow_then_silent(schedule: Schedule) -> None:
    """Answers are late, then there are none."""
    if target := schedule.target():
        random, network = schedule.random, schedule.world.network
        network.weather.delay_s = random.uniform(0.05, 0.2)
        await asyncio.sleep(random.uniform(1, 4))
        await cut_off(schedule, target, random.uniform(0.5, 2) * schedule.timing.ttl_s)
        network.weather = Weather()


async def unreplicated_then_promoted(schedule: Schedule) -> None:
    """The replica is gone for a while, then it takes over."""
    network = schedule.world.network
    network.is_replicated = False
    schedule.world.note("the replica is disconnected")
    await asyncio.sleep(schedule.random.uniform(0.3, 2) * schedule.timing.ttl_s)
    await failover(schedule)
    network.is_replicated = True


async def restart_under_a_paused_holder(schedule: Schedule) -> None:
    """The holder is cut off while the store loses its data, and another may claim too soon."""
    if target := schedule.target():
        random, timing = schedule.random, schedule.timing
        away = asyncio.ensure_future(cut_off(schedule, target, random.uniform(0.3, 1) * timing.ttl_s))
        await asyncio.sleep(random.uniform(0, 1))
        if random.random() < 0.5:
            await restarted(schedule, "nothing", random.uniform(0, 0.5))
        else:
            await failover(schedule)
        await away


PLOTS: dict[str, Fault] = {
    "two restarts": two_restarts,
    "hands change, then data is lost": hands_change_then_data_is_lost,
    "slow, then silent": slow_then_silent,
    "unreplicated, then promoted": unreplicated_then_promoted,
    "the store loses its data while the holder is cut off": restart_under_a_paused_holder,
}
