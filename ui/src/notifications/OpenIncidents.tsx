/** The incidents that are open: what, since when, who has it. */

import type { ReactNode } from 'react';
import type { Known, OpenIncidents as Open } from '../api/alerts';
import type { IncidentRecord } from '../api/generated';
import { addressOf } from '../app/places';
import { IncidentButtons } from '../incidents/IncidentButtons';
import { IncidentsFault } from '../incidents/IncidentsFault';
import { IncidentWords } from '../incidents/IncidentWords';
import { causeOf, lookOf } from '../incidents/words';
import { Badge } from '../network/Badge';
import { titled } from '../network/health';
import { Link } from '../ui/Link';
import { At, Since } from '../ui/Moment';
import { moment } from '../ui/time';

type Shown = {
  incidents: Known<Open>;
  isLost: boolean;
  /** Whether somebody writes incidents down; null: not known. */
  isRecorded: boolean | null;
};

/** One after the other, the newest first. Not to know is said, and is not the same as none. */
export function OpenIncidents({ incidents, isLost, isRecorded }: Shown): ReactNode {
  const { data, fault } = incidents;
  return (
    <section className="incident-list" aria-labelledby="open-title">
      <h2 id="open-title" className="section-title">Open incidents{data && data.incidents.length > 0 && ` (${data.incidents.length})`}</h2>
      {!isLost && <IncidentsFault incidents={incidents} />}
      {data === null && fault === null && <p className="bone bone-line"><span className="unseen">Looking for incidents</span></p>}
      {data !== null && data.incidents.length === 0 && fault === null && <None isLost={isLost} isRecorded={isRecorded} />}
      {data !== null && data.incidents.length > 0 && (
        <ul className="incident-items">
          {data.incidents.map((incident) => <li key={incident.id}><Item incident={incident} isLost={isLost} /></li>)}
        </ul>
      )}
    </section>
  );
}

function None({ isLost, isRecorded }: { isLost: boolean; isRecorded: boolean | null }): ReactNode {
  if (isLost || isRecorded === null) return <p className="nothing">None was open when last seen.</p>;
  if (!isRecorded) return <p className="nothing">None is on record. Nobody writes them down while no notifier runs: look at the network itself.</p>;
  return <p className="nothing">None. Every exchange that should run is served, or was stopped by somebody.</p>;
}

function Item({ incident, isLost }: { incident: IncidentRecord; isLost: boolean }): ReactNode {
  const look = isLost ? 'unknown' : lookOf(incident);
  const since = moment(incident.since);
  const where = [incident.hostname, incident.ip, incident.adminEmail].filter(Boolean);
  return (
    <article className={`card look-${look}`} data-incident={incident.id} tabIndex={-1} aria-labelledby={`incident-${incident.id}`}>
      <header className="card-head">
        <h3 id={`incident-${incident.id}`} className="card-title"><Link to={addressOf({ page: 'exchange', name: incident.exchangeName })}>{incident.displayName}</Link></h3>
        <Badge look={look} word={isLost ? 'Unknown' : titled(incident.isFlapping ? 'flapping' : causeOf(incident))} />
        <p className="card-lasting">{since === null ? 'Since when is not known' : <>For <Since at={since} /><span className="meta"> · since <At at={since} /></span></>}{incident.lastState && <span className="meta"> · was {incident.lastState}</span>}</p>
      </header>
      {where.length > 0 && <p className="incident-where meta">{where.join(' · ')}</p>}
      {incident.detail && <p className="incident-detail">{incident.detail}</p>}
      <IncidentWords incident={incident} isShort />
      <IncidentButtons incident={incident} />
    </article>
  );
}
