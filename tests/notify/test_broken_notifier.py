"""Notifiers broken on purpose, one for each promise: a test that should notice must notice."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from perseus import alerting, keys
from perseus.alerting import Tenure
from perseus.errors import PerseusError
from perseus.notify import delivery, logs, notifier, passing, queue, turn
from perseus.notify.keeping import Keeping, Kept, Ours, TenureOver, recalled
from perseus.notify.lasting import Lasting
from perseus.notify.logs import Logs
from perseus.notify.state import Memory
from perseus.store import Store, scripts
from tests import test_alerting
from tests.notify import test_notifier, test_notifier_failover, test_notifier_hardship, test_notifier_sick_store
from tests.notify.teller import Teller, teller
from tests.support.servers import Server

Patch = pytest.MonkeyPatch


class Around:
    """What the tests take: a store on a server, a way to connect, a notifier with its Discord, and other fixtures."""

    def __init__(self, telling: Teller, valkey: Server, patch: Patch, fixture: Callable[[str], Any]) -> None:
        self.telling, self.valkey, self.patch, self.fixture = telling, valkey, patch, fixture
        self.connect: Callable[..., Store] = fixture("connect")


Test = Callable[[Around], Awaitable[None]]
BROKEN: list[tuple[Callable[[Patch], None], Test]] = []


def caught_by(test: Test) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Register a broken notifier with the test that must fail on it."""

    def register(broken: Callable[[Patch], None]) -> Callable[[Patch], None]:
        BROKEN.append((broken, test))
        return broken

    return register


def edited(name: str, passage: str, replacement: str) -> Callable[[Patch], None]:
    """A script with one passage replaced."""

    def broken(patch: Patch) -> None:
        script = getattr(scripts, name)
        assert script.text.count(passage) == 1, f"{name} has changed: {passage!r} is not in it once"
        text = script.text.replace(passage, replacement)
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        patch.setattr(scripts, name, type(script)(name=script.name, text=text, sha=sha))

    return broken


_NOT_OURS = "if not ok or type(held) ~= 'table' or held.claimId ~= ARGV[1] then return {'REFUSED'} end"


@caught_by(lambda it: test_alerting.test_memory_is_kept_by_the_holder_alone(it.telling.store, it.connect, it.valkey))
def remembers_for_everybody(patch: Patch) -> None:
    """A memory that anybody may write: two notifiers go on side by side."""
    edited("REMEMBER", _NOT_OURS, "")(patch)


@caught_by(lambda it: test_alerting.test_late_copy_of_a_save_changes_nothing(it.telling.store))
def keeps_what_comes_last(patch: Patch) -> None:
    """A late copy of a save undoes the next one."""
    edited("REMEMBER", "tonumber(before[2]) >= tonumber(ARGV[2])", "false")(patch)


@caught_by(lambda it: test_alerting.test_lost_lease_is_never_renewed_into_being(it.telling.store, it.valkey))
def renews_what_is_gone(patch: Patch) -> None:
    """A lease that lapsed comes back although somebody was the notifier in between."""
    edited("LEAD", "elseif not ours then", "elseif raw and not ours then")(patch)


@caught_by(lambda it: test_alerting.test_only_one_is_the_notifier(it.telling.store))
def replaces_any_holder(patch: Patch) -> None:
    """A claim that asks nobody."""
    edited("LEAD", "if raw and not ours and raw ~= ARGV[5] then", "if false then")(patch)
    patch.setattr(alerting, "_decoded", lambda *_: None)


@caught_by(
    lambda it: test_alerting.test_lease_ends_on_the_holders_own_clock_before_it_ends_in_the_store(it.telling.store)
)
def believes_in_its_lease(patch: Patch) -> None:
    """One that cannot renew goes on beside its successor."""
    patch.setattr(Tenure, "is_held", property(lambda self: not self._is_over))


@caught_by(lambda it: test_notifier_hardship.test_nothing_is_sent_that_is_not_kept(it.telling, it.patch))
def sends_before_it_keeps(patch: Patch) -> None:
    """What is said follows from what nobody will remember."""

    async def at_once(_: Keeping) -> None:
        return

    patch.setattr(Keeping, "settled", at_once)


@caught_by(lambda it: test_notifier.test_nothing_is_lost_while_no_notifier_runs(it.telling))
def begins_at_the_end(patch: Patch) -> None:
    """A follower that forgets where the one before it had got to."""

    async def none(*_: Any, **__: Any) -> None:
        return None

    async def quietly(tenure: Tenure, store: Store, exchanges: Any) -> Kept:
        positions = {each.name: await store.newest_id(turn_key(each.name)) for each in exchanges}
        return Kept(saved_ms=1, memory=Memory(positions=positions))

    patch.setattr(notifier, "recalled", none)
    patch.setattr(notifier, "begun", quietly)


