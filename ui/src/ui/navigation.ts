/** Where the address bar points, and how to go elsewhere without loading anything anew. */

import { useSyncExternalStore } from 'react';

const MOVED = 'moved';

/** Go there; `replace` leaves no step to go back to. */
export function go(address: string, replace = false): void {
  if (replace) history.replaceState(null, '', address);
  else history.pushState(null, '', address);
  window.dispatchEvent(new Event(MOVED));
}

/** The path of the address. */
export function usePath(): string {
  return useSyncExternalStore(subscribe, () => location.pathname);
}

/** The query of the address, and how to change it. */
export function useQueryString(): [string, (query: string) => void] {
  const query = useSyncExternalStore(subscribe, () => location.search);
  return [query, (next) => go(`${location.pathname}${next ? `?${next}` : ''}`, true)];
}

function subscribe(moved: () => void): () => void {
  window.addEventListener('popstate', moved);
  window.addEventListener(MOVED, moved);
  return () => {
    window.removeEventListener('popstate', moved);
    window.removeEventListener(MOVED, moved);
  };
}
