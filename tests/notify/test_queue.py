"""The queue: whatever fails, a channel ends up showing everything as it is, once, and nothing waits for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from perseus.notify import queue
from perseus.notify.state import ChannelState, Message, Shown, State
from perseus.webhooks import Webhook, parse_webhooks
from tests.notify.channels import START_MS, Channel, Network, channel, line

EXCHANGES = st.integers(1, 4)
OUTCOMES = st.sampled_from(["taken", "taken", "taken", "later", "dead", "refused", "gone", "killed"])
STEPS = st.one_of(
    st.tuples(st.just("down"), st.lists(EXCHANGES, min_size=1, max_size=3, unique=True)),
    st.tuples(st.just("up"), EXCHANGES),
    st.tuples(st.just("retell"), EXCHANGES),
    st.tuples(st.just("reminder"), st.lists(EXCHANGES, min_size=1, max_size=3, unique=True)),
    st.tuples(st.just("flapping"), EXCHANGES),
    st.tuples(st.just("started"), EXCHANGES),
    st.tuples(st.just("changed"), st.integers(0, 9)),
    st.tuples(st.just("test"), st.sampled_from(["ops", "dev"])),
    st.tuples(st.just("pass"), st.sampled_from([100, 3000, 20_000, 90_000])),
    st.tuples(st.just("send"), st.tuples(st.sampled_from(["ops", "dev"]), OUTCOMES)),
    st.tuples(st.just("send"), st.tuples(st.sampled_from(["ops", "dev"]), OUTCOMES)),
    st.tuples(st.just("restart"), st.none()),
)


def take(step: tuple[str, Any], network: Network, channels: dict[str, Channel]) -> None:
    """One thing happens."""
    what, value = step
    match what:
        case "down":
            network.go_down(*value)
        case "up":
            network.come_up(value)
        case "retell" if value in network.open:
            network.retell(value, next_hostname=f"host-{network.count}")
        case "reminder":
            network.tell_again("reminder", *value)
        case "flapping":
            network.tell_again("flapping", value)
        case "started":
            network.say("started", line(value, "starting"))
        case "changed":
            others = [message for message in network.state.messages if message.kind == "started"]
            if others:
                network.change(others[value % len(others)].key, line(1, "active"))
        case "test":
            network.say("test", only=value)
        case "pass":
            network.now_ms += value
        case "send":
            name, outcome = value
            send = channels[name].next(network)
            if send is not None:
                channels[name].take(send, outcome=outcome, now_ms=network.now_ms)
        case "restart":
            network.state = msgspec.json.decode(msgspec.json.encode(network.state), type=State)
            for each in channels.values():
                each.restart()


def drain(network: Network, each: Channel) -> None:
    """Send all that is left; every sending leaves less to do."""
    while (send := each.next(network)) is not None:
        before = each.queued(network)
        each.take(send, outcome="taken", now_ms=network.now_ms)
        assert each.queued(network) < before


def check(network: Network, each: Channel) -> None:
    """What a channel must show when nothing is left to send."""
    by_incident: dict[str, list[Message]] = {}
    for message in network.state.messages:
        for shown in each.shows(message.key):
            for told in shown.lines:
                by_incident.setdefault(told.incident_id, []).append(shown)
    for message in network.state.messages:
        if message.only not in ("", each.state.name) or message.key in each.deleted:
            continue
        if (message.key, message.version) in each.given_up:
            continue
        shows = each.shows(message.key)
        assert len(shows) <= 1, f"{message.key} is there {len(shows)} times"
        if shows:
            assert shows[-1].version == message.version, f"{message.key} is out of date"
        elif message.kind == "reminder" and queue.is_over(message):
            pass  # nobody is to be reminded of what has ended
        else:
            check_told_otherwise(message, each, by_incident)


def check_told_otherwise(message: Message, each: Channel, by_incident: dict[str, list[Message]]) -> None:
    """A message that is not there was told by another one; an end by one that was new then."""
    assert message.kind in ("recovered", "offline", "flapping", "reminder"), f"{message.key} was never told"
    for told in message.lines:
        others = by_incident.get(told.incident_id, [])
        assert others, f"nobody was told of {told.incident_id}"
        if message.kind == "recovered":
            first = [line for other in others for line in each.ever_said(other.key)[0].lines]
            assert any(line.until_ms is not None for line in first if line.incident_id == told.incident_id)


@settings(max_examples=400, deadline=None)
@given(st.lists(STEPS, max_size=60))
@example([("down", [1, 2]), ("up", 1), ("send", ("ops", "taken")), ("up", 2)])  # an end joins one that was told
def test_whatever_happens_on_the_way_channels_end_up_showing_what_is_true(steps: list[tuple[str, Any]]) -> None:
    """An alert lost, doubled or out of date is the one thing people cannot see for themselves."""
    network, channels = Network(), {name: channel(name) for name in ("ops", "dev")}
    for step in steps:
        take(step, network, channels)
    for each in channels.values():
        was_dead = bool(each.state.dead_reason)
        if was_dead:
            send = each.next(network)
            assert send is None or send.message.kind == "test", "a dead channel is only tried when somebody asks for it"
            network.say("test", only=each.state.name)
        drain(network, each)
        assert each.queued(network) == 0
        check(network, each)


def test_dead_channel_is_left_alone_until_a_test_arrives() -> None:
    """Discord bans those who go on calling webhooks that are gone."""
    network, ops = Network(), channel()
    network.go_down(1)
    send = ops.next(network)
    assert send is not None
    ops.take(send, outcome="dead", now_ms=network.now_ms)
    assert ops.next(network) is None
    health = queue.health(network.state, ops.state, now_ms=network.now_ms)
    assert (health.state, health.queued, health.reason) == ("dead", 1, "404")
    network.say("test", only="dev")
    assert ops.next(network) is None
    network.say("test", only="ops")
    for outcome in ("dead", "taken"):
        test = ops.next(network)
        assert test is not None
        assert test.message.kind == "test"
        ops.take(test, outcome=outcome, now_ms=network.now_ms)
        network.say("test", only="ops")
    drain(network, ops)
    assert [versions[-1].kind for versions in ops.seen.values()] == ["test", "test", "offline"]


def test_outage_that_ended_while_discord_was_away_is_told_once() -> None:
    """Two messages late at night about something that is over train people to ignore them."""
    network, ops = Network(), channel()
    network.go_down(1)
    network.now_ms += 192_000
    network.come_up(1)
    send = ops.next(network)
    assert send is not None
    assert (send.message.kind, send.is_late, [each.kind for each in send.also]) == ("offline", True, ["recovered"])
    assert queue.is_over(send.message)
    assert not queue.is_loud(send.message)
    drain(network, ops)
    assert len(ops.seen) == 1


def test_end_of_an_outage_that_was_shown_is_told_by_a_message_of_its_own() -> None:
    """An edit alone reaches nobody who does not look."""
    network, ops = Network(), channel()
    network.go_down(1, 2)
    drain(network, ops)
    network.come_up(1)
    kinds = []
    while (send := ops.next(network)) is not None:
        kinds.append((send.message.kind, send.edits))
        ops.take(send, outcome="taken", now_ms=network.now_ms)
    assert kinds == [("recovered", None), ("offline", "0")]


def test_reminders_missed_are_not_told_one_after_the_other() -> None:
    """After twelve hours without Discord there would be four of them, each of them saying the same."""
    network, ops = Network(), channel()
    network.go_down(1)
    for _ in range(4):
        network.now_ms += 7_200_000
        network.tell_again("reminder", 1)
    drain(network, ops)
    assert [versions[-1].kind for versions in ops.seen.values()] == ["offline"]
    network.retell(1, next_hostname="fra-2")
    drain(network, ops)
    assert len(ops.seen) == 1


def test_loud_message_does_not_wait_for_the_silent_ones() -> None:
    """Discord takes some thirty a minute: behind a hundred others an alert would be minutes late."""
    network, ops = Network(), channel()
    for number in range(10, 110):
        network.say("started", line(number, "active"))
    network.go_down(1)
    send = ops.next(network)
    assert send is not None
    assert send.message.kind == "offline"


def test_outage_that_is_over_wakes_nobody_and_overtakes_nothing() -> None:
    """It is as silent as any other message by then."""
    network, ops = Network(), channel()
    network.say("started", line(7, "active"))
    network.go_down(1)
    network.come_up(1)
    send = ops.next(network)
    assert send is not None
    assert send.message.kind == "started"


def test_loud_message_waits_for_older_ones_about_the_same_exchange() -> None:
    """What is told last is taken for what is true now."""
    network, ops = Network(), channel()
    network.say("started", line(7, "active"))
    network.say("started", line(1, "active"), line(2, "active"))
    network.say("started", line(2, "active"), line(3, "active"))
    network.go_down(3)
    order = []
    while (send := ops.next(network)) is not None:
        order.append(send.message.key)
        ops.take(send, outcome="taken", now_ms=network.now_ms)
    assert order == ["started-2", "started-3", "offline-5", "started-1"]


def test_message_that_changes_all_the_time_holds_up_no_other() -> None:
    """Errors can come by the second, for hours."""
    network, ops = Network(), channel()
    busy = network.say("error", line(1, "error"))
    calm = network.say("started", line(2, "starting"))
    drain(network, ops)
    network.change(calm, line(2, "active"))
    for _ in range(2):
        network.now_ms += 1
        network.change(busy, line(1, "error"))
        ops.restart()
        send = ops.next(network)
        assert send is not None
        ops.take(send, outcome="taken", now_ms=network.now_ms)
    assert ops.shows(calm)[0].version == 2
    network.change(busy, line(1, "error"))
    new = network.say("started", line(3, "starting"))
    send = ops.next(network)
    assert send is not None
    assert send.message.key == new


@pytest.mark.parametrize(
    ("kind", "phases", "announced", "is_told"),
    [
        ("started", ["active"], ("offline",), False),
        ("offline", ["offline"], ("offline",), True),
        ("offline", ["offline", "lease_lapsed"], ("lease_lost",), True),
        ("offline", ["offline", "offline"], ("lease_lost", "recovered"), False),
        ("flapping", ["flapping"], (), True),
        ("reminder", ["offline"], (), True),
    ],
)
def test_kinds_that_are_not_announced_are_not_sent(
    kind: Any, phases: list[Any], announced: tuple[str, ...], is_told: bool
) -> None:
    """Whoever switched a kind off does not want it; what wakes people is not switched off by its neighbour's name."""
    network, ops = Network(), channel()
    network.say(kind, *(line(number, phase) for number, phase in enumerate(phases)))
    send = queue.next_send(network.state, ops.state, now_ms=START_MS, announced=announced)
    assert (send is not None) == is_told


