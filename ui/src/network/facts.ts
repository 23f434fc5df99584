/** What a card tells: who, where, since when. From the status; where nobody serves the exchange, from what is last known. Pure. */

import type { CardView } from '../api/generated';
import { moment } from '../ui/time';

export type Facts = {
  isLastKnown: boolean;
  state: string | null;
  hostname: string | null;
  ip: string | null;
  admin: string | null;
  adminEmail: string | null;
  symbols: number | 'loading' | null;
  connectedAt: number | null;
  lastSeenAt: number | null;
  lastError: string | null;
  lastErrorAt: number | null;
  lastStateChangeAt: number | null;
  version: string | null;
  instanceId: string | null;
  epoch: number | null;
};

type Shown = { symbolCount?: number | null | undefined; connectionState?: string | null | undefined };

/** The facts of a card; null if nothing at all is known. */
export function factsOf(card: CardView): Facts | null {
  const shown = card.status ?? card.lastKnown;
  if (!shown) return null;
  const told = 'timestamp' in shown ? shown.timestamp : null;
  return {
    isLastKnown: card.status === null,
    state: shown.connectionState ?? null,
    hostname: shown.hostname || null,
    ip: shown.ipAddress || null,
    admin: shown.adminDisplayName || shown.adminEmail || null,
    adminEmail: shown.adminEmail || null,
    symbols: symbolsOf(shown, card.status !== null),
    connectedAt: moment(shown.connectedAt),
    lastSeenAt: moment(shown.lastHeartbeat) ?? moment(told),
    lastError: shown.lastError || null,
    lastErrorAt: moment(shown.lastErrorAt),
    lastStateChangeAt: moment(shown.lastStateChange),
    version: shown.version ?? null,
    instanceId: shown.instanceId ?? null,
    epoch: shown.epoch ?? null,
  };
}

/** How many symbols; before they are chosen no number: 0 would be none, and those asked for are not there yet. */
function symbolsOf({ symbolCount, connectionState }: Shown, isNow: boolean): number | 'loading' | null {
  const isBefore = symbolCount === 0 && (connectionState === 'starting' || connectionState === 'warming');
  return isBefore ? (isNow ? 'loading' : null) : (symbolCount ?? null);
}

/** Since when the card's word is true; null: not known. */
export function sinceOf(card: CardView): number | null {
  const facts = factsOf(card);
  switch (card.health) {
    case 'offline':
      return moment(card.offlineSince);
    case 'stopped':
      return moment(card.stoppedAt);
    case 'never':
      return null;
    case 'late':
      return facts?.lastSeenAt ?? null;
    case 'active':
      return facts?.connectedAt ?? facts?.lastStateChangeAt ?? null;
    default:
      return facts?.lastStateChangeAt ?? facts?.lastSeenAt ?? null;
  }
}
