/** A heartbeat as a budget: how old it is, how long the lease still runs, and in which colour (DIFF-02). Pure. */

import type { CardView } from '../api/generated';
import { duration } from '../ui/time';

export type Freshness = 'fresh' | 'ageing' | 'overdue';

export type Heartbeat = {
  /** The moment of the heartbeat, and the one at which its lease runs out (null: never), by the store's clock. */
  at: number;
  expiresAt: number | null;
  intervalMs: number;
  ttlMs: number;
  /** On purpose: the end of the lease makes nothing offline. */
  isStopped: boolean;
};

const INTERVAL_MS = 15_000; // what a status without one is held to, and what the thresholds are for
const FRESH_MS = 10_000;
const AGEING_MS = 30_000;

/** The heartbeat of a card observed at a moment; null where nobody serves the exchange. */
export function heartbeatOf(card: CardView, observedMs: number): Heartbeat | null {
  if (card.status === null || card.heartbeatAgeMs === null) return null;
  const intervalMs = card.status.heartbeatIntervalMs || INTERVAL_MS;
  return {
    at: observedMs - card.heartbeatAgeMs,
    expiresAt: card.expiresInMs === null ? null : observedMs + card.expiresInMs,
    intervalMs,
    ttlMs: card.status.ttlMs || 3 * intervalMs,
    isStopped: card.health === 'stopped',
  };
}

/** Green below 10 s, yellow below 30 s, red from there on; scaled where the interval is not 15 s. */
export function freshnessOf(ageMs: number, intervalMs: number): Freshness {
  const scale = intervalMs / INTERVAL_MS;
  if (ageMs < FRESH_MS * scale) return 'fresh';
  return ageMs < AGEING_MS * scale ? 'ageing' : 'overdue';
}

/** `12s ago · offline in 33s`; of one stopped on purpose `1s ago · lease still held`. */
export function budget(heartbeat: Heartbeat, nowMs: number): string {
  const age = `${duration(nowMs - heartbeat.at)} ago`;
  if (heartbeat.expiresAt === null) return `${age} · no expiry`;
  const left = heartbeat.expiresAt - nowMs;
  if (heartbeat.isStopped) return left > 0 ? `${age} · lease still held` : age;
  return left > 0 ? `${age} · offline in ${duration(left)}` : `${age} · lease has run out`;
}

/** How much of the lease is left, from 1 to 0. */
export function leaseLeft(heartbeat: Heartbeat, nowMs: number): number {
  if (heartbeat.expiresAt === null) return 1;
  return Math.min(1, Math.max(0, (heartbeat.expiresAt - nowMs) / heartbeat.ttlMs));
}