def test_end_is_told_where_its_outage_was_not_announced() -> None:
    """Somebody asked for ends only."""
    network, ops = Network(), channel()
    network.go_down(1)
    network.come_up(1)
    send = queue.next_send(network.state, ops.state, now_ms=START_MS, announced=("recovered",))
    assert send is not None
    assert send.message.kind == "recovered"


def test_new_channel_is_told_of_what_is_and_not_of_what_was() -> None:
    """A new webhook would be flooded with history; but whoever sets one in the middle of an outage must hear of it."""
    network, ops = Network(), channel(since_ms=START_MS + 1)
    network.go_down(1)
    network.now_ms += 60_000
    send = ops.next(network)
    assert send is not None
    assert (send.message.kind, send.is_late) == ("offline", False)
    network.come_up(1)
    late = channel(since_ms=network.now_ms + 1)
    assert late.next(network) is None


def test_message_is_late_after_a_minute_and_an_edit_never() -> None:
    """Only the first telling can be late."""
    network, ops = Network(), channel()
    network.go_down(1)
    network.now_ms += 59_999
    assert [send.is_late for send in [ops.next(network)] if send] == [False]
    network.now_ms += 1
    assert [send.is_late for send in [ops.next(network)] if send] == [True]
    drain(network, ops)
    network.retell(1, hostname="fra-2")
    assert [(send.edits, send.is_late) for send in [ops.next(network)] if send] == [("0", False)]


