/** What is asked of alerts and incidents, as queries; and what is known of them while they cannot be had. */

import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query';
import { moment } from '../ui/time';
import { api, faultOf, textOf } from './client';
import { storeNow } from './clock';
import type { IncidentRecord, IncidentsView, StatusView } from './generated';
import { LIVE, LIVE_ALONE } from './polling';

const MOST_AT_ONCE = 100;
const RESOLVED_AT_ONCE = 30;
const SHARED_FOR_MS = 2000; // servers share an answer for a second

/** Something asked for: what was answered last, when by the store's clock, and why that is not of now. */
export type Known<T> = {
  /** Null: there was no answer yet. */
  data: T | null;
  atMs: number | null;
  /** Null: it is of now, or on its way. */
  fault: string | null;
};

/** Why something cannot be had. */
export function wordsOf(error: Error): string {
  return faultOf(error) === 'server' ? 'Perseus does not answer.' : textOf(error);
}

/** What a query knows. */
export function known<T extends { atMs: number | null }>(query: { data?: T | undefined; error: Error | null }): Known<T> {
  return { data: query.data ?? null, atMs: query.data?.atMs ?? null, fault: query.error === null ? null : wordsOf(query.error) };
}

export type Alerting = StatusView & { atMs: number | null };
export type OpenIncidents = { incidents: IncidentRecord[]; atMs: number | null };

const changes = new Map<string, { incident: IncidentRecord; until: number }>();

/** An incident as it is since it was changed here: another server may answer for a second with what was before. */
export function keepChange(incident: IncidentRecord): void {
  changes.set(incident.id, { incident, until: performance.now() + SHARED_FOR_MS });
}

function asChanged(incident: IncidentRecord): IncidentRecord {
  const change = changes.get(incident.id);
  return change !== undefined && performance.now() < change.until ? change.incident : incident;
}

/** Whether alerts are sent, from the store. */
export const alerting = queryOptions({
  queryKey: ['alerting'],
  queryFn: async ({ signal }): Promise<Alerting> => {
    const answer = await api.notify.getStatus.query(undefined, { signal });
    return { ...answer, atMs: moment(answer.serverTime) };
  },
  meta: LIVE,
  retry: false, // the next poll asks again
});

/** Every open incident, from the database. */
export const openIncidents = queryOptions({
  queryKey: ['incidents', 'open'],
  queryFn: async ({ signal }): Promise<OpenIncidents> => {
    const incidents: IncidentRecord[] = [];
    let cursor: string | null = null;
    do {
      // oxlint-disable-next-line no-await-in-loop -- each page says where the next one begins
      const page: IncidentsView = await api.notify.getIncidents.query({ isOpen: true, count: MOST_AT_ONCE, cursor }, { signal });
      incidents.push(...page.incidents);
      cursor = page.nextCursor;
    } while (cursor !== null);
    return { incidents: incidents.map(asChanged), atMs: storeNow() };
  },
  meta: LIVE_ALONE,
  retry: false,
});

/** Incidents that are over, newest first, page by page. */
export const resolvedIncidents = infiniteQueryOptions({
  queryKey: ['incidents', 'resolved'],
  queryFn: ({ signal, pageParam }) => api.notify.getIncidents.query({ isOpen: false, count: RESOLVED_AT_ONCE, cursor: pageParam }, { signal }),
  initialPageParam: null as string | null,
  getNextPageParam: (last) => last.nextCursor,
  meta: LIVE_ALONE,
  retry: false,
});
