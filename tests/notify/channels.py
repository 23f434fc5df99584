"""A network of outages and a channel as people see it, to check what the queue sends against. No code of the product's
rules: the messages are made here, the way the rules make them."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from perseus.notify import queue
from perseus.notify.queue import Send
from perseus.notify.state import ChannelState, Kind, Line, Message, Phase, State

START_MS = 1_764_000_000_000
BURST_MS = 10_000


def line(number: int, phase: Phase = "offline", *, incident: str = "", at_ms: int = START_MS) -> Line:
    """A line about exchange `number`."""
    return Line(
        exchange_id=number,
        exchange_name=f"exchange{number}",
        display_name=f"Exchange {number}",
        phase=phase,
        since_ms=at_ms,
        incident_id=incident,
    )


@dataclass
class Network:
    """Messages as the rules keep them: those of an open outage are all as it is, its end has one of its own."""

    now_ms: int = START_MS
    state: State = field(default_factory=State)
    open: dict[int, str] = field(default_factory=dict)  # incident by exchange
    told_by: dict[str, str] = field(default_factory=dict)  # the newest message about an incident
    count: int = 0

    def say(self, kind: Kind, *lines: Line, about: str = "", only: str = "", is_loud: bool = False) -> str:
        """Open a message; its key."""
        self.count += 1
        message = Message(
            key=f"{kind}-{self.count}",
            kind=kind,
            opened_ms=self.now_ms,
            changed_ms=self.now_ms,
            is_loud=is_loud,
            lines=lines,
            about=about,
            only=only,
        )
        self.state = replace(self.state, messages=(*self.state.messages, message))
        self.told_by |= {each.incident_id: message.key for each in lines if kind != "recovered"}
        return message.key

    def change(self, key: str, *lines: Line) -> None:
        """Let a message say something else."""
        self.state = replace(
            self.state,
            messages=tuple(
                replace(message, lines=lines, version=message.version + 1, changed_ms=self.now_ms)
                if message.key == key
                else message
                for message in self.state.messages
            ),
        )

    def go_down(self, *numbers: int) -> None:
        """Those that are up go down, together."""
        lines = []
        for number in numbers:
            if number not in self.open:
                self.count += 1
                self.open[number] = f"incident-{self.count}"
                lines.append(line(number, incident=self.open[number], at_ms=self.now_ms))
        if lines:
            self.say("offline", *lines, is_loud=True)

    def retell(self, number: int, **changes: object) -> None:
        """Change what is said of an open outage, wherever it is."""
        for message in self.state.messages:
            if message.kind != "recovered" and any(each.incident_id == self.open[number] for each in message.lines):
                same = (each.incident_id == self.open[number] for each in message.lines)
                lines = [
                    replace(each, **changes) if is_it else each for is_it, each in zip(same, message.lines, strict=True)
                ]
                self.change(message.key, *lines)

    def come_up(self, number: int) -> None:
        """The end of an outage, in the message of the burst's ends if there is one."""
        if number not in self.open:
            return
        self.retell(number, until_ms=self.now_ms)
        incident = self.open.pop(number)
        about = self.told_by[incident]
        end = replace(line(number, "recovered", incident=incident), until_ms=self.now_ms)
        for message in self.state.messages:
            if message.kind == "recovered" and message.about == about and self.now_ms - message.opened_ms < BURST_MS:
                self.change(message.key, *message.lines, end)
                return
        self.say("recovered", end, about=about)

    def tell_again(self, kind: Kind, *numbers: int) -> None:
        """A reminder or a notice of flapping, of those that are down."""
        lines = [line(each, incident=self.open[each], at_ms=self.now_ms) for each in numbers if each in self.open]
        if lines:
            self.say(kind, *lines, is_loud=True)


@dataclass
class Channel:
    """What a channel remembers, and what people see in it: by message id every version it had, newest last."""

    state: ChannelState
    seen: dict[str, list[Message]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    given_up: set[tuple[str, int]] = field(default_factory=set)
    doubled: set[str] = field(default_factory=set)  # ids of messages nobody remembers: who sent them was killed

    def next(self, network: Network) -> Send | None:
        """What the queue would have it sent."""
        return queue.next_send(network.state, self.state, now_ms=network.now_ms)

    def queued(self, network: Network) -> int:
        """How much it lacks."""
        return queue.health(network.state, self.state, now_ms=network.now_ms).queued

    def take(self, send: Send, *, outcome: str, now_ms: int) -> None:
        """Let this become of it."""
        message, message_id = send.message, send.edits or f"{len(self.seen)}"
        assert message.key not in self.deleted, "whoever deleted it does not want it back"
        if outcome == "later":
            self.state = queue.failed(self.state, reason="503", at_ms=now_ms)
        elif outcome == "dead":
            if message.kind == "test":  # whoever asked for it is told that it failed
                self.given_up.add((message.key, message.version))
            self.state = queue.died(self.state, send, reason="404")
        elif outcome == "refused":
            self.given_up.add((message.key, message.version))
            self.state = queue.refused(self.state, send, reason="400")
        elif outcome == "gone" and send.edits:
            self.deleted.add(message.key)
            self.state = queue.settle(self.state, send, message_id="", at_ms=now_ms)
        else:
            assert send.edits is None or send.edits in self.seen, "what is edited must be there"
            self.seen.setdefault(message_id, []).append(message)
            if outcome == "killed":  # after the sending, before it could be remembered
                self.doubled |= set() if send.edits else {message_id}
            else:
                self.state = queue.settle(self.state, send, message_id=message_id, at_ms=now_ms)

    def restart(self) -> None:
        """Go on from what the store has."""
        self.state = msgspec.json.decode(msgspec.json.encode(self.state), type=ChannelState)

    def shows(self, key: str) -> list[Message]:
        """What people see of a message now, apart from doubles."""
        return [versions[-1] for versions in self._of(key)]

    def ever_said(self, key: str) -> list[Message]:
        """All that was ever seen of it."""
        return [version for versions in self._of(key) for version in versions]

    def _of(self, key: str) -> list[list[Message]]:
        kept = [versions for message_id, versions in self.seen.items() if message_id not in self.doubled]
        return [versions for versions in kept if versions[-1].key == key]


def channel(name: str = "ops", *, since_ms: int = START_MS) -> Channel:
    """A channel that was told nothing yet."""
    return Channel(ChannelState(name=name, fingerprint="f", since_ms=since_ms))
