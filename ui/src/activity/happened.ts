/** Entries of the log in words, and how they look. Pure. */

import type { LogEntry } from '../api/generated';
import type { Picture } from '../ui/Glyph';
import { absolute, duration, moment, type Zone } from '../ui/time';
import { happenedAt } from './order';

/** The events the feed can be filtered by, in the words of the page. */
export const EVENTS: readonly { event: string; name: string }[] = [
  { event: 'state_transition', name: 'State changes' },
  { event: 'error', name: 'Errors' },
  { event: 'instance_lost', name: 'Losses' },
  { event: 'lease_lost', name: 'Leases lost' },
  { event: 'lease_lapsed', name: 'Leases lapsed' },
  { event: 'command', name: 'Commands' },
];

const OF_STATES: Record<string, Picture> = {
  active: 'active',
  starting: 'changing',
  warming: 'changing',
  stopping: 'changing',
  idle: 'calm',
  stopped: 'calm',
};

const OF_EVENTS: Record<string, Picture> = {
  error: 'late',
  instance_lost: 'offline',
  lease_lost: 'late',
  lease_lapsed: 'late',
  command: 'calm',
};

/** How an entry looks. Red is a loss only. */
export function pictureOf(entry: LogEntry): Picture {
  if (entry.event === 'state_transition') return OF_STATES[entry.toState ?? ''] ?? 'unknown';
  return OF_EVENTS[entry.event] ?? 'calm';
}

/** What happened: a few words, and what there is to say about it. Moments are told in this zone. */
export function happened(entry: LogEntry, zone: Zone): { what: string; details: string } {
  switch (entry.event) {
    case 'state_transition':
      return { what: `${entry.fromState || '?'} → ${entry.toState || '?'}`, details: entry.reason ?? '' };
    case 'error': {
      const count = entry.count && entry.count !== '1' ? ` (${entry.count} times)` : '';
      return { what: 'error', details: `${entry.error || 'without a word'}${count}` };
    }
    case 'instance_lost':
      return { what: 'instance lost', details: joined(entry.state && `while ${entry.state}`, lastHeartbeat(entry, zone)) };
    case 'command':
      return {
        what: `command ${entry.command || '?'}`,
        details: joined(entry.issuedBy && `by ${entry.issuedBy}`, entry.outcome, entry.reason),
      };
    default:
      return {
        what: entry.event.replaceAll('_', ' ') || '?',
        details: joined(
          entry.reason,
          entry.holder && `holder ${entry.holder}`,
          entry.newEpoch && `new epoch ${entry.newEpoch}`,
          entry.toInstance && `to ${entry.toInstance}`,
          entry.gapMs && `gap ${duration(Number(entry.gapMs))}`,
        ),
      };
  }
}

function lastHeartbeat(entry: LogEntry, zone: Zone): string {
  const at = moment(entry.lastHeartbeat);
  return at === null ? '' : `last heartbeat ${absolute(at, zone, happenedAt(entry))}`;
}

function joined(...parts: (string | undefined)[]): string {
  return parts.filter(Boolean).join(' · ');
}
