/** That the incidents shown are not of now, or none could be had: silence would look like "no incidents". */

import type { ReactNode } from 'react';
import type { Known, OpenIncidents } from '../api/alerts';
import { At } from '../ui/Moment';

/** Nothing while they are known. */
export function IncidentsFault({ incidents: { data, atMs, fault } }: { incidents: Known<OpenIncidents> }): ReactNode {
  if (fault === null) return null;
  return (
    <output className="notice incidents-fault">
      {data === null ? 'Which incidents are open, and who has them, is not known.' : <>The incidents shown are {atMs === null ? 'of an earlier answer' : <>as of <At at={atMs} /></>}; they cannot be read right now.</>}
      {' '}They are asked for again by themselves. {fault}
    </output>
  );
}
