/** Whether what is shown is live: concluded from the answers and from how long ago the last one came. Pure. */

import type { Fault } from './client';

/** The view is live, has not begun, or is lost: then what is shown says nothing about now. */
export type Link = { kind: 'first' } | { kind: 'live' } | { kind: 'lost'; fault: Fault; text: string };

const OLD_MS = 12_000; // two polls are missing
const OLD_UNSEEN_MS = 90_000; // browsers let a hidden page do something once a minute only
const AFTER_SEEN_MS = 1500; // a page that was hidden asks as soon as it is seen

export type Seen = {
  /** The last answer's moment by the store's clock, and that clock now; null: none yet. */
  observedMs: number | null;
  nowMs: number;
  error: { fault: Fault; text: string } | null;
  isHidden: boolean;
  /** For how long the page has been visible. */
  visibleForMs: number;
};

/** The state of the live view. */
export function linkOf(seen: Seen): Link {
  if (seen.error) return { kind: 'lost', ...seen.error };
  if (seen.observedMs === null) return { kind: 'first' };
  const isLooking = !seen.isHidden && seen.visibleForMs > AFTER_SEEN_MS;
  const isOld = seen.nowMs - seen.observedMs > (isLooking ? OLD_MS : OLD_UNSEEN_MS);
  return isOld ? { kind: 'lost', fault: 'server', text: 'No answer has come for a while.' } : { kind: 'live' };
}
