/** The time components count with: the store's, or the moment at which what they show was frozen. */

import { createContext, useContext, useSyncExternalStore } from 'react';
import { onTick, tickedNow } from './clock';

/** The moment what is shown is of; null: now. */
export const FrozenAt = createContext<number | null>(null);

/** The store's time, once a second. 0 before any answer has told it. */
export function useStoreNow(): number {
  return useSyncExternalStore(onTick, tickedNow) ?? 0;
}

/** The store's time, or the moment what is shown is of. */
export function useNow(): number {
  const frozenAt = useContext(FrozenAt);
  const now = useSyncExternalStore(frozenAt === null ? onTick : never, frozenAt === null ? tickedNow : () => frozenAt);
  return now ?? 0;
}

function never(): () => void {
  return () => undefined;
}
