/** Between an ISO moment and what a date-and-time field holds. Pure. */

import { moment, type Zone } from '../ui/time';

/** `2026-02-10T14:00` in the zone; empty where there is no moment. */
export function fieldOf(iso: string, zone: Zone): string {
  const ms = moment(iso);
  if (ms === null) return '';
  const shiftMs = zone === 'utc' ? 0 : new Date(ms).getTimezoneOffset() * 60_000;
  return new Date(ms - shiftMs).toISOString().slice(0, 16);
}

/** The moment that a field holds; empty where it holds none. */
export function isoOf(field: string, zone: Zone): string {
  const ms = moment(field && (zone === 'utc' ? `${field}Z` : field));
  return ms === null ? '' : new Date(ms).toISOString();
}
