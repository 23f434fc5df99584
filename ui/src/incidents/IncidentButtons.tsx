/** Acknowledge, mute, unmute. What cannot be pressed says why; what failed is said where it was pressed. */

import { type ReactNode, useId } from 'react';
import type { IncidentRecord } from '../api/generated';
import { useNow } from '../api/now';
import { useDeciding } from './deciding';
import { useUnmute } from './useChange';
import { mutedUntil } from './words';

/** The buttons of an open incident. */
export function IncidentButtons({ incident }: { incident: IncidentRecord }): ReactNode {
  const { decide, whyNot, email } = useDeciding();
  const unmute = useUnmute(incident);
  const why = useId();
  const isMuted = mutedUntil(incident, useNow()) !== null;
  const by = incident.acknowledgedBy;
  const shared = { type: 'button', className: 'button', disabled: whyNot !== null, 'aria-describedby': whyNot === null ? undefined : why } as const;
  return (
    <div className="incident-acts">
      <div className="incident-buttons">
        <button {...shared} className={by === null ? 'button button-main' : 'button'} onClick={() => decide('acknowledge', incident)}>
          {by === null ? 'Acknowledge' : by === email ? 'Acknowledge anew' : 'Acknowledge instead'}<span className="unseen"> {incident.displayName}</span>
        </button>
        <button {...shared} onClick={() => decide('mute', incident)}>{isMuted ? 'Mute longer' : 'Mute'}<span className="unseen"> {incident.displayName}</span></button>
        {isMuted && (
          <button {...shared} disabled={whyNot !== null || unmute.isPending} onClick={unmute.run}>
            {unmute.isPending ? 'Unmuting…' : 'Unmute'}<span className="unseen"> {incident.displayName}</span>
          </button>
        )}
      </div>
      {whyNot !== null && <p id={why} className="meta">{whyNot}</p>}
      {unmute.fault !== null && <p className="notice" role="alert">{unmute.fault}</p>}
    </div>
  );
}
