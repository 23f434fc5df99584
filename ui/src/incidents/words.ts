/** An incident in words: what it is, how it ended, whether it is muted. Pure. */

import type { IncidentRecord } from '../api/generated';
import type { Look } from '../network/health';
import { moment } from '../ui/time';

const CAUSES: Record<IncidentRecord['cause'], string> = {
  offline: 'offline',
  lease_lost: 'lost its lease',
  lease_lapsed: 'let its lease lapse',
};

const RESOLUTIONS: Record<NonNullable<IncidentRecord['resolution']>, string> = {
  recovered: 'recovered',
  stopped: 'stopped',
  switched_off: 'switched off',
  unknown: 'over, nobody knows how',
};

/** `offline`, `lost its lease`. */
export function causeOf(incident: Pick<IncidentRecord, 'cause'>): string {
  return CAUSES[incident.cause];
}

/** How it ended; null: it has not. */
export function resolutionOf(incident: Pick<IncidentRecord, 'resolution'>): string | null {
  return incident.resolution === null ? null : RESOLUTIONS[incident.resolution];
}

/** Until when nothing new is sent about it; null: it is not muted, or not any more. */
export function mutedUntil(incident: Pick<IncidentRecord, 'mutedUntil'>, nowMs: number): number | null {
  const until = moment(incident.mutedUntil);
  return until !== null && until > nowMs ? until : null;
}

/** What follows an acknowledgement, and what does not; null: it is not muted. */
export function consequenceOf(mutedUntilWords: string | null): string {
  if (mutedUntilWords === null) return 'Reminders stop; that it is over is still told.';
  return `Reminders stop. It is muted until ${mutedUntilWords}: that it is over is told only if it ends later.`;
}

/** Going up and down is no outage as such: the triangle. */
export function lookOf(incident: Pick<IncidentRecord, 'isFlapping' | 'resolvedAt'>): Look {
  if (incident.resolvedAt !== null) return 'calm';
  return incident.isFlapping ? 'late' : 'offline';
}

/** `Incident, ada@example.org has it, flapping, muted`: in one breath, for where there is one line. */
export function shortWords(incident: IncidentRecord, nowMs: number): string {
  const more = [
    `${incident.acknowledgedBy ?? 'nobody'} has it`,
    incident.isFlapping ? 'flapping' : null,
    mutedUntil(incident, nowMs) === null ? null : 'muted',
  ].filter((each) => each !== null);
  return `Incident, ${more.join(', ')}`;
}

/** The incident that is open of each exchange, by its id. */
export function byExchange(incidents: readonly IncidentRecord[] | undefined): ReadonlyMap<number, IncidentRecord> {
  return new Map(incidents?.map((incident) => [incident.exchangeId, incident]));
}
