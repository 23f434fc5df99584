/** The order of the feed: stream ids as numbers, then names. Pure. */

import type { LogEntry } from '../api/generated';
import { moment } from '../ui/time';

type Place = Pick<LogEntry, 'id' | 'exchangeName'>;

/** What names an entry among all. */
export function keyOf(entry: Place): string {
  return `${entry.id}@${entry.exchangeName}`;
}

/** Whether `a` stands above `b`. */
export function isNewer(a: Place, b: Place): boolean {
  const [aMs = '', aSeq = ''] = a.id.split('-');
  const [bMs = '', bSeq = ''] = b.id.split('-');
  return (compared(aMs, bMs) || compared(aSeq, bSeq) || (a.exchangeName > b.exchangeName ? 1 : a.exchangeName < b.exchangeName ? -1 : 0)) > 0;
}

/** When it happened: what the entry says; where another program left that out, when it came to the log. */
export function happenedAt(entry: LogEntry): number {
  return moment(entry.timestamp) ?? Number(entry.id.split('-')[0] ?? 0);
}

/** Whole numbers of any length, as text. */
function compared(a: string, b: string): number {
  return a.length - b.length || (a > b ? 1 : a < b ? -1 : 0);
}
