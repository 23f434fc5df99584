/** The API, by the public tRPC client; and where it lives. */

import { createTRPCClient, httpBatchLink, splitLink, TRPCClientError } from '@trpc/client';
import type { AppRouter, ErrorData } from './generated';

/** The path everything of ours is below, with a slash at its end: a proxy may have put us anywhere. */
export const BASE = import.meta.env.DEV ? '/' : new URL(/* @vite-ignore */ '..', import.meta.url).pathname;

const ANSWER_WITHIN_MS = 8000;
const DONE_WITHIN_MS = 15_000; // a test message may take 10 s
const OF_DATABASE = 'notify.getIncidents';

/**
 * Calls of one moment go out as one GET; the session cookie goes with it. What the database answers travels by itself:
 * a slow one does not hold up the cards.
 */
export const api = createTRPCClient<AppRouter>({
  links: [splitLink({ condition: ({ path }) => path === OF_DATABASE, true: batches(), false: batches() })],
});

function batches(): ReturnType<typeof httpBatchLink<AppRouter>> {
  return httpBatchLink<AppRouter>({
    url: `${BASE}trpc`,
    maxURLLength: 6000,
    fetch: (url, options) => {
      const withinMs = options?.method === 'POST' ? DONE_WITHIN_MS : ANSWER_WITHIN_MS;
      const signals = [AbortSignal.timeout(withinMs), ...(options?.signal ? [options.signal] : [])];
      return fetch(url, { ...options, signal: AbortSignal.any(signals) } as RequestInit);
    },
  });
}

/** Why an answer did not come: what a person can do about it differs. */
export type Fault = 'store' | 'server' | 'session' | 'rights' | 'busy' | 'input' | 'bug';

const FAULTS: Record<string, Fault> = {
  SERVICE_UNAVAILABLE: 'store',
  UNAUTHORIZED: 'session',
  FORBIDDEN: 'rights',
  TOO_MANY_REQUESTS: 'busy',
  BAD_REQUEST: 'input',
  NOT_FOUND: 'input',
  UNPROCESSABLE_CONTENT: 'input',
};

/** What kind of fault it was. One without a word from the API is the server's absence. */
export function faultOf(error: unknown): Fault {
  const data = dataOf(error);
  return data === null ? 'server' : (FAULTS[data.code] ?? 'bug');
}

/** What the API says about an error besides its text; null if it said nothing. */
export function dataOf(error: unknown): (ErrorData & { code: string }) | null {
  if (!(error instanceof TRPCClientError)) return null;
  const { data } = error as TRPCClientError<AppRouter>;
  return data ?? null;
}

/** The error in one sentence for people; of a wrong input, every field. */
export function textOf(error: unknown): string {
  const fields = Object.entries(dataOf(error)?.zodError?.fieldErrors ?? {});
  if (fields.length > 0) return fields.map(([field, faults]) => `${field}: ${faults?.join(' ') ?? ''}`).join('\n');
  return error instanceof Error ? error.message : String(error);
}
