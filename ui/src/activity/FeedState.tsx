/** What stands below the rows: loading, nothing, the end, or why there is no more. */

import { type ReactNode, useEffect, useRef } from 'react';
import { faultOf, textOf } from '../api/client';
import { useIsNear } from '../ui/useIsNear';
import type { Feed } from './useFeed';

type Shown = { feed: Feed; isFiltered: boolean; clear: () => void };

/** Loads more as its own place comes near. */
export function FeedState({ feed, isFiltered, clear }: Shown): ReactNode {
  const place = useRef<HTMLDivElement>(null);
  const isNear = useIsNear(place);
  const { hasMore, isLoadingMore, error, loadMore } = feed;
  const mayLoad = isNear && hasMore && !isLoadingMore && error === null;
  useEffect(() => {
    if (mayLoad) loadMore();
  }, [mayLoad, loadMore]);
  return (
    <div ref={place} className="feed-state">
      {Object.entries(feed.unreadable).map(([name, reason]) => (
        <p key={name} className="notice">The log of {name} cannot be read and is missing here: {reason}</p>
      ))}
      {error ? <Trouble error={error} feed={feed} isFiltered={isFiltered} clear={clear} /> : <Rest feed={feed} isFiltered={isFiltered} clear={clear} />}
    </div>
  );
}

function Rest({ feed, isFiltered, clear }: Shown): ReactNode {
  if (feed.isLoading) return <output className="feed-waits"><span className="unseen">Loading the activity</span>{[1, 2, 3, 4].map((n) => <span key={n} className="bone" />)}</output>;
  if (feed.hasMore) return <button type="button" className="button" disabled={feed.isLoadingMore} onClick={feed.loadMore}>{feed.isLoadingMore ? 'Looking further back…' : 'Show older'}</button>;
  if (feed.entries.length > 0) return <p className="meta">That is all: entries are kept for 90 days.</p>;
  if (!isFiltered) return <p className="nothing">Nothing has happened yet. State changes, errors and losses will appear here as they come.</p>;
  return (
    <p className="nothing">
      Nothing matches these filters. <button type="button" className="button" onClick={clear}>Clear filters</button>
    </p>
  );
}

function Trouble({ error, feed, isFiltered, clear }: Shown & { error: Error }): ReactNode {
  const fault = faultOf(error);
  if (fault !== 'input') {
    return <p className="notice">{feed.entries.length > 0 ? 'The activity above is as of when the live view was lost.' : 'The activity cannot be read right now.'} It comes back by itself.</p>;
  }
  return (
    <p className="notice">
      This cannot be shown. {textOf(error)}{' '}
      {isFiltered && <button type="button" className="button" onClick={clear}>Clear filters</button>}
    </p>
  );
}
