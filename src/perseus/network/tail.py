"""The newest entries of all logs in the order of their arrival, and positions in them to resume from. Pure.

Ids of different logs say little about the order of arrival (two servers' clocks, or one that is set back), so a
position names how far each log has been handed out. It stays short, because logs without a recent entry need no name.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from perseus.errors import BadInput
from perseus.network.feed import FeedEntry, Following, encode

Id = tuple[int, int]

KEPT = 5000
PER_LOG = 50  # read of each log at the start, if there are few logs
_SLACK_MS = 60_000  # by so much clocks may disagree without an entry being missed
_LEAST_SLACK_MS = 1000
_NAMED = 32  # logs in a position, unless more of them had an entry just now
_POSITION = re.compile(r"(?P<base>\d{1,20})(?P<named>(,[a-z0-9][a-z0-9_-]{0,31}:\d{1,20}-\d{1,20})*)")
_POSITION_LENGTH = 64_000
_REORDERED = 200  # entries at most for which positions are made anew
_NEVER: Id = (2**64, 0)  # of a log that is not followed


class Position(NamedTuple):
    """How far each log has been handed out: up to its id in `named`, else up to every id before `base_ms`."""

    base_ms: int
    named: Mapping[str, Id]

    def __str__(self) -> str:
        return ",".join([str(self.base_ms), *(f"{name}:{ms}-{seq}" for name, (ms, seq) in self.named.items())])

    def of(self, name: str) -> Id:
        """The id up to which this log has been handed out."""
        return self.named.get(name, (self.base_ms - 1, 2**64))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The position a tracked id names. Raises: BadInput for anything else."""
        match = _POSITION.fullmatch(text) if len(text) <= _POSITION_LENGTH else None
        if match is None:
            raise BadInput(
                f"{text[:80]!r} is no id of ours. Give `lastEventId` as it was received, or none at all.",
                field="lastEventId",
            )
        named = [part.partition(":") for part in match["named"].split(",")[1:]]
        ids = {name: tuple(map(int, text.split("-"))) for name, _, text in named}
        return cls(int(match["base"]), {name: (found[0], found[1]) for name, found in ids.items()})


class Arrived(NamedTuple):
    """An entry that came, and the position behind it (`""`: not reckoned yet); `n` counts them."""

    n: int
    entry: FeedEntry
    position: str
    encoded: bytes


class Tail:
    """Remembers the newest entries of every log, each once."""

    def __init__(self) -> None:
        self._newest: dict[str, Id] = {}
        self._complete_from: dict[str, Id] = {}
        self._recent: deque[Arrived] = deque()
        self._seen = Following()
        self._n = 0
        self._read_ms = 0  # by now everything before this moment has been read

    @property
    def n(self) -> int:
        """How many entries have come."""
        return self._n

    @property
    def names(self) -> set[str]:
        """The logs followed."""
        return set(self._newest)

    def newest(self, name: str) -> Id | None:
        """The id of the newest entry taken of this log; None if the log is new to us."""
        return self._newest.get(name)

    def begin(self, read: Mapping[str, Sequence[FeedEntry]], *, asked: int) -> None:
        """Take logs that are new to us, oldest entry first; `asked`: how many of their newest were asked for.

        Those of the first call can be resumed in, as far as they reach; later ones are followed from here on.
        """
        is_first = not self._newest
        for name, entries in read.items():
            newest = entries[-1].order[:2] if entries else (0, 0)
            oldest = entries[0].order[:2] if len(entries) >= asked else (0, 0)
            self._complete_from[name] = oldest if is_first else newest
            self._newest[name] = newest
        if is_first:
            history = [entry for entries in read.values() for entry in entries]
            self._remember(sorted(history, key=lambda entry: entry.order), with_position=False)

    def take(self, entries: Sequence[FeedEntry]) -> None:
        """Take entries that came, all those newer than `newest` of some logs."""
        self._remember(sorted(entries, key=lambda entry: entry.order), with_position=True)

    def _remember(self, entries: Sequence[FeedEntry], *, with_position: bool) -> None:
        for entry in entries:
            if with_position:
                self._newest[entry.exchange_name] = entry.order[:2]
            if self._seen.fresh([entry]):
                self._n += 1
                position = str(self.position()) if with_position else ""
                self._recent.append(Arrived(self._n, entry, position, encode(entry)))
        while len(self._recent) > KEPT:
            gone = self._recent.popleft().entry
            self._complete_from[gone.exchange_name] = gone.order[:2]

    def forget(self, names: set[str]) -> None:
        """Forget logs that are followed no more."""
        for name in names & set(self._newest):
            del self._newest[name], self._complete_from[name]

    def known_until(self, store_ms: int) -> None:
        """Everything written before this moment has been taken."""
        self._read_ms = store_ms

    def position(self) -> Position:
        """Behind everything taken so far."""
        return _position(self._newest, read_ms=self._read_ms)

    def since(self, n: int) -> list[Arrived] | None:
        """What came after the first `n`; None if not all of it is remembered."""
        count = self._n - n
        return None if count > len(self._recent) else [self._recent[-at] for at in range(count, 0, -1)]

    def is_behind(self, position: Position) -> bool:
        """Whether some entry has been handed out, by another process, that has not come here yet."""
        return any(found > self._newest.get(name, found) for name, found in position.named.items())

    def missed(self, position: Position) -> list[Arrived] | None:
        """What came after this position, in order, each with the position behind it; None if not all is remembered."""
        reached = {name: position.of(name) for name in self._newest}
        if any(reached[name] < self._complete_from[name] and reached[name] < self._newest[name] for name in reached):
            return None
        missed = [each for each in self._recent if each.entry.order[:2] > reached.get(each.entry.exchange_name, _NEVER)]
        if not missed or (missed[0].n == self._n - len(missed) + 1 and missed[0].position):
            return missed  # all the newest: the positions are those of whoever followed without a break
        return self._with_positions(missed, reached) if len(missed) <= _REORDERED else None

    def _with_positions(self, missed: list[Arrived], reached: dict[str, Id]) -> list[Arrived]:
        """The entries with the positions of one who had others, in another order, from another process."""
        found = []
        for each in missed:
            reached[each.entry.exchange_name] = each.entry.order[:2]
            behind = _position(reached, read_ms=self._read_ms)
            found.append(each._replace(position=str(behind)))
        return found


def _position(reached: Mapping[str, Id], *, read_ms: int) -> Position:
    newest = sorted(reached.items(), key=lambda item: item[1], reverse=True)
    top_ms = min(read_ms, newest[0][1][0]) if newest else read_ms
    base_ms = max(0, top_ms - _SLACK_MS)
    if len(newest) > _NAMED:  # name fewer, as far as clocks can be trusted to agree
        base_ms = max(base_ms, min(top_ms - _LEAST_SLACK_MS, newest[_NAMED][1][0] + 1))
    return Position(base_ms, {name: found for name, found in newest if found[0] >= base_ms})
