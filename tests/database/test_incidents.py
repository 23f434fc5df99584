"""Incidents: one open one of an exchange whoever writes, nothing lost between notifier and people, exact pages."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncConnection

from perseus.clock import iso
from perseus.database import audit, incidents, tables
from perseus.database.audit import Actor
from perseus.database.engine import Database, open_database
from perseus.database.incidents import IncidentRecord
from perseus.database.migration import bring_up_to_date, take_back
from perseus.errors import BadInput, IncidentOver, NoOpenIncident, UnknownIncident
from tests.database.people import HOUR, NOW, ROOT, admin, outage

MINUTE = 60_000
ADA, BOB = Actor(name="ada@example.org"), Actor(name="bob@example.org", address="203.0.113.7")


def over(incident: IncidentRecord, at_ms: int = NOW + HOUR, how: str = "recovered") -> IncidentRecord:
    """The same, resolved."""
    return msgspec.structs.replace(incident, resolved_at=iso(at_ms), resolution=how)


async def every(connection: AsyncConnection) -> dict[str, IncidentRecord]:
    """What is on record, by id."""
    return {each.id: each for each in (await incidents.page(connection, count=1000)).incidents}


async def test_incident_is_kept_as_it_was_told(database: Database) -> None:
    """What a person reads in the morning is all there is."""
    told = outage(
        hostname="fra-2",
        ip="203.0.113.7",
        admin_email="ada@example.org",
        last_state="active",
        detail="lease expired",
        is_flapping=True,
        changes=4,
    )
    async with database.begin() as connection:
        await incidents.record(connection, told)
        found = await incidents.by_id(connection, told.id)
    assert found == msgspec.structs.replace(told, display_name="Binance")


async def test_recording_again_changes_nothing(database: Database) -> None:
    """The notifier writes again after a database that gave no answer."""
    async with database.begin() as connection:
        for incident in (outage(), over(outage(), how="stopped")):
            await incidents.record(connection, incident)
            once = await every(connection)
            await incidents.record(connection, incident)
            assert await every(connection) == once


async def test_exchange_this_database_does_not_know_is_shown_by_its_name(database: Database) -> None:
    """It may have been restored from a backup; the outage is true all the same."""
    async with database.begin() as connection:
        await incidents.record(connection, outage(exchange="okx", exchange_id=77))
        assert [each.display_name for each in await incidents.open_incidents(connection)] == ["okx"]


async def test_another_open_one_of_the_exchange_is_resolved_as_unknown(database: Database) -> None:
    """Two open incidents of one outage would remind twice, and acknowledging one would not help."""
    first, second, other = outage(), outage(NOW + 1), outage(exchange="kraken", exchange_id=4)
    async with database.begin() as connection:
        for each in (first, other, second):
            await incidents.record(connection, each)
        assert [each.id for each in await incidents.open_incidents(connection)] == [second.id, other.id]
        resolved = await incidents.by_id(connection, first.id)
    assert (resolved.resolved_at, resolved.resolution) == (second.opened_at, "unknown")


async def test_late_word_of_an_older_incident_does_not_displace_the_newer(database: Database) -> None:
    """A notifier that hung and was replaced may still write once."""
    old, new = outage(), outage(NOW + 1)
    async with database.begin() as connection:
        await incidents.record(connection, new)
        await incidents.record(connection, old)
        assert [each.id for each in await incidents.open_incidents(connection)] == [new.id]
        assert (await incidents.by_id(connection, old.id)).resolution == "unknown"


async def test_incident_that_is_over_is_not_opened_again(database: Database) -> None:
    """Nor is one whose end was not known then: that is corrected once it is."""
    first, second = outage(), outage(NOW + 1)
    async with database.begin() as connection:
        await incidents.record(connection, over(first, how="recovered"))
        await incidents.record(connection, first)
        assert await incidents.open_incidents(connection) == []
        await incidents.record(connection, second)
        await incidents.record(connection, outage(NOW + 2))
        assert (await incidents.by_id(connection, second.id)).resolution == "unknown"
        await incidents.record(connection, over(second, how="stopped"))
        assert (await incidents.by_id(connection, second.id)).resolution == "stopped"


async def test_older_version_never_lands_after_a_newer_one(database: Database) -> None:
    """Else "flapping, 6 changes" would become 4 again."""
    async with database.begin() as connection:
        for version, changes in ((2, 4), (3, 6), (1, 2)):
            await incidents.record(connection, outage(changes=changes), version=version)
        assert (await incidents.by_id(connection, outage().id)).changes == 6


async def test_incidents_the_notifier_forgot_are_resolved(database: Database) -> None:
    """A store that lost its data knows of none: they would be open, and the exchange's only one, for ever."""
    first, second, third = outage(), outage(NOW, exchange="kraken", exchange_id=4), outage(NOW + HOUR, exchange_id=7)
    async with database.begin() as connection:
        for each in (first, second, third):
            await incidents.record(connection, each)
        ended = await incidents.resolve_forgotten(
            connection, known=[first.id], opened_before_ms=NOW + MINUTE, now_ms=NOW + HOUR
        )
        assert (ended, [each.id for each in await incidents.open_incidents(connection)]) == (1, [third.id, first.id])
        found = await incidents.by_id(connection, second.id)
        assert (found.resolved_at, found.resolution) == (iso(NOW + HOUR), "unknown")
        assert await incidents.resolve_forgotten(connection, known=(), opened_before_ms=NOW + 1, now_ms=NOW) == 1


