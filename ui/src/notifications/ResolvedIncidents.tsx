/** The incidents that are over, the newest first, as far back as somebody asks. */

import type { ReactNode } from 'react';
import { wordsOf } from '../api/alerts';
import type { IncidentRecord } from '../api/generated';
import { addressOf } from '../app/places';
import { causeOf, resolutionOf } from '../incidents/words';
import { Link } from '../ui/Link';
import { At } from '../ui/Moment';
import { duration, moment } from '../ui/time';

type Shown = {
  /** Null: not known yet. */
  incidents: readonly IncidentRecord[] | null;
  error: Error | null;
  isLoadingMore: boolean;
  /** Null: there are no older ones. */
  showOlder: (() => void) | null;
};

/** A row each. */
export function ResolvedIncidents({ incidents, error, isLoadingMore, showOlder }: Shown): ReactNode {
  return (
    <section className="incident-list" aria-labelledby="resolved-title">
      <h2 id="resolved-title" className="section-title">Resolved</h2>
      {error && <output className="notice">{incidents === null ? 'Which incidents are over is not known.' : 'These are of an earlier answer: they cannot be read right now.'} They are asked for again by themselves. {wordsOf(error)}</output>}
      {incidents === null && !error && <p className="bone bone-line"><span className="unseen">Looking for resolved incidents</span></p>}
      {incidents?.length === 0 && !error && <p className="nothing">None yet.</p>}
      {incidents !== null && incidents.length > 0 && <ol className="feed-rows">{incidents.map((incident) => <Row key={incident.id} incident={incident} />)}</ol>}
      {showOlder && <p className="incidents-older"><button type="button" className="button" disabled={isLoadingMore} onClick={showOlder}>{isLoadingMore ? 'Looking further back…' : 'Show older'}</button></p>}
    </section>
  );
}

/** `Kraken  offline for 4m 10s, recovered at 03:12:05 · acknowledged by ada@example.org`. */
function Row({ incident }: { incident: IncidentRecord }): ReactNode {
  const since = moment(incident.since);
  const until = moment(incident.resolvedAt);
  return (
    <li className="resolved" data-resolved={incident.id}>
      <span className="resolved-when times">{since !== null && <At at={since} />}</span>
      <span className="resolved-name"><Link to={addressOf({ page: 'exchange', name: incident.exchangeName })}>{incident.displayName}</Link></span>
      <span className="resolved-what">
        {incident.isFlapping ? 'flapping' : causeOf(incident)}{since !== null && until !== null && <> for <strong className="times">{duration(until - since)}</strong></>}, {resolutionOf(incident)}{until !== null && <> at <At at={until} /></>}
        {incident.detail && <span className="meta"> · {incident.detail}</span>}
      </span>
      <span className="resolved-who meta">{incident.acknowledgedBy === null ? '' : `acknowledged by ${incident.acknowledgedBy}${incident.acknowledgedReason ? `: ${incident.acknowledgedReason}` : ''}`}</span>
    </li>
  );
}