def test_health_says_how_a_channel_is() -> None:
    """What people see of it, and what decides whether alerts count as sent."""
    network, ops = Network(), channel()

    def word() -> tuple[str, int, str | None]:
        health = queue.health(network.state, ops.state, now_ms=network.now_ms)
        return health.state, health.queued, health.reason

    assert word() == ("unused", 0, None)
    network.go_down(1)
    assert word() == ("waiting", 1, None)
    ops.state = queue.failed(ops.state, reason="503", at_ms=network.now_ms)
    assert word() == ("waiting", 1, "503")
    network.now_ms += queue.FAILING_MS
    ops.state = queue.failed(ops.state, reason="no answer", at_ms=network.now_ms)
    assert word() == ("failing", 1, "no answer")
    oldest = queue.health(network.state, ops.state, now_ms=network.now_ms).oldest_unsent_at
    assert oldest == "2025-11-24T16:00:00.000Z"
    drain(network, ops)
    assert word() == ("ok", 0, None)


def test_closed_messages_are_forgotten_a_day_after_everyone_has_them() -> None:
    """What is kept is one document in the store."""
    network, ops, dev = Network(), channel("ops"), channel("dev")
    key = network.say("started", line(1, "active"))
    drain(network, ops)
    later = START_MS + queue.KEPT_MS
    channels = {"ops": ops.state, "dev": dev.state}
    assert queue.prune(network.state, channels, later) == (network.state, channels)
    network.state = replace(network.state, messages=(replace(network.state.messages[0], is_closed=True),))
    assert queue.prune(network.state, channels, later) == (network.state, channels), "dev has not got it yet"
    drain(network, dev)
    channels["dev"] = dev.state
    state, same = queue.prune(network.state, channels, later - 1)
    assert state is network.state
    assert same is channels
    state, channels = dict_pruned(network.state, channels, later)
    assert state.messages == ()
    assert [(each.shown, each.dropped) for each in channels.values()] == [({}, 0), ({}, 0)]
    assert key


