/** The line across the page while somebody would not be told: calm, and always with its reason. */

import type { ReactNode } from 'react';
import { useLive } from '../app/live';
import { addressOf } from '../app/places';
import { Glyph } from '../ui/Glyph';
import { Link } from '../ui/Link';
import { Prose } from '../ui/Prose';
import './notifications.css';

const UNKNOWN = 'Whether alerts are being sent is not known';

/** Nothing while all channels are told, and nothing while the view itself is lost: its own bar says so. */
export function AlertsBar(): ReactNode {
  const { alerts, link } = useLive();
  if (link.kind !== 'live') return null;
  if (alerts.fault !== null) return <Bar says={UNKNOWN} why={alerts.fault} look="unknown" />;
  if (alerts.data === null || alerts.data.alerts === 'sent' && alerts.data.why === null) return null;
  const [says = '', ...why] = (alerts.data.why ?? 'No alerts are being sent.').split(/:\s+/);
  return <Bar says={says} why={why.join(': ')} look="late" />;
}

function Bar({ says, why, look }: { says: string; why: string; look: 'late' | 'unknown' }): ReactNode {
  return (
    <section className="bar bar-alerts" data-look={look} aria-label="State of alerts">
      <Glyph picture={look} />
      <p className="bar-says"><strong>{says}</strong>{why && <>: <Prose>{why}</Prose></>}</p>
      <Link to={addressOf({ page: 'notifications' })} className="button">Notifications</Link>
    </section>
  );
}
