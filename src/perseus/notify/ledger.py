"""Incidents in the database: what the notifier knows is written there, what people did about it is read from there.

The database being away delays no alert: what is to be written waits, and what was read last counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from perseus.alerting import Tenure
from perseus.clock import iso, unix_ms
from perseus.database import incidents
from perseus.database.engine import Database
from perseus.database.incidents import IncidentRecord
from perseus.errors import PerseusError
from perseus.notify import rules
from perseus.notify.keeping import Keeping, TenureOver
from perseus.notify.lasting import finished
from perseus.notify.state import Incident, State

READ_EVERY_S = 2.0
WITHIN_S = 5.0
PATIENCE_S = 1.0  # for another writer on SQLite: so long the end of a server may have to wait for us
FINISH_WITHIN_S = PATIENCE_S + 0.5  # for what is under way then
AT_ONCE = 50  # incidents written together: a thousand would not be done in time, and never be
FORGOTTEN_AFTER_MS = 60_000  # until then the logs may not have been read as far as the notifier before us had
log = structlog.get_logger()


class Ledger:
    """Keeps rules and database of one tenure in step. `trouble`: what of it is not in step."""

    def __init__(self, database: Database, *, keeping: Keeping, tenure: Tenure) -> None:
        self._database, self._keeping, self._tenure = database, keeping, tenure
        self._why: str | None = None
        self._given_up: dict[str, int] = {}  # versions the database did not take, by incident

    @property
    def trouble(self) -> str | None:
        """Why not everything is on record."""
        if self._why is not None:
            return f"Incidents are not recorded: {self._why}"
        if self._given_up:
            return f"Incidents the database does not take: {', '.join(sorted(self._given_up))}; our log says why"
        return None

    async def run(self) -> None:
        """Write what changed at once, and read what people did every two seconds, for ever."""
        while True:
            seen = self._keeping.changes
            try:
                await self._write()
                async with asyncio.timeout(WITHIN_S):
                    await finished(self._read(), within_s=FINISH_WITHIN_S)
            except TimeoutError:
                self._failed(f"the database did not answer within {WITHIN_S:g} s")
            except PerseusError as error:
                self._failed(str(error))
            except TenureOver:
                raise
            except Exception as error:  # what a row holds, or a defect of ours
                log.exception("incidents_failed")
                self._failed(type(error).__name__)
            else:
                self._works()
            await self._pause(seen)

    async def _pause(self, seen: int) -> None:
        """Until something is to be written, or to be read again."""
        if self._why is not None:
            await asyncio.sleep(READ_EVERY_S)
            return
        try:
            async with asyncio.timeout(READ_EVERY_S):
                while not self._unrecorded():
                    await self._keeping.changed(seen)
                    seen = self._keeping.changes
        except TimeoutError:
            return

    async def _write(self) -> None:
        while found := self._unrecorded():
            await self._keeping.settled()  # one that we forget again nobody would ever end
            found = sorted(found, key=lambda each: (each.exchange_id, each.opened_ms))[:AT_ONCE]
            try:
                await self._record(found)
            except (PerseusError, TimeoutError):
                raise
            except Exception:  # the database is well, and does not take one of them
                log.exception("incidents_not_recorded_together", then="each on its own")
                await self._record_each(found)

    async def _record(self, found: Sequence[Incident]) -> None:
        async with asyncio.timeout(WITHIN_S):
            await finished(self._write_down(found), within_s=FINISH_WITHIN_S)
        versions = {incident.id: incident.version for incident in found}
        self._keeping.change_state(rules.recorded(self._keeping.memory.state, versions))

    async def _write_down(self, found: Sequence[Incident]) -> None:
        async with self._database.begin(patience_s=PATIENCE_S) as connection:
            for incident in found:
                await incidents.record(connection, record_of(incident), version=incident.version)

    async def _record_each(self, found: Sequence[Incident]) -> None:
        """Record what can be; what cannot is not tried again in this version, and holds up nothing."""
        for incident in found:
            try:
                await self._record([incident])
            except (PerseusError, TimeoutError):
                raise
            except Exception:
                log.exception("incident_not_recorded", id=incident.id)
                self._given_up[incident.id] = incident.version
                self._keeping.keep_again()  # so that everyone is told

    def _unrecorded(self) -> list[Incident]:
        found = _unrecorded(self._keeping.memory.state)
        return [each for each in found if self._given_up.get(each.id, 0) < each.version]

    async def _read(self) -> None:
        async with self._database.reading() as connection:
            open_ones = await incidents.open_incidents(connection)
        known, now_ms = self._keeping.memory.state.incidents, self._tenure.store_time.now_ms()
        for row in open_ones:
            if row.id in known:
                self._keeping.change_state(_with_what_people_did(self._keeping.memory.state, row, now_ms=now_ms))
        # of a notifier whose memory is lost: what became of them nobody knows
        if self._tenure.is_held and any(row.id not in known for row in open_ones):
            async with self._database.begin(patience_s=PATIENCE_S) as connection:
                await incidents.resolve_forgotten(
                    connection, known=known, opened_before_ms=now_ms - FORGOTTEN_AFTER_MS, now_ms=now_ms
                )

    def _failed(self, why: str) -> None:
        if self._why is None:
            log.warning("incidents_not_recorded", error=why, effect="alerts are sent all the same")
            self._why = why
            self._keeping.keep_again()  # so that everyone is told

    def _works(self) -> None:
        if self._why is not None:
            log.info("incidents_recorded_again")
            self._why = None
            self._keeping.keep_again()


def record_of(incident: Incident) -> IncidentRecord:
    """The incident as the database has it, without what people did."""
    return IncidentRecord(
        id=incident.id,
        exchange_id=incident.exchange_id,
        exchange_name=incident.exchange_name,
        cause=incident.cause,
        since=iso(incident.since_ms),
        opened_at=iso(incident.opened_ms),
        hostname=incident.hostname,
        ip=incident.ip,
        admin_email=incident.admin_email,
        last_state=incident.last_state,
        detail=incident.detail,
        is_flapping=incident.is_flapping,
        changes=incident.changes,
        resolved_at=None if incident.resolved_ms is None else iso(incident.resolved_ms),
        resolution=incident.resolution,
    )


def _unrecorded(state: State) -> list[Incident]:
    return [incident for incident in state.incidents.values() if incident.recorded_version < incident.version]


def _with_what_people_did(state: State, row: IncidentRecord, *, now_ms: int) -> State:
    incident = state.incidents[row.id]
    acknowledged_ms = unix_ms(row.acknowledged_at) if row.acknowledged_at else None
    if acknowledged_ms is not None and acknowledged_ms != incident.acknowledged_ms:
        by, reason = row.acknowledged_by or "", row.acknowledged_reason or ""
        state = rules.acknowledge(state, row.id, by=by, reason=reason, at_ms=acknowledged_ms)
    muted_until_ms = unix_ms(row.muted_until) if row.muted_until else None
    if muted_until_ms is None:
        return rules.unmute(state, row.id) if incident.muted_until_ms is not None else state
    if muted_until_ms != incident.muted_until_ms and muted_until_ms > now_ms:
        return rules.mute(state, row.id, until_ms=muted_until_ms, by=row.muted_by or "")
    return state
