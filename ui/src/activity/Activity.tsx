/** The activity feed of the network or of one exchange, with its filters in the address. */

import { type ReactNode, useMemo, useRef, useState } from 'react';
import { storeNow } from '../api/clock';
import type { ActivityAsked, CardView } from '../api/generated';
import { useLive } from '../app/live';
import { useQueryString } from '../ui/navigation';
import { useIsAbove } from '../ui/useIsAbove';
import { ExportButton } from './ExportButton';
import { FeedList } from './FeedList';
import { FilterBar } from './FilterBar';
import { askedOf, type Filters, filtersOf, isFiltered, queryOf } from './filters';
import { FeedState } from './FeedState';
import { useFeed } from './useFeed';
import './activity.css';

type Shown = { exchanges: readonly CardView[]; /** The one exchange it is about; its filter is not offered then. */ only?: string };

/** Everything around the feed; the address holds what is shown. */
export function Activity({ exchanges, only }: Shown): ReactNode {
  const [query, setQuery] = useQueryString();
  const filters = useMemo(() => ({ ...filtersOf(query), ...(only && { exchange: only }) }), [query, only]);
  const asked = useAsked(filters);
  const { pausedAt } = useLive();
  const top = useRef<HTMLDivElement>(null);
  const isScrolled = useIsAbove(top);
  const [isRead, setIsRead] = useState(false); // by keyboard: nothing comes in between then
  const feed = useFeed(asked, pausedAt === null && !isScrolled && !isRead);
  const change = (changed: Partial<Filters>): void => setQuery(queryOf({ ...filters, ...changed, ...(only && { exchange: '' }) }));
  const showWaiting = (): void => {
    feed.showWaiting();
    if (isScrolled) top.current?.scrollIntoView({ block: 'start' });
  };
  return (
    <section className="activity" aria-labelledby="activity-title">
      <div className="activity-head">
        <h2 id="activity-title" className="section-title">Activity</h2>
        <FilterBar filters={filters} exchanges={only ? null : exchanges} change={change} />
        <ExportButton asked={asked} />
      </div>
      <div ref={top} className="feed-top" />
      {feed.waiting > 0 && (
        <button type="button" className="button button-main feed-waiting" onClick={showWaiting}>
          {feed.waiting} new, click to show
        </button>
      )}
      <div onFocus={(event) => setIsRead(event.target.matches(':focus-visible'))} onBlur={() => setIsRead(false)}>
        <FeedList entries={feed.entries} showsExchange={!only} />
        <FeedState feed={feed} isFiltered={isFiltered({ ...filters, exchange: only ? '' : filters.exchange })} clear={() => setQuery('')} />
      </div>
    </section>
  );
}

/** What to ask for; a range counts back from the moment it was chosen. */
function useAsked(filters: Filters): ActivityAsked {
  const key = JSON.stringify(filters);
  return useMemo(() => askedOf(JSON.parse(key) as Filters, storeNow() ?? 0), [key]);
}