async def test_incident_whose_end_nobody_saw_is_opened_again_if_it_goes_on(database: Database) -> None:
    """A notifier that took over reads again what the one before wrote down last: until then it seems forgotten."""
    incident = outage(NOW, hostname="fra-2")
    async with database.begin() as connection:
        await incidents.record(connection, incident, version=1)
        await incidents.acknowledge(connection, incident.id, by=ADA, reason="on it", now_ms=NOW)
        await incidents.resolve_forgotten(connection, known=(), opened_before_ms=NOW + 1, now_ms=NOW + 1)
        await incidents.record(connection, incident, version=1)
        (found,) = await incidents.open_incidents(connection)
        assert (found.resolution, found.acknowledged_reason) == (None, "on it")
        await incidents.record(connection, outage(NOW + 1), version=1)
        await incidents.record(connection, over(outage(NOW + 1)), version=2)
        await incidents.record(connection, incident, version=9)  # another one came after it
        assert await incidents.open_incidents(connection) == []


async def test_end_is_taken_from_a_notifier_that_counts_anew(database: Database) -> None:
    """Its memory was lost with the store; the log told it of the same incident, and of its end."""
    async with database.begin() as connection:
        await incidents.record(connection, outage(changes=6), version=7)
        await incidents.record(connection, over(outage(changes=1), how="stopped"), version=2)
        found = await incidents.by_id(connection, outage().id)
        assert (found.resolution, found.resolved_at) == ("stopped", iso(NOW + HOUR))


async def test_texts_of_strangers_are_cleaned(database: Database) -> None:
    """Any program of the network writes to the logs; PostgreSQL refuses a NUL, a terminal obeys an escape."""
    hostile = outage(hostname="x\x00\x1b[2J" * 200, detail="a\nb\u2028c\ud800", last_state="y" * 99, ip="z" * 99)
    async with database.begin() as connection:
        await admin(connection)
        await incidents.record(connection, hostile)
        await incidents.acknowledge(connection, hostile.id, by=ADA, reason=" \x1b[31m\n\x00so ", now_ms=NOW)
        found = await incidents.mute(
            connection, hostile.id, until_ms=NOW + HOUR, by=ADA, reason="\ud800" * 600, now_ms=NOW
        )
    assert (len(found.hostname), found.detail, len(found.last_state), len(found.ip)) == (255, "a b c?", 32, 64)
    assert (found.acknowledged_reason, found.muted_reason) == ("[31m so", "?" * 500)


