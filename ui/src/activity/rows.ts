/** Entries as rows: days told apart, repeats of one thing folded into one row. Pure. */

import type { LogEntry } from '../api/generated';
import { day, type Zone } from '../ui/time';
import { happenedAt, keyOf } from './order';

export type Row = {
  key: string;
  entry: LogEntry;
  /** The same again, below it. */
  repeats: LogEntry[];
};

export type Day = { key: string; at: number; rows: Row[] };

/** The entries, newest first, by day. */
export function daysOf(entries: readonly LogEntry[], zone: Zone): Day[] {
  const days: Day[] = [];
  for (const entry of entries) {
    const at = happenedAt(entry);
    const key = day(at, zone);
    let today = days.at(-1);
    if (today?.key !== key) {
      today = { key, at, rows: [] };
      days.push(today);
    }
    const above = today.rows.at(-1);
    if (above && isRepeat(above.entry, entry)) above.repeats.push(entry);
    else today.rows.push({ key: keyOf(entry), entry, repeats: [] });
  }
  return days;
}

const SAME: readonly (keyof LogEntry)[] = [
  'event', 'exchangeName', 'hostname', 'ip', 'instanceId', 'error', 'fromState', 'toState', 'reason', 'command', 'outcome', 'issuedBy',
];

function isRepeat(a: LogEntry, b: LogEntry): boolean {
  return SAME.every((name) => (a[name] ?? '') === (b[name] ?? ''));
}