def dict_pruned(state: State, channels: Any, now_ms: int) -> tuple[State, dict[str, Any]]:
    """The same with a mapping that can be changed."""
    after, pruned = queue.prune(state, channels, now_ms)
    return after, dict(pruned)


def test_dead_channel_keeps_nothing_from_being_forgotten() -> None:
    """Its webhook may never come back; what it will never get is counted."""
    network, ops = Network(), channel()
    network.say("started", line(1, "active"))
    network.state = replace(network.state, messages=(replace(network.state.messages[0], is_closed=True),))
    dead = replace(ops.state, dead_reason="404")
    state, channels = dict_pruned(network.state, {"ops": dead}, START_MS + queue.KEPT_MS)
    assert (state.messages, channels["ops"].dropped) == ((), 1)


def test_no_more_than_500_messages_are_kept_the_open_ones_longest() -> None:
    """Days without Discord must not fill the store; what is still going on is told when it is back."""
    network, ops = Network(), channel()
    network.go_down(1)
    for number in range(queue.KEPT_MESSAGES + 10):
        network.say("started", line(number, "active"))
    closed = tuple(replace(each, is_closed=each.kind == "started") for each in network.state.messages)
    shown = replace(ops.state, shown={"started-3": Shown(version=1, message_id="7")})
    state, channels = dict_pruned(replace(network.state, messages=closed), {"ops": shown}, START_MS)
    assert len(state.messages) == queue.KEPT_MESSAGES
    assert state.messages[0].kind == "offline"
    assert state.messages[-1] == closed[-1]
    assert (channels["ops"].dropped, channels["ops"].shown) == (10, {})


