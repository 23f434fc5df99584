/** The entries, newest first, day by day. */

import { memo, type ReactNode, useContext, useMemo } from 'react';
import type { LogEntry } from '../api/generated';
import { useNow } from '../api/now';
import { namedDay } from '../ui/time';
import { ZoneShown } from '../ui/Moment';
import { EntryRow } from './EntryRow';
import { daysOf } from './rows';

type Shown = { entries: readonly LogEntry[]; showsExchange: boolean };

/** A heading for each day and its rows below. */
export const FeedList = memo(function FeedList({ entries, showsExchange }: Shown): ReactNode {
  const zone = useContext(ZoneShown);
  const days = useMemo(() => daysOf(entries, zone), [entries, zone]);
  return (
    <div className="feed" data-exchanges={showsExchange || undefined}>
      {days.map((day) => (
        <section key={day.key} className="feed-day" aria-label={day.key}>
          <DayName at={day.at} name={day.key} />
          <ol className="feed-rows">
            {day.rows.map((row) => (
              <EntryRow key={row.key} row={row} zone={zone} showsExchange={showsExchange} />
            ))}
          </ol>
        </section>
      ))}
    </div>
  );
});

function DayName({ at, name }: { at: number; name: string }): ReactNode {
  const zone = useContext(ZoneShown);
  const named = namedDay(at, zone, useNow());
  return <h3 className="feed-day-name">{named === name ? name : `${named} · ${name}`}</h3>;
}
