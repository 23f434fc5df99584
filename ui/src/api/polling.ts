/** Asks for everything that is live every 5 s (UI-05): all at once, so that one GET brings it. */

import type { Query, QueryClient } from '@tanstack/react-query';
import { faultOf } from './client';
import { onWake } from './clock';

export const POLL_EVERY_MS = 5000;
const AFTER_FAULT_MS = 2000;
const AFTER_DUE_MS = 250; // the server looks at the moment a lease is due, and we right behind it
const LEAST_PAUSE_MS = 500;

/** Queries with this meta are asked again and again while somebody shows them. */
export const LIVE = { isLive: true } as const;
/** The same, and nothing waits for them: their answer may take long without holding up the others. */
export const LIVE_ALONE = { isLive: true, isAlone: true } as const;

/**
 * Poll until the function returned is called. `dueInMs` tells how soon the next lease runs out, null if none does: then
 * we ask at that moment, too.
 */
export function startPolling(queries: QueryClient, dueInMs: () => number | null): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isAsking = false;
  let isOver = false;

  async function ask(): Promise<void> {
    clearTimeout(timer);
    if (isAsking || isOver) return;
    isAsking = true;
    const startedAt = performance.now();
    void askAgain(queries, (query) => isToBeAsked(query) && isAlone(query));
    await askAgain(queries, (query) => isToBeAsked(query) && !isAlone(query));
    isAsking = false;
    if (!isOver) timer = setTimeout(ask, pauseMs(performance.now() - startedAt));
  }

  function pauseMs(tookMs: number): number {
    const isFaulty = queries.getQueryCache().findAll({ type: 'active', predicate: isToBeAsked }).some(isInTrouble);
    const dueMs = dueInMs();
    const soon = dueMs === null || dueMs < 0 ? POLL_EVERY_MS : dueMs + AFTER_DUE_MS;
    return Math.max(LEAST_PAUSE_MS, Math.min(isFaulty ? AFTER_FAULT_MS : POLL_EVERY_MS - tookMs, soon));
  }

  const askIfVisible = (): void => {
    if (!document.hidden) void ask();
  };
  timer = setTimeout(ask, POLL_EVERY_MS);
  document.addEventListener('visibilitychange', askIfVisible);
  window.addEventListener('online', askIfVisible);
  const stopWaking = onWake(() => void ask());
  return () => {
    isOver = true;
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', askIfVisible);
    window.removeEventListener('online', askIfVisible);
    stopWaking();
  };
}

function askAgain(queries: QueryClient, predicate: (query: Query) => boolean): Promise<void> {
  return queries.refetchQueries({ type: 'active', predicate }, { cancelRefetch: false });
}

/** What is live, and what could not be had yet. */
function isToBeAsked(query: Query): boolean {
  return query.meta?.['isLive'] === true || (query.state.data === undefined && isInTrouble(query));
}

function isAlone(query: Query): boolean {
  return query.meta?.['isAlone'] === true;
}

/** Whether asking again may help: a wrong question stays wrong. */
function isInTrouble(query: Query): boolean {
  return query.state.status === 'error' && faultOf(query.state.error) !== 'input';
}
