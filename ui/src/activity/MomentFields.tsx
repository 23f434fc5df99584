/** From when to when, in the zone that is shown. */

import { type ReactNode, useContext } from 'react';
import { ZoneShown } from '../ui/Moment';
import { fieldOf, isoOf } from './momentField';
import type { Filters } from './filters';

type Shown = { filters: Filters; change: (changed: Partial<Filters>) => void };

/** Two fields; an empty one is no bound. */
export function MomentFields({ filters, change }: Shown): ReactNode {
  const zone = useContext(ZoneShown);
  return (
    <>
      <label className="filter-moment">
        <span className="meta">From</span>
        <input className="field" type="datetime-local" value={fieldOf(filters.since, zone)} onChange={(event) => change({ range: 'custom', since: isoOf(event.target.value, zone) })} />
      </label>
      <label className="filter-moment">
        <span className="meta">to</span>
        <input className="field" type="datetime-local" value={fieldOf(filters.until, zone)} onChange={(event) => change({ range: 'custom', until: isoOf(event.target.value, zone) })} />
      </label>
    </>
  );
}
