/** The open incident of an exchange, on its card and on its page: what is said of it, and what a person can do. */

import type { ReactNode } from 'react';
import type { IncidentRecord } from '../api/generated';
import { IncidentButtons } from './IncidentButtons';
import { IncidentWords } from './IncidentWords';
import './incidents.css';

/** Nothing where there is none. */
export function IncidentBox({ incident }: { incident: IncidentRecord | null }): ReactNode {
  if (incident === null) return null;
  return (
    <section className="incident" data-incident={incident.id} tabIndex={-1} aria-label={`Incident of ${incident.displayName}`}>
      <IncidentWords incident={incident} />
      <IncidentButtons incident={incident} />
    </section>
  );
}
