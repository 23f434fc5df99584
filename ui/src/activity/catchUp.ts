/** Reading what came to the log since the newest entry known: page by page from the top, until that one is met. */

import type { ActivityAsked, FeedPageView, LogEntry } from '../api/generated';
import { isNewer } from './order';

const MOST_PAGES = 8;
const LAST_MS = Date.UTC(9999, 11, 31); // no time after it is understood

export type Caught = {
  /** The newest page as it was read. */
  newest: FeedPageView;
  /** Entries above the one known, newest first. */
  fresh: LogEntry[];
  /** Off: so much has come that it was not read to the end; the feed begins anew with `newest`. */
  isWhole: boolean;
};

/** What stands above `known`, read by `read`; without one, everything there is. */
export async function catchUp(
  known: LogEntry | undefined,
  read: (cursor: string | null) => Promise<FeedPageView>,
  mostPages = MOST_PAGES,
): Promise<Caught> {
  const newest = await read(null);
  const fresh: LogEntry[] = [];
  let page = newest;
  for (let n = 1; ; n += 1) {
    const arrived = known ? page.entries.filter((entry) => isNewer(entry, known)) : page.entries;
    fresh.push(...arrived);
    if (arrived.length < page.entries.length || page.nextCursor === null) return { newest, fresh, isWhole: true };
    if (n >= mostPages) return { newest, fresh, isWhole: false };
    // oxlint-disable-next-line no-await-in-loop -- each page says where the next one begins
    page = await read(page.nextCursor);
  }
}

/**
 * The same question, no further back than the highest of these ids and cursors. What is rare is then not searched for
 * through the whole log at every look: pages of a filter may be empty although more follows. Without a filter all pages
 * are full, and shared.
 */
export function notBelow(asked: ActivityAsked, ...places: (string | null | undefined)[]): ActivityAsked {
  const all = places.map((place) => Number(place?.split('-')[0])).filter((ms) => ms <= LAST_MS);
  const ms = Math.max(...all, Date.parse(asked.since ?? '') || 0);
  return ms && (asked.text || asked.events?.length) ? { ...asked, since: new Date(ms).toISOString() } : asked;
}