def turn_key(name: str) -> str:
    """The key of an exchange's log."""
    return keys.log(name)


@caught_by(lambda it: test_notifier.test_handing_over_doubles_nothing(it.telling))
def forgets_what_was_said(patch: Patch) -> None:
    """A memory of positions and incidents, but not of what channels show."""

    async def without_channels(tenure: Tenure, *, ours: Ours | None) -> Kept | None:
        kept = await recalled(tenure, ours=ours)
        if kept is None:
            return None
        channels: Mapping[str, Any] = {
            name: type(one)(name=one.name, fingerprint=one.fingerprint, since_ms=one.since_ms)
            for name, one in kept.memory.channels.items()
        }
        memory = Memory(positions=kept.memory.positions, state=kept.memory.state, channels=channels)
        return Kept(saved_ms=kept.saved_ms, memory=memory)

    patch.setattr(notifier, "recalled", without_channels)


@caught_by(
    lambda it: test_notifier_hardship.test_store_that_comes_back_with_old_data_doubles_nothing(it.telling, it.valkey)
)
def trusts_the_store_alone(patch: Patch) -> None:
    """What this process knows is forgotten when the store has lost it."""
    patch.setattr(notifier, "recalled", lambda tenure, **_: recalled(tenure, ours=None))


@caught_by(lambda it: test_notifier_hardship.test_what_was_said_and_could_not_be_kept_is_remembered(it.telling.store))
def prefers_what_is_kept(patch: Patch) -> None:
    """What was said after the last save is said again by the same process."""

    async def kept_first(tenure: Tenure, *, ours: Ours | None) -> Kept | None:
        return await recalled(tenure, ours=None) or await recalled(tenure, ours=ours)

    patch.setattr(test_notifier_hardship, "recalled", kept_first)


@caught_by(lambda it: test_notifier_hardship.test_memory_the_store_lost_is_kept_again(it.telling, it.valkey))
def keeps_only_what_changes(patch: Patch) -> None:
    """A memory that is lost stays so until something happens."""
    patch.setattr(Keeping, "keep_again", lambda _: None)


@caught_by(lambda it: test_notifier_hardship.test_orderly_end_while_a_message_is_on_its_way_doubles_nothing(it.telling))
def ends_in_the_middle(patch: Patch) -> None:
    """A request on its way is broken off, and nobody learns that it had arrived."""
    patch.setattr(delivery, "FINISH_WITHIN_S", 0.0)


@caught_by(lambda it: test_notifier_hardship.test_log_that_is_none_silences_no_other(it.telling, it.valkey, "while"))
def reads_all_or_nothing(patch: Patch) -> None:
    """One key of another type, and no log is read."""

    async def blind(*_: Any) -> dict[str, str]:
        return {}

    patch.setattr(logs.Logs, "look", blind)


@caught_by(
    lambda it: test_notifier_hardship.test_outage_that_is_over_further_on_in_the_log_is_not_told_as_if_it_were_not(
        it.telling
    )
)
def tells_before_it_has_read_on(patch: Patch) -> None:
    """What is over is told as if it were not."""

    async def at_once(_: turn.Turn) -> None:
        return

    patch.setattr(turn.Turn, "_until_caught_up", at_once)


@caught_by(
    lambda it: test_notifier_hardship.test_call_that_was_cancelled_by_nobody_silences_nothing(
        it.telling, it.patch, "wait_entries"
    )
)
def lets_parts_end_unseen(patch: Patch) -> None:
    """A part that ends is missed by nobody."""

    async def once(_: Lasting, part: str, work: Callable[[], Awaitable[None]]) -> None:
        await work()

    patch.setattr(Lasting, "last", once)


@caught_by(
    lambda it: test_notifier_failover.test_outages_around_a_failover_are_all_told_and_told_once(
        it.fixture("trio"), it.connect, it.fixture("tmp_path"), "killed"
    )
)
def reads_on_at_the_end_after_a_failure(patch: Patch) -> None:
    """What was written while the store was away is passed over."""

    async def newest(self: Logs, positions: Mapping[str, str]) -> dict[str, str]:
        await asyncio.sleep(0.5)  # others write as soon as they can
        found = {each.name: await self._store.newest_id(keys.log(each.name)) for each in self._exchanges()}
        return {name: last for name, last in found.items() if last != positions.get(name)}

    patch.setattr(Logs, "look", newest)
    reads_on_at_the_end_of_a_log_that_moved(patch)