def webhook(name: str, number: int = 1) -> Webhook:
    """A channel's webhook, one of several it may have had."""
    return parse_webhooks(f"{name}=https://discord.com/api/webhooks/{number}/the-token-of-this-webhook")[0]


def set_up(network: Network, channels: Mapping[str, ChannelState], *webhooks: Webhook) -> Mapping[str, ChannelState]:
    """The channels after a server with these webhooks begins."""
    return queue.with_webhooks(network.state, channels, webhooks, now_ms=network.now_ms)


def test_channel_that_is_not_set_for_a_while_is_not_told_again() -> None:
    """A server without it, or without any, may be the notifier in between."""
    network = Network()
    first = set_up(network, {}, webhook("ops"))
    network.go_down(1)
    send = queue.next_send(network.state, first["ops"], now_ms=network.now_ms)
    assert send is not None
    told = {"ops": queue.settle(first["ops"], send, "1", network.now_ms)}
    between = set_up(network, told, webhook("dev", 2))
    assert between["ops"].dead_reason
    again = set_up(network, between, webhook("ops"))
    assert again["ops"] == told["ops"]
    network.now_ms += 2 * queue.KEPT_MS
    assert "ops" not in set_up(network, between, webhook("dev", 2))


def test_new_url_of_a_channel_gets_what_the_old_one_did_not() -> None:
    """Whoever replaces a dead webhook must not lose what was kept for it; nor hear everything again."""
    network = Network()
    first = set_up(network, {}, webhook("ops"))["ops"]
    network.say("stopped", line(1, "stopped"))
    send = queue.next_send(network.state, first, now_ms=network.now_ms)
    assert send is not None
    told = queue.settle(first, send, "1", network.now_ms)
    kept = network.say("stopped", line(2, "stopped"))
    dead = queue.died(told, send, reason="gone")
    after = set_up(network, {"ops": dead}, webhook("ops", 2))["ops"]
    send = queue.next_send(network.state, after, now_ms=network.now_ms)
    assert send is not None
    assert (send.message.key, send.edits) == (kept, None)
    assert queue.next_send(network.state, queue.settle(after, send, "2", network.now_ms), now_ms=network.now_ms) is None


def test_test_message_is_never_sent_to_a_channel_that_is_newer() -> None:
    """Somebody else's test of long ago would ring."""
    network = Network()
    network.say("test", only="ops")
    network.now_ms += 1000
    assert queue.next_send(network.state, set_up(network, {}, webhook("ops"))["ops"], now_ms=network.now_ms) is None


def test_clock_stepped_back_neither_silences_a_new_channel_nor_tells_it_of_before() -> None:
    """What comes has an earlier time than the channel's beginning, and what was has a later one than now."""
    network = Network()
    network.say("stopped", line(1, "stopped"))
    network.now_ms += 60_000
    channels = set_up(network, {}, webhook("ops"))
    network.now_ms -= 120_000
    ops = queue.by_the_clock(network.state, channels, now_ms=network.now_ms)["ops"]
    new = network.say("stopped", line(2, "stopped"))
    send = queue.next_send(network.state, ops, now_ms=network.now_ms)
    assert send is not None
    assert send.message.key == new
    assert queue.next_send(network.state, queue.settle(ops, send, "1", network.now_ms), now_ms=network.now_ms) is None


def test_channel_that_fails_is_called_so_although_the_clock_was_stepped_back() -> None:
    """It would be waiting for as long as the step."""
    network = Network()
    ops = queue.failed(channel("ops").state, reason="503", at_ms=network.now_ms)
    network.now_ms -= 600_000
    ops = queue.failed(ops, reason="503", at_ms=network.now_ms)
    network.now_ms += queue.FAILING_MS
    assert queue.health(network.state, ops, now_ms=network.now_ms).state == "failing"
