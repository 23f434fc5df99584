/** Cards as the API answers them. */

import type { CardView, InstanceStatus } from '../src/api/generated';

export const NOW = Date.parse('2026-02-10T14:00:00Z');

export const ago = (ms: number): string => new Date(NOW - ms).toISOString();

export function status(changes: Partial<InstanceStatus> = {}): InstanceStatus {
  return {
    exchangeId: 4,
    exchangeName: 'kraken',
    connectionState: 'active',
    connectedAt: ago(3_600_000),
    lastHeartbeat: ago(5000),
    symbolCount: 312,
    adminEmail: 'ada@example.org',
    adminDisplayName: 'Ada',
    ipAddress: '203.0.113.7',
    hostname: 'fra-2',
    lastError: null,
    heartbeatIntervalMs: 15_000,
    ttlMs: 45_000,
    ...changes,
  };
}

export function card(changes: Partial<CardView> = {}): CardView {
  return {
    exchangeId: 4,
    exchangeName: 'kraken',
    displayName: 'Kraken',
    online: true,
    status: status(),
    health: 'active',
    lastKnown: null,
    offlineSince: null,
    stoppedBy: null,
    stoppedAt: null,
    reason: null,
    heartbeatAgeMs: 5000,
    expiresInMs: 40_000,
    shouldRun: true,
    warmup: null,
    ...changes,
  };
}

/** A card of an exchange nobody serves, unexpectedly. */
export function offline(name: string, sinceMs: number, changes: Partial<CardView> = {}): CardView {
  return card({
    exchangeName: name,
    displayName: name,
    online: false,
    health: 'offline',
    status: null,
    offlineSince: ago(sinceMs),
    lastKnown: { source: 'last', lastHeartbeat: ago(sinceMs), hostname: 'fra-2', ipAddress: '203.0.113.7', connectionState: 'active' },
    heartbeatAgeMs: null,
    expiresInMs: null,
    ...changes,
  });
}