@caught_by(
    lambda it: test_notifier_failover.test_what_a_failover_loses_is_not_told_again_by_the_notifier_that_told_it(
        it.fixture("trio"), it.connect, it.fixture("tmp_path")
    )
)
def believes_what_the_store_remembers(patch: Patch) -> None:
    """A notifier that begins anew once the store was away, with what is kept there."""

    async def once(self: turn.Turn) -> None:
        while True:
            await asyncio.sleep(0.2)
            try:
                await self._tenure.renew()
            except PerseusError as error:
                raise TenureOver from error

    async def of_the_store(tenure: Tenure, **_: object) -> Kept | None:
        return await recalled(tenure, ours=None)

    patch.setattr(turn.Turn, "_renew", once)
    patch.setattr(notifier, "recalled", of_the_store)


@caught_by(
    lambda it: test_notifier_failover.test_logs_that_are_away_for_long_silence_no_other_and_are_named(
        it.fixture("cluster"), it.connect, it.fixture("tmp_path")
    )
)
def reads_all_logs_or_none(patch: Patch) -> None:
    """One node that is away silences the exchanges of all others."""
    read = Store.wait_entries

    async def if_all_answer(self: Store, after: Mapping[str, str], **how: Any) -> Any:
        for reply in await self.pipeline(*(("XREVRANGE", key, "+", "-", "COUNT", 1) for key in after)):
            if isinstance(reply, Exception):
                raise reply
        return await read(self, after, **how)

    patch.setattr(Store, "wait_entries", if_all_answer)


@caught_by(
    lambda it: (
        test_notifier_sick_store.test_log_that_lost_its_end_and_is_written_on_by_a_clock_that_is_behind_is_read_whole(
            it.telling, it.valkey, it.patch
        )
    )
)
def reads_on_at_the_end_of_a_log_that_moved(patch: Patch) -> None:
    """What was written by a clock that is behind is passed over."""

    async def unchanged(_: Logs, moved: Mapping[str, str], __: object) -> Mapping[str, str]:
        return moved

    patch.setattr(Logs, "resumed", unchanged)


@caught_by(
    lambda it: test_alerting.test_store_that_takes_no_writes_is_said_to_be_why(it.fixture("start_server"), it.connect)
)
def blames_whoever_runs_no_server(patch: Patch) -> None:
    """That nobody can be the notifier is told as if nobody tried."""

    async def unasked(_: Store) -> None:
        return

    patch.setattr(alerting, "_refusal", unasked)


@caught_by(
    lambda it: test_notifier_sick_store.test_memory_of_another_type_is_said_and_works_as_soon_as_it_is_gone(
        it.telling, it.valkey
    )
)
def takes_a_lease_it_cannot_use(patch: Patch) -> None:
    """It is taken and given back in turns."""
    edited("LEAD", "if kept.err then return kept end", "")(patch)


@caught_by(
    lambda it: test_notifier_sick_store.test_stepped_clock_makes_neither_storm_nor_silence(
        it.fixture("start_server"), it.connect, it.fixture("tmp_path"), -test_notifier_sick_store.TEN_MINUTES_S
    )
)
def waits_for_the_clock_to_catch_up(patch: Patch) -> None:
    """A channel that is new is told nothing until the clock is where it was."""
    patch.setattr(queue, "by_the_clock", lambda _, channels, **__: channels)


@caught_by(
    lambda it: test_notifier_sick_store.test_clock_that_is_stepped_to_and_fro_makes_no_storm(
        it.fixture("start_server"), it.connect, it.fixture("tmp_path")
    )
)
def reminds_again_and_again(patch: Patch) -> None:
    """A reminder that was due stays due."""
    patch.setattr(turn, "TICK_EVERY_S", 0.1)
    patch.setattr(passing, "_reminded", lambda incident, **_: replace(incident, reminders=incident.reminders + 1))


@caught_by(
    lambda it: test_alerting.test_lease_of_the_dead_ends_however_long_it_was_to_last(
        it.telling.store, it.valkey, ("EXPIRE", "600")
    )
)
def waits_for_a_lease_to_end_by_the_clock(patch: Patch) -> None:
    """Ten minutes of silence, because a clock was set right."""
    edited("LEAD", "redis.call('EXPIRE', KEYS[1], ARGV[3])", "")(patch)


@pytest.fixture
async def around(
    store: Store, valkey: Server, tmp_path: Path, monkeypatch: Patch, request: pytest.FixtureRequest
) -> AsyncIterator[Around]:
    """All of it, empty."""
    async with teller(store, tmp_path) as telling:
        yield Around(telling, valkey, monkeypatch, request.getfixturevalue)


@pytest.mark.foreign_keys  # some tests write what is none of ours
@pytest.mark.parametrize(("broken", "test"), BROKEN, ids=[broken.__name__ for broken, _ in BROKEN])
async def test_broken_notifier_is_caught(broken: Callable[[Patch], None], test: Test, around: Around) -> None:
    """A test that cannot fail proves nothing."""
    broken(around.patch)
    try:
        async with asyncio.timeout(12):
            await test(around)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001  however it notices
        return
    pytest.fail(f"nothing noticed: {broken.__doc__}")
