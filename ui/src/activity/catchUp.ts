/** Reading what came to the log since the newest entry known: page by page from the top, until that one is met. */

import type { FeedPageView, LogEntry } from '../api/generated';
import { isNewer } from './order';

const MOST_PAGES = 8;

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