async def test_notifier_leaves_alone_what_people_wrote(database: Database) -> None:
    """An outage that goes on changing must not forget who acknowledged it."""
    incident = outage()
    async with database.begin() as connection:
        await incidents.record(connection, incident)
        await incidents.acknowledge(connection, incident.id, by=ADA, reason="on it", now_ms=NOW + 1)
        await incidents.mute(connection, incident.id, until_ms=NOW + HOUR, by=BOB, reason="upgrade", now_ms=NOW + 2)
        for told in (msgspec.structs.replace(incident, is_flapping=True, changes=4), over(incident)):
            await incidents.record(connection, told)
            found = await incidents.by_id(connection, incident.id)
            assert (found.changes, found.resolved_at) == (told.changes, told.resolved_at)
            assert (found.acknowledged_at, found.acknowledged_by, found.acknowledged_reason) == (
                iso(NOW + 1),
                "ada@example.org",
                "on it",
            )
            assert (found.muted_until, found.muted_by, found.muted_reason) == (iso(NOW + HOUR), BOB.name, "upgrade")


async def test_later_acknowledgement_wins_and_both_are_in_the_audit_log(database: Database) -> None:
    """Who takes over says so; who had it before stays on record."""
    async with database.begin() as connection:
        await incidents.record(connection, outage())
        await incidents.acknowledge(connection, outage().id, by=ADA, reason="looking", now_ms=NOW)
        found = await incidents.acknowledge(connection, outage().id, by=BOB, now_ms=NOW + 1)
        told = await audit.entries(connection)
    assert (found.acknowledged_by, found.acknowledged_reason) == ("bob@example.org", None)
    assert [(each.actor, each.action, each.subject, each.details, each.address) for each in told] == [
        (BOB.name, "incident.acknowledge", outage().id, {"exchange": "binance"}, "203.0.113.7"),
        (ADA.name, "incident.acknowledge", outage().id, {"exchange": "binance", "reason": "looking"}, None),
    ]


async def test_acknowledging_again_without_a_reason_keeps_ones_own(database: Database) -> None:
    """Pressing a button twice must not take away what one said of it."""
    async with database.begin() as connection:
        await incidents.record(connection, outage())
        await incidents.acknowledge(connection, outage().id, by=ADA, reason="looking", now_ms=NOW)
        again = await incidents.acknowledge(connection, outage().id, by=ADA, now_ms=NOW + 1)
    assert (again.acknowledged_by, again.acknowledged_reason) == (ADA.name, "looking")


async def test_muting_always_ends_and_can_be_taken_back(database: Database) -> None:
    """A mute nobody remembers would hide the next outage."""
    async with database.begin() as connection:
        await incidents.record(connection, outage())
        for until_ms in (NOW, NOW - HOUR, NOW + MINUTE - 1, NOW + 30 * 24 * HOUR + 1):
            with pytest.raises(BadInput, match="a minute at least and 30 days at most"):
                await incidents.mute(connection, outage().id, until_ms=until_ms, by=ADA, now_ms=NOW)
        for until_ms in (NOW + MINUTE, NOW + 30 * 24 * HOUR):
            found = await incidents.mute(connection, outage().id, until_ms=until_ms, by=ADA, now_ms=NOW)
            assert found.muted_until == iso(until_ms)
        for _ in range(2):  # the second time there is nothing to do or to tell
            found = await incidents.unmute(connection, outage().id, by=BOB, now_ms=NOW)
            assert (found.muted_until, found.muted_by, found.muted_reason) == (None, None, None)
        told = [(each.action, each.details) for each in await audit.entries(connection)]
    assert told == [
        ("incident.unmute", {"exchange": "binance"}),
        ("incident.mute", {"exchange": "binance", "until": iso(NOW + 30 * 24 * HOUR)}),
        ("incident.mute", {"exchange": "binance", "until": iso(NOW + MINUTE)}),
    ]


async def test_muting_longer_keeps_the_reason(database: Database) -> None:
    """Whoever adds an hour need not say again why; a mute of weeks ago had a reason of its own."""
    async with database.begin() as connection:
        await incidents.record(connection, outage())

        async def mute(reason: str, *, at_ms: int) -> str | None:
            until_ms = at_ms + HOUR
            done = await incidents.mute(connection, outage().id, until_ms=until_ms, by=ADA, reason=reason, now_ms=at_ms)
            assert done.muted_until == iso(until_ms)
            return done.muted_reason

        assert await mute("power cut", at_ms=NOW) == "power cut"
        assert await mute("", at_ms=NOW + MINUTE) == "power cut"
        assert await mute("fuse", at_ms=NOW + 2 * MINUTE) == "fuse"
        assert await mute("", at_ms=NOW + 3 * HOUR) is None


