/** What is to be said of an open incident: for how long, who has it, whether it is muted, whether it flaps. */

import type { ReactNode } from 'react';
import type { IncidentRecord } from '../api/generated';
import { useNow } from '../api/now';
import { At, Since } from '../ui/Moment';
import { moment } from '../ui/time';
import { causeOf, mutedUntil, shortWords } from './words';

/** `Incident for 4m · acknowledged by Ada: looking`, and a line each for what else there is. */
export function IncidentWords({ incident, isShort = false }: { incident: IncidentRecord; isShort?: boolean }): ReactNode {
  const since = moment(incident.since);
  return (
    <div className="incident-words">
      {!isShort && <p><strong>Incident{since !== null && <> for <Since at={since} /></>}</strong>{incident.cause !== 'offline' && <> · {causeOf(incident)}</>}</p>}
      {incident.isFlapping && <p>Flapping: {incident.changes === 0 ? 'goes down and comes back again and again' : `went down or came back ${incident.changes} times`}</p>}
      <p>{incident.acknowledgedBy === null ? <strong className="incident-nobody">Nobody has it yet</strong> : <Acknowledged incident={incident} by={incident.acknowledgedBy} />}</p>
      <Muted incident={incident} />
    </div>
  );
}

function Acknowledged({ incident, by }: { incident: IncidentRecord; by: string }): ReactNode {
  const at = moment(incident.acknowledgedAt);
  return (
    <>
      Acknowledged by {by}{incident.acknowledgedReason && <>: <q>{incident.acknowledgedReason}</q></>}
      {at !== null && <span className="meta"> · <Since at={at} /> ago, <At at={at} /></span>}
    </>
  );
}

function Muted({ incident }: { incident: IncidentRecord }): ReactNode {
  const until = mutedUntil(incident, useNow());
  if (until === null) return null;
  return (
    <p>
      Muted until <At at={until} />{incident.mutedBy && ` by ${incident.mutedBy}`}{incident.mutedReason && <>: <q>{incident.mutedReason}</q></>}
    </p>
  );
}

/** The same in one line, cut where it does not fit. */
export function IncidentShort({ incident }: { incident: IncidentRecord }): ReactNode {
  const words = shortWords(incident, useNow());
  return <span className="incident-short" title={words}>{words}</span>;
}
