/** What the pages ask for, as queries. */

import { QueryClient, queryOptions } from '@tanstack/react-query';
import { moment } from '../ui/time';
import { api, BASE, faultOf } from './client';
import { hearStoreTime } from './clock';
import type { CardView } from './generated';
import { LIVE } from './polling';

const AGAIN_MS = 400;

/** The cards as they were at a moment of the store's clock. */
export type Observed = { cards: CardView[]; observedMs: number };

/** Who is signed in. */
export type Session = { email: string; displayName: string; role: string };

/** One connection that broke is tried again at once; everything else is the next poll's to find out. */
export function newQueries(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        networkMode: 'always',
        refetchOnWindowFocus: false,
        refetchOnReconnect: false,
        staleTime: Number.POSITIVE_INFINITY,
        retry: isWorthAnother,
        retryDelay: AGAIN_MS,
      },
      mutations: { networkMode: 'always' },
    },
  });
}

function isWorthAnother(failures: number, error: Error): boolean {
  return failures < 1 && faultOf(error) === 'server';
}

export const instances = queryOptions({
  queryKey: ['instances'],
  queryFn: async ({ signal }): Promise<Observed> => {
    const answer = await api.network.getInstances.query(undefined, { signal });
    const observedMs = moment(answer.serverTime) ?? 0;
    hearStoreTime(observedMs);
    return { cards: answer.instances, observedMs };
  },
  meta: LIVE,
});

export const session = queryOptions({
  queryKey: ['session'],
  queryFn: async ({ signal }): Promise<Session | null> => {
    const response = await fetch(`${BASE}session`, { signal, headers: { accept: 'application/json' } });
    return response.ok ? ((await response.json()) as Session) : null;
  },
});

/** How a warm-up went, of one exchange. */
export function warmupStats(exchangeId: number) {
  return queryOptions({
    queryKey: ['warmup', exchangeId],
    queryFn: ({ signal }) => api.network.getWarmupStats.query({ exchangeId }, { signal }),
    meta: LIVE,
  });
}
