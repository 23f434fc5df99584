"""Alerts: from a death to the message that tells of it, beside a loop that polls and posts; and what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from perseus.alerting import TTL_S as NOTIFIER_TTL_S
from tests.bench import alert_deaths
from tests.bench.alert_cost import FAR_S, idle, unsaved
from tests.bench.alert_memory import remembering
from tests.bench.alert_network import HOSTS, alerted_networks
from tests.bench.alert_polling import EVERY_S, PEER
from tests.bench.contenders import TIMING, TTL_S
from tests.bench.measure import Effort, Measure, Section
from tests.bench.servers import running_server
from tests.support.discord_control import StandInProcess


def bench(effort: Effort) -> Section:
    """Deaths one by one, with the notifier, and in a crowd; then what a notifier costs while nothing happens."""
    with ExitStack() as ending:
        discord = ending.enter_context(StandInProcess())
        measures = [*_deaths(discord, effort), *_costs(discord, effort)]
        measures += remembering(ending.enter_context(running_server()), effort)
    return Section(title="Alerts", measures=measures, notes=_notes(effort))


def _deaths(discord: StandInProcess, effort: Effort) -> Iterator[Measure]:
    alone, with_notifier = effort.pick(5, 1), effort.pick(3, 1)
    crowd, crowds = effort.pick(200, 5), effort.pick(2, 1)
    lanes = [alone + with_notifier] * effort.pick(4, 1)
    pace = alert_deaths.Pace(0.5, 0.0, TIMING) if effort.quick else alert_deaths.Pace()
    with alerted_networks(discord, lanes=[*lanes, crowd * crowds]) as (*networks, crowded):
        for network in networks:
            network.open(poll_s=pace.poll_s)
        alert_deaths.settle(networks)
        yield from alert_deaths.alone(networks, range(alone), pace=pace)
        both = range(alone, alone + with_notifier)
        yield from alert_deaths.with_notifier(networks, both, pace=pace)
        for network in networks:
            network.close()
        crowded.open(hosts=HOSTS[:1], poll_s=pace.poll_s)
        yield from alert_deaths.crowd(crowded, rounds=crowds, pace=pace)


def _costs(discord: StandInProcess, effort: Effort) -> Iterator[Measure]:
    sizes = (3,) if effort.quick else (3, 1000)
    for size in sizes:
        with alerted_networks(discord, filled=size) as (network,):
            network.open()
            yield from idle(network, effort)
            yield from unsaved(network, discord, effort)


def _notes(effort: Effort) -> tuple[str, ...]:
    networks, alone, with_notifier = effort.pick(4, 1), effort.pick(5, 1), effort.pick(3, 1)
    return (
        f"Real processes, and a stand-in for Discord that keeps its limits. An instance's TTL is {TTL_S} s, renewed "
        f"every second; it is killed at a moment of its own, in {networks} networks side by side, {alone} times alone "
        f"and {with_notifier} times together with the server that is the notifier (lease: {NOTIFIER_TTL_S} s). Two "
        "servers run in each, as if on other hosts. From the lease's end: of both leases, the later.",
        f"{PEER}: a process of seventy lines of Python (redis-py, aiohttp) that reads all status keys with one MGET "
        f"every {EVERY_S:g} s and posts the names of those that are gone. It cannot tell a release from a death, edits "
        "nothing, remembers nothing, and tells nothing once its own host is dead, so it has no part in the second "
        "kind of death.",
        f"Die at once: one process held all of them, renewed at phases spread evenly, with a TTL of "
        f"{alert_deaths.CROWD.ttl_s} s. Ours tells of the first at once and of the others by editing that message, as "
        "they come and as fast as Discord takes edits, five in two seconds here; it names some and counts the rest. "
        "The peer names each that it finds gone at its next look.",
        "Told, and not saved as told: from the moment Discord has taken a message until the store knows that. A "
        f"notifier killed in between leaves a message that its successor sends again. Discord itself answers after "
        f"some {FAR_S * 1000:g} ms, which is all of that time that matters.",
        "Nothing happens: two servers side by side, one of them the notifier, nobody looking; processor time of the "
        "whole server. Commands, by the store's MONITOR: the lease, one wait for all logs together, and every five "
        "seconds a look at the end of each log.",
        "In one go: what keeps a server's event loop from everything else, with that memory; of more entries than are "
        "taken in one go the rest waits its turn, and a first start's are taken in a thread.",
    )
