/** The live view everything shares: the cards, incidents and alerts, whether they are live, and whether a person holds them still. */

import { useQuery, useQueryClient } from '@tanstack/react-query';
import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from 'react';
import { alerting, type Alerting, type Known, known, openIncidents, type OpenIncidents } from '../api/alerts';
import { faultOf, textOf } from '../api/client';
import { storeNow } from '../api/clock';
import { type Link, linkOf } from '../api/link';
import { FrozenAt, useStoreNow } from '../api/now';
import { startPolling } from '../api/polling';
import { instances, type Observed } from '../api/queries';
import { useVisibility } from './useVisibility';

export type Live = {
  /** What is shown; null before the first answer. */
  shown: Observed | null;
  /** What the last answers said, also while the view is held still. */
  latest: Observed | null;
  latestIncidents: Known<OpenIncidents>;
  /** Whether alerts are sent, and the incidents that are open: as shown, held still with the cards. */
  alerts: Known<Alerting>;
  incidents: Known<OpenIncidents>;
  link: Link;
  /** The moment at which a person paused; null: not paused. */
  pausedAt: number | null;
  setPaused: (isPaused: boolean) => void;
};

type Held = Pick<Live, 'alerts' | 'incidents'> & { observed: Observed; at: number };

const Context = createContext<Live | null>(null);

/** The live view. */
export function useLive(): Live {
  const live = useContext(Context);
  if (live === null) throw new Error('useLive is for what stands inside LiveView');
  return live;
}

/** Polls as long as it stands; what is inside sees the same moment. */
export function LiveView({ children }: { children: ReactNode }): ReactNode {
  const queries = useQueryClient();
  const { data: latest = null, error } = useQuery(instances);
  const alerts = useKnown(useQuery(alerting));
  const incidents = useKnown(useQuery(openIncidents));
  const [held, setHeld] = useState<Held | null>(null);
  const link = useLink(latest, error);
  useEffect(() => startPolling(queries, () => dueInMs(queries.getQueryData(instances.queryKey))), [queries]);
  const live = useMemo<Live>(
    () => ({
      shown: held?.observed ?? latest,
      latest,
      latestIncidents: incidents,
      alerts: held?.alerts ?? alerts,
      incidents: held?.incidents ?? incidents,
      link,
      pausedAt: held?.at ?? null,
      setPaused: (isPaused) => setHeld(isPaused && latest ? { observed: latest, alerts, incidents, at: storeNow() ?? latest.observedMs } : null),
    }),
    [held, latest, alerts, incidents, link],
  );
  const frozenAt = held?.at ?? (link.kind === 'lost' ? (latest?.observedMs ?? null) : null);
  return (
    <Context value={live}>
      <FrozenAt value={frozenAt}>{children}</FrozenAt>
    </Context>
  );
}

/** What a query knows, the same object until that changes. */
function useKnown<T extends { atMs: number | null }>({ data, error }: { data: T | undefined; error: Error | null }): Known<T> {
  return useMemo(() => known({ data, error }), [data, error]);
}

function useLink(latest: Observed | null, error: Error | null): Link {
  const nowMs = useStoreNow();
  const { isHidden, visibleSince } = useVisibility();
  const link = linkOf({
    observedMs: latest?.observedMs ?? null,
    nowMs,
    error: error ? { fault: faultOf(error), text: textOf(error) } : null,
    isHidden,
    visibleForMs: nowMs - visibleSince,
  });
  const key = JSON.stringify(link);
  return useMemo(() => JSON.parse(key) as Link, [key]); // the same until it says something else
}

/** How soon the next lease runs out, if somebody holds one. */
function dueInMs(observed: Observed | undefined): number | null {
  const now = storeNow();
  if (!observed || now === null) return null;
  const left = observed.cards
    .filter((card) => card.status !== null && card.expiresInMs !== null)
    .map((card) => observed.observedMs + (card.expiresInMs ?? 0) - now)
    .filter((ms) => ms > 0);
  return left.length === 0 ? null : Math.min(...left);
}