async def test_incident_that_is_over_or_unknown_is_told_apart(database: Database) -> None:
    """Both are no-ops for who clicks; only one of them is a mistake."""
    ended = over(outage())
    async with database.begin() as connection:
        await incidents.record(connection, ended)

        async def act(what: str, incident_id: str) -> None:
            how: dict[str, Any] = {"until_ms": NOW + HOUR} if what == "mute" else {}
            await getattr(incidents, what)(connection, incident_id, by=ADA, now_ms=NOW, **how)

        for what in ("acknowledge", "mute", "unmute"):
            with pytest.raises(IncidentOver, match=r"over since 2026-02-10T15:02:11\.000Z \(binance recovered\)"):
                await act(what, ended.id)
            for unknown in ("binance-1-0", "", "x\x00\ud800" * 99):
                with pytest.raises(UnknownIncident, match="There is no incident"):
                    await act(what, unknown)
        assert (await every(connection))[ended.id].acknowledged_at is None
        assert await audit.entries(connection) == []


async def test_open_incidents_are_found_by_exchange(database: Database) -> None:
    """At three in the morning nobody types an id."""
    async with database.begin() as connection:
        for each in (over(outage()), outage(NOW + 1), outage(exchange="kraken", exchange_id=4)):
            await incidents.record(connection, each)
        for named, expected in (("binance", outage(NOW + 1).id), (outage().id, outage().id), ("kraken", "kraken-")):
            assert (await incidents.named(connection, named)).id.startswith(expected)
        await incidents.record(connection, over(outage(NOW + 1)))
        with pytest.raises(NoOpenIncident, match="binance has no open incident"):
            await incidents.named(connection, "binance")
        with pytest.raises(UnknownIncident, match="neither an incident nor an exchange"):
            await incidents.named(connection, "binanse")


async def test_pages_lose_and_repeat_nothing_while_incidents_are_opened(database: Database) -> None:
    """Several are opened in one millisecond when a host dies, so a moment alone is no place in the list."""
    exchanges = [("binance", 2), ("kraken", 4), ("coinbase", 1)]
    async with database.begin() as connection:
        for n, (name, number) in itertools.product(range(7), exchanges):
            await incidents.record(connection, over(outage(NOW + n, exchange=name, exchange_id=number)))
        before = [*(await every(connection))]
        for count in (1, 2, 4, 21, 50):
            cursor, shown = None, list[str]()
            for n in itertools.count():
                page = await incidents.page(connection, count=count, cursor=cursor)
                shown += [each.id for each in page.incidents]
                await incidents.record(connection, over(outage(NOW + 10**6 + count * 100 + n)))  # newer ones come
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert [each for each in shown if each in before] == before
            assert len(shown) == len(set(shown))
            await connection.execute(delete(tables.incidents).where(tables.incidents.c.opened_at > iso(NOW + 10**6)))
    assert before[:3] == [f"{name}-{NOW + 6}-0" for name in ("kraken", "coinbase", "binance")]


async def test_page_of_one_exchange_and_of_what_is_open(database: Database) -> None:
    """What the page of an exchange, and the bar above all, show."""
    async with database.begin() as connection:
        for n in range(3):
            await incidents.record(connection, outage(NOW + n))
            await incidents.record(connection, outage(NOW + n, exchange="kraken", exchange_id=4))

        async def ids(**asked: Any) -> list[str]:
            return [each.id for each in (await incidents.page(connection, **asked)).incidents]

        assert await ids(exchange_id=4) == [f"kraken-{NOW + n}-0" for n in (2, 1, 0)]
        assert await ids(is_open=True) == [f"{name}-{NOW + 2}-0" for name in ("kraken", "binance")]
        assert await ids(is_open=False, exchange_id=2, count=1) == [f"binance-{NOW + 1}-0"]
        assert await ids(exchange_id=99) == []


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "@",
        f"{iso(NOW)}@",
        f"{iso(NOW)}",
        "2026-99-10T14:02:11.000Z@x",
        f"{iso(NOW)}@x\x00",
        f"{iso(NOW)}@\ud800",
    ],
)
async def test_bad_cursor_is_refused(database: Database, cursor: str) -> None:
    """An empty page would mean that there are no more."""
    async with database.reading() as connection:
        with pytest.raises(BadInput, match="is no cursor"):
            await incidents.page(connection, cursor=cursor)


