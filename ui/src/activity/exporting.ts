/** Entries as files. Pure. */

import type { LogEntry } from '../api/generated';

export type Format = 'csv' | 'json';

const FIRST: readonly (keyof LogEntry)[] = [
  'timestamp', 'exchangeName', 'event', 'fromState', 'toState', 'error', 'reason', 'hostname', 'ip', 'adminEmail', 'id', 'exchangeId',
];
/** A spreadsheet takes a cell that begins like this for a formula, and what is in the log comes from elsewhere. */
const FORMULA = /^[=+\-@\t\r]/;

/** The text of a file with these entries. */
export function fileOf(entries: readonly LogEntry[], format: Format): string {
  return format === 'json' ? `${JSON.stringify(entries, null, 2)}\n` : csvOf(entries);
}

function csvOf(entries: readonly LogEntry[]): string {
  const others = new Set(entries.flatMap((entry) => Object.keys(entry)));
  const columns = [...new Set<string>([...FIRST, ...others])];
  const lines = entries.map((entry) => columns.map((name) => cell((entry as Record<string, string | undefined>)[name] ?? '')));
  return [columns.map(cell), ...lines].map((line) => `${line.join(',')}\r\n`).join('');
}

function cell(text: string): string {
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** `perseus-activity-2026-02-10T03-12-05Z.csv`. */
export function fileName(nowMs: number, format: Format): string {
  return `perseus-activity-${new Date(nowMs).toISOString().slice(0, 19).replaceAll(':', '-')}Z.${format}`;
}