async def test_notifiers_recording_at_once_never_leave_two_open(database: Database, database_url: str) -> None:
    """The one that lost its lease and the one that has it now write at the same moment."""
    async with await open_database(database_url) as other:

        async def record(where: Database, at_ms: int, kind: int) -> None:
            incident = outage(at_ms)
            async with where.begin() as connection:
                await incidents.record(connection, over(incident) if kind == 2 else incident)

        both = ((database, 0), (other, 1), (database, 2), (other, 0))
        for n in range(10):
            await asyncio.gather(*(record(where, NOW + n * 10 + step, step) for where, step in both))
            async with database.reading() as connection:
                assert len(await incidents.open_incidents(connection)) <= 1


async def test_acknowledging_while_it_is_resolved_loses_neither(database: Database, database_url: str) -> None:
    """A person and the notifier act on one row at the same moment."""
    async with await open_database(database_url) as other:
        for n in range(10):
            incident = outage(NOW + n)
            async with database.begin() as connection:
                await incidents.record(connection, incident)

            async def resolve(incident: IncidentRecord) -> None:
                async with other.begin() as connection:
                    await incidents.record(connection, over(incident))

            async def acknowledge(incident: IncidentRecord) -> bool:
                try:
                    async with database.begin() as connection:
                        await incidents.acknowledge(connection, incident.id, by=ADA, now_ms=NOW)
                except IncidentOver:
                    return False
                return True

            _, noted = await asyncio.gather(resolve(incident), acknowledge(incident))
            async with database.reading() as connection:
                found = await incidents.by_id(connection, incident.id)
            assert (found.resolution, found.acknowledged_at is not None) == ("recovered", noted)


async def test_the_database_itself_refuses_a_second_open_one(database: Database) -> None:
    """Whatever a later version of the program does."""
    async with database.begin() as connection:
        await incidents.record(connection, outage())
    copied = (
        "INSERT INTO incidents (id, exchange_id, exchange_name, cause, since, opened_at, hostname, ip, admin_email, "
        "last_state, detail) SELECT 'x', exchange_id, exchange_name, cause, since, opened_at, hostname, ip, "
        "admin_email, last_state, detail FROM incidents"
    )
    with pytest.raises(Exception, match=r"(?i)unique"):
        async with database.begin() as connection:
            await connection.execute(text(copied))


async def test_incidents_come_and_go_with_their_migration(database: Database) -> None:
    """Back at the version before, admins and audit log are as they were; forward again, the table is empty."""
    async with database.begin() as connection:
        await admin(connection)
        await incidents.record(connection, outage())
        await incidents.acknowledge(connection, outage().id, by=ADA, reason="on it", now_ms=NOW)
    await take_back(database, to="0001")
    async with database.reading() as connection:
        assert [each.action for each in await audit.entries(connection)] == ["incident.acknowledge", "admin.add"]
    await bring_up_to_date(database)
    async with database.begin() as connection:
        assert await every(connection) == {}
        assert [each.actor for each in await audit.entries(connection)] == [ADA.name, ROOT.name]


# What a notifier may say, in any order and from any past: which incident of three, over or not, and its version.
WORDS = st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 3)), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=WORDS)
def test_any_order_of_words_leaves_one_open_at_most(tmp_path: Path, words: list[tuple[int, bool, int]]) -> None:
    """One that was over stays so, and nothing that was told is missing."""
    asyncio.run(_tell(f"sqlite:///{tmp_path / 'perseus.db'}", words))


async def _tell(url: str, words: list[tuple[int, bool, int]]) -> None:
    async with await open_database(url) as database, database.begin() as connection:
        await connection.execute(delete(tables.incidents))
        ended = set[str]()
        for n, is_over, version in words:
            incident = outage(NOW + n)
            await incidents.record(connection, over(incident) if is_over else incident, version=version)
            found = await every(connection)
            is_open = {each.id for each in found.values() if each.resolved_at is None}
            assert len(is_open) <= 1
            assert not is_open & ended
            ended |= found.keys() - is_open
        assert found.keys() == {outage(NOW + n).id for n, _, _ in words} if words else True
